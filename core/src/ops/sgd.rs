//! Gradient descent by gradients that are values of their own: they accumulate, or join several uses of a parameter.

use super::call::{Call, read, write};
use super::learned::Learned;
use super::{Fault, Kernel, Kind, Result};
use crate::session::memory::Bytes;
use selvedge_kernels::Element;
use selvedge_kernels::optim::{self, Role};
use selvedge_kernels::rng::Words;

/// Updates of parameters, and sums of gradients.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[
            Kernel {
                kind: Kind::Sgd,
                dtypes: [T::DTYPE, T::DTYPE],
                run: update::<T, T>,
            },
            Kernel {
                kind: Kind::Sgd,
                dtypes: [T::DTYPE, T::Bias::DTYPE],
                run: update::<T, T::Bias>,
            },
            Kernel {
                kind: Kind::Accumulate,
                dtypes: [T::DTYPE, T::DTYPE],
                run: accumulate::<T>,
            },
        ]
    }
}

/// Updates of weights of another type than the activations': `K` under `T`.
#[must_use]
pub const fn run_mixed<T: Element, K: Element>() -> &'static [Kernel]
where
    T::Acc: Into<K::Update>,
{
    const {
        &[Kernel {
            kind: Kind::Sgd,
            dtypes: [T::DTYPE, K::DTYPE],
            run: update::<T, K>,
        }]
    }
}

/// Attributes: number of the parameter in its layer, whether it is a weight, whether its sums are wide. Values: the
/// parameter, the low bytes of its masters, its velocities, its gradient.
fn update<T: Element, P: Element>(call: &mut Call<'_, '_>) -> Result<()>
where
    T::Acc: Into<P::Update>,
{
    let mut attributes = call.attributes();
    let index = attributes.word()?;
    let role = match attributes.word()? {
        0 => Role::Bias,
        _ => Role::Weight,
    };
    let is_wide = attributes.word()? != 0;
    let [exponent, of_sums] = [0, 3].map(|slot| call.exponent(slot));
    let mut exponent = exponent as i16; // it comes from `i16`
    let (words, sgd) = (call.pass().update_words(call.number(), index), call.sgd);
    let [value, low, velocity, sums] = call.views([0, 1, 2, 3])?;
    let parts = [value, low, velocity, Bytes::Constant(&[])];
    if is_wide {
        let parameter = Learned::<P, P::Update>::of(parts, &mut exponent, role)?;
        apply(parameter, sgd, of_sums, words, read(sums)?)?;
    } else {
        let parameter = Learned::<P, T::Acc>::of(parts, &mut exponent, role)?;
        apply(parameter, sgd, of_sums, words, read(sums)?)?;
    }
    call.set_exponent(0, exponent.into());
    Ok(())
}

fn apply<P: Element, A: Copy + Into<P::Update>>(
    parameter: Learned<'_, P, A>,
    sgd: &optim::Sgd,
    exponent: i32,
    words: Words,
    sums: &[A],
) -> Result<()> {
    match parameter {
        Learned::Frozen(..) => Ok(()),
        Learned::Descends(parameter) => Ok(parameter.update(sgd, exponent, words)?.apply(sums)?),
        Learned::Stores(..) => Err(Fault::Malformed),
    }
}

/// Attributes: whether sums are wide, whether `total` stays from run to run. Values: total, what is added.
fn accumulate<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let is_wide = attributes.word()? != 0;
    let begins = attributes.word()? != 0 && call.begins;
    let exponents = [0, 1].map(|slot| call.exponent(slot));
    let [total, sums] = call.views([0, 1])?;
    let exponent = if is_wide {
        add::<T::Update>(write(total)?, read(sums)?, exponents, begins)?
    } else {
        add::<T::Acc>(write(total)?, read(sums)?, exponents, begins)?
    };
    call.set_exponent(0, exponent);
    Ok(())
}

fn add<A: selvedge_kernels::fixed::Accumulator>(
    total: &mut [A],
    sums: &[A],
    [of_total, of_sums]: [i32; 2],
    begins: bool,
) -> Result<i32> {
    if begins {
        total.fill(A::default());
        return Ok(optim::accumulate(total, of_sums, sums, of_sums)?);
    }
    Ok(optim::accumulate(total, of_total, sums, of_sums)?)
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, Pending, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;

    #[derive(Debug)]
    struct Sgd;

    /// Updates a parameter by the sum of its gradients.
    pub(crate) fn append(graph: &mut Graph, pending: Pending, total: ValueId) {
        let [value, low, velocity] = graph.with_companions(Some(pending.value));
        let dtype = graph.dtype_of(pending.value);
        let node = Node {
            dtypes: [pending.dtype, dtype],
            ..Node::new(&Sgd, Kind::Sgd, pending.dtype, pending.number)
        };
        let node = node
            .inputs([value, low, velocity, Some(total)])
            .attributes(vec![
                pending.index,
                pending.is_weight.into(),
                pending.is_wide.into(),
            ]);
        graph.node(node);
    }

    /// Adds a gradient to `total`, which stays from run to run, or is a gradient itself.
    pub(crate) fn accumulate(
        graph: &mut Graph,
        pending: Pending,
        total: ValueId,
        sums: ValueId,
        stays: bool,
    ) {
        let node = Node::new(&Sgd, Kind::Accumulate, pending.dtype, pending.number)
            .inputs([Some(total), Some(sums)])
            .attributes(vec![pending.is_wide.into(), stays.into()]);
        graph.node(node);
    }

    impl Describe for Sgd {
        fn differentiate(&'static self, _: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            Err(Error::Gradient {
                operator: node.kind.name(),
            })
        }
    }
}
