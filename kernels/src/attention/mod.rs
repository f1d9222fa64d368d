//! Scaled dot-product attention over several heads, and its gradients: what lies between the
//! projections of queries, keys and values, which are dense layers of the caller's, as is the one behind.
//!
//! ```
//! use selvedge_kernels::attention::{self, Exponents, Inputs, Mask, Shape};
//! use selvedge_kernels::{exec::Serial, requantize::Store};
//!
//! // One head of two features; the second query sees both keys, the first only its own.
//! let shape = Shape { batch: 1, queries: 2, keys: 2, heads: 1, kv_heads: 1, size: 2 };
//! let inputs = Inputs {
//!     q: &[1.0f32, 0.0, 0.0, 1.0],
//!     k: &[1.0, 0.0, 1.0, 0.0],
//!     v: &[2.0, 4.0, 6.0, 8.0],
//!     capacity: 2,
//!     exponents: Exponents::default(),
//! };
//! let mut scratch = [0.0; 2 * attention::ROWS];
//! let mut out = [0.0; 4];
//! attention::forward(&Serial, shape, Mask::CAUSAL, inputs, Store::EXACT, &mut out, &mut scratch)?;
//! assert_eq!(out, [2.0, 4.0, 4.0, 6.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Probabilities are never held for all pairs: a task has the scores of [`ROWS`] queries at a time, and the
//! backward pass computes them again, to the same bytes.
//!
//! **Cache.** Keys and values lie in memory for `capacity` rows of each sample, of which the first `keys` are
//! in use: a caller that decodes step by step writes the new ones behind and gives the [`Mask`] the number of
//! earlier ones as its offset. A query's sums run over the keys that it sees, in their order, from the first one on, so
//! that one query at a time gives the same bytes as all at once, in floats too, and so does a cache whose
//! oldest rows, once behind the window, were shifted out.
//!
//! Source: Vaswani et al. 2017, "Attention Is All You Need"; shared keys: Shazeer 2019, "Fast Transformer
//! Decoding", and Ainslie et al. 2023, "GQA"; windows: Beltagy et al. 2020, "Longformer"; integers:
//! `docs/numerics.md` §25.

mod backward;
mod float;
mod forward;
mod integer;
mod mask;
mod numbers;

use crate::dense::limit;
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::requantize::Store;

pub use crate::arch::tile::ROWS;
pub use backward::Backward;
pub use forward::Forward;
pub use mask::Mask;

/// The extents of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Samples, `B`.
    pub batch: usize,
    /// Queries of a sample, `Tq`.
    pub queries: usize,
    /// Keys and values of a sample, `Tk`.
    pub keys: usize,
    /// Heads of the queries, `H`.
    pub heads: usize,
    /// Heads of keys and values, `G`, which divides `H`: neighbouring query heads share one.
    pub kv_heads: usize,
    /// Features of a head, `D`.
    pub size: usize,
}

impl Shape {
    fn check<T: Element>(self) -> Result<()> {
        Arg::Shape.product(&[self.batch, self.queries, self.heads, self.size])?;
        Arg::Shape.product(&[self.batch, self.keys, self.kv_heads, self.size])?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::Heads {
                heads: self.heads,
                kv_heads: self.kv_heads,
            });
        }
        limit(self.size, T::MAX_HEAD_SIZE)?;
        limit(self.keys, T::MAX_KEYS)
    }

    /// Elements of a row of queries and of a row of keys.
    fn widths(self) -> [usize; 2] {
        [
            self.heads.wrapping_mul(self.size),
            self.kv_heads.wrapping_mul(self.size),
        ]
    }
}

/// The exponents of queries, keys and values, and those of what becomes of them: 0 for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exponents {
    /// Queries.
    pub q: i32,
    /// Keys.
    pub k: i32,
    /// Values.
    pub v: i32,
}

impl Exponents {
    /// Of the accumulators of [`forward`].
    #[must_use]
    pub const fn out<T: Element>(self) -> i32 {
        self.v.saturating_add(cut::<T>()).saturating_sub(q15::<T>())
    }

