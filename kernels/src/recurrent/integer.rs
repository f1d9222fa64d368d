//! Cells in integers: sums of gates in Q11, gates in Q15 by tables, errors in 16 bits and a window's exponent.

use super::lanes::{Lanes, WIDTH, each, load, over, save};
use super::pass::{Row, RowBack, Seen, Units};
use super::{Backward, Cell, Forward, Kernels, Windows};
use crate::arch::{self, Isa};
use crate::element::{Element, Output};
use crate::fixed::{self, Accumulator, Rounding, sat_i32, sat_i64, shift_rne_i32, shift_rne_i64};
use crate::lut::{sigmoid, tanh};

/// 1 in Q15.
const ONE: i32 = 1 << 15;

/// A product in Q30 as Q15, to nearest even.
#[inline(always)]
fn q15(x: i32) -> i32 {
    shift_rne_i32(x, 15)
}

/// The derivative of the logistic function where it is `y`, in Q15.
#[inline(always)]
fn slope(y: i32) -> i32 {
    q15(y * (ONE - y))
}

/// The derivative of the hyperbolic tangent where it is `y`, in Q15.
#[inline(always)]
fn tanh_slope(y: i32) -> i32 {
    ONE - q15(y * y)
}

/// What recurrent layers want of an integer type.
trait Integer: Element + Kernels<Inner = i16> {
    /// Accumulators in Q11, 28 bits.
    fn q11(acc: Lanes<Self::Acc>, exponent: i32) -> Lanes<i32>;
    /// A bias in Q11, 28 bits.
    fn bias_q11(bias: Self::Bias, exponent: i32) -> i32;
    /// `x / 2^shift` to nearest even, stored.
    fn stored(x: Lanes<i32>, shift: i32) -> Lanes<Self>;
    /// `x / 2^shift` to nearest even, 62 bits.
    fn errors(x: Lanes<Self::Acc>, shift: i32) -> Lanes<i64>;
    /// An element without its offset.
    fn long(self) -> i64;
    fn acc(x: i32) -> Self::Acc;
    /// What [`Integer::acc`] made an accumulator of.
    fn of_acc(acc: Self::Acc) -> i32;
    /// An error of the output `h` of tanh as one of its argument: `d · (1 - h²)`.
    fn bent(d: i32, h: Self) -> i32;
}

/// `$narrow`: what holds an element and 32 bits; `$long`: what holds an accumulator and 64; `$wide`: what holds
/// an element's square and 16 bits times an element.
macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident, bias $shift_bias:ident, narrow $narrow:ident, long $long:ident,
       wide $wide:ident $shift_wide:ident;)*) => {$(
        impl Integer for $t {
            #[inline(always)]
            fn q11(mut acc: Lanes<$acc>, exponent: i32) -> Lanes<i32> {
                let shift = (-11i32).saturating_sub(exponent);
                $acc::shift_all(&mut acc, shift, Rounding::NearestEven, |_| 0);
                over(&acc, |acc| acc.saturate(28) as i32)
            }

            #[inline(always)]
            fn bias_q11(bias: Self::Bias, exponent: i32) -> i32 {
                let shift = (-11i32).saturating_sub(exponent);
                $shift_bias(bias.into(), shift).saturate(28) as i32
            }

            #[inline(always)]
            fn stored(x: Lanes<i32>, shift: i32) -> Lanes<Self> {
                let mut x = over(&x, $narrow::from);
                $narrow::shift_all(&mut x, shift, Rounding::NearestEven, |_| 0);
                over(&x, |x| <$t as Output<$t>>::store(x.saturate(Self::MAGNITUDE_BITS).into()))
            }

            #[inline(always)]
            fn errors(mut x: Lanes<$acc>, shift: i32) -> Lanes<i64> {
                if shift > 0 {
                    $acc::shift_all(&mut x, shift, Rounding::NearestEven, |_| 0);
                    return over(&x, |x| $long::from(x).saturate(62) as i64);
                }
                let mut x = over(&x, $long::from);
                $long::shift_all(&mut x, shift, Rounding::NearestEven, |_| 0);
                over(&x, |x| x.saturate(62) as i64)
            }

            #[inline(always)]
            fn long(self) -> i64 {
                self.widen().into()
            }

            #[inline(always)]
            fn acc(x: i32) -> $acc {
                x.into()
            }

            #[inline(always)]
            fn of_acc(acc: $acc) -> i32 {
                acc as i32
            }

            #[inline(always)]
            fn bent(d: i32, h: Self) -> i32 {
                const M: i32 = <$t as Element>::MAGNITUDE_BITS as i32;
                let h = $wide::from(h.widen());
                let slope = (1 << M) - fixed::$shift_wide(h * h, M);
                fixed::$shift_wide($wide::from(d) * slope, M) as i32 // at most 16 bits
            }
        }
    )*};
}

