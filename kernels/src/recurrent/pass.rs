//! The passes over time: products with the weights by rows, then each sequence's units.

use super::products::{Product, Rows, Way};
use super::{Cell, Errors, Exponents, Input, Keep, Output, Shape, State, Tops, Weights, Windows};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::exec::Split;
use crate::fixed::{Accumulator, Magnitude, bit_len};
use crate::split::{take, take_mut};

/// A checked call of [`forward`](super::forward), for some sequences.
pub struct Forward<'a, T: Element> {
    pub(super) shape: Shape,
    pub(super) x: Input<'a, T>,
    pub(super) weights: Weights<'a, T>,
    pub(super) state: State<'a, T>,
    pub(super) keep: Keep<'a, T>,
    pub(super) out: &'a mut [T],
    pub(super) scratch: &'a mut [T::Acc],
    /// Steps whose products with the input are computed together.
    pub(super) at_a_time: usize,
}

/// A checked call of [`backward`](super::backward), for some sequences.
pub struct Backward<'a, T: Element> {
    pub(super) shape: Shape,
    pub(super) weights: Weights<'a, T>,
    pub(super) gates: &'a [T::Inner],
    pub(super) errors: Errors<'a, T>,
    pub(super) dz: &'a mut [T],
    pub(super) dzu: &'a mut [T],
    pub(super) scratch: &'a mut [T::Acc],
}

/// One step of one sequence, forward.
pub(super) struct Row<'a, T: Element> {
    /// `[G, H]`: the product with the input, and with the output before.
    pub(super) products: [&'a [T::Acc]; 2],
    pub(super) biases: [&'a [T::Bias]; 2],
    /// Exponent of `x`, and of the parameters.
    pub(super) x: i32,
    pub(super) exponents: Exponents,
    /// `[H]`.
    pub(super) h: &'a mut [T],
    pub(super) inner: &'a mut [T::Inner],
    /// `[K, H]` or empty.
    pub(super) kept: &'a mut [T::Inner],
}

/// One step of one sequence, backward.
pub(super) struct RowBack<'a, T: Element> {
    /// `[H]`: the product with the errors of the step behind, zero at the end.
    pub(super) recurrent: &'a [T::Acc],
    /// `[H]`, or empty where the step's output is not given.
    pub(super) dy: &'a [T],
    /// Exponents of `dy`, of the product, and the windows.
    pub(super) exponents: [i32; 2],
    pub(super) windows: Windows,
    /// `[K, H]`.
    pub(super) kept: &'a [T::Inner],
    /// `[H]` or empty: the error of an LSTM's cell, of a GRU's output where it is carried past the gates.
    pub(super) inner: &'a mut [T::Acc],
    /// `[G, H]`.
    pub(super) dz: &'a mut [T],
    pub(super) dzu: &'a mut [T],
}

/// What a cell does with its units.
pub(super) trait Units: Element {
    fn advance<I: Isa>(isa: I, cell: Cell, row: Row<'_, Self>);
    fn retreat<I: Isa>(isa: I, cell: Cell, row: RowBack<'_, Self>, seen: &mut Seen);
}

/// The bits of all errors that the windows look at; nothing of floats.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    /// Of `dy`, at its exponent.
    pub(super) dy: u64,
    /// Of outputs and inner state, at theirs.
    pub(super) state: u64,
    /// Bit length of products with the hidden weights.
    pub(super) recurrent: u32,
    /// Of the gates' sums, at the state's exponent.
    pub(super) gates: u64,
}

impl Seen {
    pub(super) fn join(self, other: Self) -> Self {
        Self {
            dy: self.dy | other.dy,
            state: self.state | other.state,
            recurrent: self.recurrent.max(other.recurrent),
            gates: self.gates | other.gates,
        }
    }

