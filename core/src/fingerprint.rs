//! The hash of a network's parameters: equal on every target for integer networks.

use crate::net::{Layer, Network, Visitor};
use core::fmt;
use selvedge_kernels::Element;
use sha2::{Digest, Sha256};

/// SHA-256 over all parameters in layer order: of each its stored elements, little-endian and
/// row-major, the low bytes of the masters where there are any, and the exponent as a little-endian
/// `i16` where the type has one. Displayed as 64 hexadecimal digits, or as many as the precision
/// says.
///
/// # Example
/// ```
/// use selvedge_core::{fingerprint::Fingerprint, net, train::Trainer};
/// net! { struct Tiny: [2] { head: dense(2) } }
/// let mut trainer = Trainer::<Tiny<i8>, 1>::BLANK;
/// trainer.init(1)?;
/// let fingerprint = Fingerprint::of(trainer.network());
/// assert_eq!(format!("{fingerprint:.16}").len(), 16);
/// # Ok::<(), selvedge_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a network's parameters.
    #[must_use]
    pub fn of<N: Network>(network: &N) -> Self {
        let mut hash = Hash::new();
        network.layers().visit(&mut hash);
        hash.finish()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(64);
        for digit in 0..digits.min(64) {
            let byte = self.0.get(digit / 2).copied().unwrap_or_default();
            write!(
                f,
                "{:x}",
                if digit % 2 == 0 { byte >> 4 } else { byte & 15 }
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A fingerprint under way.
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}

impl Visitor for Hash {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        for element in value {
            element.le_bytes(|bytes| self.0.update(bytes));
        }
        for &low in residual {
            self.0.update(low.to_le_bytes());
        }
        if P::DTYPE.is_integer() {
            self.0.update(exponent.to_le_bytes());
        }
    }
}