impl_integer! {
    i8: acc i32, bias shift_rne_i32, narrow i32, long i64, wide i32 shift_rne_i32;
    u8: acc i32, bias shift_rne_i32, narrow i32, long i64, wide i32 shift_rne_i32;
    i16: acc i64, bias shift_rne_i32, narrow i32, long i64, wide i32 shift_rne_i32;
    u16: acc i64, bias shift_rne_i32, narrow i32, long i64, wide i32 shift_rne_i32;
    i32: acc i64, bias shift_rne_i64, narrow i32, long i64, wide i64 shift_rne_i64;
    u32: acc i64, bias shift_rne_i64, narrow i32, long i64, wide i64 shift_rne_i64;
    i64: acc i128, bias shift_rne_i64, narrow i64, long i128, wide i128 shift_rne_i128;
    u64: acc i128, bias shift_rne_i64, narrow i64, long i128, wide i128 shift_rne_i128;
}

/// A step of some units: the row and where they begin.
struct Step<'r, 'a, T: Element> {
    row: &'r mut Row<'a, T>,
    units: usize,
    start: usize,
}

impl<T: Integer> Step<'_, '_, T> {
    /// `W x + b` of a gate, in Q11 and 29 bits.
    #[inline(always)]
    fn of_x(&self, gate: usize) -> Lanes<i32> {
        let [x, _] = self.row.products;
        let exponents = self.row.exponents;
        let product = T::q11(
            self.load(x, gate),
            self.row.x.saturating_add(exponents.input),
        );
        self.with_bias(product, self.row.biases[0], gate, exponents.bias)
    }

    /// `U h + b'` of a gate, in Q11 and 29 bits.
    #[inline(always)]
    fn of_h(&self, gate: usize) -> Lanes<i32> {
        let [_, h] = self.row.products;
        let exponents = self.row.exponents;
        let exponent = exponents.hidden.saturating_sub(T::MAGNITUDE_BITS as i32);
        let product = T::q11(self.load(h, gate), exponent);
        self.with_bias(product, self.row.biases[1], gate, exponents.hidden_bias)
    }

    #[inline(always)]
    fn load<E: Copy + Default>(&self, values: &[E], gate: usize) -> Lanes<E> {
        load(values, self.units, gate, self.start, |x| x)
    }

    #[inline(always)]
    fn with_bias(
        &self,
        mut sums: Lanes<i32>,
        biases: &[T::Bias],
        gate: usize,
        exponent: i32,
    ) -> Lanes<i32> {
        if !biases.is_empty() {
            let bias = |bias| T::bias_q11(bias, exponent);
            let biases = load(biases, self.units, gate, self.start, bias);
            for (sum, bias) in sums.iter_mut().zip(biases) {
                *sum += bias;
            }
        }
        sums
    }

    /// Both together, in 15 bits.
    #[inline(always)]
    fn both(&self, gate: usize) -> Lanes<i32> {
        let mut sums = self.of_x(gate);
        for (sum, of_h) in sums.iter_mut().zip(self.of_h(gate)) {
            *sum = sat_i32(*sum + of_h, 15);
        }
        sums
    }

    #[inline(always)]
    fn inner(&self) -> Lanes<i32> {
        load(self.row.inner, self.units, 0, self.start, i32::from)
    }

    #[inline(always)]
    fn save_inner(&mut self, inner: &Lanes<i32>) {
        save(self.row.inner, self.units, 0, self.start, inner, |x| {
            x as i16
        });
    }

    /// Stores the output, of `2^-15-places` units.
    #[inline(always)]
    fn save_h(&mut self, h: Lanes<i32>, places: i32) {
        let h = T::stored(h, 15 + places - T::MAGNITUDE_BITS as i32);
        save(self.row.h, self.units, 0, self.start, &h, |h| h);
    }

    #[inline(always)]
    fn keep<const K: usize>(&mut self, kept: &[Lanes<i32>; K]) {
        for (gate, kept) in kept.iter().enumerate() {
            save(self.row.kept, self.units, gate, self.start, kept, |x| {
                x as i16
            }); // 15 bits
        }
    }

    #[inline(always)]
    fn rnn(&mut self) {
        let z = self.both(0);
        self.keep(&[z]);
        self.save_h(each(z, tanh), 0);
    }

