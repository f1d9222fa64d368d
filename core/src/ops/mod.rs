//! Operators: what a compiled network is made of.
//!
//! Each operator stands in one file: attributes, shape rule, what it calls, gradient, cost. Two traits say so: [`Kernel`]
//! for every build, which is what a session calls, and `Describe` with the feature `alloc`, which is what the compiler
//! asks. A session finds operators in a [`Registry`], and the linker drops what is in none: a firmware that runs dense
//! layers of `i8` lists these alone.

pub mod activation;
mod call;
pub mod conv;
pub mod dense;
pub mod loss;
pub mod pool;
pub mod view;
pub(crate) mod weighted;
pub(crate) mod window;

pub use call::{Call, Fault, Result};

use selvedge_kernels::{DType, bf16, f16};

/// An operator for one element type.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Which operator.
    pub kind: Kind,
    /// What it computes with, and what it stores.
    pub dtypes: [DType; 2],
    /// Runs it.
    pub run: fn(&mut Call<'_, '_>) -> Result<()>,
}

/// What the compiler asks an operator.
#[cfg(feature = "alloc")]
pub(crate) trait Describe: core::fmt::Debug + Sync {
    /// Appends the operators that take the gradients of what `node` gives back to what it got.
    fn differentiate(
        &'static self,
        walk: &mut crate::graph::Walk<'_>,
        node: &crate::graph::Node,
    ) -> core::result::Result<(), crate::graph::Error>;
}

/// The operators that a program links, in groups: those of a layer and element type.
///
/// # Example
/// ```
/// use selvedge_core::ops::{Registry, dense, loss};
/// // What a program needs that runs and trains dense layers of bytes.
/// static OPERATORS: Registry<'_> = &[dense::run::<i8>(), dense::train::<i8>(), loss::cross_entropy_of::<i8>()];
/// ```
pub type Registry<'a> = &'a [&'a [Kernel]];

macro_rules! kinds {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// The operators there are. Their numbers stand in images, and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Kind {
            $(#[doc = concat!("`", $text, "`.")] $name = $code,)*
        }

        impl Kind {
            /// The operator of this number.
            #[must_use]
            pub const fn of(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    View = 0, "view";
    Dense = 1, "dense";
    DenseStep = 2, "dense_step";
    Conv = 3, "conv";
    ConvStep = 4, "conv_step";
    MaxPool = 5, "max_pool";
    MaxPoolBackward = 6, "max_pool_backward";
    CrossEntropy = 7, "cross_entropy";
}

macro_rules! all {
    ($($t:ty)*) => {
        /// All operators for all element types: what a program on a host links.
        pub static ALL: Registry<'static> = &[$(
            dense::run::<$t>(),
            dense::train::<$t>(),
            conv::run::<$t>(),
            conv::train::<$t>(),
            pool::run::<$t>(),
            pool::train::<$t>(),
            loss::cross_entropy_of::<$t>(),
        )*];
    };
}
all!(i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64);

/// The operator of `kind` for these types.
pub(crate) fn find(registry: Registry<'_>, kind: u16, dtypes: [DType; 2]) -> Option<&Kernel> {
    let mut kernels = registry.iter().flat_map(|group| group.iter());
    kernels.find(|kernel| kernel.kind as u16 == kind && kernel.dtypes == dtypes)
}
