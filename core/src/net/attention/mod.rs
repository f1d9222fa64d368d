//! Multi-head attention with its projections.

mod cross;
mod kept;
mod kinds;
mod multi_head;
pub mod rotary;

pub use cross::{CrossAttention, CrossTape};
pub use kinds::{Cache, Causal, Everything, Fresh, Padded, Recall, Recent, Sight};
pub use multi_head::AttentionTape;
pub use rotary::{Rotary, Turn, Unturned};

use super::{
    Backward, Context, Errors, Info, Layer, Optimizer, Param, Pass, Plain, Values, Visitor,
    VisitorMut, part,
};
use crate::error::{Result, in_layer};
use crate::tensor::{D2, D3};
use kinds::window;
use multi_head::MultiHead;
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;

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
/// Lengths are those of a pass, so that padding and a cache do not go together:
/// ```compile_fail
/// # use selvedge_core::net::{Attention, Cache, Layer, Padded, Plain};
/// static BLOCK: Attention<i8, 16, 32, 4, 2, 8, Padded, Plain, Cache<32>> = Layer::BLANK;
/// ```
/// Heads that do not divide do not compile either:
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
    P: Turn = Unturned,
> {
    heads: MultiHead<T, L, L, F, HEADS, KV_HEADS, SIZE, S, R, C, P>,
    error_scale: T::Scale,
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
    P: Turn,
> Attention<T, L, F, HEADS, KV_HEADS, SIZE, S, R, C, P>
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
    const L: usize,
    const F: usize,
    const HEADS: usize,
    const KV_HEADS: usize,
    const SIZE: usize,
    S: Sight,
    R: Optimizer,
    C: Recall,
    P: Turn,
> Layer for Attention<T, L, F, HEADS, KV_HEADS, SIZE, S, R, C, P>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = D2<L, F>;
    type Output = D2<L, F>;
    type Tape<const B: usize> = AttentionTape<T, L, L, F, HEADS, KV_HEADS, SIZE, C, P, B>;

    const BLANK: Self = {
        assert!(
            C::CAPACITY == 0 || C::CAPACITY >= L + window::<S>(),
            "attention: the cache must hold a pass and what its first position sees before it"
        );
        assert!(
            C::CAPACITY == 0 || !S::IS_PADDED,
            "attention: what a cache holds has no padding"
        );
        Self {
            heads: MultiHead::BLANK,
            error_scale: Scale::UNSET,
        }
    };

    const INFO: Info = {
        let info = MultiHead::<T, L, L, F, HEADS, KV_HEADS, SIZE, S, R, C, P>::INFO;
        let queries = HEADS * SIZE;
        Info {
            errors: Errors {
                error: L * F,
                spare: if F > queries { L * F } else { L * queries },
                swaps: false, // the sum goes where the error of the output was
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
        self.error_scale = Scale::UNSET;
        self.heads.init(seed, number)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        self.heads.forward(pass, number, [x; 2], tape)
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.output(x.batch)
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
        let (below, [of_key, of_value]) =
            (self.heads).backward(pass, number, [x; 2], tape, errors, is_needed)?;
        let Backward {
            error,
            spare,
            mut exponent,
        } = below;
        if is_needed {
            let [by_key, by_value] = tape.input_errors(batch);
            let terms = [
                (&*part(&mut *error, batch * L * F), exponent),
                (&*by_key, of_key),
                (&*by_value, of_value),
            ]
            .map(|(values, exponent)| Term { values, exponent });
            let context = Context::<T, E>::backward(pass, number, &mut self.error_scale);
            let dx = part(&mut *spare, batch * L * F);
            exponent = context
                .rescale(aligned_exponent([exponent, of_key, of_value]), |store| {
                    elementwise::sum(pass.exec, &terms, store, dx)
                })
                .map_err(in_layer(number))?;
        }
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.heads.visit(self.error_scale, visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.heads.visit_mut(&mut self.error_scale, visitor);
    }
}
