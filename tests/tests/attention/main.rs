//! Attention: the definition, its gradients, caches and masks, PyTorch, the exact rule on big integers.
//!
//! Training runs of the reference program are replayed in `golden.rs` (`attention-*`).

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod cache;
mod integers;
mod masks;
mod refusals;
mod torch;

use selvedge_kernels::attention::{
    self, Errors, Exponents, Inputs, Mask, Ranges, Scratch, Shape, Stores,
};
use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, inner, noise, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// Queries, keys and values, as many rows of the latter as there are keys.
#[derive(Clone)]
struct Tensors<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    exponents: Exponents,
}

impl<T: Element> Tensors<T> {
    fn noise(source: &mut Noise, shape: Shape, exponents: Exponents) -> Self {
        let [queries, keys] = lens(shape);
        Self {
            q: noise(source, queries),
            k: noise(source, keys),
            v: noise(source, keys),
            exponents,
        }
    }

    fn inputs(&self, shape: Shape) -> Inputs<'_, T> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            capacity: shape.keys,
            exponents: self.exponents,
        }
    }
}

/// Elements of all queries and of all keys.
fn lens(shape: Shape) -> [usize; 2] {
    [
        shape.batch * shape.queries * shape.heads * shape.size,
        shape.batch * shape.keys * shape.kv_heads * shape.size,
    ]
}

fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    mask: Mask<'_>,
    inputs: Inputs<'_, T>,
    store: Store,
) -> (Vec<T>, u32) {
    let mut out = vec![T::ZERO; lens(shape)[0]];
    let len = attention::forward_scratch_len::<T>(shape, exec.parallelism()).unwrap();
    let mut scratch = vec![T::AttentionScore::BLANK; len];
    let range = attention::forward(exec, shape, mask, inputs, store, &mut out, &mut scratch);
    (out, range.unwrap())
}

fn backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    mask: Mask<'_>,
    inputs: Inputs<'_, T>,
    dy: &[T],
    stores: Stores,
) -> ([Vec<T>; 3], Ranges) {
    let [queries, keys] = lens(shape);
    let mut errors = [queries, keys, keys].map(|len| vec![T::ZERO; len]);
    let [dq, dk, dv] = &mut errors;
    let [scores, products, sums] =
        attention::backward_scratch_len::<T>(shape, exec.parallelism()).unwrap();
    let mut scores = vec![T::AttentionScore::BLANK; scores];
    let [mut products, mut sums] = [products, sums].map(|len| vec![T::AttentionSum::BLANK; len]);
    let to = Errors { dq, dk, dv };
    let scratch = Scratch {
        scores: &mut scores,
        products: &mut products,
        sums: &mut sums,
    };
    let ranges = attention::backward(exec, shape, mask, inputs, dy, stores, to, scratch).unwrap();
    (errors, ranges)
}

/// Whether a query may see a key.
fn sees(mask: &Mask<'_>, sample: usize, query: usize, key: usize) -> bool {
    let position = mask.offset + query;
    (!mask.causal || key <= position)
        && mask
            .window
            .is_none_or(|window| position < key.saturating_add(window))
        && mask
            .lengths
            .get(sample)
            .is_none_or(|&length| key < length as usize)
}

/// Where an element of a head's row lies: row, head, and the first feature of the head.
fn at(rows: usize, heads: usize, size: usize, [sample, row, head]: [usize; 3]) -> usize {
    ((sample * rows + row) * heads + head) * size
}

/// The definition in `f64`, plain: outputs, and the errors of queries, keys and values.
fn definition(shape: Shape, mask: &Mask<'_>, [q, k, v, dy]: [&[f64]; 4]) -> [Vec<f64>; 4] {
    let Shape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        size,
    } = shape;
    let [all, shared] = lens(shape);
    let mut out = [all, all, shared, shared].map(|len| vec![0.0; len]);
    let scale = 1.0 / (size as f64).sqrt();
    for sample in 0..batch {
        for head in 0..heads {
            let kv = |key| {
                at(
                    keys,
                    kv_heads,
                    size,
                    [sample, key, head / (heads / kv_heads)],
                )
            };
            for query in 0..queries {
                let seen: Vec<_> = (0..keys)
                    .filter(|&key| sees(mask, sample, query, key))
                    .collect();
                let i = at(queries, heads, size, [sample, query, head]);
                let row = |x: &[f64], at: usize| x[at..at + size].to_vec();
                let dot = |a: &[f64], b: &[f64]| inner(a, b);
                let scores: Vec<_> = seen
                    .iter()
                    .map(|&key| dot(&row(q, i), &row(k, kv(key))) * scale)
                    .collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let shares: Vec<_> = scores.iter().map(|z| (z - most).exp()).collect();
                let total: f64 = shares.iter().sum();
                let p: Vec<_> = shares.iter().map(|share| share / total).collect();
                let dp: Vec<_> = seen
                    .iter()
                    .map(|&key| dot(&row(dy, i), &row(v, kv(key))))
                    .collect();
                let mean = dot(&p, &dp);
                for ((&key, &p), &dp) in seen.iter().zip(&p).zip(&dp) {
                    let ds = p * (dp - mean) * scale;
                    let j = kv(key);
                    for f in 0..size {
                        out[0][i + f] += p * v[j + f];
                        out[1][i + f] += ds * k[j + f];
                        out[2][j + f] += ds * q[i + f];
                        out[3][j + f] += p * dy[i + f];
                    }
                }
            }
        }
    }
    out
}

