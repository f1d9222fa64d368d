//! Typed layers on their own: one pass at a time, values in, values out; and what holds for all of
//! them, in all types.
//!
//! ```
//! use selvedge_core::net::Negate;
//! use selvedge_core::tensor::D1;
//! use selvedge_tests::layers::{Case, Driven};
//! use selvedge_tests::check_layer;
//!
//! let mut layer = Driven::<Negate<i8, D1<2>>, 1>::new(1);
//! assert_eq!(layer.forward(&[0.5, -0.25]), [-0.5, 0.25]);
//! assert_eq!(layer.backward(&[1.0, 0.5]), [-1.0, -0.5]);
//!
//! let negated = |x: &[f64]| x.iter().map(|x| -x).collect();
//! check_layer!(T => Negate<T, D1<4>>, Case::new("negate").defined(&negated));
//! ```

mod case;
mod checks;
mod driven;
mod numbers;

pub use case::{Case, Definition, DefinitionBy};
pub use checks::{check_against, check_f64};
pub use driven::{Driven, Inferred};
pub use numbers::{Precision, rounded};

/// Calls a macro with each of the twelve element types.
#[macro_export]
macro_rules! for_each_type {
    ($call:ident) => {
        $call!(i8);
        $call!(u8);
        $call!(i16);
        $call!(u16);
        $call!(i32);
        $call!(u32);
        $call!(i64);
        $call!(u64);
        $call!(selvedge_kernels::f16);
        $call!(selvedge_kernels::bf16);
        $call!(f32);
        $call!(f64);
    };
}

/// Checks a typed layer, given as a type of the element type `$t`: in `f64` by
/// [`check_f64`](crate::layers::check_f64), and in all twelve types by
/// [`check_against`](crate::layers::check_against) that. Batches have three samples.
#[macro_export]
macro_rules! check_layer {
    ($t:ident => $layer:ty, $case:expr) => {{
        type Layer<$t> = $layer;
        // A match, so that what the case borrows lives long enough.
        match $case {
            case => {
                $crate::layers::check_f64::<Layer<f64>, 3>(&case);
                macro_rules! check {
                    ($type:ty) => {
                        $crate::layers::check_against::<Layer<$type>, Layer<f64>, 3>(&case);
                    };
                }
                $crate::for_each_type!(check);
            }
        }
    }};
}

/// Checks a layer with weights of type `$k` under activations of type `$t`, in all pairs that there are, by
/// [`check_against`](crate::layers::check_against) `$twin`, the same layer in `f64`; that by
/// [`check_f64`](crate::layers::check_f64). Batches have three samples.
#[macro_export]
macro_rules! check_mixed {
    ($t:ident, $k:ident => $layer:ty, $twin:ty, $case:expr) => {{
        type Layer<$t, $k> = $layer;
        // A match, so that what the case borrows lives long enough.
        match $case {
            case => {
                $crate::layers::check_f64::<$twin, 3>(&case);
                $crate::layers::check_against::<Layer<i16, i8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<i16, u8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<u16, i8>, $twin, 3>(&case);
                $crate::layers::check_against::<Layer<u16, u8>, $twin, 3>(&case);
            }
        }
    }};
}

/// Checks a layer of floats only, given as a type of the element type `$t`: in `f64` by
/// [`check_f64`](crate::layers::check_f64), in `f32` and `f16` by [`check_against`](crate::layers::check_against) that, and
/// in `bf16`, whose 8 bits may be too few for both, as the case `$coarse` says. Batches have three samples.
#[macro_export]
macro_rules! check_float {
    ($t:ident => $layer:ty, $case:expr, $coarse:expr) => {{
        type Layer<$t> = $layer;
        // A match, so that what the cases borrow lives long enough.
        match ($case, $coarse) {
            (case, coarse) => {
                use $crate::layers::{check_against, check_f64};
                check_f64::<Layer<f64>, 3>(&case);
                check_against::<Layer<f32>, Layer<f64>, 3>(&case);
                check_against::<Layer<selvedge_kernels::f16>, Layer<f64>, 3>(&case);
                check_against::<Layer<selvedge_kernels::bf16>, Layer<f64>, 3>(&coarse);
            }
        }
    }};
}
