//! Which keys a query may see.

use super::Shape;
use crate::error::{Arg, Error, Result};
use core::ops::Range;

/// Which keys a query may see: a run of neighbours, or none.
///
/// Query `i` has the position `offset + i` among the keys. A key must fulfil all that is asked for.
/// A query that may see no key has the output 0, and no gradient goes through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask<'a> {
    /// No key behind the query's own position.
    pub causal: bool,
    /// The position of query 0: how many keys came before it, those of earlier calls in a cache.
    pub offset: usize,
    /// Key `j` of query `i` only if `offset + i - j` is less than this: that many keys up to the query's own.
    /// Any number beyond the keys is no limit.
    pub window: Option<usize>,
    /// `[B]`: how many keys of each sample are real, from the first on; or empty: all are. 0 is allowed.
    pub lengths: &'a [u32],
}

impl Mask<'_> {
    /// Every query sees every key.
    pub const NONE: Self = Self {
        causal: false,
        offset: 0,
        window: None,
        lengths: &[],
    };

    /// No query sees a key behind it.
    pub const CAUSAL: Self = Self {
        causal: true,
        ..Self::NONE
    };

    pub(super) fn check(&self, shape: Shape) -> Result<()> {
        if self.window == Some(0) {
            return Err(Error::Zero { arg: Arg::Mask });
        }
        if self.offset.checked_add(shape.queries).is_none() {
            return Err(Error::Overflow {
                arg: Arg::Mask,
                got: None,
            });
        }
        if !self.lengths.is_empty() {
            Arg::Lengths.check_len(self.lengths.len(), &[shape.batch])?;
        }
        for (sample, &length) in self.lengths.iter().enumerate() {
            let length = length as usize;
            if length > shape.keys {
                return Err(Error::SampleLength {
                    sample,
                    length,
                    most: shape.keys,
                });
            }
        }
        Ok(())
    }

    /// The keys that query `query` of sample `sample` sees. Both ends rise with the query.
    #[inline(always)]
    pub(super) fn keys(&self, shape: Shape, sample: usize, query: usize) -> Range<usize> {
        let next = self.offset.saturating_add(query).saturating_add(1);
        let mut end = match self.lengths.get(sample) {
            Some(&length) => shape.keys.min(length as usize),
            None => shape.keys,
        };
        if self.causal {
            end = end.min(next);
        }
        let start = match self.window {
            Some(window) => next.saturating_sub(window),
            None => 0,
        };
        start.min(end)..end
    }
}
