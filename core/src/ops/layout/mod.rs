//! Elements in other places: other orders of axes, parts, edges, entries by number, the largest. A change of shape alone
//! is a [view](super::view).

pub mod gather;
pub mod pad;
pub mod permute;
pub mod slice;
pub mod top_k;
