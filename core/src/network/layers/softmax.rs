//! Rows of logits to rows of probabilities.

use super::Build;
use crate::graph::{Error, ValueId, shown};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::function::{Function, counted};
use crate::ops::learned;
use crate::ops::softmax::describe::{
    ADAPTIVE, ENTMAX, GUMBEL, MASKED, MIXTURE, Own, PLAIN, TREE, append_learned, append_top_k,
    number_bytes, sum_bytes,
};
use crate::ops::softmax::{MOST_CLUSTERS, MOST_LEVELS};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::softmax::Shape;
use selvedge_kernels::softmax::mixture;
use selvedge_kernels::{self as kernels, Element};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

#[cfg(feature = "json")]
const fn one() -> u32 {
    1000
}

#[cfg(feature = "json")]
const fn three_halves() -> u32 {
    1500
}

/// Defines layers with a temperature, behind what else they are told.
macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:literal)?,)*
    })*) => {$(
        $(#[$doc])*
        ///
        /// Integers are stored at the exponent `-M`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            $(
                $(#[$field_doc])*
                $(#[cfg_attr(feature = "json", serde(default = $default))])?
                pub $field: $type,
            )*
            /// What logits are divided by, in thousandths.
            #[cfg_attr(feature = "json", serde(default = "one"))]
            pub temperature: u32,
        }

        impl $name {
            /// At a temperature of 1.
            #[must_use]
            pub const fn new($($field: $type),*) -> Self {
                Self { $($field,)* temperature: 1000 }
            }

            /// At a temperature of so many thousandths.
            #[must_use]
            pub const fn temperature(mut self, temperature: u32) -> Self {
                self.temperature = temperature;
                self
            }
        }
    )*};
}

layers! {
    /// The softmax of each row, the last axis; any shape. Numerical behaviour: [`selvedge_kernels::softmax::forward`].
    Softmax {}
    /// The softmax of each group of a row, the last axis, which has the product of `levels` as logits: a group has as many as
    /// the last level. Numerical behaviour: [`selvedge_kernels::softmax::Shape::groups`].
    GroupedSoftmax {
        /// Groups of groups, from the outermost in.
        levels: Vec<usize>,
    }
    /// The softmax of the elements that are allowed; the others are exactly 0; any shape. Numerical behaviour:
    /// [`selvedge_kernels::softmax::masked`].
    MaskedSoftmax {
        /// Which elements take part, of a sample, or of one row for all rows: at least one of each row.
        allowed: Vec<bool>,
    }
    /// A differentiable draw in training; at inference the softmax, or its largest element; any shape. Numerical behaviour:
    /// [`selvedge_kernels::softmax::gumbel`]. Source: Jang et al. 2017.
    GumbelSoftmax {
        /// Whether rows are one-hot.
        hard: bool = "bool::default",
    }
    /// Entmax of each row, the last axis: exact zeros; any shape. Numerical behaviour:
    /// [`selvedge_kernels::softmax::entmax`]. Source: Peters et al. 2019.
    Entmax {
        /// From 1000 (softmax) to 2000 (sparsemax) thousandths.
        alpha: u32 = "three_halves",
    }
    /// The Euclidean projection of each row, the last axis, on the simplex; any shape. Numerical behaviour:
    /// [`selvedge_kernels::softmax::entmax`]. Source: Martins & Astudillo 2016.
    Sparsemax {}
    /// Rows of the logits of all nodes of a tree but the root to rows of its leaves' probabilities. Numerical behaviour:
    /// [`selvedge_kernels::softmax::tree`].
    TreeSoftmax {
        /// How many children each node of a level has, from the root down; at most 16.
        levels: Vec<usize>,
    }
    /// Rows of items' logits, followed by those of the tails, to rows of items' probabilities. Numerical behaviour:
    /// [`selvedge_kernels::softmax::adaptive`]. Source: Grave et al. 2017.
    AdaptiveSoftmax {
        /// Each item's number once: those of the head, then those of each tail.
        ids: Vec<u32>,
        /// How many there are in the head, and in each tail; at most 32 of them.
        sizes: Vec<usize>,
    }
    /// `[.., K, N]` to `[.., N]`: the sum of K softmaxes by given weights; [`LearnedMixture`] learns them. Numerical
    /// behaviour: [`selvedge_kernels::softmax::mixture`].
    MixtureSoftmax {
        /// One for each component, at most 127, of which not all are 0; only their ratios matter.
        weights: Vec<u8>,
    }
    /// `[.., K, N]` to `[.., N]`: the sum of K softmaxes, weighted by the softmax of K logits of its own, which are the same
    /// for all rows and learned; they start equal, and with room for ±4. Numerical behaviour:
    /// [`selvedge_kernels::softmax::mixture`]. Source: Yang et al. 2018.
    LearnedMixture {}
    /// The softmax of the `k` largest logits of each row, the last axis, the first of equal ones; the others are exactly 0
    /// and get no error; any shape. Numerical behaviour: [`selvedge_kernels::softmax::masked`]. Source: Shazeer et al. 2017,
    /// without noise.
    TopKSoftmax {
        /// How many.
        k: usize,
    }
}

