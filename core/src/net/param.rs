//! A parameter tensor with what training keeps beside it.

use super::{Visitor, VisitorMut};
use crate::tensor::{Shape, Tensor};
use selvedge_kernels::element::Residual;
use selvedge_kernels::init::{Gain, uniform};
use selvedge_kernels::optim::{Parameter, Role};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, Result, norm};

/// Which state an optimizer keeps for each parameter.
pub trait Optimizer: 'static {
    /// Whether there is a velocity for each parameter: momentum asks for them.
    const KEEPS_VELOCITIES: bool;
    /// Velocities of a tensor, or nothing.
    type Velocities<T: Element, S: Shape>: Velocities<T>;
}

/// Plain gradient descent: no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

/// Momentum, also Nesterov's: a velocity for each parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Momentum;

impl Optimizer for Plain {
    const KEEPS_VELOCITIES: bool = false;
    type Velocities<T: Element, S: Shape> = ();
}

impl Optimizer for Momentum {
    const KEEPS_VELOCITIES: bool = true;
    type Velocities<T: Element, S: Shape> = Kept<T, S>;
}

/// Velocities of a tensor, or nothing.
pub trait Velocities<T: Element> {
    /// All zero.
    const BLANK: Self;

    /// The velocities; empty if none are kept.
    fn velocities(&self) -> &[T::Velocity];

    /// The same, to be changed.
    fn velocities_mut(&mut self) -> &mut [T::Velocity];
}

impl<T: Element> Velocities<T> for () {
    const BLANK: Self = ();

    fn velocities(&self) -> &[T::Velocity] {
        &[]
    }

    fn velocities_mut(&mut self) -> &mut [T::Velocity] {
        &mut []
    }
}

/// A velocity for each element of a tensor.
pub struct Kept<T: Element, S: Shape>(Tensor<T::Velocity, S>);

impl<T: Element, S: Shape> Velocities<T> for Kept<T, S> {
    const BLANK: Self = Self(Tensor::BLANK);

    fn velocities(&self) -> &[T::Velocity] {
        self.0.elements()
    }

    fn velocities_mut(&mut self) -> &mut [T::Velocity] {
        self.0.elements_mut()
    }
}

/// Weights of shape `S`: what kernels read, the low bytes of the masters where the type has them,
/// the exponent, and the optimizer's state.
pub struct Param<T: Element, S: Shape, R: Optimizer> {
    value: Tensor<T, S>,
    residual: Tensor<T::Residual, S>,
    velocity: R::Velocities<T, S>,
    exponent: i16,
}

impl<T: Element, S: Shape, R: Optimizer> Param<T, S, R> {
    /// All zero bytes.
    pub const BLANK: Self = Self {
        value: Tensor::BLANK,
        residual: Tensor::BLANK,
        velocity: Velocities::BLANK,
        exponent: 0,
    };

    /// Bytes that a deployed network stores for it.
    pub const FLASH_BYTES: usize =
        S::LEN * T::DTYPE.bytes() + if T::DTYPE.is_integer() { 2 } else { 0 };

    /// The elements in their shape.
    pub const fn tensor(&self) -> &Tensor<T, S> {
        &self.value
    }

    /// The elements in a row.
    pub fn elements(&self) -> &[T] {
        self.value.elements()
    }

    /// The low bytes of the masters; empty where the type has none.
    pub fn residual(&self) -> &[i8] {
        T::Residual::bytes(self.residual.elements())
    }

    /// The exponent; 0 for floats.
    pub fn exponent(&self) -> i16 {
        self.exponent
    }

    /// Random numbers, in place, and no velocity.
    ///
    /// # Errors
    /// Those of [`uniform`].
    pub fn init(&mut self, words: Words, gain: Gain, fan_in: usize) -> Result<()> {
        let residual = T::Residual::bytes_mut(self.residual.elements_mut());
        self.exponent = uniform(self.value.elements_mut(), residual, words, gain, fan_in)?;
        self.velocity = Velocities::BLANK;
        Ok(())
    }

    /// Zeros at `exponent`, in place, and no velocity.
    pub fn set_zero(&mut self, exponent: i16) {
        self.value.set_zero();
        T::Residual::bytes_mut(self.residual.elements_mut()).fill(0);
        self.velocity = Velocities::BLANK;
        self.exponent = if T::DTYPE.is_integer() { exponent } else { 0 };
    }

    /// Ones, in place, and no velocity: how gains begin.
    pub fn set_one(&mut self) {
        self.set(norm::ones);
    }

    /// What `fill` writes, whose exponent it returns, in place, and no velocity.
    pub fn set(&mut self, fill: impl FnOnce(&mut [T]) -> i16) {
        self.exponent = fill(self.value.elements_mut());
        T::Residual::bytes_mut(self.residual.elements_mut()).fill(0);
        self.velocity = Velocities::BLANK;
    }

    /// Shows it, and its velocities, to `visitor`.
    pub fn visit(&self, visitor: &mut impl Visitor) {
        visitor.parameter(self.elements(), self.residual(), self.exponent);
        if R::KEEPS_VELOCITIES {
            visitor.velocities(self.velocity.velocities());
        }
    }

    /// Hands both to `visitor`, to be changed.
    pub fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        let residual = T::Residual::bytes_mut(self.residual.elements_mut());
        visitor.parameter(self.value.elements_mut(), residual, &mut self.exponent);
        if R::KEEPS_VELOCITIES {
            visitor.velocities(self.velocity.velocities_mut());
        }
    }

    /// Takes what the optimizer keeps, and the low bytes of the masters, away: elements and exponent are other ones
    /// than those that were trained.
    pub(crate) fn forget(&mut self) {
        T::Residual::bytes_mut(self.residual.elements_mut()).fill(0);
        self.velocity = Velocities::BLANK;
    }

    /// The tensor with its state, for an update.
    pub fn parameter(&mut self, role: Role) -> Parameter<'_, T> {
        Parameter {
            value: self.value.elements_mut(),
            residual: T::Residual::bytes_mut(self.residual.elements_mut()),
            velocity: self.velocity.velocities_mut(),
            exponent: &mut self.exponent,
            role,
        }
    }
}
