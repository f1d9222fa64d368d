//! A change of shape.

use super::{Backward, Errors, Info, Layer, Pass, Values, Visitor, VisitorMut};
use crate::error::Result;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;

/// The same elements in the same order, in another shape: an image to a row of features. It moves
/// nothing and keeps nothing. It counts as `NUMBERS` layers: as one, where it is not [`Skip`](super::Skip).
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten<T, In, Out, const NUMBERS: u32 = 1> {
    shapes: PhantomData<(T, In, Out)>,
}

impl<T: Element, In: Shape, Out: Shape, const NUMBERS: u32> Layer for Flatten<T, In, Out, NUMBERS> {
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = In;
    type Output = Out;
    type Tape<const B: usize> = ();

    const BLANK: Self = {
        assert!(
            In::LEN == Out::LEN,
            "flatten: both shapes must have as many elements"
        );
        Self {
            shapes: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "flatten",
        numbers: NUMBERS,
        errors: Errors {
            error: In::LEN,
            spare: 0,
            swaps: false,
        },
        ..Info::EMPTY
    };

    const TICKS: usize = 0;

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        _: &Pass<'_, E>,
        _: u32,
        x: Values<'t, T>,
        (): &'t mut (),
    ) -> Result<Values<'t, T>> {
        Ok(x)
    }

    fn output<'t, const B: usize>(&self, x: Values<'t, T>, (): &'t ()) -> Values<'t, T> {
        x
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        _: &Pass<'_, E>,
        _: u32,
        _: Values<'_, T>,
        (): &mut (),
        errors: Backward<'e, T>,
        _: bool,
    ) -> Result<Backward<'e, T>> {
        Ok(errors)
    }

    fn visit(&self, _: &mut impl Visitor) {}

    fn visit_mut(&mut self, _: &mut impl VisitorMut) {}
}
