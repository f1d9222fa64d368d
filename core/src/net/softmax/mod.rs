//! Rows of logits to rows of probabilities.

mod learned;
mod parts;
mod rows;
mod top_k;

pub use learned::LearnedMixture;
pub use parts::{Adaptive, Clusters, Levels, Mixed, Tree, Weights};
pub use rows::{Allowed, Drawn, Grouped, Masked, OfAlpha, Plain};
pub use top_k::{TopKSoftmax, TopKTape};

use super::axes::agree;
use super::{Apply, Context, Function, Tape, Values};
use crate::ops::softmax::{stored, words};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::{self, Errors, Logits, Temperature};
use selvedge_kernels::{Element, Result};

/// The softmax of each row of `S`, whose rows are its last axis: a vector `[N]`, a grid `[R, N]`. Logits are
/// divided by a temperature of `THOUSANDTHS / 1000`. Numerical behaviour, here and below:
/// [`selvedge_kernels::softmax`]; integers are stored at the exponent `-M`.
///
/// # Example
/// ```
/// use selvedge_core::net::{Layer, Softmax};
/// use selvedge_core::tensor::D2;
/// // Three rows of five, at a temperature of a half.
/// static ROWS: Softmax<i8, D2<3, 5>, 500> = Softmax::BLANK;
/// ```
/// A temperature of 0 is refused when the program is compiled:
/// ```compile_fail
/// # use selvedge_core::net::{Layer, Softmax};
/// # use selvedge_core::tensor::D2;
/// static ROWS: Softmax<i8, D2<3, 5>, 0> = Softmax::BLANK;
/// ```
pub type Softmax<T, S, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Plain<S, THOUSANDTHS>>>;

/// The softmax of each group of the last of [`Levels`]. Numerical behaviour:
/// [`selvedge_kernels::softmax::Shape::groups`].
pub type GroupedSoftmax<T, S, L, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Grouped<S, L, THOUSANDTHS>>>;

/// The softmax of the elements that are [`Allowed`]; the others are exactly 0. Numerical behaviour:
/// [`selvedge_kernels::softmax::masked`].
pub type MaskedSoftmax<T, S, A, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Masked<S, A, THOUSANDTHS>>>;

/// A differentiable draw in training, also as one-hot rows if `IS_HARD`; at inference the softmax,
/// or its largest element. Numerical behaviour: [`selvedge_kernels::softmax::gumbel`].
pub type GumbelSoftmax<T, S, const IS_HARD: bool = false, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Drawn<S, IS_HARD, THOUSANDTHS>>>;

/// Entmax with an alpha of `ALPHA_THOUSANDTHS / 1000`, from 1 (softmax) to 2 (sparsemax): exact zeros.
/// Numerical behaviour: [`selvedge_kernels::softmax::entmax`].
pub type Entmax<T, S, const ALPHA_THOUSANDTHS: u32 = 1500, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<OfAlpha<S, ALPHA_THOUSANDTHS, THOUSANDTHS>>>;

/// The Euclidean projection of each row on the simplex.
pub type Sparsemax<T, S, const THOUSANDTHS: u32 = 1000> = Entmax<T, S, 2000, THOUSANDTHS>;

/// Rows of the logits of all nodes of a tree to rows of its leaves' probabilities. Numerical behaviour:
/// [`selvedge_kernels::softmax::tree`].
pub type TreeSoftmax<T, In, Out, L, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Tree<In, Out, L, THOUSANDTHS>>>;

/// Rows of items' logits, followed by those of the tails, to rows of items' probabilities. Numerical behaviour:
/// [`selvedge_kernels::softmax::adaptive`].
pub type AdaptiveSoftmax<T, In, Out, C, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Adaptive<In, Out, C, THOUSANDTHS>>>;

/// `[.., K, N]` to `[.., N]`: the sum of K softmaxes by given [`Weights`]; [`LearnedMixture`] learns them.
/// Numerical behaviour: [`selvedge_kernels::softmax::mixture`].
pub type MixtureSoftmax<T, In, Out, W, const THOUSANDTHS: u32 = 1000> =
    Apply<T, Probabilities<Mixed<In, Out, W, THOUSANDTHS>>>;

