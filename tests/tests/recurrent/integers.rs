//! Integers against the rule on big integers, their unsigned twins, and gradients against floats.

use super::floats::Gradients;
use super::{Back, CELLS, Layer, Pass, shapes, windows};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::recurrent::{Cell, Exponents, Output, Shape, Tops, Windows, output_exponent};
use selvedge_kernels::scale::{Exponent, Scale, Unscaled};
use selvedge_kernels::{Element, dense, lut};
use selvedge_tests::compare::{
    assert_within, cosine, elements, inner, integer, noise, sat, settled, shift_rne, values,
};
use selvedge_tests::for_twins;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

fn q15(x: i128) -> i128 {
    shift_rne(x, 15)
}

fn sigmoid(x: i128) -> i128 {
    lut::sigmoid(x as i32).into()
}

fn tanh(x: i128) -> i128 {
    lut::tanh(x as i32).into()
}

/// `shift_rne` whose shifts to the left saturate at 62 bits, as the rule's do.
fn shift(x: i128, s: i32) -> i128 {
    if s > 0 {
        return shift_rne(x, s);
    }
    if s <= -62 {
        return 0;
    }
    let limit = ((1i128 << 62) - 1) >> -s;
    x.clamp(-limit, limit) << -s
}

fn q11(x: i128, exponent: i32) -> i128 {
    sat(shift(x, -11 - exponent), 28)
}

/// Exponent plus bit length of the largest that was seen.
fn see(top: &mut Option<i32>, x: i128, exponent: i32) {
    if x != 0 {
        let bits = 128 - x.unsigned_abs().leading_zeros() as i32;
        *top = (*top).max(Some(exponent + bits));
    }
}

/// The rule of `docs/numerics.md` §24 for one sequence, unit by unit; `m` is all that it knows of the type.
struct Model {
    shape: Shape,
    m: i32,
    x: Vec<i128>,
    x_exponent: i32,
    weights: [Vec<i128>; 4],
    exponents: Exponents,
    h: Vec<i128>,
    inner: Vec<i128>,
}

/// What a step of a unit has: gates in Q15 and sums in Q11, the state before.
#[derive(Clone, Copy, Default)]
struct Step {
    gates: [i128; 4],
    a: i128,
    before: i128,
    h: i128,
    tanh_c: i128,
}

#[derive(Default)]
struct Results {
    out: Vec<i128>,
    h: Vec<i128>,
    inner: Vec<i128>,
    dz: Vec<i128>,
    dzu: Vec<i128>,
    tops: Tops,
}

impl Model {
    fn of<T: Element<Inner = i16>>(layer: &Layer<T>, b: usize) -> Self {
        let Shape {
            steps,
            inputs,
            units,
            cell,
            ..
        } = layer.shape;
        let all = |values: &[T]| values.iter().map(|&x| integer(x)).collect::<Vec<_>>();
        let biases = |values: &[T::Bias]| values.iter().map(|&x| integer(x)).collect::<Vec<_>>();
        let rows = cell.gates() * units;
        let mut hidden_bias = biases(&layer.hidden_bias);
        hidden_bias.resize(rows, 0);
        let inner = layer.inner.get(b * units..(b + 1) * units).unwrap_or(&[]);
        Self {
            shape: layer.shape,
            m: T::MAGNITUDE_BITS as i32,
            x: all(&layer.x[b * steps * inputs..][..steps * inputs]),
            x_exponent: layer.x_exponent,
            weights: [
                all(&layer.input),
                all(&layer.hidden),
                biases(&layer.bias),
                hidden_bias,
            ],
            exponents: layer.exponents,
            h: all(&layer.h[b * units..][..units]),
            inner: inner.iter().map(|&x| x.into()).collect(),
        }
    }

    fn stored(&self, x: i128, places: i32) -> i128 {
        sat(shift(x, places), self.m as u32)
    }

