//! Activations in integers: tables against their functions, kernels against an exact model of
//! `docs/numerics.md` §5 and §7, and gradients against f64. Floats: `activation_floats.rs`; in layers:
//! `activation_layers.rs`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Arg, Element, Error, lut};
use selvedge_tests::curve::{self, Curve};
use selvedge_tests::golden;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;
use serde_json::Value;

/// Calls `$check::<T>()` for every integer type.
macro_rules! for_each_integer {
    ($check:ident) => {
        $check::<i8>();
        $check::<u8>();
        $check::<i16>();
        $check::<u16>();
        $check::<i32>();
        $check::<u32>();
        $check::<i64>();
        $check::<u64>();
    };
}

fn nearest(shift: i32) -> Store {
    let rounding = Rounding::NearestEven;
    Store::Shift { shift, rounding }
}

fn exact<T: Element>(x: T) -> i128 {
    x.to_f64() as i128 // at most 53 bits
}

fn exacts<T: Element>(x: &[T]) -> Vec<i128> {
    x.iter().map(|&x| exact(x)).collect()
}

fn of<T: Element>(q: i128) -> T {
    T::from_f64(q as f64)
}

fn bit_len(q: i128) -> u32 {
    128 - q.unsigned_abs().leading_zeros()
}

/// All numbers of 8 bits; of wider types the edges of every power of two, and some at random.
fn elements<T: Element>(seed: u32) -> Vec<T> {
    if T::MAGNITUDE_BITS == 7 {
        return (-127..=127).map(of).collect();
    }
    let mut numbers = vec![0];
    for k in 0..=T::MAGNITUDE_BITS {
        numbers.extend([(1i128 << k) - 1, 1 << k, (1 << k) + 1, 3 << k >> 1]);
    }
    let mut noise = Noise::new(seed);
    let largest = (T::MAGNITUDE_BITS as f64).exp2();
    numbers.extend((0..60).map(|_| (noise.signed() * largest) as i128));
    numbers.iter().flat_map(|&q| [of(q), of(-q)]).collect()
}

/// The tables as they were recorded, not as the kernels have them.
struct Tables {
    sigmoid: Vec<i128>,
    softplus: Vec<i128>,
    normal: Vec<i128>,
    density: Vec<i128>,
}

impl Tables {
    fn recorded() -> Self {
        let all = golden::read("primitives.json");
        let table = |name: &str| {
            let numbers = all["tables"][name].as_array().unwrap();
            numbers.iter().map(|n| n.as_i64().unwrap().into()).collect()
        };
        Self {
            sigmoid: table("sigmoid_q15"),
            softplus: table("softplus_q15"),
            normal: table("phi_q15"),
            density: table("pdf_q15"),
        }
    }

    fn sigmoid(&self, z: i128) -> i128 {
        let y = interpolate(&self.sigmoid, z.abs().min(32_767), 7);
        if z < 0 { 32_768 - y } else { y }
    }

    fn normal(&self, z: i128) -> i128 {
        let y = interpolate(&self.normal, z.abs().min(16_383), 6);
        if z < 0 { 32_768 - y } else { y }
    }
}

fn interpolate(table: &[i128], a: i128, k: u32) -> i128 {
    let (i, r) = ((a >> k) as usize, a & ((1 << k) - 1));
    table[i] + (((table[i + 1] - table[i]) * r + (1 << (k - 1))) >> k)
}

fn sat(x: i128, bits: u32) -> i128 {
    x.clamp(1 - (1 << bits), (1 << bits) - 1)
}

/// The rules of `docs/numerics.md` for one type, in 128 bits.
struct Model {
    tables: Tables,
    /// Magnitude bits.
    m: u32,
    /// Places that a shift has: 62, and 126 where accumulators have 128 bits.
    places: u32,
}

impl Model {
    fn of<T: Element>() -> Self {
        Self {
            tables: Tables::recorded(),
            m: T::MAGNITUDE_BITS,
            places: if T::MAGNITUDE_BITS == 53 { 126 } else { 62 },
        }
    }

    fn shift_rne(&self, x: i128, s: i32) -> i128 {
        if s <= 0 {
            let k = s.unsigned_abs();
            if k >= self.places {
                return 0;
            }
            let limit = ((1 << self.places) - 1) >> k;
            return x.clamp(-limit, limit) << k;
        }
        if s > self.places as i32 {
            return 0;
        }
        let floor = x >> s;
        let (rest, half) = (x - (floor << s), 1 << (s - 1));
        floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
    }

