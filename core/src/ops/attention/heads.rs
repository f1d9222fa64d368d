//! The backward pass of heads: four exponents, of which one depends on another.

use crate::net::{Pass, part};
use selvedge_kernels::attention::{
    self, Errors, Exponents, Inputs, Mask, Ranges, Scratch, Shape, Stores,
};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::split::move_up;
use selvedge_kernels::{Element, Result as KernelResult};

/// The states of a backward pass: of the errors of scores, and of those of queries, keys and values.
pub(crate) struct Scales<'a, T: Element> {
    pub(crate) scores: &'a mut T::Scale,
    pub(crate) parts: &'a mut [T::Scale; 3],
}

/// Takes the error of the heads to those of their queries, keys and values, and returns their exponents. Of keys and
/// values, `errors` has room for all that are there; the errors of the last `new` of each sample are left in front, those
/// of earlier passes left out. Typed layers and operators both call it, so their bytes are the same.
#[inline(never)]
#[allow(clippy::too_many_arguments)] // those of the kernel, and what differs
pub(crate) fn backward<T: Element, E: Executor>(
    pass: &Pass<'_, E>,
    number: u32,
    scales: Scales<'_, T>,
    (shape, mask): (Shape, Mask<'_>),
    new: usize,
    inputs: Inputs<'_, T>,
    (dy, exponent): (&[T], i32),
    errors: Errors<'_, T>,
    scratch: Scratch<'_, T>,
) -> KernelResult<[i32; 3]> {
    let width = shape.kv_heads.saturating_mul(shape.size);
    let len = (shape.batch.saturating_mul(shape.keys)).saturating_mul(width);
    let Errors { dq, dk, dv } = errors;
    let run = |stores| {
        let errors = Errors {
            dq: &mut *dq,
            dk: part(&mut *dk, len),
            dv: part(&mut *dv, len),
        };
        let scratch = Scratch {
            scores: &mut *scratch.scores,
            products: &mut *scratch.products,
            sums: &mut *scratch.sums,
        };
        attention::backward(pass.exec, shape, mask, inputs, dy, stores, errors, scratch)
    };
    let words = |part| Words::new(pass.seed, stream::error(number) + 1 + part, pass.step);
    let roundings = [0, 1, 2].map(|part| Rounding::Stochastic(words(part)));
    let exponents = errors_of::<T>(scales, inputs.exponents, exponent, roundings, run)?;
    let (own, before) = (
        new.saturating_mul(width),
        shape.keys.saturating_sub(new).saturating_mul(width),
    );
    if before > 0 {
        for errors in [dk, dv] {
            for sample in 0..shape.batch {
                let from = sample.saturating_mul(before.saturating_add(own));
                move_up(
                    errors,
                    from.saturating_add(before),
                    own,
                    sample.saturating_mul(own),
                );
            }
        }
    }
    Ok(if T::DTYPE.is_integer() {
        exponents
    } else {
        [exponent; 3]
    })
}

/// Runs the backward pass of heads with the exponents that their states ask for: of the errors of scores, and of
/// queries, keys and values, whose exponents it returns. A state that is unset is measured first, and the scores'
/// before the others, which depend on it.
fn errors_of<T: Element>(
    Scales {
        scores: scores_scale,
        parts: part_scales,
    }: Scales<'_, T>,
    inputs: Exponents,
    dy: i32,
    roundings: [Rounding; 3],
    mut run: impl FnMut(Stores) -> KernelResult<Ranges>,
) -> KernelResult<[i32; 3]> {
    const NEAREST: Rounding = Rounding::NearestEven;
    const UNKNOWN: Stores = Stores {
        scores: Store::Measure,
        dq: Store::Measure,
        dk: Store::Measure,
        dv: Store::Measure,
    };
    let is_unset = |scale: T::Scale| T::DTYPE.is_integer() && scale.exponent().is_none();
    let bits = T::MAGNITUDE_BITS;

    let mut ranges = Ranges::default();
    if is_unset(*scores_scale) {
        ranges = run(UNKNOWN)?;
    }
    let at = inputs.scores::<T>(dy);
    let (scores, exponent) = plan(
        *scores_scale,
        at,
        Stores::SCORE_BITS,
        NEAREST,
        ranges.scores,
    )?;
    let stores = Stores { scores, ..UNKNOWN };
    if part_scales.iter().any(|&scale| is_unset(scale)) {
        ranges = run(stores)?;
    }
    let parts = [
        inputs.dq::<T>(exponent),
        inputs.dk::<T>(exponent),
        Exponents::dv::<T>(dy),
    ];
    let [q, k, v] = *part_scales;
    let [at_q, at_k, at_v] = parts;
    let [by_q, by_k, by_v] = roundings;
    let (dq, _) = plan(q, at_q, bits, by_q, ranges.dq)?;
    let (dk, _) = plan(k, at_k, bits, by_k, ranges.dk)?;
    let (dv, _) = plan(v, at_v, bits, by_v, ranges.dv)?;
    let ranges = run(Stores { scores, dq, dk, dv })?;

    // The states see what was stored.
    scores_scale.requantize(at, Stores::SCORE_BITS, Mode::Train, NEAREST, |_| {
        Ok(ranges.scores)
    })?;
    let seen = [ranges.dq, ranges.dk, ranges.dv];
    let mut exponents = [0; 3];
    for ((((scale, at), rounding), range), exponent) in (part_scales.iter_mut().zip(parts))
        .zip(roundings)
        .zip(seen)
        .zip(&mut exponents)
    {
        *exponent = scale.requantize(at, bits, Mode::Train, rounding, |_| Ok(range))?;
    }
    Ok(exponents)
}

/// How accumulators are stored by a state that stays as it is, and at which exponent, where `range` is what an unset
/// state would measure.
fn plan<S: Scale>(
    mut scale: S,
    at: i32,
    bits: u32,
    rounding: Rounding,
    range: u32,
) -> KernelResult<(Store, i32)> {
    let mut last = Store::Measure;
    let exponent = scale.requantize(at, bits, Mode::Infer, rounding, |store| {
        last = store;
        Ok(range)
    })?;
    Ok((last, exponent))
}