    pub(super) fn tops(self, dy: i32, hidden: i32, windows: Windows) -> Tops {
        let top = |exponent: i32, bits: u32| {
            let top = exponent.saturating_add(bits as i32);
            (bits != 0).then_some(top)
        };
        let product = windows.gates.saturating_add(hidden);
        Tops {
            state: top(dy, bit_len(self.dy))
                .max(top(windows.state, bit_len(self.state)))
                .max(top(product, self.recurrent)),
            gates: top(windows.state, bit_len(self.gates)),
        }
    }
}

impl<T: Element> Split for Forward<'_, T> {
    fn split_off(&mut self, rows: usize) -> Self {
        let Shape {
            cell, steps, units, ..
        } = self.shape;
        let shape = Shape {
            batch: rows.min(self.shape.batch),
            ..self.shape
        };
        self.shape.batch -= shape.batch;
        let rows = shape.batch;
        let x = Input {
            values: take(&mut self.x.values, rows * steps * shape.inputs),
            ..self.x
        };
        Self {
            shape,
            x,
            weights: self.weights,
            state: State {
                h: take_mut(&mut self.state.h, rows * units),
                inner: take_mut(&mut self.state.inner, rows * shape.inner()),
            },
            keep: Keep {
                before: take_mut(&mut self.keep.before, rows * steps * units),
                gates: take_mut(&mut self.keep.gates, rows * steps * cell.kept() * units),
            },
            out: take_mut(&mut self.out, rows * shape.outputs()),
            scratch: take_mut(
                &mut self.scratch,
                rows * shape.rows() * (self.at_a_time + 1),
            ),
            at_a_time: self.at_a_time,
        }
    }
}

impl<T: Element> Split for Backward<'_, T> {
    fn split_off(&mut self, rows: usize) -> Self {
        let Shape {
            cell, steps, units, ..
        } = self.shape;
        let shape = Shape {
            batch: rows.min(self.shape.batch),
            ..self.shape
        };
        self.shape.batch -= shape.batch;
        let rows = shape.batch;
        Self {
            shape,
            weights: self.weights,
            gates: take(&mut self.gates, rows * steps * cell.kept() * units),
            errors: Errors {
                dy: take(&mut self.errors.dy, rows * shape.outputs()),
                ..self.errors
            },
            dz: take_mut(&mut self.dz, rows * steps * shape.rows()),
            dzu: take_mut(&mut self.dzu, rows * steps * shape.rows()),
            scratch: take_mut(&mut self.scratch, rows * (units + shape.inner())),
        }
    }
}

/// Part `index` of slices that lie `len` apart, or nothing.
#[inline(always)]
fn part<E>(values: &[E], index: usize, len: usize) -> &[E] {
    values
        .get(index * len..(index + 1) * len)
        .unwrap_or_default()
}

#[inline(always)]
fn part_mut<E>(values: &mut [E], index: usize, len: usize) -> &mut [E] {
    values
        .get_mut(index * len..(index + 1) * len)
        .unwrap_or_default()
}

/// As many elements as both have.
#[inline(always)]
fn copy<E: Copy>(to: &mut [E], from: &[E]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// The products of `count` steps from `first` on with the input's weights: `[B, count, G, H]`.
fn input_products<T: Element>(
    shape: Shape,
    [first, count]: [usize; 2],
    x: &Input<'_, T>,
    weights: &Weights<'_, T>,
    out: &mut [T::Acc],
) {
    let Shape {
        batch,
        steps,
        inputs,
        ..
    } = shape;
    let rows = shape.rows();
    // Calls for rows that lie at equal distances: all of them, or those of a sequence each.
    let (calls, count, step) = if count == steps {
        (1, batch * steps, inputs)
    } else if count == 1 {
        (1, batch, steps * inputs)
    } else {
        (batch, count, inputs)
    };
    for call in 0..calls {
        let at = (call * steps + first) * inputs;
        let x = Rows {
            values: x.values.get(at..).unwrap_or_default(),
            step,
            count,
        };
        let out = out.get_mut(call * count * rows..).unwrap_or_default();
        arch::dispatch(Product {
            way: Way::Ahead,
            rows: x,
            weight: weights.input,
            extents: [inputs, rows],
            out,
        });
    }
}

/// The units of a sequence at a step, forward: a kernel of its own.
struct Advance<'a, T: Element> {
    cell: Cell,
    row: Row<'a, T>,
}

impl<T: Units> Kernel for Advance<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        T::advance(isa, self.cell, self.row);
    }
}

/// The same backward.
struct Retreat<'a, T: Element> {
    cell: Cell,
    row: RowBack<'a, T>,
    seen: &'a mut Seen,
}

