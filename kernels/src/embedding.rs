//! Embeddings: a row of a table for each token, and the gradient of the rows that were looked up.
//!
//! ```
//! use selvedge_kernels::{embedding::{self, Shape}, optim::Gradient};
//!
//! let shape = Shape { tokens: 3, vocabulary: 4, size: 2 };
//! let table = [0.0f32, 0.1, 1.0, 1.1, 2.0, 2.1, 3.0, 3.1];
//! let tokens = [3u16, 1, 3];
//! let mut y = [0.0; 6];
//! embedding::forward(shape, &tokens, &table, &mut y)?;
//! assert_eq!(y, [3.0, 3.1, 1.0, 1.1, 3.0, 3.1]);
//!
//! let (mut order, mut gradient) = ([0; 3], [0.0f32; 8]);
//! embedding::backward(shape, &tokens, &[1.0f32; 6], &mut order, &mut Gradient::Store(&mut gradient))?;
//! assert_eq!(gradient, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Learned positions are a table that is added to each sample ([`elementwise::forward`](crate::elementwise::forward),
//! which stretches it); [`backward_positions`] is their gradient.
//!
//! Source: Bengio et al. 2003, "A Neural Probabilistic Language Model"; integers: `docs/numerics.md` §23.

use crate::arch::scalar::TILE;
use crate::dense::limit;
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Result};
use crate::fixed::{Accumulator, Rounding};
use crate::optim::Gradient;
use crate::split::{rows_of, rows_of_mut};

/// The extents of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens, `N`: those of all sequences.
    pub tokens: usize,
    /// Rows of the table, `V`; tokens run from 0 to `V - 1`.
    pub vocabulary: usize,
    /// Features of a row, `F`.
    pub size: usize,
}

impl Shape {
    /// Refuses extents and tokens that do not fit each other.
    fn check(self, tokens: &[impl Token]) -> Result<()> {
        Arg::Shape.product(&[self.tokens, self.size])?;
        Arg::Shape.product(&[self.vocabulary, self.size])?;
        Arg::Tokens.check_len(tokens.len(), &[self.tokens])?;
        match tokens.iter().position(|t| t.index() >= self.vocabulary) {
            None => Ok(()),
            Some(row) => Err(Error::Index {
                row,
                index: tokens.get(row).map_or(0, |t| t.index()),
                extent: self.vocabulary,
            }),
        }
    }
}

/// The number of a token: an unsigned integer of any width, not an element of a tensor.
pub trait Token: Blank + PartialEq {
    /// The row of the table; what does not fit is beyond every table.
    fn index(self) -> usize;

    /// The token of this number, if the type holds it.
    fn from_index(index: usize) -> Option<Self>;
}

macro_rules! impl_token {
    ($($t:ty)*) => {$(
        impl Token for $t {
            #[inline(always)]
            fn index(self) -> usize {
                usize::try_from(self).unwrap_or(usize::MAX)
            }

            #[inline(always)]
            fn from_index(index: usize) -> Option<Self> {
                <$t>::try_from(index).ok()
            }
        }
    )*};
}

impl_token! { u8 u16 u32 }

/// Embedding, forward: `out[n, f] = table[tokens[n], f]`, at the exponent of the table.
///
/// | argument | shape | |
/// |---|---|---|
/// | `tokens` | `[N]` | 0 to `V - 1` |
/// | `table` | `[V, F]` | |
/// | `out` | `[N, F]` | overwritten |
///
/// # Errors
/// [`Error::Index`] with place, token and vocabulary for a token beyond the table, [`Error::Length`] if a slice does
/// not fit `shape`, [`Error::Zero`] for an empty extent, [`Error::Overflow`] for extents beyond 32 bits. `out` is then
/// untouched.
///
/// Source: the definition.
pub fn forward<T: Element, I: Token>(
    shape: Shape,
    tokens: &[I],
    table: &[T],
    out: &mut [T],
) -> Result<()> {
    let size = shape.size;
    shape.check(tokens)?;
    Arg::Weight.check_len(table.len(), &[shape.vocabulary, size])?;
    Arg::Out.check_len(out.len(), &[shape.tokens, size])?;
    for (out, token) in rows_of_mut(out, size).zip(tokens) {
        let start = token.index() * size; // in the table
        let row = table.get(start..).unwrap_or_default();
        out.iter_mut().zip(row).for_each(|(out, &x)| *out = x);
    }
    Ok(())
}

