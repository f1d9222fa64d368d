//! What attention is written in: operations on scores, probabilities and sums, once for integers and once
//! for floats.

use super::Shape;
use super::{Exponents, Kernels};
use crate::arch::Isa;
use crate::arch::block::{Factors, Rows};
use crate::arch::tile::{COLUMNS, Operand, Segments, Tile};
use crate::element::Element;
use crate::fixed::Accumulator;
use crate::requantize::Store;

pub(super) use crate::arch::block::WIDTH;

/// Weighted sums that share each row that is loaded.
pub(super) const HEIGHT: usize = if cfg!(target_os = "none") { 1 } else { 4 };

/// Sums of weighted rows.
pub(super) type Block<S> = [[S; WIDTH]; HEIGHT];

/// The operations, of elements `Self`.
pub(super) trait Core:
    Element + Kernels<AttentionScore: PartialEq + Default, AttentionSum: Accumulator>
{
    /// The product of two rows of a head.
    type Dot: Copy + Default;
    /// What takes a product to a logit.
    type Scaling: Copy;

    /// `1/√size` as it is multiplied with.
    fn scaling(shape: Shape, exponents: Exponents) -> Self::Scaling;

    /// The products of some rows of `x` with some of `w`.
    fn dots<I: Isa>(
        isa: I,
        x: Operand<'_, Self>,
        w: Operand<'_, Self>,
        segments: &Segments,
        tile: &mut Tile<Self::Dot>,
    );

    /// Products as logits.
    fn logits(
        dots: &[Self::Dot; COLUMNS],
        scaling: Self::Scaling,
    ) -> [Self::AttentionScore; COLUMNS];

    /// Logits to shares of each key, in place; what they are to be multiplied with is returned.
    fn softmax(row: &mut [Self::AttentionScore]) -> Self::AttentionScore;

    /// Shares to probabilities.
    fn settle(row: &mut [Self::AttentionScore], rest: Self::AttentionScore);

    /// A sum of rows weighted by shares, as one by probabilities.
    fn scale_all(sums: &mut [Self::AttentionSum; WIDTH], rest: Self::AttentionScore);

    /// Products as sums.
    fn errors(dots: &[Self::Dot; COLUMNS]) -> [Self::AttentionSum; COLUMNS];

    /// Errors of probabilities to those of scores: `store(p ⊙ (dp - Σ p·dp) / √size)`; `element` is the index of
    /// the first.
    fn score_errors(
        p: &[Self::AttentionScore],
        dp: &mut [Self::AttentionSum],
        scaling: Self::Scaling,
        store: Store,
        element: u32,
        range: &mut <Self::AttentionSum as Accumulator>::Magnitude,
        ds: &mut [Self::AttentionScore],
    );

    /// Adds weighted rows to sums, in the order of the rows.
    fn weigh<I: Isa, const H: usize>(
        isa: I,
        factors: Factors<'_, Self::AttentionScore>,
        rows: Rows<'_, Self>,
        sums: &mut [[Self::AttentionSum; WIDTH]; H],
    );

    /// Stores sums, the first of which has index `element`.
    fn put(
        store: Store,
        sums: &mut [Self::AttentionSum; WIDTH],
        element: u32,
        range: &mut <Self::AttentionSum as Accumulator>::Magnitude,
        out: &mut [Self],
    );
}
