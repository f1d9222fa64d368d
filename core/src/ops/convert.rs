//! Conversions: what stands between layers of different types.

use super::call::{Call, Direction, read, write};
use super::{Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::convert::{convert, exponent, widened};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;

/// From elements of type `T` to such of type `U`. What trains takes errors the other way: it needs `run::<U, T>`, too.
///
/// # Example
/// ```
/// use selvedge_core::ops::{Registry, convert, dense};
/// // A layer of bytes before one of floats, to be run.
/// static OPERATORS: Registry<'_> = &[dense::run::<i8>(), convert::run::<i8, f32>(), dense::run::<f32>()];
/// ```
#[must_use]
pub const fn run<T: Element, U: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Convert,
            dtypes: [T::DTYPE, U::DTYPE],
            run: pass::<T, U>,
        }]
    }
}

/// Attributes: 1 for errors, else 0. Values: from, to.
fn pass<T: Element, U: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let is_error = call.attributes().word()? != 0;
    let of_x = call.exponent(0);
    let direction = if is_error {
        Direction::Backward
    } else {
        Direction::Forward
    };
    let of_y = call.with::<U, _, 2>(direction, 0, [0, 1], |context, [x, y]| {
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<U>(y)?);
        let fixed = if U::DTYPE.is_integer() {
            widened::<T, U>(of_x)
        } else {
            // Errors of a float have the exponent of its loss.
            let shift = if is_error { U::LOSS_EXPONENT } else { 0 };
            let rounding = Rounding::NearestEven;
            Some((shift, Store::Shift { shift, rounding }))
        };
        if let Some((of_y, store)) = fixed {
            convert(exec, x, of_x, store, y)?;
            return Ok(of_y);
        }
        let run = |store| convert(exec, x, of_x, store, &mut *y);
        Ok(context.rescale(exponent::<T, U>(of_x), run)?)
    })?;
    call.set_exponent(1, of_y);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct Convert;

    fn node(from: (DType, ValueId), to: (DType, ValueId), is_error: bool, number: u32) -> Node {
        let node = Node {
            dtypes: [from.0, to.0],
            ..Node::new(&Convert, Kind::Convert, from.0, number)
        };
        node.inputs([Some(from.1)])
            .outputs([Some(to.1)])
            .attributes(vec![is_error.into()])
            .states(1)
    }

    /// Value `x` in elements of type `dtype`.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, dtype: DType, number: u32) -> ValueId {
        let (from, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let y = graph.computed(dtype, shape);
        graph.node(node((from, x), (dtype, y), false, number));
        y
    }

    impl Describe for Convert {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, of: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y)]) = (&*of.inputs, &*of.outputs)
                && let Some(dy) = walk.error(y, of.number)
            {
                let from = walk.graph.dtype_of(dy);
                if from == walk.graph.dtype_of(x) {
                    walk.add_error(x, dy); // the error of an output has the type of its layer
                } else if let Some(dx) = walk.new_error(Some(x)) {
                    let to = walk.graph.dtype_of(dx);
                    let back = node((from, dy), (to, dx), true, of.number);
                    walk.graph.node(back);
                }
            }
            Ok(())
        }
    }
}
