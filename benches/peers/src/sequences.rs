//! Attention between its projections and LSTM, forward, and forward and backward, in `f32` and `i8`.

use super::{elements, noise, time};
use burn::nn::LstmConfig;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device as BurnDevice, Tensor as BurnTensor, module};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::rnn::{LSTM, LSTMConfig, RNN};
use candle_nn::{VarBuilder, VarMap, ops};
use selvedge_kernels::attention::{self, Exponents, Inputs, Mask, Ranges, Scratch, Shape, Stores};
use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::recurrent::{self, Cell, Input, Keep, Output, State, Weights, Windows};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, dense};
use std::hint::black_box;

/// Seconds of a forward pass, and of both passes.
type Both = [f64; 2];

/// Heads and features of each.
const HEADS: usize = 4;
const SIZE: usize = 16;

/// Seconds of candle, of burn, and ours in `f32` and `i8`, of causal attention over `steps` positions.
pub(crate) fn attention_case(batch: usize, steps: usize) -> [Both; 4] {
    [
        candle_attention(batch, steps),
        burn_attention(batch, steps),
        our_attention::<f32>(batch, steps),
        our_attention::<i8>(batch, steps),
    ]
}

fn candle_attention(batch: usize, steps: usize) -> Both {
    let device = Device::Cpu;
    let shape = (batch, HEADS, steps, SIZE);
    let values = noise(batch * HEADS * steps * SIZE);
    let tensor = Tensor::from_slice(&values, shape, &device).unwrap();
    let mask: Vec<f32> = (0..steps * steps)
        .map(|at| {
            if at % steps > at / steps {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    let mask = Tensor::from_slice(&mask, (1, 1, steps, steps), &device).unwrap();
    let scores = |q: &Tensor, k: &Tensor| {
        let scores = q.matmul(&k.t().unwrap()).unwrap();
        let scores = (scores / (SIZE as f64).sqrt()).unwrap();
        scores.broadcast_add(&mask).unwrap()
    };
    let forward = time(|| {
        let q = black_box(&tensor);
        let p = ops::softmax_last_dim(&scores(q, q)).unwrap();
        black_box(p.matmul(q).unwrap());
    });
    let [q, k, v] = [(); 3].map(|()| Var::from_tensor(&tensor).unwrap());
    let both = time(|| {
        let p = ops::softmax(&scores(&q, &k), D::Minus1).unwrap();
        let loss = (p.matmul(&v).unwrap() * &tensor)
            .unwrap()
            .sum_all()
            .unwrap();
        black_box(loss.backward().unwrap());
    });
    [forward, both]
}

fn burn_attention(batch: usize, steps: usize) -> Both {
    let values = noise(batch * HEADS * steps * SIZE);
    let options = AttentionModuleOptions {
        is_causal: true,
        ..AttentionModuleOptions::default()
    };
    let tensor = |device: &BurnDevice| {
        BurnTensor::<1>::from_floats(&values[..], device).reshape([batch, HEADS, steps, SIZE])
    };
    let x = tensor(&BurnDevice::flex());
    let forward = time(|| {
        let y = module::attention(x.clone(), x.clone(), x.clone(), None, None, options);
        black_box(y.into_data());
    });
    let device = BurnDevice::flex().autodiff();
    let [q, k, v] = [(); 3].map(|()| tensor(&device).require_grad());
    let dy = tensor(&device);
    let both = time(|| {
        let y = module::attention(q.clone(), k.clone(), v.clone(), None, None, options);
        let mut gradients = (y * dy.clone()).sum().backward();
        for x in [&q, &k, &v] {
            black_box(x.grad_remove(&mut gradients).unwrap().into_data());
        }
    });
    [forward, both]
}

/// A store that fills an element, of an accumulator that has `bits`.
fn filling<T: Element>(bits: u32) -> Store {
    if !T::DTYPE.is_integer() {
        return Store::EXACT;
    }
    Store::Shift {
        shift: bits as i32 - T::MAGNITUDE_BITS as i32,
        rounding: Rounding::NearestEven,
    }
}

fn our_attention<T: Element>(batch: usize, steps: usize) -> Both {
    let shape = Shape {
        batch,
        queries: steps,
        keys: steps,
        heads: HEADS,
        kv_heads: HEADS,
        size: SIZE,
    };
    let x = elements::<T>(batch * steps * HEADS * SIZE);
    let exponent = if T::DTYPE.is_integer() {
        1 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let inputs = Inputs {
        q: &x,
        k: &x,
        v: &x,
        capacity: steps,
        exponents: Exponents {
            q: exponent,
            k: exponent,
            v: exponent,
        },
    };
    let mut out = vec![T::ZERO; x.len()];
    let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![T::ZERO; x.len()]);
    let [scores, products, sums] = attention::backward_scratch_len::<T>(shape, 1).unwrap();
    let mut scores = vec![T::AttentionScore::BLANK; scores];
    let [mut products, mut sums] = [products, sums].map(|len| vec![T::AttentionSum::BLANK; len]);
    let mut ahead = |store, scores: &mut [T::AttentionScore]| {
        let inputs = black_box(inputs);
        attention::forward(
            &Serial,
            shape,
            Mask::CAUSAL,
            inputs,
            store,
            &mut out,
            scores,
        )
        .unwrap()
    };
    let bits = ahead(Store::Measure, &mut scores);
    let store = filling::<T>(bits);
    let forward = time(|| {
        ahead(store, &mut scores);
    });
    let mut back = |stores, scores: &mut [T::AttentionScore]| -> Ranges {
        let errors = attention::Errors {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        let scratch = Scratch {
            scores,
            products: &mut products,
            sums: &mut sums,
        };
        let inputs = black_box(inputs);
        attention::backward(
            &Serial,
            shape,
            Mask::CAUSAL,
            inputs,
            &x,
            stores,
            errors,
            scratch,
        )
        .unwrap()
    };
    let mut stores = Stores {
        scores: Store::Measure,
        dq: Store::Measure,
        dk: Store::Measure,
        dv: Store::Measure,
    };
    if T::DTYPE.is_integer() {
        let ranges = back(stores, &mut scores);
        stores.scores = Store::Shift {
            shift: ranges.scores as i32 - Stores::SCORE_BITS as i32,
            rounding: Rounding::NearestEven,
        };
        let ranges = back(stores, &mut scores);
        let [dq, dk, dv] = [ranges.dq, ranges.dk, ranges.dv].map(filling::<T>);
        stores = Stores {
            dq,
            dk,
            dv,
            ..stores
        };
    } else {
        stores = Stores::EXACT;
    }
    let both = time(|| {
        ahead(store, &mut scores);
        black_box(back(stores, &mut scores));
    });
    [forward, both]
}

/// Inputs and units of the LSTM.
const INPUTS: usize = 64;
const UNITS: usize = 128;

/// The same of an LSTM over `steps` elements that gives all of its outputs. Backward passes give the gradients of
/// input, weights and biases.
pub(crate) fn lstm_case(batch: usize, steps: usize) -> [Both; 4] {
    [
        candle_lstm(batch, steps),
        burn_lstm(batch, steps),
        our_lstm::<f32>(batch, steps),
        our_lstm::<i8>(batch, steps),
    ]
}

fn candle_lstm(batch: usize, steps: usize) -> Both {
    let device = Device::Cpu;
    let x = noise(batch * steps * INPUTS);
    let x = Tensor::from_slice(&x, (batch, steps, INPUTS), &device).unwrap();
    let map = VarMap::new();
    let builder = VarBuilder::from_varmap(&map, DType::F32, &device);
    let learning = LSTM::new(INPUTS, UNITS, LSTMConfig::default(), builder).unwrap();
    // Frozen, so that nothing is recorded.
    let tensors = map.data().lock().unwrap();
    let frozen = tensors
        .iter()
        .map(|(name, var)| (name.clone(), var.as_detached_tensor()))
        .collect();
    drop(tensors);
    let builder = VarBuilder::from_tensors(frozen, DType::F32, &device);
    let lstm = LSTM::new(INPUTS, UNITS, LSTMConfig::default(), builder).unwrap();
    let forward = time(|| {
        let states = lstm.seq(black_box(&x)).unwrap();
        black_box(lstm.states_to_tensor(&states).unwrap());
    });
    let x = Var::from_tensor(&x).unwrap();
    let both = time(|| {
        let states = learning.seq(black_box(&x)).unwrap();
        let y = learning.states_to_tensor(&states).unwrap();
        black_box(y.sum_all().unwrap().backward().unwrap());
    });
    [forward, both]
}

fn burn_lstm(batch: usize, steps: usize) -> Both {
    let values = noise(batch * steps * INPUTS);
    let tensor = |device: &BurnDevice| {
        BurnTensor::<1>::from_floats(&values[..], device).reshape([batch, steps, INPUTS])
    };
    let config = LstmConfig::new(INPUTS, UNITS, true);
    let device = BurnDevice::flex();
    let (x, lstm) = (tensor(&device), config.init(&device));
    let forward = time(|| {
        let (y, _) = lstm.forward(x.clone(), None);
        black_box(y.into_data());
    });
    let device = BurnDevice::flex().autodiff();
    let (x, lstm) = (tensor(&device).require_grad(), config.init(&device));
    let both = time(|| {
        let (y, _) = lstm.forward(x.clone(), None);
        let mut gradients = y.sum().backward();
        black_box(x.grad_remove(&mut gradients).unwrap().into_data());
    });
    [forward, both]
}

fn our_lstm<T: Element>(batch: usize, steps: usize) -> Both {
    let shape = recurrent::Shape {
        cell: Cell::Lstm,
        batch,
        steps,
        inputs: INPUTS,
        units: UNITS,
        output: Output::All,
        is_reversed: false,
    };
    let rows = 4 * UNITS;
    let (n, count) = (batch * steps, batch * steps * UNITS);
    let x = elements::<T>(n * INPUTS);
    let (input, hidden) = (elements::<T>(rows * INPUTS), elements::<T>(rows * UNITS));
    let bias = elements::<T::Bias>(rows);
    // Sums of products of about 1, as after initialisation.
    let unit = recurrent::output_exponent::<T>();
    let bias_exponent = 1 - <T::Bias as Element>::MAGNITUDE_BITS as i32;
    let weights = Weights {
        input: &input,
        hidden: &hidden,
        bias: &bias,
        hidden_bias: &[],
        exponents: recurrent::Exponents {
            input: unit - 3,
            hidden: unit - 3,
            bias: bias_exponent,
            hidden_bias: bias_exponent,
        },
    };
    let mut h = vec![T::ZERO; batch * UNITS];
    let mut inner = vec![T::Inner::BLANK; h.len()];
    let mut before = vec![T::ZERO; count];
    let mut gates = vec![T::Inner::BLANK; count * Cell::Lstm.kept()];
    let mut out = vec![T::ZERO; count];
    let scratch = recurrent::forward_scratch_len(shape, steps).unwrap();
    let mut scratch = vec![T::Acc::default(); scratch];
    let mut ahead = |before: &mut [T], gates: &mut [T::Inner]| {
        let mut state = State {
            h: &mut h,
            inner: &mut inner,
        };
        state.clear();
        let x = Input {
            values: black_box(&x),
            exponent: unit,
        };
        let keep = Keep { before, gates };
        recurrent::forward(
            &Serial,
            shape,
            x,
            weights,
            state,
            keep,
            &mut out,
            &mut scratch,
        )
        .unwrap();
    };
    let forward = time(|| ahead(&mut before, &mut gates));
    let dy = elements::<T>(count);
    let state = Windows::first_state::<T>(unit);
    let windows = Windows {
        state,
        gates: Windows::first_gates::<T>(state),
    };
    let (mut dz, mut dx) = (vec![T::ZERO; n * rows], vec![T::ZERO; n * INPUTS]);
    let mut scratch = vec![T::Acc::default(); recurrent::backward_scratch_len(shape).unwrap()];
    let [mut d_input, mut d_hidden] =
        [INPUTS, UNITS].map(|columns| vec![T::Acc::default(); rows * columns]);
    let mut d_bias = vec![T::Acc::default(); rows];
    let store = filling::<T>(2 * T::MAGNITUDE_BITS + 4);
    let both = time(|| {
        ahead(&mut before, &mut gates);
        let errors = recurrent::Errors {
            dy: black_box(&dy),
            exponent: unit,
            windows,
        };
        recurrent::backward(
            &Serial,
            shape,
            weights,
            &gates,
            errors,
            &mut dz,
            &mut [],
            &mut scratch,
        )
        .unwrap();
        let of = |inputs| dense::Shape {
            batch: n,
            inputs,
            outputs: rows,
        };
        dense::backward_input(&Serial, of(INPUTS), &dz, &input, store, &mut dx).unwrap();
        let mut gradient = Gradient::<T, _>::Store(&mut d_input);
        dense::backward_weight(of(INPUTS), &x, &dz, &mut gradient).unwrap();
        let mut gradient = Gradient::<T, _>::Store(&mut d_hidden);
        dense::backward_weight(of(UNITS), &before, &dz, &mut gradient).unwrap();
        let mut gradient = Gradient::<T::Bias, _>::Store(&mut d_bias);
        dense::backward_bias::<T>(rows, &dz, &mut gradient).unwrap();
    });
    [forward, both]
}
