//! Bad input: typed errors that leave outputs alone, and NaN and infinities with a defined result.

use super::cases::{Call, Variant, all};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::softmax::adaptive::Clusters;
use selvedge_kernels::softmax::gumbel::{self, Form};
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::tree::Tree;
use selvedge_kernels::softmax::{
    self, Alpha, Errors, Logits, Shape, Temperature, adaptive, entmax, masked, tree,
};
use selvedge_kernels::{Arg, Element, Error, Found};

/// What outputs hold before a call, to see that they hold it afterwards.
const MARK: i8 = 85;

fn length(arg: Arg, expected: usize, got: usize) -> Error {
    Error::Length { arg, expected, got }
}

/// Lengths of x, out (or dy, dx) and scratch, and the error.
type Case = (&'static str, Shape, [usize; 3], Error);

#[test]
fn rows_refuse_bad_input() {
    let shape = Shape {
        rows: 2,
        classes: 3,
    };
    let zero = Error::Zero { arg: Arg::Shape };
    let many = Error::Accumulator {
        terms: 32_768,
        limit: 32_767,
    };
    let cases: [Case; 7] = [
        (
            "no rows",
            Shape {
                rows: 0,
                classes: 3,
            },
            [0, 0, 3],
            zero,
        ),
        (
            "no classes",
            Shape {
                rows: 2,
                classes: 0,
            },
            [0, 0, 0],
            zero,
        ),
        (
            "many classes",
            Shape {
                rows: 1,
                classes: 32_768,
            },
            [32_768; 3],
            many,
        ),
        (
            "many elements",
            Shape {
                rows: usize::MAX,
                classes: 3,
            },
            [6, 6, 3],
            Error::Overflow {
                arg: Arg::Shape,
                got: None,
            },
        ),
        ("short x", shape, [5, 6, 3], length(Arg::X, 6, 5)),
        ("long out", shape, [6, 7, 3], length(Arg::Out, 6, 7)),
        (
            "short scratch",
            shape,
            [6, 6, 2],
            length(Arg::Scratch, 3, 2),
        ),
    ];
    for (name, shape, [x, out, scratch], want) in cases {
        let (x, mut scratch) = (vec![0i8; x], vec![0; scratch]);
        let mut y = vec![MARK; out];
        let dy = vec![0i8; shape.rows.min(2) * shape.classes];
        let logits = Logits::new(&x, -4);
        let allowed = vec![true; dy.len()];
        let store = Store::EXACT;
        let errors = Errors { dy: &dy, store };
        // In a backward pass, what was out is dx.
        let back = match want {
            Error::Length {
                arg: Arg::Out,
                expected,
                got,
            } => length(Arg::Dx, expected, got),
            other => other,
        };
        let check = |place: &str, got: Result<u32, Error>, want: Error, y: &[i8]| {
            assert_eq!(got, Err(want), "{name}: {place}");
            assert!(y.iter().all(|&y| y == MARK), "{name}: {place} wrote");
        };
        let alpha = Alpha::SPARSEMAX;
        let done = |r: Result<(), Error>| r.map(|()| 0);
        let r = softmax::forward(shape, logits, &mut y, &mut scratch);
        check("forward", done(r), want, &y);
        let r = softmax::backward(shape, logits, errors, &mut y, &mut scratch);
        check("backward", r, back, &y);
        let r = entmax::forward(shape, logits, alpha, &mut y, &mut scratch);
        check("entmax forward", done(r), want, &y);
        let r = entmax::backward(shape, logits, alpha, errors, &mut y, &mut scratch);
        check("entmax backward", r, back, &y);
        let r = gumbel::forward(shape, logits, None, Form::Hard, &mut y, &mut scratch);
        check("gumbel forward", done(r), want, &y);
        let r = gumbel::backward(shape, logits, None, errors, &mut y, &mut scratch);
        check("gumbel backward", r, back, &y);
        if shape
            == (Shape {
                rows: 2,
                classes: 3,
            })
        {
            let r = masked::forward(shape, logits, &allowed, &mut y, &mut scratch);
            check("masked forward", done(r), want, &y);
            let r = masked::backward(shape, logits, &allowed, errors, &mut y, &mut scratch);
            check("masked backward", r, back, &y);
        }
    }
}

#[test]
fn a_row_needs_something_allowed() {
    let shape = Shape {
        rows: 2,
        classes: 2,
    };
    let (mut y, mut scratch) = ([MARK; 4], [0; 2]);
    let logits = Logits::new(&[1i8, 2, 3, 4], 0);
    let allowed = [false, true, false, false];
    let want = Error::AllMasked { row: 1 };
    assert_eq!(
        masked::forward(shape, logits, &allowed, &mut y, &mut scratch),
        Err(want)
    );
    let errors = Errors {
        dy: &[1; 4],
        store: Store::EXACT,
    };
    assert_eq!(
        masked::backward(shape, logits, &allowed, errors, &mut y, &mut scratch),
        Err(want)
    );
    let short = masked::forward(shape, logits, &[true; 3], &mut y, &mut scratch);
    assert_eq!(short, Err(length(Arg::Mask, 4, 3)));
    assert_eq!(y, [MARK; 4]);
    assert_eq!(want.to_string(), "mask: nothing of row 1 is allowed");
}

#[test]
fn grids_and_groups_have_extents() {
    assert_eq!(
        Shape::grid(2, 3, 4),
        Ok(Shape {
            rows: 6,
            classes: 4
        })
    );
    assert_eq!(
        Shape::groups(2, &[3, 4, 5]),
        Ok(Shape {
            rows: 24,
            classes: 5
        })
    );
    assert_eq!(
        Shape::groups(2, &[5]),
        Ok(Shape {
            rows: 2,
            classes: 5
        })
    );
    assert_eq!(Shape::grid(2, 0, 4), Err(Error::Zero { arg: Arg::Shape }));
    assert_eq!(Shape::groups(2, &[]), Err(Error::Zero { arg: Arg::Shape }));
    assert_eq!(
        Shape::grid(usize::MAX, 2, 2),
        Err(Error::Overflow {
            arg: Arg::Shape,
            got: None,
        })
    );
}

#[test]
fn trees_refuse_bad_input() {
    let zero = Error::Zero { arg: Arg::Shape };
    assert_eq!(Tree::new(&[]), Err(zero));
    assert_eq!(Tree::new(&[2, 0]), Err(zero));
    assert_eq!(
        Tree::new(&[30_000, 30_000, 30_000]),
        Err(Error::Overflow {
            arg: Arg::Shape,
            got: Some(27_000_000_000_000),
        })
    );
    let tree = Tree::new(&[2, 2]).unwrap();
    let store = Store::EXACT;
    for (x, out, scratch, want) in [
        (5, 4, 18, length(Arg::X, 6, 5)),
        (6, 3, 18, length(Arg::Out, 4, 3)),
        (6, 4, 17, length(Arg::Scratch, 18, 17)),
    ] {
        let (x, mut y, mut scratch) = (vec![0i8; x], vec![MARK; out], vec![0; scratch]);
        let logits = Logits::new(&x, 0);
        assert_eq!(
            tree::forward(1, tree, logits, &mut y, &mut scratch),
            Err(want)
        );
        assert!(y.iter().all(|&y| y == MARK));
    }
    let mut dx = [MARK; 5];
    let errors = Errors { dy: &[0; 4], store };
    let got = tree::backward(
        1,
        tree,
        Logits::new(&[0; 6], 0),
        errors,
        &mut dx,
        &mut [0; 18],
    );
    assert_eq!((got, dx), (Err(length(Arg::Dx, 6, 5)), [MARK; 5]));
}

#[test]
fn clusters_refuse_bad_input() {
    let new = |ids: &[u32], sizes: &[usize], n: usize| {
        Clusters::new(ids, sizes, &mut vec![true; n]).map(|c| c.items())
    };
    assert_eq!(new(&[0, 1, 2], &[1, 2], 3), Ok(3));
    assert_eq!(
        new(&[0, 1, 1], &[1, 2], 3),
        Err(Error::Cluster { item: 1, items: 3 })
    );
    assert_eq!(
        new(&[0, 1, 3], &[1, 2], 3),
        Err(Error::Cluster { item: 3, items: 3 })
    );
    assert_eq!(
        new(&[0, 1, 2], &[1, 1], 3),
        Err(length(Arg::Clusters, 2, 3))
    );
    assert_eq!(new(&[0, 1, 2], &[1, 2], 2), Err(length(Arg::Scratch, 3, 2)));
    assert_eq!(
        new(&[0, 1], &[0, 2], 2),
        Err(Error::Zero { arg: Arg::Clusters })
    );
    assert_eq!(new(&[], &[], 0), Err(Error::Zero { arg: Arg::Clusters }));
    let clusters = Clusters::new(&[0, 1, 2], &[1, 2], &mut [false; 3]).unwrap();
    let (mut dx, mut scratch) = ([MARK; 8], [0; 8]);
    let store = Store::EXACT;
    let logits = Logits::new(&[0i8; 8], 0);
    let want = Error::Label {
        row: 1,
        label: 3,
        classes: 3,
    };
    let got = adaptive::cross_entropy(clusters, logits, &[2, 3], store, &mut dx, &mut scratch);
    assert_eq!((got, dx), (Err(want), [MARK; 8]));
    let mut out = [1, 1];
    let got = adaptive::log_prob(clusters, logits, &[2, 3], &mut out, &mut scratch);
    assert_eq!((got, out), (Err(want), [1, 1]));
    let mut out = [MARK; 5];
    let got = adaptive::forward(2, clusters, logits, &mut out, &mut scratch);
    assert_eq!((got, out), (Err(length(Arg::Out, 6, 5)), [MARK; 5]));
    let errors = Errors { dy: &[0; 5], store };
    let got = adaptive::backward(2, clusters, logits, errors, &mut dx, &mut scratch);
    assert_eq!((got, dx), (Err(length(Arg::Dy, 6, 5)), [MARK; 8]));
}

#[test]
fn mixtures_refuse_bad_weights() {
    let shape = mixture::Shape {
        rows: 1,
        components: 2,
        classes: 2,
    };
    let bad = |got: Option<f64>| Error::Value {
        arg: Arg::Weight,
        expected: "finite numbers of 0 or more, not all 0",
        got: got.map(Found::real),
    };
    let logits = Logits::new(&[0.0f64; 4], 0);
    for (weights, want) in [
        (&[1.0, -0.5][..], bad(Some(-0.5))),
        (&[0.0, 0.0], bad(None)),
        (&[f64::NAN, 1.0], bad(Some(f64::NAN))),
        (&[1.0], length(Arg::Weight, 2, 1)),
    ] {
        let mut p = [7.0; 2];
        let weights = Weights::Given(weights);
        let got = mixture::forward(shape, weights, logits, &mut p, &mut [0.0; 6]);
        assert_eq!((got, p), (Err(want), [7.0; 2]), "{weights:?}");
        let errors = Errors {
            dy: &[0.0; 2],
            store: Store::EXACT,
        };
        let mut dx = [7.0; 4];
        let got = mixture::backward(shape, weights, logits, errors, &mut dx, &mut [0.0; 6]);
        assert_eq!((got, dx), (Err(want), [7.0; 4]), "{weights:?}");
    }
    let none = mixture::Shape {
        components: 0,
        ..shape
    };
    assert_eq!(
        mixture::scratch_len(none),
        Err(Error::Zero { arg: Arg::Shape })
    );
}

/// In every type a weight of -1 is refused, however little that is of the largest, and one of 0 is not.
fn a_weight_is_refused_below_0<T: Element>() {
    let shape = mixture::Shape {
        rows: 1,
        components: 2,
        classes: 2,
    };
    let logits = [0.0; 4].map(T::from_f64);
    let largest = (1u64 << T::MAGNITUDE_BITS.max(1)) as f64 - 1.0;
    let mut scratch = [Default::default(); 6];
    // Those of 24 and 53 bits are cut: up to half a unit of 15 bits is cut to 0.
    let most_cut = (1u64 << T::MAGNITUDE_BITS.saturating_sub(16)) as f64;
    for least in [-1.0, -most_cut, -most_cut - 1.0] {
        let weights = [largest, least].map(T::from_f64);
        let weights = Weights::Given(&weights);
        // Integer code is not to turn it into a float.
        let found = (!T::DTYPE.is_integer()).then_some(Found::real(least));
        let refused = Err(Error::Value {
            arg: Arg::Weight,
            expected: "finite numbers of 0 or more, not all 0",
            got: found,
        });
        let mut p = [7.0; 2].map(T::from_f64);
        let got = mixture::forward(
            shape,
            weights,
            Logits::new(&logits, 0),
            &mut p,
            &mut scratch,
        );
        assert_eq!(got, refused, "{least} in {}", T::DTYPE.name());
        assert_eq!(p.map(T::to_f64), [7.0; 2], "a refused call wrote something");
        let mut dx = [7.0; 4].map(T::from_f64);
        let errors = Errors {
            dy: &p,
            store: Store::EXACT,
        };
        let logits = Logits::new(&logits, 0);
        let got = mixture::backward(shape, weights, logits, errors, &mut dx, &mut scratch);
        assert_eq!(got.map(|_| ()), refused, "{least} in {}", T::DTYPE.name());
        assert_eq!(
            dx.map(T::to_f64),
            [7.0; 4],
            "a refused call wrote something"
        );
    }
    let weights = [largest, 0.0].map(T::from_f64);
    let mut p = [T::ZERO; 2];
    let logits = Logits::new(&logits, 0);
    mixture::forward(
        shape,
        Weights::Given(&weights),
        logits,
        &mut p,
        &mut scratch,
    )
    .unwrap();
    assert!(p.iter().all(|p| p.to_f64() > 0.0));
}

#[test]
fn a_mixture_refuses_a_weight_below_0_in_every_type() {
    macro_rules! check {
        ($t:ty) => {
            a_weight_is_refused_below_0::<$t>();
        };
    }
    selvedge_tests::for_each_type!(check);
}

/// A row with NaN, `+∞` or `-∞` alone is NaN, in both directions; other rows do not see it.
#[test]
fn nan_stays_in_its_row() {
    for variant in all() {
        let [width, outputs] = variant.widths();
        let temperature = Temperature::new(0.5).unwrap();
        for bad in [f64::NAN, f64::INFINITY] {
            let mut x = vec![0.25; 2 * width];
            x[width] = bad;
            let call = Call {
                x: &x,
                exponent: 0,
                temperature,
            };
            let p = variant.forward(call);
            let place = format!("{variant:?} with {bad}");
            assert!(p[..outputs].iter().all(|p| p.is_finite()), "{place}");
            // Elsewhere than in the groups that see it, there are numbers.
            assert!(
                p[outputs].is_nan() || matches!(variant, Variant::Adaptive(..)),
                "{place}: {p:?}"
            );
            assert!(p[outputs..].iter().any(|p| p.is_nan()), "{place}");
            let (dx, _) = variant.backward(call, &vec![1.0; 2 * outputs], Store::EXACT);
            assert!(dx[..width].iter().all(|d| d.is_finite()), "{place}");
            assert!(dx[width..].iter().any(|d| d.is_nan()), "{place}");
        }
    }
    let alone = Variant::Standard(2);
    let x = [f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0];
    let p = alone.forward(Call {
        x: &x,
        exponent: 0,
        temperature: Temperature::ONE,
    });
    assert!(p[0].is_nan() && p[1].is_nan());
    assert_eq!(p[2..], [0.0, 1.0]);
    for alpha in [1.5, 2.0] {
        let p = Variant::Entmax(2, alpha).forward(Call {
            x: &x[2..],
            exponent: 0,
            temperature: Temperature::ONE,
        });
        assert_eq!(p, [0.0, 1.0]);
    }
}

/// Rows of a mask hold for as many rows of logits as divide by them.
#[test]
fn a_mask_of_fewer_rows_repeats() {
    let shape = Shape {
        rows: 4,
        classes: 2,
    };
    let logits = Logits::new(&[1i16, 2, 3, 4, 5, 6, 7, 8], -2);
    let errors = Errors {
        dy: &[1i16, -2, 3, -4, 5, -6, 7, -8],
        store: Store::EXACT,
    };
    let run = |allowed: &[bool]| {
        let (mut y, mut dx, mut scratch) = ([5i16; 8], [5i16; 8], [0; 2]);
        masked::forward(shape, logits, allowed, &mut y, &mut scratch)?;
        masked::backward(shape, logits, allowed, errors, &mut dx, &mut scratch)?;
        Ok((y, dx))
    };
    let two = [true, false, true, true];
    assert_eq!(run(&two), run(&two.repeat(2)));
    assert_ne!(run(&two), run(&[true; 2]));
    assert_eq!(run(&[true; 2]), run(&[true; 8]));
    assert_eq!(run(&[true; 6]), Err(length(Arg::Mask, 8, 6)));
    assert_eq!(run(&[true; 16]), Err(length(Arg::Mask, 8, 16)));
    assert_eq!(run(&[]), Err(length(Arg::Mask, 8, 0)));
}

/// A masked element takes no part, whatever it is.
#[test]
fn masked_nan_is_not_seen() {
    let shape = Shape {
        rows: 1,
        classes: 3,
    };
    let logits = Logits::new(&[f64::NAN, 0.0, 0.0], 0);
    let allowed = [false, true, true];
    let (mut p, mut scratch) = ([9.0; 3], [0.0; 3]);
    masked::forward(shape, logits, &allowed, &mut p, &mut scratch).unwrap();
    assert_eq!(p, [0.0, 0.5, 0.5]);
    let errors = Errors {
        dy: &[3.0, 1.0, -1.0],
        store: Store::EXACT,
    };
    masked::backward(shape, logits, &allowed, errors, &mut p, &mut scratch).unwrap();
    assert_eq!(p, [0.0, 0.5, -0.5]);
}

/// Integers at exponents and temperatures far out: no panic, and rows still sum to 1.
#[test]
fn far_exponents_are_defined() {
    for variant in all() {
        let [width, outputs] = variant.widths();
        let x: Vec<i16> = (0..width)
            .map(|i| if i == 1 { 32_767 } else { -32_767 })
            .collect();
        for exponent in [
            -40_000, -200, -70, -63, -62, 40, 61, 62, 63, 64, 200, 40_000,
        ] {
            for t in [1e-38, 1.0, 1e38] {
                let temperature = Temperature::new(t).unwrap();
                let call = Call {
                    x: &x,
                    exponent,
                    temperature,
                };
                let p = variant.forward(call);
                let total: i64 = p.iter().map(|&p| i64::from(p)).sum();
                let want = 32_768.0 * variant.total();
                let off = (total as f64 - want).abs();
                // Half a unit an element and product, and a unit where 1 saturates.
                assert!(
                    off <= 3.0 * outputs as f64,
                    "{variant:?}, {exponent}, T {t}: {total}"
                );
                variant.backward(call, &vec![32_767; outputs], Store::EXACT);
            }
        }
    }
}
