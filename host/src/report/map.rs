//! The arena of a program, as text and as a drawing.

use crate::error::Result;
use selvedge_core::graph::MemoryMap;
use std::fmt::Write as _;

/// Characters of the longest bar.
const WIDTH: usize = 40;

/// A table of values, and a bar for each operator.
pub(crate) fn text(map: &MemoryMap) -> String {
    let mut out = format!(
        "{}: {} bytes, and {} that stay; at least {} ({:+.1} %), at operator {}\n\n",
        map.role.name(),
        map.peak,
        map.persistent,
        map.lower_bound,
        100.0 * (map.peak as f64 / map.lower_bound.max(1) as f64 - 1.0),
        map.busiest,
    );
    let _ = writeln!(
        out,
        "{:>9} {:>9} {:>5} {:>5}  value",
        "offset", "bytes", "from", "to"
    );
    for value in &map.values {
        let _ = writeln!(
            out,
            "{:>9} {:>9} {:>5} {:>5}  {}",
            value.offset,
            value.bytes,
            value.first,
            value.last,
            map.name(value)
        );
    }
    let _ = writeln!(out, "\n{:>5} {:>9}  {:WIDTH$}  operator", "", "alive", "");
    for (at, (alive, step)) in map.alive().into_iter().zip(&map.operators).enumerate() {
        let bar = "█".repeat((alive * WIDTH).div_ceil(map.lower_bound.max(1)));
        let _ = writeln!(
            out,
            "{at:>5} {alive:>9}  {bar:WIDTH$}  {} {}",
            step.layer,
            step.kind.name()
        );
    }
    out
}

/// A drawing: operators from left to right, the arena from below, a rectangle for each value.
pub(crate) fn svg(maps: &[MemoryMap]) -> Result<String> {
    super::plot::maps(maps)
}
