//! Cells in floats: gates in the accumulator's type, some units side by side.

use super::lanes::{Lanes, WIDTH, each, load, save};
use super::pass::{Row, RowBack, Seen, Units};
use super::{Backward, Cell, Forward, Kernels};
use crate::arch::{self, Isa};
use crate::element::{Element, Output};
use crate::real::{FloatElement, Real};
use half::{bf16, f16};

/// A step of some units: the row and where they begin.
struct Step<'r, 'a, T: Element> {
    row: &'r mut Row<'a, T>,
    units: usize,
    start: usize,
}

impl<T> Step<'_, '_, T>
where
    T: FloatElement + Kernels<Inner = T::Real>,
{
    /// `W x + b` of a gate, or `U h + b'`.
    #[inline(always)]
    fn sums(&self, side: usize, gate: usize) -> Lanes<T::Real> {
        let (Some(products), Some(biases)) =
            (self.row.products.get(side), self.row.biases.get(side))
        else {
            return [T::Real::default(); WIDTH];
        };
        let mut sums = load(products, self.units, gate, self.start, |x| x);
        if !biases.is_empty() {
            let biases = load(biases, self.units, gate, self.start, |b| T::bias(b, 0));
            for (sum, bias) in sums.iter_mut().zip(biases) {
                *sum += bias;
            }
        }
        sums
    }

    /// Both together.
    #[inline(always)]
    fn both(&self, gate: usize) -> Lanes<T::Real> {
        let mut sums = self.sums(0, gate);
        for (sum, of_h) in sums.iter_mut().zip(self.sums(1, gate)) {
            *sum += of_h;
        }
        sums
    }

    #[inline(always)]
    fn inner(&self) -> Lanes<T::Real> {
        load(self.row.inner, self.units, 0, self.start, |x| x)
    }

    #[inline(always)]
    fn save_inner(&mut self, inner: &Lanes<T::Real>) {
        save(self.row.inner, self.units, 0, self.start, inner, |x| x);
    }

    #[inline(always)]
    fn save_h(&mut self, h: &Lanes<T::Real>) {
        save(
            self.row.h,
            self.units,
            0,
            self.start,
            h,
            <T as Output<T>>::store,
        );
    }

    #[inline(always)]
    fn keep<const K: usize>(&mut self, kept: &[Lanes<T::Real>; K]) {
        for (gate, kept) in kept.iter().enumerate() {
            save(self.row.kept, self.units, gate, self.start, kept, |x| x);
        }
    }

    #[inline(always)]
    fn rnn(&mut self) {
        let h = each(self.both(0), Real::tanh);
        self.keep(&[h]);
        self.save_h(&h);
    }

    #[inline(always)]
    fn lstm(&mut self) {
        let i = each(self.both(0), Real::sigmoid);
        let f = each(self.both(1), Real::sigmoid);
        let g = each(self.both(2), Real::tanh);
        let o = each(self.both(3), Real::sigmoid);
        let c = self.inner();
        self.keep(&[i, f, g, o, c]);
        let c = cell(&i, &f, &g, &c);
        let mut h = each(c, Real::tanh);
        for (h, o) in h.iter_mut().zip(o) {
            *h = o * *h;
        }
        self.save_inner(&c);
        self.save_h(&h);
    }

    #[inline(always)]
    fn gru(&mut self) {
        let r = each(self.both(0), Real::sigmoid);
        let z = each(self.both(1), Real::sigmoid);
        let a = self.sums(1, 2);
        let mut n = self.sums(0, 2);
        for ((n, a), r) in n.iter_mut().zip(a).zip(r) {
            *n += r * a;
        }
        let n = each(n, Real::tanh);
        let mut s = self.inner();
        self.keep(&[r, z, n, a, s]);
        for ((s, z), n) in s.iter_mut().zip(z).zip(n) {
            *s = (T::Real::ONE - z) * n + z * *s;
        }
        self.save_inner(&s);
        self.save_h(&s);
    }
}

/// `f ⊙ c + i ⊙ g`: the backward pass gets the same bits again.
#[inline(always)]
fn cell<R: Real>(i: &Lanes<R>, f: &Lanes<R>, g: &Lanes<R>, c: &Lanes<R>) -> Lanes<R> {
    let mut new = *c;
    for (((c, &i), &f), &g) in new.iter_mut().zip(i).zip(f).zip(g) {
        *c = f * *c + i * g;
    }
    new
}

/// The same, backward.
struct StepBack<'r, 'a, T: Element> {
    row: &'r mut RowBack<'a, T>,
    units: usize,
    start: usize,
}

