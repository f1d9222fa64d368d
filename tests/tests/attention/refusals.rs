//! What is refused, and that nothing is written then.

use selvedge_kernels::attention::{self, Errors, Exponents, Inputs, Mask, Scratch, Shape, Stores};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Error};

const SHAPE: Shape = Shape {
    batch: 2,
    queries: 3,
    keys: 5,
    heads: 4,
    kv_heads: 2,
    size: 6,
};

/// A call: the lengths of its arguments, and what is special about it.
#[derive(Clone)]
struct Call<'a> {
    shape: Shape,
    mask: Mask<'a>,
    capacity: usize,
    /// q, k, v, out or dy, dq, dk, dv.
    lens: [usize; 7],
    /// Scores, products and sums.
    scratch: [usize; 3],
}

const QUERIES: usize = 2 * 3 * 4 * 6;
const KEYS: usize = 2 * 5 * 2 * 6;

fn good<'a>() -> Call<'a> {
    Call {
        shape: SHAPE,
        mask: Mask::NONE,
        capacity: 5,
        lens: [QUERIES, KEYS, KEYS, QUERIES, QUERIES, KEYS, KEYS],
        scratch: [2 * 5 * attention::ROWS, 5 * attention::ROWS, 2 * 5 * 6],
    }
}

/// What both passes say. Panics if either wrote although it refused.
fn run(call: &Call<'_>) -> [Option<Error>; 2] {
    let [q, k, v, y, dq, dk, dv] = call.lens.map(|len| vec![85i8; len]);
    let inputs = Inputs {
        q: &q,
        k: &k,
        v: &v,
        capacity: call.capacity,
        exponents: Exponents::default(),
    };
    let (mut out, mut dq, mut dk, mut dv) = (y.clone(), dq, dk, dv);
    let mut scores = vec![77i32; call.scratch[0]];
    let [mut products, mut sums] = [1, 2].map(|part| vec![77i64; call.scratch[part]]);
    let Call { shape, mask, .. } = *call;
    let store = Store::EXACT;
    let forward = attention::forward(&Serial, shape, mask, inputs, store, &mut out, &mut scores);
    if forward.is_err() {
        assert!(out.iter().all(|&x| x == 85) && scores.iter().all(|&x| x == 77));
    }
    scores.fill(77);
    let errors = Errors {
        dq: &mut dq,
        dk: &mut dk,
        dv: &mut dv,
    };
    let scratch = Scratch {
        scores: &mut scores,
        products: &mut products,
        sums: &mut sums,
    };
    let stores = Stores::EXACT;
    let backward = attention::backward(&Serial, shape, mask, inputs, &y, stores, errors, scratch);
    if backward.is_err() {
        assert!([dq, dk, dv].iter().flatten().all(|&x| x == 85));
        assert!(scores.iter().all(|&x| x == 77));
        assert!(products.iter().chain(&sums).all(|&x| x == 77));
    }
    [forward.err(), backward.err()]
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(run(&good()), [None; 2]);
    let both = |error| [Some(error); 2];
    let length = |arg, expected, got| both(Error::Length { arg, expected, got });
    let cases: Vec<(&str, Call<'_>, [Option<Error>; 2])> = vec![
        (
            "no samples",
            with(|c| c.shape.batch = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "no queries",
            with(|c| c.shape.queries = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "no keys",
            with(|c| c.shape.keys = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "no heads",
            with(|c| c.shape.heads = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "no shared heads",
            with(|c| c.shape.kv_heads = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "no features",
            with(|c| c.shape.size = 0),
            both(Error::Zero { arg: Arg::Shape }),
        ),
        (
            "heads that do not divide",
            with(|c| c.shape.kv_heads = 3),
            both(Error::Heads {
                heads: 4,
                kv_heads: 3,
            }),
        ),
        (
            "more shared heads than heads",
            with(|c| c.shape.kv_heads = 8),
            both(Error::Heads {
                heads: 4,
                kv_heads: 8,
            }),
        ),
        (
            "too many features",
            with(|c| c.shape.size = 257),
            both(Error::Accumulator {
                terms: 257,
                limit: 256,
            }),
        ),
        (
            "too many keys",
            with(|c| c.shape.keys = 32_769),
            both(Error::Accumulator {
                terms: 32_769,
                limit: 32_768,
            }),
        ),
        (
            "extents beyond 32 bits",
            with(|c| c.shape.queries = 1 << 31),
            both(Error::Overflow {
                arg: Arg::Shape,
                got: Some(103_079_215_104),
            }),
        ),
        (
            "no window",
            with(|c| c.mask.window = Some(0)),
            both(Error::Zero { arg: Arg::Mask }),
        ),
        (
            "an offset beyond counting",
            with(|c| c.mask.offset = usize::MAX),
            both(Error::Overflow {
                arg: Arg::Mask,
                got: None,
            }),
        ),
        (
            "lengths of another batch",
            with(|c| c.mask.lengths = &[1]),
            length(Arg::Lengths, 2, 1),
        ),
        (
            "a length beyond the keys",
            with(|c| c.mask.lengths = &[5, 6]),
            both(Error::SampleLength {
                sample: 1,
                length: 6,
                most: 5,
            }),
        ),
        (
            "keys beyond the cache",
            with(|c| c.capacity = 4),
            both(Error::Capacity {
                keys: 5,
                capacity: 4,
            }),
        ),
        (
            "a cache of another size",
            with(|c| c.capacity = 6),
            length(Arg::Key, KEYS / 5 * 6, KEYS),
        ),
        (
            "q",
            with(|c| c.lens[0] -= 1),
            length(Arg::Query, QUERIES, QUERIES - 1),
        ),
        (
            "k",
            with(|c| c.lens[1] += 1),
            length(Arg::Key, KEYS, KEYS + 1),
        ),
        (
            "v",
            with(|c| c.lens[2] -= 1),
            length(Arg::Value, KEYS, KEYS - 1),
        ),
        (
            "out and dy",
            with(|c| c.lens[3] -= 1),
            [Arg::Out, Arg::Dy].map(|arg| {
                Some(Error::Length {
                    arg,
                    expected: QUERIES,
                    got: QUERIES - 1,
                })
            }),
        ),
        (
            "dq",
            with(|c| c.lens[4] -= 1),
            [None, length(Arg::Query, QUERIES, QUERIES - 1)[1]],
        ),
        (
            "dk",
            with(|c| c.lens[5] -= 1),
            [None, length(Arg::Key, KEYS, KEYS - 1)[1]],
        ),
        (
            "dv",
            with(|c| c.lens[6] -= 1),
            [None, length(Arg::Value, KEYS, KEYS - 1)[1]],
        ),
        (
            "scratch of the backward pass",
            with(|c| c.scratch[0] -= 1),
            [
                None,
                length(Arg::Scratch, 10 * attention::ROWS, 10 * attention::ROWS - 1)[1],
            ],
        ),
        (
            "scratch",
            with(|c| c.scratch[0] = 5 * attention::ROWS - 1),
            [
                length(Arg::Scratch, 5 * attention::ROWS, 5 * attention::ROWS - 1)[0],
                length(Arg::Scratch, 10 * attention::ROWS, 5 * attention::ROWS - 1)[1],
            ],
        ),
        (
            "products",
            with(|c| c.scratch[1] -= 1),
            [
                None,
                length(Arg::Scratch, 5 * attention::ROWS, 5 * attention::ROWS - 1)[1],
            ],
        ),
        (
            "sums",
            with(|c| c.scratch[2] -= 1),
            [None, length(Arg::Scratch, 60, 59)[1]],
        ),
    ];
    for (name, call, want) in cases {
        assert_eq!(run(&call), want, "{name}");
    }
}

/// A good call with a change.
fn with(change: impl FnOnce(&mut Call<'_>)) -> Call<'static> {
    let mut call = good();
    change(&mut call);
    call
}

#[test]
fn scratch_is_told_before_the_call() {
    let [scores, products, sums] = good().scratch;
    let forward = |tasks| attention::forward_scratch_len::<i8>(SHAPE, tasks);
    let backward = |tasks| attention::backward_scratch_len::<i8>(SHAPE, tasks);
    assert_eq!(forward(1), Ok(5 * attention::ROWS));
    assert_eq!(forward(3), Ok(15 * attention::ROWS));
    assert_eq!(backward(1), Ok([scores, products, sums]));
    assert_eq!(backward(2), Ok([2 * scores, 2 * products, 2 * sums]));
    let overflow = Error::Overflow {
        arg: Arg::Scratch,
        got: None,
    };
    assert_eq!(forward(usize::MAX), Err(overflow));
    assert_eq!(backward(usize::MAX), Err(overflow));
    let empty = Shape { size: 0, ..SHAPE };
    let zero = Error::Zero { arg: Arg::Shape };
    assert_eq!(attention::forward_scratch_len::<f32>(empty, 1), Err(zero));
    assert_eq!(attention::backward_scratch_len::<f32>(empty, 1), Err(zero));
}

#[test]
fn windows_beyond_the_keys_are_no_limit() {
    let wide = with(|c| c.mask.window = Some(usize::MAX));
    let none = with(|c| c.mask.lengths = &[0, 0]);
    assert_eq!(run(&wide), [None; 2]);
    assert_eq!(run(&none), [None; 2]);
}
