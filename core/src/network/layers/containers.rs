//! Layers of layers.

use super::{Build, Inside, Layer, Rows, Type, rows_of};
use crate::graph::{Error, ValueId, shown};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{average, binary, concat, sample, sum, view};
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::elementwise::MAX_TERMS;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Layers in order, as one layer. It takes no number.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Sequential {
    /// The layers.
    pub layers: Vec<Layer>,
}

/// `layers(x) + shortcut(x)`, of equal shapes. Source: He et al. 2015.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Residual {
    /// The layers.
    pub layers: Vec<Layer>,
    /// What the input goes through beside them; without layers, it is added as it is.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Vec::is_empty")
    )]
    pub shortcut: Vec<Layer>,
}

/// Branches on one input, whose outputs come together.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Parallel {
    /// The branches.
    pub branches: Vec<Branch>,
    /// How their outputs come together.
    pub combine: Combine,
}

/// A branch of a [`Parallel`]; without layers, it passes its input on.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Branch {
    /// Its name, unique among the branches.
    pub name: String,
    /// Its layers, in order.
    #[cfg_attr(feature = "json", serde(default))]
    pub layers: Vec<Layer>,
}

/// How the outputs of branches come together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Combine {
    /// Their sum, of equal shapes, or of two the second of which [stretches](selvedge_kernels::elementwise::forward) to the
    /// first. Numerical behaviour: [`selvedge_kernels::elementwise::sum()`].
    Add,
    /// Their average, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::average`].
    Average,
    /// Side by side along the last axis. Numerical behaviour: [`selvedge_kernels::layout::concat`].
    Concat,
    /// Side by side along this axis of a sample, the first being 0.
    ConcatAlong(usize),
    /// Side by side along the last axis, in the order of their cells in a grid: row, column and layer of each branch.
    Scatter(Vec<[usize; 3]>),
    /// Two branches, the second of which may [stretch](selvedge_kernels::elementwise::forward): the first less the second.
    Subtract,
    /// Their product.
    Multiply,
    /// The first by the second.
    Divide,
    /// The smaller.
    Minimum,
    /// The larger.
    Maximum,
    /// Two branches: images `[H, W, C]` at the positions that the second gives, `[.., 2]`, a row and a column in pixels each,
    /// to `[.., C]`. Beyond the image stand zeros. Numerical behaviour: [`selvedge_kernels::sample`]. Source: Jaderberg et
    /// al. 2015.
    Sample,
    /// The same; beyond the image stand its edges.
    SampleBordered,
}

impl Branch {
    /// A branch without layers.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            layers: Vec::new(),
        }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }
}

impl Sequential {
    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }
}

impl Residual {
    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }

    /// With one layer more beside the others.
    #[must_use]
    pub fn shortcut(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.shortcut.push(Layer::new(name, layer));
        self
    }
}

impl Parallel {
    /// Without branches.
    #[must_use]
    pub const fn new(combine: Combine) -> Self {
        Self {
            branches: Vec::new(),
            combine,
        }
    }

    /// With one branch more.
    #[must_use]
    pub fn branch(mut self, branch: Branch) -> Self {
        self.branches.push(branch);
        self
    }
}

/// Numbers that layers take.
pub(super) fn numbers(layers: &[Layer]) -> u32 {
    layers.iter().map(|layer| layer.layer.numbers()).sum()
}

impl Build for Sequential {
    fn rows(&self) -> Vec<Rows<'_>> {
        [(None, &*self.layers)].into()
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        [Inside::of(&mut self.layers)].into()
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn numbers(&self) -> u32 {
        numbers(&self.layers)
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        to.sequence(&self.layers, x)
    }
}

impl Build for Residual {
    fn rows(&self) -> Vec<Rows<'_>> {
        [(None, &*self.layers), (None, &*self.shortcut)].into()
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        [&mut self.layers, &mut self.shortcut]
            .map(|layers| Inside::of(layers))
            .into()
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn numbers(&self) -> u32 {
        1 + numbers(&self.layers) + numbers(&self.shortcut)
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let branches = [&self.layers, &self.shortcut];
        let outputs = to.inside(|to| {
            let x = view::describe::fork(to.graph, x, number);
            let both = branches.map(|layers| {
                let x = view::describe::fork(to.graph, x, number);
                to.sequence(layers, x)
            });
            let [first, second] = both;
            Ok([first?, second?])
        })?;
        combine(to, &Combine::Add, &outputs, number)
    }
}

impl Build for Parallel {
    fn rows(&self) -> Vec<Rows<'_>> {
        rows_of(&self.branches)
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        Inside::branches(&mut self.branches)
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn numbers(&self) -> u32 {
        let branches = self.branches.iter();
        1 + branches.map(|branch| numbers(&branch.layers)).sum::<u32>()
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let names: Vec<&str> = self.branches.iter().map(|branch| &*branch.name).collect();
        to.check_names(&names)?;
        to.check_range("branches", self.branches.len(), MAX_TERMS)?;
        let outputs = to.inside(|to| {
            let x = view::describe::fork(to.graph, x, number);
            let mut outputs = Vec::new();
            for branch in &self.branches {
                let x = view::describe::fork(to.graph, x, number);
                let output = to.named(&branch.name, |to| to.sequence(&branch.layers, x))?;
                outputs.push(output);
            }
            Ok(outputs)
        })?;
        combine(to, &self.combine, &outputs, number)
    }
}

