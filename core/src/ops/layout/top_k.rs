//! The largest elements.

use crate::ops::argument::axis;
use crate::ops::call::{Call, Result, read, write};
use crate::ops::{Kernel, Kind};
use selvedge_kernels::axes::Extents;
use selvedge_kernels::split::{rows_of, rows_of_mut};
use selvedge_kernels::{self as kernels, Arg, Element, Error, select};

crate::ops::groups! {
    /// The largest elements along an axis.
    run, train: TopK forward, TopKBackward backward;
}

/// The `k` largest of each line along `axis` of samples of `extents`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest {
    pub(crate) batch: usize,
    pub(crate) extents: Extents,
    pub(crate) axis: usize,
    pub(crate) k: usize,
}

impl Largest {
    /// Elements of a sample, and those of what is left of it.
    fn lens(&self) -> kernels::Result<[usize; 2]> {
        let left = self.extents.with(self.axis, self.k)?;
        Ok([self.extents.elements(), left.elements()])
    }

    /// Refuses all samples together where kernels see one at a time.
    fn check<T>(&self, arg: Arg, slice: &[T], each: usize) -> kernels::Result<()> {
        let (expected, got) = (self.batch.saturating_mul(each), slice.len());
        if got == expected {
            Ok(())
        } else {
            Err(Error::Length { arg, expected, got })
        }
    }

    /// `places` is room for those of a sample.
    pub(crate) fn forward<T: Element>(
        &self,
        x: &[T],
        out: &mut [T],
        places: &mut [u32],
    ) -> kernels::Result<()> {
        let [len, left] = self.lens()?;
        self.check(Arg::X, x, len)?;
        self.check(Arg::Out, out, left)?;
        for (x, out) in rows_of(x, len).zip(rows_of_mut(out, left)) {
            select::top_k(self.extents, self.axis, self.k, x, out, places)?;
        }
        Ok(())
    }

    /// `values` and `places` are room for those of a sample, which are found again.
    pub(crate) fn backward<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
        values: &mut [T],
        places: &mut [u32],
    ) -> kernels::Result<()> {
        let [len, left] = self.lens()?;
        self.check(Arg::X, x, len)?;
        self.check(Arg::Dy, dy, left)?;
        self.check(Arg::Dx, dx, len)?;
        let pairs = rows_of(x, len).zip(rows_of(dy, left));
        for ((x, dy), dx) in pairs.zip(rows_of_mut(dx, len)) {
            select::top_k(self.extents, self.axis, self.k, x, values, places)?;
            select::top_k_backward(self.extents, self.axis, self.k, places, dy, dx)?;
        }
        Ok(())
    }
}

/// Attributes: extents of a sample, axis, how many.
fn read_largest(call: &Call<'_, '_>) -> Result<Largest> {
    let mut attributes = call.attributes();
    let (extents, axis) = axis(&mut attributes)?;
    Ok(Largest {
        batch: call.batch,
        extents,
        axis,
        k: attributes.size()?,
    })
}

/// Values: x, y, places of a sample.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (largest, exponent) = (read_largest(call)?, call.exponent(0));
    let [x, y, places] = call.views([0, 1, 2])?;
    largest.forward::<T>(read(x)?, write(y)?, write(places)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, dy, dx, values and places of a sample.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (largest, exponent) = (read_largest(call)?, call.exponent(1));
    let [x, dy, dx, values, places] = call.views([0, 1, 2, 3, 4])?;
    let (values, places) = (write(values)?, write(places)?);
    largest.backward::<T>(read(x)?, read(dy)?, write(dx)?, values, places)?;
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::function::counted;
    use crate::ops::{Describe, Kind};
    use alloc::vec::Vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct TopK;

    /// The `k` largest elements of `x` along `axis`, in `shape`, which differs along that axis.
    pub(crate) fn append(
        graph: &mut Graph,
        number: u32,
        x: ValueId,
        [axis, k]: [usize; 2],
        shape: Vec<usize>,
    ) -> ValueId {
        let dtype = graph.dtype_of(x);
        let mut attributes = counted(&graph.shape_of(x));
        attributes.extend([axis as u32, k as u32]);
        let places = graph.computed_once(DType::U32, shape.clone());
        let y = graph.computed(dtype, shape);
        let node = Node::new(&TopK, Kind::TopK, dtype, number)
            .inputs([Some(x)])
            .outputs([Some(y)])
            .scratch([places])
            .attributes(attributes);
        graph.node(node);
        y
    }

    impl Describe for TopK {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let shape = walk.graph.shape_of(y);
                let room = [node.dtypes[0], DType::U32]
                    .map(|dtype| walk.graph.computed_once(dtype, shape.clone()));
                let back = Node::new(self, Kind::TopKBackward, node.dtypes[0], node.number)
                    .inputs([x, Some(dy)])
                    .outputs([Some(dx)])
                    .scratch(room)
                    .attributes(node.attributes.clone());
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
