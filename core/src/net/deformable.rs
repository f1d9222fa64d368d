//! Deformable attention of a feature map to itself, with its projections.

use super::weighted::Weighted;
use super::{
    ActivatedTape, Backward, BatchSum, Errors, Identity, Info, Layer, LongSum, Optimizer,
    OutputTape, Param, Pass, Plain, SampleTape, Scratch, Slopes, Tape, Values, Visitor, VisitorMut,
    part,
};
use crate::error::{Result, in_layer};
use crate::ops::deformable::Map;
use crate::tensor::{D1, D2, D3, D4, D5};
use selvedge_kernels::deformable::{self, Inputs, Level};
use selvedge_kernels::elementwise::{self, Term};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Result as KernelResult, dense};

pub use selvedge_kernels::deformable::Float;

/// What a projection to the shape `S` keeps.
type Projected<T, S, const B: usize> = ActivatedTape<T, Identity, S, B>;

/// Deformable attention of a map of `H` rows and `W` columns of `F` features to itself: each of `HEADS` heads of `SIZE`
/// features reads `POINTS` positions around each cell, at distances and with weights that the cell's features tell.
/// From `[H, W, F]` to `[H, W, F]`. Floats only.
///
/// It contains four dense layers, with numbers behind its own: offsets in cells `[HEADS · POINTS · 2, F]`, column
/// first, logits of the weights `[HEADS · POINTS, F]`, values `[HEADS · SIZE, F]`, and the output `[F, HEADS · SIZE]`.
/// Offsets start the same everywhere, a direction for each head ([`deformable::initial_offsets`]), and weights equal.
/// Numerical behaviour: [`selvedge_kernels::deformable`]. One level; the kernels have several.
///
/// Source: Zhu et al. 2021, §4.1 and §A.3.
///
/// # Errors
/// Of a pass: [`Error::Layer`](crate::Error::Layer) for an extent of 0.
///
/// # Example
/// ```
/// use selvedge_core::net::{DeformableAttention, Layer, LayerNorm, Residual};
/// use selvedge_core::tensor::D3;
/// // Half a block over a map of 8×6 cells of 16 features: two heads of eight features that read four points each.
/// type Half<T> = Residual<(LayerNorm<T, D3<8, 6, 16>>, DeformableAttention<T, 8, 6, 16, 2, 4, 8>)>;
/// static HALF: Half<f32> = Layer::BLANK;
/// assert_eq!(Half::<f32>::INFO.parameters, 2 * 16 + (16 + 8 + 16) * 17 + 16 * 17);
/// ```
/// A network with one names the type that its lengths are computed for:
/// ```
/// use selvedge_core::net;
/// use selvedge_core::net::{DeformableAttention, Float};
///
/// net! {
///     struct Looking<T: Float = f32>: [8, 6, 4] {
///         around: layer(DeformableAttention<T, 8, 6, 4, 1, 4, 4, R> => [8, 6, 4]),
///         pool: global_average_pool,
///         head: dense(10),
///     }
/// }
/// ```
/// Integers have no such layer:
/// ```compile_fail
/// # use selvedge_core::net::{DeformableAttention, Layer};
/// static BLOCK: DeformableAttention<i8, 8, 6, 16, 2, 4, 8> = Layer::BLANK;
/// ```
pub struct DeformableAttention<
    T: Float,
    const H: usize,
    const W: usize,
    const F: usize,
    const HEADS: usize,
    const POINTS: usize,
    const SIZE: usize,
    R: Optimizer = Plain,
> {
    offset: Weighted<T, D4<HEADS, POINTS, 2, F>, D3<HEADS, POINTS, 2>, R>,
    logit: Weighted<T, D3<HEADS, POINTS, F>, D2<HEADS, POINTS>, R>,
    value: Weighted<T, D3<HEADS, SIZE, F>, D2<HEADS, SIZE>, R>,
    output: Weighted<T, D3<F, HEADS, SIZE>, D1<F>, R>,
}

/// What deformable attention keeps: the outputs of its projections and of its heads, positions and weights; and room
/// for their errors.
pub struct DeformableTape<
    T: Element,
    const H: usize,
    const W: usize,
    const F: usize,
    const HEADS: usize,
    const POINTS: usize,
    const SIZE: usize,
    const B: usize,