macro_rules! defaults {
    ($($name:ident)*) => {$(
        impl Default for $name {
            /// At a temperature of 1.
            fn default() -> Self {
                Self::new()
            }
        }
    )*};
}

defaults! { Softmax Sparsemax LearnedMixture }

/// A number of thousandths as the bits of an `f32`.
fn real(thousandths: u32) -> u32 {
    (thousandths as f32 / 1000.0).to_bits()
}

/// A temperature as an image has it.
fn temperature(to: &Builder<'_>, thousandths: u32) -> Result<u32, Error> {
    if thousandths == 0 {
        return Err(to.attribute_error("a temperature of at least a thousandth", 0));
    }
    Ok(real(thousandths))
}

/// Refuses rows of more logits than kernels sum.
fn check_logits(to: &Builder<'_>, shape: &[usize]) -> Result<usize, Error> {
    match shape.last() {
        Some(&logits) if logits <= Shape::MOST_CLASSES => Ok(logits),
        _ => {
            let expected = alloc::format!("rows of at most {} logits", Shape::MOST_CLASSES);
            Err(to.shape_error(&expected, shape))
        }
    }
}

/// Bytes of a number that kernels work with.
fn number_of(to: &Builder<'_>, x: ValueId) -> usize {
    by_dtype!(to.graph.dtype_of(x), T => number_bytes::<T>())
}

/// A variant with a probability for each logit, in rows of `classes`; `own` are its last attributes.
fn of_rows(
    to: &mut Builder<'_>,
    x: ValueId,
    operator: &'static Function,
    thousandths: u32,
    own: impl FnOnce(&Builder<'_>, &[usize]) -> Result<Rows, Error>,
) -> Result<ValueId, Error> {
    let (number, shape) = (to.number(), to.shape_of(x));
    let temperature = temperature(to, thousandths)?;
    let logits = check_logits(to, &shape)?;
    let Rows {
        classes,
        attributes,
        table,
    } = own(to, &shape)?;
    let classes = classes.unwrap_or(logits);
    let rows = shape.iter().product::<usize>() / classes.max(1);
    let numbers = classes * number_of(to, x);
    let attributes = [vec![temperature, rows as u32, classes as u32], attributes].concat();
    let own = Own {
        attributes,
        table,
        numbers,
        room: 0,
    };
    Ok(operator.of_logits(to.graph, number, x, shape, own))
}

/// What differs between variants with a probability for each logit.
#[derive(Default)]
struct Rows {
    /// Logits that are normalised together, if they are not all of a row.
    classes: Option<usize>,
    attributes: Vec<u32>,
    table: Option<Vec<u8>>,
}

impl Build for Softmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, &PLAIN, self.temperature, |_, _| Ok(Rows::default()))
    }
}

impl Build for GroupedSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, &PLAIN, self.temperature, |to, shape| {
            let mut levels = self.levels.iter().copied();
            let logits = levels.try_fold(1usize, usize::checked_mul);
            if self.levels.is_empty() || logits != shape.last().copied() {
                let expected = "levels whose product is the number of logits in a row";
                return Err(to.attribute_error(expected, shown(&self.levels)));
            }
            Ok(Rows {
                classes: self.levels.last().copied(),
                ..Rows::default()
            })
        })
    }
}

impl Build for MaskedSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, &MASKED, self.temperature, |to, shape| {
            let len: usize = shape.iter().product();
            let logits = check_logits(to, shape)?;
            let given = self.allowed.len();
            if given != len && given != logits {
                let expected = alloc::format!("a mask of {len} elements, or of {logits}");
                return Err(to.attribute_error(expected, given));
            }
            let mut rows = self.allowed.chunks(logits.max(1));
            if rows.any(|row| !row.contains(&true)) {
                return Err(to.attribute_error("something allowed of each row", "nothing"));
            }
            Ok(Rows {
                table: Some(self.allowed.iter().map(|&is| is.into()).collect()),
                ..Rows::default()
            })
        })
    }
}

impl Build for GumbelSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        of_rows(to, x, &GUMBEL, self.temperature, |_, _| {
            Ok(Rows {
                attributes: vec![self.hard.into()],
                ..Rows::default()
            })
        })
    }
}

fn entmax(
    to: &mut Builder<'_>,
    x: ValueId,
    alpha: u32,
    temperature: u32,
) -> Result<ValueId, Error> {
    of_rows(to, x, &ENTMAX, temperature, |to, _| {
        if !(1000..=2000).contains(&alpha) {
            return Err(to.attribute_error("an alpha of 1000 to 2000 thousandths", alpha));
        }
        Ok(Rows {
            attributes: vec![real(alpha)],
            ..Rows::default()
        })
    })
}

impl Build for Entmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        entmax(to, x, self.alpha, self.temperature)
    }
}

impl Build for Sparsemax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        entmax(to, x, 2000, self.temperature)
    }
}

