//! Multi-head attention with its projections.

mod heads;
mod kinds;

pub use kinds::{Cache, Causal, Everything, Fresh, Recall, Recent, Sight};

use super::join::copy;
use super::rows::{move_up, rows_of, rows_of_mut};
use super::weighted::Weighted;
use super::{
    ActivatedTape, Backward, BatchSum, Context, Errors, Identity, Info, Layer, LongSum, Optimizer,
    OutputTape, Param, Pass, Plain, SampleTape, Scratch, Slopes, Tape, Values, Visitor, VisitorMut,
    hand_scales, part, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::{D1, D2, D3, Shape};
use core::marker::PhantomData;
use heads::heads_errors;
use kinds::window;
use selvedge_kernels::attention::{self, Exponents, Inputs, Mask, ROWS};
use selvedge_kernels::elementwise::{self, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, Error, Result as KernelResult, dense};

/// Weights of queries, `[HEADS, SIZE, F]`, with their bias.
type Projection<T, const F: usize, const HEADS: usize, const SIZE: usize, R> =
    Weighted<T, D3<HEADS, SIZE, F>, D2<HEADS, SIZE>, R>;

/// What a projection keeps: its output, `[L, HEADS, SIZE]`.
type Projected<T, const L: usize, const HEADS: usize, const SIZE: usize, const B: usize> =
    ActivatedTape<T, Identity, D3<L, HEADS, SIZE>, B>;

/// Self-attention over `L` positions of `F` features, with `HEADS` heads of `SIZE` features, of which
/// `HEADS / KV_HEADS` neighbours share keys and values: 1 for multi-query attention. From `[L, F]` to `[L, F]`.
///
/// It contains four dense layers, with numbers behind its own: queries `[HEADS · SIZE, F]`, keys and values
/// `[KV_HEADS · SIZE, F]`, and the output `[F, HEADS · SIZE]`. Numerical behaviour: [`selvedge_kernels::attention`].
/// Source: Vaswani et al. 2017; Ainslie et al. 2023.
///
/// # Errors
/// Of [`Layer::init`]: [`Error::Layer`](crate::Error::Layer) for more features than the element type can sum; of a
/// pass: the same for integer heads of more than 256 features, and for more than 32,768 positions.
///
/// # Example
/// ```
/// use selvedge_core::net::{Attention, Causal, Layer, Residual, RmsNorm};
/// use selvedge_core::tensor::D2;
/// // Half a block of a decoder: four heads of eight features that share two heads of keys and values.
/// type Half<T> = Residual<(RmsNorm<T, D2<16, 32>>, Attention<T, 16, 32, 4, 2, 8, Causal>)>;
/// static HALF: Half<i8> = Layer::BLANK;
/// assert_eq!(Half::<i8>::INFO.parameters, 32 + (32 + 16 + 16) * 33 + 32 * 33);
/// ```
/// Heads that do not divide do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Attention, Layer};
/// static BLOCK: Attention<i8, 16, 32, 4, 3, 8> = Layer::BLANK;
/// ```
pub struct Attention<
    T: Element,
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight = Everything,
    R: Optimizer = Plain,
    C: Recall = Fresh,
> {
    query: Projection<T, F, HEADS, SIZE, R>,
    key: Projection<T, F, KV_HEADS, SIZE, R>,
    value: Projection<T, F, KV_HEADS, SIZE, R>,
    output: Weighted<T, D3<F, HEADS, SIZE>, D1<F>, R>,
    heads_scale: T::Scale,
    scores_scale: T::Scale,
    error_scale: T::Scale,
    part_scales: [T::Scale; 3],
    sight: PhantomData<(S, C)>,
}

/// What attention keeps: the outputs of its projections and of its heads, and room for their errors and for scores.
pub struct AttentionTape<
    T: Element,
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    const B: usize,
> {
    query: Projected<T, L, HEADS, SIZE, B>,
    key: Projected<T, L, KV_HEADS, SIZE, B>,
    value: Projected<T, L, KV_HEADS, SIZE, B>,
    heads: OutputTape<T, D3<L, HEADS, SIZE>, B>,
    output: ActivatedTape<T, Identity, D2<L, F>, B>,
    query_error: SampleTape<T, D3<L, HEADS, SIZE>, B>,
    /// Keys and values of earlier passes and of this one, how many of each sample, and their exponents.
    cache: [SampleTape<T, C::Rows<KV_HEADS, SIZE>, B>; 2],
    cached: usize,
    exponents: [i32; 2],
    key_error: SampleTape<T, C::Keys<L, KV_HEADS, SIZE>, B>,
    value_error: SampleTape<T, C::Keys<L, KV_HEADS, SIZE>, B>,
    /// Errors of the input, by way of keys and of values.
    input_errors: [SampleTape<T, D2<L, F>, B>; 2],
    scores: Scratch<T::AttentionScore, C::Keys<L, 1, { ROWS }>, 2>,
    products: Scratch<T::AttentionSum, C::Keys<L, 1, { ROWS }>, 1>,
    sums: Scratch<T::AttentionSum, C::Keys<L, 1, SIZE>, 2>,
}

impl<
    T: Element,
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    C: Recall,
    const B: usize,
> Tape for AttentionTape<T, L, F, HEADS, KV_HEADS, SIZE, C, B>
{
    const BLANK: Self = Self {
        query: Tape::BLANK,
        key: Tape::BLANK,
        value: Tape::BLANK,
        heads: Tape::BLANK,
        output: Tape::BLANK,
        query_error: Tape::BLANK,
        cache: [Tape::BLANK; 2],
        cached: 0,
        exponents: [0; 2],
        key_error: Tape::BLANK,
        value_error: Tape::BLANK,
        input_errors: [Tape::BLANK; 2],
        scores: Tape::BLANK,
        products: Tape::BLANK,
        sums: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.heads.reset();
        self.cached = 0;
        self.output.reset();
    }
}

impl<
    T: Element,
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
    C: Recall,
> Attention<T, L, F, HEADS, KV_HEADS, SIZE, S, R, C>
{
    /// The weights of the queries, `[HEADS, SIZE, F]`.
    pub const fn query(&self) -> &Param<T, D3<HEADS, SIZE, F>, R> {
        &self.query.weight
    }

    /// The weights of the keys, `[KV_HEADS, SIZE, F]`.
    pub const fn key(&self) -> &Param<T, D3<KV_HEADS, SIZE, F>, R> {
        &self.key.weight
    }

    /// The weights of the values, `[KV_HEADS, SIZE, F]`.
    pub const fn value(&self) -> &Param<T, D3<KV_HEADS, SIZE, F>, R> {
        &self.value.weight
    }

    /// The weights of the output, `[F, HEADS, SIZE]`.
    pub const fn output_weight(&self) -> &Param<T, D3<F, HEADS, SIZE>, R> {
        &self.output.weight
    }

    const QUERIES: usize = HEADS * SIZE;
    const KEYS: usize = KV_HEADS * SIZE;

    /// What the queries of a pass see, of which `keys` positions are there, their own among them.
    const fn mask(keys: usize) -> Mask<'static> {
        Mask {
            causal: S::IS_CAUSAL,
            offset: keys - L,
            window: S::WINDOW,
            lengths: &[],
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

    /// All positions as rows of a dense layer.
    const fn rows(batch: usize, inputs: usize, outputs: usize) -> dense::Shape {
        dense::Shape {
            batch: batch * L,
            inputs,
            outputs,
        }
    }

    /// Adds the keys and values of a pass to those that are kept, and returns how many there are of each sample.
    fn remember<const B: usize>(
        exec: &impl Executor,
        tape: &mut AttentionTape<T, L, F, HEADS, KV_HEADS, SIZE, C, B>,
        batch: usize,
    ) -> KernelResult<usize> {
        if C::CAPACITY == 0 {
            return Ok(L);
        }
        let mut kept = tape.cached;
        let forgotten = (kept + L).saturating_sub(C::CAPACITY);
        if forgotten > 0 && S::WINDOW.is_none() {
            return Err(Error::Capacity {
                keys: kept + L,
                capacity: C::CAPACITY,
            });
        }
        kept -= forgotten;
        let new = [&tape.key.output, &tape.value.output].map(|tape| tape.values(batch));
        let room = tape.key_error.samples_mut(batch);
        for ((cache, exponent), new) in tape.cache.iter_mut().zip(&mut tape.exponents).zip(new) {
            let cache = cache.samples_mut(batch);
            if kept > 0 && *exponent != new.exponent {
                let term = Term {
                    values: &*cache,
                    exponent: *exponent,
                };
                let store = Store::Shift {
                    shift: new.exponent - *exponent,
                    rounding: Rounding::NearestEven,
                };
                elementwise::sum(exec, &[term], store, room)?;
                copy(room, cache);
            }
            *exponent = new.exponent;
            let samples = rows_of_mut(cache, C::CAPACITY * Self::KEYS);
            for (cache, new) in samples.zip(rows_of(new.data, L * Self::KEYS)) {
                let [from, len] = [forgotten, kept].map(|rows| rows * Self::KEYS);
                if from > 0 {
                    move_up(cache, from, len, 0);
                }
                copy(new, cache.get_mut(len..).unwrap_or_default());
            }
        }
        tape.cached = kept + L;
        Ok(tape.cached)
    }

    /// What the heads read.
    fn inputs<'t, const B: usize>(
        query: &'t Projected<T, L, HEADS, SIZE, B>,
        [key, value]: [&'t Projected<T, L, KV_HEADS, SIZE, B>; 2],
        [keys, values]: &'t [SampleTape<T, C::Rows<KV_HEADS, SIZE>, B>; 2],
        batch: usize,
    ) -> Inputs<'t, T> {
        let q = query.output.values(batch);
        let (k, v) = (key.output.values(batch), value.output.values(batch));
        let (keys, values, capacity) = match C::CAPACITY {
            0 => (k.data, v.data, L),
            capacity => (keys.samples(batch), values.samples(batch), capacity),
        };
        Inputs {
            q: q.data,
            k: keys,
            v: values,
            capacity,
            exponents: Exponents {
                q: q.exponent,
                k: k.exponent,
                v: v.exponent,
            },
        }
    }

    /// Takes the error of the heads to those of their queries, keys and values, and returns their exponents.
    fn through_heads<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        tape: &mut AttentionTape<T, L, F, HEADS, KV_HEADS, SIZE, C, B>,
        batch: usize,
        dy: &[T],
        exponent: i32,
    ) -> KernelResult<[i32; 3]> {
        let AttentionTape {
            query,
            key,
            value,
            query_error,
            cache,
            cached,
            key_error,
            value_error,
            scores,
            products,
            sums,
            ..
        } = tape;
        let inputs = Self::inputs(query, [key, value], cache, batch);
        let keys = if C::CAPACITY == 0 { L } else { *cached };
        let len = batch * keys * Self::KEYS;
        let run = |stores| {
            let errors = attention::Errors {
                dq: query_error.samples_mut(batch),
                dk: part(key_error.samples_mut(batch), len),
                dv: part(value_error.samples_mut(batch), len),
            };
            let scratch = attention::Scratch {
                scores: scores.all(),
                products: products.all(),
                sums: sums.all(),
            };
            let shape = Self::extents(batch, keys);
            attention::backward(
                pass.exec,
                shape,
                Self::mask(keys),
                inputs,
                dy,
                stores,
                errors,
                scratch,
            )
        };
        let words = |part| Words::new(pass.seed, stream::error(number) + 1 + part, pass.step);
        let roundings = [0, 1, 2].map(|part| Rounding::Stochastic(words(part)));
        let scales = (&mut self.scores_scale, &mut self.part_scales);
        let exponents = inputs.exponents;
        let exponents = heads_errors::<T>(scales, exponents, exponent, roundings, run)?;
        // The errors of earlier passes are left out.
        for error in [key_error, value_error] {
            let error = error.samples_mut(batch);
            for sample in 0..batch {
                let from = (sample * keys + keys - L) * Self::KEYS;
                let len = L * Self::KEYS;
                move_up(error, from, len, sample * len);
            }
        }
        Ok(if T::DTYPE.is_integer() {
            exponents
        } else {
            [exponent; 3]
        })
    }
}