    /// `x · parts / 256`, as scaled and leaky ReLU have it.
    fn scaled(&self, x: i128, parts: i128) -> i128 {
        self.shift_rne(sat(x, self.places - 8) * parts, 8)
    }

    /// What becomes of an accumulator at exponent `e`, and what is kept of it.
    fn forward(&self, curve: Curve, acc: i128, e: i32) -> (i128, Option<i128>) {
        let tables = &self.tables;
        let z = sat(self.shift_rne(acc, (-11i32).saturating_sub(e)), 15);
        let kept = |slope| Some(sat(self.shift_rne(slope, 16 - self.m as i32), self.m));
        let gated = |s: i128, ds: i128| (z * s, kept(s + self.shift_rne(z * ds, 11)));
        match curve {
            Curve::Identity => (acc, None),
            Curve::Relu | Curve::LiftedRelu => (acc.max(0), None),
            Curve::MaskedRelu => (acc.max(0), Some((acc > 0).into())),
            Curve::ScaledRelu => (self.scaled(acc.max(0), 282), None),
            Curve::LeakyRelu if acc < 0 => (self.scaled(acc, 26), Some(1)),
            Curve::LeakyRelu => (acc, Some(0)),
            Curve::Relu6 => {
                let six = match e {
                    ..-123 => i128::MAX,
                    -123..0 => 6 << -e,
                    0.. => self.shift_rne(6, e),
                };
                (acc.clamp(0, six), Some((0 < acc && acc < six).into()))
            }
            Curve::Sigmoid => (tables.sigmoid(z), None),
            Curve::Tanh => (
                2 * tables.sigmoid((2 * z).clamp(-32_767, 32_767)) - 32_768,
                None,
            ),
            Curve::Softplus => {
                let log = interpolate(&tables.softplus, z.abs().min(32_767), 7);
                ((z.max(0) << 4) + log, kept(tables.sigmoid(z)))
            }
            Curve::Gelu => {
                let density = interpolate(&tables.density, z.abs().min(16_383), 6);
                gated(tables.normal(z), density)
            }
            Curve::Silu => {
                let s = tables.sigmoid(z);
                gated(s, self.shift_rne(s * (32_768 - s), 15))
            }
            Curve::HardSwish => {
                let sixth = |x: i128| self.shift_rne(x * 43_691, 14);
                let s = sixth((z + 6144).clamp(0, 12_288));
                let slope = if z.abs() < 6144 { s + sixth(z) } else { s };
                (z * s, kept(slope))
            }
        }
    }

    /// What is stored of an activated accumulator.
    fn stored(&self, curve: Curve, value: i128, shift: i32) -> i128 {
        let q = sat(self.shift_rne(value, shift), self.m);
        match curve {
            Curve::LiftedRelu => q.max((value > 0).into()),
            _ => q,
        }
    }

    /// What becomes of an error.
    fn backward(&self, curve: Curve, d: i128, y: i128, kept: i128) -> i128 {
        let m = self.m as i32;
        let times = |slope: i128, s: i32| sat(self.shift_rne(d * slope, s), self.m);
        match curve {
            Curve::Identity => d,
            Curve::Relu | Curve::LiftedRelu => d * i128::from(y > 0),
            Curve::MaskedRelu | Curve::Relu6 => d * i128::from(kept != 0),
            Curve::ScaledRelu => sat(self.scaled(d, 282), self.m) * i128::from(y > 0),
            Curve::LeakyRelu if kept != 0 => self.scaled(d, 26),
            Curve::LeakyRelu => d,
            Curve::Sigmoid => times(self.shift_rne(y * ((1 << m) - y), m), m),
            Curve::Tanh => times((1 << m) - self.shift_rne(y * y, m), m),
            Curve::Softplus | Curve::Gelu | Curve::Silu | Curve::HardSwish => times(kept, m - 1),
        }
    }
}

/// The value of `z` in Q11 and its slope, in units of 2^-15, from the 64-bit type, which stores both
/// exactly.
fn at_q11(curve: Curve, z: &[i64]) -> (Vec<f64>, Vec<f64>) {
    let activation = curve.activation::<i64>();
    let (mut y, mut slope) = (vec![0i64; z.len()], vec![0i64; z.len()]);
    activation::forward(activation, -11, z, Store::EXACT, &mut y, &mut slope).unwrap();
    let unit = f64::from(activation.exponent(-11) + 15).exp2();
    let values = y.iter().map(|&y| y as f64 * unit).collect();
    (
        values,
        slope.iter().map(|&s| s as f64 / 37f64.exp2()).collect(),
    )
}

