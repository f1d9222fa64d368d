//! Two sequences that lie one below the other, each on its own: queries, and the memory that they look at.

use crate::net::copy;
use crate::ops::call::{Call, read, write};
use crate::ops::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::split::{rows_of, rows_of_mut};

/// Takes them apart.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Sequences,
            dtypes: [T::DTYPE, T::DTYPE],
            run: sequences::<T>,
        }]
    }
}

/// Attributes: elements of each in a sample. Values: both, the first, the second.
fn sequences<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let ([first, second], exponent) = (call.attributes().sizes()?, call.exponent(0));
    let [both, x, memory] = call.views([0, 1, 2])?;
    let (x, memory) = (write::<T>(x)?, write::<T>(memory)?);
    let parts = rows_of_mut(x, first).zip(rows_of_mut(memory, second));
    for (sample, (x, memory)) in rows_of(read(both)?, first.saturating_add(second)).zip(parts) {
        let (own, rest) = sample.split_at_checked(first).unwrap_or_default();
        copy(own, x);
        copy(rest, memory);
    }
    call.set_exponent(1, exponent);
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind, concat};
    use alloc::vec;

    #[derive(Debug)]
    struct Sequences;

    /// The first `queries` positions of `x`, `[positions, features]`, and the others.
    pub(crate) fn append(
        graph: &mut Graph,
        x: ValueId,
        [queries, memory, features]: [usize; 3],
        number: u32,
    ) -> [ValueId; 2] {
        let dtype = graph.dtype_of(x);
        let parts = [queries, memory];
        let both = parts.map(|positions| graph.computed(dtype, vec![positions, features]));
        let attributes = parts
            .map(|positions| (positions * features) as u32)
            .to_vec();
        let node = Node::new(&Sequences, Kind::Sequences, dtype, number)
            .inputs([Some(x)])
            .outputs(both.map(Some))
            .attributes(attributes);
        graph.node(node);
        both
    }

    impl Describe for Sequences {
        /// Both errors one below the other.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(own), Some(memory)]) = (&*node.inputs, &*node.outputs)
                && let Some(first) = walk.error(own, node.number)
                && let Some(second) = walk.error(memory, node.number)
                && let Some(dx) =
                    concat::describe::append(walk.graph, &[first, second], 0, node.number)
            {
                walk.add_error(x, dx);
            }
            Ok(())
        }
    }
}