    /// Outputs of all steps in memory order; `dy` of each, or of the last.
    fn run(mut self, dy: &[i128], dy_exponent: i32, windows: Windows) -> Results {
        let Shape {
            cell,
            steps,
            inputs,
            units,
            output,
            is_reversed,
            ..
        } = self.shape;
        let m = self.m;
        let rows = cell.gates() * units;
        let at = |step: usize| if is_reversed { steps - 1 - step } else { step };
        let mut results = Results {
            out: vec![0; steps * units],
            dz: vec![0; steps * rows],
            dzu: vec![0; steps * rows],
            ..Results::default()
        };
        let mut tape = Vec::new();
        self.inner.resize(units, 0);
        for step in 0..steps {
            let x = &self.x[at(step) * inputs..][..inputs];
            let [w, u, b, c] = &self.weights;
            let dot =
                |a: &[i128], b: &[i128]| -> i128 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
            let e = self.exponents;
            let sums: Vec<[i128; 2]> = (0..rows)
                .map(|row| {
                    let of_x = dot(x, &w[row * inputs..][..inputs]);
                    let of_h = dot(&self.h, &u[row * units..][..units]);
                    [
                        q11(of_x, self.x_exponent + e.input) + q11(b[row], e.bias),
                        q11(of_h, e.hidden - m) + q11(c[row], e.hidden_bias),
                    ]
                })
                .collect();
            let mut now = vec![Step::default(); units];
            for (j, now) in now.iter_mut().enumerate() {
                let z = |gate: usize| sat(sums[gate * units + j].iter().sum(), 15);
                now.before = self.inner[j];
                match cell {
                    Cell::Rnn => self.h[j] = self.stored(tanh(z(0)), 15 - m),
                    Cell::Lstm => {
                        let [i, f, g, o] =
                            [sigmoid(z(0)), sigmoid(z(1)), tanh(z(2)), sigmoid(z(3))];
                        let c = sat(q15(f * now.before + shift_rne(i * g, 4)), 15);
                        (now.gates, now.tanh_c) = ([i, f, g, o], tanh(c));
                        self.inner[j] = c;
                        self.h[j] = self.stored(o * now.tanh_c, 30 - m);
                    }
                    Cell::Gru => {
                        let [r, z] = [sigmoid(z(0)), sigmoid(z(1))];
                        let [of_x, of_h] = sums[2 * units + j];
                        now.a = sat(of_h, 15);
                        let n = tanh(sat(of_x + q15(r * now.a), 15));
                        let s = sat(q15((32_768 - z) * n + z * now.before), 15);
                        now.gates = [r, z, n, 0];
                        self.inner[j] = s;
                        self.h[j] = self.stored(s, 15 - m);
                    }
                }
                now.h = self.h[j];
            }
            results.out[at(step) * units..][..units].copy_from_slice(&self.h);
            tape.push(now);
        }
        results.h = self.h.clone();
        if cell.has_inner() {
            results.inner = self.inner.clone();
        }
        // From the last step to the first.
        let e = windows.state;
        let product = windows.gates + self.exponents.hidden;
        let Tops {
            state: mut top,
            gates: mut top_z,
        } = Tops::default();
        let slope = |y: i128| q15(y * (32_768 - y));
        let (mut carry, mut inner) = (vec![0; units], vec![0; units]);
        for (step, now) in tape.iter().enumerate().rev() {
            let t = at(step);
            let (mut zx, mut zh) = (vec![0; rows], vec![0; rows]);
            for (j, now) in now.iter().enumerate() {
                let d = match output {
                    Output::All => dy[t * units + j],
                    Output::Last if step == steps - 1 => dy[j],
                    Output::Last => 0,
                };
                see(&mut top, d, dy_exponent);
                let dh = carry[j] + shift(d, e - dy_exponent);
                see(&mut top, dh, e);
                let dh = sat(dh, 15);
                let Step {
                    gates: [i, f, g, o],
                    ..
                } = *now;
                let errors = match cell {
                    Cell::Rnn => {
                        let slope = (1 << m) - shift_rne(now.h * now.h, m);
                        [[shift_rne(dh * slope, m); 2], [0; 2], [0; 2], [0; 2]]
                    }
                    Cell::Lstm => {
                        let tanh_c = now.tanh_c;
                        let dc = inner[j] + q15(q15(dh * o) * (32_768 - q15(tanh_c * tanh_c)));
                        see(&mut top, dc, e);
                        let dc = sat(dc, 15);
                        inner[j] = q15(dc * f);
                        let df = sat(shift_rne(dc * now.before, 11), 17);
                        let dg = q15(dc * i) * (32_768 - q15(g * g));
                        [
                            [q15(q15(dc * g) * slope(i)); 2],
                            [q15(df * slope(f)); 2],
                            [q15(dg); 2],
                            [q15(q15(dh * tanh_c) * slope(o)); 2],
                        ]
                    }
                    Cell::Gru => {
                        let [r, z, n] = [i, f, g];
                        let dn = q15(q15(dh * (32_768 - z)) * (32_768 - q15(n * n)));
                        let dz = q15((q15(dh * now.before) - q15(dh * n)) * slope(z));
                        let dr = q15(sat(shift_rne(dn * now.a, 11), 17) * slope(r));
                        inner[j] = q15(dh * z);
                        [[dr; 2], [dz; 2], [dn, q15(dn * r)], [0; 2]]
                    }
                };
                for (gate, [x, h]) in errors.into_iter().enumerate().take(cell.gates()) {
                    see(&mut top_z, x, e);
                    zx[gate * units + j] = self.stored(x, windows.gates - e);
                    zh[gate * units + j] = self.stored(h, windows.gates - e);
                }
            }
            for j in 0..units {
                let hidden = |row: usize| self.weights[1][row * units + j];
                let sum: i128 = (0..rows).map(|row| zh[row] * hidden(row)).sum();
                see(&mut top, sum, product);
                carry[j] = sat(shift(sum, e - product), 62);
                if cell == Cell::Gru {
                    carry[j] += inner[j];
                }
            }
            results.dz[t * rows..][..rows].copy_from_slice(&zx);
            results.dzu[t * rows..][..rows].copy_from_slice(&zh);
        }
        results.tops = Tops {
            state: top,
            gates: top_z,
        };
        results
    }
}