    #[inline(always)]
    fn lstm(&mut self) {
        let [i, f] = [self.both(0), self.both(1)];
        let [g, o] = [self.both(2), self.both(3)];
        let c = self.inner();
        self.keep(&[i, f, g, o, c]);
        let c = cell(&each(i, sigmoid), &each(f, sigmoid), &each(g, tanh), &c);
        let mut h = each(o, sigmoid);
        for (h, c) in h.iter_mut().zip(each(c, tanh)) {
            *h *= c;
        }
        self.save_inner(&c);
        self.save_h(h, 15);
    }

    #[inline(always)]
    fn gru(&mut self) {
        let [r, z] = [self.both(0), self.both(1)];
        let (mut n, mut a) = (self.of_x(2), self.of_h(2));
        for ((n, a), r) in n.iter_mut().zip(&mut a).zip(each(r, sigmoid)) {
            *a = sat_i32(*a, 15);
            *n = sat_i32(*n + q15(r * *a), 15);
        }
        let mut s = self.inner();
        self.keep(&[r, z, n, a, s]);
        for ((s, z), n) in s.iter_mut().zip(each(z, sigmoid)).zip(each(n, tanh)) {
            *s = sat_i32(q15((ONE - z) * n + z * *s), 15);
        }
        self.save_inner(&s);
        self.save_h(s, 0);
    }
}

/// An LSTM's cell after a step: gates in Q15, cells in Q11.
#[inline(always)]
fn cell(i: &Lanes<i32>, f: &Lanes<i32>, g: &Lanes<i32>, c: &Lanes<i32>) -> Lanes<i32> {
    let mut new = *c;
    for (((c, &i), &f), &g) in new.iter_mut().zip(i).zip(f).zip(g) {
        *c = sat_i32(q15(f * *c + shift_rne_i32(i * g, 4)), 15);
    }
    new
}

/// The same, backward.
struct StepBack<'r, 'a, T: Element> {
    row: &'r mut RowBack<'a, T>,
    seen: &'r mut Seen,
    units: usize,
    start: usize,
}

impl<T: Integer> StepBack<'_, '_, T> {
    #[inline(always)]
    fn kept(&self, gate: usize) -> Lanes<i32> {
        load(self.row.kept, self.units, gate, self.start, i32::from)
    }

    #[inline(always)]
    fn inner(&self) -> Lanes<i32> {
        load(self.row.inner, self.units, 0, self.start, T::of_acc)
    }

    #[inline(always)]
    fn save_inner(&mut self, inner: &Lanes<i32>) {
        save(self.row.inner, self.units, 0, self.start, inner, T::acc);
    }

    /// The error of the output in 15 bits, with what is carried past the gates.
    #[inline(always)]
    fn dh(&mut self, direct: &Lanes<i32>) -> Lanes<i32> {
        let Windows { state, .. } = self.row.windows;
        let [of_dy, of_product] = self.row.exponents;
        let mut dy = load(self.row.dy, self.units, 0, self.start, T::long);
        for dy in &dy {
            self.seen.dy |= dy.unsigned_abs();
        }
        let shift = state.saturating_sub(of_dy);
        i64::shift_all(&mut dy, shift, Rounding::NearestEven, |_| 0);
        let product = load(self.row.recurrent, self.units, 0, self.start, |x| x);
        let product = T::errors(product, state.saturating_sub(of_product));
        let mut dh = *direct;
        for (((dh, dy), product), &direct) in dh.iter_mut().zip(dy).zip(product).zip(direct) {
            let error = (i64::from(direct) + product).saturating_add(dy);
            self.seen.state |= error.unsigned_abs();
            *dh = sat_i64(error, 15) as i32;
        }
        dh
    }

    /// Shows the window the errors of a gate's sum.
    #[inline(always)]
    fn see(&mut self, dz: &Lanes<i32>) {
        for dz in dz {
            self.seen.gates |= u64::from(dz.unsigned_abs());
        }
    }

    #[inline(always)]
    fn save_errors(&mut self, side: usize, gate: usize, dz: &Lanes<i32>) {
        let Windows { state, gates } = self.row.windows;
        let dz = T::stored(*dz, gates.saturating_sub(state));
        let to = if side == 0 {
            &mut *self.row.dz
        } else {
            &mut *self.row.dzu
        };
        save(to, self.units, gate, self.start, &dz, |dz| dz);
    }

