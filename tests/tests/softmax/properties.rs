//! What holds for all rows: bounds, sums, thresholds, and what variants are not.

use super::cases::{Call, Variant, all, entmax_by_bisection, plain};
use super::{EXACT, tolerance};
use selvedge_kernels::softmax::{Alpha, Logits, Shape, Temperature, entmax};
use selvedge_kernels::{Element, loss};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance::{probability, tempered};

/// All triples of 8-bit logits up to a common offset, which must not matter: softmax, entmax 1.5 and
/// sparsemax in the head's 16 bits of precision against f64.
#[test]
fn all_triples_of_8_bits_are_within_the_bound() {
    let exponent = -5;
    let shape = Shape {
        rows: 255,
        classes: 3,
    };
    for alpha in [1.0, 1.5, 2.0] {
        let parameter = Alpha::new(alpha).unwrap();
        let mut scratch = [0; 3];
        for a in 0..=254i16 {
            let narrow = |z: i16| (127 - z) as i8;
            let x: Vec<i16> = (0..=254).flat_map(|b| [127, 127 - a, 127 - b]).collect();
            let mut p = vec![0i16; x.len()];
            let logits = Logits::new(&x, exponent);
            entmax::forward(shape, logits, parameter, &mut p, &mut scratch).unwrap();
            // The 8-bit type: the same probabilities, rounded.
            let x8: Vec<i8> = (0..=254)
                .flat_map(|b| [127, narrow(a), narrow(b)])
                .collect();
            let mut p8 = vec![0i8; x.len()];
            let logits = Logits::new(&x8, exponent);
            entmax::forward(shape, logits, parameter, &mut p8, &mut scratch).unwrap();
            for ((x, p), p8) in x.chunks(3).zip(p.chunks(3)).zip(p8.chunks(3)) {
                let z: Vec<f64> = x.iter().map(|&x| f64::from(x) / 32.0).collect();
                let want = entmax_by_bisection(&z, f64::from(alpha));
                for ((p, p8), want) in p.iter().zip(p8).zip(&want) {
                    let (got, got8) = (f64::from(*p) / 32_768.0, f64::from(*p8) / 128.0);
                    let bound = match alpha {
                        1.0 => probability(3, *want) + 1.0 / 65_536.0,
                        _ => tolerance::entmax(f64::from(alpha), *want),
                    };
                    assert!((got - want).abs() <= bound, "{x:?}: {got}, {want}");
                    assert!(
                        (got8 - want).abs() <= bound + tolerance::storage::<i8>(),
                        "{x:?}: {got8}"
                    );
                    // What is 0 by definition is 0: a loss of support would be a wrong gradient.
                    assert!(alpha == 1.0 || *want > 1e-12 || *p == 0, "{x:?}: {p}");
                }
            }
        }
    }
}

/// Softmax and entmax of random rows at many temperatures, in 24 bits, to see Q15 as it is, of logits that a cut to
/// 15 bits leaves as they are.
#[test]
fn bounds_hold_at_every_temperature() {
    let mut noise = Noise::new(132);
    let (mut softmax, mut sparse, mut tables) = (0f64, 0f64, 0f64);
    for case in 0..3000 {
        let classes = 2 + noise.below(19);
        let t = 2f64.powf(3.0 * noise.signed()) as f32;
        let temperature = Temperature::new(t).unwrap();
        let alpha = [1.0, 1.5, 2.0, 1.25, 1.1, 1.75][case % 6];
        let spread = 32_767.0 * 2f64.powi(-(noise.below(6) as i32));
        let x: Vec<i32> = (noise.vector(classes, spread).iter())
            .map(|&x| (x as i32) << 9)
            .collect();
        let (mut p, mut scratch) = (vec![0i32; classes], vec![0; classes]);
        let logits = Logits::new(&x, -22).at(temperature);
        let shape = Shape { rows: 1, classes };
        let parameter = Alpha::new(alpha).unwrap();
        entmax::forward(shape, logits, parameter, &mut p, &mut scratch).unwrap();
        let z: Vec<f64> = (x.iter())
            .map(|&x| f64::from(x) * 2f64.powi(-22) / f64::from(t))
            .collect();
        let want = entmax_by_bisection(&z, f64::from(alpha));
        let mean: f64 = want.iter().zip(&z).map(|(p, z)| p * z).sum();
        for ((&p, &want), z) in p.iter().zip(&want).zip(&z) {
            let (bound, largest) = match alpha {
                1.0 => (
                    probability(classes, want) + tempered(want, z - mean),
                    &mut softmax,
                ),
                1.5 | 2.0 => (tolerance::entmax(f64::from(alpha), want), &mut sparse),
                _ => (tolerance::entmax(f64::from(alpha), want), &mut tables),
            };
            let error = (f64::from(p) * 2f64.powi(-24) - want).abs();
            assert!(
                error <= bound,
                "alpha {alpha}, T = {t}, {z} of {classes}: {p}, {want}, {error} of {bound}"
            );
            *largest = largest.max(error / bound);
        }
    }
    println!("of the bounds: softmax {softmax}, entmax 3/2 and 2 {sparse}, others {tables}");
    let least = softmax.min(sparse).min(tables);
    assert!(least > 0.35, "a stated bound is too wide: {least}");
}

