//! The update of parameters: stochastic gradient descent, with momentum (also Nesterov's) and
//! decoupled weight decay, in integers and floats; and where a gradient goes once it is summed.
//!
//! Source: `docs/numerics.md` §8. Stochastic rounding of updates: Gupta et al. 2015.

use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::fixed::{
    Accumulator, Magnitude, Rounding, pow2, sat_i64, sat_i128, shift_rne_i32, shift_rne_i64,
    shift_rne_i128, shift_sr_i32, shift_sr_i64, shift_sr_i128, shl_sat_i64, shl_sat_i128,
};
use crate::rng::{Words, mix32};
use half::{bf16, f16};

/// A learning rate `mantissa · 2^exponent`: the same number in integer and in float training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 1 to 255.
    pub mantissa: u8,
    /// Power of two.
    pub exponent: i16,
}

impl Rate {
    /// The rate divided by `2^bits`: halved `bits` times, or shared by a batch of `2^bits` samples.
    #[must_use]
    pub const fn halved(self, bits: u32) -> Self {
        Self {
            mantissa: self.mantissa,
            exponent: self.exponent.saturating_sub_unsigned(bits as u16),
        }
    }

    /// The rate as a float, for display.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.mantissa) * libm::exp2(f64::from(self.exponent))
    }
}

/// Decoupled weight decay: each step takes `mantissa / 2^shift` of a weight away. Its factor is
/// given for a step and contains the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decay {
    /// 1 to 255.
    pub mantissa: u8,
    /// Places.
    pub shift: u8,
}

/// Stochastic gradient descent: `m -= rate · g`, or with momentum
/// `v = momentum/256 · v - rate · g`, `m += v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sgd {
    /// Learning rate; contains the mean over the batch.
    pub rate: Rate,
    /// Momentum in 1/256; 0 keeps no velocity.
    pub momentum: u8,
    /// Nesterov's momentum: `m += momentum/256 · v - rate · g` with the new `v`.
    pub nesterov: bool,
    /// Weight decay, on weights only.
    pub decay: Option<Decay>,
}

impl Sgd {
    /// A rate of 0: what inference is given.
    pub const STILL: Self = Self::new(Rate {
        mantissa: 0,
        exponent: 0,
    });

    /// Plain descent.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self {
            rate,
            momentum: 0,
            nesterov: false,
            decay: None,
        }
    }
}

/// Whether weight decay applies to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does.
    Weight,
    /// It does not.
    Bias,
}

/// An [`Sgd`] step of one tensor: all that its elements have in common.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    sgd: Sgd,
    /// Exponent of gradient times rate.
    exponent: i32,
    words: Words,
}

/// One parameter element during an update.
pub struct Slot<'a, P: Learn> {
    value: &'a mut P,
    /// Low byte of the master, where there is one.
    residual: Option<&'a mut i8>,
    /// Where momentum is kept.
    velocity: Option<&'a mut P::Velocity>,
}

/// How an element type learns.
pub trait Learn: Sized + Copy {
    /// What a gradient is turned into for the update.
    type Update: Accumulator;
    /// What momentum keeps.
    type Velocity: Element;

    /// One element's update; `exponent` is that of the tensor. Returns whether the master has left
    /// its range and was clamped.
    #[doc(hidden)]
    fn learn(
        step: &Step,
        exponent: i32,
        slot: Slot<'_, Self>,
        gradient: Self::Update,
        element: u32,
    ) -> bool;

    /// Half the master, and of the velocity: the tensor's exponent rises by one.
    #[doc(hidden)]
    fn halve(slot: Slot<'_, Self>);
}

/// A parameter tensor and its state, to be updated as its gradient comes in.
#[derive(Debug)]
pub struct Parameter<'a, P: Element> {
    /// The weights, as kernels read them.
    pub value: &'a mut [P],
    /// Low bytes of the masters; empty where the type has none, or for bare 8-bit weights.
    pub residual: &'a mut [i8],
    /// Velocities; empty without momentum.
    pub velocity: &'a mut [P::Velocity],
    /// Exponent of `value`; 0 for floats.
    pub exponent: &'a mut i16,
    /// Whether weight decay applies.
    pub role: Role,
}