/// Gradient with respect to the table: `dw[v, f] = Σ dy[n, f]` over the places `n` of token `v`, handed to `gradient`.
/// Rows of tokens that do not occur are not updated, neither by decay nor by momentum; in a buffer they are 0.
///
/// | argument | shape | |
/// |---|---|---|
/// | `tokens` | `[N]` | as in the forward pass |
/// | `dy` | `[N, F]` | |
/// | `order` | `[N]` | scratch: the places, ordered by token |
/// | `gradient` | `[V, F]` | |
///
/// Its exponent is that of `dy`. Floats are summed in the order of `n`.
///
/// # Errors
/// As [`forward`], and [`Error::Accumulator`] for more tokens than a sum holds; the sink is then untouched.
///
/// Source: the derivative of [`forward`].
pub fn backward<T: Element, I: Token>(
    shape: Shape,
    tokens: &[I],
    dy: &[T],
    order: &mut [u32],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    let size = shape.size;
    check_backward::<T>(shape, tokens, dy, order)?;
    gradient.check_len(&[shape.vocabulary, size])?;
    if let Gradient::Store(buffer) = gradient {
        buffer.fill(T::Acc::default());
    }
    let mut rest = by_token(tokens, order);
    while let Some(&first) = rest.first() {
        let row = token_at(tokens, first);
        let places = next_of(tokens, &mut rest, row);
        for start in (0..size).step_by(TILE) {
            let sums = row_sums(places, dy, size, start);
            let width = TILE.min(size - start);
            gradient.take(row * size + start, sums.get(..width).unwrap_or_default());
        }
    }
    Ok(())
}

fn check_backward<T: Element>(
    shape: Shape,
    tokens: &[impl Token],
    dy: &[T],
    order: &[u32],
) -> Result<()> {
    shape.check(tokens)?;
    limit(shape.tokens, T::MAX_GRADIENT_PRODUCTS)?;
    Arg::Dy.check_len(dy.len(), &[shape.tokens, shape.size])?;
    Arg::Scratch.check_len(order.len(), &[shape.tokens])
}

fn token_at(tokens: &[impl Token], place: u32) -> usize {
    tokens.get(place as usize).map_or(0, |t| t.index())
}

/// All places, those of a token together, in their order.
fn by_token<'a>(tokens: &[impl Token], order: &'a mut [u32]) -> &'a [u32] {
    for (place, n) in order.iter_mut().zip(0..) {
        *place = n;
    }
    sort(order, |place| (token_at(tokens, place), place));
    order
}

/// Takes those of token `row` off, which come first if it occurs.
fn next_of<'a>(tokens: &[impl Token], rest: &mut &'a [u32], row: usize) -> &'a [u32] {
    let count = (rest
        .iter()
        .take_while(|&&place| token_at(tokens, place) == row))
    .count();
    let (places, others) = rest.split_at_checked(count).unwrap_or_default();
    *rest = others;
    places
}

/// The sums of the features from `start` on over some places.
#[inline(always)]
fn row_sums<T: Element>(places: &[u32], dy: &[T], size: usize, start: usize) -> [T::Acc; TILE] {
    let mut sums = [T::Acc::default(); TILE];
    for &place in places {
        let row = place as usize * size;
        let dy = dy.get(row + start..row + size).unwrap_or_default();
        for (sum, d) in sums.iter_mut().zip(dy) {
            *sum += d.to_acc();
        }
    }
    sums
}

/// The exponent of the gradient of a table that is also the weight of an output layer: the larger of those of its
/// two parts.
#[must_use]
pub const fn tied_exponent(output: i32, rows: i32) -> i32 {
    if output > rows { output } else { rows }
}