/// Rows of 1,000 logits, and powers 1 / (alpha - 1) of up to 100.
#[test]
fn long_rows_sum_to_one() {
    let mut noise = Noise::new(131);
    let classes = 1000;
    let shape = Shape { rows: 1, classes };
    let x: Vec<i16> = noise
        .vector(classes, 20_000.0)
        .iter()
        .map(|&x| x as i16)
        .collect();
    let values: Vec<f64> = x.iter().map(|&x| f64::from(x) / 8192.0).collect();
    for alpha in [1.0, 1.01, 1.1, 1.5, 1.9, 2.0] {
        let parameter = Alpha::new(alpha).unwrap();
        let (mut p, mut scratch) = (vec![0i32; classes], vec![0; classes]);
        // In 24 bits, to see Q15 as it is.
        let wide: Vec<i32> = x.iter().map(|&x| i32::from(x) << 9).collect();
        let logits = Logits::new(&wide, -22);
        entmax::forward(shape, logits, parameter, &mut p, &mut scratch).unwrap();
        let want = entmax_by_bisection(&values, f64::from(alpha));
        let scale = 2f64.powi(-24);
        let mut total = 0.0;
        for (p, want) in p.iter().zip(&want) {
            let p = f64::from(*p) * scale;
            total += p;
            let bound = match alpha {
                1.0 => probability(classes, *want),
                _ => tolerance::entmax(f64::from(alpha), *want),
            };
            assert!((p - want).abs() <= bound, "alpha {alpha}: {p}, {want}");
        }
        // Half a unit of Q15 each, as random signs and as a bias of small numbers.
        assert!(
            (total - 1.0).abs() <= 0.5 * classes as f64 / 32_768.0,
            "alpha {alpha}: {total}"
        );
        // Floats sum to 1 by their own threshold.
        let (mut p, mut scratch) = (vec![0f32; classes], vec![0.0; classes]);
        let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        entmax::forward(
            shape,
            Logits::new(&narrow, 0),
            parameter,
            &mut p,
            &mut scratch,
        )
        .unwrap();
        let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
        // Rounding of f32 thresholds, times 1 / (alpha - 1) by the power.
        let bound = 1e-5 / (f64::from(alpha) - 1.0).max(0.01);
        assert!((total - 1.0).abs() <= bound, "alpha {alpha}: {total}");
    }
}

// What an implementation gets wrong without noticing, as each still gives positive rows that sum to 1: a threshold
// of a support of another size, a blend of softmax and sparsemax for entmax, a gradient without 1 / T, variants that
// are the standard one under another name, leaves that are not multiplied by their parents. By the definitions of
// `docs/numerics/softmax.md` §18.

fn sparsemax<T: Element>(x: &[T], exponent: i32) -> Vec<T> {
    let variant = Variant::Entmax(x.len(), 2.0);
    variant.forward(Call {
        x,
        exponent,
        temperature: Temperature::ONE,
    })
}

#[test]
fn sparsemax_has_the_right_threshold() {
    assert_eq!(sparsemax(&[2.0, 1.0, 0.1f64], 0), [1.0, 0.0, 0.0]);
    let p = sparsemax(&[0.5, 0.4, 0.3f64], 0);
    for (p, want) in p
        .iter()
        .zip([0.433_333_333_333, 0.333_333_333_333, 0.233_333_333_333])
    {
        assert!((p - want).abs() < 1e-11, "{p}");
    }
    // The same in 2^-13 and 2^-14.
    assert_eq!(sparsemax(&[16_384i16, 8192, 819], -13), [32_767, 0, 0]);
    let p = sparsemax(&[8192i16, 6554, 4915], -14);
    for (p, want) in p.iter().zip([0.433_333, 0.333_333, 0.233_333]) {
        assert!((f64::from(*p) / 32_768.0 - want).abs() < 1e-4, "{p}");
    }
}