impl<'a, P: Element> Parameter<'a, P> {
    /// Prepares an update of this tensor.
    ///
    /// `gradient_exponent` is the exponent of the sums that will come, `words` the addressed words
    /// of this parameter and step.
    ///
    /// # Errors
    /// [`Error::Length`] if `residual` is neither empty nor as long as `value`, or if `velocity` is
    /// not as long where there is momentum.
    pub fn update(self, sgd: &Sgd, gradient_exponent: i32, words: Words) -> Result<Update<'a, P>> {
        let expected = self.value.len();
        if !self.residual.is_empty() && self.residual.len() != expected {
            return Err(Error::Length {
                arg: Arg::Residual,
                expected,
                got: self.residual.len(),
            });
        }
        if sgd.momentum != 0 && self.velocity.len() != expected {
            return Err(Error::Length {
                arg: Arg::Velocity,
                expected,
                got: self.velocity.len(),
            });
        }
        let decay = if self.role == Role::Weight {
            sgd.decay
        } else {
            None
        };
        let exponent = gradient_exponent + i32::from(sgd.rate.exponent);
        let step = Step {
            sgd: Sgd { decay, ..*sgd },
            exponent,
            words,
        };
        Ok(Update {
            parameter: self,
            step,
            has_grown: false,
        })
    }
}

/// An update under way: every element of the gradient is applied as soon as it is summed.
#[derive(Debug)]
pub struct Update<'a, P: Element> {
    parameter: Parameter<'a, P>,
    step: Step,
    has_grown: bool,
}

impl<P: Element> Update<'_, P> {
    /// Applies a gradient that was [stored](Gradient::Store), whose sums have the exponent that the update was prepared
    /// for: the same bytes as applying them as they came in.
    ///
    /// # Errors
    /// [`Error::Length`] if `sums` is not as long as the parameter, which is then untouched.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::optim::{Parameter, Role, Rate, Sgd};
    /// use selvedge_kernels::rng::Words;
    /// let (mut weight, mut exponent) = ([1.0f32, 2.0], 0);
    /// let parameter = Parameter {
    ///     value: &mut weight,
    ///     residual: &mut [],
    ///     velocity: &mut [],
    ///     exponent: &mut exponent,
    ///     role: Role::Weight,
    /// };
    /// let sgd = Sgd::new(Rate { mantissa: 1, exponent: -1 });
    /// parameter.update(&sgd, 0, Words::new(1, 1, 1))?.apply(&[1.0f32, -1.0])?;
    /// assert_eq!(weight, [0.5, 2.5]);
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub fn apply<A: Copy + Into<P::Update>>(mut self, sums: &[A]) -> Result<()> {
        let expected = self.parameter.value.len();
        if sums.len() != expected {
            return Err(Error::Length {
                arg: Arg::Dw,
                expected,
                got: sums.len(),
            });
        }
        self.take(0, sums);
        self.finish();
        Ok(())
    }

    fn take<A: Copy + Into<P::Update>>(&mut self, start: usize, sums: &[A]) {
        let Parameter {
            value,
            residual,
            velocity,
            exponent,
            ..
        } = &mut self.parameter;
        let values = value.get_mut(start..).unwrap_or_default();
        let mut residual = residual.get_mut(start..).unwrap_or_default().iter_mut();
        let mut velocity = velocity.get_mut(start..).unwrap_or_default().iter_mut();
        let exponent = i32::from(**exponent);
        let mut element = start as u32;
        for (value, &sum) in values.iter_mut().zip(sums) {
            let slot = Slot {
                value,
                residual: residual.next(),
                velocity: velocity.next(),
            };
            self.has_grown |= P::learn(&self.step, exponent, slot, sum.into(), element);
            element = element.wrapping_add(1);
        }
    }

    /// Ends the update: where a master left its range, the whole tensor is halved and its exponent
    /// rises.
    fn finish(self) {
        let Parameter {
            value,
            residual,
            velocity,
            exponent,
            ..
        } = self.parameter;
        if !self.has_grown {
            return;
        }
        let mut residual = residual.iter_mut();
        let mut velocity = velocity.iter_mut();
        for value in value {
            P::halve(Slot {
                value,
                residual: residual.next(),
                velocity: velocity.next(),
            });
        }
        *exponent = exponent.saturating_add(1);
    }
}

