//! How the outputs of two branches come together: sums, gates, concatenation.

mod binary;
mod concat;
mod sample;
mod sum;

pub use binary::{
    Add, Addition, Binary, Difference, Divide, Larger, Maximum, Minimum, Multiply, Operator,
    Product, Quotient, Smaller, Subtract,
};
pub use concat::Concat;
pub use sample::Sample;
pub use sum::Sum;
pub(super) use sum::add;
pub(crate) use sum::copy;

use super::{Context, Tape, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result as KernelResult};

/// How the outputs of two branches, of shapes `A` and `B`, come together: what [`Fork`](super::Fork) is given
/// last. [`Sum`], [`Product`], [`Concat`] and the others below are joins.
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Fork, Join, Layer, Product, Sigmoid, Skip};
/// use selvedge_core::tensor::{D1, D3};
///
/// /// A gate on what a layer takes, whatever joins them.
/// type By<T, J> = Fork<Skip<T, D1<8>>, Dense<T, 8, 8, Sigmoid>, J>;
/// static GATE: By<i8, Product> = Layer::BLANK;
///
/// // The output has the shape of the first branch; the second stretches to it.
/// fn extents<J: Join<D3<4, 4, 8>, D1<8>>>() -> [usize; 5] {
///     <J::Output as selvedge_core::tensor::Shape>::EXTENTS
/// }
/// assert_eq!(extents::<Product>(), [4, 4, 8, 1, 1]);
/// ```
pub trait Join<A: Shape, B: Shape>: 'static {
    /// Shape of one output sample.
    type Output: Shape;
    /// Memory that its kernels work in.
    type Scratch<T: Element>: Tape;

    /// What [`Info::kind`](super::Info::kind) says.
    const KIND: &'static str;
    /// Whether the output of integers has an exponent of its own.
    const RESCALES: bool;
    /// Refuses shapes that do not belong together, when the program is compiled.
    const CHECKED: ();

    /// Computes `out` of `a` and `b`, and returns its exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32>;

    /// Takes the error `dy` of the output `y` to those of `a` and `b`, and returns their exponents. One that is
    /// not [asked](Asked) for may be left as it is.
    ///
    /// # Errors
    /// Those of its kernels.
    #[allow(clippy::too_many_arguments)] // both operands, output and error are tensors of their own
    fn backward<T: Element, E: Executor>(
        asked: Asked,
        contexts: [Context<'_, T, E>; 2],
        scratch: &mut Self::Scratch<T>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        y: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]>;
}

/// The branches whose errors somebody reads: those with parameters, or both if something below has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The first.
    pub first: bool,
    /// The second.
    pub second: bool,
}

/// The samples `values` of shape `S` as an operand of `rank` axes beside the batch.
pub(in crate::net) fn operand<S: Shape, T>(
    values: Values<'_, T>,
    rank: usize,
) -> KernelResult<Operand<'_, T>> {
    let mut extents = [1; 6];
    let own = S::EXTENTS.iter().take(S::RANK);
    for (to, &extent) in extents.iter_mut().skip(1 + rank - S::RANK).zip(own) {
        *to = extent;
    }
    if let Some(batch) = extents.first_mut() {
        *batch = values.batch;
    }
    Ok(Operand {
        values: values.data,
        extents: Extents::new(extents.get(..=rank).unwrap_or_default())?,
        exponent: values.exponent,
    })
}

/// The samples `values` of shape `S`, which a number of samples stretches to.
pub(in crate::net) fn stretched<S: Shape, T>(
    values: Values<'_, T>,
) -> KernelResult<Operand<'_, T>> {
    operand::<S, T>(values, S::RANK)
}
