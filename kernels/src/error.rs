//! What a kernel can refuse, and where.

use crate::axes::{Extents, MAX_RANK};
use crate::layout::Range;
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
    /// An extent of `arg` that must be positive is zero, or `arg` itself.
    Zero {
        /// The argument.
        arg: Arg,
    },
    /// `arg` has more elements, or a larger extent, than can be counted: most tensors have at most `u32::MAX`.
    Overflow {
        /// The argument.
        arg: Arg,
        /// How many there are; `None` if `usize` does not hold it.
        got: Option<usize>,
    },
    /// A sum of `terms` products may leave the accumulator of this type, which holds `limit` of them.
    Accumulator {
        /// Products that would be summed.
        terms: usize,
        /// Products that are always in range.
        limit: usize,
    },
    /// A window stands on padding alone: it has no maximum, and no mean where padding does not count.
    Padding {
        /// Spatial axis, from 0: rows, columns of an image.
        axis: u8,
        /// The first such window along it.
        window: usize,
    },
    /// The window does not fit into the padded input.
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
    /// The number `arg` is outside what the kernel is defined for.
    Value {
        /// The argument.
        arg: Arg,
        /// What it may be.
        expected: &'static str,
        /// The number found, where one is to blame.
        got: Option<Found>,
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
    /// A tensor of `rank` axes; at most [`MAX_RANK`](crate::axes::MAX_RANK) are allowed.
    Rank {
        /// Axes asked for.
        rank: usize,
    },
    /// There is no axis `axis` among `rank`, or it is named twice.
    Axis {
        /// The axis asked for.
        axis: usize,
        /// Axes that there are.
        rank: usize,
    },
    /// `got` axes are named for a tensor that has `expected`.
    Axes {
        /// Axes that there are.
        expected: usize,
        /// Axes that are named.
        got: usize,
    },
    /// The extents of two tensors differ along an axis where neither is 1.
    Broadcast {
        /// Extents of the first.
        a: Extents,
        /// Extents of the second.
        b: Extents,
    },
    /// A tensor has other extents than it must have.
    Extents {
        /// What they must be.
        expected: Extents,
        /// What they are.
        got: Extents,
    },
    /// Index `index`, the one with number `row`, is beyond an axis of `extent` elements.
    Index {
        /// Which of the indices.
        row: usize,
        /// The index found.
        index: usize,
        /// Extent of the axis; indices run from 0 to `extent - 1`.
        extent: usize,
    },
    /// More elements are asked for than an axis has.
    TopK {
        /// Elements asked for, at least 1.
        k: usize,
        /// Extent of the axis.
        extent: usize,
    },
    /// A slice with step zero, or without elements.
    Range {
        /// The axis.
        axis: usize,
        /// Its extent.
        extent: usize,
        /// What was to be taken of it.
        range: Range,
    },
    /// A reflection of more elements than there are beside the edge.
    Reflection {
        /// The axis.
        axis: usize,
        /// Elements to be added at one end.
        padding: usize,
        /// Its extent; at most one less can be reflected.
        extent: usize,
    },
    /// The zero point of `arg` is no number of its type.
    ZeroPoint {
        /// The argument.
        arg: Arg,
        /// The zero point.
        zero: i32,
    },
    /// A multiplier is negative, or its shift out of range.
    Multiplier {
        /// Which one.
        channel: usize,
    },
    /// Heads of queries cannot share those of keys and values evenly.
    Heads {
        /// Heads of the queries.
        heads: usize,
        /// Heads of keys and values, which must divide them.
        kv_heads: usize,
    },
    /// More keys than the memory of a sample holds.
    Capacity {
        /// Keys.
        keys: usize,
        /// Rows of a sample.
        capacity: usize,
    },
    /// Sample `sample` is longer than the sequence.
    SampleLength {
        /// Number of the sample.
        sample: usize,
        /// Its length.
        length: usize,
        /// The longest that fits.
        most: usize,
    },
}