/// Where the elements of a gradient go as they are completed.
#[derive(Debug)]
pub enum Gradient<'a, P: Element, A> {
    /// Into a buffer, overwritten.
    Store(&'a mut [A]),
    /// Into the parameter at once: no gradient is kept.
    Apply(Update<'a, P>),
}

impl<P: Element, A: Copy + Into<P::Update>> Gradient<'_, P, A> {
    pub(crate) fn check_len(&self, extents: &[usize]) -> Result<()> {
        match self {
            Self::Store(buffer) => Arg::Dw.check_len(buffer.len(), extents),
            Self::Apply(update) => Arg::Weight.check_len(update.parameter.value.len(), extents),
        }
    }

    /// Takes the sums from element `start` on.
    #[inline(always)]
    pub(crate) fn take(&mut self, start: usize, sums: &[A]) {
        match self {
            Self::Store(buffer) => {
                for (place, &sum) in buffer
                    .get_mut(start..)
                    .unwrap_or_default()
                    .iter_mut()
                    .zip(sums)
                {
                    *place = sum;
                }
            }
            Self::Apply(update) => update.take(start, sums),
        }
    }

    /// Ends an update; nothing for a buffer.
    pub fn finish(self) {
        if let Self::Apply(update) = self {
            update.finish();
        }
    }
}

/// Adds the sums of a gradient, which have `exponent`, to `total`, which has `total_exponent`: what accumulates over
/// several batches, and what joins the uses of one parameter. Returns the exponent of `total`.
///
/// Integers of different exponents are added at the larger, or at a larger one where the accumulator could be left; what is
/// finer is rounded to nearest even. Floats are added, and have no exponent.
///
/// # Errors
/// [`Error::Length`] for slices of different lengths; `total` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::optim::accumulate;
/// // 3 · 2^-1 and 6 · 2^-2.
/// let mut total = [3i32];
/// assert_eq!(accumulate(&mut total, -1, &[6], -2)?, -1);
/// assert_eq!(total, [6]);
/// // As many as you like: the exponent rises.
/// let mut total = [i32::MAX];
/// assert_eq!(accumulate(&mut total, 0, &[i32::MAX], 0)?, 2);
/// assert_eq!(total, [1 << 30]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn accumulate<A: Accumulator>(
    total: &mut [A],
    total_exponent: i32,
    sums: &[A],
    exponent: i32,
) -> Result<i32> {
    if total.len() != sums.len() {
        return Err(Error::Length {
            arg: Arg::Dw,
            expected: total.len(),
            got: sums.len(),
        });
    }
    let coarser = total_exponent.max(exponent);
    // Rounding may carry into one bit more, and so does the sum: both must leave the sign alone.
    let most = 8 * size_of::<A>() as i32 - 3;
    let beyond = |values: &[A], exponent: i32| {
        let seen = values.iter().fold(A::Magnitude::default(), |seen, value| {
            seen.or(value.magnitude())
        });
        seen.bits() as i32 - coarser.saturating_sub(exponent) - most
    };
    let rise = beyond(total, total_exponent)
        .max(beyond(sums, exponent))
        .max(0);
    let coarser = coarser.saturating_add(rise);
    let [of_total, of_sums] = [total_exponent, exponent].map(|own| coarser.saturating_sub(own));
    for (total, &sum) in total.iter_mut().zip(sums) {
        let rounding = Rounding::NearestEven;
        *total = total.shift(of_total, rounding, 0) + sum.shift(of_sums, rounding, 0);
    }
    Ok(coarser)
}

/// What the word of a weight's decay is XORed with before it is mixed again.
const DECAY_WORD: u32 = 0x5BD1_E995;
/// The same for Nesterov's second rounding.
const NESTEROV_WORD: u32 = 0x2545_F491;

/// An update with all that [`Sgd`] offers: one copy for all integer types of a width.
trait Wide: Copy {
    /// What is to be subtracted from `master`. Takes `velocity`, if there is one, to its new value
    /// within `velocity_bits`; `shift` is the exponent of the master less that of the gradient.
    fn change(
        step: &Step,
        master: Self,
        velocity: Option<(&mut Self, u32)>,
        gradient: Self,
        shift: i32,
        u: u32,
    ) -> Self;
}

