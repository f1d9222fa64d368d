//! Hierarchical softmax over a tree: a leaf's probability is the product of the conditional softmaxes
//! on its path, so that the leaves sum to 1.

use super::number::Number;
use super::rows::{cut_exponent, load};
use super::{Errors, Kernels, Logits, Shape, Sink};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};

/// A tree in which each node of a level has equally many children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree<'a> {
    levels: &'a [usize],
    nodes: usize,
    leaves: usize,
}

impl<'a> Tree<'a> {
    /// The tree whose root has `levels[0]` children, each of which has `levels[1]`, and so on.
    ///
    /// # Errors
    /// [`Error::Zero`] for no levels or an empty one, [`Error::Overflow`].
    ///
    /// # Example
    /// ```
    /// let tree = selvedge_kernels::softmax::tree::Tree::new(&[2, 3])?;
    /// assert_eq!((tree.nodes(), tree.leaves()), (2 + 2 * 3, 2 * 3));
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub fn new(levels: &'a [usize]) -> Result<Self> {
        let overflow = Arg::Shape.overflow();
        let (mut nodes, mut leaves) = (0usize, 1usize);
        if levels.is_empty() {
            return Err(Error::Zero { arg: Arg::Shape });
        }
        for &children in levels {
            leaves = Arg::Shape.product(&[leaves, children])?;
            nodes = nodes.checked_add(leaves).ok_or(overflow)?;
        }
        Ok(Self {
            levels,
            nodes,
            leaves,
        })
    }

    /// Refuses more siblings than integers sum.
    fn check<T: Element>(&self) -> Result<()> {
        Shape::limit::<T>(self.levels.iter().copied().max().unwrap_or(0))
    }

    /// Nodes without the root, which are the logits of a row: level by level, siblings together.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.nodes
    }

    /// Leaves, which are the probabilities of a row.
    #[must_use]
    pub const fn leaves(&self) -> usize {
        self.leaves
    }

    /// Each level's number of children, with its slice of `nodes`, from the root down.
    fn levels_of<'s, N>(
        self,
        mut nodes: &'s mut [N],
    ) -> impl Iterator<Item = (usize, &'s mut [N])> + use<'a, 's, N> {
        let mut width = 1usize;
        self.levels.iter().map_while(move |&children| {
            width = width.saturating_mul(children);
            let (level, rest) = core::mem::take(&mut nodes).split_at_mut_checked(width)?;
            nodes = rest;
            Some((children, level))
        })
    }
}

/// Elements of scratch for [`forward`] and [`backward`].
///
/// # Errors
/// [`Error::Overflow`].
pub fn scratch_len(tree: Tree<'_>) -> Result<usize> {
    Arg::Scratch.product(&[3, tree.nodes])
}

/// A checked forward call.
pub struct Forward<'a, T: Kernels> {
    tree: Tree<'a>,
    logits: Logits<'a, T>,
    out: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// A checked backward call.
pub struct Backward<'a, T: Kernels> {
    tree: Tree<'a>,
    logits: Logits<'a, T>,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// Tree softmax, forward: `out[r, leaf] = Π over the path of softmax(siblings' logits / T)[node]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, nodes]` | level by level from below the root; siblings together |
/// | `out` | `[R, leaves]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`] | |
///
/// Integers: conditionals in Q15, a product rounded at each level: the errors of the
/// conditionals and `2^-16` a level.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`] for no rows, [`Error::Overflow`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Logits, tree::{self, Tree}};
/// let tree = Tree::new(&[2, 2])?;
/// let logits = Logits::new(&[0.0f64, 0.0, 5.0, 5.0, -1.0, -1.0], 0);
/// let (mut p, mut scratch) = ([0.0; 4], [0.0; 18]);
/// tree::forward(1, tree, logits, &mut p, &mut scratch)?;
/// assert_eq!(p, [0.25; 4]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn forward<T: Element>(
    rows: usize,
    tree: Tree<'_>,
    logits: Logits<'_, T>,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    tree.check::<T>()?;
    Arg::X.check_len(logits.x.len(), &[rows, tree.nodes])?;
    Arg::Out.check_len(out.len(), &[rows, tree.leaves])?;
    Arg::Scratch.check_len(scratch.len(), &[3, tree.nodes])?;
    T::softmax_tree_forward(Forward {
        tree,
        logits,
        out,
        scratch,
    });
    Ok(())
}

