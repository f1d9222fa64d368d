//! Step by step over a cache gives the bytes of the whole sequence.

use super::{Tensors, forward, lens};
use selvedge_kernels::Element;
use selvedge_kernels::attention::{Exponents, Inputs, Mask, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::shifted;
use selvedge_tests::for_each_type;
use selvedge_tests::interpreter::stored;
use selvedge_tests::noise::Noise;

const SHAPE: Shape = Shape {
    batch: 2,
    queries: 27,
    keys: 27,
    heads: 4,
    kv_heads: 2,
    size: 19,
};

fn store<T: Element>() -> Store {
    if T::DTYPE.is_integer() {
        shifted(15)
    } else {
        Store::EXACT
    }
}

/// Rows `from..to` of each sample of a tensor of `rows` rows.
fn rows<T: Copy>(x: &[T], rows: usize, from: usize, to: usize) -> Vec<T> {
    let width = x.len() / SHAPE.batch / rows;
    let sample = |x: &[T]| x[from * width..to * width].to_vec();
    x.chunks(rows * width).flat_map(sample).collect()
}

/// The bytes of elements: floats by their bits.
fn bits<T: Element>(x: &[T]) -> Vec<String> {
    x.iter().map(|&x| stored(x).to_string()).collect()
}

fn streaming_is_the_whole<T: Element>() {
    let mut source = Noise::new(4_200);
    let half = -(T::MAGNITUDE_BITS as i32) + 1;
    let exponents = Exponents {
        q: half,
        k: half,
        v: half,
    };
    let all = Tensors::<T>::noise(&mut source, SHAPE, exponents);
    for window in [None, Some(1), Some(6)] {
        let mask = Mask {
            window,
            ..Mask::CAUSAL
        };
        let (whole, _) = forward(&Serial, SHAPE, mask, all.inputs(SHAPE), store::<T>());
        assert!(whole.iter().any(|&x| x != T::ZERO), "{}: nothing", T::DTYPE);
        // Steps of one query, of a few, and of more than a block, over a cache with room to spare,
        // in which lies something else.
        for step in [1, 5, 13] {
            let capacity = SHAPE.keys + 3;
            let mut from = 0;
            while from < SHAPE.queries {
                let to = SHAPE.queries.min(from + step);
                let shape = Shape {
                    queries: to - from,
                    keys: to,
                    ..SHAPE
                };
                let q = rows(&all.q, SHAPE.queries, from, to);
                let cache = |x: &[T]| {
                    let width = x.len() / SHAPE.batch / SHAPE.keys;
                    let mut cache = Vec::new();
                    for sample in x.chunks(SHAPE.keys * width) {
                        cache.extend_from_slice(&sample[..to * width]);
                        let spare = (capacity - to) * width;
                        cache.extend(std::iter::repeat_n(T::from_f64(f64::NAN), spare));
                    }
                    cache
                };
                let inputs = Inputs {
                    q: &q,
                    k: &cache(&all.k),
                    v: &cache(&all.v),
                    capacity,
                    exponents,
                };
                let at = Mask {
                    offset: from,
                    ..mask
                };
                let (out, _) = forward(&Serial, shape, at, inputs, store::<T>());
                let want = rows(&whole, SHAPE.queries, from, to);
                let place = format!("{}, {window:?}, from {from} in steps of {step}", T::DTYPE);
                assert_eq!(bits(&want), bits(&out), "{place}");
                from = to;
            }
        }
        // The same where rows behind the window were shifted out.
        let Some(window) = window else { continue };
        for query in 0..SHAPE.queries {
            let oldest = (query + 1).saturating_sub(window);
            let shape = Shape {
                queries: 1,
                keys: query + 1 - oldest,
                ..SHAPE
            };
            let inputs = Inputs {
                q: &rows(&all.q, SHAPE.queries, query, query + 1),
                k: &rows(&all.k, SHAPE.keys, oldest, query + 1),
                v: &rows(&all.v, SHAPE.keys, oldest, query + 1),
                capacity: shape.keys,
                exponents,
            };
            let at = Mask {
                offset: query - oldest,
                ..mask
            };
            let (out, _) = forward(&Serial, shape, at, inputs, store::<T>());
            let want = rows(&whole, SHAPE.queries, query, query + 1);
            assert_eq!(bits(&want), bits(&out), "{}, query {query}", T::DTYPE);
        }
    }
    assert_eq!(lens(SHAPE)[0], all.q.len());
}

#[test]
fn one_query_at_a_time_gives_the_bytes_of_all_at_once() {
    macro_rules! check {
        ($t:ty) => {
            streaming_is_the_whole::<$t>();
        };
    }
    for_each_type!(check);
}