#[test]
fn tables_are_the_recorded_ones() {
    let tables = Tables::recorded();
    let wide = |table: &[u16]| table.iter().map(|&n| n.into()).collect::<Vec<i128>>();
    assert_eq!(wide(&lut::SIGMOID_Q15), tables.sigmoid);
    assert_eq!(wide(&lut::SOFTPLUS_Q15), tables.softplus);
    assert_eq!(wide(&lut::NORMAL_Q15), tables.normal);
    assert_eq!(wide(&lut::DENSITY_Q15), tables.density);
}

#[test]
fn curves_are_the_recorded_ones() {
    let all = golden::read("primitives.json");
    let numbers = |value: &Value| -> Vec<i64> { serde_json::from_value(value.clone()).unwrap() };
    for (key, function) in [
        ("sigmoid_q11_q15", lut::sigmoid as fn(i32) -> i32),
        ("tanh_q11_q15", lut::tanh),
    ] {
        let (z, want) = (numbers(&all[key][0]), numbers(&all[key][1]));
        let got: Vec<i64> = z.iter().map(|&z| function(z as i32).into()).collect();
        assert_eq!(got, want, "{key}");
    }
    for (name, curve) in [
        ("gelu", Curve::Gelu),
        ("silu", Curve::Silu),
        ("softplus", Curve::Softplus),
    ] {
        let want = &all["curves"][name];
        let z = numbers(&want["z_q11"]);
        let (mut y, mut slope) = (vec![0i64; z.len()], vec![0i64; z.len()]);
        let activation = curve.activation();
        activation::forward(activation, -11, &z, Store::EXACT, &mut y, &mut slope).unwrap();
        assert_eq!(y, numbers(&want["value"]), "{name}");
        assert_eq!(i64::from(activation.exponent(-11)), want["exp"], "{name}");
        let slope: Vec<i64> = slope.iter().map(|s| s >> 37).collect();
        assert_eq!(slope, numbers(&want["slope_q15"]), "{name}: slope");
    }
}

#[test]
fn curves_keep_their_bounds() {
    let z: Vec<i64> = (-32_767..=32_767).collect();
    let x: Vec<f64> = z.iter().map(|&z| z as f64 / 2048.0).collect();
    let units = |want: &dyn Fn(f64) -> f64, got: &[f64]| {
        let errors = x
            .iter()
            .zip(got)
            .map(|(&x, got)| (want(x) * 32_768.0 - got).abs());
        errors.fold(0f64, f64::max)
    };
    let assert_bound = |name: &str, largest: f64, bound: f64| {
        println!("{name}: largest error {largest} units");
        assert!(largest <= bound, "{name}: {largest}");
        assert!(
            largest > bound - 0.1,
            "{name}: the bound is too wide: {largest}"
        );
    };
    for curve in [
        Curve::Sigmoid,
        Curve::Tanh,
        Curve::Softplus,
        Curve::Gelu,
        Curve::Silu,
        Curve::HardSwish,
    ] {
        let (y, slope) = at_q11(curve, &z);
        let (value_bound, slope_bound) = tolerance::q11_units(curve);
        let place = format!("{curve:?}");
        assert_bound(&place, units(&|x| curve.value(x), &y), value_bound);
        if curve.activation::<i64>().keeps_slope() {
            let largest = units(&|x| curve.derivative(x), &slope);
            assert_bound(&format!("{place}, slope"), largest, slope_bound);
        }
    }
    let lut = |function: fn(i32) -> i32| -> Vec<f64> {
        z.iter().map(|&z| f64::from(function(z as i32))).collect()
    };
    let (distribution, density) = tolerance::NORMAL_UNITS;
    assert_bound(
        "normal",
        units(&curve::normal, &lut(lut::normal)),
        distribution,
    );
    assert_bound(
        "density",
        units(&curve::density, &lut(lut::density)),
        density,
    );
}