    /// Of the accumulators of the errors of scores, `dy` being that of the error of the output.
    #[must_use]
    pub const fn scores<T: Element>(self, dy: i32) -> i32 {
        if T::MAGNITUDE_BITS == 0 {
            return 0;
        }
        self.v
            .saturating_add(dy)
            .saturating_add(2 * cut::<T>() - 23)
    }

    /// Of the accumulators of the queries' error, `scores` being that of the stored errors of scores.
    #[must_use]
    pub const fn dq<T: Element>(self, scores: i32) -> i32 {
        self.k.saturating_add(cut::<T>()).saturating_add(scores)
    }

    /// The same for keys.
    #[must_use]
    pub const fn dk<T: Element>(self, scores: i32) -> i32 {
        self.q.saturating_add(cut::<T>()).saturating_add(scores)
    }

    /// The same for values, `dy` being that of the error of the output.
    #[must_use]
    pub const fn dv<T: Element>(dy: i32) -> i32 {
        dy.saturating_add(cut::<T>()).saturating_sub(q15::<T>())
    }
}

/// Places that operands lose: those beyond 15 bits.
const fn cut<T: Element>() -> i32 {
    T::MAGNITUDE_BITS.saturating_sub(15) as i32
}

/// Places of a probability.
const fn q15<T: Element>() -> i32 {
    if T::MAGNITUDE_BITS == 0 { 0 } else { 15 }
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T> {
    /// `[B, Tq, H·D]`: queries.
    pub q: &'a [T],
    /// `[B, capacity, G·D]`: keys, of which the first `Tk` of each sample count.
    pub k: &'a [T],
    /// The same for values.
    pub v: &'a [T],
    /// Rows of a sample in `k` and `v`: `Tk`, or more in a cache.
    pub capacity: usize,
    /// Their exponents.
    pub exponents: Exponents,
}

impl<T: Element> Inputs<'_, T> {
    fn check(&self, shape: Shape) -> Result<()> {
        if shape.keys > self.capacity {
            return Err(Error::Capacity {
                keys: shape.keys,
                capacity: self.capacity,
            });
        }
        let [q, kv] = shape.widths();
        Arg::Query.check_len(self.q.len(), &[shape.batch, shape.queries, q])?;
        Arg::Key.check_len(self.k.len(), &[shape.batch, self.capacity, kv])?;
        Arg::Value.check_len(self.v.len(), &[shape.batch, self.capacity, kv])
    }
}

/// Elements of the scratch memory of [`forward`] for `tasks` tasks, as many as an executor's parallelism: the scores
/// of [`ROWS`] queries each. More than one task's is used as far as it reaches.
///
/// # Errors
/// Those of `shape`.
pub fn forward_scratch_len<T: Element>(shape: Shape, tasks: usize) -> Result<usize> {
    shape.check::<T>()?;
    total(forward_part(shape), tasks)
}

/// Scores of a task of [`forward`].
fn forward_part(shape: Shape) -> usize {
    shape.keys.saturating_mul(ROWS)
}

/// Elements of scratch memory for `tasks` tasks of `part` each.
pub(crate) fn total(part: usize, tasks: usize) -> Result<usize> {
    part.checked_mul(tasks.max(1)).ok_or(Error::Overflow {
        arg: Arg::Scratch,
        got: None,
    })
}

/// Refuses less scratch memory than one task's.
pub(crate) fn check_scratch(got: usize, part: usize) -> Result<()> {
    if got < part {
        return Err(Error::Length {
            arg: Arg::Scratch,
            expected: part,
            got,
        });
    }
    Ok(())
}

