//! Parameters: their initialisation against exact integers, float updates against the formulas, and
//! the rounding of half-precision weights. (Integer updates: the recorded runs in `golden.rs`.)

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::element::Output;
use selvedge_kernels::init::{Gain, uniform};
use selvedge_kernels::optim::{Decay, Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, dense, f16};
use selvedge_tests::tolerance;
use std::cmp::Ordering;

/// The initialisation of `docs/numerics.md` §3 in 128 bits.
struct Exact {
    exponent: i32,
    bound: u128,
}

impl Exact {
    fn new(bits: u32, residual: u32, variance: u128, fan_in: u128) -> Self {
        let largest = (1u128 << bits) - 1;
        let mut below = 0;
        while variance << (2 * (below + 1)) <= fan_in * largest * largest {
            below += 1;
        }
        let square = (variance << (2 * (residual + below))) / fan_in;
        let (mut low, mut high) = (0u128, 1 << 63); // low² <= square < high²
        while high - low > 1 {
            let middle = (low + high) / 2;
            *(if middle * middle <= square {
                &mut low
            } else {
                &mut high
            }) = middle;
        }
        Self {
            exponent: -(below as i32),
            bound: low.min(largest << residual),
        }
    }

    fn master(&self, u: u32) -> i64 {
        let values = 2 * self.bound + 1;
        let above = if self.bound <= 32_767 {
            (u128::from(u >> 16) * values) >> 16
        } else {
            (u128::from(u) * values) >> 32
        };
        above as i64 - self.bound as i64
    }
}

fn initialisation_is_exact<T: Element>(bits: u32, residual_bits: u32, largest_fan_in: usize) {
    let name = T::DTYPE.name();
    let fans = [
        1,
        2,
        3,
        5,
        6,
        7,
        24,
        784,
        1 << 14,
        (1 << 15) + 1,
        1 << 16,
        100_003,
        1 << 17,
        1 << 20,
    ];
    for fan_in in fans.into_iter().filter(|&n| n <= largest_fan_in) {
        for (gain, variance) in [(Gain::He, 6), (Gain::LeCun, 3)] {
            let words = Words::new(51, 16, 0);
            let n = 300;
            let mut values = vec![T::ZERO; n];
            let mut low = vec![0i8; if residual_bits == 0 { 0 } else { n }];
            let exponent = uniform(&mut values, &mut low, words, gain, fan_in).unwrap();
            let want = Exact::new(bits, residual_bits, variance, fan_in as u128);
            let place = format!("{name}, {gain:?}, fan-in {fan_in}");
            if T::DTYPE.is_integer() {
                assert_eq!(i32::from(exponent), want.exponent, "{place}");
            } else {
                assert_eq!(exponent, 0, "{place}");
            }
            for (i, &value) in values.iter().enumerate() {
                let master = want.master(words.word(i as u32));
                if T::DTYPE.is_integer() {
                    let low = low.get(i).map_or(0, |&low| i64::from(low));
                    let got = ((value.to_f64() as i64) << residual_bits) + low;
                    assert_eq!(got, master, "{place}, element {i}");
                } else {
                    // Exact in f64, then rounded once.
                    let exact = master as f64 * f64::from(want.exponent).exp2();
                    assert_eq!(value, T::from_f64(exact), "{place}, element {i}");
                }
            }
        }
    }
}

#[test]
fn initialisation_is_exact_in_every_type() {
    initialisation_is_exact::<i8>(7, 8, 1 << 16);
    initialisation_is_exact::<i8>(7, 0, 1 << 16);
    initialisation_is_exact::<u8>(7, 8, 1 << 16);
    initialisation_is_exact::<i16>(15, 0, 1 << 20);
    initialisation_is_exact::<u16>(15, 0, 1 << 20);
    initialisation_is_exact::<i32>(24, 0, 1 << 20);
    initialisation_is_exact::<u32>(24, 0, 1 << 20);
    initialisation_is_exact::<i64>(53, 0, 1 << 20);
    initialisation_is_exact::<u64>(53, 0, 1 << 20);
    initialisation_is_exact::<f16>(24, 0, 1 << 20);
    initialisation_is_exact::<bf16>(24, 0, 1 << 20);
    initialisation_is_exact::<f32>(24, 0, 1 << 20);
    initialisation_is_exact::<f64>(53, 0, 1 << 20);
}