#[test]
fn curves_are_symmetric() {
    for z in 0..=32_767 {
        assert_eq!(lut::sigmoid(-z), 32_768 - lut::sigmoid(z), "{z}");
        assert_eq!(lut::normal(-z), 32_768 - lut::normal(z), "{z}");
        assert_eq!(lut::tanh(-z), -lut::tanh(z), "{z}");
        assert_eq!(lut::density(-z), lut::density(z), "{z}");
        assert_eq!(lut::softplus(z) - lut::softplus(-z), z << 4, "{z}");
    }
}

/// Whether a stored result is as near to the definition as documented, given the real argument.
fn assert_near<T: Element>(curve: Curve, x: f64, exponent: i32, stored: i128, to: i32, q: i128) {
    if x.abs() >= 32_767.0 / 2048.0 || exponent > 1 || q.abs() == (1 << T::MAGNITUDE_BITS) - 1 {
        return; // saturated arguments or results, and exponents that 6 is no multiple of
    }
    let unit = |e: i32| f64::from(e).exp2();
    let (units, _) = tolerance::q11_units(curve);
    let of_function = if units > 0.0 {
        units * unit(-15) + tolerance::STEEPEST * tolerance::Q11_ROUNDING
    } else if matches!(curve, Curve::ScaledRelu | Curve::LeakyRelu) {
        x.abs() * tolerance::FACTOR_256 + unit(exponent - 1)
    } else {
        0.0
    };
    let error = (q as f64 * unit(to) - curve.value(x)).abs();
    // Half a step by rounding; a lifted value is further off.
    let steps = match curve {
        Curve::LiftedRelu if q == 1 => 1.0,
        _ => 0.5,
    };
    assert!(
        error <= of_function + steps * unit(to) + 1e-14,
        "{}, {curve:?} at {x} ({stored} at {exponent}): off by {error}",
        T::DTYPE
    );
}

fn forward_is_the_model<T: Element>() {
    let (name, m) = (T::DTYPE.name(), T::MAGNITUDE_BITS as i32);
    let model = Model::of::<T>();
    let x = elements::<T>(90);
    let extremes = [i32::MIN, -32_767, -1000, 1000, 32_767, i32::MAX];
    let step = if m == 7 { 1 } else { 3 };
    for exponent in (-140..=70).step_by(step).chain(extremes) {
        for curve in Curve::ALL {
            let activation = curve.activation::<T>();
            let place = format!("{name}, {curve:?} at exponent {exponent}");
            let (want, kept): (Vec<i128>, Vec<Option<i128>>) = x
                .iter()
                .map(|&x| model.forward(curve, exact(x), exponent))
                .unzip();
            let range = want.iter().map(|&v| bit_len(v)).max().unwrap();
            let mut y = vec![of::<T>(77); x.len()];
            let got =
                activation::forward(activation, exponent, &x, Store::Measure, &mut y, &mut []);
            assert_eq!(got, Ok(range), "{place}: measured");
            assert!(y.iter().all(|&y| y == of(77)), "{place}: written");
            let fits = if activation.is_bounded() {
                15 - m
            } else {
                range as i32 - m
            };
            for shift in [fits, fits - 2, fits + 3, 0] {
                let place = format!("{place}, shift {shift}");
                let mut slope = vec![of::<T>(77); x.len()];
                let got = activation::forward(
                    activation,
                    exponent,
                    &x,
                    nearest(shift),
                    &mut y,
                    &mut slope,
                );
                assert_eq!(got, Ok(range), "{place}: range");
                for (i, &x) in x.iter().enumerate() {
                    let stored = model.stored(curve, want[i], shift);
                    assert_eq!(exact(y[i]), stored, "{place}: of {x:?}");
                    // What keeps nothing leaves the place alone.
                    assert_eq!(
                        exact(slope[i]),
                        kept[i].unwrap_or(77),
                        "{place}: slope of {x:?}"
                    );
                    if (-100..100).contains(&exponent) {
                        let real = exact(x) as f64 * f64::from(exponent).exp2();
                        let to = activation.exponent(exponent) + shift;
                        assert_near::<T>(curve, real, exponent, exact(x), to, stored);
                    }
                }
            }
        }
    }
}

#[test]
fn forward_kernels_are_the_model() {
    for_each_integer!(forward_is_the_model);
}

