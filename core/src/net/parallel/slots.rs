//! Error buffers of branches: a slot for each in the buffer that holds the output's error, the other one for all.

use super::branches::Extent;
use crate::error::Result;
use crate::net::join::copy;
use crate::net::{Backward, Errors, Info, part};

/// The larger of two lengths.
const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// What errors of branches are on their way through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// Elements of an input sample, or 0 if its error is not asked for.
    pub(super) input: usize,
}

impl Slots {
    pub(super) const fn new(input: usize, is_needed: bool) -> Self {
        Self {
            input: if is_needed { input } else { 0 },
        }
    }

    const fn errors(self, info: &Info) -> Errors {
        if self.input > 0 {
            info.errors
        } else {
            info.errors_first
        }
    }

    /// Elements of the slot of a branch with an output of `output` elements, a sample.
    pub(super) const fn slot(self, info: &Info, output: usize) -> usize {
        max(max(self.errors(info).error, output), self.input)
    }

    /// The buffers of the branches `infos` alone.
    pub(super) const fn branches(self, infos: &[Info], outputs: &[Extent]) -> Errors {
        let mut errors = Errors::NONE;
        let mut branch = 0;
        while branch < infos.len() {
            errors = self.beside(errors, &infos[branch], outputs[branch].len);
            branch += 1;
        }
        errors
    }

    /// Those with one more branch.
    pub(super) const fn beside(self, others: Errors, info: &Info, output: usize) -> Errors {
        Errors {
            error: others.error + self.slot(info, output),
            spare: max(others.spare, self.errors(info).spare),
            swaps: false,
        }
    }

    /// Those of the whole layer, with an output of `output` elements, a sample. The output's error is copied to the
    /// spare buffer before slots are filled; the sum of all branches' errors goes there, too.
    pub(super) const fn whole(self, branches: Errors, output: usize) -> Errors {
        Errors {
            error: max(branches.error, output),
            spare: max(max(branches.spare, output), self.input),
            swaps: self.input > 0,
        }
    }

    /// Runs the backward pass of the branch `info`, whose output's error of `exponent` is in `slot`; leaves that of the
    /// input there, and returns its exponent.
    pub(super) fn descend<T: Copy>(
        self,
        info: &Info,
        batch: usize,
        slot: &mut [T],
        spare: &mut [T],
        exponent: i32,
        run: impl for<'e> FnOnce(Backward<'e, T>) -> Result<Backward<'e, T>>,
    ) -> Result<i32> {
        let below = run(Backward {
            error: slot,
            spare,
            exponent,
        })?;
        if self.input > 0 && info.errors.swaps {
            copy(part(below.error, batch * self.input), below.spare);
        }
        Ok(below.exponent)
    }
}

/// Takes the first `len` elements off a buffer; all of it where it is too short, which a kernel then refuses.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let all = core::mem::take(rest);
    let len = len.min(all.len());
    let (first, others) = all.split_at_mut_checked(len).unwrap_or_default();
    *rest = others;
    first
}