/// A member of the family.
pub trait Variant: 'static {
    /// Shape of the logits of one sample.
    type Input: Shape;
    /// Shape of its probabilities.
    type Output: Shape;
    /// Memory that the kernels work in.
    type Scratch<T: Element>: Tape;

    /// What [`Info::kind`](super::Info::kind) says.
    const KIND: &'static str;
    /// What logits are divided by.
    const TEMPERATURE: Temperature;
    /// Refuses shapes that do not belong together, when the program is compiled.
    const CHECKED: ();

    /// The probabilities `out` of the logits of `batch` samples, with noise from `words`.
    ///
    /// # Errors
    /// Those of its kernel.
    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        words: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()>;

    /// Takes errors of the probabilities to those of the logits, and returns their range.
    ///
    /// # Errors
    /// Those of its kernel.
    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        words: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32>;
}

/// The function of a [`Variant`].
pub struct Probabilities<V>(PhantomData<V>);

impl<V: Variant> Probabilities<V> {
    fn logits<T: Element>(x: Values<'_, T>) -> Logits<'_, T> {
        Logits::new(x.data, x.exponent).at(V::TEMPERATURE)
    }
}

impl<V: Variant> Function for Probabilities<V> {
    type Input = V::Input;
    type Output = V::Output;
    type Scratch<T: Element> = V::Scratch<T>;

    const KIND: &'static str = V::KIND;
    const RESCALES: bool = false; // -M is known
    const CHECKED: () = {
        let _ = V::TEMPERATURE;
        check_logits::<V::Input>();
        V::CHECKED
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        scratch: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        V::forward(x.batch, Self::logits(x), words(&context), out, scratch)?;
        Ok(stored::<T>())
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        scratch: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let words = words(&context);
        let exponent = softmax::gradient_exponent::<T>(dy.exponent, V::TEMPERATURE);
        context.rescale(exponent, |store| {
            let errors = Errors { dy: dy.data, store };
            V::backward(x.batch, Self::logits(x), words, errors, dx, scratch)
        })
    }
}

/// A temperature, found when the program is compiled.
///
/// # Panics
/// For 0, in a constant: the build fails.
const fn temperature(thousandths: u32) -> Temperature {
    assert!(thousandths > 0, "softmax: a temperature of 0");
    match Temperature::new(thousandths as f32 / 1000.0) {
        Ok(temperature) => temperature,
        Err(_) => Temperature::ONE, // for what is not finite, which a quotient of integers is
    }
}

/// The rows of one sample.
const fn rows<S: Shape>() -> usize {
    S::LEN / S::CHANNELS
}

/// Refuses inputs and outputs that differ in more than their last axis.
const fn check_rows<In: Shape, Out: Shape>() {
    assert!(
        In::RANK == Out::RANK && agree::<In, Out>(In::RANK - 1),
        "softmax: the output must have as many rows as the input"
    );
}

/// Refuses rows of no logits, and of more than integers sum.
const fn check_logits<In: Shape>() {
    assert!(In::CHANNELS > 0, "softmax: rows without logits");
    assert!(
        In::CHANNELS <= softmax::Shape::MOST_CLASSES,
        "softmax: more than 32,767 logits in a row"
    );
}

/// Refuses shapes that are no mixture of as many components as `weights`.
const fn check_mixture<In: Shape, Out: Shape>(weights: usize) {
    check_logits::<In>();
    assert!(
        In::RANK >= 2
            && In::CHANNELS == Out::CHANNELS
            && (Out::RANK + 1 == In::RANK || (In::RANK == 2 && Out::RANK == 1))
            && agree::<In, Out>(In::RANK - 2),
        "softmax: a mixture takes [.., K, N] to [.., N]"
    );
    let components = In::EXTENTS[In::RANK - 2];
    assert!(
        weights == components,
        "softmax: a mixture has a weight for each component"
    );
    assert!(
        components <= In::CHANNELS,
        "softmax: a mixture has no more components than classes"
    );
}
