//! Convolutions over one to three axes, with groups, and with bias and activation.

use super::activation::{Activations, All};
use super::call::{Attributes, Call};
use super::weighted::Transposed;
use super::window::{self, by_axes};
use super::{Fault, Kernel, Kind, Result, weighted};
use selvedge_kernels::Element;
use selvedge_kernels::conv::Shape;
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
                kind: Kind::Conv,
                dtypes: [T::DTYPE, T::DTYPE],
                run: forward::<T, T, A>,
            },
            Kernel {
                kind: Kind::Conv,
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
            kind: Kind::ConvStep,
            dtypes: [T::DTYPE, T::DTYPE],
            run: step::<T, A>,
        }]
    }
}

/// The forward operator over `N` axes alone, with the activations `A`, between layers: what a small program links.
#[must_use]
pub const fn run_over<T: Element, A: Activations, const N: usize>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Conv,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward_over::<T, T, A, N>,
        }]
    }
}

/// What goes back through it and learns.
#[must_use]
pub const fn train_over<T: Element, A: Activations, const N: usize>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::ConvStep,
            dtypes: [T::DTYPE, T::DTYPE],
            run: step_over::<T, A, N>,
        }]
    }
}

/// Transposed convolutions, with all activations.
#[must_use]
pub const fn run_transpose<T: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::ConvTranspose,
                dtypes: [T::DTYPE, T::DTYPE],
                run: forward_transpose::<T, T, All>,
            },
            Kernel {
                kind: Kind::ConvTranspose,
                dtypes: [T::DTYPE, T::Head::DTYPE],
                run: forward_transpose::<T, T::Head, All>,
            },
        ]
    }
}

/// What goes back through them and learns, with all activations.
#[must_use]
pub const fn train_transpose<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::ConvTransposeStep,
            dtypes: [T::DTYPE, T::DTYPE],
            run: step_transpose::<T, All>,
        }]
    }
}

/// Attributes: axes, activation, spatial extents, channels, filters, groups, window.
pub(super) fn shape<const N: usize>(
    batch: usize,
    attributes: &mut Attributes<'_>,
) -> Result<Shape<N>> {
    Ok(Shape {
        batch,
        input: attributes.sizes()?,
        channels: attributes.size()?,
        filters: attributes.size()?,
        groups: attributes.size()?,
        window: window::read(attributes)?,
    })
}

fn forward<T: Element, O: Element + Output<T>, A: Activations>(
    call: &mut Call<'_, '_>,
) -> Result<()> {
    by_axes!(call.attributes(), N => forward_over::<T, O, A, N>(call))
}

fn step<T: Element, A: Activations>(call: &mut Call<'_, '_>) -> Result<()> {
    by_axes!(call.attributes(), N => step_over::<T, A, N>(call))
}

/// The attributes behind the number of axes, which must be `N`.
fn over<'c, const N: usize>(call: &Call<'c, '_>) -> Result<(Shape<N>, u32)> {
    let mut attributes = call.attributes();
    if attributes.size()? != N {
        return Err(Fault::Malformed);
    }
    let activation = attributes.word()?;
    Ok((shape::<N>(call.batch, &mut attributes)?, activation))
}

fn forward_over<T: Element, O: Element + Output<T>, A: Activations, const N: usize>(
    call: &mut Call<'_, '_>,
) -> Result<()> {
    let (shape, activation) = over::<N>(call)?;
    weighted::forward::<T, T, O, A>(call, shape, activation)
}

fn step_over<T: Element, A: Activations, const N: usize>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, activation) = over::<N>(call)?;
    weighted::step::<T, T, A>(call, shape, activation)
}

fn forward_transpose<T: Element, O: Element + Output<T>, A: Activations>(
    call: &mut Call<'_, '_>,
) -> Result<()> {
    let mut attributes = call.attributes();
    by_axes!(attributes, N => {
        let activation = attributes.word()?;
        let shape = shape::<N>(call.batch, &mut attributes)?;
        weighted::forward::<T, T, O, A>(call, Transposed(shape), activation)
    })
}

fn step_transpose<T: Element, A: Activations>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    by_axes!(attributes, N => {
        let activation = attributes.word()?;
        let shape = shape::<N>(call.batch, &mut attributes)?;
        weighted::step::<T, T, A>(call, Transposed(shape), activation)
    })
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Graph, ValueId};
    use crate::ops::weighted::describe::Weighted;
    use crate::ops::{Kind, window};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::conv::Shape;
    use selvedge_kernels::{self as kernels, DType};

    pub(crate) static CONV: Weighted = Weighted {
        forward: Kind::Conv,
        step: Kind::ConvStep,
        is_mixed: false,
    };

    static TRANSPOSE: Weighted = Weighted {
        forward: Kind::ConvTranspose,
        step: Kind::ConvTransposeStep,
        is_mixed: false,
    };

    /// `[x, filters, bias]` to what the windows of `shape` give.
    pub(crate) fn append<const N: usize>(
        operator: &'static Weighted,
        graph: &mut Graph,
        dtypes: [DType; 2],
        number: u32,
        inputs: [ValueId; 3],
        shape: &Shape<N>,
        activation: u32,
    ) -> kernels::Result<ValueId> {
        let mut to: Vec<usize> = shape.window.outputs(shape.input)?.to_vec();
        to.push(shape.filters);
        let attributes = (attributes(shape, activation), activation);
        Ok(operator.append(graph, dtypes, number, inputs, to, attributes))
    }

    /// `[x, weights, bias]` to what a convolution of `shape` would take to an `x`.
    pub(crate) fn append_transpose<const N: usize>(
        graph: &mut Graph,
        dtypes: [DType; 2],
        number: u32,
        inputs: [ValueId; 3],
        shape: &Shape<N>,
        activation: u32,
    ) -> ValueId {
        let mut to: Vec<usize> = shape.input.to_vec();
        to.push(shape.channels);
        let attributes = (attributes(shape, activation), activation);
        TRANSPOSE.append(graph, dtypes, number, inputs, to, attributes)
    }

    fn attributes<const N: usize>(shape: &Shape<N>, activation: u32) -> Vec<u32> {
        let mut attributes = vec![N as u32, activation];
        attributes.extend(shape.input.map(|extent| extent as u32));
        attributes.extend([shape.channels, shape.filters, shape.groups].map(|n| n as u32));
        window::describe::write(&shape.window, &mut attributes);
        attributes
    }
}
