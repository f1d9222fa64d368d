//! The variants as cases: how each is called, and what it is by definition, in f64.

use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::adaptive::Clusters;
use selvedge_kernels::softmax::gumbel::{self, Form};
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::tree::Tree;
use selvedge_kernels::softmax::{
    self, Alpha, Errors, Logits, Shape, Temperature, adaptive, entmax, masked, tree,
};
use selvedge_kernels::{Element, softmax::Kernels};

/// A variant with its parameters; rows come from the length of the input.
#[derive(Clone, Debug)]
pub(crate) enum Variant {
    Standard(usize),
    Grid([usize; 2]),
    Groups(Vec<usize>),
    Masked(Vec<bool>),
    Gumbel(usize, Words),
    Entmax(usize, f32),
    Tree(Vec<usize>),
    Adaptive(Vec<u32>, Vec<usize>),
    Mixture(usize, Vec<f64>),
}

/// All ten, entmax with its special cases.
pub(crate) fn all() -> Vec<Variant> {
    let mask = vec![true, false, true, true, false, true, true];
    vec![
        Variant::Standard(7),
        Variant::Grid([3, 5]),
        Variant::Groups(vec![2, 3, 4]),
        Variant::Masked(mask),
        Variant::Gumbel(7, Words::new(5, 6, 7)),
        Variant::Entmax(7, 2.0),
        Variant::Entmax(7, 1.5),
        Variant::Entmax(7, 1.25),
        Variant::Entmax(7, 1.0),
        Variant::Tree(vec![2, 3, 2]),
        Variant::Adaptive(vec![4, 0, 1, 6, 3, 2, 5], vec![2, 3, 2]),
        Variant::Mixture(4, vec![0.75, -0.5, 1.25]),
    ]
}

/// A call in elements of `T`.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) exponent: i32,
    pub(crate) temperature: Temperature,
}

impl<T> Call<'_, T> {
    fn logits(&self) -> Logits<'_, T> {
        Logits::new(self.x, self.exponent).at(self.temperature)
    }
}

/// Exponent of a mixture's gate, which holds ±2.
pub(crate) fn gate_exponent<T: Element>() -> i32 {
    if T::DTYPE.is_integer() {
        1 - T::MAGNITUDE_BITS as i32
    } else {
        0
    }
}

impl Variant {
    /// Logits and probabilities of a row.
    pub(crate) fn widths(&self) -> [usize; 2] {
        match self {
            Self::Standard(n) | Self::Gumbel(n, _) | Self::Entmax(n, _) => [*n; 2],
            Self::Grid([rows, columns]) => [rows * columns; 2],
            Self::Groups(levels) => [levels.iter().product(); 2],
            Self::Masked(mask) => [mask.len(); 2],
            Self::Tree(levels) => {
                let tree = Tree::new(levels).unwrap();
                [tree.nodes(), tree.leaves()]
            }
            Self::Adaptive(ids, sizes) => [ids.len() + sizes.len() - 1, ids.len()],
            Self::Mixture(n, gate) => [n * gate.len(), *n],
        }
    }

    /// What the probabilities of a row sum to.
    pub(crate) fn total(&self) -> f64 {
        match self {
            Self::Grid([rows, _]) => *rows as f64,
            Self::Groups(levels) => levels[..levels.len() - 1].iter().product::<usize>() as f64,
            _ => 1.0,
        }
    }

    fn shape(&self, rows: usize) -> Shape {
        match self {
            Self::Grid([r, c]) => Shape::grid(rows, *r, *c).unwrap(),
            Self::Groups(levels) => Shape::groups(rows, levels).unwrap(),
            _ => Shape {
                rows,
                classes: self.widths()[0],
            },
        }
    }

    pub(crate) fn gate<T: Element>(gate: &[f64]) -> Vec<T> {
        let scale = 2f64.powi(-gate_exponent::<T>());
        gate.iter().map(|g| T::from_f64(g * scale)).collect()
    }