impl<
    T: Element,
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
    C: Recall,
> Layer for Attention<T, L, F, HEADS, KV_HEADS, SIZE, S, R, C>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = D2<L, F>;
    type Output = D2<L, F>;
    type Tape<const B: usize> = AttentionTape<T, L, F, HEADS, KV_HEADS, SIZE, C, B>;

    const BLANK: Self = {
        assert!(
            KV_HEADS > 0 && HEADS.is_multiple_of(KV_HEADS),
            "attention: KV_HEADS must divide HEADS"
        );
        assert!(
            C::CAPACITY == 0 || C::CAPACITY >= L + window::<S>(),
            "attention: the cache must hold a pass and what its first position sees before it"
        );
        Self {
            query: Weighted::BLANK,
            key: Weighted::BLANK,
            value: Weighted::BLANK,
            output: Weighted::BLANK,
            heads_scale: Scale::UNSET,
            scores_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            part_scales: [Scale::UNSET; 3],
            sight: PhantomData,
        }
    };

    const INFO: Info = {
        let (queries, keys) = (Self::QUERIES, Self::KEYS);
        let most = if L * F > L * queries {
            L * F
        } else {
            L * queries
        };
        Info {
            kind: "attention",
            numbers: 5,
            parameters: (queries + 2 * keys) * (F + 1) + F * (queries + 1),
            macs: 2 * L * F * (queries + keys) + 2 * L * <C::Keys<L, 1, 1> as Shape>::LEN * queries,
            flash_bytes: Projection::<T, F, HEADS, SIZE, R>::FLASH_BYTES
                + 2 * Projection::<T, F, KV_HEADS, SIZE, R>::FLASH_BYTES
                + Weighted::<T, D3<F, HEADS, SIZE>, D1<F>, R>::FLASH_BYTES
                + if T::DTYPE.is_integer() { 2 } else { 0 },
            errors: Errors {
                error: L * F,
                spare: most,
                swaps: false, // the sum goes where the error of the output was
            },
            errors_first: Errors {
                error: L * F,
                spare: L * queries,
                swaps: false,
            },
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(L, T::MAX_GRADIENT_PRODUCTS),
            long_sum: LongSum::of(most / L, T::MAX_PRODUCTS),
            long_sum_first: LongSum::of(F, T::MAX_PRODUCTS),
        }
        .inside()
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let queries = Self::QUERIES;
        (self.query).init::<Identity>(seed, number + 1, F, F)?;
        (self.key).init::<Identity>(seed, number + 2, F, F)?;
        (self.value).init::<Identity>(seed, number + 3, F, F)?;
        (self.output).init::<Identity>(seed, number + 4, queries, queries)?;
        (self.heads_scale, self.scores_scale) = (Scale::UNSET, Scale::UNSET);
        (self.error_scale, self.part_scales) = (Scale::UNSET, [Scale::UNSET; 3]);
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let batch = x.batch;
        let rows = Self::rows(batch, F, Self::QUERIES);
        (self.query).forward::<Identity, _, B>(rows, pass, number + 1, x, &mut tape.query)?;
        let rows = Self::rows(batch, F, Self::KEYS);
        (self.key).forward::<Identity, _, B>(rows, pass, number + 2, x, &mut tape.key)?;
        (self.value).forward::<Identity, _, B>(rows, pass, number + 3, x, &mut tape.value)?;

        let keys = Self::remember(pass.exec, tape, batch).map_err(in_layer(number))?;
        let inputs = Self::inputs(&tape.query, [&tape.key, &tape.value], &tape.cache, batch);
        let out = tape.heads.samples_mut(batch);
        let scratch = tape.scores.all();
        let context = Context::<T, E>::forward(pass, number, &mut self.heads_scale);
        let exponent = context
            .rescale(inputs.exponents.out::<T>(), |store| {
                let shape = Self::extents(batch, keys);
                let mask = Self::mask(keys);
                attention::forward(pass.exec, shape, mask, inputs, store, out, scratch)
            })
            .map_err(in_layer(number))?;
        let heads = tape.heads.keep(pass.mode, batch, exponent);
        let rows = Self::rows(batch, Self::QUERIES, F);
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
        let rows = Self::rows(batch, Self::QUERIES, F);
        let below = self.output.backward::<Identity, D3<L, HEADS, SIZE>, _, B>(
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
            exponent,
        } = below;
        let dy = part(&mut *error, batch * L * Self::QUERIES);
        let [e_q, e_k, e_v] = self
            .through_heads::<E, B>(pass, number, tape, batch, dy, exponent)
            .map_err(in_layer(number))?;

        // Each through its projection; the error of the heads is done with.
        let [by_key, by_value] = &mut tape.input_errors;
        let rows = Self::rows(batch, F, Self::QUERIES);
        let into_q = Backward {
            error: tape.query_error.samples_mut(batch),
            spare: &mut *error,
            exponent: e_q,
        };
        let q = self.query.backward::<Identity, D2<L, F>, _, B>(
            rows,
            pass,
            number + 1,
            x,
            &mut tape.query,
            into_q,
            is_needed,
        )?;
        let e_q = q.exponent;
        let rows = Self::rows(batch, F, Self::KEYS);
        let into_k = Backward {
            error: tape.key_error.samples_mut(batch),
            spare: by_key.samples_mut(batch),
            exponent: e_k,
        };
        let k = self.key.backward::<Identity, D2<L, F>, _, B>(
            rows,
            pass,
            number + 2,
            x,
            &mut tape.key,
            into_k,
            is_needed,
        )?;
        let e_k = k.exponent;
        let into_v = Backward {
            error: tape.value_error.samples_mut(batch),
            spare: by_value.samples_mut(batch),
            exponent: e_v,
        };
        let v = self.value.backward::<Identity, D2<L, F>, _, B>(
            rows,
            pass,
            number + 3,
            x,
            &mut tape.value,
            into_v,
            is_needed,
        )?;
        let e_v = v.exponent;
        if !is_needed {
            return Ok(Backward {
                error: spare,
                spare: error,
                exponent,
            });
        }
        let terms = [
            (&*part(&mut *error, batch * L * F), e_q),
            (by_key.samples(batch), e_k),
            (by_value.samples(batch), e_v),
        ]
        .map(|(values, exponent)| Term { values, exponent });
        let context = Context::<T, E>::backward(pass, number, &mut self.error_scale);
        let dx = part(&mut *spare, batch * L * F);
        let exponent = context
            .rescale(aligned_exponent([e_q, e_k, e_v]), |store| {
                elementwise::sum(pass.exec, &terms, store, dx)
            })
            .map_err(in_layer(number))?;
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        let [q, k, v] = self.part_scales;
        let [heads, scores, error] = [self.heads_scale, self.scores_scale, self.error_scale];
        show_scales::<T>(visitor, &[heads, scores, error, q, k, v]);
        self.query.visit(visitor);
        self.key.visit(visitor);
        self.value.visit(visitor);
        self.output.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        let [q, k, v] = &mut self.part_scales;
        let scales = [
            &mut self.heads_scale,
            &mut self.scores_scale,
            &mut self.error_scale,
            q,
            k,
            v,
        ];
        hand_scales::<T, 6>(visitor, scales);
        self.query.visit_mut(visitor);
        self.key.visit_mut(visitor);
        self.value.visit_mut(visitor);
        self.output.visit_mut(visitor);
    }
}
