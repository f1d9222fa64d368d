//! The softmax family and the losses, forward and backward, in each element type. Throughput counts
//! logits.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{
    self, Classes, Delta, Distance, SampleWeights, Samples, Smoothing, Targets,
};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::softmax::adaptive::{self, Clusters};
use selvedge_kernels::softmax::gumbel::{self, Form};
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::tree::{self, Tree};
use selvedge_kernels::softmax::{self, Alpha, Errors, Logits, Shape, entmax, masked};
use std::hint::black_box;

const ROWS: usize = 32;
const CLASSES: usize = 60;

/// Errors as they are stored in training.
fn store() -> Store {
    let words = Words::new(1, stream::error(0), 0);
    Store::Shift {
        shift: 30,
        rounding: Rounding::Stochastic(words),
    }
}

/// The exponent at which [`noise`] lies within ±4.
fn exponent<T: Element>() -> i32 {
    3 - T::MAGNITUDE_BITS as i32
}

/// Benchmarks `work` on 32 rows as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, logits: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(logits as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

fn rows<T: Element>(c: &mut Criterion) {
    let shape = Shape {
        rows: ROWS,
        classes: CLASSES,
    };
    let n = ROWS * CLASSES;
    let (x, dy) = (noise::<T>(n, 1), noise::<T>(n, 2));
    let allowed: Vec<bool> = (0..n).map(|i| i % 3 != 1).collect();
    let mut out = vec![T::ZERO; n];
    let mut scratch = vec![Default::default(); softmax::scratch_len(shape).unwrap()];
    let errors = Errors {
        dy: &dy,
        store: store(),
    };
    let words = Some(Words::new(1, 2, 3));
    let logits = |x| Logits::new(x, exponent::<T>());
    measure::<T>(c, "softmax forward 32x60", n, || {
        softmax::forward(shape, logits(black_box(&x)), &mut out, &mut scratch).unwrap();
    });
    measure::<T>(c, "softmax backward 32x60", n, || {
        softmax::backward(shape, logits(black_box(&x)), errors, &mut out, &mut scratch).unwrap();
    });
    measure::<T>(c, "masked softmax forward 32x60", n, || {
        let logits = logits(black_box(&x));
        masked::forward(shape, logits, &allowed, &mut out, &mut scratch).unwrap();
    });
    measure::<T>(c, "masked softmax backward 32x60", n, || {
        let logits = logits(black_box(&x));
        masked::backward(shape, logits, &allowed, errors, &mut out, &mut scratch).unwrap();
    });
    for (name, form) in [("soft", Form::Soft), ("hard", Form::Hard)] {
        measure::<T>(
            c,
            &format!("{name} gumbel softmax forward 32x60"),
            n,
            || {
                let logits = logits(black_box(&x));
                gumbel::forward(shape, logits, words, form, &mut out, &mut scratch).unwrap();
            },
        );
    }
    measure::<T>(c, "gumbel softmax backward 32x60", n, || {
        let logits = logits(black_box(&x));
        gumbel::backward(shape, logits, words, errors, &mut out, &mut scratch).unwrap();
    });
    for (name, alpha) in [
        ("sparsemax", Alpha::SPARSEMAX),
        ("entmax 1.5", Alpha::ENTMAX_1_5),
        ("entmax 1.25", Alpha::new(1.25).unwrap()),
    ] {
        measure::<T>(c, &format!("{name} forward 32x60"), n, || {
            let logits = logits(black_box(&x));
            entmax::forward(shape, logits, alpha, &mut out, &mut scratch).unwrap();
        });
        measure::<T>(c, &format!("{name} backward 32x60"), n, || {
            let logits = logits(black_box(&x));
            entmax::backward(shape, logits, alpha, errors, &mut out, &mut scratch).unwrap();
        });
    }
}

