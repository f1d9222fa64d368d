//! Dense and convolution kernels with packed weights: floats against the kernels that read decoded
//! weights, integers against exact sums, in every format, for both passes.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod floats;
mod integers;
mod refusals;

use integers::{elements, integers};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::packed::{self, BLOCK, Format, Scale, Weights};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, f16};
use selvedge_tests::curve::Curve;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{filter_len, lens, random_shape};

/// Random packed weights that own their memory: no NaN, no infinities.
struct Packed<S> {
    format: Format,
    rows: usize,
    len: usize,
    codes: Vec<u8>,
    scales: Vec<S>,
}

impl<S: Scale> Packed<S> {
    fn new(
        noise: &mut Noise,
        format: Format,
        rows: usize,
        len: usize,
        mut scale: impl FnMut(&mut Noise) -> S,
    ) -> Self {
        let mut codes = vec![0; rows * format.row_bytes(len)];
        for codes in codes.chunks_mut(format.row_bytes(len)) {
            // All codes are equally likely, but for those that are no number.
            let row: Vec<f32> = (0..len)
                .map(|_| {
                    let mut code = noise.below(usize::from(format.codes())) as u8;
                    while !format.value(code).is_finite() {
                        code ^= 0x40;
                    }
                    format.value(code)
                })
                .collect();
            packed::encode_row_with(format, &row, 0i8, codes).unwrap();
        }
        let per_tensor = noise.below(4) == 0;
        let scales = if per_tensor {
            1
        } else {
            rows * len.div_ceil(BLOCK)
        };
        let scales = (0..scales).map(|_| scale(noise)).collect();
        Self {
            format,
            rows,
            len,
            codes,
            scales,
        }
    }

    fn weights(&self) -> Weights<'_, S> {
        Weights::new(self.format, self.rows, self.len, &self.codes, &self.scales).unwrap()
    }

    fn decoded(&self) -> Vec<f32> {
        self.decode(self.weights())
    }

    /// The values of the codes.
    fn values(&self) -> Vec<f32> {
        self.decode(Weights::new(self.format, self.rows, self.len, &self.codes, &[0i8]).unwrap())
    }

    fn decode<U: Scale>(&self, weights: Weights<'_, U>) -> Vec<f32> {
        let mut all = vec![0.0; self.rows * self.len];
        for (r, row) in all.chunks_mut(self.len).enumerate() {
            weights.decode(r, 0, row);
        }
        all
    }

    /// The scale of each weight.
    fn scale_of_each(&self) -> Vec<S> {
        let blocks = self.len.div_ceil(BLOCK);
        let scale = |i: usize| match self.scales[..] {
            [scale] => scale,
            _ => self.scales[i / self.len * blocks + i % self.len / BLOCK],
        };
        (0..self.rows * self.len).map(scale).collect()
    }
}

fn exponents(noise: &mut Noise) -> i8 {
    noise.below(5) as i8 - 3
}

fn halves(noise: &mut Noise) -> f16 {
    f16::from_f64(noise.signed())
}

const NEAREST: Rounding = Rounding::NearestEven;

fn bits<T: Element>(x: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    x.iter()
        .for_each(|x| x.le_bytes(|b| bytes.extend_from_slice(b)));
    bytes
}

