//! A copy, for an operator that writes over what others read.

use super::call::{Call, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;

/// Copies a tensor.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Copy,
            dtypes: [T::DTYPE, T::DTYPE],
            run: copy::<T>,
        }]
    }
}

/// Values: from, to.
fn copy<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0);
    let [from, to] = call.views([0, 1])?;
    let (from, to) = (read::<T>(from)?, write::<T>(to)?);
    if from.len() != to.len() {
        return Err(Fault::Malformed);
    }
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct Copy;

    /// The node that copies `from` to `to`.
    pub(crate) fn node(dtype: DType, from: ValueId, to: ValueId, number: u32) -> Node {
        let node = Node::new(&Copy, Kind::Copy, dtype, number);
        node.inputs([Some(from)]).outputs([Some(to)])
    }

    impl Describe for Copy {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                walk.add_error(x, dy);
            }
            Ok(())
        }
    }
}
