//! The variants that take a row of N logits to a row of N probabilities: one forward and one
//! backward pass for all, and a rule for what each does to a row.

use super::number::Number;
use super::temperature::{Alpha, Kind, Temperature};
use super::{Errors, Kernels, Logits, Shape, Sink};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};

/// What a variant does to a row.
pub trait Rule: Copy {
    /// Takes the logits of row `row` to numbers of its own, in place.
    fn prepare<N: Number>(self, row: usize, z: &mut [N], exponent: i32, temperature: Temperature);

    /// Like [`Rule::prepare`], for the forward pass, where it differs.
    fn prepare_forward<N: Number>(
        self,
        row: usize,
        z: &mut [N],
        exponent: i32,
        temperature: Temperature,
    ) {
        self.prepare(row, z, exponent, temperature);
    }

    /// The probability of such a number.
    #[inline(always)]
    fn mass<N: Number>(self, number: N) -> N {
        number
    }

    /// Whether the element at `place` of row `row` takes part at all.
    #[inline(always)]
    fn takes(self, _row: usize, _place: usize) -> bool {
        true
    }

    /// Its weight in the Jacobian.
    #[inline(always)]
    fn weight<N: Number>(self, number: N) -> N {
        number
    }
}

/// The softmax itself.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Rule for Plain {
    fn prepare<N: Number>(self, _: usize, z: &mut [N], exponent: i32, temperature: Temperature) {
        N::softmax(z, exponent, temperature, 0);
    }
}

impl Rule for Alpha {
    fn prepare<N: Number>(self, _: usize, z: &mut [N], exponent: i32, temperature: Temperature) {
        if self.kind == Kind::Softmax {
            N::softmax(z, exponent, temperature, 0);
        } else {
            N::excess(z, exponent, temperature, self);
        }
    }

    #[inline(always)]
    fn mass<N: Number>(self, number: N) -> N {
        number.mass(self)
    }

    #[inline(always)]
    fn weight<N: Number>(self, number: N) -> N {
        number.slope(self)
    }
}

/// A checked forward call.
pub struct Forward<'a, T: Kernels, R> {
    shape: Shape,
    logits: Logits<'a, T>,
    rule: R,
    out: &'a mut [T],
    scratch: &'a mut [T::Number],
}

impl<'a, T: Element, R: Rule> Forward<'a, T, R> {
    pub(super) fn new(
        shape: Shape,
        logits: Logits<'a, T>,
        rule: R,
        out: &'a mut [T],
        scratch: &'a mut [T::Number],
    ) -> Result<Self> {
        shape.check()?;
        Shape::limit::<T>(shape.classes)?;
        Arg::X.check_len(logits.x.len(), &[shape.rows, shape.classes])?;
        Arg::Out.check_len(out.len(), &[shape.rows, shape.classes])?;
        Arg::Scratch.check_len(scratch.len(), &[shape.classes])?;
        Ok(Self {
            shape,
            logits,
            rule,
            out,
            scratch,
        })
    }

    #[inline(always)]
    pub(super) fn run(self) {
        let (Logits { x, temperature, .. }, rule) = (self.logits, self.rule);
        let exponent = cut_exponent(self.logits);
        let classes = self.shape.classes;
        // x, out, z: [N]
        let rows = rows_of(x, classes).zip(rows_of_mut(self.out, classes));
        for (row, (x, out)) in rows.enumerate() {
            let z = &mut *self.scratch;
            load(x, z);
            rule.prepare_forward(row, z, exponent, temperature);
            for (out, &z) in out.iter_mut().zip(&*z) {
                *out = T::softmax_probability(rule.mass(z));
            }
        }
    }
}

/// A checked backward call.
pub struct Backward<'a, T: Kernels, R> {
    shape: Shape,
    logits: Logits<'a, T>,
    rule: R,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Number],
}

impl<'a, T: Element, R: Rule> Backward<'a, T, R> {
    pub(super) fn new(
        shape: Shape,
        logits: Logits<'a, T>,
        rule: R,
        errors: Errors<'a, T>,
        dx: &'a mut [T],
        scratch: &'a mut [T::Number],
    ) -> Result<Self> {
        shape.check()?;
        Shape::limit::<T>(shape.classes)?;
        let Errors { dy, store } = errors;
        Arg::X.check_len(logits.x.len(), &[shape.rows, shape.classes])?;
        Arg::Dy.check_len(dy.len(), &[shape.rows, shape.classes])?;
        Arg::Dx.check_len(dx.len(), &[shape.rows, shape.classes])?;
        Arg::Scratch.check_len(scratch.len(), &[shape.classes])?;
        Ok(Self {
            shape,
            logits,
            rule,
            dy,
            store,
            dx,
            scratch,
        })
    }

    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let (Logits { x, temperature, .. }, rule) = (self.logits, self.rule);
        let exponent = cut_exponent(self.logits);
        let classes = self.shape.classes;
        let mut sink = Sink::new(self.store);
        let mut element = 0u32;
        // x, dy, dx, z: [N]
        let rows = rows_of(x, classes).zip(rows_of(self.dy, classes));
        for (row, ((x, dy), dx)) in rows.zip(rows_of_mut(self.dx, classes)).enumerate() {
            let z = &mut *self.scratch;
            load(x, z);
            rule.prepare(row, z, exponent, temperature);
            // d/dz of p_i = f(z_i - τ), Σ p = 1: with s = f', dp_i = s_i (dz_i - dτ), and the sum's
            // being constant makes dτ the mean of dz under s. The matrix is symmetric.
            let weights = z.iter().map(|&z| rule.weight(z));
            let taken = weights.zip(dy).enumerate();
            let taken = taken.filter(|(place, _)| rule.takes(row, *place));
            let mean = T::Number::mean(taken.map(|(_, (weight, g))| (weight, g.softmax_error())));
            for (place, ((dx, &g), &z)) in dx.iter_mut().zip(dy).zip(&*z).enumerate() {
                let difference = if rule.takes(row, place) {
                    g.softmax_error() - mean
                } else {
                    T::Number::default()
                };
                let gradient = T::Number::gradient(rule.weight(z), difference, temperature);
                T::softmax_gradient(gradient, &mut sink, element, dx);
                element = element.wrapping_add(1);
            }
        }
        sink.bits()
    }
}

/// The exponent of logits once they are cut.
pub(super) fn cut_exponent<T: Element>(logits: Logits<'_, T>) -> i32 {
    logits.exponent.saturating_add(T::ZERO.logit().1)
}

/// The logits of a row as numbers.
#[inline(always)]
pub(super) fn load<T: Element>(x: &[T], z: &mut [T::Number]) {
    for (z, x) in z.iter_mut().zip(x) {
        *z = x.softmax_number();
    }
}
