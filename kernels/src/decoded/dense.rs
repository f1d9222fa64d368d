//! The matrix product.

use super::{CHUNK, Finish, Products, TILE, tiles_of_mut};
use crate::arch::{self, Isa, Kernel};
use crate::split::{rows_of, rows_of_mut};

/// Some rows of either pass, with weights that have not met their [`Products`] yet. Of a backward
/// pass, `x` is `dy` and `out` is `dx`.
pub struct Call<'a, X, W, F, O> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// From the first row on; may go further than `out`.
    pub(crate) x: &'a [X],
    pub(crate) weights: W,
    /// Places that integer sums drop.
    pub(crate) drop: u32,
    pub(crate) finish: F,
    /// Index of the first element of `out`.
    pub(crate) first: u32,
    pub(crate) out: &'a mut [O],
    /// As long as `out`, or empty.
    pub(crate) slope: &'a mut [X],
}

impl<X, W, F, O> Call<'_, X, W, F, O> {
    #[inline(always)]
    pub(crate) fn forward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<X, P::Acc, O>,
    {
        arch::dispatch(Forward {
            inputs: self.inputs,
            outputs: self.outputs,
            products,
            finish: self.finish,
            x: self.x,
            first: self.first,
            out: self.out,
            slope: self.slope,
        })
    }

    #[inline(always)]
    pub(crate) fn backward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<X, P::Acc, O>,
    {
        arch::dispatch(Backward {
            inputs: self.inputs,
            outputs: self.outputs,
            products,
            finish: self.finish,
            dy: self.x,
            first: self.first,
            dx: self.out,
        })
    }
}

/// Some rows of a forward pass.
struct Forward<'a, P: Products, F, O> {
    inputs: usize,
    outputs: usize,
    products: P,
    finish: F,
    x: &'a [P::X],
    first: u32,
    out: &'a mut [O],
    slope: &'a mut [P::X],
}

impl<P: Products, F: Finish<P::X, P::Acc, O>, O> Kernel for Forward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Self {
            inputs,
            outputs,
            products,
            finish,
            ..
        } = self;
        if inputs == 0 || outputs == 0 {
            return 0;
        }
        let mut range = F::Range::default();
        let mut first = self.first;
        let mut x = self.x;
        let mut slopes = tiles_of_mut(self.slope, TILE * outputs);
        for out in tiles_of_mut(self.out, TILE * outputs) {
            let slope = slopes.next().unwrap_or_default();
            for o in 0..outputs {
                let bias = finish.start(o);
                let mut sums = [products.begin(bias); TILE];
                let mut start = 0;
                while start < inputs {
                    let len = CHUNK.min(inputs - start);
                    let chunk = products.decode(o, start, len);
                    // x: [TILE, I] and more; `out` says how many of them count.
                    let rows = rows_of(x, inputs).zip(rows_of(out, outputs));
                    for (sum, (x, _)) in sums.iter_mut().zip(rows) {
                        let x = x.get(start..start + len).unwrap_or_default();
                        products.add(isa, sum, x, &chunk);
                    }
                    start += len;
                }
                let mut at = o;
                for &sum in &sums {
                    if let Some(out) = out.get_mut(at) {
                        let element = first.wrapping_add(at as u32);
                        let acc = products.end(sum, bias);
                        let slope = slope.get_mut(at..=at).unwrap_or_default();
                        finish.store(acc, o, element, &mut range, out, slope);
                    }
                    at += outputs;
                }
            }
            first = first.wrapping_add(out.len() as u32);
            x = x.get(TILE * inputs..).unwrap_or_default();
        }
        F::bits(range)
    }
}

/// Some rows of an input gradient.
struct Backward<'a, P: Products, F, O> {
    inputs: usize,
    outputs: usize,
    products: P,
    finish: F,
    dy: &'a [P::X],
    first: u32,
    dx: &'a mut [O],
}

impl<P: Products, F: Finish<P::X, P::Acc, O>, O> Kernel for Backward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Self {
            inputs,
            outputs,
            products,
            finish,
            ..
        } = self;
        if inputs == 0 || outputs == 0 {
            return 0;
        }
        let mut range = F::Range::default();
        let mut first = self.first;
        let mut dy = self.dy;
        for dx in tiles_of_mut(self.dx, TILE * inputs) {
            let mut start = 0;
            while start < inputs {
                let len = CHUNK.min(inputs - start);
                let mut parts = [[P::Part::default(); CHUNK]; TILE];
                for o in 0..outputs {
                    let chunk = products.decode(o, start, len);
                    let rows = rows_of(dy, outputs).zip(rows_of(dx, inputs));
                    for (parts, (dy, _)) in parts.iter_mut().zip(rows) {
                        if let Some(&d) = dy.get(o) {
                            products.add_row(parts, d, &chunk);
                        }
                    }
                }
                let mut row = first.wrapping_add(start as u32);
                for (parts, dx) in parts.iter().zip(rows_of_mut(dx, inputs)) {
                    let dx = dx.get_mut(start..start + len).unwrap_or_default();
                    let mut element = row;
                    for (i, (dx, &part)) in dx.iter_mut().zip(parts).enumerate() {
                        let acc = products.total(part);
                        finish.store(acc, start + i, element, &mut range, dx, &mut []);
                        element = element.wrapping_add(1);
                    }
                    row = row.wrapping_add(inputs as u32);
                }
                start += len;
            }
            first = first.wrapping_add(dx.len() as u32);
            dy = dy.get(TILE * outputs..).unwrap_or_default();
        }
        F::bits(range)
    }
}
