//! The exponent of a tensor as state: delayed scaling.
//!
//! Within a step all exponents are constants; each adapts after the step to the range that was
//! seen. So one pass suffices, no accumulators are kept, and batch, threads and sample-at-a-time
//! give the same bytes. Source: `docs/numerics.md` §4; delayed scaling is how 8-bit floats are
//! trained (Micikevicius et al. 2022, "FP8 formats for deep learning").

use crate::error::Result;
use crate::fixed::Rounding;
use crate::requantize::Store;

/// Whether a pass may change the exponent states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    // First: to compare with nothing is the shortest code, and most comparisons are with this one.
    /// States stay as they are: samples do not influence each other.
    Infer,
    /// States adapt to what is seen.
    Train,
    /// As inference, but states adapt to what is seen: for a network that has changed its type.
    Calibrate,
}

/// The exponent state of a tensor, or its absence.
pub trait Scale: Copy + Send + Sync + 'static {
    /// Nothing seen. All zero bytes.
    const UNSET: Self;

    /// Runs a kernel whose accumulators have the exponent `acc_exponent`, so that its output has
    /// `bits` magnitude bits; returns the output's exponent.
    ///
    /// `run` gets what to do with the accumulators and returns the bit length of their largest
    /// magnitude. It is called once; twice (to measure first) while the state is unset.
    ///
    /// # Errors
    /// What `run` returns; the state is then unchanged.
    fn requantize(
        &mut self,
        acc_exponent: i32,
        bits: u32,
        mode: Mode,
        rounding: Rounding,
        run: impl FnMut(Store) -> Result<u32>,
    ) -> Result<i32>;

    /// Begins a step of a *window*: the state of a tensor that is made in pieces during a step, as the
    /// errors of a recurrent layer are. Returns the exponent of all its pieces; an unset state starts at
    /// `first`. 0 for floats.
    fn begin(&mut self, first: i32) -> i32;

    /// Ends a window's step: `top` is the largest exponent plus bit length of a piece, nothing where all
    /// were zero; `bits` are the magnitude bits that pieces are stored in.
    fn end(&mut self, top: Option<i32>, bits: u32);

    /// The exponent, once it is set.
    fn exponent(self) -> Option<i32>;

    /// The state in numbers; `None` while it is unset, and for floats.
    fn state(self) -> Option<State>;

    /// The state of these numbers; at most 63 steps count as steps with a bit to spare.
    fn from_state(state: Option<State>) -> Self;
}

/// An [`Exponent`] in numbers: what a saved model keeps, to go on with the same bytes.
///
/// # Example
/// ```
/// use selvedge_kernels::scale::{Exponent, Scale, State};
/// let state = State { exponent: -7, low: 12 };
/// assert_eq!(Exponent::from_state(Some(state)).state(), Some(state));
/// assert_eq!(Exponent::UNSET.state(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The exponent.
    pub exponent: i16,
    /// Steps in a row with a bit to spare, 0 to 63.
    pub low: u8,
}

/// A float tensor: its elements carry their own exponents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unscaled;

impl Scale for Unscaled {
    const UNSET: Self = Self;

    fn requantize(
        &mut self,
        acc_exponent: i32,
        _: u32,
        _: Mode,
        rounding: Rounding,
        mut run: impl FnMut(Store) -> Result<u32>,
    ) -> Result<i32> {
        run(Store::Shift { shift: 0, rounding })?;
        Ok(acc_exponent)
    }

    fn begin(&mut self, _: i32) -> i32 {
        0
    }

    fn end(&mut self, _: Option<i32>, _: u32) {}

    fn exponent(self) -> Option<i32> {
        None
    }

    fn state(self) -> Option<State> {
        None
    }

    fn from_state(_: Option<State>) -> Self {
        Self
    }
}

/// The exponent of one activation or error tensor, with its count of steps at too wide a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exponent {
    exponent: i16,
    low: u8,
    is_set: bool,
}

impl Exponent {
    /// Steps with a bit to spare before the exponent shrinks by one.
    const PATIENCE: u8 = 64;

    /// The exponent, once it is set.
    #[must_use]
    pub const fn get(self) -> Option<i32> {
        if self.is_set {
            Some(self.exponent as i32)
        } else {
            None
        }
    }

    /// Steps in a row with a bit to spare.
    #[must_use]
    pub const fn low(self) -> u8 {
        self.low
    }

    /// Grows at once to `want`, or shrinks by one after 64 steps in a row that wanted less.
    pub fn adapt(&mut self, want: i32) {
        let exponent = i32::from(self.exponent);
        if want > exponent {
            self.set(want);
        } else if want < exponent {
            self.low += 1;
            if self.low >= Self::PATIENCE {
                self.set(exponent - 1);
            }
        } else {
            self.low = 0;
        }
    }

    fn set(&mut self, exponent: i32) {
        let exponent = exponent.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        *self = Self {
            exponent: exponent as i16,
            low: 0,
            is_set: true,
        };
    }
}

impl Scale for Exponent {
    const UNSET: Self = Self {
        exponent: 0,
        low: 0,
        is_set: false,
    };

    fn requantize(
        &mut self,
        acc_exponent: i32,
        bits: u32,
        mode: Mode,
        rounding: Rounding,
        mut run: impl FnMut(Store) -> Result<u32>,
    ) -> Result<i32> {
        let want = |range: u32| acc_exponent + range as i32 - bits as i32;
        let mut exponent = self.get();
        // One place that calls `run`, which is large once inlined.
        loop {
            let store = match exponent {
                Some(exponent) => {
                    let shift = exponent - acc_exponent;
                    Store::Shift { shift, rounding }
                }
                None => Store::Measure,
            };
            let range = run(store)?;
            let Some(exponent) = exponent else {
                // All zero says nothing about the range: a provisional exponent.
                exponent = Some(if range == 0 {
                    acc_exponent
                } else {
                    want(range)
                });
                continue;
            };
            if mode != Mode::Infer && range != 0 {
                if !self.is_set {
                    self.set(exponent);
                }
                self.adapt(want(range));
            }
            return Ok(exponent);
        }
    }

    fn begin(&mut self, first: i32) -> i32 {
        if !self.is_set {
            self.set(first);
        }
        i32::from(self.exponent)
    }

    fn end(&mut self, top: Option<i32>, bits: u32) {
        if let Some(top) = top {
            self.adapt(top - bits as i32);
        }
    }

    fn exponent(self) -> Option<i32> {
        self.get()
    }

    fn state(self) -> Option<State> {
        self.is_set.then_some(State {
            exponent: self.exponent,
            low: self.low,
        })
    }

    fn from_state(state: Option<State>) -> Self {
        match state {
            None => Self::UNSET,
            Some(State { exponent, low }) => Self {
                exponent,
                low: low.min(Self::PATIENCE - 1),
                is_set: true,
            },
        }
    }
}