/// Weights that 8 bits hold: the kernels that read them plainly give the same bytes, with random
/// words as well.
#[test]
fn eight_bit_layers_give_the_bytes_of_decoded_weights() {
    let mut noise = Noise::new(4);
    for format in [
        Format::Fp4,
        Format::Int4,
        Format::Int2,
        Format::Ternary,
        Format::Binary,
    ] {
        let shape = dense::Shape {
            batch: 6,
            inputs: 75,
            outputs: 9,
        };
        let packed = Packed::new(&mut noise, format, 9, 75, |noise| noise.below(3) as i8);
        let (w, unit, drop) = integers::<i8>(&packed, 75);
        let weight: Vec<i8> = w.iter().map(|&w| i8::try_from(w).unwrap()).collect();
        assert_eq!((packed.weights().unit::<i8>(75), drop), (Ok(unit), 0));
        let (x, bias, dy) = (
            elements::<i8>(&mut noise, 6 * 75),
            elements::<i16>(&mut noise, 9),
            elements::<i8>(&mut noise, 54),
        );
        let rounding = Rounding::Stochastic(Words::new(3, 1, 2));
        let epilogue = Epilogue {
            activation: Activation::Identity,
            exponent: 0,
            store: Store::Shift { shift: 7, rounding },
        };
        let bias = Bias {
            values: &bias,
            shift: 2,
        };
        for curve in Curve::ALL {
            let epilogue = Epilogue {
                exponent: -9,
                ..epilogue.with(curve.activation())
            };
            let weights = packed.weights();
            let (mut got, mut got_slope) = (vec![0i16; 54], vec![0i8; 54]);
            let (mut want, mut slope) = (got.clone(), got_slope.clone());
            let range = dense::forward(
                &Serial, shape, &x, &weight, bias, epilogue, &mut want, &mut slope,
            );
            let packed_range = packed::dense::forward(
                &Threads(3),
                shape,
                &x,
                weights,
                bias,
                epilogue,
                &mut got,
                &mut got_slope,
            );
            assert_eq!(
                (got, got_slope, packed_range),
                (want, slope, range),
                "{format:?} {curve:?}"
            );
        }
        let (mut got, mut want) = (vec![0i16; 54], vec![0i16; 54]);
        let range = dense::forward(
            &Serial,
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut want,
            &mut [],
        )
        .unwrap();
        let packed_range = packed::dense::forward(
            &Serial,
            shape,
            &x,
            packed.weights(),
            bias,
            epilogue,
            &mut got,
            &mut [],
        )
        .unwrap();
        assert_eq!((got, packed_range), (want, range), "{format:?}");
        let (mut got, mut want) = (vec![0i8; x.len()], vec![0i8; x.len()]);
        let range =
            dense::backward_input(&Serial, shape, &dy, &weight, epilogue.store, &mut want).unwrap();
        let packed_range = packed::dense::backward_input(
            &Serial,
            shape,
            &dy,
            packed.weights(),
            epilogue.store,
            &mut got,
        )
        .unwrap();
        assert_eq!((got, packed_range), (want, range), "{format:?}");
        // Offset binary: the same integers with the highest bit flipped.
        let flipped: Vec<u8> = x.iter().map(|&x| x as u8 ^ 0x80).collect();
        let (mut signed, mut unsigned) = (vec![0i8; 54], vec![0u8; 54]);
        packed::dense::forward(
            &Serial,
            shape,
            &x,
            packed.weights(),
            bias,
            epilogue,
            &mut signed,
            &mut [],
        )
        .unwrap();
        packed::dense::forward(
            &Serial,
            shape,
            &flipped,
            packed.weights(),
            Bias {
                values: bias.values,
                shift: 2,
            },
            Epilogue {
                store: epilogue.store,
                ..Epilogue::EXACT
            },
            &mut unsigned,
            &mut [],
        )
        .unwrap();
        let unsigned: Vec<i8> = unsigned.iter().map(|&y| (y ^ 0x80) as i8).collect();
        assert_eq!(signed, unsigned, "{format:?}");
    }
}

/// The input gradient is the derivative of the forward pass: linear, so that differences are exact but
/// for rounding.
#[test]
fn input_gradients_are_derivatives() {
    use selvedge_tests::tolerance::LINEAR_DIFFERENCE;
    let mut noise = Noise::new(8);
    for format in Format::ALL {
        let mut shape = random_shape::<2>(&mut noise);
        shape.batch = 2;
        // Weights up to 1, as the tolerance supposes.
        let scale = f16::from_f64(1.0 / f64::from(format.largest()));
        let packed = Packed::new(
            &mut noise,
            format,
            shape.filters,
            filter_len(&shape),
            |_| scale,
        );
        let [x_len, y_len] = lens(&shape);
        let (x, dy) = (noise.vector(x_len, 1.0), noise.vector(y_len, 1.0));
        let bias = vec![0.0; shape.filters];
        let loss = |x: &[f64]| -> f64 {
            let bias = Bias {
                values: &bias,
                shift: 0,
            };
            let mut y = vec![0.0; y_len];
            packed::conv::forward(
                &Serial,
                shape,
                x,
                packed.weights(),
                bias,
                Epilogue::EXACT,
                &mut y,
                &mut [],
            )
            .unwrap();
            y.iter().zip(&dy).map(|(y, d)| y * d).sum()
        };
        let mut dx = vec![0.0; x_len];
        packed::conv::backward_input(&Serial, shape, &dy, packed.weights(), Store::EXACT, &mut dx)
            .unwrap();
        for i in 0..x_len.min(60) {
            let mut at = x.clone();
            at[i] = x[i] + 1e-4;
            let above = loss(&at);
            at[i] = x[i] - 1e-4;
            let difference = (above - loss(&at)) / 2e-4;
            let tolerance = LINEAR_DIFFERENCE * (y_len as f64).max(1.0);
            assert!(
                (difference - dx[i]).abs() < tolerance,
                "{format:?} {shape:?} {i}: {difference} {}",
                dx[i]
            );
        }
    }
}
