//! Dense layers: a matrix product with a bias, and its two gradients.

use crate::activation::check_slope;
use crate::arch::block::{self, Block, Factors, HEIGHT, WIDTH};
use crate::arch::panel::{self, LANES, Panel};
use crate::arch::scalar::{TILE, add_row};
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments};
use crate::arch::{self, Isa, Kernel};
use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::finish::{Shared, TileFinish};
use crate::fixed::{Accumulator, Magnitude};
use crate::optim::Gradient;
use crate::requantize::{Epilogue, Store};
use crate::split::{rows_of, rows_of_mut};

/// The extents of a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of input and output, `N`.
    pub batch: usize,
    /// Features of an input row, `I`.
    pub inputs: usize,
    /// Features of an output row, `O`.
    pub outputs: usize,
}

impl Shape {
    /// For a pass that sums `terms` products.
    fn check<T: Element>(self, terms: usize) -> Result<()> {
        // Each tensor for itself: the number of products may exceed 32 bits.
        for tensor in [
            [self.batch, self.inputs],
            [self.batch, self.outputs],
            [self.outputs, self.inputs],
        ] {
            Arg::Shape.product(&tensor)?;
        }
        limit(terms, T::MAX_PRODUCTS)
    }
}

/// Refuses sums of more products than an accumulator holds.
pub(crate) fn limit(terms: usize, limit: usize) -> Result<()> {
    if terms <= limit {
        Ok(())
    } else {
        Err(Error::Accumulator { terms, limit })
    }
}

/// A bias with the shift that takes it to the accumulator's exponent.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a, T: Element> {
    /// One for each output feature.
    pub values: &'a [T::Bias],
    /// Exponent of the accumulator less that of the bias; not used by floats.
    pub shift: i32,
}

impl<T: Element> Bias<'_, T> {
    /// That of a layer without one.
    pub(crate) const NONE: Self = Self {
        values: &[],
        shift: 0,
    };
}

/// Dense layer, forward: `out[n, o] = epilogue(bias[o] + Σ_i x[n, i] · weight[o, i])`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, I]` | activations |
/// | `weight` | `[O, I]` | a row per output |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | `[N, O]`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns the bit length of the largest activated accumulator (0 for floats). Integers are exact
/// up to the epilogue, in any order. Floats: eight partial sums in a fixed order; the error is at
/// most `(I/8 + 4) · ε · Σ|x·w|`. NaN propagates.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit `shape`, [`Error::Zero`] for an empty extent,
/// [`Error::Overflow`] for extents beyond 32 bits, [`Error::Accumulator`] for more inputs than the type
/// can sum. `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{dense::{self, Bias, Shape}, exec::Serial, requantize::Epilogue};
/// let shape = Shape { batch: 1, inputs: 2, outputs: 2 };
/// let bias = Bias { values: &[0.5, -1.0], shift: 0 };
/// let mut out = [0.0f32; 2];
/// dense::forward(&Serial, shape, &[1.0f32, 2.0], &[1.0, 0.0, 0.0, 1.0], bias, Epilogue::EXACT, &mut out, &mut [])?;
/// assert_eq!(out, [1.5, 1.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition; the epilogue is `docs/numerics.md` §4.
#[allow(clippy::too_many_arguments)] // executor, shape, two inputs, two parameters, two outputs
pub fn forward<T: Element, O: Output<T>>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    weight: &[T],
    bias: Bias<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [O],
    slope: &mut [T],
) -> Result<u32> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    shape.check::<T>(inputs)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    Arg::Bias.check_len(bias.values.len(), &[outputs])?;
    Arg::Out.check_len(out.len(), &[batch, outputs])?;
    check_slope(slope.len(), out.len())?;
    let task = |first: usize, out: &mut [O], slope: &mut [T]| {
        let x = x.get(first * inputs..).unwrap_or_default();
        O::dense_forward(Rows {
            inputs,
            outputs,
            x,
            weight,
            finish: Shared::new(bias, epilogue),
            first: (first * outputs) as u32,
            out,
            slope,
        })
    };
    Ok(exec::rows_with(exec, out, outputs, slope, task))
}

/// Gradient with respect to the input: `dx[n, i] = store(Σ_o dy[n, o] · weight[o, i])`.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, O]` |
/// | `weight` | `[O, I]` |
/// | `dx` | `[N, I]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), which has the exponent of `dy`
/// plus that of `weight`. Floats are summed in the order of `o`.
///
/// # Errors
/// As [`forward`], where what is summed are outputs; `dx` is then untouched.
///
/// Source: the derivative of [`forward`], transposed.
pub fn backward_input<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    dy: &[T],
    weight: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    shape.check::<T>(outputs)?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    Arg::Dx.check_len(dx.len(), &[batch, inputs])?;
    Ok(exec::rows(exec, dx, inputs, |first, dx| {
        let dy = dy.get(first * outputs..).unwrap_or_default();
        T::dense_backward_input(RowsBack {
            inputs,
            outputs,
            dy,
            weight,
            store,
            first: (first * inputs) as u32,
            dx,
        })
    }))
}