/// Extents from a single number to more queries than a block has, with odd sizes and shared heads.
fn shapes() -> Vec<Shape> {
    [
        [1, 1, 1, 1, 1, 1],
        [2, 3, 5, 2, 1, 3],
        [1, 7, 7, 4, 2, 5],
        [2, 5, 2, 3, 3, 9],
        [1, 14, 14, 2, 2, 8],
        [1, 29, 31, 6, 2, 17],
        [1, 13, 18, 1, 1, 41],
    ]
    .map(|[batch, queries, keys, heads, kv_heads, size]| Shape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        size,
    })
    .to_vec()
}

/// Masks of all kinds for a shape; `lengths` has two samples' worth.
fn masks<'a>(shape: Shape, lengths: &'a [u32]) -> Vec<Mask<'a>> {
    let lengths = &lengths[..shape.batch];
    let offset = shape.keys.saturating_sub(shape.queries);
    vec![
        Mask::NONE,
        Mask::CAUSAL,
        Mask {
            offset,
            ..Mask::CAUSAL
        },
        Mask {
            offset,
            window: Some(3),
            ..Mask::CAUSAL
        },
        Mask {
            window: Some(2),
            ..Mask::NONE
        },
        Mask {
            lengths,
            ..Mask::NONE
        },
        Mask {
            causal: true,
            offset,
            window: Some(4),
            lengths,
        },
        Mask {
            offset: shape.keys + 5,
            window: Some(6),
            ..Mask::CAUSAL
        },
    ]
}

/// Lengths of two samples: one a part of the keys, one none.
fn lengths(shape: Shape) -> [u32; 2] {
    [shape.keys.div_ceil(2) as u32, 0]
}

#[test]
fn gradients_are_the_differences() {
    for (seed, shape) in shapes().into_iter().take(4).enumerate() {
        for mask in masks(shape, &lengths(shape)) {
            let place = format!("{shape:?}, {mask:?}");
            let mut source = Noise::new(4_000 + seed as u32);
            let [all, shared] = lens(shape);
            let [q, k, v] = [all, shared, shared].map(|len| source.vector(len, 2.0));
            let dy = source.vector(all, 1.0);
            let loss = |q: &[f64], k: &[f64], v: &[f64]| {
                let inputs = Inputs {
                    q,
                    k,
                    v,
                    capacity: shape.keys,
                    exponents: Exponents::default(),
                };
                inner(&forward(&Serial, shape, mask, inputs, Store::EXACT).0, &dy)
            };
            let inputs = Inputs {
                q: &q[..],
                k: &k,
                v: &v,
                capacity: shape.keys,
                exponents: Exponents::default(),
            };
            let (got, _) = backward(&Serial, shape, mask, inputs, &dy, Stores::EXACT);
            let limit = |_| tolerance::SMOOTH_DIFFERENCE;
            let dq = central(&q, |q| loss(q, &k, &v));
            assert_within(&format!("{place}: dq"), &dq, &got[0], limit);
            let dk = central(&k, |k| loss(&q, k, &v));
            assert_within(&format!("{place}: dk"), &dk, &got[1], limit);
            let dv = central(&v, |v| loss(&q, &k, v));
            assert_within(&format!("{place}: dv"), &dv, &got[2], limit);
        }
    }
}

fn floats_are_the_definition<T: Element>(epsilon: f64, storage: impl Fn(f64) -> f64) {
    for (seed, shape) in shapes().into_iter().enumerate() {
        for mask in masks(shape, &lengths(shape)) {
            let mut source = Noise::new(4_100 + seed as u32);
            let tensors = Tensors::<T>::noise(&mut source, shape, Exponents::default());
            let dy: Vec<T> = noise(&mut source, tensors.q.len());
            let inputs = tensors.inputs(shape);
            let (out, _) = forward(&Serial, shape, mask, inputs, Store::EXACT);
            let ([dq, dk, dv], _) = backward(&Serial, shape, mask, inputs, &dy, Stores::EXACT);
            let float = [&tensors.q, &tensors.k, &tensors.v, &dy].map(|x| values(x, 0));
            let want = definition(shape, &mask, [&float[0], &float[1], &float[2], &float[3]]);
            for (what, want, got) in [
                ("out", &want[0], &out),
                ("dq", &want[1], &dq),
                ("dk", &want[2], &dk),
                ("dv", &want[3], &dv),
            ] {
                let place = format!("{}, {shape:?}, {mask:?}: {what}", T::DTYPE);
                let rows = shape.queries * shape.heads / shape.kv_heads;
                let limit = |y: f64| tolerance::attention(epsilon, shape.size, rows) + storage(y);
                assert_within(&place, want, &values(got, 0), limit);
            }
        }
    }
}

#[test]
fn every_float_type_is_the_definition() {
    let single = f64::from(f32::EPSILON);
    floats_are_the_definition::<f32>(single, tolerance::storage::<f32>);
    floats_are_the_definition::<f16>(single, tolerance::storage::<f16>);
    floats_are_the_definition::<bf16>(single, tolerance::storage::<bf16>);
    floats_are_the_definition::<f64>(f64::EPSILON, |_| 0.0);
}