fn integers<T: Element>(values: &[T]) -> Vec<i128> {
    values.iter().map(|&x| integer(x)).collect()
}

fn integers_follow_the_rule<T: Element<Inner = i16>>() {
    let m = T::MAGNITUDE_BITS as i32;
    for (seed, shape) in shapes().enumerate() {
        for fill in 0..4 {
            let place = format!("{}, {shape:?}, fill {fill}", T::DTYPE);
            let mut source = Noise::new(1000 + seed as u32);
            let mut layer = Layer::<T>::random(shape, 1100 + seed as u32, 1.5);
            // A state that some other input left.
            let other = Layer::<T>::random(shape, 1200, 4.0).forward(&Serial, 1);
            (layer.h, layer.inner) = (other.h, other.inner);
            match fill {
                1 => {
                    // To the ends of the range, and weights beyond 1.
                    layer.x = noise(&mut source, layer.x.len());
                    layer.hidden = noise(&mut source, layer.hidden.len());
                    layer.exponents.hidden += 2;
                    layer.exponents.input += 1;
                    layer.exponents.bias += 3;
                }
                2 => {
                    // So small that sums are rounded away.
                    layer.exponents.input -= 9;
                    layer.exponents.hidden -= 9;
                    layer.exponents.bias -= 9;
                }
                _ => {}
            }
            let dy: Vec<T> = noise(&mut source, layer.outputs());
            let dy_exponent = -m - 3;
            let mut windows = windows::<T>(dy_exponent);
            if fill == 1 {
                windows.state -= 6; // errors saturate
            }
            if fill == 3 {
                windows.gates += 3;
                windows.state += 20; // and vanish
            }
            let pass = layer.forward(&Serial, 2);
            let back = layer.backward(&Serial, &pass, &dy, dy_exponent, windows);
            let Shape {
                batch,
                steps,
                units,
                output,
                cell,
                ..
            } = shape;
            let (mut want, mut tops) = (Results::default(), Tops::default());
            let per_sequence = layer.outputs() / batch;
            for b in 0..batch {
                let dy = integers(&dy[b * per_sequence..][..per_sequence]);
                let got = Model::of(&layer, b).run(&dy, dy_exponent, windows);
                want.out.extend(match output {
                    Output::All => got.out,
                    Output::Last => got.h.clone(),
                });
                want.h.extend(got.h);
                want.inner.extend(got.inner);
                want.dz.extend(got.dz);
                want.dzu.extend(got.dzu);
                tops.state = tops.state.max(got.tops.state);
                tops.gates = tops.gates.max(got.tops.gates);
            }
            assert_eq!(want.out, integers(&pass.out), "{place}: out");
            assert_eq!(want.h, integers(&pass.h), "{place}: h");
            let inner: Vec<i128> = pass.inner.iter().map(|&x| x.into()).collect();
            assert_eq!(want.inner, inner, "{place}: inner");
            assert_eq!(want.dz, integers(&back.dz), "{place}: dz");
            if cell == Cell::Gru {
                assert_eq!(want.dzu, integers(&back.dzu), "{place}: dzu");
            }
            assert_eq!(tops, back.tops, "{place}: tops");
            assert_eq!(pass.before.len(), batch * steps * units);
        }
    }
}

#[test]
fn integers_follow_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

