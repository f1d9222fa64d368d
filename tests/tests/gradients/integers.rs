//! Gradients of integers against those of a float network with the same (rounded) weights.

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::cross_entropy;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, conv, pool};
use selvedge_tests::compare::{self, cosine, inner};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// Exact conversion of accumulators, to compare gradients of different types.
trait ToFloat: Copy + Default {
    fn to_float(self) -> f64;
}

impl ToFloat for i32 {
    fn to_float(self) -> f64 {
        self.into()
    }
}

impl ToFloat for i64 {
    fn to_float(self) -> f64 {
        self as f64 // beyond 53 bits rounded, which a cosine does not see
    }
}

impl ToFloat for f64 {
    fn to_float(self) -> f64 {
        self
    }
}

/// A convolution with ReLU, an overlapping pooling and a dense head, given by real numbers.
struct Probe {
    conv: conv::Shape,
    pool: pool::Shape,
    head: dense::Shape,
    x: Vec<f64>,
    filters: Vec<f64>,
    weight: Vec<f64>,
    labels: Vec<u16>,
}

impl Probe {
    fn new(seed: u32, padding: [[usize; 2]; 2], groups: usize) -> Self {
        let mut noise = Noise::new(seed);
        let batch = 32;
        let window = Window {
            kernel: [3, 3],
            stride: [1, 1],
            padding,
            dilation: [1, 1],
        };
        let conv = conv::Shape {
            batch,
            input: [8, 7],
            channels: 2,
            filters: 6,
            groups,
            window,
        };
        let [height, width] = conv.outputs().unwrap();
        let pool = pool::Shape {
            batch,
            input: [height, width],
            channels: 6,
            window: Window::uniform(3, 2, 1),
        };
        let [rows, columns] = pool.outputs().unwrap();
        let head = dense::Shape {
            batch,
            inputs: rows * columns * 6,
            outputs: 5,
        };
        Self {
            x: noise.vector(batch * 8 * 7 * 2, 1.0),
            filters: noise.vector(6 * 9 * 2 / groups, (6.0 / 18.0 * groups as f64).sqrt()),
            weight: noise.vector(head.inputs * 5, (6.0 / head.inputs as f64).sqrt()),
            labels: (0..batch).map(|_| noise.below(5) as u16).collect(),
            conv,
            pool,
            head,
        }
    }

    /// The gradients of filters, weights and input, computed in `T`, where all numbers are rounded
    /// to `bits` magnitude bits first; and the outputs of the convolution, or those that are given instead: they
    /// decide what ReLU and the maxima let through.
    fn gradients<T: Element>(&self, bits: u32, given: Option<&[f64]>) -> ([Vec<f64>; 3], Vec<f64>)
    where
        T::Acc: ToFloat,
    {
        // The exponent at which the largest number fits, and the numbers at it.
        let rounded = |values: &[f64]| -> (Vec<T>, i32) {
            let largest = values.iter().fold(0f64, |a, b| a.max(b.abs()));
            let exponent = largest.log2().floor() as i32 + 1 - bits as i32;
            let scale = f64::from(exponent).exp2();
            let limit = f64::from(bits).exp2() - 1.0;
            let q = values
                .iter()
                .map(|v| (v / scale).round().clamp(-limit, limit));
            if T::DTYPE.is_integer() {
                (q.map(T::from_f64).collect(), exponent)
            } else {
                (q.map(|q| T::from_f64(q * scale)).collect(), 0)
            }
        };
        let (x, x_exponent) = rounded(&self.x);
        let (filters, filters_exponent) = rounded(&self.filters);
        let (weight, weight_exponent) = rounded(&self.weight);
        let requantize = |acc_exponent, bits, rounding, run: &mut dyn FnMut(Store) -> u32| {
            let mut unset = T::Scale::UNSET;
            unset
                .requantize(acc_exponent, bits, Mode::Infer, rounding, |store| {
                    Ok(run(store))
                })
                .unwrap()
        };
        let (nearest, bits) = (Rounding::NearestEven, T::MAGNITUDE_BITS);
        let stochastic = |stream| Rounding::Stochastic(Words::new(1, stream, 0));
        let plain = |store| Epilogue {
            activation: Activation::Identity,
            exponent: 0,
            store,
        };

        let zeros = vec![<T::Bias as Element>::ZERO; 6];
        let mut y = vec![T::ZERO; self.pool.batch * self.pool.input[0] * self.pool.input[1] * 6];
        let y_exponent = requantize(x_exponent + filters_exponent, bits, nearest, &mut |store| {
            let epilogue = Epilogue {
                activation: Activation::Relu,
                exponent: 0,
                store,
            };
            let bias = Bias {
                values: &zeros,
                shift: 0,
            };
            conv::forward(
                &Serial,
                self.conv,
                &x,
                &filters,
                bias,
                epilogue,
                &mut y,
                &mut [],
            )
            .unwrap()
        });
        if let Some(given) = given {
            y = compare::elements(given, y_exponent);
        }
        let mut pooled = vec![T::ZERO; self.head.batch * self.head.inputs];
        pool::max_forward(&Serial, self.pool, &y, &mut pooled).unwrap();
        let mut logits = vec![<T::Head as Element>::ZERO; self.head.batch * 5];
        let head_bits = <T::Head as Element>::MAGNITUDE_BITS;
        let logits_exponent = requantize(
            y_exponent + weight_exponent,
            head_bits,
            nearest,
            &mut |store| {
                let bias = Bias {
                    values: &zeros[..5],
                    shift: 0,
                };
                dense::forward(
                    &Serial,
                    self.head,
                    &pooled,
                    &weight,
                    bias,
                    plain(store),
                    &mut logits,
                    &mut [],
                )
                .unwrap()
            },
        );
        let mut dz = vec![T::ZERO; logits.len()];
        let dz_exponent = requantize(T::LOSS_EXPONENT, bits, stochastic(1), &mut |store| {
            cross_entropy::<T>(5, &logits, logits_exponent, &self.labels, store, &mut dz)
                .unwrap()
                .range
        });
        let mut dw = vec![T::Acc::default(); weight.len()];
        dense::backward_weight(self.head, &pooled, &dz, &mut Gradient::Store(&mut dw)).unwrap();
        let mut d_pooled = vec![T::ZERO; pooled.len()];
        let d_pooled_exponent = requantize(
            dz_exponent + weight_exponent,
            bits,
            stochastic(2),
            &mut |store| {
                dense::backward_input(&Serial, self.head, &dz, &weight, store, &mut d_pooled)
                    .unwrap()
            },
        );
        let mut dy = vec![T::ZERO; y.len()];
        let dy_exponent = requantize(d_pooled_exponent, bits, stochastic(3), &mut |store| {
            pool::max_backward(&Serial, self.pool, &y, &pooled, &d_pooled, store, &mut dy).unwrap()
        });
        activation::relu_backward(&y, &mut dy).unwrap();
        let mut df = vec![T::Acc::default(); filters.len()];
        conv::backward_weight(self.conv, &x, &dy, &mut Gradient::Store(&mut df)).unwrap();
        let mut dx = vec![T::ZERO; x.len()];
        let dx_exponent = requantize(
            dy_exponent + filters_exponent,
            bits,
            stochastic(4),
            &mut |store| {
                conv::backward_input(&Serial, self.conv, &dy, &filters, store, &mut dx).unwrap()
            },
        );
        let reals = |sums: &[T::Acc], exponent: i32| {
            sums.iter()
                .map(|&sum| sum.to_float() * f64::from(exponent).exp2())
                .collect()
        };
        let gradients = [
            reals(&df, dy_exponent + x_exponent),
            reals(&dw, dz_exponent + y_exponent),
            compare::values(&dx, dx_exponent),
        ];
        (gradients, compare::values(&y, y_exponent))
    }
}