#[test]
fn f32_and_f64_start_alike() {
    let (mut a, mut b) = ([0f32; 500], [0f64; 500]);
    let words = Words::new(52, 16, 0);
    uniform(&mut a, &mut [], words, Gain::He, 784).unwrap();
    uniform(&mut b, &mut [], words, Gain::He, 784).unwrap();
    for (&a, &b) in a.iter().zip(&b) {
        assert!(
            (f64::from(a) - b).abs() <= tolerance::INITIAL_WEIGHT,
            "{a} {b}"
        );
    }
}

/// Applies `gradient` to `values` once: the gradient of a bias in a batch of `errors.len()` rows.
fn descend<T: Element<Bias = T>>(
    values: &mut [T],
    velocity: &mut [T::Velocity],
    sgd: &Sgd,
    role: Role,
    errors: &[T],
    words: Words,
) {
    let outputs = values.len();
    let parameter = Parameter {
        value: values,
        residual: &mut [],
        velocity,
        exponent: &mut 0,
        role,
    };
    let mut gradient = Gradient::Apply(parameter.update(sgd, 0, words).unwrap());
    dense::backward_bias::<T>(outputs, errors, &mut gradient).unwrap();
    gradient.finish();
}

#[test]
fn float_updates_follow_the_formulas() {
    struct Case {
        name: &'static str,
        momentum: u8,
        nesterov: bool,
        decay: Option<Decay>,
    }
    let decay = Some(Decay {
        mantissa: 5,
        shift: 10,
    });
    let cases = [
        Case {
            name: "plain",
            momentum: 0,
            nesterov: false,
            decay: None,
        },
        Case {
            name: "decay",
            momentum: 0,
            nesterov: false,
            decay,
        },
        Case {
            name: "momentum",
            momentum: 230,
            nesterov: false,
            decay: None,
        },
        Case {
            name: "nesterov",
            momentum: 230,
            nesterov: true,
            decay: None,
        },
        Case {
            name: "all",
            momentum: 200,
            nesterov: true,
            decay,
        },
    ];
    let rate = Rate {
        mantissa: 192,
        exponent: -11,
    };
    let errors = [[0.5, -1.25, 3.0], [-0.75, 0.125, 1.0]];
    for Case {
        name,
        momentum,
        nesterov,
        decay,
    } in cases
    {
        let sgd = Sgd {
            rate,
            momentum,
            nesterov,
            decay,
        };
        for role in [Role::Weight, Role::Bias] {
            let mut want = [[1.0f64, -2.0, 0.25], [0.0; 3]];
            let (mut x64, mut v64) = (want[0], [0f64; 3]);
            let (mut x32, mut v32) = (want[0].map(|x| x as f32), [0f32; 3]);
            for step in 0..3 {
                for i in 0..3 {
                    let g = (errors[0][i] + errors[1][i]) * 192.0 / 2048.0;
                    let [x, v] = [want[0][i], want[1][i]];
                    let shrunk = match (decay, role) {
                        (Some(_), Role::Weight) => x * (1.0 - 5.0 / 1024.0),
                        _ => x,
                    };
                    let beta = f64::from(momentum) / 256.0;
                    let v = beta * v - g;
                    want[0][i] = shrunk + if nesterov { beta * v - g } else { v };
                    want[1][i] = if momentum == 0 { 0.0 } else { v };
                }
                let words = Words::new(1, 1, step);
                descend(&mut x64, &mut v64, &sgd, role, errors.as_flattened(), words);
                let narrow: Vec<f32> = errors.as_flattened().iter().map(|&e| e as f32).collect();
                descend(&mut x32, &mut v32, &sgd, role, &narrow, words);
                for i in 0..3 {
                    let place = format!("{name}, {role:?}, step {step}, element {i}");
                    let error = (x64[i] - want[0][i]).abs();
                    assert!(
                        error <= tolerance::update(f64::EPSILON),
                        "{place}: f64, {error}"
                    );
                    let error = (f64::from(x32[i]) - want[0][i]).abs();
                    assert!(
                        error <= tolerance::update(f32::EPSILON.into()),
                        "{place}: f32, {error}"
                    );
                }
            }
        }
    }
}