impl<T: Units> Kernel for Retreat<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        T::retreat(isa, self.cell, self.row, self.seen);
    }
}

/// Runs over all steps, forward.
pub(super) fn forward<T: Units>(call: Forward<'_, T>) {
    let shape = call.shape;
    let Shape {
        cell,
        batch,
        steps,
        units,
        ..
    } = shape;
    let rows = shape.rows();
    let (of_x, of_h) = call
        .scratch
        .split_at_mut_checked(batch * call.at_a_time * rows)
        .unwrap_or_default();
    let mut done = 0;
    while done < steps {
        let count = call.at_a_time.min(steps - done);
        let first = shape.at(done).min(shape.at(done + count - 1));
        input_products(shape, [first, count], &call.x, &call.weights, of_x);
        for step in done..done + count {
            let t = shape.at(step);
            let h = Rows {
                values: &*call.state.h,
                step: units,
                count: batch,
            };
            arch::dispatch(Product {
                way: Way::Ahead,
                rows: h,
                weight: call.weights.hidden,
                extents: [units, rows],
                out: of_h,
            });
            for b in 0..batch {
                let at = b * steps + t;
                let h = part_mut(call.state.h, b, units);
                copy(part_mut(call.keep.before, at, units), h);
                let row = Row {
                    products: [part(of_x, b * count + t - first, rows), part(of_h, b, rows)],
                    biases: [call.weights.bias, call.weights.hidden_bias],
                    x: call.x.exponent,
                    exponents: call.weights.exponents,
                    h,
                    inner: part_mut(call.state.inner, b, shape.inner()),
                    kept: part_mut(call.keep.gates, at, cell.kept() * units),
                };
                arch::dispatch(Advance { cell, row });
                if shape.output == Output::All {
                    let h = part(call.state.h, b, units);
                    copy(part_mut(call.out, at, units), h);
                }
            }
        }
        done += count;
    }
    if shape.output == Output::Last {
        copy(call.out, call.state.h);
    }
}

/// The same backward.
pub(super) fn backward<T: Units>(call: Backward<'_, T>) -> Seen {
    let shape = call.shape;
    let Shape {
        cell,
        batch,
        steps,
        units,
        ..
    } = shape;
    let rows = shape.rows();
    let (recurrent, inner) = call
        .scratch
        .split_at_mut_checked(batch * units)
        .unwrap_or_default();
    recurrent.fill(T::Acc::default());
    inner.fill(T::Acc::default());
    let mut seen = Seen::default();
    let mut range = <T::Acc as Accumulator>::Magnitude::default();
    let product = (call.errors.windows.gates).saturating_add(call.weights.exponents.hidden);
    for step in (0..steps).rev() {
        let t = shape.at(step);
        for b in 0..batch {
            let at = b * steps + t;
            let dy = match shape.output {
                Output::All => part(call.errors.dy, at, units),
                Output::Last if step == steps - 1 => part(call.errors.dy, b, units),
                Output::Last => &[],
            };
            let row = RowBack {
                recurrent: part(recurrent, b, units),
                dy,
                exponents: [call.errors.exponent, product],
                windows: call.errors.windows,
                kept: part(call.gates, at, cell.kept() * units),
                inner: part_mut(inner, b, shape.inner()),
                dz: part_mut(call.dz, at, rows),
                dzu: part_mut(call.dzu, at, rows),
            };
            let seen = &mut seen;
            arch::dispatch(Retreat { cell, row, seen });
        }
        // The window of integers also sees what would go on before the first step.
        if step == 0 && !T::DTYPE.is_integer() {
            break;
        }
        let d = if cell == Cell::Gru {
            &*call.dzu
        } else {
            &*call.dz
        };
        let d = Rows {
            values: d.get(t * rows..).unwrap_or_default(),
            step: steps * rows,
            count: batch,
        };
        arch::dispatch(Product {
            way: Way::Back,
            rows: d,
            weight: call.weights.hidden,
            extents: [units, rows],
            out: &mut *recurrent,
        });
        for acc in recurrent.iter().take(batch * units) {
            range = range.or(acc.magnitude());
        }
    }
    seen.recurrent = range.bits();
    seen
}
