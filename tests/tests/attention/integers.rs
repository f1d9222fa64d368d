//! Integers against the rule on big integers, and against floats.

use super::{Tensors, at, backward, definition, forward, lengths, lens, masks, sees, shapes};
use selvedge_kernels::Element;
use selvedge_kernels::attention::{Exponents, Mask, Ranges, Shape, Stores};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::isqrt;
use selvedge_kernels::lut::exp2_neg;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{
    cosine, elements, integer, noise, sat, settled, shift_rne, shifted, values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// The rule of `docs/numerics.md` §25 on big integers: accumulators of the output, of the errors of scores, and of
/// the errors of queries, keys and values where those of scores are stored by `shift`.
#[derive(Default)]
struct Model {
    out: Vec<i128>,
    scores: Vec<i128>,
    dq: Vec<i128>,
    dk: Vec<i128>,
    dv: Vec<i128>,
}

fn model(
    shape: Shape,
    mask: &Mask<'_>,
    (m, exponent, shift): (i32, i32, i32),
    tensors: [&[i128]; 4],
) -> Model {
    let Shape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        size,
    } = shape;
    let cut = (m - 15).max(0);
    let tensors = tensors.map(|x| x.iter().map(|&x| shift_rne(x, cut)).collect::<Vec<_>>());
    let [q, k, v, dy] = &tensors;
    let scale = i128::from((isqrt((1 << 32) / size as u64) + 1) >> 1);
    let [all, shared] = lens(shape);
    let mut model = Model {
        out: vec![0; all],
        dq: vec![0; all],
        dk: vec![0; shared],
        dv: vec![0; shared],
        ..Model::default()
    };
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
                let dot = |a: &[i128], i: usize, b: &[i128], j: usize| -> i128 {
                    (0..size).map(|f| a[i + f] * b[j + f]).sum()
                };
                let z = |&key: &usize| {
                    let product = dot(q, i, k, kv(key)) * scale;
                    // Beyond 40 places to the left nothing but 0 stays below 2^15.
                    sat(shift_rne(product, (5 - exponent - 2 * cut).max(-40)), 15)
                };
                let z: Vec<_> = seen.iter().map(z).collect();
                let most = z.iter().copied().max().unwrap_or(0);
                let numerators: Vec<_> = z
                    .iter()
                    .map(|z| i128::from(exp2_neg((((most - z) * 23_637) >> 8) as u32)))
                    .collect();
                let total: i128 = numerators.iter().sum();
                let inverse = if total == 0 {
                    0
                } else {
                    ((1 << 47) + total / 2) / total
                };
                let p: Vec<_> = numerators
                    .iter()
                    .map(|n| shift_rne(n * inverse, 32))
                    .collect();
                let dp: Vec<_> = seen.iter().map(|&key| dot(dy, i, v, kv(key))).collect();
                let mean = shift_rne(p.iter().zip(&dp).map(|(p, dp)| p * dp).sum(), 15);
                for ((&key, p), dp) in seen.iter().zip(&p).zip(&dp) {
                    let g = shift_rne(p * (dp - mean), 7) * scale;
                    let ds = sat(shift_rne(g, shift), 15);
                    model.scores.push(g);
                    let j = kv(key);
                    for f in 0..size {
                        model.out[i + f] += p * v[j + f];
                        model.dq[i + f] += ds * k[j + f];
                        model.dk[j + f] += ds * q[i + f];
                        model.dv[j + f] += p * dy[i + f];
                    }
                }
            }
        }
    }
    model
}

fn bits(accumulators: &[i128]) -> u32 {
    let most = accumulators.iter().map(|acc| acc.unsigned_abs()).max();
    128 - most.unwrap_or(0).leading_zeros()
}

fn check<T: Element>(
    shape: Shape,
    mask: &Mask<'_>,
    exponents: Exponents,
    tensors: &Tensors<T>,
    dy: &[T],
) {
    let m = T::MAGNITUDE_BITS as i32;
    let place = format!("{}, {shape:?}, {mask:?}, {exponents:?}", T::DTYPE);
    let integers = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
    let all = [&tensors.q[..], &tensors.k, &tensors.v, dy].map(integers);
    let all = [&all[0][..], &all[1], &all[2], &all[3]];
    let exponent = exponents.q + exponents.k;
    let inputs = tensors.inputs(shape);
    let measured = Stores {
        scores: Store::Measure,
        ..Stores::EXACT
    };
    let (untouched, ranges) = backward(&Serial, shape, *mask, inputs, dy, measured);
    assert!(
        untouched.iter().flatten().all(|&x| x == T::ZERO),
        "{place}: measured only"
    );
    // At the exponent that fits, and at one that saturates.
    for short in [0, 3] {
        let shift = ranges.scores as i32 - 15 - short;
        let want = model(shape, mask, (m, exponent, shift), all);
        let others = Ranges {
            scores: ranges.scores,
            ..Ranges::default()
        };
        assert_eq!(
            bits(&want.scores),
            ranges.scores,
            "{place}: range of scores"
        );
        assert_eq!(ranges, others, "{place}: measured only");
        let shifts =
            [&want.out, &want.dq, &want.dk, &want.dv].map(|acc| bits(acc) as i32 - m - short);
        let [out, dq, dk, dv] = shifts.map(shifted);
        let stores = Stores {
            scores: shifted(shift),
            dq,
            dk,
            dv,
        };
        let (y, range) = forward(&Serial, shape, *mask, inputs, out);
        let ([dq, dk, dv], ranges) = backward(&Serial, shape, *mask, inputs, dy, stores);
        for (what, want, got, shift, range) in [
            ("out", &want.out, &y, shifts[0], range),
            ("dq", &want.dq, &dq, shifts[1], ranges.dq),
            ("dk", &want.dk, &dk, shifts[2], ranges.dk),
            ("dv", &want.dv, &dv, shifts[3], ranges.dv),
        ] {
            let stored: Vec<_> = want
                .iter()
                .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                .collect();
            assert_eq!(stored, integers(got), "{place}: {what}");
            assert_eq!(bits(want), range, "{place}: range of {what}");
        }
    }
}