fn structures<T: Element>(c: &mut Criterion) {
    let tree = Tree::new(&[6, 10]).unwrap(); // 66 nodes, 60 leaves
    let ids: Vec<u32> = (0..CLASSES as u32).collect();
    let clusters = Clusters::new(&ids, &[10, 20, 30], &mut [false; CLASSES]).unwrap();
    let shape = mixture::Shape {
        rows: ROWS,
        components: 3,
        classes: CLASSES,
    };
    let gate = noise::<T>(3, 5);
    let weights = Weights::Logits(Logits::new(&gate, exponent::<T>()));
    let x = noise::<T>(ROWS * 3 * CLASSES, 1);
    let dy = noise::<T>(ROWS * CLASSES, 2);
    let (mut out, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let mut scratch = [Default::default(); 1000];
    let errors = Errors {
        dy: &dy,
        store: store(),
    };
    let of = |n: usize| Logits::new(black_box(&x[..ROWS * n]), exponent::<T>());

    let (n, len) = (tree.nodes(), tree::scratch_len(tree).unwrap());
    measure::<T>(c, "tree softmax forward 32x60", ROWS * n, || {
        tree::forward(ROWS, tree, of(n), &mut out, &mut scratch[..len]).unwrap();
    });
    measure::<T>(c, "tree softmax backward 32x60", ROWS * n, || {
        let dx = &mut dx[..ROWS * n];
        tree::backward(ROWS, tree, of(n), errors, dx, &mut scratch[..len]).unwrap();
    });

    let (n, len) = (clusters.logits(), adaptive::scratch_len(clusters).unwrap());
    let targets: Vec<u32> = (0..ROWS as u32).collect();
    let mut log_prob = vec![Default::default(); ROWS];
    measure::<T>(c, "adaptive softmax forward 32x60", ROWS * n, || {
        adaptive::forward(ROWS, clusters, of(n), &mut out, &mut scratch[..len]).unwrap();
    });
    measure::<T>(c, "adaptive softmax backward 32x60", ROWS * n, || {
        let dx = &mut dx[..ROWS * n];
        adaptive::backward(ROWS, clusters, of(n), errors, dx, &mut scratch[..len]).unwrap();
    });
    measure::<T>(c, "adaptive log_prob 32x60", ROWS * n, || {
        let scratch = &mut scratch[..len];
        adaptive::log_prob(clusters, of(n), &targets, &mut log_prob, scratch).unwrap();
    });
    measure::<T>(c, "adaptive cross-entropy 32x60", ROWS * n, || {
        let (dx, scratch) = (&mut dx[..ROWS * n], &mut scratch[..len]);
        adaptive::cross_entropy(clusters, of(n), &targets, store(), dx, scratch).unwrap();
    });

    let (n, len) = (3 * CLASSES, mixture::scratch_len(shape).unwrap());
    let given = [1.0, 2.0, 5.0].map(T::from_f64);
    for (name, weights) in [("", weights), (", given weights,", Weights::Given(&given))] {
        measure::<T>(
            c,
            &format!("mixture{name} forward 32x3x60"),
            ROWS * n,
            || {
                mixture::forward(shape, weights, of(n), &mut out, &mut scratch[..len]).unwrap();
            },
        );
        measure::<T>(
            c,
            &format!("mixture{name} backward 32x3x60"),
            ROWS * n,
            || {
                mixture::backward(shape, weights, of(n), errors, &mut dx, &mut scratch[..len])
                    .unwrap();
            },
        );
    }
    let len = mixture::weights_scratch_len(shape).unwrap();
    let mut stored = vec![T::Acc::default(); 3];
    let mut sums = stored.clone();
    measure::<T>(c, "mixture weight gradient 32x3x60", ROWS * n, || {
        let mut gradient = Gradient::<'_, T, T::Acc>::Store(&mut stored);
        let scratch = &mut scratch[..len];
        mixture::backward_weights(
            shape,
            weights,
            of(n),
            &dy,
            &mut gradient,
            scratch,
            &mut sums,
        )
        .unwrap();
    });
}

fn losses<T: Element>(c: &mut Criterion) {
    let n = ROWS * CLASSES;
    let (x, target) = (noise::<T::Head>(n, 3), noise::<T::Head>(n, 4));
    let weights = noise::<T::Head>(ROWS, 5);
    let exponent = exponent::<T::Head>();
    let weights = Some(SampleWeights {
        values: &weights,
        exponent,
    });
    let mut dy = vec![T::ZERO; n];
    let options = Classes {
        classes: CLASSES,
        smoothing: Smoothing::new(0.1).unwrap(),
        weights,
    };
    let samples = Samples {
        outputs: &x,
        exponent,
        target: &target,
        target_exponent: exponent,
        features: CLASSES,
        weights,
    };
    let targets = Targets::Distribution {
        values: &target,
        exponent,
    };
    measure::<T>(c, "soft cross-entropy 32x60", n, || {
        let x = black_box(&x);
        loss::soft_cross_entropy::<T>(options, x, exponent, targets, store(), &mut dy).unwrap();
    });
    for (name, distance) in [
        ("weighted squared error 32x60", Distance::Squared),
        ("weighted absolute error 32x60", Distance::Absolute),
        ("weighted huber 32x60", Distance::Huber(Delta::ONE)),
    ] {
        measure::<T>(c, name, n, || {
            loss::regression::<T>(distance, black_box(samples), store(), &mut dy).unwrap();
        });
    }
    measure::<T>(c, "binary cross-entropy 32x60", n, || {
        loss::binary_cross_entropy::<T>(black_box(samples), store(), &mut dy).unwrap();
    });
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(
            rows::<$t>(c);
            structures::<$t>(c);
            losses::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
