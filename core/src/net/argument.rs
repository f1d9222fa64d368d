//! Where the largest and the smallest elements of an axis are.

use super::reduce::check;
use super::scratch::Scratch;
use super::{Apply, Axes, Context, Function, Tape, Values};
use crate::ops::argument::places;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result};

/// The index of the largest element along the axis `A` of `In`, the first of several, as an element: a whole number
/// from 0 on, of integers at exponent 0. `Out` has the shape of the other axes, or an extent of 1 in place of the axis;
/// `[1]` if no axis is left. Numerical behaviour: [`selvedge_kernels::select::argmax`].
///
/// An index does not change with its input but in jumps: the error passed down is 0, and what is below learns by other
/// branches alone.
///
/// # Example
/// ```
/// use selvedge_core::net::{ArgMax, Axis, Layer};
/// use selvedge_core::tensor::{D1, D2, D3};
/// // The class of each pixel, and the row in which a column is largest.
/// static CLASSES: ArgMax<i8, D3<8, 8, 10>, D2<8, 8>, Axis<2>> = Layer::BLANK;
/// static ROWS: ArgMax<f32, D2<12, 3>, D1<3>, Axis<0>> = Layer::BLANK;
/// ```
/// An axis with more elements than the type has whole numbers does not compile: 128 in 8 bits.
/// ```compile_fail
/// # use selvedge_core::net::{ArgMax, Axis, Layer};
/// # use selvedge_core::tensor::D1;
/// static CLASS: ArgMax<i8, D1<129>, D1<1>, Axis<0>> = Layer::BLANK;
/// ```
pub type ArgMax<T, In, Out, A> = Apply<T, Place<In, Out, A, true>>;

/// The index of the smallest element; otherwise as [`ArgMax`]. Numerical behaviour:
/// [`selvedge_kernels::select::argmin`].
pub type ArgMin<T, In, Out, A> = Apply<T, Place<In, Out, A, false>>;

/// See [`ArgMax`]; of the smallest element unless `LARGEST`.
pub struct Place<In, Out, A, const LARGEST: bool>(PhantomData<(In, Out, A)>);

/// The indices of one sample, as kernels give them.
pub struct Indices<T, In, Out: Shape, A> {
    room: Scratch<u32, Out, 1>,
    shapes: PhantomData<(T, In, A)>,
}

impl<T: Element, In: Shape, Out: Shape, A: Axes> Tape for Indices<T, In, Out, A> {
    const BLANK: Self = {
        assert!(
            In::EXTENTS[A::AXES[0]] <= T::MOST_INDEX as usize + 1,
            "arg max: the axis has more elements than the type has whole numbers"
        );
        Self {
            room: Tape::BLANK,
            shapes: PhantomData,
        }
    };
}

impl<In: Shape, Out: Shape, A: Axes, const LARGEST: bool> Function for Place<In, Out, A, LARGEST> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = Indices<T, In, Out, A>;

    const KIND: &'static str = if LARGEST { "argmax" } else { "argmin" };
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(A::AXES.len() == 1, "arg max: expected one axis");
        check::<In, Out, A>();
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        scratch: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = Extents::new(In::EXTENTS.get(..In::RANK).unwrap_or_default())?;
        let (exec, samples) = (context.exec, (x.batch, extents));
        let (axis, indices) = (const { A::AXES[0] }, scratch.room.all());
        places(exec, samples, axis, LARGEST, x.data, indices, out)?;
        Ok(0)
    }

    fn backward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        _: &mut Self::Scratch<T>,
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        dx.fill(T::ZERO);
        Ok(dy.exponent)
    }
}
