//! Sums, means and extremes over axes.

use super::product;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::reduce::{self, Reduced, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_close, assert_stores, assert_transposed, central, elements, extents, index, inner,
    number, numbers, offset, rounding, values,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_floats, for_integers, tolerance};

/// Extents, the reduced axes, the extents left.
const REDUCTIONS: [(&[usize], &[usize], &[usize]); 7] = [
    (&[9], &[0], &[]),
    (&[3, 4], &[1], &[3]),
    (&[3, 4], &[0], &[4]),
    (&[2, 3, 4], &[2, 0], &[3]),
    (&[2, 3, 2, 2, 3, 2], &[1, 4], &[2, 2, 2, 2]),
    (&[5, 1, 2], &[], &[5, 1, 2]),
    (&[1, 5, 60], &[1, 2], &[1]),
];

/// For each output, the offsets of what it is made of, in row-major order.
fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let kept: Vec<usize> = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let kept_shape: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    let mut groups = vec![Vec::new(); product(&kept_shape)];
    for i in 0..product(shape) {
        let at = index(shape, i);
        let at: Vec<usize> = kept.iter().map(|&axis| at[axis]).collect();
        groups[offset(&kept_shape, &at)].push(i);
    }
    groups
}

fn reductions_are_the_model<T: Element>() {
    let mut noise = Noise::new(10);
    for (shape, axes, kept) in REDUCTIONS {
        let place = format!("{shape:?} over {axes:?}");
        let groups = groups(shape, axes);
        let x = elements::<T>(&mut noise, product(shape));
        let dy = elements::<T>(&mut noise, groups.len());
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        assert_eq!(shape.outputs(Reduced::Drop).unwrap(), extents(kept));
        assert_eq!(
            shape.outputs(Reduced::Keep).unwrap().elements(),
            groups.len()
        );
        let sums: Vec<i128> = groups
            .iter()
            .map(|group| group.iter().map(|&i| number(x[i])).sum())
            .collect();
        assert_stores::<T>(&format!("sum {place}"), &sums, |store, out| {
            reduce::sum(&Serial, shape, &x, store, out).unwrap()
        });
        assert_stores::<T>(&format!("sum {place}"), &sums, |store, out| {
            reduce::sum(&Threads(3), shape, &x, store, out).unwrap()
        });
        let n = groups[0].len() as i128;
        let k = 15 + 128 - (n - 1).leading_zeros();
        assert_eq!(reduce::mean_places::<T>(shape).unwrap(), k as i32);
        let f = ((1 << k) + n / 2) / n;
        let means: Vec<i128> = sums.iter().map(|sum| sum * f).collect();
        for threads in [1, 3] {
            assert_stores::<T>(&format!("mean {place}"), &means, |store, out| {
                reduce::mean(&Threads(threads), shape, &x, store, out).unwrap()
            });
        }
        let mut spread = vec![0; x.len()];
        let mut want = vec![0; x.len()];
        for (group, &d) in groups.iter().zip(&dy) {
            for &i in group {
                (want[i], spread[i]) = (number(d), number(d) * f);
            }
        }
        let mut dx = vec![T::ZERO; x.len()];
        reduce::sum_backward(&Threads(2), shape, &dy, &mut dx).unwrap();
        assert_eq!(numbers(&dx), want, "{place}");
        assert_stores::<T>(
            &format!("gradient of mean {place}"),
            &spread,
            |store, dx| reduce::mean_backward(&Threads(2), shape, &dy, store, dx).unwrap(),
        );
    }
}

#[test]
fn integer_reductions_are_the_model() {
    for_integers!(reductions_are_the_model);
}

fn extremes_are_the_definition<T: Element>() {
    let mut noise = Noise::new(11);
    for (shape, axes, _) in REDUCTIONS {
        let groups = groups(shape, axes);
        // Few different elements, so that ties occur.
        let x: Vec<T> = (0..product(shape))
            .map(|_| T::from_f64(noise.below(5) as f64 - 2.0))
            .collect();
        let dy = elements::<T>(&mut noise, groups.len());
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        for is_max in [true, false] {
            let (mut out, mut dx) = (vec![T::ZERO; groups.len()], vec![T::ZERO; x.len()]);
            let exec = Threads(3);
            if is_max {
                reduce::max(&exec, shape, &x, &mut out).unwrap();
                reduce::max_backward(shape, &x, &dy, &mut dx).unwrap();
            } else {
                reduce::min(&exec, shape, &x, &mut out).unwrap();
                reduce::min_backward(shape, &x, &dy, &mut dx).unwrap();
            }
            let mut want = vec![0.0; x.len()];
            for ((group, out), d) in groups.iter().zip(&out).zip(&dy) {
                let sign = if is_max { 1.0 } else { -1.0 };
                let mut winner = group[0];
                for &i in group {
                    if x[i].to_f64() * sign > x[winner].to_f64() * sign {
                        winner = i;
                    }
                }
                assert_eq!(out.to_f64(), x[winner].to_f64());
                want[winner] = d.to_f64();
            }
            assert_eq!(values(&dx), want, "{axes:?}");
        }
    }
}

