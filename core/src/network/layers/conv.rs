//! Convolutions over one to three axes.

use super::window::{Extents, Padding, Sliding, by_rank};
use super::{Activation, Build, Weights};
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{conv, learned, mixed};
use alloc::vec::Vec;
use selvedge_kernels::conv::Shape;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// A convolution over one to three axes, from `[.., C]` to `[.., filters]`; filters are
/// `[filters, kernel .., C / groups]`. The input says how many axes: `[L, C]`, `[H, W, C]` or `[D, H, W, C]`. Numerical
/// behaviour: [`selvedge_kernels::conv::forward`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Conv {
    /// Output channels.
    pub filters: usize,
    /// Cells of a filter.
    pub kernel: Extents,
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub stride: Extents,
    /// Cells around the image.
    #[cfg_attr(feature = "json", serde(default))]
    pub padding: Padding,
    /// Distance of a filter's cells.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub dilation: Extents,
    /// Groups of channels that do not see each other.
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub groups: usize,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

/// A convolution of each channel by itself, from `[.., C]` to `[.., C]`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Depthwise {
    /// Cells of a filter.
    pub kernel: Extents,
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub stride: Extents,
    /// Cells around the image.
    #[cfg_attr(feature = "json", serde(default))]
    pub padding: Padding,
    /// Distance of a filter's cells.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub dilation: Extents,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

/// A [`Conv`] with filters of 8 bits under activations, errors and biases of 16 bits, in networks of these types. Numerical
/// behaviour: [`selvedge_kernels::mixed`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct MixedConv {
    /// Output channels.
    pub filters: usize,
    /// Cells of a filter.
    pub kernel: Extents,
    /// Type of the filters' elements.
    #[cfg_attr(feature = "json", serde(default))]
    pub weights: Weights,
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub stride: Extents,
    /// Cells around the image.
    #[cfg_attr(feature = "json", serde(default))]
    pub padding: Padding,
    /// Distance of a filter's cells.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub dilation: Extents,
    /// Groups of channels that do not see each other.
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub groups: usize,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

/// The transpose of a convolution, which enlarges: from `[.., C]` to `[.., filters]`, of which a convolution with the
/// same attributes makes the input's extents; weights are `[C, kernel .., filters / groups]`. Numerical behaviour:
/// [`selvedge_kernels::conv::transpose::forward`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct ConvTranspose {
    /// Output channels.
    pub filters: usize,
    /// Cells of a filter.
    pub kernel: Extents,
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub stride: Extents,
    /// Cells around the output.
    #[cfg_attr(feature = "json", serde(default))]
    pub padding: Padding,
    /// Distance of a filter's cells.
    #[cfg_attr(feature = "json", serde(default = "Extents::one"))]
    pub dilation: Extents,
    /// Groups of channels that do not see each other.
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub groups: usize,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

#[cfg(feature = "json")]
const fn one() -> usize {
    1
}

macro_rules! methods {
    ($($name:ident)*) => {$(
        impl $name {
            /// With a stride.
            #[must_use]
            pub fn stride(self, stride: impl Into<Extents>) -> Self {
                Self { stride: stride.into(), ..self }
            }

            /// With padding.
            #[must_use]
            pub fn padding(self, padding: Padding) -> Self {
                Self { padding, ..self }
            }

            /// With distant cells.
            #[must_use]
            pub fn dilation(self, dilation: impl Into<Extents>) -> Self {
                Self { dilation: dilation.into(), ..self }
            }

            /// With an activation.
            #[must_use]
            pub fn activation(self, activation: Activation) -> Self {
                Self { activation, ..self }
            }

            fn sliding(&self) -> Sliding<'_> {
                Sliding {
                    kernel: &self.kernel,
                    stride: &self.stride,
                    padding: &self.padding,
                    dilation: &self.dilation,
                }
            }
        }
    )*};
}
methods!(Conv Depthwise ConvTranspose MixedConv);

impl Conv {
    /// With `filters` of `kernel` cells, a stride of 1, no padding.
    #[must_use]
    pub fn new(filters: usize, kernel: impl Into<Extents>) -> Self {
        Self {
            filters,
            kernel: kernel.into(),
            stride: Extents::one(),
            padding: Padding::Valid,
            dilation: Extents::one(),
            groups: 1,
            activation: Activation::None,
        }
    }

    /// With groups of channels.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

impl MixedConv {
    /// With `filters` of `kernel` cells of type `i8`, a stride of 1, no padding.
    #[must_use]
    pub fn new(filters: usize, kernel: impl Into<Extents>) -> Self {
        Self {
            filters,
            kernel: kernel.into(),
            weights: Weights::I8,
            stride: Extents::one(),
            padding: Padding::Valid,
            dilation: Extents::one(),
            groups: 1,
            activation: Activation::None,
        }
    }

    /// With filters of this type.
    #[must_use]
    pub fn weights(self, weights: Weights) -> Self {
        Self { weights, ..self }
    }

    /// With groups of channels.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

impl Depthwise {
    /// With filters of `kernel` cells, a stride of 1, no padding.
    #[must_use]
    pub fn new(kernel: impl Into<Extents>) -> Self {
        Self {
            kernel: kernel.into(),
            stride: Extents::one(),
            padding: Padding::Valid,
            dilation: Extents::one(),
            activation: Activation::None,
        }
    }
}

impl ConvTranspose {
    /// With `filters` of `kernel` cells, a stride of 1, no padding.
    #[must_use]
    pub fn new(filters: usize, kernel: impl Into<Extents>) -> Self {
        let Conv {
            kernel,
            stride,
            padding,
            dilation,
            groups,
            activation,
            ..
        } = Conv::new(filters, kernel);
        Self {
            filters,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            activation,
        }
    }

