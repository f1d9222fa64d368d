//! Variants with a probability for each logit.

use super::{Attributes, Result, Tools, Variant, groups};
use crate::ops::{Fault, Kernel, Kind};
use selvedge_kernels::softmax::gumbel::Form;
use selvedge_kernels::softmax::{self, Alpha, Errors, Logits, Shape, entmax, gumbel, masked};
use selvedge_kernels::{self as kernels, Element};

groups! {
    /// Softmax with a temperature, of rows or of groups.
    run, train: Plain, Softmax, SoftmaxBackward;
    /// The softmax of the elements that a mask allows.
    run_masked, train_masked: Masked, MaskedSoftmax, MaskedSoftmaxBackward;
    /// A differentiable draw.
    run_gumbel, train_gumbel: Drawn, GumbelSoftmax, GumbelSoftmaxBackward;
    /// Entmax and sparsemax.
    run_entmax, train_entmax: OfAlpha, Entmax, EntmaxBackward;
}

/// Attributes: rows of a sample, logits of a row.
pub(super) fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [rows, classes] = attributes.sizes()?;
    Ok(Shape {
        rows: batch.saturating_mul(rows),
        classes,
    })
}

struct Plain(Shape);

impl Variant for Plain {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        shape(batch, attributes).map(Self)
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        softmax::forward(self.0, logits, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        softmax::backward(self.0, logits, errors, dx, tools.numbers)
    }
}

/// Its table is the mask, a byte of 0 or 1 for each element of a sample or of a row.
pub(super) struct Masked(Shape);

/// A mask of other bytes than 0 and 1 is none.
fn allowed(table: &[u8]) -> &[bool] {
    bytemuck::checked::try_cast_slice(table).unwrap_or_default()
}

impl Variant for Masked {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        shape(batch, attributes).map(Self)
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        masked::forward(self.0, logits, allowed(tools.table), out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        let allowed = allowed(tools.table);
        masked::backward(self.0, logits, allowed, errors, dx, tools.numbers)
    }
}

/// Its attributes end with whether rows are one-hot.
struct Drawn(Shape, Form);

impl Variant for Drawn {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        let shape = shape(batch, attributes)?;
        match attributes.word()? {
            0 => Ok(Self(shape, Form::Soft)),
            1 => Ok(Self(shape, Form::Hard)),
            _ => Err(Fault::Malformed),
        }
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        let Self(shape, form) = *self;
        gumbel::forward(shape, logits, tools.words, form, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        gumbel::backward(self.0, logits, tools.words, errors, dx, tools.numbers)
    }
}

/// Its attributes end with alpha, as the bits of an `f32`.
struct OfAlpha(Shape, Alpha);

impl Variant for OfAlpha {
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        let shape = shape(batch, attributes)?;
        let alpha = Alpha::new(f32::from_bits(attributes.word()?))?;
        Ok(Self(shape, alpha))
    }

    fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        out: &mut [T],
    ) -> kernels::Result<()> {
        let Self(shape, alpha) = *self;
        entmax::forward(shape, logits, alpha, out, tools.numbers)
    }

    fn backward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        tools: Tools<'_, T>,
        errors: Errors<'_, T>,
        dx: &mut [T],
    ) -> kernels::Result<u32> {
        let Self(shape, alpha) = *self;
        entmax::backward(shape, logits, alpha, errors, dx, tools.numbers)
    }
}
