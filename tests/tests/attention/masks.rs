//! What a query does not see has no influence, and rows that see nothing; tasks; twins.

use super::{Tensors, backward, forward, lengths, masks, sees, shapes};
use selvedge_kernels::Element;
use selvedge_kernels::attention::{Exponents, Mask, Shape, Stores};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_tests::compare::{noise, shifted};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_each_type, for_twins};

fn stores<T: Element>() -> (Store, Stores) {
    if !T::DTYPE.is_integer() {
        return (Store::EXACT, Stores::EXACT);
    }
    let words = |stream| Store::Shift {
        shift: 14 + T::MAGNITUDE_BITS.min(15) as i32 / 3,
        rounding: Rounding::Stochastic(Words::new(3, stream, 0)),
    };
    let stores = Stores {
        scores: shifted(2 * T::MAGNITUDE_BITS.min(15) as i32 + 8),
        dq: words(25),
        dk: words(26),
        dv: words(27),
    };
    (shifted(15), stores)
}

fn exponents<T: Element>() -> Exponents {
    let e = -(T::MAGNITUDE_BITS as i32) + 1;
    Exponents { q: e, k: e, v: e }
}

/// A row that sees nothing is zero, forward and backward; the kernel's other rows are not.
fn rows_that_see_nothing_are_zero<T: Element>() {
    let (store, stores) = stores::<T>();
    for shape in shapes() {
        for mask in masks(shape, &lengths(shape)) {
            let mut source = Noise::new(4_300);
            let tensors = Tensors::<T>::noise(&mut source, shape, exponents::<T>());
            let dy: Vec<T> = noise(&mut source, tensors.q.len());
            let inputs = tensors.inputs(shape);
            let (out, _) = forward(&Serial, shape, mask, inputs, store);
            let ([dq, dk, dv], _) = backward(&Serial, shape, mask, inputs, &dy, stores);
            let place = format!("{}, {shape:?}, {mask:?}", T::DTYPE);
            let width = shape.heads * shape.size;
            for (row, (out, dq)) in out.chunks(width).zip(dq.chunks(width)).enumerate() {
                let (sample, query) = (row / shape.queries, row % shape.queries);
                if !(0..shape.keys).any(|key| sees(&mask, sample, query, key)) {
                    assert!(
                        out.iter().chain(dq).all(|&x| x == T::ZERO),
                        "{place}: {row}"
                    );
                }
            }
            let width = shape.kv_heads * shape.size;
            for (row, (dk, dv)) in dk.chunks(width).zip(dv.chunks(width)).enumerate() {
                let (sample, key) = (row / shape.keys, row % shape.keys);
                if !(0..shape.queries).any(|query| sees(&mask, sample, query, key)) {
                    assert!(dk.iter().chain(dv).all(|&x| x == T::ZERO), "{place}: {row}");
                }
            }
        }
    }
}

#[test]
fn rows_without_keys_and_keys_without_rows_are_zero() {
    macro_rules! check {
        ($t:ty) => {
            rows_that_see_nothing_are_zero::<$t>();
        };
    }
    for_each_type!(check);
}

