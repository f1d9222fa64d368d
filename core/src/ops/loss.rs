//! Losses, with the gradient that training begins from.

use super::call::{Call, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Delta, Distance, Outcome, Samples, cross_entropy};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{self as kernels, Element, loss};

/// Softmax cross-entropy of class labels.
#[must_use]
pub const fn cross_entropy_of<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::CrossEntropy,
            dtypes: [T::DTYPE, T::DTYPE],
            run: classes::<T>,
        }]
    }
}

/// The words that round the gradient: those of the loss, or, where there are several, of the layer that asks for it.
fn words(call: &Call<'_, '_>) -> Words {
    let stream = match call.number() {
        0 => stream::LOSS,
        number => stream::error(number),
    };
    Words::new(call.seed, stream, call.step)
}

/// Attributes: classes. Values: logits, labels, the gradient, the loss.
fn classes<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let classes = call.attributes().size()?;
    let exponent = call.exponent(0);
    let mut scale: T::Scale = call.scale(0);
    let words = words(call);
    let [logits, labels, dy, sum] = call.views([0, 1, 2, 3])?;
    let (logits, labels, dy) = (read::<T::Head>(logits)?, read(labels)?, write(dy)?);
    let mut loss = <T as loss::Kernels>::LossSum::default();
    let run = |store| {
        let outcome = cross_entropy::<T>(classes, logits, exponent, labels, store, &mut *dy)?;
        loss = outcome.loss;
        Ok(outcome.range)
    };
    let exponent = scale.requantize(
        T::LOSS_EXPONENT,
        T::MAGNITUDE_BITS,
        Mode::Train,
        Rounding::Stochastic(words),
        run,
    )?;
    if let Some(place) = write(sum)?.first_mut() {
        *place = loss;
    }
    call.set_scale(0, scale);
    call.set_exponent(2, exponent);
    Ok(())
}

/// Squared, absolute and Huber's distances from targets.
#[must_use]
pub const fn regression_of<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Regression,
            dtypes: [T::DTYPE, T::DTYPE],
            run: regression::<T>,
        }]
    }
}

/// Cross-entropy of outputs that are true or false each by itself.
#[must_use]
pub const fn binary_cross_entropy_of<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::BinaryCrossEntropy,
            dtypes: [T::DTYPE, T::DTYPE],
            run: binary::<T>,
        }]
    }
}

/// Attributes: features of a sample, distance (0: squared, 1: absolute, 2: Huber's), the bits of Huber's delta as `f32`.
/// Values as [`towards`].
fn regression<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let features = attributes.size()?;
    let distance = match (attributes.word()?, attributes.word()?) {
        (0, _) => Distance::Squared,
        (1, _) => Distance::Absolute,
        (2, bits) => Distance::Huber(Delta::new(f32::from_bits(bits))?),
        _ => return Err(Fault::Malformed),
    };
    let exponent = distance.gradient_exponent::<T::Head>(call.exponent(0), None);
    towards::<T>(call, features, exponent, |samples, store, dy| {
        loss::regression(distance, samples, store, dy)
    })
}

/// Attributes: features of a sample. Values as [`towards`].
fn binary<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let features = call.attributes().size()?;
    towards::<T>(call, features, T::LOSS_EXPONENT, loss::binary_cross_entropy)
}

/// Values: outputs, targets, the gradient, the loss.
fn towards<T: Element>(
    call: &mut Call<'_, '_>,
    features: usize,
    exponent: i32,
    gradient: impl Fn(Samples<'_, T::Head>, Store, &mut [T]) -> kernels::Result<Outcome<T::LossSum>>,
) -> Result<()> {
    let [of_outputs, target_exponent] = [0, 1].map(|slot| call.exponent(slot));
    let mut scale: T::Scale = call.scale(0);
    let words = words(call);
    let [outputs, target, dy, sum] = call.views([0, 1, 2, 3])?;
    let samples = Samples {
        outputs: read(outputs)?,
        exponent: of_outputs,
        target: read(target)?,
        target_exponent,
        features,
        weights: None,
    };
    let dy = write::<T>(dy)?;
    let mut loss = <T as loss::Kernels>::LossSum::default();
    let run = |store| {
        let outcome = gradient(samples, store, &mut *dy)?;
        loss = outcome.loss;
        Ok(outcome.range)
    };
    let rounding = Rounding::Stochastic(words);
    let exponent = scale.requantize(exponent, T::MAGNITUDE_BITS, Mode::Train, rounding, run)?;
    if let Some(place) = write(sum)?.first_mut() {
        *place = loss;
    }
    call.set_scale(0, scale);
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::network::Loss;
    use crate::network::builder::by_dtype;
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::{DType, Element};

    /// All losses.
    #[derive(Debug)]
    struct Of;

    /// The gradient of the output `y` of a layer of type `dtype`, and the loss: the sum over all samples. What is asked is one
    /// input more. `number` is 0 for the network's last output.
    pub(crate) fn append(
        graph: &mut Graph,
        y: ValueId,
        (dtype, number): (DType, u32),
        loss: Loss,
    ) -> [ValueId; 2] {
        let shape = graph.shape_of(y);
        let (&last, leading) = shape.split_last().unwrap_or((&1, &[]));
        let features: usize = shape.iter().product();
        let (head, exponent) = by_dtype!(dtype, T => {
            (<T as Element>::Head::DTYPE, <T as Element>::Head::PIXEL_EXPONENT as i16)
        });
        let (kind, attributes) = match loss {
            Loss::CrossEntropy => (Kind::CrossEntropy, vec![last as u32]),
            Loss::Squared => (Kind::Regression, vec![features as u32, 0, 0]),
            Loss::Absolute => (Kind::Regression, vec![features as u32, 1, 0]),
            Loss::Huber(delta) => (Kind::Regression, vec![features as u32, 2, delta.to_bits()]),
            Loss::BinaryCrossEntropy => (Kind::BinaryCrossEntropy, vec![features as u32]),
        };
        let asked = match loss {
            Loss::CrossEntropy => graph.input(DType::U16, leading, 0),
            _ => graph.input(head, &shape, exponent),
        };
        let sum = match dtype {
            DType::F64 => DType::F64,
            dtype if dtype.is_integer() => DType::I64,
            _ => DType::F32,
        };
        let dy = graph.computed(dtype, shape);
        let loss = graph.computed_once(sum, vec![1]);
        let node = Node::new(&Of, kind, dtype, number)
            .inputs([Some(y), Some(asked)])
            .outputs([Some(dy), Some(loss)])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        [dy, loss]
    }

    impl Describe for Of {
        fn differentiate(&'static self, _: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            Err(Error::Gradient {
                operator: node.kind.name(),
            })
        }
    }
}
