//! Dense layers: `y = activation(weight · x + bias)` over the last axis.

use super::activation::{Activations, All};
use super::call::Call;
use super::{Kernel, Kind, Result, weighted};
use selvedge_kernels::Element;
use selvedge_kernels::dense::Shape;
use selvedge_kernels::element::Output;

/// The forward operator, with all activations.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    run_with::<T, All>()
}

/// The forward operator, with the activations `A`.
#[must_use]
pub const fn run_with<T: Element, A: Activations>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::Dense,
                dtypes: [T::DTYPE, T::DTYPE],
                run: forward::<T, T, A>,
            },
            Kernel {
                kind: Kind::Dense,
                dtypes: [T::DTYPE, T::Head::DTYPE],
                run: forward::<T, T::Head, A>,
            },
        ]
    }
}

/// The operator that goes back and learns, with all activations.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    train_with::<T, All>()
}

/// The operator that goes back and learns, with the activations `A`.
#[must_use]
pub const fn train_with<T: Element, A: Activations>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::DenseStep,
            dtypes: [T::DTYPE, T::DTYPE],
            run: step::<T, A>,
        }]
    }
}

/// Attributes: rows of a sample, inputs, outputs, activation.
pub(super) fn shape(call: &Call<'_, '_>) -> Result<(Shape, u32)> {
    let mut attributes = call.attributes();
    let [rows, inputs, outputs] = attributes.sizes()?;
    let shape = Shape {
        batch: call.batch.saturating_mul(rows),
        inputs,
        outputs,
    };
    Ok((shape, attributes.word()?))
}

fn forward<T: Element, O: Element + Output<T>, A: Activations>(
    call: &mut Call<'_, '_>,
) -> Result<()> {
    let (shape, activation) = shape(call)?;
    weighted::forward::<T, T, O, A>(call, shape, activation)
}

fn step<T: Element, A: Activations>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, activation) = shape(call)?;
    weighted::step::<T, T, A>(call, shape, activation)
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Graph, ValueId};
    use crate::ops::Kind;
    use crate::ops::weighted::describe::Weighted;
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::DType;

    pub(crate) static DENSE: Weighted = Weighted {
        forward: Kind::Dense,
        step: Kind::DenseStep,
        is_mixed: false,
    };

    /// `[x, weight, bias]` to `outputs` features over the last axis of `x`.
    pub(crate) fn append(
        operator: &'static Weighted,
        graph: &mut Graph,
        dtypes: [DType; 2],
        number: u32,
        inputs: [ValueId; 3],
        outputs: usize,
        activation: u32,
    ) -> ValueId {
        let [x, ..] = inputs;
        let shape = graph.shape_of(x);
        let (&features, leading) = shape.split_last().unwrap_or((&1, &[]));
        let rows: usize = leading.iter().product();
        let mut to: Vec<usize> = leading.to_vec();
        to.push(outputs);
        let attributes = vec![rows as u32, features as u32, outputs as u32, activation];
        operator.append(graph, dtypes, number, inputs, to, (attributes, activation))
    }
}