fn integers_follow_the_rule<T: Element>() {
    let m = T::MAGNITUDE_BITS as i32;
    let largest = ((1u64 << m) - 1) as f64;
    // Sharp, usual and flat softmaxes, and shifts that leave nothing of a product.
    for scale in [6, 1, -2, 40, -60] {
        let e = -m + scale;
        let exponents = Exponents { q: e, k: -m, v: -m };
        for (seed, shape) in shapes().into_iter().enumerate() {
            for mask in masks(shape, &lengths(shape)) {
                let mut source = Noise::new(4_400 + seed as u32);
                let tensors = Tensors::<T>::noise(&mut source, shape, exponents);
                let dy: Vec<T> = noise(&mut source, tensors.q.len());
                check(shape, &mask, exponents, &tensors, &dy);
            }
        }
    }
    // The longest sums of 8 bits that a block holds and more, all at their largest.
    let shape = Shape {
        batch: 1,
        queries: 3,
        keys: 600,
        heads: 2,
        kv_heads: 1,
        size: 4,
    };
    let exponents = Exponents {
        q: -m,
        k: -m,
        v: -m,
    };
    let mut source = Noise::new(4_490);
    let mut tensors = Tensors::<T>::noise(&mut source, shape, exponents);
    tensors.k.fill(T::from_f64(largest));
    tensors.q.fill(T::from_f64(-largest));
    let dy = vec![T::from_f64(-largest); tensors.q.len()];
    check(shape, &Mask::NONE, exponents, &tensors, &dy);
    // The largest head.
    let shape = Shape {
        keys: 9,
        size: 256,
        ..shape
    };
    let mut tensors = Tensors::<T>::noise(&mut source, shape, exponents);
    tensors.q.fill(T::from_f64(largest));
    let dy = vec![T::from_f64(largest); tensors.q.len()];
    check(shape, &Mask::NONE, exponents, &tensors, &dy);
}

#[test]
fn integers_are_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// The cosines of outputs and errors with those of `f64` on the same numbers.
fn gradients_point_the_same_way<T: Element>(least: f64) {
    for (seed, shape) in shapes().into_iter().enumerate().skip(1) {
        for mask in [Mask::NONE, Mask::CAUSAL] {
            let bits = T::MAGNITUDE_BITS;
            let mut source = Noise::new(4_500 + seed as u32);
            let [all, shared] = lens(shape);
            let mut draw = |len, bound: f64| {
                let e = bound.log2().ceil() as i32 - bits as i32;
                (elements::<T>(&source.vector(len, bound), e), e)
            };
            let (q, q_exponent) = draw(all, 2.0);
            let (k, k_exponent) = draw(shared, 2.0);
            let (v, v_exponent) = draw(shared, 1.0);
            let (dy, dy_exponent) = draw(all, 1.0);
            let exponents = Exponents {
                q: q_exponent,
                k: k_exponent,
                v: v_exponent,
            };
            let tensors = Tensors { q, k, v, exponents };
            let float = [
                values(&tensors.q, q_exponent),
                values(&tensors.k, k_exponent),
                values(&tensors.v, v_exponent),
                values(&dy, dy_exponent),
            ];
            let want = definition(shape, &mask, [&float[0], &float[1], &float[2], &float[3]]);
            let inputs = tensors.inputs(shape);
            let mut out = Vec::new();
            settled(0, bits, |store| {
                let (y, range) = forward(&Serial, shape, mask, inputs, store);
                out = y;
                Ok::<_, ()>(range)
            });
            let (_, ranges) = backward(
                &Serial,
                shape,
                mask,
                inputs,
                &dy,
                Stores {
                    scores: Store::Measure,
                    ..Stores::EXACT
                },
            );
            let measured = Stores {
                scores: shifted(ranges.scores as i32 - 15),
                dq: Store::Measure,
                dk: Store::Measure,
                dv: Store::Measure,
            };
            let (_, ranges) = backward(&Serial, shape, mask, inputs, &dy, measured);
            let fit = |range: u32| shifted(range as i32 - bits as i32);
            let stores = Stores {
                dq: fit(ranges.dq),
                dk: fit(ranges.dk),
                dv: fit(ranges.dv),
                ..measured
            };
            let ([dq, dk, dv], _) = backward(&Serial, shape, mask, inputs, &dy, stores);
            for (what, want, got) in [
                ("out", &want[0], &out),
                ("dq", &want[1], &dq),
                ("dk", &want[2], &dk),
                ("dv", &want[3], &dv),
            ] {
                let cosine = cosine(want, &values(got, 0));
                let place = format!("{}, {shape:?}, {mask:?}: {what}", T::DTYPE);
                assert!(cosine >= least, "{place}: {cosine}");
            }
        }
    }
}

#[test]
fn integer_gradients_point_where_those_of_floats_do() {
    gradients_point_the_same_way::<i8>(tolerance::COSINE_8_BITS.0);
    gradients_point_the_same_way::<i16>(tolerance::COSINE_16_BITS.0);
    gradients_point_the_same_way::<i32>(tolerance::COSINE_16_BITS.0);
    gradients_point_the_same_way::<i64>(tolerance::COSINE_16_BITS.0);
}