/// Accumulators far wider than elements, from a layer of one input: a product and a shifted bias.
fn wide_accumulators_are_the_model<T: Element>() {
    let name = T::DTYPE.name();
    let model = Model::of::<T>();
    let cap = match T::MAGNITUDE_BITS {
        7 => 30,
        53 => 125,
        _ => 61,
    };
    let mut noise = Noise::new(91);
    let largest = (1i128 << T::MAGNITUDE_BITS) - 1;
    let mut bias = vec![0, 1, -1, 2, -2, 3, -3, 1 << 30, -(1 << 30)];
    let wide = (<T::Bias as Element>::MAGNITUDE_BITS as f64).exp2();
    bias.extend((0..40).map(|_| (noise.signed() * wide) as i128));
    let bias: Vec<T::Bias> = bias.iter().flat_map(|&b| [of(b); 3]).collect();
    let weight: Vec<T> = (0..bias.len())
        .map(|i| match i % 3 {
            0 => T::ZERO,
            1 => of((noise.signed() * largest as f64) as i128),
            _ => of(noise.below(3) as i128 - 1),
        })
        .collect();
    let x: T = of(largest);
    let shape = dense::Shape {
        batch: 1,
        inputs: 1,
        outputs: bias.len(),
    };
    for left in [
        0, 3, 10, 15, 22, 26, 28, 29, 30, 37, 45, 50, 59, 60, 61, 62, 73, 100, 124, 125,
    ] {
        let acc: Vec<i128> = bias
            .iter()
            .zip(&weight)
            .map(|(&b, &w)| sat(model.shift_rne(exact(b), -left), cap) + exact(x) * exact(w))
            .collect();
        for exponent in [
            -32_767, -128, -127, -126, -64, -63, -62, -61, -60, -29, -28, -27, -4, 1, 60,
        ]
        .into_iter()
        .chain((-8..=20).step_by(4).map(|e| -left - e))
        {
            for curve in Curve::ALL {
                let activation = curve.activation::<T>();
                let (want, kept): (Vec<i128>, Vec<Option<i128>>) = acc
                    .iter()
                    .map(|&a| model.forward(curve, a, exponent))
                    .unzip();
                let range = want.iter().map(|&v| bit_len(v)).max().unwrap();
                let shift = range as i32 - T::MAGNITUDE_BITS as i32;
                let epilogue = Epilogue {
                    activation,
                    exponent,
                    store: nearest(shift),
                };
                let bias = Bias {
                    values: &bias,
                    shift: -left,
                };
                let place = format!("{name}, {curve:?}, bias << {left}, exponent {exponent}");
                let (mut y, mut slope) = (vec![T::ZERO; acc.len()], vec![T::ZERO; acc.len()]);
                let got = dense::forward(
                    &Serial,
                    shape,
                    &[x],
                    &weight,
                    bias,
                    epilogue,
                    &mut y,
                    &mut slope,
                );
                assert_eq!(got, Ok(range), "{place}: range");
                for (i, acc) in acc.iter().enumerate() {
                    let stored = model.stored(curve, want[i], shift);
                    assert_eq!(exact(y[i]), stored, "{place}: of {acc}");
                    assert_eq!(
                        exact(slope[i]),
                        kept[i].unwrap_or(0),
                        "{place}: slope of {acc}"
                    );
                }
            }
        }
    }
}

#[test]
fn wide_accumulators_are_activated_as_the_model_does() {
    for_each_integer!(wide_accumulators_are_the_model);
}

fn backward_is_the_model<T: Element>() {
    let name = T::DTYPE.name();
    let model = Model::of::<T>();
    let d = elements::<T>(92);
    for curve in Curve::ALL {
        let activation = curve.activation::<T>();
        for &y in &elements::<T>(93) {
            // The same numbers as outputs and as slopes: of these, the kernel reads one.
            let (y_row, mut dy) = (vec![y; d.len()], d.clone());
            activation::backward(activation, &y_row, &y_row, &mut dy).unwrap();
            let want: Vec<i128> = d
                .iter()
                .map(|&d| model.backward(curve, exact(d), exact(y), exact(y)))
                .collect();
            assert_eq!(exacts(&dy), want, "{name}, {curve:?}: y or slope {y:?}");
        }
    }
}

#[test]
fn backward_kernels_are_the_model() {
    for_each_integer!(backward_is_the_model);
}