impl<T> StepBack<'_, '_, T>
where
    T: FloatElement + Kernels<Inner = T::Real>,
{
    #[inline(always)]
    fn kept(&self, gate: usize) -> Lanes<T::Real> {
        load(self.row.kept, self.units, gate, self.start, |x| x)
    }

    #[inline(always)]
    fn inner(&self) -> Lanes<T::Real> {
        load(self.row.inner, self.units, 0, self.start, |x| x)
    }

    #[inline(always)]
    fn save_inner(&mut self, inner: &Lanes<T::Real>) {
        save(self.row.inner, self.units, 0, self.start, inner, |x| x);
    }

    #[inline(always)]
    fn save_errors(&mut self, side: usize, gate: usize, dz: &Lanes<T::Real>) {
        let to = if side == 0 {
            &mut *self.row.dz
        } else {
            &mut *self.row.dzu
        };
        save(
            to,
            self.units,
            gate,
            self.start,
            dz,
            <T as Output<T>>::store,
        );
    }

    /// The error of the output.
    #[inline(always)]
    fn dh(&self) -> Lanes<T::Real> {
        let mut dh = load(self.row.recurrent, self.units, 0, self.start, |x| x);
        let dy = load(self.row.dy, self.units, 0, self.start, T::widen);
        for (dh, dy) in dh.iter_mut().zip(dy) {
            *dh += dy;
        }
        dh
    }

    #[inline(always)]
    fn rnn(&mut self) {
        let mut dz = self.dh();
        for (dz, h) in dz.iter_mut().zip(self.kept(0)) {
            *dz = *dz * (T::Real::ONE - h * h);
        }
        self.save_errors(0, 0, &dz);
    }

    #[inline(always)]
    fn lstm(&mut self) {
        let one = T::Real::ONE;
        let [i, f] = [self.kept(0), self.kept(1)];
        let [g, o, before] = [self.kept(2), self.kept(3), self.kept(4)];
        let tanh = each(cell(&i, &f, &g, &before), Real::tanh);
        let dh = self.dh();
        let mut dc = self.inner();
        let mut dz = [dc; 4];
        for u in 0..WIDTH {
            let (i, f, g, o, t) = (i[u], f[u], g[u], o[u], tanh[u]);
            dc[u] += dh[u] * o * (one - t * t);
            dz[0][u] = dc[u] * g * (i * (one - i));
            dz[1][u] = dc[u] * before[u] * (f * (one - f));
            dz[2][u] = dc[u] * i * (one - g * g);
            dz[3][u] = dh[u] * t * (o * (one - o));
            dc[u] = dc[u] * f;
        }
        self.save_inner(&dc);
        for (gate, dz) in dz.iter().enumerate() {
            self.save_errors(0, gate, dz);
        }
    }

    #[inline(always)]
    fn gru(&mut self) {
        let one = T::Real::ONE;
        let [r, z, n] = [self.kept(0), self.kept(1), self.kept(2)];
        let [a, before] = [self.kept(3), self.kept(4)];
        let (mut dh, direct) = (self.dh(), self.inner());
        let mut dz = [dh; 4];
        for u in 0..WIDTH {
            let (r, z, n) = (r[u], z[u], n[u]);
            let d = dh[u] + direct[u];
            let dn = d * (one - z) * (one - n * n);
            dz[0][u] = dn * a[u] * (r * (one - r));
            dz[1][u] = d * (before[u] - n) * (z * (one - z));
            dz[2][u] = dn;
            dz[3][u] = dn * r;
            dh[u] = d * z;
        }
        self.save_inner(&dh);
        let [reset, update, new, hidden] = &dz;
        for (gate, [dz, dzu]) in [[reset; 2], [update; 2], [new, hidden]].iter().enumerate() {
            self.save_errors(0, gate, dz);
            self.save_errors(1, gate, dzu);
        }
    }
}

#[inline(always)]
fn advance<T>(cell: Cell, mut row: Row<'_, T>)
where
    T: FloatElement + Kernels<Inner = T::Real>,
{
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
fn retreat<T>(cell: Cell, mut row: RowBack<'_, T>)
where
    T: FloatElement + Kernels<Inner = T::Real>,
{
    let units = row.recurrent.len();
    for start in (0..units).step_by(WIDTH) {
        let row = &mut row;
        let mut step = StepBack { row, units, start };
        match cell {
            Cell::Rnn => step.rnn(),
            Cell::Lstm => step.lstm(),
            Cell::Gru => step.gru(),
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident: $real:ident;)*) => {$(
        impl Units for $t {
            #[inline(always)]
            fn advance<I: Isa>(_: I, cell: Cell, row: Row<'_, Self>) {
                advance(cell, row);
            }

            #[inline(always)]
            fn retreat<I: Isa>(_: I, cell: Cell, row: RowBack<'_, Self>, _: &mut Seen) {
                retreat(cell, row);
            }
        }

        impl Kernels for $t {
            type Inner = $real;

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

impl_kernels! { f16: f32; bf16: f32; f32: f32; f64: f64; }
