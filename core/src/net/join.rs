//! How the outputs of two branches come together: sums, gates, concatenation.

use super::axes::agree;
use super::{Context, Scratch, Tape, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation, Side, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::resize::bilinear_places;
use selvedge_kernels::sample::{self, Outside, Positions};
use selvedge_kernels::{Element, Result as KernelResult, layout};

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

/// `a + b`, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::sum()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

/// `a ∘ b` by an [`Operator`], where axes of extent 1 of `b` stretch, and leading axes may be left out: a
/// gate for each channel is `[C]`. Numerical behaviour:
/// [`selvedge_kernels::elementwise::forward`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Binary<O>(PhantomData<O>);

/// `a · b`: a gate. See [`Binary`].
pub type Product = Binary<Multiply>;

/// `a - b`. See [`Binary`].
pub type Difference = Binary<Subtract>;

/// `a / b`. See [`Binary`]; division by 0: [`Operation::Div`].
pub type Quotient = Binary<Divide>;

/// The smaller of `a` and `b`. See [`Binary`].
pub type Minimum = Binary<Smaller>;

/// The larger of `a` and `b`. See [`Binary`].
pub type Maximum = Binary<Larger>;

/// What [`Binary`] does with two elements.
pub trait Operator: 'static {
    /// The kernel's name of it.
    const OPERATION: Operation;
    /// What [`Info::kind`](super::Info::kind) says.
    const KIND: &'static str;
}

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident: $operation:ident, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Operator for $name {
            const OPERATION: Operation = Operation::$operation;
            const KIND: &'static str = $kind;
        }
    )*};
}

operators! {
    /// See [`Product`].
    Multiply: Mul, "product";
    /// See [`Difference`].
    Subtract: Sub, "difference";
    /// See [`Quotient`].
    Divide: Div, "quotient";
    /// See [`Minimum`].
    Smaller: Min, "minimum";
    /// See [`Maximum`].
    Larger: Max, "maximum";
}

/// The channels of `a` and then those of `b`, in the shape `Out`. Integers get the coarser of both
/// exponents. Numerical behaviour: [`selvedge_kernels::layout::concat`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Concat<Out>(PhantomData<Out>);

/// The images `a`, `[H, W, C]`, at the positions `b`, `[.., 2]`: a row and a column in pixels each, which give a
/// pixel of `Out`, `[.., C]`. Beyond the image stand its edges if `IS_BORDERED`, else zeros. Numerical
/// behaviour: [`selvedge_kernels::sample`]. Source: Jaderberg et al. 2015.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample<Out, const IS_BORDERED: bool = false>(PhantomData<Out>);

impl<A: Shape, B: Shape> Join<A, B> for Sum {
    type Output = A;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "sum";
    const RESCALES: bool = true;
    const CHECKED: () = assert!(
        A::RANK == B::RANK && agree::<A, B>(5),
        "sum: both branches must have outputs of the same shape"
    );

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        add(context, a, b, out)
    }

    fn backward<T: Element, E: Executor>(
        asked: Asked,
        _: [Context<'_, T, E>; 2],
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        if asked.first {
            copy(dy.data, da);
        }
        if asked.second {
            copy(dy.data, db);
        }
        Ok([dy.exponent; 2])
    }
}

/// `a + b`, at the exponent that the state of `context` asks for.
pub(super) fn add<T: Element, E: Executor>(
    context: Context<'_, T, E>,
    a: Values<'_, T>,
    b: Values<'_, T>,
    out: &mut [T],
) -> KernelResult<i32> {
    let terms = [a, b].map(|Values { data, exponent, .. }| Term {
        values: data,
        exponent,
    });
    let exec = context.exec;
    context.rescale(aligned_exponent([a.exponent, b.exponent]), |store| {
        elementwise::sum(exec, &terms, store, out)
    })
}

pub(super) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

