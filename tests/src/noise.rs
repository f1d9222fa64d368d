//! Reproducible noise for tests, from the kernels' own addressed words (which the golden files
//! prove). The seed is in every failure message of the tests that use it, being a constant of them.

use selvedge_kernels::rng::Words;

/// The numbers of one seed, in order.
#[derive(Clone, Debug)]
pub struct Noise {
    words: Words,
    next: u32,
}

impl Noise {
    /// The numbers of `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self {
            words: Words::new(seed, 1, 0),
            next: 0,
        }
    }

    /// 32 random bits.
    pub fn word(&mut self) -> u32 {
        self.next += 1;
        self.words.word(self.next)
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    /// Uniform between -1 and 1.
    pub fn signed(&mut self) -> f64 {
        f64::from(self.word()) / 2f64.powi(31) - 1.0
    }

    /// `n` uniform numbers within `±bound`.
    pub fn vector(&mut self, n: usize, bound: f64) -> Vec<f64> {
        (0..n).map(|_| self.signed() * bound).collect()
    }
}
