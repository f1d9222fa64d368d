//! Affine layers by tiles, patches and strips of every set against the loops that decode weights one by one.

extern crate std;

use super::{Set, fill, sets};
use crate::affine::{Affine, Multiplier, Quantization, Rounding, decoded_conv, decoded_dense};
use crate::arch::narrow::{Extent, Scaling};
use crate::arch::{Isa, Kernel, Scalar};
use crate::conv::{self, Shape};
use crate::window::{Deep, Window};
use crate::{decoded, dense};
use std::vec;
use std::vec::Vec;

/// Plain code, and what the processor has.
fn all() -> impl Iterator<Item = Option<Set>> {
    core::iter::once(None).chain(sets().into_iter().map(Some))
}

fn run<K: Kernel>(set: Option<Set>, kernel: K) -> K::Output {
    match set {
        Some(set) => set.run(kernel),
        None => kernel.run(Scalar),
    }
}

fn bytes(n: usize, seed: u32) -> Vec<i8> {
    fill(n, seed, &[-128, 127], |u| u as i8)
}

/// Multipliers with shifts to both sides; in every other case none to the left, as those of real layers.
fn multipliers(n: usize, case: u32) -> Vec<Multiplier> {
    let most = if case.is_multiple_of(2) { 0 } else { 3 };
    fill(n, case, &[Multiplier::default()], |u| Multiplier {
        mantissa: (1 << 30) + (u >> 2) as i32,
        shift: most - (u % 22) as i32,
    })
}

/// Zero points, clamps and roundings of a layer, by its number.
fn quantization(multipliers: &[Multiplier], case: u32) -> Quantization<'_> {
    let zero = |shift: u32| [0, -128, 127, 5, -31][((case >> shift) % 5) as usize];
    Quantization {
        input_zero: zero(0),
        output_zero: zero(1),
        rounding: [Rounding::Double, Rounding::Single][(case / 2 % 2) as usize],
        clamp: [(-128, 127), (-20, 90), (-3000, 17)][(case % 3) as usize],
        ..Quantization::new::<i8>(multipliers)
    }
}

/// Biases up to the largest that tiles take; none in some layers.
fn biases(n: usize, case: u32) -> Option<Vec<i32>> {
    let any = fill(n, case, &[1 << 30, -(1 << 30), 0], |u| {
        u as i32 >> (8 + u % 23)
    });
    (!case.is_multiple_of(7)).then_some(any)
}

#[test]
fn dense_layers_agree() {
    let mut case = 0;
    for inputs in [1, 7, 31, 64, 65, 200] {
        for outputs in [1, 4, 9, 16, 21] {
            for batch in [1, 2, 13] {
                case += 1;
                let count = if case % 4 == 0 { 1 } else { outputs };
                let multipliers = multipliers(count, case);
                let quantization = quantization(&multipliers, case);
                let bias = biases(outputs, case);
                let finish = Affine::<i8>::new(bias.as_deref(), &quantization);
                let (x, weight) = (bytes(batch * inputs, 1), bytes(outputs * inputs, 2));
                let mut want = vec![0; batch * outputs];
                decoded_dense(decoded::dense::Call {
                    inputs,
                    outputs,
                    x: &x,
                    weights: &weight[..],
                    drop: 0,
                    finish,
                    first: 0,
                    out: &mut want,
                    slope: &mut [],
                });
                for set in all() {
                    let mut out = vec![0; want.len()];
                    let rows = dense::Rows {
                        inputs,
                        outputs,
                        x: &x,
                        weight: &weight,
                        finish,
                        first: 0,
                        out: &mut out,
                        slope: &mut [],
                    };
                    run(set, rows);
                    assert_eq!(out, want, "{set:?} {batch} {inputs} {outputs}");
                }
            }
        }
    }
}

fn convolution_agrees<const N: usize>(shape: Shape<N>, case: u32) {
    let (extents, _) = shape.extents().unwrap();
    let filters = shape.filters;
    let count = if case.is_multiple_of(4) { 1 } else { filters };
    let multipliers = multipliers(count, case);
    let quantization = quantization(&multipliers, case);
    let bias = biases(filters, case);
    let finish = Affine::<i8>::new(bias.as_deref(), &quantization);
    let cells = |extents: [usize; 3]| extents.iter().product::<usize>();
    let x = bytes(shape.batch * cells(extents.input) * shape.channels, case);
    let weight = bytes(filters * extents.filter_len, case + 1);
    let mut want = vec![0; shape.batch * cells(extents.out) * filters];
    decoded_conv(decoded::conv::Call {
        extents,
        x: &x,
        weights: &weight[..],
        drop: 0,
        finish,
        first: 0,
        out: &mut want,
        slope: &mut [],
    });
    for set in all() {
        let mut out = vec![0; want.len()];
        let rows = conv::Rows {
            extents,
            x: &x,
            weight: &weight,
            finish,
            first: 0,
            out: &mut out,
            slope: &mut [],
        };
        run(set, Deep(rows));
        assert_eq!(out, want, "{set:?} {case} {shape:?}");
    }
}