/// Gradient with respect to the weights: `dw[o, i] = Σ_n dy[n, o] · x[n, i]`, handed to `gradient`,
/// which stores it or applies it at once.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, I]` |
/// | `dy` | `[N, O]` |
/// | `gradient` | `[O, I]` |
///
/// Its exponent is that of `dy` plus that of `x`. Floats are summed in the order of `n`.
///
/// # Errors
/// As [`forward`], where what is summed are rows; the sink is then untouched.
///
/// Source: the derivative of [`forward`] with respect to `weight`.
pub fn backward_weight<T: Element>(
    shape: Shape,
    x: &[T],
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    shape.check::<T>(0)?;
    limit(batch, T::MAX_GRADIENT_PRODUCTS)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    gradient.check_len(&[outputs, inputs])?;
    T::dense_backward_weight(WeightGradient {
        inputs,
        outputs,
        x,
        dy,
        gradient,
    });
    Ok(())
}

/// Gradient with respect to the bias: `db[o] = Σ_n dy[n, o]`, handed to `gradient`. Its exponent is
/// that of `dy`. A convolution's positions count as rows.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, O]` |
/// | `gradient` | `[O]` |
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`] as [`forward`].
///
/// Source: the derivative of [`forward`] with respect to `bias`.
pub fn backward_bias<T: Element>(
    outputs: usize,
    dy: &[T],
    gradient: &mut Gradient<'_, T::Bias, T::Acc>,
) -> Result<()> {
    let batch = dy
        .len()
        .checked_div(outputs)
        .ok_or(Error::Zero { arg: Arg::Shape })?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    limit(batch, T::MAX_GRADIENT_PRODUCTS)?;
    gradient.check_len(&[outputs])?;
    for o in 0..outputs {
        let mut sum = T::Acc::default();
        for row in rows_of(dy, outputs) {
            if let Some(&d) = row.get(o) {
                sum += d.to_acc();
            }
        }
        gradient.take(o, &[sum]);
    }
    Ok(())
}

/// Some rows of a forward pass.
pub struct Rows<'a, T: Element, O, F = Shared<'a, T>> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// From the first row on; may go further than `out`.
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    pub(crate) finish: F,
    /// Index of the first element of `out`.
    pub(crate) first: u32,
    pub(crate) out: &'a mut [O],
    /// As long as `out`, or empty.
    pub(crate) slope: &'a mut [T],
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Kernel for Rows<'_, T, O, F> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        if self.inputs == 0 || self.outputs == 0 {
            return 0;
        }
        let batch = self.out.len().checked_div(self.outputs).unwrap_or(0);
        if T::has_panels::<I>() && batch >= panel::worth(self.inputs) {
            return self.paneled(isa, batch);
        }
        if I::TILED {
            return self.tiled(isa, batch);
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = self.first;
        let mut slopes = rows_of_mut(self.slope, self.outputs);
        for (x, out) in rows_of(self.x, self.inputs).zip(rows_of_mut(self.out, self.outputs)) {
            let mut rows = rows_of(self.weight, self.inputs).zip(self.finish.biases());
            let mut channel = 0;
            let mut slopes = slopes.next().unwrap_or_default().chunks_mut(TILE);
            for out in out.chunks_mut(TILE) {
                let mut sums = [T::Acc::default(); TILE];
                for (sum, (weight, bias)) in sums.iter_mut().zip(rows.by_ref()).take(out.len()) {
                    let mut products = T::Sums::default();
                    self.finish.add_products(isa, &mut products, x, weight);
                    *sum = bias;
                    *sum += T::total(products);
                }
                let sums = sums.get_mut(..out.len()).unwrap_or_default();
                let slope = slopes.next().unwrap_or_default();
                (self.finish).block(sums, channel, element, &mut range, out, slope);
                element = element.wrapping_add(out.len() as u32);
                channel += out.len();
            }
        }
        range.bits()
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    /// The same by panels of the weights.
    #[inline(always)]
    fn paneled<I: Isa>(self, isa: I, batch: usize) -> u32 {
        let Self {
            inputs, outputs, ..
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let segments = Segments::one(inputs);
        let mut panel = Panel::new();
        let mut sums = [[[T::Acc::default(); LANES]; ROWS]; 2];
        let mut column = 0;
        while column < outputs {
            let weight = Operand {
                values: self.weight.get(column * inputs..).unwrap_or_default(),
                step: inputs,
                rows: panel::take(inputs, outputs - column),
            };
            T::pack(isa, weight, inputs, &mut panel);
            // Panels are of floats, which have no zero point.
            let biases: [[_; LANES]; 2] =
                [column, column + LANES].map(|column| self.finish.biases_from(column));
            for row in (0..batch).step_by(ROWS) {
                let x = Operand {
                    values: self.x.get(row * inputs..).unwrap_or_default(),
                    step: inputs,
                    rows: ROWS.min(batch - row),
                };
                T::by_panel(isa, x, &panel, &segments, &mut sums);
                let (mut start, mut left) = (row * outputs + column, weight.rows);
                for (sums, bias) in sums.iter_mut().zip(&biases) {
                    if left == 0 {
                        break;
                    }
                    for sums in sums.iter_mut().take(x.rows) {
                        for (sum, &bias) in sums.iter_mut().zip(bias) {
                            *sum += bias;
                        }
                    }
                    let count = left.min(LANES);
                    self.finish.tile(
                        sums,
                        start - row * outputs,
                        [x.rows, count, outputs],
                        self.first.wrapping_add(start as u32),
                        &mut range,
                        self.out.get_mut(start..).unwrap_or_default(),
                        self.slope.get_mut(start..).unwrap_or_default(),
                    );
                    (start, left) = (start + count, left - count);
                }
            }
            column += weight.rows;
        }
        range.bits()
    }

    /// The same in register tiles.
    #[inline(always)]
    fn tiled<I: Isa>(self, isa: I, batch: usize) -> u32 {
        let Self {
            inputs, outputs, ..
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let segments = Segments::one(inputs);
        let mut tile = [[T::Acc::default(); COLUMNS]; ROWS];
        // Some rows of the weights stay in the cache while all of `x` passes by.
        for column in (0..outputs).step_by(COLUMNS) {
            let weight = Operand {
                values: self.weight.get(column * inputs..).unwrap_or_default(),
                step: inputs,
                rows: COLUMNS.min(outputs - column),
            };
            let starts: [_; COLUMNS] = self.finish.starts_of_tile(isa, column, weight, &segments);
            for row in (0..batch).step_by(ROWS) {
                let x = Operand {
                    values: self.x.get(row * inputs..).unwrap_or_default(),
                    step: inputs,
                    rows: ROWS.min(batch - row),
                };
                T::tile(isa, x, weight, &segments, &mut tile);
                for sums in tile.iter_mut().take(x.rows) {
                    for (sum, &start) in sums.iter_mut().zip(&starts) {
                        *sum += start;
                    }
                }
                let start = row * outputs + column;
                self.finish.tile(
                    &mut tile,
                    column,
                    [x.rows, weight.rows, outputs],
                    self.first.wrapping_add(start as u32),
                    &mut range,
                    self.out.get_mut(start..).unwrap_or_default(),
                    self.slope.get_mut(start..).unwrap_or_default(),
                );
            }
        }
        range.bits()
    }
}

/// Some rows of an input gradient.
pub struct RowsBack<'a, T> {
    inputs: usize,
    outputs: usize,
    dy: &'a [T],
    weight: &'a [T],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

impl<T: Element> Kernel for RowsBack<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        if self.inputs == 0 || self.outputs == 0 {
            return 0;
        }
        if T::blocks_pay::<I>(self.inputs) {
            return self.blocked(isa);
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = self.first;
        for (dy, dx) in rows_of(self.dy, self.outputs).zip(rows_of_mut(self.dx, self.inputs)) {
            let mut start = 0;
            for dx in dx.chunks_mut(TILE) {
                let mut sums = [T::Acc::default(); TILE];
                for (&d, row) in dy.iter().zip(rows_of(self.weight, self.inputs)) {
                    let row = row.get(start..start + dx.len()).unwrap_or_default();
                    add_row::<T, I>(isa, &mut sums, d.widen(), row);
                }
                self.store.block::<T, T>(&sums, element, &mut range, dx);
                element = element.wrapping_add(dx.len() as u32);
                start += dx.len();
            }
        }
        range.bits()
    }
}

impl<T: Element> RowsBack<'_, T> {
    /// The same in blocks: several rows share each row of the weights.
    #[inline(always)]
    fn blocked<I: Isa>(self, isa: I) -> u32 {
        let Self {
            inputs, outputs, ..
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let epilogue = Epilogue {
            store: self.store,
            ..Epilogue::<T>::EXACT
        };
        let batch = self.dx.len().checked_div(inputs).unwrap_or(0);
        for column in (0..inputs).step_by(WIDTH) {
            let weight = block::Rows {
                values: self.weight.get(column..).unwrap_or_default(),
                step: inputs,
                count: outputs,
                width: WIDTH.min(inputs - column),
            };
            for row in (0..batch).step_by(HEIGHT) {
                let factors = Factors {
                    values: self.dy.get(row * outputs..).unwrap_or_default(),
                    sum_step: outputs,
                    row_step: 1,
                };
                let count = HEIGHT.min(batch - row);
                let mut sums: Block<T::Acc> = [[T::Acc::default(); WIDTH]; HEIGHT];
                T::add_block(
                    isa,
                    factors,
                    weight,
                    sums.get_mut(..count).unwrap_or_default(),
                );
                let start = row * inputs + column;
                epilogue.tile(
                    &mut sums,
                    [count, weight.width, inputs],
                    self.first.wrapping_add(start as u32),
                    &mut range,
                    self.dx.get_mut(start..).unwrap_or_default(),
                    &mut [],
                );
            }
        }
        range.bits()
    }
}

/// A weight gradient.
pub struct WeightGradient<'a, 'g, T: Element> {
    inputs: usize,
    outputs: usize,
    x: &'a [T],
    dy: &'a [T],
    gradient: &'a mut Gradient<'g, T, T::Acc>,
}

impl<T: Element> Kernel for WeightGradient<'_, '_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if self.inputs == 0 || self.outputs == 0 {
            return;
        }
        if T::blocks_pay::<I>(self.inputs) {
            return self.blocked(isa);
        }
        let mut element = 0;
        for o in 0..self.outputs {
            let mut start = 0;
            while start < self.inputs {
                let width = TILE.min(self.inputs - start);
                let mut sums = [T::Acc::default(); TILE];
                for (x, dy) in rows_of(self.x, self.inputs).zip(rows_of(self.dy, self.outputs)) {
                    let (Some(x), Some(&d)) = (x.get(start..start + width), dy.get(o)) else {
                        continue;
                    };
                    add_row::<T, I>(isa, &mut sums, d.widen(), x);
                }
                self.gradient
                    .take(element, sums.get(..width).unwrap_or_default());
                element += width;
                start += width;
            }
        }
    }
}

impl<T: Element> WeightGradient<'_, '_, T> {
    /// The same in blocks: several outputs share each row of `x`.
    #[inline(always)]
    fn blocked<I: Isa>(self, isa: I) {
        let Self {
            inputs, outputs, ..
        } = self;
        let batch = self.x.len().checked_div(inputs).unwrap_or(0);
        for o in (0..outputs).step_by(HEIGHT) {
            let factors = Factors {
                values: self.dy.get(o..).unwrap_or_default(),
                sum_step: 1,
                row_step: outputs,
            };
            let count = HEIGHT.min(outputs - o);
            for column in (0..inputs).step_by(WIDTH) {
                let x = block::Rows {
                    values: self.x.get(column..).unwrap_or_default(),
                    step: inputs,
                    count: batch,
                    width: WIDTH.min(inputs - column),
                };
                let mut sums: Block<T::Acc> = [[T::Acc::default(); WIDTH]; HEIGHT];
                let sums = sums.get_mut(..count).unwrap_or_default();
                T::add_block(isa, factors, x, sums);
                for (r, sums) in sums.iter().enumerate() {
                    let sums = sums.get(..x.width).unwrap_or_default();
                    self.gradient.take((o + r) * inputs + column, sums);
                }
            }
        }
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn dense_backward_input(rows: RowsBack<'_, Self>) -> u32;
    #[doc(hidden)]
    fn dense_backward_weight(gradient: WeightGradient<'_, '_, Self>)
    where
        Self: Element;
}

/// The forward kernel from elements `T` to `Self`.
pub trait Stored<T: Element>: Sized {
    #[doc(hidden)]
    fn dense_forward(rows: Rows<'_, T, Self>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty => $($out:ty),+;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn dense_backward_input(rows: RowsBack<'_, Self>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn dense_backward_weight(gradient: WeightGradient<'_, '_, Self>) {
                arch::dispatch(gradient);
            }
        }

        $(impl Stored<$t> for $out {
            #[inline(never)]
            fn dense_forward(rows: Rows<'_, $t, Self>) -> u32 {
                arch::dispatch(rows)
            }
        })+
    )*};
}

impl_kernels! {
    i8 => i8, i16; u8 => u8, u16; i16 => i16; u16 => u16; i32 => i32; u32 => u32; i64 => i64; u64 => u64;
    half::f16 => half::f16; half::bf16 => half::bf16; f32 => f32; f64 => f64;
}