#[test]
fn twins_give_the_same_numbers() {
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            let flip = |x: &[$signed]| -> Vec<$unsigned> {
                let top = 1 << ($unsigned::BITS - 1);
                x.iter().map(|&x| x as $unsigned ^ top).collect()
            };
            for (seed, shape) in shapes().enumerate() {
                let layer = Layer::<$signed>::random(shape, 1300 + seed as u32, 1.0);
                let twin = Layer::<$unsigned> {
                    shape,
                    x: flip(&layer.x),
                    x_exponent: layer.x_exponent,
                    input: flip(&layer.input),
                    hidden: flip(&layer.hidden),
                    bias: layer.bias.clone(),
                    hidden_bias: layer.hidden_bias.clone(),
                    exponents: layer.exponents,
                    h: flip(&layer.h),
                    inner: layer.inner.clone(),
                };
                let dy: Vec<$signed> = noise(&mut Noise::new(1400), layer.outputs());
                let windows = windows::<$signed>(-9);
                let pass = layer.forward(&Serial, 2);
                let Back { dz, dzu, tops } = layer.backward(&Serial, &pass, &dy, -9, windows);
                let twins = Pass::<$unsigned> {
                    out: flip(&pass.out),
                    h: flip(&pass.h),
                    inner: pass.inner,
                    before: flip(&pass.before),
                    gates: pass.gates,
                };
                assert_eq!(twins, twin.forward(&Serial, 2), "{shape:?}");
                let want = Back {
                    dz: flip(&dz),
                    dzu: flip(&dzu),
                    tops,
                };
                let got = twin.backward(&Serial, &twins, &flip(&dy), -9, windows);
                assert_eq!(want, got, "{shape:?}");
            }
        };
    }
    for_twins!(check);
}

/// The same layer in `f64`, from the same numbers and a state of zero.
fn widened<T: Element>(layer: &Layer<T>) -> Layer<f64> {
    let e = layer.exponents;
    Layer {
        shape: layer.shape,
        x: values(&layer.x, layer.x_exponent),
        x_exponent: 0,
        input: values(&layer.input, e.input),
        hidden: values(&layer.hidden, e.hidden),
        bias: values(&layer.bias, e.bias),
        hidden_bias: values(&layer.hidden_bias, e.hidden_bias),
        exponents: Exponents::default(),
        h: vec![0.0; layer.h.len()],
        inner: vec![0.0; layer.inner.len()],
    }
}

fn outputs_are_near_the_definition<T: Element>(limit: f64) {
    for (seed, shape) in shapes().enumerate() {
        let layer = Layer::<T>::random(shape, 1700 + seed as u32, 1.0);
        let got = values(&layer.forward(&Serial, 1).out, output_exponent::<T>());
        let want = widened(&layer).forward(&Serial, 1).out;
        let place = format!("{}, {shape:?}", T::DTYPE);
        assert_within(&place, &want, &got, |_| limit);
    }
}

#[test]
fn integer_outputs_are_near_the_definition() {
    outputs_are_near_the_definition::<i8>(tolerance::RECURRENT_8_BITS);
    outputs_are_near_the_definition::<u8>(tolerance::RECURRENT_8_BITS);
    outputs_are_near_the_definition::<i16>(tolerance::RECURRENT_16_BITS);
    outputs_are_near_the_definition::<i32>(tolerance::RECURRENT_16_BITS);
    outputs_are_near_the_definition::<i64>(tolerance::RECURRENT_16_BITS);
}