/// Errors through an activation of random arguments within ±4, against f64. The errors are
/// bell-shaped, as in training: of uniform ones a slope of 1.1 saturates every eleventh.
fn cosine<T: Element>(curve: Curve) -> f64 {
    const N: usize = 4096;
    let m = T::MAGNITUDE_BITS as i32;
    let mut noise = Noise::new(94);
    let largest = f64::from(m).exp2() - 1.0;
    let x: Vec<T> = noise
        .vector(N, largest)
        .into_iter()
        .map(T::from_f64)
        .collect();
    let mut bell = || (0..4).map(|_| noise.signed()).sum::<f64>() / 4.0 * largest;
    let d: Vec<T> = (0..N).map(|_| T::from_f64(bell())).collect();
    let (exponent, activation) = (2 - m, curve.activation::<T>());
    let (mut y, mut slope) = (vec![T::ZERO; N], vec![T::ZERO; N]);
    let range =
        activation::forward(activation, exponent, &x, Store::Measure, &mut y, &mut []).unwrap();
    let shift = if activation.is_bounded() {
        15 - m
    } else {
        range as i32 - m
    };
    activation::forward(activation, exponent, &x, nearest(shift), &mut y, &mut slope).unwrap();
    let mut dx = d.clone();
    activation::backward(activation, &y, &slope, &mut dx).unwrap();
    let (mut both, mut got, mut want) = (0.0, 0.0, 0.0);
    for ((x, d), dx) in x.iter().zip(&d).zip(&dx) {
        let exact = d.to_f64() * curve.derivative(x.to_f64() * f64::from(exponent).exp2());
        both += exact * dx.to_f64();
        want += exact * exact;
        got += dx.to_f64() * dx.to_f64();
    }
    both / (want * got).sqrt()
}

#[test]
fn integer_gradients_point_where_those_of_f64_do() {
    for curve in Curve::ALL {
        for (name, cosine, bound) in [
            ("i8", cosine::<i8>(curve), tolerance::COSINE_8_BITS.0),
            ("u8", cosine::<u8>(curve), tolerance::COSINE_8_BITS.0),
            ("i16", cosine::<i16>(curve), tolerance::COSINE_16_BITS.0),
            ("u16", cosine::<u16>(curve), tolerance::COSINE_16_BITS.0),
            ("i32", cosine::<i32>(curve), tolerance::COSINE_16_BITS.0),
            ("u32", cosine::<u32>(curve), tolerance::COSINE_16_BITS.0),
            ("i64", cosine::<i64>(curve), tolerance::COSINE_16_BITS.0),
            ("u64", cosine::<u64>(curve), tolerance::COSINE_16_BITS.0),
        ] {
            println!("{curve:?}, {name}: {cosine}");
            assert!(cosine >= bound, "{curve:?}, {name}: {cosine}");
        }
    }
}

/// The unsigned type's bytes are the signed one's with the highest bit flipped.
macro_rules! assert_twins {
    ($($signed:ident $unsigned:ident $flip:expr;)*) => {$({
        let flip = |x: &[$signed]| x.iter().map(|&x| x as $unsigned ^ $flip).collect::<Vec<_>>();
        let (x, d) = (elements::<$signed>(96), elements::<$signed>(97));
        let rounding = Rounding::Stochastic(Words::new(3, 8, 1));
        for curve in Curve::ALL {
            for (exponent, shift) in [(-20, 5), (-11, 3), (-3, 9), (0, 0)] {
                let store = Store::Shift { shift, rounding };
                let (mut y, mut slope) = (vec![0; x.len()], vec![0; x.len()]);
                let signed = activation::forward(curve.activation(), exponent, &x, store, &mut y, &mut slope);
                let (mut u_y, mut u_slope) = (flip(&y), flip(&slope));
                u_y.fill(0);
                let unsigned =
                    activation::forward(curve.activation(), exponent, &flip(&x), store, &mut u_y, &mut u_slope);
                assert_eq!(signed, unsigned);
                assert_eq!((&u_y, &u_slope), (&flip(&y), &flip(&slope)), "{curve:?}");
                let mut dy = d.clone();
                let mut u_dy = flip(&d);
                activation::backward(curve.activation(), &y, &slope, &mut dy).unwrap();
                activation::backward(curve.activation(), &u_y, &u_slope, &mut u_dy).unwrap();
                assert_eq!(u_dy, flip(&dy), "{curve:?}, backward");
            }
        }
    })*};
}

#[test]
fn unsigned_types_are_twins_of_signed_ones() {
    assert_twins! {
        i8 u8 0x80;
        i16 u16 0x8000;
        i32 u32 0x8000_0000;
        i64 u64 0x8000_0000_0000_0000;
    }
}

