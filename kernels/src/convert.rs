//! From one element type to another: what stands between layers of different types.

use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, Rounding};
use crate::requantize::{BLOCK, Store, put_all};
use crate::split::{blocks_of, blocks_of_mut};

/// Places behind the point of a float that becomes an integer.
const PLACES: i32 = 96;
/// Bits of the largest float that does, in these units: floats beyond 2^30 saturate.
const BITS: u32 = 126;

/// The exponent of the accumulators of [`convert()`], for `x` at `exponent`.
#[must_use]
pub const fn exponent<T: Element, U: Element>(exponent: i32) -> i32 {
    if !U::DTYPE.is_integer() {
        0
    } else if T::DTYPE.is_integer() {
        exponent
    } else {
        exponent.saturating_sub(PLACES)
    }
}

/// Where every integer of type `T` at `exponent` is one of type `U`: the exponent of those, which need no state then,
/// and what to store them with.
#[must_use]
pub const fn widened<T: Element, U: Element>(exponent: i32) -> Option<(i32, Store)> {
    if !T::DTYPE.is_integer() || U::MAGNITUDE_BITS < T::MAGNITUDE_BITS {
        return None;
    }
    let shift = T::MAGNITUDE_BITS as i32 - U::MAGNITUDE_BITS as i32;
    let store = Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    Some((exponent.saturating_add(shift), store))
}

/// `out = store(x)` in another type, for `x` at `exponent`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | any | |
/// | `exponent` | | of `x`; floats may have one, too: that of their loss |
/// | `out` | as `x` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at [`exponent()`].
///
/// | from, to | accumulator | what is lost |
/// |---|---|---|
/// | integers, integers | `q - z` | what the store rounds; nothing where the type [is no narrower](widened) |
/// | floats, integers | the float in units of 2^-96, to nearest even | what the store rounds; beyond ±2^30 it saturates, NaN is 0 |
/// | integers, floats | none: the float nearest to the value | nothing below the bits of the float; of i64 and u64 to 16 bits, it is that nearest to the value in `f32` |
/// | floats, floats | none: the same | the same |
///
/// A float that is stored is scaled by `2^-shift`. The gradient of a conversion is the conversion the other way.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{convert, exec::Serial, requantize::Store};
/// let mut out = [0.0f32; 2];
/// convert::convert(&Serial, &[3i8, -4], -2, Store::EXACT, &mut out)?;
/// assert_eq!(out, [0.75, -1.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: `docs/numerics.md` §31.
pub fn convert<T: Element, U: Element>(
    exec: &impl Executor,
    x: &[T],
    exponent: i32,
    store: Store,
    out: &mut [U],
) -> Result<u32> {
    Arg::Out.check_len(out.len(), &[x.len()])?;
    Ok(exec::rows(exec, out, 1, |first, out| {
        let x = x.get(first..).unwrap_or_default();
        let blocks = blocks_of(x, BLOCK).zip(blocks_of_mut(out, BLOCK));
        let mut element = first as u32;
        if !U::DTYPE.is_integer() {
            let Store::Shift { shift, .. } = store else {
                return 0;
            };
            let scale = libm::scalbn(1.0, exponent.saturating_sub(shift));
            for (x, out) in blocks {
                let mut values = [0.0; BLOCK];
                T::convert_to_floats(x, scale, &mut values);
                U::convert_from_floats(&values, out);
            }
            0
        } else if T::DTYPE.is_integer() {
            let mut range = 0;
            for (x, out) in blocks {
                let mut acc = [0; BLOCK];
                T::convert_to_units(x, &mut acc);
                U::convert_from_units(&mut acc, store, element, &mut range, out);
                element = element.wrapping_add(out.len() as u32);
            }
            range.bits()
        } else {
            let mut range = 0;
            for (x, out) in blocks {
                let mut values = [0.0; BLOCK];
                T::convert_to_floats(x, UNITS, &mut values);
                U::convert_from_reals(&values, store, element, &mut range, out);
                element = element.wrapping_add(out.len() as u32);
            }
            range.bits()
        }
    }))
}

