//! Images at other sizes.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::function::{Function, Given};
use crate::ops::resize::describe::{BILINEAR, NEAREST};
use alloc::vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Which position of the input a pixel of the output stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Coordinates {
    /// [`HalfPixel`](selvedge_kernels::resize::Coordinates::HalfPixel).
    HalfPixel,
    /// [`AlignCorners`](selvedge_kernels::resize::Coordinates::AlignCorners).
    AlignCorners,
    /// [`Asymmetric`](selvedge_kernels::resize::Coordinates::Asymmetric).
    Asymmetric,
}

impl Coordinates {
    #[cfg(feature = "json")]
    const fn asymmetric() -> Self {
        Self::Asymmetric
    }

    #[cfg(feature = "json")]
    const fn half_pixel() -> Self {
        Self::HalfPixel
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident: $operator:ident, $default:ident $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            /// Rows and columns of the output.
            pub output: [usize; 2],
            /// What its pixels stand for.
            #[cfg_attr(feature = "json", serde(default = $text))]
            pub coordinates: Coordinates,
        }

        impl $name {
            /// To so many rows and columns.
            #[must_use]
            pub const fn new(output: [usize; 2]) -> Self {
                Self { output, coordinates: Coordinates::$default }
            }

            /// With other positions of pixels.
            #[must_use]
            pub const fn coordinates(self, coordinates: Coordinates) -> Self {
                Self { coordinates, ..self }
            }
        }

        impl Build for $name {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                build(to, x, &$operator, self.output, self.coordinates)
            }
        }
    )*};
}

layers! {
    /// Each pixel of the output is the nearest one of the input, from `[H, W, C]` to `[.., .., C]`. Numerical behaviour:
    /// [`selvedge_kernels::resize::nearest`].
    ResizeNearest: NEAREST, Asymmetric "Coordinates::asymmetric";
    /// Each pixel of the output is a bilinear mixture of four of the input, from `[H, W, C]` to `[.., .., C]`. Numerical
    /// behaviour: [`selvedge_kernels::resize::bilinear`].
    ResizeBilinear: BILINEAR, HalfPixel "Coordinates::half_pixel";
}

fn build(
    to: &mut Builder<'_>,
    x: ValueId,
    operator: &'static Function,
    output: [usize; 2],
    coordinates: Coordinates,
) -> Result<ValueId, Error> {
    let (number, shape) = (to.number(), to.shape_of(x));
    let &[height, width, channels] = &*shape else {
        return Err(to.shape_error("an image: rows, columns and channels", &shape));
    };
    let [rows, columns] = output;
    let shape = vec![rows, columns, channels];
    to.check_value(&shape)?;
    let extents = [height, width, channels, rows, columns];
    let mut attributes = extents.map(|extent| extent as u32).to_vec();
    attributes.push(match coordinates {
        Coordinates::HalfPixel => 0,
        Coordinates::AlignCorners => 1,
        Coordinates::Asymmetric => 2,
    });
    let given = Given {
        attributes,
        ..Given::default()
    };
    Ok(operator.append(to.graph, number, x, shape, given))
}