> {
    offset: Projected<T, D5<H, W, HEADS, POINTS, 2>, B>,
    logit: Projected<T, D4<H, W, HEADS, POINTS>, B>,
    value: Projected<T, D4<H, W, HEADS, SIZE>, B>,
    positions: SampleTape<T::Acc, D5<H, W, HEADS, POINTS, 2>, B>,
    /// Then, in the backward pass, the errors of their logits.
    weights: SampleTape<T, D4<H, W, HEADS, POINTS>, B>,
    heads: OutputTape<T, D4<H, W, HEADS, SIZE>, B>,
    output: Projected<T, D3<H, W, F>, B>,
    position_error: SampleTape<T::Acc, D5<H, W, HEADS, POINTS, 2>, B>,
    offset_error: SampleTape<T, D5<H, W, HEADS, POINTS, 2>, B>,
    weight_error: SampleTape<T, D4<H, W, HEADS, POINTS>, B>,
    value_error: SampleTape<T, D4<H, W, HEADS, SIZE>, B>,
    /// Errors of the input, by way of logits and of values.
    input_errors: [SampleTape<T, D3<H, W, F>, B>; 2],
    sums: Scratch<T::Acc, D3<H, W, SIZE>, 1>,
    row: Scratch<T::Number, D1<POINTS>, 1>,
}

impl<
    T: Element,
    const H: usize,
    const W: usize,
    const F: usize,
    const HEADS: usize,
    const POINTS: usize,
    const SIZE: usize,
    const B: usize,
> Tape for DeformableTape<T, H, W, F, HEADS, POINTS, SIZE, B>
{
    const BLANK: Self = Self {
        offset: Tape::BLANK,
        logit: Tape::BLANK,
        value: Tape::BLANK,
        positions: Tape::BLANK,
        weights: Tape::BLANK,
        heads: Tape::BLANK,
        output: Tape::BLANK,
        position_error: Tape::BLANK,
        offset_error: Tape::BLANK,
        weight_error: Tape::BLANK,
        value_error: Tape::BLANK,
        input_errors: [Tape::BLANK; 2],
        sums: Tape::BLANK,
        row: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.heads.reset();
        self.output.reset();
    }
}

impl<
    T: Float,
    const H: usize,
    const W: usize,
    const F: usize,
    const HEADS: usize,
    const POINTS: usize,
    const SIZE: usize,
    R: Optimizer,
