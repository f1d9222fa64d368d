//! Gumbel's noise and hard draws.

use super::cases::plain;
use super::tolerance;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::gumbel::{self, Form};
use selvedge_kernels::softmax::{self, Logits, Shape};
use selvedge_kernels::{Element, bf16};
use selvedge_tests::noise::Noise;

#[test]
fn gumbel_noise_is_within_its_bound() {
    let mut noise = Noise::new(151);
    let mut words: Vec<u32> = (0..200_000).map(|_| noise.word()).collect();
    for edge in [
        0u64,
        1 << 31,
        1 << 32,
        7 << 29,
        1 << 20,
        (1 << 32) - (1 << 29),
    ] {
        words.extend((0..2000).map(|i| (edge.wrapping_add(i).wrapping_sub(1000)) as u32));
    }
    let mut worst: f64 = 0.0;
    for word in words {
        let u = (f64::from(word) + 0.5) / 2f64.powi(32);
        // ln_1p, because u close to 1 is a difference.
        let rest = (4_294_967_295 - word) as f64 + 0.5;
        let exponential = if u > 0.5 {
            -(-rest / 2f64.powi(32)).ln_1p()
        } else {
            -u.ln()
        };
        let want = -exponential.ln();
        worst = worst.max((f64::from(gumbel::noise_q16(word)) / 65_536.0 - want).abs());
    }
    assert!(worst <= tolerance::NOISE, "{worst}");
}

fn hard_draws_follow_the_softmax<T: Element>() {
    let rows = 20_000;
    let shape = Shape { rows, classes: 4 };
    let is_integer = T::DTYPE.is_integer();
    let exponent = if is_integer {
        2 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let scale = 2f64.powi(-exponent);
    let z = [0.0, 1.0, -0.5, 0.25];
    let x: Vec<T> = (0..rows)
        .flat_map(|_| z)
        .map(|z| T::from_f64(z * scale))
        .collect();
    let mut draws = vec![T::ZERO; x.len()];
    let mut scratch = vec![Default::default(); 4];
    let words = Some(Words::new(9, 9, 9));
    let logits = Logits::new(&x, exponent);
    gumbel::forward(shape, logits, words, Form::Hard, &mut draws, &mut scratch).unwrap();
    let mut counts = [0; 4];
    for row in draws.chunks(4) {
        let chosen: Vec<usize> = (0..4).filter(|&i| row[i] != T::ZERO).collect();
        assert_eq!(chosen.len(), 1, "{}: not one-hot", T::DTYPE);
        counts[chosen[0]] += 1;
    }
    for (count, p) in counts.iter().zip(plain(&z)) {
        let share = f64::from(*count) / rows as f64;
        assert!(
            (share - p).abs() < tolerance::SHARE,
            "{}: {share}, {p}",
            T::DTYPE
        );
    }
    // Off at inference: the softmax, and its largest.
    let first = Logits::new(&x[..4], exponent);
    let shape = Shape {
        rows: 1,
        classes: 4,
    };
    let mut soft = [T::ZERO; 4];
    gumbel::forward(shape, first, None, Form::Soft, &mut soft, &mut scratch).unwrap();
    let mut standard = [T::ZERO; 4];
    softmax::forward(shape, first, &mut standard, &mut scratch).unwrap();
    assert_eq!(soft, standard);
    gumbel::forward(shape, first, None, Form::Hard, &mut soft, &mut scratch).unwrap();
    assert!(soft[1] != T::ZERO && soft[0] == T::ZERO && soft[2] == T::ZERO);
}

#[test]
fn hard_draws_follow_the_softmax_in_every_kind_of_type() {
    hard_draws_follow_the_softmax::<i8>();
    hard_draws_follow_the_softmax::<u16>();
    hard_draws_follow_the_softmax::<i64>();
    hard_draws_follow_the_softmax::<bf16>();
    hard_draws_follow_the_softmax::<f32>();
    hard_draws_follow_the_softmax::<f64>();
}

#[test]
fn one_seed_is_one_draw() {
    let x = [0.5f32; 6];
    let shape = Shape {
        rows: 2,
        classes: 3,
    };
    let draw = |words| {
        let (mut p, mut scratch) = ([0.0; 6], [0.0; 3]);
        gumbel::forward(
            shape,
            Logits::new(&x, 0),
            Some(words),
            Form::Soft,
            &mut p,
            &mut scratch,
        )
        .unwrap();
        p
    };
    assert_eq!(draw(Words::new(1, 2, 3)), draw(Words::new(1, 2, 3)));
    assert_ne!(draw(Words::new(1, 2, 3)), draw(Words::new(1, 2, 4)));
    let p = draw(Words::new(1, 2, 3));
    assert_ne!(p[..3], p[3..], "rows share their words");
}

// Adaptive: the logarithm and the loss.
