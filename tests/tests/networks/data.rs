//! What the networks learn: real digits in several sizes, and generated signals.

use selvedge_tests::noise::Noise;

/// Samples of 8-bit values, with a class each.
pub(crate) trait Data {
    /// Writes sample `index`, and returns its class.
    fn read(&self, index: usize, x: &mut [u8]) -> u16;
}

/// Digits as images of `side` rows and columns, in `channels` shades; the class is the digit, divided by
/// `coarse`.
pub(crate) struct Images {
    pub(crate) side: usize,
    pub(crate) channels: usize,
    pub(crate) coarse: u16,
}

impl Data for Images {
    fn read(&self, index: usize, x: &mut [u8]) -> u16 {
        let (label, digit) = selvedge_digits::train()
            .get(index % selvedge_digits::TRAIN)
            .unwrap();
        let scale = self.side / 8;
        for (at, x) in x.iter_mut().enumerate() {
            let (pixel, channel) = (at / self.channels, at % self.channels);
            let (row, column) = (pixel / self.side, pixel % self.side);
            let ink = digit[(row / scale) * 8 + column / scale] * 15;
            *x = match channel {
                0 => ink,
                1 => 240 - ink,
                _ => ink / 2,
            };
        }
        u16::from(label) / self.coarse
    }
}

/// Several digits in a row: what an autoencoder can learn.
pub(crate) struct Frames;

impl Data for Frames {
    fn read(&self, index: usize, x: &mut [u8]) -> u16 {
        for (at, frame) in x.chunks_mut(64).enumerate() {
            let digit = (index + at) % selvedge_digits::TRAIN;
            let (_, digit) = selvedge_digits::train().get(digit).unwrap();
            for (x, &ink) in frame.iter_mut().zip(digit) {
                *x = ink * 15;
            }
        }
        0
    }
}

/// Waves over `channels`, with noise and a phase of chance; the class is how fast they move in time and across
/// channels.
pub(crate) struct Waves {
    pub(crate) channels: usize,
    pub(crate) classes: usize,
}

impl Data for Waves {
    fn read(&self, index: usize, x: &mut [u8]) -> u16 {
        let mut noise = Noise::new(index as u32 + 1);
        let class = noise.below(self.classes);
        let (phase, turn) = (noise.signed(), std::f64::consts::TAU);
        let frames = x.len() / self.channels;
        for (at, x) in x.iter_mut().enumerate() {
            let (time, channel) = (at / self.channels, at % self.channels);
            let along = (1 + class % 4 * 2) as f64 * time as f64 / frames as f64;
            let across = (1 + class / 4) as f64 * channel as f64 / self.channels as f64;
            let wave = ((phase + along + across) * turn).sin();
            *x = (128.0 + 90.0 * wave + 15.0 * noise.signed()) as u8;
        }
        class as u16
    }
}
