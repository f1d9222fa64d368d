//! Gates and other arithmetic.

use super::{Asked, Join, operand};
use crate::net::{Context, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::Operand;
use selvedge_kernels::elementwise::{self, Operation, Side};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Result as KernelResult};

/// `a ∘ b` by an [`Operator`], where axes of extent 1 of `b` stretch, and leading axes may be left out: a
/// gate for each channel is `[C]`. Numerical behaviour:
/// [`selvedge_kernels::elementwise::forward`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Binary<O>(PhantomData<O>);

/// `a + b`: a bias that the network computes. See [`Binary`]; [`Sum`](super::Sum) is that of equal shapes.
pub type Addition = Binary<Add>;

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
    /// What [`Info::kind`](crate::net::Info::kind) says.
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
    /// See [`Addition`].
    Add: Add, "addition";
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