/// The gradients of an integer layer whose windows have settled, in real units.
fn settled_gradients<T>(layer: &Layer<T>, dy: &[T], dy_exponent: i32) -> Gradients
where
    T: Element<Scale = Exponent, Acc: Into<i128>>,
{
    let Shape {
        cell,
        batch,
        steps,
        inputs,
        units,
        ..
    } = layer.shape;
    let pass = layer.forward(&Serial, steps);
    let mut scales = [T::Scale::UNSET; 2];
    let mut last = None;
    for _ in 0..200 {
        let [of_state, of_gates] = &mut scales;
        let state = of_state.begin(Windows::first_state::<T>(dy_exponent));
        let gates = of_gates.begin(Windows::first_gates::<T>(state));
        let windows = Windows { state, gates };
        let back = layer.backward(&Serial, &pass, dy, dy_exponent, windows);
        of_state.end(back.tops.state, Windows::STATE_BITS);
        of_gates.end(back.tops.gates, T::MAGNITUDE_BITS);
        last = Some((windows, back));
    }
    let (windows, back) = last.unwrap();
    let shape = dense::Shape {
        batch: batch * steps,
        inputs,
        outputs: cell.gates() * units,
    };
    let scaled = |sums: Vec<T::Acc>, exponent: i32| -> Vec<f64> {
        let unit = 2f64.powi(exponent);
        sums.into_iter()
            .map(|sum| sum.into() as f64 * unit)
            .collect()
    };
    let mut dx = vec![T::ZERO; layer.x.len()];
    let exponent = settled(
        windows.gates + layer.exponents.input,
        T::MAGNITUDE_BITS,
        |store| dense::backward_input(&Serial, shape, &back.dz, &layer.input, store, &mut dx),
    );
    let weight = |inputs, x: &[T], dz: &[T], exponent| {
        let mut sums = vec![T::Acc::default(); shape.outputs * inputs];
        let shape = dense::Shape { inputs, ..shape };
        dense::backward_weight(shape, x, dz, &mut Gradient::Store(&mut sums)).unwrap();
        scaled(sums, windows.gates + exponent)
    };
    let bias = |dz: &[T]| {
        let mut sums = vec![T::Acc::default(); shape.outputs];
        dense::backward_bias::<T>(shape.outputs, dz, &mut Gradient::Store(&mut sums)).unwrap();
        scaled(sums, windows.gates)
    };
    let is_gru = cell == Cell::Gru;
    let of_h = if is_gru { &back.dzu } else { &back.dz };
    Gradients {
        dx: values(&dx, exponent),
        dw: weight(inputs, &layer.x, &back.dz, layer.x_exponent),
        du: weight(units, &pass.before, of_h, -(T::MAGNITUDE_BITS as i32)),
        db: bias(&back.dz),
        dc: if is_gru { bias(&back.dzu) } else { Vec::new() },
    }
}

fn gradients_are_parallel<T>(limit: f64)
where
    T: Element<Scale = Exponent, Acc: Into<i128>>,
{
    for cell in CELLS {
        for output in [Output::All, Output::Last] {
            let shape = Shape {
                cell,
                batch: 16,
                steps: 8,
                inputs: 6,
                units: 12,
                output,
                is_reversed: output == Output::Last,
            };
            let layer = Layer::<T>::random(shape, 1500, 1.0);
            let wide = widened(&layer);
            let exponent = -(T::MAGNITUDE_BITS as i32) - 2;
            let noise = Noise::new(1600).vector(layer.outputs(), 0.25);
            let dy: Vec<T> = elements(&noise, exponent);
            let got = settled_gradients(&layer, &dy, exponent);
            let pass = wide.forward(&Serial, shape.steps);
            let want = super::floats::gradients(&wide, &pass, &values(&dy, exponent));
            for (what, want, got) in [
                ("dx", &want.dx, &got.dx),
                ("dW", &want.dw, &got.dw),
                ("dU", &want.du, &got.du),
                ("db", &want.db, &got.db),
                ("dc", &want.dc, &got.dc),
            ] {
                if want.is_empty() {
                    continue;
                }
                let place = format!("{}, {cell:?}, {output:?}: {what}", T::DTYPE);
                let cosine = cosine(want, got);
                assert!(cosine >= limit, "{place}: cosine {cosine}");
                // The exponent is right, too.
                let length = (inner(got, got) / inner(want, want)).sqrt();
                assert!((length - 1.0).abs() < 0.05, "{place}: length {length}");
            }
        }
    }
}

#[test]
fn integer_gradients_are_parallel_to_floats() {
    gradients_are_parallel::<i8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<u8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<i16>(tolerance::COSINE_16_BITS.0);
    gradients_are_parallel::<i32>(tolerance::COSINE_16_BITS.0);
    gradients_are_parallel::<i64>(tolerance::COSINE_16_BITS.0);
}

#[test]
fn a_window_begins_where_it_is_told_and_follows_its_top() {
    let mut window = Exponent::UNSET;
    assert_eq!(window.begin(-9), -9);
    assert_eq!(window.begin(5), -9, "set once");
    window.end(None, 7);
    assert_eq!(
        (window.get(), window.low()),
        (Some(-9), 0),
        "nothing but zeros was seen"
    );
    window.end(Some(3), 7);
    assert_eq!(window.get(), Some(-4), "grows at once");
    for _ in 0..64 {
        assert_eq!(window.get(), Some(-4));
        window.end(Some(-10), 7);
    }
    assert_eq!(window.get(), Some(-5), "shrinks after 64 steps");
    let mut none = Unscaled;
    assert_eq!(none.begin(9), 0);
    none.end(Some(3), 7);
    assert_eq!(none.exponent(), None);
}