/// The samples `values` of shape `S` as an operand of `rank` axes beside the batch.
fn operand<S: Shape, T>(values: Values<'_, T>, rank: usize) -> KernelResult<Operand<'_, T>> {
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

impl<A: Shape, B: Shape, O: Operator> Join<A, B> for Binary<O> {
    type Output = A;
    type Scratch<T: Element> = ();

    const KIND: &'static str = O::KIND;
    const RESCALES: bool = true;
    const CHECKED: () = {
        assert!(
            B::RANK <= A::RANK,
            "binary: the second branch has more axes than the first"
        );
        let mut axis = 0;
        while axis < B::RANK {
            let extent = B::EXTENTS[axis];
            assert!(
                extent == 1 || extent == A::EXTENTS[A::RANK - B::RANK + axis],
                "binary: the second branch does not stretch to the shape of the first"
            );
            axis += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let exec = context.exec;
        let exponent = O::OPERATION.exponent::<T>(a.exponent, b.exponent);
        let (a, b) = (operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?);
        context.rescale(exponent, |store| {
            elementwise::forward(exec, O::OPERATION, a, b, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        asked: Asked,
        [first, second]: [Context<'_, T, E>; 2],
        (): &mut (),
        a: Values<'_, T>,
        b: Values<'_, T>,
        y: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let operands = [operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?];
        let adds = A::LEN != B::LEN;
        let mut exponents = [dy.exponent; 2];
        let [of_a, of_b] = &mut exponents;
        if asked.first {
            *of_a = gradient::<O, T, E>(first, Side::A, false, operands, [y, dy], da)?;
        }
        if asked.second {
            *of_b = gradient::<O, T, E>(second, Side::B, adds, operands, [y, dy], db)?;
        }
        Ok(exponents)
    }
}

/// The error of one operand, which `adds` those of several elements or not.
fn gradient<O: Operator, T: Element, E: Executor>(
    context: Context<'_, T, E>,
    side: Side,
    adds: bool,
    [a, b]: [Operand<'_, T>; 2],
    [y, dy]: [Values<'_, T>; 2],
    d: &mut [T],
) -> KernelResult<i32> {
    let exec = context.exec;
    let exponent =
        O::OPERATION.gradient_exponent::<T>(side, a.exponent, b.exponent, y.exponent, dy.exponent);
    let mut run =
        |store| elementwise::backward(exec, O::OPERATION, side, a, b, y.data, dy.data, store, d);
    match O::OPERATION {
        Operation::Mul | Operation::Div => context.rescale(exponent, run),
        _ if adds => context.rescale(exponent, run),
        _ => run(Store::EXACT).map(|_| exponent), // an error, its opposite, or 0
    }
}

impl<A: Shape, B: Shape, Out: Shape> Join<A, B> for Concat<Out> {
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "concat";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            A::RANK == B::RANK && Out::RANK == A::RANK,
            "concat: branches and output must have as many axes"
        );
        assert!(
            agree::<A, B>(A::RANK - 1) && agree::<A, Out>(A::RANK - 1),
            "concat: branches and output may differ in channels only"
        );
        assert!(
            A::CHANNELS + B::CHANNELS == Out::CHANNELS,
            "concat: the output must have the channels of both branches"
        );
    };

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let parts = [operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?];
        layout::concat(A::RANK, &parts, out)
    }

    fn backward<T: Element, E: Executor>(
        _: Asked, // a copy of both
        _: [Context<'_, T, E>; 2],
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let extents = operand::<Out, _>(dy, A::RANK)?.extents;
        layout::split(extents, A::RANK, dy.data, &mut [da, db])?;
        Ok([dy.exponent; 2])
    }
}

impl<Out: Shape, const IS_BORDERED: bool> Sample<Out, IS_BORDERED> {
    const fn shape<A: Shape, B: Shape>(batch: usize) -> sample::Shape {
        let [height, width, channels, ..] = A::EXTENTS;
        sample::Shape {
            batch,
            height,
            width,
            channels,
            points: B::LEN / 2,
            outside: if IS_BORDERED {
                Outside::Border
            } else {
                Outside::Zeros
            },
        }
    }
}

fn positions<T>(b: Values<'_, T>) -> Positions<'_, T> {
    Positions {
        values: b.data,
        exponent: b.exponent,
    }
}

impl<A: Shape, B: Shape, Out: Shape, const IS_BORDERED: bool> Join<A, B>
    for Sample<Out, IS_BORDERED>
{
    type Output = Out;
    /// The sums of an image.
    type Scratch<T: Element> = Scratch<T::Long, A, 1>;

    const KIND: &'static str = "sample";
    const RESCALES: bool = true;
    const CHECKED: () = {
        assert!(
            A::RANK == 3,
            "sample: the first branch must give images of rows, columns and channels"
        );
        assert!(
            B::CHANNELS == 2,
            "sample: the second branch must give positions, of a row and a column each"
        );
        assert!(
            Out::RANK == B::RANK && agree::<B, Out>(B::RANK - 1) && Out::CHANNELS == A::CHANNELS,
            "sample: the output must have the channels of the image for each position"
        );
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let (exec, shape) = (context.exec, Self::shape::<A, B>(a.batch));
        context.rescale(a.exponent - bilinear_places::<T>(), |store| {
            sample::forward(exec, shape, a.data, positions(b), store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        asked: Asked,
        [first, second]: [Context<'_, T, E>; 2],
        scratch: &mut Self::Scratch<T>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let (exec, shape) = (second.exec, Self::shape::<A, B>(a.batch));
        let mut exponents = [dy.exponent; 2];
        let [of_image, of_positions] = &mut exponents;
        if asked.first {
            *of_image = first.rescale(dy.exponent - bilinear_places::<T>(), |store| {
                sample::backward_input(shape, positions(b), dy.data, store, da, scratch.all())
            })?;
        }
        if asked.second {
            let exponent = a.exponent + dy.exponent + sample::position_places::<T>();
            *of_positions = second.rescale(exponent, |store| {
                sample::backward_positions(exec, shape, a.data, positions(b), dy.data, store, db)
            })?;
        }
        Ok(exponents)
    }
}
