//! Weights that the caller has: the same bytes as in the image, read where they lie.

use super::{CNN, TRAINED, with_image};
use selvedge_core::image::{Error as ImageError, Image, Role};
use selvedge_core::network::{Dense, Network, Options};
use selvedge_core::ops;
use selvedge_core::session::{Error, Session};
use selvedge_core::train::Samples;
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, rate_at, train};
use selvedge_kernels::{DType, bf16};

/// The slices in one file, each at the next address that its elements have and no other.
struct File {
    bytes: Vec<u64>,
    places: Vec<std::ops::Range<usize>>,
}

impl File {
    fn new(weights: &[Vec<u8>], bytes_of_element: usize) -> Self {
        let (mut all, mut places) = (vec![0u8; bytes_of_element], Vec::new());
        for slice in weights {
            all.resize(all.len().next_multiple_of(8) + bytes_of_element, 0);
            places.push(all.len()..all.len() + slice.len());
            all.extend_from_slice(slice);
        }
        all.resize(all.len().next_multiple_of(8), 0);
        let bytes = all
            .chunks(8)
            .map(|of| u64::from_ne_bytes(of.try_into().unwrap()));
        Self {
            bytes: bytes.collect(),
            places,
        }
    }

    fn slices(&self) -> Vec<&[u8]> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.bytes);
        self.places
            .iter()
            .map(|place| &bytes[place.clone()])
            .collect()
    }
}

/// Outputs of a run, and the parameters after three steps if it trains.
fn used<T: Element>(session: &mut Session<'_>, trains: bool) -> (Vec<T::Head>, String) {
    for step in 0..if trains { 3 } else { 0 } {
        let x = session.input_mut::<T>(Role::Train, 0).unwrap();
        let samples = x.chunks_mut(64).enumerate();
        let labels: Vec<u16> = samples
            .map(|(i, x)| train().read(step * BATCH + i, x).unwrap())
            .collect();
        session
            .input_mut(Role::Train, 1)
            .unwrap()
            .copy_from_slice(&labels);
        session.train_step(&Serial, BATCH, &rate_at(0, 1)).unwrap();
    }
    let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
    for (i, x) in x.chunks_mut(64).enumerate() {
        train().read(i, x).unwrap();
    }
    session.run(&Serial, BATCH).unwrap();
    let y = session.output::<T::Head>(0).unwrap().data.to_vec();
    (y, session.fingerprint().unwrap().to_string())
}

fn is_the_same<T: Element>(trains: bool, frozen: bool) {
    let mut network = Network::from_json(CNN).unwrap();
    network.layers[0].frozen = frozen;
    let options = Options {
        train: trains,
        ..TRAINED
    };
    let whole = network.compile(T::DTYPE, &options).unwrap();
    let inside = with_image(&whole, |image| {
        assert_eq!(image.outside().len(), 0);
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        used::<T>(&mut session, trains)
    });
    let (bytes, weights) = network.compile_outside(T::DTYPE, &options).unwrap();
    let total: usize = weights.iter().map(Vec::len).sum();
    // What zeros repeat costs nothing inside either.
    assert!(
        bytes.len() < whole.len() - total / 2,
        "{} of {}",
        bytes.len(),
        whole.len()
    );
    let file = File::new(&weights, size_of::<T::Bias>().max(size_of::<T>()));
    let slices = file.slices();
    with_image(&bytes, |image| {
        image.check_weights(&slices).unwrap();
        let sizes: Vec<usize> = image.outside().collect();
        assert_eq!(sizes, weights.iter().map(Vec::len).collect::<Vec<_>>());
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::with_weights(image, &mut arena, ops::ALL, &slices).unwrap();
        assert!(used::<T>(&mut session, trains) == inside, "{}", T::DTYPE);
        // A new beginning is one with the weights as they are outside.
        session.reset().unwrap();
        assert!(used::<T>(&mut session, trains) == inside, "{}", T::DTYPE);
    });
}

