//! Losses, with the gradient that training begins from.

use super::call::{Call, read, write};
use super::{Kernel, Kind, Result};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::cross_entropy;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, loss};

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

/// Attributes: classes. Values: logits, labels, the gradient, the loss.
fn classes<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let classes = call.attributes().size()?;
    let exponent = call.exponent(0);
    let mut scale: T::Scale = call.scale(0);
    let words = Words::new(call.seed, stream::LOSS, call.step);
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

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct CrossEntropy;

    /// The gradient of the logits, and the loss: the sum over all rows.
    pub(crate) fn append(graph: &mut Graph, dtype: DType, logits: ValueId) -> [ValueId; 2] {
        let shape = graph.shape_of(logits);
        let (&classes, leading) = shape.split_last().unwrap_or((&1, &[]));
        let labels = graph.input(DType::U16, leading, 0);
        let sum = match dtype {
            DType::F64 => DType::F64,
            dtype if dtype.is_integer() => DType::I64,
            _ => DType::F32,
        };
        let dy = graph.computed(dtype, shape.clone());
        let loss = graph.computed_once(sum, vec![1]);
        let node = Node::new(&CrossEntropy, Kind::CrossEntropy, dtype, 0)
            .inputs([Some(logits), Some(labels)])
            .outputs([Some(dy), Some(loss)])
            .attributes(vec![classes as u32])
            .states(1);
        graph.node(node);
        [dy, loss]
    }

    impl Describe for CrossEntropy {
        fn differentiate(&'static self, _: &mut Walk<'_>, _: &Node) -> Result<(), Error> {
            Err(Error::Gradient {
                operator: Kind::CrossEntropy.name(),
            })
        }
    }
}
