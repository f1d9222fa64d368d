//! Keys and values of earlier passes.

use crate::net::{copy, part};
use selvedge_kernels::elementwise::{self, Term};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::split::{move_up, rows_of, rows_of_mut};
use selvedge_kernels::{Element, Error, Result};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache {
    /// Rows of a sample that there is room for.
    pub(crate) capacity: usize,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Rows of a pass.
    pub(crate) rows: usize,
    /// Whether rows that no position sees any more may go.
    pub(crate) forgets: bool,
}

impl Cache {
    /// Adds the keys and values of a pass, `new`, to the first `kept` rows of each sample of `caches`, whose exponents are
    /// those `before`; returns how many there are then. `room` holds a sample.
    #[inline(never)]
    pub(crate) fn remember<T: Element>(
        self,
        exec: &impl Executor,
        kept: usize,
        caches: [&mut [T]; 2],
        before: [i32; 2],
        new: [(&[T], i32); 2],
        room: &mut [T],
    ) -> Result<usize> {
        let Self {
            capacity,
            width,
            rows,
            forgets,
        } = self;
        let keys = kept.saturating_add(rows);
        let forgotten = keys.saturating_sub(capacity);
        if forgotten > 0 && !forgets {
            return Err(Error::Capacity { keys, capacity });
        }
        let kept = kept.saturating_sub(forgotten);
        let [from, len] = [forgotten, kept].map(|rows| rows.saturating_mul(width));
        for ((cache, before), (new, after)) in caches.into_iter().zip(before).zip(new) {
            let samples = rows_of_mut(cache, capacity.saturating_mul(width));
            for (cache, new) in samples.zip(rows_of(new, rows.saturating_mul(width))) {
                if kept > 0 && before != after {
                    let term = Term {
                        values: &*cache,
                        exponent: before,
                    };
                    let store = Store::Shift {
                        shift: after.saturating_sub(before),
                        rounding: Rounding::NearestEven,
                    };
                    let room = part(room, term.values.len());
                    elementwise::sum(exec, &[term], store, room)?;
                    copy(room, cache);
                }
                if from > 0 {
                    move_up(cache, from, len, 0);
                }
                copy(new, cache.get_mut(len..).unwrap_or_default());
            }
        }
        Ok(kept.saturating_add(rows))
    }
}
