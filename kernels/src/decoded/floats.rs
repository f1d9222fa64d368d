//! Float activations: eight partial sums of a dot product, which go on from chunk to chunk.

use super::{CHUNK, Products};
use crate::arch::Isa;
use crate::element::Element;
use crate::packed::{Scale, Weights};
use core::marker::PhantomData;
use core::ops::{Add, Mul};

/// Activations of type `T` with packed weights.
pub(crate) struct Floats<'a, T, S> {
    pub(crate) weights: Weights<'a, S>,
    pub(crate) elements: PhantomData<fn() -> T>,
}

impl<T, S: Copy> Clone for Floats<'_, T, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, S: Copy> Copy for Floats<'_, T, S> {}

impl<T, S, F> Products for Floats<'_, T, S>
where
    T: Element<Wide = F, Acc = F>,
    S: Scale,
    F: Copy + Default + From<f32> + Add<Output = F> + Mul<Output = F>,
{
    type X = T;
    type Chunk = [F; CHUNK];
    type Sum = [F; 8];
    type Part = F;
    type Acc = F;

    #[inline(always)]
    fn decode(&self, row: usize, start: usize, len: usize) -> [F; CHUNK] {
        let mut values = [0.0; CHUNK];
        if let Some(values) = values.get_mut(..len) {
            self.weights.floats(row, start, values);
        }
        values.map(F::from)
    }

    #[inline(always)]
    fn begin(&self, _: F) -> [F; 8] {
        [F::default(); 8]
    }

    #[inline(always)]
    fn add<I: Isa>(&self, isa: I, sum: &mut [F; 8], x: &[T], chunk: &[F; CHUNK]) {
        let (x8, x_rest) = x.as_chunks::<8>();
        let (w8, _) = chunk.as_chunks::<8>();
        for (x, w) in x8.iter().zip(w8) {
            let x = T::widen8(isa, x);
            for ((lane, &x), &w) in sum.iter_mut().zip(&x).zip(w) {
                *lane = *lane + x * w;
            }
        }
        let w_rest = chunk.get(x8.len() * 8..).unwrap_or_default();
        for ((lane, &x), &w) in sum.iter_mut().zip(x_rest).zip(w_rest) {
            *lane = *lane + x.widen() * w;
        }
    }

    #[inline(always)]
    fn end(&self, [s0, s1, s2, s3, s4, s5, s6, s7]: [F; 8], bias: F) -> F {
        bias + (((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)))
    }

    #[inline(always)]
    fn add_row(&self, parts: &mut [F; CHUNK], d: T, chunk: &[F; CHUNK]) {
        let d = d.widen();
        for (part, &w) in parts.iter_mut().zip(chunk) {
            *part = *part + d * w;
        }
    }

    #[inline(always)]
    fn total(&self, part: F) -> F {
        part
    }
}
