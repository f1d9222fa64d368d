//! Variants whose probabilities are made of several softmaxes: trees, adaptive softmax, mixtures.

use super::{Variant, check_mixture, check_rows, rows, temperature};
use crate::net::scratch::Scratch;
use crate::ops::softmax::load;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::{Errors, Logits, Temperature, adaptive, mixture, tree};
use selvedge_kernels::{Element, Result};

/// The levels of a [`TreeSoftmax`](super::TreeSoftmax) or a [`GroupedSoftmax`](super::GroupedSoftmax).
pub trait Levels: 'static {
    /// How many children each node of a level has, from the root down.
    const LEVELS: &'static [usize];
}

/// The clusters of an [`AdaptiveSoftmax`](super::AdaptiveSoftmax).
pub trait Clusters: 'static {
    /// Each item's number once: those of the head, then those of each tail.
    const IDS: &'static [u32];
    /// How many there are in the head, and in each tail.
    const SIZES: &'static [usize];
}

/// The weights of a [`MixtureSoftmax`](super::MixtureSoftmax).
pub trait Weights: 'static {
    /// One for each component, at most 127, of which not all are 0; only their ratios matter.
    const WEIGHTS: &'static [u8];
}

/// See [`TreeSoftmax`](super::TreeSoftmax).
pub struct Tree<In, Out, L, const THOUSANDTHS: u32>(PhantomData<(In, Out, L)>);

/// See [`AdaptiveSoftmax`](super::AdaptiveSoftmax).
pub struct Adaptive<In, Out, C, const THOUSANDTHS: u32>(PhantomData<(In, Out, C)>);

/// See [`MixtureSoftmax`](super::MixtureSoftmax).
pub struct Mixed<In, Out, W, const THOUSANDTHS: u32>(PhantomData<(In, Out, W)>);

impl<In: Shape, Out: Shape, L: Levels, const THOUSANDTHS: u32> Variant
    for Tree<In, Out, L, THOUSANDTHS>
{
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = Scratch<T::Number, In::Last, 3>;

    const KIND: &'static str = "tree_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        check_rows::<In, Out>();
        let (mut level, mut nodes, mut leaves) = (0, 0, 1);
        while level < L::LEVELS.len() {
            leaves *= L::LEVELS[level];
            nodes += leaves;
            level += 1;
        }
        assert!(
            nodes == In::CHANNELS && leaves > 0,
            "softmax: a row of the input has a logit for each node of the tree but the root"
        );
        assert!(
            leaves == Out::CHANNELS,
            "softmax: a row of the output has a probability for each leaf of the tree"
        );
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        let tree = tree::Tree::new(L::LEVELS)?;
        tree::forward(batch * rows::<In>(), tree, logits, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        let tree = tree::Tree::new(L::LEVELS)?;
        tree::backward(
            batch * rows::<In>(),
            tree,
            logits,
            errors,
            dx,
            scratch.all(),
        )
    }
}

impl<In: Shape, Out: Shape, C: Clusters, const THOUSANDTHS: u32> Adaptive<In, Out, C, THOUSANDTHS> {
    /// The clusters; items are looked at once a pass.
    fn clusters(seen: &mut [bool]) -> Result<adaptive::Clusters<'static>> {
        adaptive::Clusters::new(C::IDS, C::SIZES, seen)
    }
}

/// Whether `ids` are the numbers 0 to `ids.len() - 1`.
const fn is_permutation(ids: &[u32]) -> bool {
    const MOST: usize = 1 << 16;
    let mut seen = [0u64; MOST / 64];
    let mut i = 0;
    // More items than this are left to the kernel, which refuses them, too.
    while i < ids.len() && ids.len() <= MOST {
        let id = ids[i] as usize;
        if id >= ids.len() || seen[id / 64] >> (id % 64) & 1 == 1 {
            return false;
        }
        seen[id / 64] |= 1 << (id % 64);
        i += 1;
    }
    true
}

impl<In: Shape, Out: Shape, C: Clusters, const THOUSANDTHS: u32> Variant
    for Adaptive<In, Out, C, THOUSANDTHS>
{
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = (Scratch<T::Number, In::Last, 2>, Scratch<bool, Out::Last, 1>);

    const KIND: &'static str = "adaptive_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        check_rows::<In, Out>();
        let (mut cluster, mut items) = (0, 0);
        while cluster < C::SIZES.len() {
            assert!(C::SIZES[cluster] > 0, "softmax: an empty cluster");
            items += C::SIZES[cluster];
            cluster += 1;
        }
        assert!(cluster > 0, "softmax: no clusters");
        assert!(
            items == C::IDS.len() && is_permutation(C::IDS),
            "softmax: clusters must name each item once"
        );
        assert!(
            items == Out::CHANNELS,
            "softmax: a row of the output has a probability for each item"
        );
        assert!(
            items + cluster - 1 == In::CHANNELS,
            "softmax: a row of the input has a logit for each item and for each tail"
        );
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        (scratch, seen): &mut Self::Scratch<T>,
    ) -> Result<()> {
        let clusters = Self::clusters(seen.all())?;
        adaptive::forward(batch * rows::<In>(), clusters, logits, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        (scratch, seen): &mut Self::Scratch<T>,
    ) -> Result<u32> {
        let (clusters, rows) = (Self::clusters(seen.all())?, batch * rows::<In>());
        adaptive::backward(rows, clusters, logits, errors, dx, scratch.all())
    }
}

impl<In: Shape, Out: Shape, W: Weights, const THOUSANDTHS: u32> Mixed<In, Out, W, THOUSANDTHS> {
    const COMPONENTS: usize = In::EXTENTS[In::RANK - 2];

    const fn shape(batch: usize) -> mixture::Shape {
        mixture::Shape {
            rows: batch * rows::<Out>(),
            components: Self::COMPONENTS,
            classes: In::CHANNELS,
        }
    }
}

impl<In: Shape, Out: Shape, W: Weights, const THOUSANDTHS: u32> Variant
    for Mixed<In, Out, W, THOUSANDTHS>
{
    type Input = In;
    type Output = Out;
    /// Of which a call takes `K + 2N` and `K`, where `K <= N`.
    type Scratch<T: Element> = (Scratch<T::Number, In::Last, 3>, Scratch<T, In::Last, 1>);

    const KIND: &'static str = "mixture_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        check_mixture::<In, Out>(W::WEIGHTS.len());
        let (mut k, mut sum) = (0, 0);
        while k < W::WEIGHTS.len() {
            assert!(W::WEIGHTS[k] < 128, "softmax: a weight of more than 127");
            sum += W::WEIGHTS[k] as usize;
            k += 1;
        }
        assert!(sum > 0, "softmax: all weights of a mixture are 0");
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        (scratch, weights): &mut Self::Scratch<T>,
    ) -> Result<()> {
        let weights = load(W::WEIGHTS, weights.first(Self::COMPONENTS));
        let scratch = scratch.first(Self::COMPONENTS + 2 * In::CHANNELS);
        mixture::forward(Self::shape(batch), weights, logits, out, scratch)
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        (scratch, weights): &mut Self::Scratch<T>,
    ) -> Result<u32> {
        let weights = load(W::WEIGHTS, weights.first(Self::COMPONENTS));
        let scratch = scratch.first(Self::COMPONENTS + 2 * In::CHANNELS);
        mixture::backward(Self::shape(batch), weights, logits, errors, dx, scratch)
    }
}