/// Also what no kernel stores: elements beyond the magnitude bits overflow nothing.
macro_rules! assert_defined {
    ($($t:ident)*) => {$({
        let all = [$t::MIN, $t::MIN + 1, $t::MAX, $t::MAX - 1, $t::MAX / 2, $t::MAX / 3, 0, 1];
        for curve in Curve::ALL {
            for exponent in [i32::MIN, -32_767, -60, -11, 0, 32_767, i32::MAX] {
                let (mut y, mut slope) = ([0 as $t; 8], [0; 8]);
                activation::forward(curve.activation(), exponent, &all, Store::EXACT, &mut y, &mut slope).unwrap();
                let limit = 2f64.powi($t::MAGNITUDE_BITS as i32);
                assert!(y.iter().all(|y| y.to_f64().abs() < limit), "{curve:?}");
            }
            for kept in all {
                let mut dy = all;
                activation::backward(curve.activation(), &[kept; 8], &[kept; 8], &mut dy).unwrap();
            }
        }
    })*};
}

#[test]
fn every_bit_pattern_is_defined() {
    assert_defined! { i8 u8 i16 u16 i32 u32 i64 u64 }
}

#[test]
fn refusals_write_nothing() {
    const MARK: i8 = 85;
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    for curve in Curve::ALL {
        let activation = curve.activation::<i8>();
        for (x, out, slope, want) in [
            (3, 2, 0, length(Arg::Out, 3, 2)),
            (3, 4, 3, length(Arg::Out, 3, 4)),
            (3, 3, 2, length(Arg::Slope, 3, 2)),
            (3, 3, 4, length(Arg::Slope, 3, 4)),
        ] {
            let (mut y, mut kept) = (vec![MARK; out], vec![MARK; slope]);
            let got =
                activation::forward(activation, -4, &vec![9; x], Store::EXACT, &mut y, &mut kept);
            assert_eq!(got, Err(want), "{curve:?}");
            assert!(
                y.iter().chain(&kept).all(|&q| q == MARK),
                "{curve:?}: written"
            );
        }
        let no_slope = activation.keeps_slope();
        for (y, slope, dy, want) in [
            (3, 3, 2, Some(length(Arg::Dy, 3, 2))),
            (2, 2, 3, Some(length(Arg::Dy, 2, 3))),
            (3, 0, 3, no_slope.then(|| length(Arg::Slope, 3, 0))),
            (3, 2, 3, no_slope.then(|| length(Arg::Slope, 3, 2))),
        ] {
            let mut d = vec![MARK; dy];
            let got = activation::backward(activation, &vec![0; y], &vec![0; slope], &mut d);
            assert_eq!(got.err(), want, "{curve:?}: backward");
            if want.is_some() {
                assert!(d.iter().all(|&q| q == MARK), "{curve:?}: backward wrote");
            }
        }
        let shape = dense::Shape {
            batch: 2,
            inputs: 1,
            outputs: 2,
        };
        let (mut y, mut kept) = ([MARK; 4], [MARK; 3]);
        let bias = Bias {
            values: &[0; 2],
            shift: 0,
        };
        let epilogue = Epilogue::EXACT.with(activation);
        let got = dense::forward(
            &Serial,
            shape,
            &[1, 2],
            &[3, 4],
            bias,
            epilogue,
            &mut y,
            &mut kept,
        );
        assert_eq!(got, Err(length(Arg::Slope, 4, 3)), "{curve:?}: dense");
        assert!(
            y.iter().chain(&kept).all(|&q| q == MARK),
            "{curve:?}: dense wrote"
        );
    }
}

#[test]
fn leaky_factors_are_rounded_and_capped() {
    for (thousandths, parts) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (10, 3),
        (100, 26),
        (999, 256),
        (5000, 256),
    ] {
        let activation = Activation::<i32>::leaky_relu(thousandths);
        let (mut y, mut slope, mut dy) = ([0; 2], [0; 2], [-(1 << 20), 1 << 20]);
        let x = [-(1 << 20), 1 << 20];
        activation::forward(activation, -4, &x, Store::EXACT, &mut y, &mut slope).unwrap();
        assert_eq!(
            (y, slope),
            ([-(parts << 12), 1 << 20], [1, 0]),
            "{thousandths}"
        );
        activation::backward(activation, &y, &slope, &mut dy).unwrap();
        assert_eq!(dy, [-(parts << 12), 1 << 20], "{thousandths}");
    }
}
