//! What a kernel can refuse, and where.

use core::fmt;

/// The result of a kernel.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a kernel refused its arguments. Nothing has been written when one is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Argument `arg` holds `got` elements; the shape asks for `expected`.
    Length {
        /// The argument.
        arg: Arg,
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements that were given.
        got: usize,
    },
    /// An extent of `arg` that must be positive is zero.
    Zero {
        /// The argument.
        arg: Arg,
    },
    /// The extents of `arg` multiply to more than `usize` or `u32` holds.
    Overflow {
        /// The argument.
        arg: Arg,
    },
    /// A sum of `terms` products may leave the accumulator of this type, which holds `limit` of them.
    Accumulator {
        /// Products that would be summed.
        terms: usize,
        /// Products that are always in range.
        limit: usize,
    },
    /// The window does not fit into the padded input, or stands on padding alone.
    Window {
        /// Spatial axis, from 0: rows, columns of an image.
        axis: u8,
        /// Cells that the dilated kernel spans.
        span: usize,
        /// Cells of the padded input.
        input: usize,
    },
    /// `groups` does not divide the channels or the filters.
    Groups {
        /// Input channels.
        channels: usize,
        /// Output channels.
        filters: usize,
        /// Groups asked for.
        groups: usize,
    },
    /// Row `row` has the class `label`, but there are only `classes`.
    Label {
        /// Row in the batch.
        row: usize,
        /// The label found.
        label: usize,
        /// Number of classes; labels run from 0 to `classes - 1`.
        classes: usize,
    },
    /// The number `arg` is outside what the kernel is defined for: its documentation says the range.
    Value {
        /// The argument.
        arg: Arg,
    },
    /// Nothing of row `row` is allowed by the mask.
    AllMasked {
        /// Row in the batch.
        row: usize,
    },
    /// Item `item` of the clusters is beyond the `items` there are, or named twice.
    Cluster {
        /// The item's number.
        item: usize,
        /// Number of items; they run from 0 to `items - 1`.
        items: usize,
    },
    /// `arg` has `got` values for each statistic; it takes `least`.
    Few {
        /// The argument.
        arg: Arg,
        /// Values that were given.
        got: usize,
        /// Values that are needed.
        least: usize,
    },
}

/// The argument that an [`Error`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arg {
    /// The extents of the call.
    Shape,
    /// Input.
    X,
    /// Forward output that a backward pass needs again.
    Y,
    /// Gradient of the loss with respect to the output.
    Dy,
    /// Gradient of the loss with respect to the input.
    Dx,
    /// Gradient of the loss with respect to a parameter.
    Dw,
    /// Weights or filters.
    Weight,
    /// Bias.
    Bias,
    /// Output.
    Out,
    /// Low bytes of the weights' masters.
    Residual,
    /// Velocities of momentum.
    Velocity,
    /// Class labels.
    Labels,
    /// Target values.
    Target,
    /// A permutation to be filled.
    Order,
    /// What an activation keeps for its backward pass.
    Slope,
    /// Memory that a kernel works in.
    Scratch,
    /// Which elements take part.
    Mask,
    /// What logits are divided by.
    Temperature,
    /// The parameter of entmax.
    Alpha,
    /// The items of adaptive softmax in their clusters.
    Clusters,
    /// Where Huber's loss turns from squares to distances.
    Delta,
    /// The share of a label that all classes get.
    Smoothing,
    /// The weights of samples.
    SampleWeights,
    /// Gains of a normalisation.
    Gamma,
    /// Its biases.
    Beta,
    /// What is added to a variance.
    Epsilon,
    /// Statistics of rows or channels.
    Statistics,
    /// Sums of errors over the rows of each channel.
    Sums,
    /// Running statistics.
    Running,
    /// Share of a batch in running statistics.
    Momentum,
    /// What inference does to each channel.
    Transform,
    /// Centres of clusters.
    Centres,
    /// Share of each cluster in each row.
    Shares,
    /// Gradient of the loss with respect to logits.
    Scores,
    /// A probability.
    Probability,
}

impl Arg {
    /// Refuses a slice of `got` elements unless it has the product of `extents`.
    pub(crate) fn check_len(self, got: usize, extents: &[usize]) -> Result<()> {
        let expected = self.product(extents)?;
        if got == expected {
            Ok(())
        } else {
            Err(Error::Length {
                arg: self,
                expected,
                got,
            })
        }
    }

    /// The product of `extents`, none of which may be zero. Elements are addressed by 32-bit
    /// random words, so the product must also fit `u32`.
    pub(crate) fn product(self, extents: &[usize]) -> Result<usize> {
        let mut product = 1usize;
        for &extent in extents {
            if extent == 0 {
                return Err(Error::Zero { arg: self });
            }
            product = product
                .checked_mul(extent)
                .ok_or(Error::Overflow { arg: self })?;
        }
        match u32::try_from(product) {
            Ok(_) => Ok(product),
            Err(_) => Err(Error::Overflow { arg: self }),
        }
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "shape",
            Self::X => "x",
            Self::Y => "y",
            Self::Dy => "dy",
            Self::Dx => "dx",
            Self::Dw => "dw",
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Out => "out",
            Self::Residual => "residual",
            Self::Velocity => "velocity",
            Self::Labels => "labels",
            Self::Target => "target",
            Self::Order => "order",
            Self::Slope => "slope",
            Self::Scratch => "scratch",
            Self::Mask => "mask",
            Self::Temperature => "temperature",
            Self::Alpha => "alpha",
            Self::Clusters => "clusters",
            Self::Delta => "delta",
            Self::Smoothing => "smoothing",
            Self::SampleWeights => "sample weights",
            Self::Gamma => "gamma",
            Self::Beta => "beta",
            Self::Epsilon => "epsilon",
            Self::Statistics => "statistics",
            Self::Sums => "sums",
            Self::Running => "running",
            Self::Momentum => "momentum",
            Self::Transform => "transform",
            Self::Centres => "centres",
            Self::Shares => "shares",
            Self::Scores => "scores",
            Self::Probability => "probability",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { arg, expected, got } => {
                write!(f, "{arg}: expected {expected} elements, found {got}")
            }
            Self::Zero { arg } => write!(f, "{arg}: an extent is zero"),
            Self::Overflow { arg } => write!(f, "{arg}: too many elements to count in 32 bits"),
            Self::Accumulator { terms, limit } => write!(
                f,
                "sums of {terms} products may overflow the accumulator; at most {limit} are allowed"
            ),
            Self::Window { axis, span, input } => write!(
                f,
                "window spans {span} cells of axis {axis}, the padded input has {input}"
            ),
            Self::Groups {
                channels,
                filters,
                groups,
            } => write!(
                f,
                "{groups} groups do not divide {channels} channels into {filters} filters"
            ),
            Self::Label {
                row,
                label,
                classes,
            } => {
                write!(
                    f,
                    "labels: row {row} has class {label}, expected 0 to {}",
                    classes.saturating_sub(1)
                )
            }
            Self::AllMasked { row } => write!(f, "mask: nothing of row {row} is allowed"),
            Self::Cluster { item, items } => write!(
                f,
                "clusters: item {item} is named twice, or not one of 0 to {}",
                items.saturating_sub(1)
            ),
            Self::Value { arg } => write!(f, "{arg}: the number is out of range"),
            Self::Few { arg, got, least } => write!(
                f,
                "{arg}: {got} values for each statistic, at least {least} are needed"
            ),
        }
    }
}

impl core::error::Error for Error {}