/// Tree softmax, backward: `dx[node] = P(node) (S(node) - S(parent)) / T`, where `P` is the product on
/// the way to a node and `S` the mean error of the leaves below it.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, nodes]` | as in the forward pass |
/// | `errors.dy` | `[R, leaves]` | |
/// | `dx` | `[R, nodes]` | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`scratch_len`] | |
///
/// Returns the bit length of the largest accumulator; their exponent is
/// [`gradient_exponent`](super::gradient_exponent).
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
pub fn backward<T: Element>(
    rows: usize,
    tree: Tree<'_>,
    logits: Logits<'_, T>,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    let Errors { dy, store } = errors;
    tree.check::<T>()?;
    Arg::X.check_len(logits.x.len(), &[rows, tree.nodes])?;
    Arg::Dy.check_len(dy.len(), &[rows, tree.leaves])?;
    Arg::Dx.check_len(dx.len(), &[rows, tree.nodes])?;
    Arg::Scratch.check_len(scratch.len(), &[3, tree.nodes])?;
    Ok(T::softmax_tree_backward(Backward {
        tree,
        logits,
        dy,
        store,
        dx,
        scratch,
    }))
}

/// Takes logits of all nodes to the softmax among their siblings.
fn conditionals<T: Element>(
    tree: Tree<'_>,
    logits: Logits<'_, T>,
    x: &[T],
    nodes: &mut [T::Number],
) {
    load(x, nodes);
    for (children, level) in tree.levels_of(nodes) {
        for siblings in rows_of_mut(level, children) {
            T::Number::softmax(siblings, cut_exponent(logits), logits.temperature, 0);
        }
    }
}

/// Takes conditionals of all nodes to the products on the way to them.
fn products<N: Number>(tree: Tree<'_>, nodes: &mut [N]) {
    let mut above: &mut [N] = &mut [];
    for (children, level) in tree.levels_of(nodes) {
        for (siblings, &parent) in rows_of_mut(level, children).zip(&*above) {
            for p in siblings {
                *p = p.times(parent);
            }
        }
        above = level;
    }
}

impl<T: Element> Forward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) {
        let (tree, logits) = (self.tree, self.logits);
        let Some(nodes) = self.scratch.get_mut(..tree.nodes) else {
            return;
        };
        let rows = rows_of(logits.x, tree.nodes).zip(rows_of_mut(self.out, tree.leaves));
        for (x, out) in rows {
            conditionals(tree, logits, x, nodes);
            products(tree, nodes);
            let leaves = nodes.iter().skip(tree.nodes - tree.leaves);
            for (out, &p) in out.iter_mut().zip(leaves) {
                *out = T::softmax_probability(p);
            }
        }
    }
}

impl<T: Element> Backward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let (tree, logits) = (self.tree, self.logits);
        let mut sink = Sink::new(self.store);
        let mut element = 0u32;
        let mut thirds = rows_of_mut(self.scratch, tree.nodes);
        let (Some(given), Some(way), Some(below)) = (thirds.next(), thirds.next(), thirds.next())
        else {
            return 0;
        };
        let rows = rows_of(logits.x, tree.nodes).zip(rows_of(self.dy, tree.leaves));
        for ((x, dy), dx) in rows.zip(rows_of_mut(self.dx, tree.nodes)) {
            conditionals(tree, logits, x, given);
            for (way, &given) in way.iter_mut().zip(&*given) {
                *way = given;
            }
            products(tree, way);
            // S from the leaves up. A level's parents end where the level begins.
            let leaves = below.iter_mut().skip(tree.nodes - tree.leaves);
            for (s, g) in leaves.zip(dy) {
                *s = g.softmax_error();
            }
            let (mut end, mut width) = (tree.nodes, tree.leaves);
            let mut root = T::Number::default();
            for &children in tree.levels.iter().rev() {
                let start = end.saturating_sub(width);
                let parents = width.checked_div(children).unwrap_or(0);
                let Some((above, level)) = below.split_at_mut_checked(start) else {
                    continue;
                };
                let means = rows_of(given.get(start..end).unwrap_or_default(), children)
                    .zip(rows_of(level, children))
                    .map(|(c, s)| T::Number::mean(c.iter().copied().zip(s.iter().copied())));
                match above.get_mut(start.saturating_sub(parents)..) {
                    Some(above) if start > 0 => {
                        for (parent, mean) in above.iter_mut().zip(means) {
                            *parent = mean;
                        }
                    }
                    _ => root = means.last().unwrap_or_default(),
                }
                (end, width) = (start, parents);
            }
            let mut above: &[T::Number] = &[root];
            let mut errors = dx.iter_mut().zip(&*way);
            for (children, level) in tree.levels_of(below) {
                for (siblings, &parent) in rows_of(level, children).zip(above) {
                    for &s in siblings {
                        let Some((dx, &p)) = errors.next() else {
                            continue;
                        };
                        let gradient = T::Number::gradient(p, s - parent, logits.temperature);
                        T::softmax_gradient(gradient, &mut sink, element, dx);
                        element = element.wrapping_add(1);
                    }
                }
                above = level;
            }
        }
        sink.bits()
    }
}