> DeformableAttention<T, H, W, F, HEADS, POINTS, SIZE, R>
{
    /// The weights of the offsets, `[HEADS, POINTS, 2, F]`.
    pub const fn offset(&self) -> &Param<T, D4<HEADS, POINTS, 2, F>, R> {
        &self.offset.weight
    }

    /// What offsets are before the input moves them, in cells, `[HEADS, POINTS, 2]`.
    pub const fn offset_bias(&self) -> &Param<T, D3<HEADS, POINTS, 2>, R> {
        &self.offset.bias
    }

    /// The weights of the logits, `[HEADS, POINTS, F]`.
    pub const fn logit(&self) -> &Param<T, D3<HEADS, POINTS, F>, R> {
        &self.logit.weight
    }

    /// The weights of the values, `[HEADS, SIZE, F]`.
    pub const fn value(&self) -> &Param<T, D3<HEADS, SIZE, F>, R> {
        &self.value.weight
    }

    /// The weights of the output, `[F, HEADS, SIZE]`.
    pub const fn output_weight(&self) -> &Param<T, D3<F, HEADS, SIZE>, R> {
        &self.output.weight
    }

    const CELLS: usize = H * W;
    const TAPS: usize = HEADS * POINTS;
    const VALUES: usize = HEADS * SIZE;

    const fn map(batch: usize) -> Map {
        Map {
            batch,
            level: Level {
                height: H,
                width: W,
            },
            heads: HEADS,
            points: POINTS,
            size: SIZE,
        }
    }

    /// All cells as rows of a dense layer.
    const fn rows(batch: usize, inputs: usize, outputs: usize) -> dense::Shape {
        dense::Shape {
            batch: batch * Self::CELLS,
            inputs,
            outputs,
        }
    }

    /// From the outputs of the projections to those of the heads.
    fn through_heads<E: Executor, const B: usize>(
        exec: &E,
        tape: &mut DeformableTape<T, H, W, F, HEADS, POINTS, SIZE, B>,
        batch: usize,
    ) -> KernelResult<()> {
        let projected = [
            tape.offset.output.values(batch).data,
            tape.logit.output.values(batch).data,
            tape.value.output.values(batch).data,
        ];
        Self::map(batch).forward(
            exec,
            projected,
            tape.positions.samples_mut(batch),
            tape.weights.samples_mut(batch),
            tape.row.all(),
            tape.heads.samples_mut(batch),
        )
    }

    /// Takes the error of the heads to those of offsets, logits and values.
    fn back_through_heads<E: Executor, const B: usize>(
        exec: &E,
        tape: &mut DeformableTape<T, H, W, F, HEADS, POINTS, SIZE, B>,
        batch: usize,
        dy: &[T],
    ) -> KernelResult<()> {
        let map = Self::map(batch);
        let inputs = Inputs {
            values: tape.value.output.values(batch).data,
            positions: tape.positions.samples(batch),
            weights: tape.weights.samples(batch),
        };
        let errors = deformable::Errors {
            values: tape.value_error.samples_mut(batch),
            positions: tape.position_error.samples_mut(batch),
            weights: tape.weight_error.samples_mut(batch),
        };
        let offsets = tape.offset_error.samples_mut(batch);
        map.backward(exec, inputs, dy, errors, offsets, tape.sums.all())?;
        let logits = tape.logit.output.values(batch).data;
        let (errors, dx) = (
            tape.weight_error.samples(batch),
            tape.weights.samples_mut(batch),
        );
        map.backward_logits(logits, errors, dx, tape.row.all())
    }
}

impl<
    T: Float,
    const H: usize,
    const W: usize,
    const F: usize,
    const HEADS: usize,
    const POINTS: usize,
    const SIZE: usize,
    R: Optimizer,
