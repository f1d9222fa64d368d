//! Heads with their projections, wherever they read queries, keys and values from.

use super::kept::Kept;
use super::kinds::{Recall, Sight};
use super::rotary::Turn;
use crate::error::{Result, in_layer};
use crate::net::weighted::Weighted;
use crate::net::{
    ActivatedTape, Backward, BatchSum, Context, Errors, Identity, Info, LongSum, Optimizer,
    OutputTape, Pass, SampleTape, Scratch, Slopes, Tape, Values, Visitor, VisitorMut, hand_scales,
    part, show_scales,
};
use crate::ops::attention::heads::{self, Scales};
use crate::tensor::{D1, D2, D3, Shape};
use core::marker::PhantomData;
use selvedge_kernels::attention::{self, Mask, ROWS};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, Result as KernelResult, dense};

/// Weights of queries, `[HEADS, SIZE, F]`, with their bias.
type Projection<T, const F: usize, const HEADS: usize, const SIZE: usize, R> =
    Weighted<T, D3<HEADS, SIZE, F>, D2<HEADS, SIZE>, R>;

/// Attention of `L` queries to `M` keys and values, those of earlier passes beside, with the projections of all three and
/// of what comes out, which have the numbers behind the layer's own.
pub(super) struct MultiHead<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
    C: Recall,
    P: Turn,
> {
    pub(super) query: Projection<T, F, HEADS, SIZE, R>,
    pub(super) key: Projection<T, F, KV_HEADS, SIZE, R>,
    pub(super) value: Projection<T, F, KV_HEADS, SIZE, R>,
    pub(super) output: Weighted<T, D3<F, HEADS, SIZE>, D1<F>, R>,
    heads_scale: T::Scale,
    scores_scale: T::Scale,
    part_scales: [T::Scale; 3],
    /// Of queries and keys once they are turned, and of their errors once these are turned back.
    turn_scales: [[T::Scale; 2]; 2],
    kinds: PhantomData<(S, C, P)>,
}

