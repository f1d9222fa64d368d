//! Where values lie in the arena.

use crate::image::format::ALIGN;
use alloc::vec;
use alloc::vec::Vec;

/// When a value is in use, in steps of its program, both included; and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) bytes: usize,
}

impl Lifetime {
    const fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// An offset for each value, such that those in use at the same time do not overlap; and the bytes that are needed.
///
/// Largest first, each at the lowest place that is free for as long as it lives (Pisarchyk & Lee 2020, "Efficient Memory
/// Management for Deep Neural Net Inference").
pub(super) fn offsets(lifetimes: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| {
        lifetimes
            .get(i)
            .map(|life| (usize::MAX - life.bytes, life.first))
    });
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<(usize, Lifetime)> = Vec::new();
    let mut peak = 0;
    for i in order {
        let Some(life) = lifetimes.get(i) else {
            continue;
        };
        let mut from = 0;
        for (offset, other) in &placed {
            let is_free = from + life.bytes <= *offset;
            if life.meets(other) && !is_free {
                from = from.max((offset + other.bytes).next_multiple_of(ALIGN));
            }
        }
        peak = peak.max(from + life.bytes);
        let at = placed.partition_point(|(offset, _)| *offset <= from);
        placed.insert(at, (from, *life));
        if let Some(offset) = offsets.get_mut(i) {
            *offset = from;
        }
    }
    (offsets, peak)
}