> Layer for DeformableAttention<T, H, W, F, HEADS, POINTS, SIZE, R>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = D3<H, W, F>;
    type Output = D3<H, W, F>;
    type Tape<const B: usize> = DeformableTape<T, H, W, F, HEADS, POINTS, SIZE, B>;

    const BLANK: Self = Self {
        offset: Weighted::BLANK,
        logit: Weighted::BLANK,
        value: Weighted::BLANK,
        output: Weighted::BLANK,
    };

    const INFO: Info = {
        let (cells, taps, values) = (Self::CELLS, Self::TAPS, Self::VALUES);
        let most = if F > values { F } else { values };
        Info {
            kind: "deformable_attention",
            numbers: 5,
            parameters: (3 * taps + values) * (F + 1) + F * (values + 1),
            // Of a point, four products for each feature.
            macs: cells * (F * (3 * taps + 2 * values) + 4 * taps * SIZE),
            flash_bytes:
                Weighted::<T, D4<HEADS, POINTS, 2, F>, D3<HEADS, POINTS, 2>, R>::FLASH_BYTES
                    + Weighted::<T, D3<HEADS, POINTS, F>, D2<HEADS, POINTS>, R>::FLASH_BYTES
                    + Weighted::<T, D3<HEADS, SIZE, F>, D2<HEADS, SIZE>, R>::FLASH_BYTES
                    + Weighted::<T, D3<F, HEADS, SIZE>, D1<F>, R>::FLASH_BYTES,
            errors: Errors {
                error: cells * F,
                spare: cells * most,
                swaps: false, // the sum goes where the error of the output was
            },
            errors_first: Errors {
                error: cells * F,
                spare: cells * values,
                swaps: false,
            },
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(cells, T::MAX_GRADIENT_PRODUCTS),
            long_sum: LongSum::of(most, T::MAX_PRODUCTS),
            long_sum_first: LongSum::of(F, T::MAX_PRODUCTS),
        }
        .inside()
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        (self.offset).init::<Identity>(seed, number + 1, F, F)?;
        (self.logit).init::<Identity>(seed, number + 2, F, F)?;
        (self.value).init::<Identity>(seed, number + 3, F, F)?;
        (self.output).init::<Identity>(seed, number + 4, Self::VALUES, Self::VALUES)?;
        self.offset.weight.set_zero(0);
        self.logit.weight.set_zero(0);
        let mut filled = Ok(());
        self.offset.bias.set(|bias| {
            filled = deformable::initial_offsets([HEADS, 1, POINTS], bias);
            0
        });
        filled.map_err(in_layer(number + 1))
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let batch = x.batch;
        let rows = Self::rows(batch, F, 2 * Self::TAPS);
        (self.offset).forward::<Identity, _, B>(rows, pass, number + 1, x, &mut tape.offset)?;
        let rows = Self::rows(batch, F, Self::TAPS);
        (self.logit).forward::<Identity, _, B>(rows, pass, number + 2, x, &mut tape.logit)?;
        let rows = Self::rows(batch, F, Self::VALUES);
        (self.value).forward::<Identity, _, B>(rows, pass, number + 3, x, &mut tape.value)?;
        Self::through_heads(pass.exec, tape, batch).map_err(in_layer(number))?;
        let heads = tape.heads.keep(pass.mode, batch, 0);
        let rows = Self::rows(batch, Self::VALUES, F);
        (self.output).forward::<Identity, _, B>(rows, pass, number + 4, heads, &mut tape.output)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.output.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        let batch = x.batch;
        tape.heads.begin_backward(number, batch)?;
        let heads = tape.heads.values(batch);
        let rows = Self::rows(batch, Self::VALUES, F);
        let below = self
            .output
            .backward::<Identity, D4<H, W, HEADS, SIZE>, _, B>(
                rows,
                pass,
                number + 4,
                heads,
                &mut tape.output,
                errors,
                true,
            )?;
        let Backward {
            error,
            spare,
            exponent, // of all errors: each is linear in the one above
        } = below;
        let dy = part(&mut *error, batch * Self::CELLS * Self::VALUES);
        Self::back_through_heads(pass.exec, tape, batch, dy).map_err(in_layer(number))?;

        // Each through its projection; the error of the heads is done with.
        let [by_logit, by_value] = &mut tape.input_errors;
        let rows = Self::rows(batch, F, 2 * Self::TAPS);
        let into_offset = Backward {
            error: tape.offset_error.samples_mut(batch),
            spare: &mut *error,
            exponent,
        };
        self.offset.backward::<Identity, D3<H, W, F>, _, B>(
            rows,
            pass,
            number + 1,
            x,
            &mut tape.offset,
            into_offset,
            is_needed,
        )?;
        let rows = Self::rows(batch, F, Self::TAPS);
        let into_logit = Backward {
            error: tape.weights.samples_mut(batch),
            spare: by_logit.samples_mut(batch),
            exponent,
        };
        self.logit.backward::<Identity, D3<H, W, F>, _, B>(
            rows,
            pass,
            number + 2,
            x,
            &mut tape.logit,
            into_logit,
            is_needed,
        )?;
        let rows = Self::rows(batch, F, Self::VALUES);
        let into_value = Backward {
            error: tape.value_error.samples_mut(batch),
            spare: by_value.samples_mut(batch),
            exponent,
        };
        self.value.backward::<Identity, D3<H, W, F>, _, B>(
            rows,
            pass,
            number + 3,
            x,
            &mut tape.value,
            into_value,
            is_needed,
        )?;
        if is_needed {
            let terms = [
                &*part(&mut *error, batch * Self::CELLS * F),
                by_logit.samples(batch),
                by_value.samples(batch),
            ]
            .map(|values| Term {
                values,
                exponent: 0,
            });
            let dx = part(&mut *spare, batch * Self::CELLS * F);
            elementwise::sum(pass.exec, &terms, Store::EXACT, dx).map_err(in_layer(number))?;
        }
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.offset.visit(visitor);
        self.logit.visit(visitor);
        self.value.visit(visitor);
        self.output.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.offset.visit_mut(visitor);
        self.logit.visit_mut(visitor);
        self.value.visit_mut(visitor);
        self.output.visit_mut(visitor);
    }
}