#[test]
fn weights_outside_are_those_inside() {
    for (trains, frozen) in [(false, false), (true, false), (true, true)] {
        is_the_same::<i8>(trains, frozen);
        is_the_same::<u16>(trains, frozen);
        is_the_same::<i32>(trains, frozen);
        is_the_same::<bf16>(trains, frozen);
        is_the_same::<f64>(trains, frozen);
    }
}

fn refused(image: &Image<'_>, weights: &[&[u8]]) -> Error {
    let mut arena = vec![0; image.arena_bytes()];
    Session::with_weights(image, &mut arena, ops::ALL, weights).unwrap_err()
}

#[test]
fn other_weights_are_refused() {
    let network = Network::new([3]).layer("head", Dense::new(2));
    let (bytes, weights) = network
        .compile_outside(DType::F32, &Options::default())
        .unwrap();
    let file = File::new(&weights, 4);
    let slices = file.slices();
    with_image(&bytes, |image| {
        let fault = |index, expected, got| ImageError::Weights {
            index,
            expected,
            got,
        };
        let short = [&slices[0][..20], slices[1]];
        let cases = [
            (&[][..], fault(0, 24, 0)),
            (&slices[..1], fault(1, 8, 0)),
            (&[slices[0], slices[1], slices[1]], fault(2, 0, 8)),
            (&short, fault(0, 24, 20)),
        ];
        for (given, expected) in cases {
            assert_eq!(image.check_weights(given), Err(expected));
            assert_eq!(refused(image, given), Error::Weights(expected));
        }
        let mut arena = vec![0; image.arena_bytes()];
        let without = Session::new(image, &mut arena, ops::ALL).unwrap_err();
        assert_eq!(without, Error::Weights(fault(0, 24, 0)));
        let mut changed = slices[1].to_vec();
        changed[3] ^= 1;
        let damaged = image.check_weights(&[slices[0], &changed]);
        assert_eq!(damaged, Err(ImageError::Damaged { index: 1 }));
        // Moved by a byte, no number of four can be read.
        let moved: &[u8] = bytemuck::cast_slice(&file.bytes);
        let at = moved.as_ptr().align_offset(4) + 1;
        let error = refused(image, &[slices[0], &moved[at..at + 8]]);
        assert_eq!(error, Error::Alignment { index: 1, bytes: 4 });
    });
}

/// Elements beyond the magnitude of their type, whose sums overflow, are refused wherever they come from.
#[test]
fn elements_beyond_their_magnitude_are_refused() {
    const TOO_LARGE: i32 = 1 << 24;
    let network = Network::new([3]).layer("head", Dense::new(2));
    let options = Options {
        train: true,
        ..Options::default()
    };
    let (bytes, weights) = network.compile_outside(DType::I32, &options).unwrap();
    let file = File::new(&weights, 4);
    let slices = file.slices();
    let dtype = DType::I32;
    with_image(&bytes, |image| {
        let mut large = slices[0].to_vec();
        large[..4].copy_from_slice(&TOO_LARGE.to_le_bytes());
        let large = File::new(&[large], 4);
        assert_eq!(
            refused(image, &[large.slices()[0], slices[1]]),
            Error::Malformed
        );
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::with_weights(image, &mut arena, ops::ALL, &slices).unwrap();
        let elements = [0, 0, 0, -TOO_LARGE, 0, 0];
        let expected = Err(Error::Magnitude { index: 0, dtype });
        assert_eq!(session.set_parameter(0, &elements, 0), expected);
        session
            .set_parameter(0, &elements.map(|q| q / 2), 0)
            .unwrap();
        let x = session.input_mut::<i32>(Role::Infer, 0).unwrap();
        x.copy_from_slice(&[TOO_LARGE - 1, 1 - TOO_LARGE, i32::MIN]);
        assert_eq!(
            session.run(&Serial, 1),
            Err(Error::Magnitude { index: 0, dtype })
        );
        session.input_mut::<i32>(Role::Infer, 0).unwrap()[2] = 5;
        session.run(&Serial, 1).unwrap();
    });
}
