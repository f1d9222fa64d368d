//! Pooling.

use super::Build;
use super::window::{Extents, Padding, Sliding, by_rank};
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::{pool, view};
use alloc::vec;
use selvedge_kernels::pool::Shape;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident $({ $(#[$field_doc:meta])* $field:ident })?;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            /// Cells of the window.
            #[cfg_attr(feature = "json", serde(default = "two"))]
            pub kernel: Extents,
            /// Step between windows; their own extents if it is not given.
            #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "Option::is_none"))]
            pub stride: Option<Extents>,
            /// Cells around the image.
            #[cfg_attr(feature = "json", serde(default))]
            pub padding: Padding,
            $($(#[$field_doc])*
            #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "super::is_false"))]
            pub $field: bool,)?
        }

        impl Default for $name {
            /// Windows of two cells along each axis, which do not overlap.
            fn default() -> Self {
                Self::new(2)
            }
        }

        impl $name {
            /// Windows of `kernel` cells, which do not overlap.
            #[must_use]
            pub fn new(kernel: impl Into<Extents>) -> Self {
                Self { kernel: kernel.into(), stride: None, padding: Padding::Valid $(, $field: false)? }
            }

            /// With a stride.
            #[must_use]
            pub fn stride(self, stride: impl Into<Extents>) -> Self {
                Self { stride: Some(stride.into()), ..self }
            }

            /// With padding.
            #[must_use]
            pub fn padding(self, padding: Padding) -> Self {
                Self { padding, ..self }
            }

            fn sliding(&self) -> Sliding<'_> {
                Sliding {
                    kernel: &self.kernel,
                    stride: self.stride.as_ref().unwrap_or(&self.kernel),
                    padding: &self.padding,
                    dilation: &Extents::All(1),
                }
            }
        }
    )*};
}

layers! {
    /// The largest element of each channel under a window, from `[.., C]` to `[.., C]`, over one to three axes.
    /// Numerical behaviour: [`selvedge_kernels::pool::max_forward`].
    MaxPool;
    /// The mean of each channel under a window, from `[.., C]` to `[.., C]`, over one to three axes. Padding counts as
    /// zeros, but cells that a last window lacks (`ceil`) do not count. Numerical behaviour:
    /// [`selvedge_kernels::pool::average_forward`].
    AveragePool {
        /// Whether no padding counts.
        ignores_padding
    };
}

#[cfg(feature = "json")]
const fn two() -> Extents {
    Extents::All(2)
}

/// Whether padding `counts` in a mean; it does not in a maximum.
fn build<const N: usize>(
    operator: &'static pool::describe::Pool,
    to: &mut Builder<'_>,
    x: ValueId,
    sliding: &Sliding<'_>,
    (input, channels): ([usize; N], usize),
    counts: bool,
) -> Result<ValueId, Error> {
    let number = to.number();
    let shape = Shape {
        batch: 1,
        input,
        channels,
        window: sliding.window(to, input)?,
    };
    let counts = counts && *sliding.padding != Padding::Ceil;
    if !counts && !shape.window.covers(input) {
        let expected = "a padding that leaves something under each window";
        return Err(to.attribute_error(expected, "a window on padding alone"));
    }
    let error = to.kernel();
    operator
        .sliding(to.graph, number, x, &shape, counts)
        .map_err(error)
}

impl Build for MaxPool {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        by_rank!(to, shape, (input, channels) => {
            build(&pool::describe::MAX, to, x, &sliding, (input, channels), false)
        })
    }
}

impl Build for AveragePool {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (shape, sliding) = (to.shape_of(x), self.sliding());
        by_rank!(to, shape, (input, channels) => {
            build(&pool::describe::AVERAGE, to, x, &sliding, (input, channels), !self.ignores_padding)
        })
    }
}

/// Even parts of `x`, `output` along its axes, or all of it and no axes in the output.
fn parts(
    operator: &'static pool::describe::Pool,
    to: &mut Builder<'_>,
    x: ValueId,
    output: Option<&Extents>,
) -> Result<ValueId, Error> {
    let number = to.number();
    let shape = to.shape_of(x);
    by_rank!(to, shape, (input, channels) => {
        let extents = match output {
            None => input.map(|_| 1),
            Some(output) => output.parts(to, input)?,
        };
        let from = (input, channels);
        let y = operator.parts(to.graph, number, x, from, extents);
        Ok(match output {
            None => view::describe::append(to.graph, y, vec![channels], number),
            Some(_) => y,
        })
    })
}

macro_rules! parts {
    ($($(#[$doc:meta])* $global:ident, $(#[$doc_of_parts:meta])* $adaptive:ident: $operator:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $global {}

        impl Build for $global {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                parts(&pool::describe::$operator, to, x, None)
            }
        }

        $(#[$doc_of_parts])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $adaptive {
            /// Parts along each axis.
            pub output: Extents,
        }

        impl $adaptive {
            /// So many parts along each axis.
            #[must_use]
            pub fn new(output: impl Into<Extents>) -> Self {
                Self { output: output.into() }
            }
        }

        impl Build for $adaptive {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                parts(&pool::describe::$operator, to, x, Some(&self.output))
            }
        }
    )*};
}

parts! {
    /// The largest element of each channel, from `[.., C]` to `[C]`, over one to three axes. Numerical behaviour:
    /// [`selvedge_kernels::pool::adaptive_max_forward`].
    GlobalMaxPool,
    /// The largest element of each channel in even parts of the input, from `[.., C]` to `[output .., C]`. Numerical
    /// behaviour: [`selvedge_kernels::pool::adaptive_max_forward`].
    AdaptiveMaxPool: ADAPTIVE_MAX;
    /// The mean of each channel, from `[.., C]` to `[C]`, over one to three axes. Numerical behaviour:
    /// [`selvedge_kernels::pool::adaptive_average_forward`].
    GlobalAveragePool,
    /// The mean of each channel in even parts of the input, from `[.., C]` to `[output .., C]`. Numerical behaviour:
    /// [`selvedge_kernels::pool::adaptive_average_forward`].
    AdaptiveAveragePool: ADAPTIVE_AVERAGE;
}
