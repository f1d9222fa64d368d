//! A graph that goes on from what a session has learned, in the same types or in others.

use super::{Error, Graph, Value};
use crate::image::format::{Parameter, Place};
use crate::network::builder::by_dtype;
use crate::session::{Session, Stored};
use alloc::vec::Vec;
use selvedge_kernels::{DType, Element};

/// Bits of the units that integer statistics are kept in.
const STATISTIC: i32 = -32;

impl Graph {
    /// Begins with what `session` has learned: one of the same network, perhaps in other types.
    ///
    /// # Errors
    /// [`Error::Session`] if it is one of another.
    pub(crate) fn continue_from(&mut self, session: &Session<'_>) -> Result<(), Error> {
        let mut stored = session.stored().map_err(|_| Error::Session)?;
        // A program that advances by ticks carries more, and begins anew in another image.
        if stored.len() != self.parameters.len() {
            stored.retain(|from| from.kind != Parameter::CARRIED);
        }
        let carries = stored.len() == self.parameters.len();
        let kinds = |kind: u16| carries || kind != Parameter::CARRIED;
        let kept = self.parameters.iter().filter(|own| kinds(own.kind)).count();
        if stored.len() != kept {
            return Err(Error::Session);
        }
        let values = &mut self.values;
        let mut is_same = true;
        let own = self.parameters.iter().filter(|own| kinds(own.kind));
        for (parameter, from) in own.zip(&stored) {
            let value = values.get(parameter.value.0).ok_or(Error::Session)?;
            is_same &= value.dtype == from.dtype;
        }
        let fits = |value: &Value, from: &Stored<'_>| {
            value.len() * from.dtype.bytes() == from.elements.len()
        };
        // What belongs together: the rows of a cache, and how many there are.
        let own = self.parameters.iter().filter(|own| kinds(own.kind));
        let mut carried = own
            .zip(&stored)
            .filter(|(own, _)| own.kind == Parameter::CARRIED);
        let begins_anew = !is_same
            || carried.any(|(own, from)| {
                values
                    .get(own.value.0)
                    .is_none_or(|value| !fits(value, from))
            });
        let own = self.parameters.iter_mut().filter(|own| kinds(own.kind));
        for (parameter, from) in own.zip(stored) {
            let value = values.get_mut(parameter.value.0).ok_or(Error::Session)?;
            let is_plain = value.dtype == DType::U8 && parameter.kind != Parameter::TRAINED;
            let is_carried = parameter.kind == Parameter::CARRIED;
            // Constants follow from the description; what is carried begins anew in another type or for other samples.
            if is_plain && value.place == Place::Constant || is_carried && begins_anew {
                continue;
            }
            if !fits(value, &from) {
                return Err(Error::Session);
            }
            if value.dtype == from.dtype {
                let len = from.elements.len();
                let low = parameter.stored.len().saturating_sub(len);
                value.exponent = from.exponent;
                parameter.stored = from.elements.to_vec();
                // Of an image without masters they are zeros.
                let kept = from.low.get(..low).unwrap_or_default();
                parameter.stored.extend_from_slice(kept);
                parameter.stored.resize(len + low, 0);
            } else {
                let is_statistic = parameter.kind == Parameter::STATE;
                let numbers = numbers(from, is_statistic);
                parameter.stored = converted(value, &numbers, is_statistic, &parameter.stored);
            }
        }
        if is_same {
            // Those of the forward pass come first, in each image of a network.
            let states = session.states();
            let all = 4 * self.states;
            let states = states.get(..all.min(states.len()));
            self.states_before = states.unwrap_or_default().to_vec();
        }
        (self.seed, self.steps) = (session.seed(), session.steps());
        Ok(())
    }
}

/// Bits of the low bytes of masters.
fn low_bits<T: Element>() -> u32 {
    8 * size_of::<T::Residual>() as u32
}

/// The numbers that a tensor holds, with the low bytes of its masters: exact in `f64`, in which none has more bits.
fn numbers(from: Stored<'_>, is_statistic: bool) -> Vec<f64> {
    by_dtype!(from.dtype, T => {
        let unit = if is_statistic && T::DTYPE.is_integer() {
            STATISTIC
        } else {
            from.exponent.into()
        };
        let mut low = from.low.iter();
        let elements = from.elements.chunks_exact(size_of::<T>());
        let number = |bytes: &[u8]| {
            let element = T::from_le_bytes_of(bytes).map_or(0.0, T::to_f64);
            let low = low.next().map_or(0.0, |&low| f64::from(low as i8));
            libm::scalbn(element + libm::scalbn(low, -(low_bits::<T>() as i32)), unit)
        };
        elements.map(number).collect()
    })
}

/// The bytes of `numbers` as elements of the type of `value` and the low bytes of masters, if `before` has some. Integers get
/// the smallest exponent at which all fit; zeros keep the one they have.
fn converted(value: &mut Value, numbers: &[f64], is_statistic: bool, before: &[u8]) -> Vec<u8> {
    by_dtype!(value.dtype, T => {
        let mut stored = Vec::new();
        if !T::DTYPE.is_integer() {
            value.exponent = 0;
            for &number in numbers {
                T::from_f64(number).le_bytes(|bytes| stored.extend_from_slice(bytes));
            }
            return stored;
        }
        let limit = libm::scalbn(1.0, T::MAGNITUDE_BITS as i32) - 1.0;
        let finite = numbers.iter().map(|number| number.abs()).filter(|number| number.is_finite());
        let most = finite.fold(0.0, f64::max);
        let exponent = if is_statistic {
            STATISTIC
        } else if most == 0.0 {
            value.exponent.into()
        } else {
            let (_, exponent) = libm::frexp(most / limit); // up to a power of two
            exponent.clamp(i16::MIN.into(), i16::MAX.into())
        };
        let bits = low_bits::<T>();
        let mut low = Vec::new();
        for &number in numbers {
            let scaled = libm::rint(libm::scalbn(number, bits as i32 - exponent));
            if is_statistic {
                stored.extend_from_slice(&(scaled as i64).to_le_bytes());
                continue;
            }
            let limit = libm::scalbn(limit, bits as i32);
            let master = scaled.clamp(-limit, limit) as i64; // NaN is 0
            let element = (master + ((1i64 << bits) >> 1)) >> bits;
            T::from_f64(element as f64).le_bytes(|bytes| stored.extend_from_slice(bytes));
            low.push((master - (element << bits)) as u8);
        }
        if before.len() > stored.len() {
            stored.extend(low);
        }
        if !is_statistic {
            value.exponent = exponent as i16; // clamped above
        }
        stored
    })
}