/// A number that was refused.
///
/// # Example
/// ```
/// use selvedge_kernels::{Found, softmax::Temperature};
/// assert_eq!(Found::real(-0.375).to_string(), "-0.375");
/// assert_eq!(Found::real(f64::NAN).to_string(), "NaN");
/// assert_eq!(Temperature::new(-2.0).unwrap_err().to_string(), "temperature: expected a finite number of 0 or more, found -2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An integer.
    Integer(i64),
    /// A real number, as the bits of an `f64`: an error is compared and shown without float arithmetic.
    Real(u64),
}

impl Found {
    /// A real number.
    #[must_use]
    pub const fn real(number: f64) -> Self {
        Self::Real(number.to_bits())
    }
}

/// Real numbers to nine decimals; those from 2^32 on, and those too small for them, as a number times a power of two.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match *self {
            Self::Integer(number) => return write!(f, "{number}"),
            Self::Real(bits) => bits,
        };
        let (biased, fraction) = ((bits >> 52 & 0x7FF) as i32, bits & ((1 << 52) - 1));
        if biased == 0x7FF && fraction != 0 {
            return f.write_str("NaN");
        }
        if bits >> 63 == 1 {
            f.write_str("-")?;
        }
        if biased == 0x7FF {
            return f.write_str("infinity");
        }
        if bits << 1 == 0 {
            return f.write_str("0");
        }
        // The number is `mantissa · 2^-places`.
        let mantissa = if biased == 0 {
            fraction
        } else {
            fraction | 1 << 52
        };
        let places = 1075 - biased.max(1);
        if !(21..82).contains(&places) {
            return write!(f, "{mantissa} · 2^{}", -places);
        }
        // At most 2^32 in units of 10^-9, to nearest: below 2^63.
        let scaled = (u128::from(mantissa) * 1_000_000_000) >> (places - 1);
        let billionths = ((scaled + 1) >> 1) as u64;
        let (whole, mut rest) = (billionths / 1_000_000_000, billionths % 1_000_000_000);
        write!(f, "{whole}")?;
        if rest == 0 {
            return Ok(());
        }
        let mut digits = 9;
        while rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        write!(f, ".{rest:0digits$}")
    }
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
    /// The second operand.
    B,
    /// Indices along an axis.
    Indices,
    /// Numbers of rows of a table.
    Tokens,
    /// Positions in an image.
    Positions,
    /// Parts of a tensor, together.
    Parts,
    /// Scales of packed weights' blocks, or multipliers of channels.
    Scale,
    /// Cells of a window.
    Kernel,
    /// Distance of windows.
    Stride,
    /// Distance of a window's cells.
    Dilation,
    /// Queries of an attention.
    Query,
    /// Its keys.
    Key,
    /// Its values.
    Value,
    /// Lengths of samples.
    Lengths,
    /// Base of frequencies.
    Base,
    /// Frequencies of pairs.
    Frequencies,
    /// Weights of a recurrent layer's own output.
    HiddenWeight,
    /// Bias beside them.
    HiddenBias,
    /// What a recurrent layer carries from step to step.
    State,
    /// What a recurrent layer's state was before each step.
    Before,
    /// Gates of a recurrent layer.
    Gates,
    /// Gradient of the loss with respect to gates.
    Dz,
    /// The same, as the hidden weights see it.
    Dzu,
    /// The weight of a balancing loss.
    Balance,
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

    /// More of `self` than `usize` holds.
    pub(crate) const fn overflow(self) -> Error {
        Error::Overflow {
            arg: self,
            got: None,
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
            product = product.checked_mul(extent).ok_or(self.overflow())?;
        }
        match u32::try_from(product) {
            Ok(_) => Ok(product),
            Err(_) => Err(Error::Overflow {
                arg: self,
                got: Some(product),
            }),
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
            Self::B => "b",
            Self::Indices => "indices",
            Self::Tokens => "tokens",
            Self::Positions => "positions",
            Self::Parts => "parts",
            Self::Scale => "scale",
            Self::Kernel => "kernel",
            Self::Stride => "stride",
            Self::Dilation => "dilation",
            Self::Query => "q",
            Self::Key => "k",
            Self::Value => "v",
            Self::Lengths => "lengths",
            Self::Base => "base",
            Self::Frequencies => "frequencies",
            Self::HiddenWeight => "hidden weight",
            Self::HiddenBias => "hidden bias",
            Self::State => "state",
            Self::Before => "before",
            Self::Gates => "gates",
            Self::Dz => "dz",
            Self::Dzu => "dzu",
            Self::Balance => "balance",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { arg, expected, got } => {
                write!(f, "{arg}: expected {expected} elements, found {got}")
            }
            Self::Zero { arg } => write!(f, "{arg}: expected 1 at least, found 0"),
            Self::Overflow {
                arg,
                got: Some(got),
            } => write!(f, "{arg}: {got} is too large to count"),
            Self::Overflow { arg, got: None } => {
                write!(f, "{arg}: too large to count in {} bits", usize::BITS)
            }
            Self::Accumulator { terms, limit } => write!(
                f,
                "sums of {terms} products may overflow the accumulator; at most {limit} are allowed"
            ),
            Self::Window { axis, span, input } => write!(
                f,
                "window spans {span} cells of axis {axis}, the padded input has {input}"
            ),
            Self::Padding { axis, window } => write!(
                f,
                "window {window} of axis {axis} stands on padding alone, expected an input cell in each"
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
            Self::Value {
                arg,
                expected,
                got: Some(got),
            } => write!(f, "{arg}: expected {expected}, found {got}"),
            Self::Value {
                arg,
                expected,
                got: None,
            } => write!(f, "{arg}: out of range, expected {expected}"),
            Self::Few { arg, got, least } => write!(
                f,
                "{arg}: {got} values for each statistic, at least {least} are needed"
            ),
            Self::Rank { rank } => write!(f, "{rank} axes, at most {MAX_RANK} are allowed"),
            Self::Axis { axis, rank } => {
                write!(f, "axis {axis} of {rank} is not there, or is named twice")
            }
            Self::Axes { expected, got } => write!(f, "expected {expected} axes, found {got}"),
            Self::Broadcast { a, b } => write!(f, "{a} and {b} do not broadcast"),
            Self::Extents { expected, got } => {
                write!(f, "expected extents {expected}, found {got}")
            }
            Self::Index { row, index, extent } => write!(
                f,
                "indices: number {row} is {index}, expected 0 to {}",
                extent.saturating_sub(1)
            ),
            Self::TopK { k, extent } => {
                write!(f, "top {k} of {extent} elements, expected 1 to {extent}")
            }
            Self::Range {
                axis,
                extent,
                range,
            } => write!(
                f,
                "slice [{range}] of axis {axis} with {extent} elements takes none, expected one at least and a step that is not 0"
            ),
            Self::Reflection {
                axis,
                padding,
                extent,
            } => write!(
                f,
                "axis {axis} with {extent} elements cannot reflect {padding}, at most {}",
                extent.saturating_sub(1)
            ),
            Self::ZeroPoint { arg, zero } => {
                write!(f, "{arg}: zero point {zero} is out of the type's range")
            }
            Self::Multiplier { channel } => write!(
                f,
                "multiplier {channel} is negative, or its shift out of range"
            ),
            Self::Heads { heads, kv_heads } => write!(
                f,
                "{kv_heads} heads of keys and values do not divide {heads} heads of queries"
            ),
            Self::Capacity { keys, capacity } => {
                write!(
                    f,
                    "{keys} keys in a cache of {capacity} rows for each sample"
                )
            }
            Self::SampleLength {
                sample,
                length,
                most,
            } => write!(
                f,
                "lengths: sample {sample} has {length} steps, expected 0 to {most}"
            ),
        }
    }
}

impl core::error::Error for Error {}