#[test]
fn nan_reaches_only_those_that_see_it() {
    let shape = Shape {
        batch: 1,
        queries: 15,
        keys: 15,
        heads: 2,
        kv_heads: 1,
        size: 6,
    };
    for mask in [
        Mask::CAUSAL,
        Mask {
            window: Some(3),
            ..Mask::CAUSAL
        },
    ] {
        let mut source = Noise::new(4_310);
        let clean = Tensors::<f32>::noise(&mut source, shape, Exponents::default());
        let dy: Vec<f32> = noise(&mut source, clean.q.len());
        let pass = |tensors: &Tensors<f32>| {
            let inputs = tensors.inputs(shape);
            let (out, _) = forward(&Serial, shape, mask, inputs, Store::EXACT);
            let (errors, _) = backward(&Serial, shape, mask, inputs, &dy, Stores::EXACT);
            (out, errors)
        };
        let (want_out, [want_dq, want_dk, want_dv]) = pass(&clean);
        // A key, then a value, then a query that is not a number.
        let bad = 7;
        for which in 0..3 {
            let mut tensors = clean.clone();
            match which {
                0 => tensors.k[bad * 6] = f32::NAN,
                1 => tensors.v[bad * 6] = f32::NAN,
                _ => tensors.q[bad * 12] = f32::NAN,
            }
            let (out, [dq, dk, dv]) = pass(&tensors);
            let touched = |query: usize| match which {
                0 | 1 => sees(&mask, 0, query, bad),
                _ => query == bad,
            };
            for query in 0..15 {
                let row = query * 12..query * 12 + 12;
                if touched(query) {
                    assert!(
                        out[row.clone()].iter().any(|x| x.is_nan()),
                        "{which}: {query}"
                    );
                    assert!(dq[row].iter().any(|x| x.is_nan()), "{which}: {query}");
                } else {
                    assert_eq!(out[row.clone()], want_out[row.clone()], "{which}: {query}");
                    assert_eq!(dq[row.clone()], want_dq[row], "{which}: {query}");
                }
            }
            for key in 0..15 {
                let row = key * 6..key * 6 + 6;
                let any = (0..15).any(|query| touched(query) && sees(&mask, 0, query, key));
                if any {
                    assert!(dk[row].iter().any(|x| x.is_nan()), "{which}: {key}");
                } else {
                    assert_eq!(dk[row.clone()], want_dk[row.clone()], "{which}: {key}");
                    assert_eq!(dv[row.clone()], want_dv[row], "{which}: {key}");
                }
            }
        }
    }
}

/// Bytes do not depend on who runs the tasks.
fn tasks_do_not_matter<T: Element>() {
    let (store, stores) = stores::<T>();
    let shape = Shape {
        batch: 5,
        queries: 13,
        keys: 13,
        heads: 4,
        kv_heads: 2,
        size: 7,
    };
    let mut source = Noise::new(4_320);
    let tensors = Tensors::<T>::noise(&mut source, shape, exponents::<T>());
    let dy: Vec<T> = noise(&mut source, tensors.q.len());
    let inputs = tensors.inputs(shape);
    let want = forward(&Serial, shape, Mask::CAUSAL, inputs, store);
    let want_back = backward(&Serial, shape, Mask::CAUSAL, inputs, &dy, stores);
    for threads in [2, 3, 7] {
        let threads = Threads(threads);
        assert!(want == forward(&threads, shape, Mask::CAUSAL, inputs, store));
        assert!(want_back == backward(&threads, shape, Mask::CAUSAL, inputs, &dy, stores));
    }
}

#[test]
fn any_number_of_tasks_gives_the_same_bytes() {
    macro_rules! check {
        ($t:ty) => {
            tasks_do_not_matter::<$t>();
        };
    }
    for_each_type!(check);
}

#[test]
fn unsigned_types_are_their_twins_in_offset_binary() {
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            let (store, stores) = stores::<$signed>();
            let flip = |x: &[$signed]| {
                let top = 1 << ($unsigned::BITS - 1);
                x.iter().map(|&x| x as $unsigned ^ top).collect::<Vec<_>>()
            };
            for shape in shapes() {
                let mut source = Noise::new(4_330);
                let exponents = exponents::<$signed>();
                let tensors = Tensors::<$signed>::noise(&mut source, shape, exponents);
                let dy: Vec<$signed> = noise(&mut source, tensors.q.len());
                let twin = Tensors::<$unsigned> {
                    q: flip(&tensors.q),
                    k: flip(&tensors.k),
                    v: flip(&tensors.v),
                    exponents,
                };
                let (want, range) =
                    forward(&Serial, shape, Mask::CAUSAL, tensors.inputs(shape), store);
                let got = forward(&Serial, shape, Mask::CAUSAL, twin.inputs(shape), store);
                assert_eq!((flip(&want), range), got, "{shape:?}");
                let (want, ranges) = backward(
                    &Serial,
                    shape,
                    Mask::CAUSAL,
                    tensors.inputs(shape),
                    &dy,
                    stores,
                );
                let got = backward(
                    &Serial,
                    shape,
                    Mask::CAUSAL,
                    twin.inputs(shape),
                    &flip(&dy),
                    stores,
                );
                assert_eq!((want.map(|x| flip(&x)), ranges), got, "{shape:?}");
            }
        };
    }
    for_twins!(check);
}