/// Brings the outputs of branches together.
pub(super) fn combine(
    to: &mut Builder<'_>,
    combine: &Combine,
    outputs: &[ValueId],
    number: u32,
) -> Result<ValueId, Error> {
    let &[first, ..] = outputs else {
        return Err(to.attribute_error("at least one branch", "none"));
    };
    let shape = to.shape_of(first);
    let last = shape.len().saturating_sub(1);
    let equal = |to: &Builder<'_>| {
        let mut others = outputs.iter().map(|&output| to.shape_of(output));
        match others.find(|other| *other != shape) {
            Some(other) => {
                Err(to.shape_error(&alloc::format!("{} of each branch", shown(&shape)), &other))
            }
            None => Ok(()),
        }
    };
    match combine {
        Combine::Add if outputs.len() == 2 && equal(to).is_err() => of_two(to, 0, outputs, number),
        Combine::Add => {
            equal(to)?;
            Ok(sum::describe::append(to.graph, outputs.to_vec(), number))
        }
        Combine::Average => {
            equal(to)?;
            let y = average::describe::append(to.graph, outputs, number);
            y.ok_or(Error::Size)
        }
        Combine::Concat => side_by_side(to, outputs, last, number),
        Combine::ConcatAlong(axis) => side_by_side(to, outputs, *axis, number),
        Combine::Scatter(cells) => {
            let ordered = in_cells(to, cells, outputs)?;
            side_by_side(to, &ordered, last, number)
        }
        Combine::Subtract => of_two(to, 1, outputs, number),
        Combine::Multiply => of_two(to, 2, outputs, number),
        Combine::Divide => of_two(to, 3, outputs, number),
        Combine::Minimum => of_two(to, 4, outputs, number),
        Combine::Maximum => of_two(to, 5, outputs, number),
        Combine::Sample => sampled(to, outputs, false, number),
        Combine::SampleBordered => sampled(to, outputs, true, number),
    }
}

/// The outputs in the order of their cells.
fn in_cells(
    to: &Builder<'_>,
    cells: &[[usize; 3]],
    outputs: &[ValueId],
) -> Result<Vec<ValueId>, Error> {
    if cells.len() != outputs.len() {
        let expected = alloc::format!("a cell for each of {} branches", outputs.len());
        return Err(to.attribute_error(expected, cells.len()));
    }
    let mut ordered: Vec<_> = cells.iter().zip(outputs).collect();
    ordered.sort_by_key(|(cell, _)| **cell);
    let mut neighbours = ordered.iter().zip(ordered.iter().skip(1));
    if let Some(((cell, _), _)) = neighbours.find(|((one, _), (other, _))| one == other) {
        return Err(to.attribute_error("a cell of its own for each branch", shown(&cell[..])));
    }
    Ok(ordered.into_iter().map(|(_, &output)| output).collect())
}

fn side_by_side(
    to: &mut Builder<'_>,
    outputs: &[ValueId],
    axis: usize,
    number: u32,
) -> Result<ValueId, Error> {
    let first = outputs
        .first()
        .map(|&first| to.shape_of(first))
        .unwrap_or_default();
    if axis >= first.len() {
        let expected = alloc::format!("an axis below {}", first.len());
        return Err(to.attribute_error(expected, axis));
    }
    let mut whole = first.clone();
    let extent = |shape: &[usize]| shape.get(axis).copied().unwrap_or(0);
    let mut all = 0usize;
    for &output in outputs {
        let mut shape = to.shape_of(output);
        let own = extent(&shape);
        all = all.saturating_add(own);
        if let Some(place) = shape.get_mut(axis) {
            *place = extent(&first);
        }
        if shape != first {
            let expected = alloc::format!("{} but for axis {axis}", shown(&first));
            return Err(to.shape_error(&expected, &to.shape_of(output)));
        }
    }
    if let Some(place) = whole.get_mut(axis) {
        *place = all;
    }
    to.check_value(&whole)?;
    concat::describe::append(to.graph, outputs, axis, number).ok_or(Error::Size)
}

/// The operation `code` of two branches.
fn of_two(
    to: &mut Builder<'_>,
    code: u32,
    outputs: &[ValueId],
    number: u32,
) -> Result<ValueId, Error> {
    let &[a, b] = outputs else {
        return Err(to.attribute_error("two branches", outputs.len()));
    };
    let (shape, own) = (to.shape_of(a), to.shape_of(b));
    let stretches = own.len() <= shape.len()
        && (own.iter().rev().zip(shape.iter().rev()))
            .all(|(&own, &extent)| own == 1 || own == extent);
    if !stretches || shape.len() >= selvedge_kernels::axes::MAX_RANK {
        let expected = alloc::format!("what stretches to {}", shown(&shape));
        return Err(to.shape_error(&expected, &own));
    }
    Ok(binary::describe::append(to.graph, code, [a, b], number))
}

/// The first branch at the positions of the second.
fn sampled(
    to: &mut Builder<'_>,
    outputs: &[ValueId],
    is_bordered: bool,
    number: u32,
) -> Result<ValueId, Error> {
    let &[images, positions] = outputs else {
        return Err(to.attribute_error("two branches", outputs.len()));
    };
    let (image, mut shape) = (to.shape_of(images), to.shape_of(positions));
    let &[_, _, channels] = &*image else {
        return Err(to.shape_error("images of rows, columns and channels", &image));
    };
    match shape.last_mut() {
        Some(last) if *last == 2 => *last = channels,
        _ => return Err(to.shape_error("positions of a row and a column", &shape)),
    }
    to.check_value(&shape)?;
    let dtype = to.graph.dtype_of(images);
    let sum = by_dtype!(dtype, T => sample::describe::sum_bytes::<T>());
    let of = [images, positions];
    Ok(sample::describe::append(
        to.graph,
        number,
        of,
        is_bordered,
        sum,
        shape,
    ))
}
