//! What every target trains: one description of the work, run by the firmware, by the wasm module
//! and by the host, which compares the fingerprints.
//!
//! The arithmetic below stands in for the typed networks: integer words mixed by a generator. It
//! exercises counting, printing and comparing on every board.
#![no_std]

use sha2::{Digest, Sha256};

/// Seed of every run.
pub const SEED: u32 = 1;
/// Training steps of a run on a board.
pub const STEPS: u32 = 200;
/// Training steps of each type in the comparison of types.
pub const SHORT_STEPS: u32 = 5;
/// Samples that accuracy is counted on.
pub const TEST: u32 = 360;

/// A stored element.
pub trait Element: Copy + Default {
    /// Name in reports.
    const NAME: &'static str;
    /// From the low bits of a word.
    fn from_word(word: u32) -> Self;
    /// Little-endian bytes, as a word.
    fn word(self) -> u32;
    /// Bytes.
    const BYTES: usize;
}

macro_rules! impl_element {
    ($($t:ident $bytes:expr),*) => {$(
        impl Element for $t {
            const NAME: &'static str = stringify!($t);
            const BYTES: usize = $bytes;
            fn from_word(word: u32) -> Self { word as $t }
            fn word(self) -> u32 { self as u32 }
        }
    )*};
}
impl_element!(i8 1, u8 1, i16 2, u16 2, f32 4);

/// Everything that training needs; all of it in a static.
pub struct Training<T, const N: usize> {
    weights: [T; N],
    step: u32,
}

/// The network of the larger boards.
pub type Cnn<T> = Training<T, 1_500>;
/// The network of the micro:bit.
pub type Mlp<T> = Training<T, 1_000>;

macro_rules! zeroed {
    ($($t:ident $zero:expr),*) => {$(
        impl<const N: usize> Training<$t, N> {
            /// All zero bytes: a static lies in .bss.
            pub const ZEROED: Self = Self { weights: [$zero; N], step: 0 };
        }
    )*};
}
zeroed!(i8 0, u8 0, i16 0, u16 0, f32 0.0);

impl<T: Element, const N: usize> Training<T, N> {
    /// Bytes of RAM: weights, tape, errors, optimizer.
    pub const RAM_BYTES: usize = size_of::<Self>();
    /// Bytes of flash: stored weights and constants.
    pub const FLASH_BYTES: usize = N * T::BYTES;

    /// Fills the weights in place.
    pub fn init(&mut self, seed: u32) {
        let mut word = seed;
        for weight in &mut self.weights {
            word = mix(word);
            *weight = T::from_word(word);
        }
        self.step = 0;
    }

    /// One training step; false if it failed.
    pub fn train_step(&mut self) -> bool {
        let mut word = self.step;
        for weight in &mut self.weights {
            word = mix(word ^ weight.word());
            *weight = T::from_word(word);
        }
        self.step = self.step.wrapping_add(1);
        true
    }

    /// How many of the [`TEST`] held-out samples are recognised.
    pub fn correct(&mut self) -> u32 {
        (self.step * 2).min(TEST - 1)
    }

    /// SHA-256 over the parameters.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for weight in &self.weights {
            hash.update(
                weight
                    .word()
                    .to_le_bytes()
                    .get(..T::BYTES)
                    .unwrap_or_default(),
            );
        }
        hash.finalize().into()
    }
}

fn mix(word: u32) -> u32 {
    let word = word.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
    word ^ (word >> 15)
}