/// The two neighbours of `x` in a half-precision type, by trying all numbers of the type.
fn neighbours<T: Element>(all: &[T], x: f64) -> (f64, f64) {
    let values = || all.iter().map(|v| v.to_f64()).filter(|v| v.is_finite());
    let below = values()
        .filter(|&v| v <= x)
        .fold(f64::NEG_INFINITY, f64::max);
    let above = values().filter(|&v| v >= x).fold(f64::INFINITY, f64::min);
    (below, above)
}

/// Rounds `x = -Σ errors` (rate 1) to many words: only its neighbours appear, the mean is `x`, and
/// each word rounds up by the fraction that it stands for.
fn rounding_is_stochastic<T: Element<Bias = T>>(all: &[T], errors: &[f64]) {
    let name = T::DTYPE.name();
    let x = -errors.iter().sum::<f64>();
    assert_eq!(
        x,
        f64::from(x as f32),
        "{name}: the test wants a sum that is exact in f32"
    );
    let (below, above) = neighbours(all, x);
    let n = 1 << 14;
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: 0,
    });
    let words = Words::new(53, 7, 9);
    let mut values = vec![T::ZERO; n];
    let rows: Vec<T> = errors
        .iter()
        .flat_map(|&e| {
            let stored = T::from_f64(e);
            assert_eq!(stored.to_f64(), e, "{name}: the test wants exact errors");
            std::iter::repeat_n(stored, n)
        })
        .collect();
    descend(&mut values, &mut [], &sgd, Role::Weight, &rows, words);
    let mut up = 0;
    for value in &values {
        let value = value.to_f64();
        assert!(
            value == below || value == above,
            "{name}: {x} became {value}"
        );
        up += u32::from(value == above && above != below);
    }
    if above == below {
        return;
    }
    let fraction = (x - below) / (above - below);
    let share = f64::from(up) / n as f64;
    // Standard deviation of the share: at most 1 / (2 sqrt n).
    let error = (share - fraction).abs();
    assert!(
        error <= tolerance::ROUNDING_SHARE_DEVIATIONS * 0.5 / (n as f64).sqrt(),
        "{name}: {x} was rounded up {share} of the time, expected {fraction}"
    );
}

fn every_f16() -> Vec<f16> {
    (0..=u16::MAX).map(f16::from_bits).collect()
}

fn every_bf16() -> Vec<bf16> {
    (0..=u16::MAX).map(bf16::from_bits).collect()
}

#[test]
fn f16_weights_are_rounded_stochastically() {
    let all = every_f16();
    let tiny = 2f64.powi(-24);
    for errors in [
        vec![1.0, 2f64.powi(-12)],          // a quarter of a unit
        vec![-1.0, -3.0 * 2f64.powi(-13)],  // three eighths, x > 0
        vec![-2.0, 2f64.powi(-13)],         // just below a power of two
        vec![-1024.0 * tiny, 512.0 * tiny], // subnormal, exact
        vec![-65_472.0, -24.0],             // between the two largest numbers
        vec![0.0],
        vec![5.0],
    ] {
        rounding_is_stochastic::<f16>(&all, &errors);
    }
}