#[test]
fn extremes_and_their_gradients_are_the_definition() {
    for_integers!(extremes_are_the_definition);
    for_floats!(extremes_are_the_definition);
}

fn float_reductions<T: Element>() {
    let mut noise = Noise::new(12);
    for (shape, axes, _) in REDUCTIONS {
        let groups = groups(shape, axes);
        let x = elements::<T>(&mut noise, product(shape));
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        let (mut sums, mut means) = (vec![T::ZERO; groups.len()], vec![T::ZERO; groups.len()]);
        reduce::sum(&Serial, shape, &x, Store::EXACT, &mut sums).unwrap();
        reduce::mean(&Serial, shape, &x, Store::EXACT, &mut means).unwrap();
        for ((group, sum), mean) in groups.iter().zip(&sums).zip(&means) {
            let want: f64 = group.iter().map(|&i| x[i].to_f64()).sum();
            let size: f64 = group.iter().map(|&i| x[i].to_f64().abs()).sum();
            let n = group.len() as f64;
            // n roundings of the accumulator, one of the element.
            let accumulator = if T::DTYPE.name() == "f64" {
                f64::EPSILON
            } else {
                f64::from(f32::EPSILON)
            };
            let limit = n * accumulator * size + want.abs() * 1.01 * rounding::<T>();
            let limit = limit + tolerance::HALF_SMALLEST_F16;
            assert!((sum.to_f64() - want).abs() <= limit, "{sum:?}, {want}");
            assert!(
                (mean.to_f64() - want / n).abs() <= limit,
                "{mean:?}, {want} / {n}"
            );
        }
    }
}

#[test]
fn float_reductions_are_the_definition() {
    for_floats!(float_reductions);
}

#[test]
fn gradients_of_reductions_are_the_differences_and_transposes() {
    let mut noise = Noise::new(13);
    for (shape, axes, _) in REDUCTIONS {
        let outputs = groups(shape, axes).len();
        let x = noise.vector(product(shape), 1.0);
        let weights = noise.vector(outputs, 1.0);
        let inputs = x.len();
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        let place = format!("{shape:?}");
        let mean = |x: &[f64]| {
            let mut out = vec![0.0; outputs];
            reduce::mean(&Serial, shape, x, Store::EXACT, &mut out).unwrap();
            inner(&out, &weights)
        };
        let mut dx = vec![0.0; inputs];
        reduce::mean_backward(&Serial, shape, &weights, Store::EXACT, &mut dx).unwrap();
        assert_close(
            &place,
            &central(&x, mean),
            &dx,
            tolerance::LINEAR_DIFFERENCE,
        );
        let max = |x: &[f64]| {
            let mut out = vec![0.0; outputs];
            reduce::max(&Serial, shape, x, &mut out).unwrap();
            inner(&out, &weights)
        };
        reduce::max_backward(shape, &x, &weights, &mut dx).unwrap();
        assert_close(&place, &central(&x, max), &dx, tolerance::LINEAR_DIFFERENCE);
        assert_transposed(
            &place,
            &mut noise,
            [inputs, outputs],
            |x, out| {
                reduce::sum(&Serial, shape, x, Store::EXACT, out).unwrap();
            },
            |dy, dx| reduce::sum_backward(&Serial, shape, dy, dx).unwrap(),
        );
        assert_transposed(
            &place,
            &mut noise,
            [inputs, outputs],
            |x, out| {
                reduce::mean(&Serial, shape, x, Store::EXACT, out).unwrap();
            },
            |dy, dx| {
                reduce::mean_backward(&Serial, shape, dy, Store::EXACT, dx).unwrap();
            },
        );
    }
}