/// Attention, forward: `out[b, i, h] = store(Σ_j p[i, j] · v[b, j, g])`, where `p[i]` is the softmax of
/// `q[b, i, h] · k[b, j, g] / √D` over the keys `j` that `mask` lets query `i` see, and `g = h / (H / G)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `inputs` | `[B, Tq, H·D]`, `[B, capacity, G·D]` twice | queries; keys and values |
/// | `out` | `[B, Tq, H·D]` | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`forward_scratch_len`], or more than that of one task | overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent [`Exponents::out`] tells. A
/// query that sees no key gives zeros.
///
/// Integers: at most 15 bits of each operand count; scores are exact, logits are rounded to 2^-10 and
/// saturate at ±32, probabilities are Q15. Floats: scores as those of [`dense`](crate::dense::forward); the sum of
/// exponentials in eight partial sums; values are added in order. NaN among the scores of a query makes its
/// row NaN, a NaN of a value its feature.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit, [`Error::Zero`] for an empty extent or window, [`Error::Heads`],
/// [`Error::Capacity`], [`Error::SampleLength`], [`Error::Overflow`]; [`Error::Accumulator`] for integers
/// with heads of more than 256 features or more than 32,768 keys. `out` and `scratch` are then untouched.
///
/// Source: the definition; integers: `docs/numerics.md` §25.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    mask: Mask<'_>,
    inputs: Inputs<'_, T>,
    store: Store,
    out: &mut [T],
    scratch: &mut [T::AttentionScore],
) -> Result<u32> {
    shape.check::<T>()?;
    mask.check(shape)?;
    inputs.check(shape)?;
    let [width, _] = shape.widths();
    Arg::Out.check_len(out.len(), &[shape.batch, shape.queries, width])?;
    let part = forward_part(shape);
    check_scratch(scratch.len(), part)?;
    let tasks = scratch.len().checked_div(part).unwrap_or(1);
    let rows = shape.batch * shape.queries;
    let call = Forward {
        shape,
        mask,
        inputs,
        store,
        first: 0,
        out,
        scratch,
    };
    let run = T::attention_forward;
    Ok(exec::split_into(exec, tasks, rows, call, run, u32::max))
}

/// What becomes of the accumulators of [`backward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stores {
    /// Errors of scores, which are stored in 15 bits, to nearest. Where they are measured only, nothing else is
    /// computed: the others depend on their exponent.
    pub scores: Store,
    /// The queries' error.
    pub dq: Store,
    /// The keys'.
    pub dk: Store,
    /// The values'.
    pub dv: Store,
}

impl Stores {
    /// Bits in which integers store errors of scores.
    pub const SCORE_BITS: u32 = 15;
    /// Everything at the exponent of its accumulators: what floats want.
    pub const EXACT: Self = Self {
        scores: Store::EXACT,
        dq: Store::EXACT,
        dk: Store::EXACT,
        dv: Store::EXACT,
    };
}

/// The bit lengths of the largest accumulators of a [`backward`] pass; 0 for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Errors of scores.
    pub scores: u32,
    /// The queries' error.
    pub dq: u32,
    /// The keys'.
    pub dk: u32,
    /// The values'.
    pub dv: u32,
}

impl Ranges {
    /// The larger of each.
    fn max(self, other: Self) -> Self {
        Self {
            scores: self.scores.max(other.scores),
            dq: self.dq.max(other.dq),
            dk: self.dk.max(other.dk),
            dv: self.dv.max(other.dv),
        }
    }
}

/// What [`backward`] writes.
#[derive(Debug)]
pub struct Errors<'a, T> {
    /// `[B, Tq, H·D]`: of the queries.
    pub dq: &'a mut [T],
    /// `[B, Tk, G·D]`: of the keys; no rows beyond those in use.
    pub dk: &'a mut [T],
    /// The same of the values.
    pub dv: &'a mut [T],
}

/// Memory that [`backward`] works in, and what is in it is overwritten.
#[derive(Debug)]
pub struct Scratch<'a, T: Element> {
    /// Probabilities, and errors of scores.
    pub scores: &'a mut [T::AttentionScore],
    /// Products of errors with values.
    pub products: &'a mut [T::AttentionSum],
    /// Errors of a head's keys and values.
    pub sums: &'a mut [T::AttentionSum],
}

