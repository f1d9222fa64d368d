//! x86-64: AVX2 with FMA's and F16C's processors (Haswell and later, Zen).

mod avx2;
mod avx512;
mod block;
mod cells;
mod float;
mod lanes;
mod masked;
mod narrow;
mod panel;
mod patch;
mod scale;
mod single;
#[cfg(test)]
mod tests;
mod weigh;

pub use avx2::Avx2;
pub use avx512::Avx512;

/// Whether the processor has all the named features: asked at run time with the feature `detect`,
/// else answered by what the build enables.
macro_rules! detected {
    ($($feature:tt),+) => {{
        #[cfg(feature = "detect")]
        {
            $(std::arch::is_x86_feature_detected!($feature))&&+
        }
        #[cfg(not(feature = "detect"))]
        {
            cfg!(all($(target_feature = $feature),+))
        }
    }};
}
use detected;