#[test]
fn f16_subnormals_are_rounded_stochastically() {
    // Errors of f16 are multiples of 2^-24, so a rate of 2^-4 makes fractions of a unit.
    let n = 1 << 14;
    let unit = 2f64.powi(-24);
    for (error, below, fraction) in [
        (37.0, 2.0, 5.0 / 16.0),
        (-37.0, -3.0, 11.0 / 16.0),
        (3.0, 0.0, 3.0 / 16.0),
        (16_376.0, 1023.0, 8.0 / 16.0),
    ] {
        let sgd = Sgd::new(Rate {
            mantissa: 1,
            exponent: -4,
        });
        let mut values = vec![f16::ZERO; n];
        let stored = f16::from_f64(-error * unit);
        let exact = stored.to_f64() / unit;
        let rows = vec![stored; n];
        descend(
            &mut values,
            &mut [],
            &sgd,
            Role::Weight,
            &rows,
            Words::new(54, 3, 1),
        );
        assert_eq!(exact, -error, "the test wants exact errors");
        let at = |units: f64| values.iter().filter(|v| v.to_f64() / unit == units).count();
        let (up, down) = (at(below + 1.0), at(below));
        assert_eq!(up + down, n, "{error}/16 units: not a neighbour");
        let difference = (up as f64 / n as f64 - fraction).abs();
        let limit = tolerance::ROUNDING_SHARE_DEVIATIONS * 0.5 / (n as f64).sqrt();
        assert!(
            difference <= limit,
            "{error}/16 units: rounded up {up} of {n}"
        );
    }
}

#[test]
fn bf16_weights_are_rounded_stochastically() {
    let all = every_bf16();
    for errors in [
        vec![1.0, 2f64.powi(-9)],
        vec![-1.0, -3.0 * 2f64.powi(-10)],
        vec![-2.0, 2f64.powi(-10)],
        vec![-1e30f32 as f64]
            .into_iter()
            .map(|x| bf16::from_f64(x).to_f64())
            .collect(),
        vec![2f64.powi(-126), 2f64.powi(-128)],
        vec![2f64.powi(-133) * 3.0],
        vec![0.0],
    ] {
        rounding_is_stochastic::<bf16>(&all, &errors);
    }
}

#[test]
fn half_precision_weights_saturate_and_keep_nan() {
    fn one<T: Element<Bias = T>>(start: T, errors: &[T]) -> f64 {
        let sgd = Sgd::new(Rate {
            mantissa: 1,
            exponent: 0,
        });
        let mut value = [start];
        descend(
            &mut value,
            &mut [],
            &sgd,
            Role::Weight,
            errors,
            Words::new(55, 1, 1),
        );
        value[0].to_f64()
    }
    assert_eq!(one(f16::MAX, &[f16::MIN]), 65_504.0);
    assert_eq!(one(f16::MIN, &[f16::MAX]), -65_504.0);
    assert_eq!(one(f16::ONE, &[f16::NEG_INFINITY]), 65_504.0);
    assert_eq!(one(f16::ONE, &[f16::INFINITY]), -65_504.0);
    assert!(one(f16::ONE, &[f16::NAN]).is_nan());
    let largest = bf16::MAX.to_f64();
    assert_eq!(one(bf16::MAX, &[bf16::MIN]), largest);
    assert_eq!(one(bf16::MIN, &[bf16::MAX]), -largest);
    assert_eq!(one(bf16::ONE, &[bf16::NEG_INFINITY]), largest);
    assert!(one(bf16::ONE, &[bf16::NAN]).is_nan());
}

/// A 16-bit float by its definition: a sign, an exponent with its bias, and places after the point.
struct Format {
    places: i32,
    bias: i32,
}

impl Format {
    /// What the bits of a magnitude stand for; those of infinity, the number that would come next.
    fn value(&self, bits: u16) -> f64 {
        let exponent = i32::from(bits) >> self.places;
        let fraction = f64::from(bits & ((1 << self.places) - 1));
        let one = 2f64.powi(self.places);
        if exponent == 0 {
            fraction / one * 2f64.powi(1 - self.bias)
        } else {
            (one + fraction) / one * 2f64.powi(exponent - self.bias)
        }
    }