/// Elements of `scores`, `products` and `sums` in the scratch memory of [`backward`] for `tasks` tasks.
///
/// # Errors
/// Those of `shape`.
pub fn backward_scratch_len<T: Element>(shape: Shape, tasks: usize) -> Result<[usize; 3]> {
    shape.check::<T>()?;
    let [scores, products, sums] = backward_parts(shape);
    Ok([
        total(scores, tasks)?,
        total(products, tasks)?,
        total(sums, tasks)?,
    ])
}

/// The scratch memory of a task of [`backward`].
fn backward_parts(shape: Shape) -> [usize; 3] {
    let rows = forward_part(shape);
    let head = shape.keys.saturating_mul(shape.size);
    [rows.saturating_mul(2), rows, head.saturating_mul(2)]
}

/// Gradients of [`forward`] with respect to queries, keys and values, the error of the output being `dy`:
/// with `ds = p ⊙ (dp - Σ_j p·dp) / √D` of each query, where `dp[i, j] = dy[i] · v[j]`,
/// `dq[i] = Σ_j ds[i, j] · k[j]`, `dk[j] = Σ_i ds[i, j] · q[i]` and `dv[j] = Σ_i p[i, j] · dy[i]`; those of keys
/// and values are summed over the heads that share them.
///
/// | argument | shape | |
/// |---|---|---|
/// | `inputs` | as [`forward`] | |
/// | `dy` | `[B, Tq, H·D]` | |
/// | `errors` | `[B, Tq, H·D]`, `[B, Tk, G·D]` twice | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`backward_scratch_len`], or more than that of one task | overwritten |
///
/// Returns the bit lengths of the largest accumulators (0 for floats), whose exponents [`Exponents`] tells. A first
/// batch measures the errors of scores, then the other three, then stores. Masked keys and queries that see none get
/// zeros. Samples are split over tasks. Sums over keys run in order; those over queries too, one head after the
/// other.
///
/// # Errors
/// As [`forward`]; nothing is then written.
///
/// Source: the derivative of [`forward`]; integers: `docs/numerics.md` §25.
#[allow(clippy::too_many_arguments)] // executor, shape, mask, two inputs, rounding, outputs, memory
pub fn backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    mask: Mask<'_>,
    inputs: Inputs<'_, T>,
    dy: &[T],
    stores: Stores,
    errors: Errors<'_, T>,
    scratch: Scratch<'_, T>,
) -> Result<Ranges> {
    shape.check::<T>()?;
    mask.check(shape)?;
    inputs.check(shape)?;
    let Shape {
        batch,
        queries,
        keys,
        ..
    } = shape;
    let [width, kv_width] = shape.widths();
    Arg::Dy.check_len(dy.len(), &[batch, queries, width])?;
    Arg::Query.check_len(errors.dq.len(), &[batch, queries, width])?;
    Arg::Key.check_len(errors.dk.len(), &[batch, keys, kv_width])?;
    Arg::Value.check_len(errors.dv.len(), &[batch, keys, kv_width])?;
    let parts = backward_parts(shape);
    let lens = [
        scratch.scores.len(),
        scratch.products.len(),
        scratch.sums.len(),
    ];
    let mut tasks = usize::MAX;
    for (part, len) in parts.into_iter().zip(lens) {
        check_scratch(len, part)?;
        tasks = tasks.min(len / part.max(1));
    }
    let call = Backward {
        shape,
        mask,
        inputs,
        dy,
        stores,
        first: 0,
        errors,
        scratch,
    };
    Ok(exec::split_into(
        exec,
        tasks,
        batch,
        call,
        T::attention_backward,
        Ranges::max,
    ))
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// A score, a probability or an error of a score: 32 bits, or the accumulator of floats.
    type AttentionScore: Blank + bytemuck::Pod;
    /// A sum of weighted rows: 64 bits, or the accumulator of floats.
    type AttentionSum: Blank + bytemuck::Pod;
    /// Most features of a head.
    const MAX_HEAD_SIZE: usize;
    /// Most keys.
    const MAX_KEYS: usize;

    #[doc(hidden)]
    fn attention_forward(call: Forward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn attention_backward(call: Backward<'_, Self>) -> Ranges
    where
        Self: Element;
}