    /// With groups of channels.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

/// Refuses groups that do not divide channels.
fn check_groups(
    to: &Builder<'_>,
    groups: usize,
    channels: usize,
    filters: usize,
) -> Result<(), Error> {
    let divides = |n: usize| groups > 0 && n.is_multiple_of(groups);
    if divides(channels) && divides(filters) {
        return Ok(());
    }
    let expected = alloc::format!("groups that divide {channels} channels and {filters} filters");
    Err(to.attribute_error(expected, groups))
}

/// A convolution of `input` in `groups`.
fn build<const N: usize>(
    to: &mut Builder<'_>,
    x: ValueId,
    sliding: &Sliding<'_>,
    (input, channels): ([usize; N], usize),
    [filters, groups]: [usize; 2],
    activation: Activation,
    weights: Option<Weights>,
) -> Result<ValueId, Error> {
    let number = to.number();
    check_groups(to, groups, channels, filters)?;
    if *sliding.padding == Padding::Ceil {
        return Err(to.attribute_error("padding `valid`, `same` or cells", "`ceil`"));
    }
    let shape = Shape {
        batch: 1,
        input,
        channels,
        filters,
        groups,
        window: sliding.window(to, input)?,
    };
    let depth = channels / groups;
    let extents: Vec<usize> = [&[filters], &shape.window.kernel[..], &[depth]].concat();
    to.check_size(&extents, 1)?;
    let outputs = shape.window.outputs(input).map_err(to.kernel())?;
    to.check_value(&[&outputs[..], &[filters]].concat())?;
    let cells: usize = shape.window.kernel.iter().product();
    let code = activation.code();
    let (dtypes, gain) = to.output_of(code);
    let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
    let fan_in = (gain, cells * depth);
    if let Some(weights) = weights {
        let (dtypes, [weight, bias]) = weights.begin(to, number, fan_in, extents, filters)?;
        let (operator, inputs) = (&mixed::describe::CONV, [x, weight, bias]);
        return conv::describe::append(operator, to.graph, dtypes, number, inputs, &shape, code)
            .map_err(error);
    }
    to.check_sums(x, outputs.iter().product(), cells * (filters / groups))?;
    let [weight, bias] = by_dtype!(dtype, T => {
        learned::describe::affine::<T>(to.graph, trains, number, fan_in, extents, filters)
    })
    .map_err(&error)?;
    let (operator, inputs) = (&conv::describe::CONV, [x, weight, bias]);
    conv::describe::append(operator, to.graph, dtypes, number, inputs, &shape, code).map_err(error)
}

impl Build for Conv {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        let how = [self.filters, self.groups];
        by_rank!(to, shape, (input, channels) => {
            build(to, x, &sliding, (input, channels), how, self.activation, None)
        })
    }
}

impl Build for MixedConv {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        let (how, weights) = ([self.filters, self.groups], Some(self.weights));
        by_rank!(to, shape, (input, channels) => {
            build(to, x, &sliding, (input, channels), how, self.activation, weights)
        })
    }
}

impl Build for Depthwise {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        by_rank!(to, shape, (input, channels) => {
            build(to, x, &sliding, (input, channels), [channels; 2], self.activation, None)
        })
    }
}

impl Build for ConvTranspose {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        by_rank!(to, shape, (narrow, channels) => {
            transpose(self, to, x, &sliding, narrow, channels)
        })
    }
}

fn transpose<const N: usize>(
    layer: &ConvTranspose,
    to: &mut Builder<'_>,
    x: ValueId,
    sliding: &Sliding<'_>,
    narrow: [usize; N],
    channels: usize,
) -> Result<ValueId, Error> {
    let number = to.number();
    let (filters, groups) = (layer.filters, layer.groups);
    check_groups(to, groups, channels, filters)?;
    let (wide, window) = sliding.spread(to, narrow)?;
    // The convolution whose transpose it is goes from wide to narrow.
    let shape = Shape {
        batch: 1,
        input: wide,
        channels: filters,
        filters: channels,
        groups,
        window,
    };
    let depth = filters / groups;
    let extents: Vec<usize> = [&[channels], &window.kernel[..], &[depth]].concat();
    to.check_size(&extents, 1)?;
    to.check_value(&[&wide[..], &[filters]].concat())?;
    let [wide, narrow]: [usize; 2] = [wide, narrow].map(|extents| extents.iter().product());
    let cells: usize = window.kernel.iter().product();
    to.check_sums(x, narrow.max(wide), cells * depth)?;
    let code = layer.activation.code();
    let (dtypes, gain) = to.output_of(code);
    let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
    // Windows overlap by the kernel over the stride: so many meet on a cell.
    let steps: usize = window.stride.iter().product();
    let scattered = cells * (channels / groups);
    let fan_in = (gain, (scattered / steps).max(1));
    let [weight, bias] = by_dtype!(dtype, T => {
        learned::describe::transposed::<T>(to.graph, trains, number, fan_in, scattered, extents, filters)
    })
    .map_err(&error)?;
    let inputs = [x, weight, bias];
    Ok(conv::describe::append_transpose(
        to.graph, dtypes, number, inputs, &shape, code,
    ))
}
