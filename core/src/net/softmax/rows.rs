//! Variants with a probability for each logit.

use super::{Variant, rows, temperature};
use crate::net::scratch::Scratch;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::gumbel::Form;
use selvedge_kernels::softmax::{self, Alpha, Errors, Logits, Temperature, entmax, gumbel, masked};
use selvedge_kernels::{Element, Result};

/// The elements that take part in a [`MaskedSoftmax`](super::MaskedSoftmax).
pub trait Allowed: 'static {
    /// Those of a sample, or of one row for all rows: at least one of each row.
    const ALLOWED: &'static [bool];
}

/// See [`Softmax`](super::Softmax).
pub struct Plain<S, const THOUSANDTHS: u32>(PhantomData<S>);

/// See [`GroupedSoftmax`](super::GroupedSoftmax).
pub struct Grouped<S, L, const THOUSANDTHS: u32>(PhantomData<(S, L)>);

/// See [`MaskedSoftmax`](super::MaskedSoftmax).
pub struct Masked<S, A, const THOUSANDTHS: u32>(PhantomData<(S, A)>);

/// See [`GumbelSoftmax`](super::GumbelSoftmax).
pub struct Drawn<S, const IS_HARD: bool, const THOUSANDTHS: u32>(PhantomData<S>);

/// See [`Entmax`](super::Entmax).
pub struct OfAlpha<S, const ALPHA_THOUSANDTHS: u32, const THOUSANDTHS: u32>(PhantomData<S>);

/// The extents of a call whose rows are the last axis of `S`.
const fn shape<S: Shape>(batch: usize) -> softmax::Shape {
    softmax::Shape {
        rows: batch * rows::<S>(),
        classes: S::CHANNELS,
    }
}

impl<S: Shape, const THOUSANDTHS: u32> Variant for Plain<S, THOUSANDTHS> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = Scratch<T::Number, S::Last, 1>;

    const KIND: &'static str = "softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = ();

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        softmax::forward(shape::<S>(batch), logits, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        softmax::backward(shape::<S>(batch), logits, errors, dx, scratch.all())
    }
}

impl<S: Shape, L: super::Levels, const THOUSANDTHS: u32> Grouped<S, L, THOUSANDTHS> {
    /// Logits of the last level.
    const CLASSES: usize = L::LEVELS[L::LEVELS.len() - 1];

    const fn shape(batch: usize) -> softmax::Shape {
        softmax::Shape {
            rows: batch * (S::LEN / Self::CLASSES),
            classes: Self::CLASSES,
        }
    }
}

impl<S: Shape, L: super::Levels, const THOUSANDTHS: u32> Variant for Grouped<S, L, THOUSANDTHS> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = Scratch<T::Number, S::Last, 1>;

    const KIND: &'static str = "grouped_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        assert!(!L::LEVELS.is_empty(), "softmax: no levels");
        let (mut level, mut logits) = (0, 1);
        while level < L::LEVELS.len() {
            logits *= L::LEVELS[level];
            level += 1;
        }
        assert!(
            logits == S::CHANNELS,
            "softmax: a row has the product of its levels as logits"
        );
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        softmax::forward(
            Self::shape(batch),
            logits,
            out,
            scratch.first(Self::CLASSES),
        )
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        let scratch = scratch.first(Self::CLASSES);
        softmax::backward(Self::shape(batch), logits, errors, dx, scratch)
    }
}

impl<S: Shape, A: Allowed, const THOUSANDTHS: u32> Variant for Masked<S, A, THOUSANDTHS> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = Scratch<T::Number, S::Last, 1>;

    const KIND: &'static str = "masked_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        let len = A::ALLOWED.len();
        assert!(
            len == S::LEN || len == S::CHANNELS,
            "softmax: a mask has as many elements as a sample, or as a row"
        );
        let mut start = 0;
        while start < len {
            let (mut i, mut allows) = (0, false);
            while i < S::CHANNELS {
                allows |= A::ALLOWED[start + i];
                i += 1;
            }
            assert!(allows, "softmax: a mask allows nothing of a row");
            start += S::CHANNELS;
        }
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        masked::forward(shape::<S>(batch), logits, A::ALLOWED, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        masked::backward(
            shape::<S>(batch),
            logits,
            A::ALLOWED,
            errors,
            dx,
            scratch.all(),
        )
    }
}

impl<S: Shape, const IS_HARD: bool, const THOUSANDTHS: u32> Variant
    for Drawn<S, IS_HARD, THOUSANDTHS>
{
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = Scratch<T::Number, S::Last, 1>;

    const KIND: &'static str = "gumbel_softmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = ();

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        words: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        let form = if IS_HARD { Form::Hard } else { Form::Soft };
        gumbel::forward(shape::<S>(batch), logits, words, form, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        words: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        gumbel::backward(shape::<S>(batch), logits, words, errors, dx, scratch.all())
    }
}

impl<S: Shape, const ALPHA_THOUSANDTHS: u32, const THOUSANDTHS: u32>
    OfAlpha<S, ALPHA_THOUSANDTHS, THOUSANDTHS>
{
    const ALPHA: Alpha = match Alpha::new(ALPHA_THOUSANDTHS as f32 / 1000.0) {
        Ok(alpha) => alpha,
        Err(_) => panic!("entmax: an alpha is 1000 to 2000 thousandths"),
    };
}

impl<S: Shape, const ALPHA_THOUSANDTHS: u32, const THOUSANDTHS: u32> Variant
    for OfAlpha<S, ALPHA_THOUSANDTHS, THOUSANDTHS>
{
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = Scratch<T::Number, S::Last, 1>;

    const KIND: &'static str = "entmax";
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);
    const CHECKED: () = {
        let _ = Self::ALPHA;
    };

    fn forward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        out: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<()> {
        entmax::forward(shape::<S>(batch), logits, Self::ALPHA, out, scratch.all())
    }

    fn backward<T: Element>(
        batch: usize,
        logits: Logits<'_, T>,
        _: Option<Words>,
        errors: Errors<'_, T>,
        dx: &mut [T],
        scratch: &mut Self::Scratch<T>,
    ) -> Result<u32> {
        entmax::backward(
            shape::<S>(batch),
            logits,
            Self::ALPHA,
            errors,
            dx,
            scratch.all(),
        )
    }
}