    #[inline(always)]
    fn rnn(&mut self) {
        let h = T::stored(each(self.kept(0), tanh), 15 - T::MAGNITUDE_BITS as i32);
        let mut dz = self.dh(&[0; WIDTH]);
        for (dz, h) in dz.iter_mut().zip(h) {
            *dz = T::bent(*dz, h);
        }
        self.see(&dz);
        self.save_errors(0, 0, &dz);
    }

    #[inline(always)]
    fn lstm(&mut self) {
        let [i, f] = [each(self.kept(0), sigmoid), each(self.kept(1), sigmoid)];
        let [g, o] = [each(self.kept(2), tanh), each(self.kept(3), sigmoid)];
        let before = self.kept(4);
        let tanh = each(cell(&i, &f, &g, &before), tanh);
        let dh = self.dh(&[0; WIDTH]);
        let mut dc = self.inner();
        let mut dz = [dc; 4];
        for u in 0..WIDTH {
            let (i, f, g, o, t) = (i[u], f[u], g[u], o[u], tanh[u]);
            let error = dc[u] + q15(q15(dh[u] * o) * tanh_slope(t));
            self.seen.state |= u64::from(error.unsigned_abs());
            let d = sat_i32(error, 15);
            dz[0][u] = q15(q15(d * g) * slope(i));
            dz[1][u] = q15(sat_i32(shift_rne_i32(d * before[u], 11), 17) * slope(f));
            dz[2][u] = q15(q15(d * i) * tanh_slope(g));
            dz[3][u] = q15(q15(dh[u] * t) * slope(o));
            dc[u] = q15(d * f);
        }
        self.save_inner(&dc);
        for (gate, dz) in dz.iter().enumerate() {
            self.see(dz);
            self.save_errors(0, gate, dz);
        }
    }

    #[inline(always)]
    fn gru(&mut self) {
        let [r, z] = [each(self.kept(0), sigmoid), each(self.kept(1), sigmoid)];
        let n = each(self.kept(2), tanh);
        let [a, before] = [self.kept(3), self.kept(4)];
        let mut dh = self.dh(&self.inner());
        let mut dz = [dh; 4];
        for u in 0..WIDTH {
            let (d, r, z, n) = (dh[u], r[u], z[u], n[u]);
            let dn = q15(q15(d * (ONE - z)) * tanh_slope(n));
            dz[0][u] = q15(sat_i32(shift_rne_i32(dn * a[u], 11), 17) * slope(r));
            dz[1][u] = q15((q15(d * before[u]) - q15(d * n)) * slope(z));
            dz[2][u] = dn;
            dz[3][u] = q15(dn * r);
            dh[u] = q15(d * z);
        }
        self.save_inner(&dh);
        let [reset, update, new, hidden] = &dz;
        for (gate, [dz, dzu]) in [[reset; 2], [update; 2], [new, hidden]].iter().enumerate() {
            self.see(dz);
            self.save_errors(0, gate, dz);
            self.save_errors(1, gate, dzu);
        }
    }
}

#[inline(always)]
fn advance<T: Integer>(cell: Cell, mut row: Row<'_, T>) {
    let units = row.h.len();
    for start in (0..units).step_by(WIDTH) {
        let row = &mut row;
        let mut step = Step { row, units, start };
        match cell {
            Cell::Rnn => step.rnn(),
            Cell::Lstm => step.lstm(),
            Cell::Gru => step.gru(),
        }
    }
}

#[inline(always)]
fn retreat<T: Integer>(cell: Cell, mut row: RowBack<'_, T>, seen: &mut Seen) {
    let units = row.recurrent.len();
    for start in (0..units).step_by(WIDTH) {
        let row = &mut row;
        let mut step = StepBack {
            row,
            seen,
            units,
            start,
        };
        match cell {
            Cell::Rnn => step.rnn(),
            Cell::Lstm => step.lstm(),
            Cell::Gru => step.gru(),
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident)*) => {$(
        impl Units for $t {
            #[inline(always)]
            fn advance<I: Isa>(_: I, cell: Cell, row: Row<'_, Self>) {
                advance(cell, row);
            }

            #[inline(always)]
            fn retreat<I: Isa>(_: I, cell: Cell, row: RowBack<'_, Self>, seen: &mut Seen) {
                retreat(cell, row, seen);
            }
        }

        impl Kernels for $t {
            type Inner = i16;

            #[inline(never)]
            fn recurrent_forward(call: Forward<'_, Self>) {
                arch::dispatch(call);
            }

            #[inline(never)]
            fn recurrent_backward(call: Backward<'_, Self>) -> Seen {
                arch::dispatch(call)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 }
