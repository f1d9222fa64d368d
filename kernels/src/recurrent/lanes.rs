//! Some units of a step side by side, in arrays that stay in registers.

/// Units that are computed together.
pub(super) const WIDTH: usize = if cfg!(target_os = "none") { 4 } else { 16 };

/// Numbers of some units.
pub(super) type Lanes<R> = [R; WIDTH];

/// Those of gate `gate` from unit `start` on; some of another's, or zeros, behind the last unit.
#[inline(always)]
pub(super) fn load<E: Copy, R: Copy + Default>(
    values: &[E],
    units: usize,
    gate: usize,
    start: usize,
    widen: impl Fn(E) -> R,
) -> Lanes<R> {
    let mut lanes = [R::default(); WIDTH];
    let values = values.get(gate * units + start..).unwrap_or_default();
    if let Some(values) = values.first_chunk::<WIDTH>() {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = widen(value);
        }
    } else {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = widen(value);
        }
    }
    lanes
}

/// Stores them, as many as there are units left.
#[inline(always)]
pub(super) fn save<E: Copy, R: Copy>(
    values: &mut [E],
    units: usize,
    gate: usize,
    start: usize,
    lanes: &Lanes<R>,
    narrow: impl Fn(R) -> E,
) {
    let from = gate * units + start;
    let width = WIDTH.min(units - start);
    let values = values.get_mut(from..from + width).unwrap_or_default();
    if let Some(values) = values.first_chunk_mut::<WIDTH>() {
        for (value, &lane) in values.iter_mut().zip(lanes) {
            *value = narrow(lane);
        }
    } else {
        for (value, &lane) in values.iter_mut().zip(lanes) {
            *value = narrow(lane);
        }
    }
}

/// A function of each, of another type. (`array::map` may be a call, which has not the features of its caller.)
#[inline(always)]
pub(super) fn over<A: Copy, B: Copy + Default>(
    x: &Lanes<A>,
    function: impl Fn(A) -> B,
) -> Lanes<B> {
    let mut y = [B::default(); WIDTH];
    for (y, &x) in y.iter_mut().zip(x) {
        *y = function(x);
    }
    y
}

/// A function of each.
#[inline(always)]
pub(super) fn each<R: Copy>(mut x: Lanes<R>, function: impl Fn(R) -> R) -> Lanes<R> {
    for x in &mut x {
        *x = function(*x);
    }
    x
}
