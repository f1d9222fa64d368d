//! Attention from one sequence to another.

use super::kinds::{Fresh, Padded, Sight};
use super::multi_head::{AttentionTape, MultiHead};
use super::rotary::Unturned;
use crate::error::{Result, in_layer};
use crate::net::join::{copy, operand};
use crate::net::{
    Backward, Context, Errors, Info, Layer, Optimizer, Param, Pass, Plain, SampleTape, Slopes,
    Tape, Values, Visitor, VisitorMut, part,
};
use crate::tensor::{D2, D3};
use selvedge_kernels::elementwise::{self, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::layout;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::split::{rows_of, rows_of_mut};
use selvedge_kernels::{Element, Result as KernelResult};

/// Cross-attention: the first `L` positions of `N` are queries to the `M` behind them, the memory, whose keys and values
/// they weigh. From `[L + M, F]` to `[L, F]`, with heads as those of [`Attention`](super::Attention).
///
/// Both sequences come from a [`Fork`](crate::net::Fork) whose branches [`Concat`](crate::net::Concat) puts one below the
/// other; integers have one exponent then. What the memory's keys and values pass down is summed, and stored with the
/// queries' error at the coarser exponent of both.
///
/// With [`Padded`], as it is unless another [`Sight`] is given, queries see the memory up to the
/// [length](Pass::lengths) of the sample, which is that of the memory then.
///
/// Source: Vaswani et al. 2017, §3.2.3.
///
/// # Errors
/// As [`Attention`](super::Attention).
///
/// # Example
/// ```
/// use selvedge_core::net::{Axis, Concat, CrossAttention, DenseOver, Fork, Layer, Relu, Skip};
/// use selvedge_core::tensor::D2;
/// // Six positions look at what a layer makes of them: a decoder and its encoder in small.
/// type Encoded<T> = DenseOver<T, D2<6, 8>, 8, Relu>;
/// type Both<T> = Fork<Skip<T, D2<6, 8>>, Encoded<T>, Concat<D2<12, 8>, Axis<0>>>;
/// type Looks<T> = (Both<T>, CrossAttention<T, 12, 6, 6, 8, 2, 1, 4>);
/// static LOOKS: Looks<i8> = Layer::BLANK;
/// ```
/// Positions that are not those of both do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{CrossAttention, Layer};
/// static LOOKS: CrossAttention<i8, 12, 6, 5, 8, 2, 1, 4> = Layer::BLANK;
/// ```
pub struct CrossAttention<
    T: Element,
    const N: usize,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight = Padded,
    R: Optimizer = Plain,
> {
    heads: Heads<T, L, M, F, HEADS, KV_HEADS, SIZE, S, R>,
    memory_scale: T::Scale,
}

/// The heads of cross-attention: each pass has a memory of its own, and no positions.
type Heads<
    T,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S,
    R,
> = MultiHead<T, L, M, F, HEADS, KV_HEADS, SIZE, S, R, Fresh, Unturned>;

/// What cross-attention keeps: its two sequences, and what its heads do.
pub struct CrossTape<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    const B: usize,
> {
    x: SampleTape<T, D2<L, F>, B>,
    memory: SampleTape<T, D2<M, F>, B>,
    heads: AttentionTape<T, L, M, F, HEADS, KV_HEADS, SIZE, Fresh, Unturned, B>,
}

impl<
    T: Element,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    const B: usize,
> Tape for CrossTape<T, L, M, F, HEADS, KV_HEADS, SIZE, B>
{
    const BLANK: Self = Self {
        x: Tape::BLANK,
        memory: Tape::BLANK,
        heads: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.heads.reset();
    }
}

impl<
    T: Element,
    const N: usize,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
> CrossAttention<T, N, L, M, F, HEADS, KV_HEADS, SIZE, S, R>
{
    /// The weights of the queries, `[HEADS, SIZE, F]`.
    pub const fn query(&self) -> &Param<T, D3<HEADS, SIZE, F>, R> {
        &self.heads.query.weight
    }

    /// The weights of the keys, `[KV_HEADS, SIZE, F]`.
    pub const fn key(&self) -> &Param<T, D3<KV_HEADS, SIZE, F>, R> {
        &self.heads.key.weight
    }

    /// The weights of the values, `[KV_HEADS, SIZE, F]`.
    pub const fn value(&self) -> &Param<T, D3<KV_HEADS, SIZE, F>, R> {
        &self.heads.value.weight
    }

    /// The weights of the output, `[F, HEADS, SIZE]`.
    pub const fn output_weight(&self) -> &Param<T, D3<F, HEADS, SIZE>, R> {
        &self.heads.output.weight
    }
}

impl<
    T: Element,
    const N: usize,
    const L: usize,
    const M: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
> Layer for CrossAttention<T, N, L, M, F, HEADS, KV_HEADS, SIZE, S, R>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = D2<N, F>;
    type Output = D2<L, F>;
    type Tape<const B: usize> = CrossTape<T, L, M, F, HEADS, KV_HEADS, SIZE, B>;

    const BLANK: Self = {
        assert!(
            L > 0 && M > 0 && L + M == N,
            "cross-attention: the positions must be those of queries and memory"
        );
        assert!(
            !S::IS_CAUSAL,
            "cross-attention: positions of two sequences have no order"
        );
        Self {
            heads: MultiHead::BLANK,
            memory_scale: Scale::UNSET,
        }
    };

    const INFO: Info = {
        let info = Heads::<T, L, M, F, HEADS, KV_HEADS, SIZE, S, R>::INFO;
        let queries = HEADS * SIZE;
        let widest = if F > queries { F } else { queries };
        Info {
            kind: "cross_attention",
            errors: Errors {
                error: N * F,
                spare: if L * widest > M * F {
                    L * widest
                } else {
                    M * F
                },
                swaps: false, // both parts go where the error of the output was
            },
            errors_first: Errors {
                error: L * F,
                spare: L * queries,
                swaps: false,
            },
            ..info
        }
        .inside()
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        self.memory_scale = Scale::UNSET;
        self.heads.init(seed, number)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let batch = x.batch;
        let (own, memory) = (tape.x.samples_mut(batch), tape.memory.samples_mut(batch));
        let parts = rows_of_mut(own, L * F).zip(rows_of_mut(memory, M * F));
        for (sample, (own, memory)) in rows_of(x.data, N * F).zip(parts) {
            let (first, rest) = sample.split_at_checked(L * F).unwrap_or_default();
            copy(first, own);
            copy(rest, memory);
        }
        let both = sequences(&tape.x, &tape.memory, x);
        self.heads.forward(pass, number, both, &mut tape.heads)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.heads.output(x.batch)
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
        let CrossTape {
            x: own,
            memory,
            heads,
        } = tape;
        let both = sequences(own, memory, x);
        let (below, [of_key, of_value]) =
            (self.heads).backward(pass, number, both, heads, errors, is_needed)?;
        let Backward {
            error,
            spare,
            mut exponent,
        } = below;
        if is_needed {
            // The memory's error, and both as one: three buffers.
            let [by_key, by_value] = heads.input_errors(batch);
            let terms = [(&*by_key, of_key), (&*by_value, of_value)]
                .map(|(values, exponent)| Term { values, exponent });
            let context = Context::<T, E>::backward(pass, number, &mut self.memory_scale);
            let sum = part(&mut *spare, batch * M * F);
            let of_memory = context
                .rescale(aligned_exponent([of_key, of_value]), |store| {
                    elementwise::sum(pass.exec, &terms, store, sum)
                })
                .map_err(in_layer(number))?;
            copy(sum, by_key);
            let own = Values {
                data: &*part(&mut *error, batch * L * F),
                exponent,
                batch,
            };
            let memory = Values {
                data: &*by_key,
                exponent: of_memory,
                batch,
            };
            let dx = part(&mut *spare, batch * N * F);
            exponent = joined::<T, L, M, F>(own, memory, dx).map_err(in_layer(number))?;
        }
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.heads.visit(self.memory_scale, visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.heads.visit_mut(&mut self.memory_scale, visitor);
    }
}

/// The two sequences of the input `both`.
fn sequences<'t, T: Element, const L: usize, const M: usize, const F: usize, const B: usize>(
    x: &'t SampleTape<T, D2<L, F>, B>,
    memory: &'t SampleTape<T, D2<M, F>, B>,
    both: Values<'_, T>,
) -> [Values<'t, T>; 2] {
    let Values {
        exponent, batch, ..
    } = both;
    [x.samples(batch), memory.samples(batch)].map(|data| Values {
        data,
        exponent,
        batch,
    })
}

/// Puts two sequences one below the other, and returns their exponent.
fn joined<T: Element, const L: usize, const M: usize, const F: usize>(
    x: Values<'_, T>,
    memory: Values<'_, T>,
    both: &mut [T],
) -> KernelResult<i32> {
    let parts = [
        operand::<D2<L, F>, _>(x, 2)?,
        operand::<D2<M, F>, _>(memory, 2)?,
    ];
    layout::concat(1, &parts, both)
}