macro_rules! impl_wide {
    ($($t:ident: $sr:ident $shl:ident $sat:ident;)*) => {$(
        impl Wide for $t {
            #[inline(never)]
            fn change(
                step: &Step,
                master: $t,
                velocity: Option<(&mut $t, u32)>,
                gradient: $t,
                mut shift: i32,
                u: u32,
            ) -> $t {
                let sgd = &step.sgd;
                let mut g = gradient * $t::from(sgd.rate.mantissa);
                let mut change = match velocity {
                    Some((velocity, bits)) if sgd.momentum != 0 => {
                        if shift > 38 {
                            g >>= (shift - 38).min($t::BITS as i32 - 2); // keeps the sum within the width
                            shift = 38;
                        }
                        // momentum/256 · v - rate · g, rounded once
                        let mut word = u;
                        let mut v = *velocity;
                        let mut is_first = true;
                        loop {
                            let kept = v * $t::from(sgd.momentum);
                            v = if shift >= 8 {
                                $sr((kept << (shift - 8)) - g, shift, word)
                            } else {
                                $sr(kept - $shl(g, (8 - shift) as u32), 8, word)
                            };
                            if is_first {
                                v = $sat(v, bits);
                                *velocity = v;
                            }
                            if !(is_first && sgd.nesterov) {
                                break -v;
                            }
                            is_first = false;
                            word = mix32(u ^ NESTEROV_WORD);
                        }
                    }
                    _ => $sr(g, shift, u),
                };
                if let Some(decay) = sgd.decay {
                    let word = mix32(u ^ DECAY_WORD);
                    let decay = $sr(master * $t::from(decay.mantissa), i32::from(decay.shift), word);
                    change = change.saturating_add(decay);
                }
                change
            }
        }
    )*};
}

impl_wide! {
    i64: shift_sr_i64 shl_sat_i64 sat_i64;
    i128: shift_sr_i128 shl_sat_i128 sat_i128;
}