/// 2^[`PLACES`].
const UNITS: f64 = (1u128 << PLACES) as f64;

/// Conversions from and to one element type, in blocks of numbers that hold all of them.
pub trait Kernels: Sized {
    /// `q - z` of integers.
    #[doc(hidden)]
    fn convert_to_units(x: &[Self], units: &mut [i64; BLOCK]);
    /// The elements times `scale`.
    #[doc(hidden)]
    fn convert_to_floats(x: &[Self], scale: f64, values: &mut [f64; BLOCK]);
    /// Integers from such as they are; as many as `out` has, the first of which has index `element`.
    #[doc(hidden)]
    fn convert_from_units(
        units: &mut [i64; BLOCK],
        store: Store,
        element: u32,
        range: &mut u64,
        out: &mut [Self],
    );
    /// The same from floats in units of 2^-[`PLACES`].
    #[doc(hidden)]
    fn convert_from_reals(
        values: &[f64; BLOCK],
        store: Store,
        element: u32,
        range: &mut u128,
        out: &mut [Self],
    );
    /// Floats.
    #[doc(hidden)]
    fn convert_from_floats(values: &[f64; BLOCK], out: &mut [Self]);
}

macro_rules! impl_integer {
    ($($t:ident as $signed:ident, flip $flip:expr;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn convert_to_units(x: &[Self], units: &mut [i64; BLOCK]) {
                for (unit, x) in units.iter_mut().zip(x) {
                    *unit = i64::from(x.widen());
                }
            }

            #[inline(never)]
            fn convert_to_floats(x: &[Self], scale: f64, values: &mut [f64; BLOCK]) {
                for (value, x) in values.iter_mut().zip(x) {
                    *value = x.widen() as f64 * scale;
                }
            }

            #[inline(never)]
            fn convert_from_units(
                units: &mut [i64; BLOCK],
                store: Store,
                element: u32,
                range: &mut u64,
                out: &mut [Self],
            ) {
                put_all(store, units, element, range, out, |unit: i64| {
                    unit.saturate(Self::MAGNITUDE_BITS) as $signed as Self ^ $flip
                });
            }

            #[inline(never)]
            fn convert_from_reals(
                values: &[f64; BLOCK],
                store: Store,
                element: u32,
                range: &mut u128,
                out: &mut [Self],
            ) {
                // Casts saturate, and NaN is 0.
                let mut units = values.map(|value| (libm::rint(value) as i128).saturate(BITS));
                put_all(store, &mut units, element, range, out, |unit: i128| {
                    unit.saturate(Self::MAGNITUDE_BITS) as $signed as Self ^ $flip
                });
            }

            fn convert_from_floats(_: &[f64; BLOCK], _: &mut [Self]) {}
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            fn convert_to_units(_: &[Self], _: &mut [i64; BLOCK]) {}

            #[inline(never)]
            fn convert_to_floats(x: &[Self], scale: f64, values: &mut [f64; BLOCK]) {
                for (value, x) in values.iter_mut().zip(x) {
                    *value = f64::from(x.widen()) * scale;
                }
            }

            fn convert_from_units(_: &mut [i64; BLOCK], _: Store, _: u32, _: &mut u64, _: &mut [Self]) {}

            fn convert_from_reals(_: &[f64; BLOCK], _: Store, _: u32, _: &mut u128, _: &mut [Self]) {}

            #[inline(never)]
            fn convert_from_floats(values: &[f64; BLOCK], out: &mut [Self]) {
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = <Self as Element>::from_f64(value);
                }
            }
        }
    )*};
}

impl_integer! {
    i8 as i8, flip 0;
    u8 as i8, flip 0x80;
    i16 as i16, flip 0;
    u16 as i16, flip 0x8000;
    i32 as i32, flip 0;
    u32 as i32, flip 0x8000_0000;
    i64 as i64, flip 0;
    u64 as i64, flip 0x8000_0000_0000_0000;
}
impl_float! { half::f16 half::bf16 f32 f64 }