/// Compares integer gradients with those of floats: all parameters together, and tensor by tensor; and where floats
/// take the outputs of the integers' convolution for their own.
fn cosines_are_at_least<T: Element>((all, worst): (f64, f64), of_one: f64)
where
    T::Acc: ToFloat,
{
    let hold = |place: &str, want: &[Vec<f64>], got: &[Vec<f64>], worst: f64| {
        for ((name, want), got) in ["filters", "weight", "input"].iter().zip(want).zip(got) {
            let cosine = cosine(want, got);
            assert!(cosine >= worst, "{place}, {name}: {cosine}");
            // Not only the direction: a vector as far away as that angle allows differs in
            // length by no more than sqrt(2 - 2 cos).
            let length = (inner(got, got) / inner(want, want)).sqrt();
            let limit = (2.0 - 2.0 * worst).sqrt();
            assert!(
                (length - 1.0).abs() <= limit,
                "{place}, {name}: length {length}"
            );
        }
    };
    for seed in 0..4 {
        for (padding, groups) in [([[1, 1], [1, 1]], 1), ([[0, 1], [2, 0]], 2)] {
            let place = format!("{}, seed {seed}, {groups} groups", T::DTYPE);
            let probe = Probe::new(100 + seed, padding, groups);
            let (got, y) = probe.gradients::<T>(T::MAGNITUDE_BITS, None);
            let (want, _) = probe.gradients::<f64>(T::MAGNITUDE_BITS, None);
            let together = cosine(&want[..2].concat(), &got[..2].concat());
            assert!(together >= all, "{place}, all parameters: {together}");
            hold(&place, &want, &got, worst);
            let (want, _) = probe.gradients::<f64>(T::MAGNITUDE_BITS, Some(&y));
            hold(&format!("{place}, same choices"), &want, &got, of_one);
        }
    }
}

#[test]
fn integer_gradients_point_where_float_ones_do() {
    use tolerance::{COSINE_8_BITS, COSINE_16_BITS, COSINE_32_BITS};
    cosines_are_at_least::<i8>(COSINE_8_BITS, COSINE_8_BITS.0);
    cosines_are_at_least::<u8>(COSINE_8_BITS, COSINE_8_BITS.0);
    cosines_are_at_least::<i16>(COSINE_16_BITS, COSINE_16_BITS.0);
    cosines_are_at_least::<u16>(COSINE_16_BITS, COSINE_16_BITS.0);
    cosines_are_at_least::<i32>(COSINE_32_BITS, COSINE_32_BITS.0);
}
