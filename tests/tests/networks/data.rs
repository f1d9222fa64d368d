//! What the networks learn: real digits in several sizes, and generated signals.

use selvedge_tests::noise::Noise;

/// Samples of 8-bit values, with a class each.
pub(crate) trait Data {
    /// Writes sample `index` of `part`, and returns its class.
    fn read(&self, part: Part, index: usize, x: &mut [u8]) -> u16;
}

/// Which samples.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// Those that are trained.
    Train,
    /// Those that are held out.
    Test,
}

/// Digit `index` of a part, which starts over at its end: label, and ink from 0 to 240.
fn digit(part: Part, index: usize) -> (u16, [u8; 64]) {
    let (digits, len) = match part {
        Part::Train => (selvedge_digits::train(), selvedge_digits::TRAIN),
        Part::Test => (selvedge_digits::test(), selvedge_digits::TEST),
    };
    let (label, pixels) = digits.get(index % len).unwrap();
    (label.into(), pixels.map(|ink| ink * 15))
}

/// Digits as images of `side` rows and columns, in `channels` shades; the class is the digit.
pub(crate) struct Images {
    pub(crate) side: usize,
    pub(crate) channels: usize,
}

impl Data for Images {
    fn read(&self, part: Part, index: usize, x: &mut [u8]) -> u16 {
        let (label, digit) = digit(part, index);
        let scale = self.side / 8;
        for (at, x) in x.iter_mut().enumerate() {
            let (pixel, channel) = (at / self.channels, at % self.channels);
            let (row, column) = (pixel / self.side, pixel % self.side);
            let ink = digit[(row / scale) * 8 + column / scale];
            *x = match channel {
                0 => ink,
                1 => 240 - ink,
                _ => ink / 2,
            };
        }
        label
    }
}

/// A digit that fades in and out over ten frames: what an autoencoder with a narrow code can learn.
pub(crate) struct Frames;

impl Data for Frames {
    fn read(&self, part: Part, index: usize, x: &mut [u8]) -> u16 {
        let (label, digit) = digit(part, index);
        for (frame, brightness) in x.chunks_mut(64).zip([3, 5, 7, 9, 10, 10, 9, 7, 5, 3]) {
            for (x, &ink) in frame.iter_mut().zip(&digit) {
                *x = (u16::from(ink) * brightness / 10) as u8;
            }
        }
        label
    }
}

/// Waves over `channels`, with noise and a phase of chance; the class is how fast they move in time and across
/// channels.
pub(crate) struct Waves {
    pub(crate) channels: usize,
    pub(crate) classes: usize,
}

impl Data for Waves {
    fn read(&self, part: Part, index: usize, x: &mut [u8]) -> u16 {
        let mut noise = of_sample(part, index);
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

/// Stripes of three colours with noise, whose width and phase are chance; the class is whether they run across rows
/// or columns.
pub(crate) struct Stripes {
    pub(crate) side: usize,
}

impl Data for Stripes {
    fn read(&self, part: Part, index: usize, x: &mut [u8]) -> u16 {
        let mut noise = of_sample(part, index);
        let class = noise.below(2);
        let (phase, turn) = (noise.signed(), std::f64::consts::TAU);
        let count = 3.0 + noise.below(6) as f64;
        for (at, x) in x.iter_mut().enumerate() {
            let (pixel, channel) = (at / 3, at % 3);
            let along = [pixel / self.side, pixel % self.side][class] as f64 / self.side as f64;
            let wave = ((phase + count * along + channel as f64 / 3.0) * turn).sin();
            *x = (128.0 + 70.0 * wave + 50.0 * noise.signed()) as u8;
        }
        class as u16
    }
}

/// The noise of a sample that is generated.
fn of_sample(part: Part, index: usize) -> Noise {
    let seed = index as u32 + 1;
    Noise::new(match part {
        Part::Train => seed,
        Part::Test => !seed,
    })
}