    pub(crate) fn forward<T: Element>(&self, call: Call<'_, T>) -> Vec<T> {
        let [width, outputs] = self.widths();
        let rows = call.x.len() / width;
        let mut out = vec![T::from_f64(0.5); rows * outputs];
        let number = <T as Kernels>::Number::default();
        let logits = call.logits();
        match self {
            Self::Standard(_) | Self::Grid(_) | Self::Groups(_) => {
                let shape = self.shape(rows);
                let mut scratch = vec![number; softmax::scratch_len(shape).unwrap()];
                softmax::forward(shape, logits, &mut out, &mut scratch).unwrap();
            }
            Self::Masked(mask) => {
                let mut scratch = vec![number; width];
                let mask = mask.repeat(rows);
                masked::forward(self.shape(rows), logits, &mask, &mut out, &mut scratch).unwrap();
            }
            Self::Gumbel(_, words) => {
                let mut scratch = vec![number; width];
                gumbel::forward(
                    self.shape(rows),
                    logits,
                    Some(*words),
                    Form::Soft,
                    &mut out,
                    &mut scratch,
                )
                .unwrap();
            }
            Self::Entmax(_, alpha) => {
                let mut scratch = vec![number; width];
                let alpha = Alpha::new(*alpha).unwrap();
                entmax::forward(self.shape(rows), logits, alpha, &mut out, &mut scratch).unwrap();
            }
            Self::Tree(levels) => {
                let tree = Tree::new(levels).unwrap();
                let mut scratch = vec![number; tree::scratch_len(tree).unwrap()];
                tree::forward(rows, tree, logits, &mut out, &mut scratch).unwrap();
            }
            Self::Adaptive(ids, sizes) => {
                let clusters = Clusters::new(ids, sizes, &mut vec![false; ids.len()]).unwrap();
                let mut scratch = vec![number; adaptive::scratch_len(clusters).unwrap()];
                adaptive::forward(rows, clusters, logits, &mut out, &mut scratch).unwrap();
            }
            Self::Mixture(n, gate) => {
                let shape = mixture::Shape {
                    rows,
                    components: gate.len(),
                    classes: *n,
                };
                let mut scratch = vec![number; mixture::scratch_len(shape).unwrap()];
                let gate = Self::gate::<T>(gate);
                let weights = Weights::Logits(Logits::new(&gate, gate_exponent::<T>()));
                mixture::forward(shape, weights, logits, &mut out, &mut scratch).unwrap();
            }
        }
        out
    }

    /// The stored gradient and the range.
    pub(crate) fn backward<T: Element>(
        &self,
        call: Call<'_, T>,
        dy: &[T],
        store: Store,
    ) -> (Vec<T>, u32) {
        let [width, _] = self.widths();
        let rows = call.x.len() / width;
        let mut dx = vec![T::from_f64(0.5); rows * width];
        let number = <T as Kernels>::Number::default();
        let logits = call.logits();
        let errors = Errors { dy, store };
        let bits = match self {
            Self::Standard(_) | Self::Grid(_) | Self::Groups(_) => {
                let shape = self.shape(rows);
                let mut scratch = vec![number; softmax::scratch_len(shape).unwrap()];
                softmax::backward(shape, logits, errors, &mut dx, &mut scratch)
            }
            Self::Masked(mask) => {
                let mut scratch = vec![number; width];
                let mask = mask.repeat(rows);
                masked::backward(
                    self.shape(rows),
                    logits,
                    &mask,
                    errors,
                    &mut dx,
                    &mut scratch,
                )
            }
            Self::Gumbel(_, words) => {
                let mut scratch = vec![number; width];
                gumbel::backward(
                    self.shape(rows),
                    logits,
                    Some(*words),
                    errors,
                    &mut dx,
                    &mut scratch,
                )
            }
            Self::Entmax(_, alpha) => {
                let mut scratch = vec![number; width];
                let alpha = Alpha::new(*alpha).unwrap();
                entmax::backward(
                    self.shape(rows),
                    logits,
                    alpha,
                    errors,
                    &mut dx,
                    &mut scratch,
                )
            }
            Self::Tree(levels) => {
                let tree = Tree::new(levels).unwrap();
                let mut scratch = vec![number; tree::scratch_len(tree).unwrap()];
                tree::backward(rows, tree, logits, errors, &mut dx, &mut scratch)
            }
            Self::Adaptive(ids, sizes) => {
                let clusters = Clusters::new(ids, sizes, &mut vec![false; ids.len()]).unwrap();
                let mut scratch = vec![number; adaptive::scratch_len(clusters).unwrap()];
                adaptive::backward(rows, clusters, logits, errors, &mut dx, &mut scratch)
            }
            Self::Mixture(n, gate) => {
                let shape = mixture::Shape {
                    rows,
                    components: gate.len(),
                    classes: *n,
                };
                let mut scratch = vec![number; mixture::scratch_len(shape).unwrap()];
                let gate = Self::gate::<T>(gate);
                let weights = Weights::Logits(Logits::new(&gate, gate_exponent::<T>()));
                mixture::backward(shape, weights, logits, errors, &mut dx, &mut scratch)
            }
        };
        (dx, bits.unwrap())
    }