/// The masters of type `$t` have the type `$master`, in which twice their range fits; gradients and
/// velocities are computed in `$update`.
macro_rules! impl_integer {
    ($($t:ident as $signed:ident, flip $flip:expr, magnitude $m:expr, master $master:ident $rne:ident,
       update $update:ident $rne_update:ident, velocity $velocity:ident $velocity_bits:expr,
       gradient_shift $gradient_shift:expr;)*) => {$(
        impl Learn for $t {
            type Update = $update;
            type Velocity = $velocity;

            #[inline]
            fn learn(step: &Step, exponent: i32, mut slot: Slot<'_, Self>, gradient: $update, element: u32) -> bool {
                let residual_bits = if slot.residual.is_some() { 8 } else { 0 };
                let limit: $master = ((1 << $m) - 1) << residual_bits;
                let Step { sgd, exponent: gradient_exponent, words } = *step;
                let u = words.word(element);

                let master = slot.master();
                let shift = exponent - residual_bits - (gradient_exponent + $gradient_shift);
                let is_plain = sgd.momentum == 0 && sgd.decay.is_none();
                // To subtract more makes no difference. `max` and `min`: for `clamp`, the compiler does
                // not always see that the bounds are in order.
                let far = 2 * limit + 1;
                let change = if $m < 16 && is_plain && gradient > -(1 << 22) && gradient < 1 << 22 {
                    // In 32 bits, for cores without a 64-bit product; nothing is lost.
                    shift_sr_i32(gradient as i32 * i32::from(sgd.rate.mantissa), shift, u)
                        .max(-(far as i32)).min(far as i32) as $master
                } else {
                    let gradient = if $gradient_shift > 0 { $rne_update(gradient, $gradient_shift) } else { gradient };
                    let mut v = slot.velocity.as_ref().map(|v| $update::from(**v));
                    let velocity = v.as_mut().map(|v| (v, $velocity_bits));
                    let change = $update::change(step, master.into(), velocity, gradient, shift, u);
                    if let (Some(velocity), Some(v)) = (&mut slot.velocity, v) {
                        **velocity = v as $velocity;
                    }
                    change.max(-$update::from(far)).min($update::from(far)) as $master
                };
                let master = master - change;
                slot.set_master(master.max(-limit).min(limit));
                master > limit || master < -limit
            }

            fn halve(mut slot: Slot<'_, Self>) {
                slot.set_master($rne(slot.master(), 1));
                if let Some(velocity) = slot.velocity {
                    *velocity = $rne_update($update::from(*velocity), 1) as $velocity;
                }
            }
        }

        impl Slot<'_, $t> {
            #[inline(always)]
            fn master(&self) -> $master {
                let q = $master::from((*self.value ^ $flip) as $signed);
                match &self.residual {
                    Some(low) => (q << 8) + $master::from(**low),
                    None => q,
                }
            }

            #[inline(always)]
            fn set_master(&mut self, master: $master) {
                let q = match &mut self.residual {
                    Some(low) => {
                        let q = (master + 128) >> 8;
                        **low = (master - (q << 8)) as i8;
                        q
                    }
                    None => master,
                };
                *self.value = q as $signed as $t ^ $flip;
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ident: wide $wide:ident, |$w:ident| $widen:expr, |$x:ident, $u:ident| $round:expr;)*) => {$(
        impl Learn for $t {
            type Update = $wide;
            type Velocity = $wide;

            #[inline]
            fn learn(step: &Step, _: i32, slot: Slot<'_, Self>, gradient: $wide, element: u32) -> bool {
                let Step { sgd, exponent, words } = *step;
                let $w = *slot.value;
                let mut $x: $wide = $widen;
                if let Some(decay) = sgd.decay {
                    $x -= $x * ($wide::from(decay.mantissa) * $wide::from(pow2(-i32::from(decay.shift))));
                }
                let change = gradient * ($wide::from(sgd.rate.mantissa) * $wide::from(pow2(exponent)));
                match slot.velocity {
                    Some(velocity) if sgd.momentum != 0 => {
                        let momentum = $wide::from(sgd.momentum) / 256.0;
                        *velocity = momentum * *velocity - change;
                        $x += if sgd.nesterov { momentum * *velocity - change } else { *velocity };
                    }
                    _ => $x -= change,
                }
                let $u = words.word(element);
                *slot.value = $round;
                false
            }

            fn halve(_: Slot<'_, Self>) {} // floats never leave their range by an update
        }
    )*};
}

/// Rounds to one of the two neighbours in `f16`, with probabilities by the distances; saturates at
/// the largest number. NaN stays.
fn stochastic_f16(x: f32, u: u32) -> f16 {
    let magnitude = f32::from_bits(x.to_bits() & 0x7FFF_FFFF);
    let rounded = if magnitude.is_nan() {
        return f16::NAN;
    } else if magnitude >= 65_504.0 {
        f16::MAX
    } else if magnitude >= pow2(-14) {
        // Normal: 13 bits of the significand are lost. A carry into the exponent is right, too.
        let bits = (magnitude.to_bits() + (u >> 19)) >> 13;
        f16::from_bits((bits - ((127 - 15) << 10)) as u16)
    } else {
        // Subnormal: whole multiples of 2^-24, of which a word decides the fraction.
        let units = magnitude * pow2(24);
        let floor = units as u32;
        let fraction = ((units - floor as f32) * pow2(32)) as u32;
        f16::from_bits((floor + u32::from(u < fraction)) as u16)
    };
    if x.is_sign_negative() {
        -rounded
    } else {
        rounded
    }
}

/// The same for `bf16`, which is the upper half of an `f32`.
fn stochastic_bf16(x: f32, u: u32) -> bf16 {
    if x.is_nan() {
        return bf16::NAN;
    }
    let magnitude = ((x.to_bits() & 0x7FFF_FFFF) + (u >> 16)) >> 16;
    let rounded = bf16::from_bits((magnitude as u16).min(bf16::MAX.to_bits()));
    if x.is_sign_negative() {
        -rounded
    } else {
        rounded
    }
}

impl_integer! {
    i8 as i8, flip 0, magnitude 7, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i16 15, gradient_shift 0;
    u8 as i8, flip 0x80, magnitude 7, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i16 15, gradient_shift 0;
    i16 as i16, flip 0, magnitude 15, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i16 15, gradient_shift 0;
    u16 as i16, flip 0x8000, magnitude 15, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i16 15, gradient_shift 0;
    i32 as i32, flip 0, magnitude 24, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i32 24, gradient_shift 16;
    u32 as i32, flip 0x8000_0000, magnitude 24, master i32 shift_rne_i32, update i64 shift_rne_i64,
        velocity i32 24, gradient_shift 16;
    i64 as i64, flip 0, magnitude 53, master i64 shift_rne_i64, update i128 shift_rne_i128,
        velocity i64 53, gradient_shift 16;
    u64 as i64, flip 0x8000_0000_0000_0000, magnitude 53, master i64 shift_rne_i64, update i128 shift_rne_i128,
        velocity i64 53, gradient_shift 16;
}

impl_float! {
    f16: wide f32, |w| w.to_f32(), |x, u| stochastic_f16(x, u);
    bf16: wide f32, |w| w.to_f32(), |x, u| stochastic_bf16(x, u);
    f32: wide f32, |w| w, |x, _u| x;
    f64: wide f64, |w| w, |x, _u| x;
}