#[test]
fn entmax_is_no_blend_and_lies_between() {
    let z = [0.9, 0.4, 0.1, -1.0];
    let of = |alpha: f32| {
        let variant = Variant::Entmax(4, alpha);
        variant.forward(Call {
            x: &z,
            exponent: 0,
            temperature: Temperature::ONE,
        })
    };
    let (soft, between, sparse) = (of(1.0), of(1.5), of(2.0));
    assert!(soft[0] < between[0] && between[0] < sparse[0]);
    let blend: Vec<f64> = soft
        .iter()
        .zip(&sparse)
        .map(|(a, b)| 0.5 * (a + b))
        .collect();
    assert!(between.iter().zip(blend).any(|(a, b)| (a - b).abs() > 0.01));
    assert_eq!(
        soft,
        Variant::Standard(4).forward(Call {
            x: &z,
            exponent: 0,
            temperature: Temperature::ONE
        })
    );
}

#[test]
fn half_the_temperature_is_twice_the_gradient_factor() {
    let x = [0.3f64, -0.4, 0.1];
    let dy = [1.0, -2.0, 0.5];
    let half = Temperature::new(0.5).unwrap();
    let doubled = x.map(|x| 2.0 * x);
    for variant in [Variant::Standard(3), Variant::Entmax(3, 1.5)] {
        let (at_half, _) = variant.backward(
            Call {
                x: &x,
                exponent: 0,
                temperature: half,
            },
            &dy,
            EXACT,
        );
        let call = Call {
            x: &doubled,
            exponent: 0,
            temperature: Temperature::ONE,
        };
        let (at_one, _) = variant.backward(call, &dy, EXACT);
        for (a, b) in at_half.iter().zip(at_one) {
            assert!((a - 2.0 * b).abs() < 1e-14, "{variant:?}: {a}, {b}");
        }
    }
}

#[test]
fn adaptive_and_mixture_are_not_the_standard() {
    let mut noise = Noise::new(141);
    let variants = all();
    for variant in variants
        .iter()
        .filter(|v| matches!(v, Variant::Adaptive(..) | Variant::Mixture(..)))
    {
        let [width, outputs] = variant.widths();
        let x = noise.vector(width, 2.0);
        let p = variant.forward(Call {
            x: &x,
            exponent: 0,
            temperature: Temperature::ONE,
        });
        let standard = plain(&x[..outputs]);
        assert!(
            p.iter().zip(standard).any(|(a, b)| (a - b).abs() > 0.01),
            "{variant:?}"
        );
        let sharp = Temperature::new(0.5).unwrap();
        let q = variant.forward(Call {
            x: &x,
            exponent: 0,
            temperature: sharp,
        });
        assert!(
            p.iter().zip(q).any(|(a, b)| (a - b).abs() > 0.01),
            "{variant:?}: T is ignored"
        );
    }
}

#[test]
fn the_leaves_of_a_tree_sum_to_one_and_groups_do_not() {
    let mut noise = Noise::new(142);
    let tree = Variant::Tree(vec![2, 3, 2]);
    let x = noise.vector(tree.widths()[0], 3.0);
    let call = Call {
        x: &x,
        exponent: 0,
        temperature: Temperature::ONE,
    };
    let total: f64 = tree.forward(call).iter().sum();
    assert!((total - 1.0).abs() < 1e-14, "{total}");
    let groups = Variant::Groups(vec![2, 3, 2]);
    let call = Call {
        x: &x[..12],
        exponent: 0,
        temperature: Temperature::ONE,
    };
    let total: f64 = groups.forward(call).iter().sum();
    assert!((total - 6.0).abs() < 1e-14, "{total}");
}

/// At T = 1 the probabilities are those of the loss: `p - 1` at the label.
#[test]
fn the_loss_has_the_same_softmax() {
    let mut noise = Noise::new(143);
    let x: Vec<i16> = noise
        .vector(50, 32_767.0)
        .iter()
        .map(|&x| x as i16)
        .collect();
    for exponent in -25..=4 {
        let call = Call {
            x: &x,
            exponent,
            temperature: Temperature::ONE,
        };
        let p = Variant::Standard(10).forward(call);
        let mut dy = vec![0i16; 50];
        loss::cross_entropy(10, &x, exponent, &[9; 5], EXACT, &mut dy).unwrap();
        for (i, (p, d)) in p.iter().zip(&dy).enumerate() {
            if i % 10 != 9 {
                assert_eq!(p, d, "exponent {exponent}, element {i}");
            }
        }
    }
}