    fn infinity(&self) -> u16 {
        0x7FFF >> self.places << self.places
    }
}

/// Every number, what lies between it and the next, and the `f32` on both sides of that, of both signs.
fn stores_to_nearest_even<T: Element<Acc = f32>>(format: &Format, bits_of: fn(T) -> u16) {
    let name = T::DTYPE;
    let store = |x: f32| bits_of(<T as Output<T>>::store(x));
    let check = |x: f32, want: u16| {
        assert_eq!(store(x), want, "{name} of {x:e}");
        assert_eq!(store(-x), want | 0x8000, "{name} of -{x:e}");
    };
    let infinity = format.infinity();
    for bits in 0..infinity {
        let (here, next) = (format.value(bits), format.value(bits + 1));
        let middle = (here + next) / 2.0;
        let halfway = middle as f32;
        assert_eq!(f64::from(halfway), middle, "{name}: exact in f32");
        check(here as f32, bits);
        check(halfway.next_down(), bits);
        check(halfway, bits + (bits & 1));
        check(halfway.next_up(), bits + 1);
    }
    check(f32::MAX, infinity);
    check(f32::INFINITY, infinity);
    for x in [f32::NAN, -f32::NAN, f32::from_bits(0x7F80_0001)] {
        assert!(store(x) & 0x7FFF > infinity, "{name}: NaN stays");
    }
}

#[test]
fn half_precision_stores_to_nearest_even() {
    let f16_format = Format {
        places: 10,
        bias: 15,
    };
    let bf16_format = Format {
        places: 7,
        bias: 127,
    };
    stores_to_nearest_even::<f16>(&f16_format, f16::to_bits);
    stores_to_nearest_even::<bf16>(&bf16_format, bf16::to_bits);
    for bits in 0..=u16::MAX {
        let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
        let read = [
            (&f16_format, f16::from_bits(bits).to_acc()),
            (&bf16_format, bf16::from_bits(bits).to_acc()),
        ];
        for (format, got) in read {
            let magnitude = bits & 0x7FFF;
            let got = f64::from(got);
            match magnitude.cmp(&format.infinity()) {
                Ordering::Less => assert_eq!(got, sign * format.value(magnitude), "{bits:#x}"),
                Ordering::Equal => assert_eq!(got, sign * f64::INFINITY),
                Ordering::Greater => assert!(got.is_nan(), "{bits:#x}"),
            }
        }
    }
}

/// Integer updates have the expectation of the exact ones: over many elements with different words.
#[test]
fn integer_updates_have_the_right_expectation() {
    let n = 1 << 14;
    let (mut values, mut low) = (vec![0i8; n], vec![0i8; n]);
    let mut exponent = -7;
    let sgd = Sgd::new(Rate {
        mantissa: 3,
        exponent: -9,
    });
    let parameter = Parameter {
        value: &mut values,
        residual: &mut low,
        velocity: &mut [],
        exponent: &mut exponent,
        role: Role::Weight,
    };
    // master at 2^-15; gradient -5 · 2^-13 · 3 · 2^-9 = -15 · 2^-22: 15/128 of a unit up.
    let mut gradient = Gradient::Apply(parameter.update(&sgd, -13, Words::new(56, 1, 1)).unwrap());
    let shape = dense::Shape {
        batch: 1,
        inputs: 1,
        outputs: n,
    };
    dense::backward_weight(shape, &[-1i8], &vec![5i8; n], &mut gradient).unwrap();
    gradient.finish();
    let total: i32 = values
        .iter()
        .zip(&low)
        .map(|(&q, &low)| i32::from(q) * 256 + i32::from(low))
        .sum();
    let share = f64::from(total) / n as f64;
    let limit = tolerance::ROUNDING_SHARE_DEVIATIONS * 0.5 / (n as f64).sqrt();
    assert!((share - 15.0 / 128.0).abs() <= limit, "{share}");
    assert_eq!(exponent, -7);
}