/// Gradient with respect to a table that is also the weight of an output layer, `[V, F]`: its gradient there,
/// `output`, plus that of the rows that were looked up, [`backward`]. Each part is rounded to the exponent of the sum,
/// [`tied_exponent`], to nearest even.
///
/// | argument | shape | |
/// |---|---|---|
/// | `tokens` | `[N]` | as in the forward pass |
/// | `output` | `[V, F]` | [`dense::backward_weight`](crate::dense::backward_weight) of the output layer |
/// | `dy` | `[N, F]` | error of the rows |
/// | `exponents` | | of `output` and of `dy`; equal ones for floats |
/// | `order` | `[N]` | scratch |
/// | `gradient` | `[V, F]` | |
///
/// # Errors
/// As [`backward`].
///
/// Source: Press & Wolf 2017, "Using the Output Embedding to Improve Language Models"; the sum of both derivatives.
#[allow(clippy::too_many_arguments)] // shape, tokens, both gradients with their exponents, memory, output
pub fn backward_tied<T: Element, I: Token>(
    shape: Shape,
    tokens: &[I],
    output: &[T::Acc],
    dy: &[T],
    exponents: [i32; 2],
    order: &mut [u32],
    gradient: &mut Gradient<'_, T, T::Update>,
) -> Result<()> {
    let size = shape.size;
    check_backward::<T>(shape, tokens, dy, order)?;
    Arg::Dw.check_len(output.len(), &[shape.vocabulary, size])?;
    gradient.check_len(&[shape.vocabulary, size])?;
    let [at_output, at_rows] = exponents;
    let exponent = tied_exponent(at_output, at_rows);
    let rounded = |sum: T::Acc, at: i32| {
        let sum: T::Update = sum.into();
        sum.shift(exponent - at, Rounding::NearestEven, 0)
    };
    let mut rest = by_token(tokens, order);
    for (row, output) in rows_of(output, size).enumerate() {
        let places = next_of(tokens, &mut rest, row);
        for (block, output) in output.chunks(TILE).enumerate() {
            let start = block * TILE;
            let sums = row_sums(places, dy, size, start);
            let mut totals = [T::Update::default(); TILE];
            for ((total, &output), &sum) in totals.iter_mut().zip(output).zip(&sums) {
                *total = rounded(output, at_output) + rounded(sum, at_rows);
            }
            let totals = totals.get(..output.len()).unwrap_or_default();
            gradient.take(row * size + start, totals);
        }
    }
    Ok(())
}

/// Gradient with respect to what is added to each sample, a table of positions: `dw[i] = Σ_n dy[n, i]`, handed to
/// `gradient`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `elements` | | of a sample, `E`: positions times features |
/// | `dy` | `[N, E]` | |
/// | `gradient` | `[E]` | |
///
/// Its exponent is that of `dy`. Floats are summed in the order of `n`.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`], and [`Error::Accumulator`] for more samples than a sum
/// holds; the sink is then untouched.
///
/// Source: the derivative of the sum.
pub fn backward_positions<T: Element>(
    elements: usize,
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    let samples = (dy.len().checked_div(elements)).ok_or(Error::Zero { arg: Arg::Shape })?;
    Arg::Dy.check_len(dy.len(), &[samples, elements])?;
    limit(samples, T::MAX_GRADIENT_PRODUCTS)?;
    gradient.check_len(&[elements])?;
    for start in (0..elements).step_by(TILE) {
        let mut sums = [T::Acc::default(); TILE];
        for dy in rows_of(dy, elements) {
            for (sum, d) in sums.iter_mut().zip(dy.get(start..).unwrap_or_default()) {
                *sum += d.to_acc();
            }
        }
        let width = TILE.min(elements - start);
        gradient.take(start, sums.get(..width).unwrap_or_default());
    }
    Ok(())
}

/// Sorts by a key without allocation and without a panic path: a heap (Williams 1964).
fn sort<K: Ord>(items: &mut [u32], key: impl Fn(u32) -> K) {
    let len = items.len();
    for root in (0..len / 2).rev() {
        sift(items, root, &key);
    }
    for end in (1..len).rev() {
        swap(items, 0, end);
        sift(items.get_mut(..end).unwrap_or_default(), 0, &key);
    }
}

/// Moves item `root` down to where no child is larger.
fn sift<K: Ord>(items: &mut [u32], mut root: usize, key: &impl Fn(u32) -> K) {
    loop {
        let child = 2 * root + 1;
        let (Some(&left), right) = (items.get(child), items.get(child + 1)) else {
            return;
        };
        let (child, larger) = match right {
            Some(&right) if key(right) > key(left) => (child + 1, right),
            _ => (child, left),
        };
        if items.get(root).is_none_or(|&item| key(item) >= key(larger)) {
            return;
        }
        swap(items, root, child);
        root = child;
    }
}

/// Exchanges two items, if there are such: without a panic path.
fn swap(items: &mut [u32], a: usize, b: usize) {
    if let Ok([a, b]) = items.get_disjoint_mut([a, b]) {
        core::mem::swap(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::sort;

    #[test]
    fn sorts_as_the_standard_library_does() {
        for len in 0..70u32 {
            let key = |x: u32| (x.wrapping_mul(0x9E37_79B9) >> 28, x);
            let mut ours: [u32; 70] = core::array::from_fn(|i| (i as u32).wrapping_mul(37) % 70);
            let mut theirs = ours;
            sort(&mut ours[..len as usize], key);
            theirs[..len as usize].sort_unstable_by_key(|&x| key(x));
            assert_eq!(ours, theirs);
        }
    }
}