/// What attention keeps: what its heads read and give, and room for their errors and for scores.
pub struct AttentionTape<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> {
    kept: Kept<T, L, M, HEADS, KV_HEADS, SIZE, C, P, B>,
    heads: OutputTape<T, D3<L, HEADS, SIZE>, B>,
    output: ActivatedTape<T, Identity, D2<L, F>, B>,
    query_error: SampleTape<T, D3<L, HEADS, SIZE>, B>,
    key_error: SampleTape<T, C::Keys<M, KV_HEADS, SIZE>, B>,
    value_error: SampleTape<T, C::Keys<M, KV_HEADS, SIZE>, B>,
    /// Errors of what keys and values were projected from, by way of each.
    input_errors: [SampleTape<T, D2<M, F>, B>; 2],
    scores: Scratch<T::AttentionScore, C::Keys<M, 1, { ROWS }>, 2>,
    products: Scratch<T::AttentionSum, C::Keys<M, 1, { ROWS }>, 1>,
    sums: Scratch<T::AttentionSum, C::Keys<M, 1, SIZE>, 2>,
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> Tape for AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, C, P, B>
{
    const BLANK: Self = Self {
        kept: Tape::BLANK,
        heads: Tape::BLANK,
        output: Tape::BLANK,
        query_error: Tape::BLANK,
        key_error: Tape::BLANK,
        value_error: Tape::BLANK,
        input_errors: [Tape::BLANK; 2],
        scores: Tape::BLANK,
        products: Tape::BLANK,
        sums: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.kept.reset();
        self.heads.reset();
        self.output.reset();
    }
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    P: Turn,
    const B: usize,
> AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, C, P, B>
{
    /// The output of the last pass, `[B, L, F]`.
    pub(super) fn output(&self, batch: usize) -> Values<'_, T> {
        self.output.output.values(batch)
    }

    /// The errors of what keys and values were projected from, `[B, M, F]`, by way of each.
    pub(super) fn input_errors(&mut self, batch: usize) -> [&mut [T]; 2] {
        let [by_key, by_value] = &mut self.input_errors;
        [by_key.samples_mut(batch), by_value.samples_mut(batch)]
    }
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
    C: Recall,
    P: Turn,
> MultiHead<T, L, M, F, HEADS, KV_HEADS, SIZE, S, R, C, P>
{
    pub(super) const QUERIES: usize = HEADS * SIZE;
    const KEYS: usize = KV_HEADS * SIZE;

    pub(super) const BLANK: Self = {
        assert!(
            KV_HEADS > 0 && HEADS.is_multiple_of(KV_HEADS),
            "attention: KV_HEADS must divide HEADS"
        );
        assert!(
            P::SETTING.is_none() || SIZE.is_multiple_of(2),
            "attention: heads that are turned must have an even SIZE"
        );
        Self {
            query: Weighted::BLANK,
            key: Weighted::BLANK,
            value: Weighted::BLANK,
            output: Weighted::BLANK,
            heads_scale: Scale::UNSET,
            scores_scale: Scale::UNSET,
            part_scales: [Scale::UNSET; 3],
            turn_scales: [[Scale::UNSET; 2]; 2],
            kinds: PhantomData,
        }
    };

    /// What it tells of itself, its buffers left out.
    pub(super) const INFO: Info = {
        let (queries, keys) = (Self::QUERIES, Self::KEYS);
        let seen = <C::Keys<M, 1, 1> as Shape>::LEN;
        let exponents = if P::SETTING.is_some() { 3 } else { 1 };
        let most = if F > queries { F } else { queries };
        Info {
            kind: "attention",
            numbers: 5,
            parameters: (queries + 2 * keys) * (F + 1) + F * (queries + 1),
            macs: 2 * F * (L * queries + M * keys) + 2 * L * seen * queries,
            flash_bytes: Projection::<T, F, HEADS, SIZE, R>::FLASH_BYTES
                + 2 * Projection::<T, F, KV_HEADS, SIZE, R>::FLASH_BYTES
                + Weighted::<T, D3<F, HEADS, SIZE>, D1<F>, R>::FLASH_BYTES
                + if T::DTYPE.is_integer() {
                    2 * exponents
                } else {
                    0
                },
            errors: Errors::NONE,
            errors_first: Errors::NONE,
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(if L > M { L } else { M }, T::MAX_GRADIENT_PRODUCTS),
            long_sum: LongSum::of(most, T::MAX_PRODUCTS),
            long_sum_first: LongSum::of(F, T::MAX_PRODUCTS),
        }
    };

    pub(super) fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let queries = Self::QUERIES;
        (self.query).init::<Identity>(seed, number + 1, F, F)?;
        (self.key).init::<Identity>(seed, number + 2, F, F)?;
        (self.value).init::<Identity>(seed, number + 3, F, F)?;
        (self.output).init::<Identity>(seed, number + 4, queries, queries)?;
        (self.heads_scale, self.scores_scale) = (Scale::UNSET, Scale::UNSET);
        self.part_scales = [Scale::UNSET; 3];
        self.turn_scales = [[Scale::UNSET; 2]; 2];
        Ok(())
    }

    /// What the queries of a pass see, of which `keys` positions are there.
    fn mask<'a, E>(pass: &Pass<'a, E>, batch: usize, keys: usize) -> Mask<'a> {
        Mask {
            causal: S::IS_CAUSAL,
            offset: keys.saturating_sub(L),
            window: S::WINDOW,
            lengths: if S::IS_PADDED && pass.is_padded {
                pass.lengths.get(..batch).unwrap_or(pass.lengths)
            } else {
                &[]
            },
        }
    }

    const fn extents(batch: usize, keys: usize) -> attention::Shape {
        attention::Shape {
            batch,
            queries: L,
            keys,
            heads: HEADS,
            kv_heads: KV_HEADS,
            size: SIZE,
        }
    }

    /// `positions` of each sample as rows of a dense layer.
    const fn rows(batch: usize, positions: usize, [inputs, outputs]: [usize; 2]) -> dense::Shape {
        dense::Shape {
            batch: batch * positions,
            inputs,
            outputs,
        }
    }

    /// Attends from `x` to `memory`, `[B, L, F]` and `[B, M, F]`.
    pub(super) fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        [x, memory]: [Values<'_, T>; 2],
        tape: &'t mut AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, C, P, B>,
    ) -> Result<Values<'t, T>> {
        let batch = x.batch;
        let kept = &mut tape.kept;
        let rows = Self::rows(batch, L, [F, Self::QUERIES]);
        (self.query).forward::<Identity, _, B>(rows, pass, number + 1, x, &mut kept.query)?;
        let rows = Self::rows(batch, M, [F, Self::KEYS]);
        (self.key).forward::<Identity, _, B>(rows, pass, number + 2, memory, &mut kept.key)?;
        (self.value).forward::<Identity, _, B>(rows, pass, number + 3, memory, &mut kept.value)?;

        let [turn_scales, _] = &mut self.turn_scales;
        let room = tape.key_error.samples_mut(batch);
        kept.take::<S, E>(pass, number, turn_scales, batch, room)
            .map_err(in_layer(number))?;
        let inputs = kept.inputs(batch);
        let out = tape.heads.samples_mut(batch);
        let scratch = tape.scores.all();
        let context = Context::<T, E>::forward(pass, number, &mut self.heads_scale);
        let exponent = context
            .rescale(inputs.exponents.out::<T>(), |store| {
                let shape = Self::extents(batch, kept.keys());
                let mask = Self::mask(pass, batch, kept.keys());
                attention::forward(pass.exec, shape, mask, inputs, store, out, scratch)
            })
            .map_err(in_layer(number))?;
        let heads = tape.heads.keep(pass.mode, batch, exponent);
        let rows = Self::rows(batch, L, [Self::QUERIES, F]);
        (self.output).forward::<Identity, _, B>(rows, pass, number + 4, heads, &mut tape.output)
    }

    /// Takes the error of the output to those of `x`, which comes back in the error's buffer, and of `memory` by way of
    /// keys and of values, which lie in the tape; and returns the exponents of the two.
    pub(super) fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        [x, memory]: [Values<'_, T>; 2],
        tape: &mut AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, C, P, B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<(Backward<'e, T>, [i32; 2])> {
        let batch = x.batch;
        tape.heads.begin_backward(number, batch)?;
        let heads = tape.heads.values(batch);
        let rows = Self::rows(batch, L, [Self::QUERIES, F]);
        let Backward {
            error,
            spare,
            exponent,
        } = self.output.backward::<Identity, D3<L, HEADS, SIZE>, _, B>(
            rows,
            pass,
            number + 4,
            heads,
            &mut tape.output,
            errors,
            true,
        )?;
        let dy = part(&mut *error, batch * L * Self::QUERIES);
        let [of_q, of_k, of_v] = self
            .through_heads::<E, B>(pass, number, tape, batch, dy, exponent)
            .map_err(in_layer(number))?;
        let AttentionTape {
            kept,
            query_error,
            key_error,
            value_error,
            input_errors: [by_key, by_value],
            ..
        } = tape;
        let len = batch * M * Self::KEYS;
        let [_, turn_scales] = &mut self.turn_scales;
        let [(query_error, of_q), (key_error, of_k)] =
            Kept::<T, L, M, HEADS, KV_HEADS, SIZE, C, P, B>::turn_back(
                pass,
                number,
                turn_scales,
                batch,
                kept.position[0],
                (&mut kept.turned_query, &mut kept.turned_key),
                [
                    (query_error.samples_mut(batch), of_q),
                    (part(key_error.samples_mut(batch), len), of_k),
                ],
            )
            .map_err(in_layer(number))?;

        // Each through its projection; the error of the heads is done with.
        let into = Backward {
            error: query_error,
            spare: &mut *error,
            exponent: of_q,
        };
        let rows = Self::rows(batch, L, [F, Self::QUERIES]);
        let of_x = self
            .query
            .backward::<Identity, D2<L, F>, _, B>(
                rows,
                pass,
                number + 1,
                x,
                &mut kept.query,
                into,
                is_needed,
            )?
            .exponent;
        let rows = Self::rows(batch, M, [F, Self::KEYS]);
        let into = Backward {
            error: key_error,
            spare: by_key.samples_mut(batch),
            exponent: of_k,
        };
        let of_key = self
            .key
            .backward::<Identity, D2<M, F>, _, B>(
                rows,
                pass,
                number + 2,
                memory,
                &mut kept.key,
                into,
                is_needed,
            )?
            .exponent;
        let into = Backward {
            error: part(value_error.samples_mut(batch), len),
            spare: by_value.samples_mut(batch),
            exponent: of_v,
        };
        let of_value = self
            .value
            .backward::<Identity, D2<M, F>, _, B>(
                rows,
                pass,
                number + 3,
                memory,
                &mut kept.value,
                into,
                is_needed,
            )?
            .exponent;
        let below = Backward {
            error,
            spare,
            exponent: of_x,
        };
        Ok((below, [of_key, of_value]))
    }

    /// Takes the error of the heads to those of their queries, keys and values, and returns their exponents.
    fn through_heads<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        tape: &mut AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, C, P, B>,
        batch: usize,
        dy: &[T],
        exponent: i32,
    ) -> KernelResult<[i32; 3]> {
        let AttentionTape {
            kept,
            query_error,
            key_error,
            value_error,
            scores,
            products,
            sums,
            ..
        } = tape;
        let keys = kept.keys();
        let extents = (Self::extents(batch, keys), Self::mask(pass, batch, keys));
        let scales = Scales::<T> {
            scores: &mut self.scores_scale,
            parts: &mut self.part_scales,
        };
        let errors = attention::Errors {
            dq: query_error.samples_mut(batch),
            dk: key_error.samples_mut(batch),
            dv: value_error.samples_mut(batch),
        };
        let scratch = attention::Scratch {
            scores: scores.all(),
            products: products.all(),
            sums: sums.all(),
        };
        let (inputs, dy) = (kept.inputs(batch), (dy, exponent));
        heads::backward(
            pass, number, scales, extents, M, inputs, dy, errors, scratch,
        )
    }

    /// Shows its states, `error_scale` of the layer among them, and the parameters.
    pub(super) fn visit(&self, error_scale: T::Scale, visitor: &mut impl Visitor) {
        let [q, k, v] = self.part_scales;
        let (heads, scores) = (self.heads_scale, self.scores_scale);
        show_scales::<T>(visitor, &[heads, scores, error_scale, q, k, v]);
        if P::SETTING.is_some() {
            show_scales::<T>(visitor, self.turn_scales.as_flattened());
        }
        self.query.visit(visitor);
        self.key.visit(visitor);
        self.value.visit(visitor);
        self.output.visit(visitor);
    }

    /// Hands them out.
    pub(super) fn visit_mut(&mut self, error_scale: &mut T::Scale, visitor: &mut impl VisitorMut) {
        let [q, k, v] = &mut self.part_scales;
        let (heads, scores) = (&mut self.heads_scale, &mut self.scores_scale);
        hand_scales::<T, 6>(visitor, [heads, scores, error_scale, q, k, v]);
        if P::SETTING.is_some() {
            let [[q, k], [dq, dk]] = &mut self.turn_scales;
            hand_scales::<T, 4>(visitor, [q, k, dq, dk]);
        }
        self.query.visit_mut(visitor);
        self.key.visit_mut(visitor);
        self.value.visit_mut(visitor);
        self.output.visit_mut(visitor);
    }
}