/// Few pixels and many, in rows of a few and of many columns; pointwise, grouped and depthwise, the last also
/// with kernels beyond strips and beyond the loops for channels side by side; strides, dilation, windows on
/// padding alone.
#[test]
fn convolutions_agree() {
    let mut case = 0;
    for (channels, filters, groups) in [
        (1, 1, 1),
        (3, 5, 1),
        (16, 20, 1),
        (6, 9, 3),
        (70, 70, 70),
        (4, 8, 4),
    ] {
        for (kernel, stride, padding, dilation) in [
            ([1, 1], [1, 1], [[0; 2]; 2], [1, 1]),
            ([3, 3], [1, 1], [[1; 2]; 2], [1, 1]),
            ([3, 2], [2, 1], [[0, 1], [2, 0]], [1, 1]),
            ([2, 3], [1, 3], [[3, 3], [4, 5]], [1, 2]),
            ([1, 4], [1, 2], [[0; 2], [1, 2]], [1, 1]),
            ([5, 5], [2, 2], [[2; 2]; 2], [1, 1]),
            ([9, 9], [1, 1], [[4; 2]; 2], [1, 1]),
        ] {
            for input in [[1, 1], [3, 2], [9, 7], [4, 33]] {
                let window = Window {
                    kernel,
                    stride,
                    padding,
                    dilation,
                };
                let shape = Shape {
                    batch: 2,
                    input,
                    channels,
                    filters,
                    groups,
                    window,
                };
                if shape.extents().is_ok() {
                    case += 1;
                    convolution_agrees(shape, case);
                }
            }
        }
    }
    assert!(case >= 120, "only {case} windows fit");
}

#[test]
fn convolutions_over_one_and_three_axes_agree() {
    for (case, (channels, filters, groups)) in
        [(5, 7, 1), (8, 8, 8), (6, 4, 2)].into_iter().enumerate()
    {
        let case = 1000 + case as u32;
        let line = Shape {
            batch: 3,
            input: [40],
            channels,
            filters,
            groups,
            window: Window::uniform(3, 2, 1),
        };
        convolution_agrees(line, case);
        let volume = Shape {
            batch: 2,
            input: [4, 3, 6],
            channels,
            filters,
            groups,
            window: Window::uniform(3, 1, 2),
        };
        convolution_agrees(volume, case);
    }
}

struct Sum<'a>(&'a [i8]);

impl Kernel for Sum<'_> {
    type Output = i32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> i32 {
        isa.sum_i8(self.0)
    }
}

#[test]
fn sums_agree() {
    let x = bytes(300, 9);
    for set in all() {
        for len in 0..200 {
            for start in [0, 1, 63] {
                let x = &x[start..start + len];
                let want: i32 = x.iter().map(|&x| i32::from(x)).sum();
                assert_eq!(run(set, Sum(x)), want, "{set:?} {len} from {start}");
            }
        }
    }
}

/// Rows that are not in their slices, or have no factors.
struct Unfit;

impl Kernel for Unfit {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (acc, factors, mut out) = ([1i32; 64], [0i32; 64], [2i8; 64]);
        for (rows, width, columns, step, count) in [
            (5, 16, 16, 16, 16),
            (4, 16, 16, 17, 16),
            (1, 16, 17, 0, 16),
            (0, 16, 16, 16, 16),
            (1, 24, 16, 16, 24),
            (usize::MAX, 16, 1, 1, 16),
            (2, 16, 1, usize::MAX, 16),
            (2, 32, 17, 32, 31),
        ] {
            let extent = Extent {
                rows,
                width,
                columns,
                step,
            };
            for (mantissas, shifts) in [(count, 64), (64, count)] {
                let scaling = Scaling {
                    mantissas: &factors[..mantissas],
                    shifts: &factors[..shifts],
                    low: 0,
                    high: 0,
                    zero: 0,
                };
                assert!(!isa.scale_i8(&acc, extent, scaling, &mut out));
            }
        }
        assert_eq!(out, [2; 64]);
    }
}

#[test]
fn rows_that_do_not_fit_are_not_scaled() {
    for set in all() {
        run(set, Unfit);
    }
}
