//! Variants whose probabilities are made of several softmaxes: trees, adaptive softmax, mixtures.

use super::{Attributes, Result, Tools, Variant, groups};
use crate::ops::{Kernel, Kind};
use selvedge_kernels::softmax::{Errors, Logits, adaptive, mixture, tree};
use selvedge_kernels::{self as kernels, Element};

groups! {
    /// Softmaxes down a tree.
    run_tree, train_tree: Tree, TreeSoftmax, TreeSoftmaxBackward;
    /// A head, and tails entered through it.
    run_adaptive, train_adaptive: Adaptive, AdaptiveSoftmax, AdaptiveSoftmaxBackward;
    /// A mixture by given weights.
    run_mixture, train_mixture: Mixture, MixtureSoftmax, MixtureSoftmaxBackward;
}

/// Levels of a tree.
pub(crate) const MOST_LEVELS: usize = 16;

/// Head and tails of an adaptive softmax.
pub(crate) const MOST_CLUSTERS: usize = 32;

/// Attributes: rows of a sample, levels.
struct Tree {
    rows: usize,
    levels: ([usize; MOST_LEVELS], usize),
}

impl Tree {
    fn tree(&self) -> kernels::Result<tree::Tree<'_>> {
        let (levels, count) = &self.levels;
        tree::Tree::new(levels.get(..*count).unwrap_or_default())
    }
}

impl Variant for Tree {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        Ok(Self {
            rows: batch.saturating_mul(attributes.size()?),
            levels: attributes.several()?,
        })
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        tree::forward(self.rows, self.tree()?, logits, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        tree::backward(self.rows, self.tree()?, logits, errors, dx, tools.numbers)
    }
}

/// Attributes: rows of a sample, items of each cluster. Its table has the items' numbers, its room a byte for each.
struct Adaptive {
    rows: usize,
    sizes: ([usize; MOST_CLUSTERS], usize),
}

impl Adaptive {
    fn clusters<'a>(
        &'a self,
        table: &'a [u8],
        room: &mut [u8],
    ) -> kernels::Result<adaptive::Clusters<'a>> {
        let (sizes, count) = &self.sizes;
        room.fill(0);
        let seen = bytemuck::checked::try_cast_slice_mut(room).unwrap_or_default();
        let ids = bytemuck::try_cast_slice(table).unwrap_or_default();
        adaptive::Clusters::new(ids, sizes.get(..*count).unwrap_or_default(), seen)
    }
}

impl Variant for Adaptive {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        Ok(Self {
            rows: batch.saturating_mul(attributes.size()?),
            sizes: attributes.several()?,
        })
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        let clusters = self.clusters(tools.table, tools.room)?;
        adaptive::forward(self.rows, clusters, logits, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        let clusters = self.clusters(tools.table, tools.room)?;
        adaptive::backward(self.rows, clusters, logits, errors, dx, tools.numbers)
    }
}

/// The weights of a mixture, at most 127 each, as elements, of an exponent that does not matter.
pub(crate) fn load<'a, T: Element>(given: &[u8], weights: &'a mut [T]) -> mixture::Weights<'a, T> {
    for (to, &weight) in weights.iter_mut().zip(given) {
        *to = T::from_pixel(weight.wrapping_mul(2)); // even: 8 bits keep it
    }
    mixture::Weights::Given(weights)
}

/// Attributes: rows of a sample, components, classes.
pub(super) fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<mixture::Shape> {
    let [rows, components, classes] = attributes.sizes()?;
    Ok(mixture::Shape {
        rows: batch.saturating_mul(rows),
        components,
        classes,
    })
}

/// Its table has a byte for each weight, its room an element.
struct Mixture(mixture::Shape);

/// Room for elements.
fn elements<T: Element>(room: &mut [u8]) -> &mut [T] {
    bytemuck::try_cast_slice_mut(room).unwrap_or_default()
}

impl Variant for Mixture {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        shape(batch, attributes).map(Self)
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        let weights = load(tools.table, elements::<T>(tools.room));
        mixture::forward(self.0, weights, logits, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        let weights = load(tools.table, elements::<T>(tools.room));
        mixture::backward(self.0, weights, logits, errors, dx, tools.numbers)
    }
}