    /// The definition of one row.
    fn row(&self, z: &[f64]) -> Vec<f64> {
        match self {
            Self::Standard(_) => plain(z),
            Self::Grid([_, columns]) => z.chunks(*columns).flat_map(plain).collect(),
            Self::Groups(levels) => z.chunks(*levels.last().unwrap()).flat_map(plain).collect(),
            Self::Masked(mask) => {
                let total: f64 = z
                    .iter()
                    .zip(mask)
                    .filter(|(_, m)| **m)
                    .map(|(z, _)| z.exp())
                    .sum();
                z.iter()
                    .zip(mask)
                    .map(|(z, &m)| if m { z.exp() / total } else { 0.0 })
                    .collect()
            }
            Self::Gumbel(..) => plain(z), // the noise is in the logits already
            Self::Entmax(_, alpha) => entmax_by_bisection(z, f64::from(*alpha)),
            Self::Tree(levels) => {
                let (mut leaves, mut rest) = (vec![1.0], z);
                for &children in levels {
                    let (level, after) = rest.split_at(leaves.len() * children);
                    rest = after;
                    let given = level.chunks(children).zip(&leaves);
                    leaves = given
                        .flat_map(|(z, p)| plain(z).into_iter().map(move |c| c * p))
                        .collect();
                }
                leaves
            }
            Self::Adaptive(ids, sizes) => {
                let n = ids.len();
                let mut head: Vec<f64> = ids[..sizes[0]].iter().map(|&i| z[i as usize]).collect();
                head.extend(&z[n..]);
                let head = plain(&head);
                let mut out = vec![0.0; n];
                for (&id, p) in ids[..sizes[0]].iter().zip(&head) {
                    out[id as usize] = *p;
                }
                let mut start = sizes[0];
                for (c, &size) in sizes[1..].iter().enumerate() {
                    let tail = &ids[start..start + size];
                    start += size;
                    let given = plain(&tail.iter().map(|&i| z[i as usize]).collect::<Vec<_>>());
                    for (&id, q) in tail.iter().zip(given) {
                        out[id as usize] = q * head[sizes[0] + c];
                    }
                }
                out
            }
            Self::Mixture(n, gate) => {
                let mut out = vec![0.0; *n];
                for (pi, z) in plain(gate).into_iter().zip(z.chunks(*n)) {
                    for (out, p) in out.iter_mut().zip(plain(z)) {
                        *out += pi * p;
                    }
                }
                out
            }
        }
    }

    /// The definition, of all rows.
    pub(crate) fn definition(&self, x: &[f64], temperature: f64) -> Vec<f64> {
        let [width, _] = self.widths();
        let mut first = 0;
        let mut out = Vec::new();
        for x in x.chunks(width) {
            let noise = |i: usize| match self {
                Self::Gumbel(_, words) => {
                    let u = (f64::from(words.word((first + i) as u32)) + 0.5) / 2f64.powi(32);
                    -(-u.ln()).ln()
                }
                _ => 0.0,
            };
            let z: Vec<f64> = x
                .iter()
                .enumerate()
                .map(|(i, x)| (x + noise(i)) / temperature)
                .collect();
            out.extend(self.row(&z));
            first += width;
        }
        out
    }
}

/// `exp(z_i) / Σ exp(z_j)`, as it stands: the tests' logits are small.
pub(crate) fn plain(z: &[f64]) -> Vec<f64> {
    let total: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / total).collect()
}

/// By bisection on τ, 80 halvings (Peters et al. 2019, algorithm 1); softmax for alpha = 1.
pub(crate) fn entmax_by_bisection(z: &[f64], alpha: f64) -> Vec<f64> {
    if alpha == 1.0 {
        return plain(z);
    }
    let u: Vec<f64> = z.iter().map(|z| (alpha - 1.0) * z).collect();
    let largest = u.iter().copied().fold(f64::MIN, f64::max);
    let power = 1.0 / (alpha - 1.0);
    let at = |tau: f64| u.iter().map(move |u| (u - tau).max(0.0).powf(power));
    let (mut low, mut high) = (largest - 1.0, largest - (z.len() as f64).powf(1.0 - alpha));
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if at(middle).sum::<f64>() >= 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(low).collect()
}