/// `shape` with `last` in place of its last extent, and how many rows there are.
fn with_last(mut shape: Vec<usize>, last: usize) -> (Vec<usize>, usize) {
    let mut rows = 1;
    if let Some((place, leading)) = shape.split_last_mut() {
        rows = leading.iter().product();
        *place = last;
    }
    (shape, rows)
}

impl Build for TreeSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let temperature = temperature(to, self.temperature)?;
        let logits = check_logits(to, &shape)?;
        to.check_range("levels", self.levels.len(), MOST_LEVELS)?;
        let (mut leaves, mut nodes) = (1usize, 0usize);
        for &children in &self.levels {
            leaves = leaves.saturating_mul(children);
            nodes = nodes.saturating_add(leaves);
        }
        if nodes != logits || leaves == 0 {
            let expected = alloc::format!("levels of a tree of {logits} nodes beside its root");
            return Err(to.attribute_error(expected, shown(&self.levels)));
        }
        let (shape, rows) = with_last(shape, leaves);
        let own = Own {
            attributes: [vec![temperature, rows as u32], counted(&self.levels)].concat(),
            table: None,
            numbers: 3 * logits * number_of(to, x),
            room: 0,
        };
        Ok(TREE.of_logits(to.graph, number, x, shape, own))
    }
}

impl Build for AdaptiveSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let temperature = temperature(to, self.temperature)?;
        let logits = check_logits(to, &shape)?;
        to.check_range("clusters", self.sizes.len(), MOST_CLUSTERS)?;
        let items = self.ids.len();
        let mut seen = vec![false; items];
        kernels::softmax::adaptive::Clusters::new(&self.ids, &self.sizes, &mut seen)
            .map_err(to.kernel())?;
        if items + self.sizes.len() - 1 != logits {
            let expected = alloc::format!("{logits} logits: of items, and of tails");
            let found = alloc::format!("{items} and {}", self.sizes.len() - 1);
            return Err(to.attribute_error(expected, found));
        }
        let (shape, rows) = with_last(shape, items);
        let ids = self.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let own = Own {
            attributes: [vec![temperature, rows as u32], counted(&self.sizes)].concat(),
            table: Some(ids),
            numbers: 2 * logits * number_of(to, x),
            room: items,
        };
        Ok(ADAPTIVE.of_logits(to.graph, number, x, shape, own))
    }
}

/// Components and classes of a mixture, and the shape of what it gives.
fn mixed(to: &Builder<'_>, shape: &[usize]) -> Result<([usize; 2], Vec<usize>), Error> {
    check_logits(to, shape)?;
    match *shape {
        [ref leading @ .., components, classes] if components <= classes => {
            Ok(([components, classes], [leading, &[classes]].concat()))
        }
        _ => {
            let expected = "components of as many classes or more: [.., K, N]";
            Err(to.shape_error(expected, shape))
        }
    }
}

impl Build for MixtureSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let temperature = temperature(to, self.temperature)?;
        let ([components, classes], shape) = mixed(to, &shape)?;
        let is_good = |&weight: &u8| weight < 128;
        if self.weights.len() != components
            || !self.weights.iter().all(is_good)
            || self.weights.iter().all(|&weight| weight == 0)
        {
            let expected = alloc::format!("{components} weights of at most 127, not all 0");
            return Err(to.attribute_error(expected, alloc::format!("{:?}", self.weights)));
        }
        let rows = shape.iter().product::<usize>() / classes;
        let attributes = [rows, components, classes].map(|size| size as u32);
        let own = Own {
            attributes: [&[temperature], &attributes[..]].concat(),
            table: Some(self.weights.clone()),
            numbers: (components + 2 * classes) * number_of(to, x),
            room: components * to.graph.dtype_of(x).bytes(),
        };
        Ok(MIXTURE.of_logits(to.graph, number, x, shape, own))
    }
}

impl Build for LearnedMixture {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let temperature = temperature(to, self.temperature)?;
        let (extents, shape) = mixed(to, &shape)?;
        let [components, classes] = extents;
        let terms = (shape.iter().product::<usize>() / classes).saturating_mul(to.options.samples);
        let limit = mixture::Shape::MOST_ROWS;
        if to.trains && terms > limit {
            return Err(to.kernel()(kernels::Error::Accumulator { terms, limit }));
        }
        let (weights, bytes) = by_dtype!(to.dtype, T => {
            let exponent = 2 - T::MAGNITUDE_BITS as i16;
            let weights =
                learned::describe::zeros::<T>(to.graph, to.trains, vec![components], exponent);
            (weights, [number_bytes::<T>(), sum_bytes::<T>()])
        });
        let inputs = [x, weights];
        let y = append_learned(to.graph, number, inputs, temperature, extents, bytes, shape);
        Ok(y)
    }
}

impl Build for TopKSoftmax {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let temperature = temperature(to, self.temperature)?;
        let logits = check_logits(to, &shape)?;
        to.check_range("k", self.k, logits)?;
        let numbers = logits * number_of(to, x);
        let what = [logits, self.k];
        Ok(append_top_k(
            to.graph,
            number,
            x,
            temperature,
            what,
            numbers,
        ))
    }
}
