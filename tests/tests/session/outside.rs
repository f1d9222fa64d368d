//! Weights that the caller has: the same bytes as in the image, read where they lie.

use super::{CNN, TRAINED, with_image};
use selvedge_core::image::{Error as ImageError, Image, Role};
use selvedge_core::network::{Dense, Network, Options};
use selvedge_core::ops;
use selvedge_core::session::{Error, Session, StateError};
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
    let (bytes, weights) = network.compile_outside(T::DTYPE, &options, None).unwrap();
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
        .compile_outside(DType::F32, &Options::default(), None)
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

/// What has been trained goes outside as well: the bytes of the session.
#[test]
fn trained_weights_go_outside() {
    let network = Network::from_json(CNN).unwrap();
    let bytes = network.compile(DType::I8, &TRAINED).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let expected = used::<i8>(&mut session, true);
        let only_run = Options {
            train: false,
            ..TRAINED
        };
        let (bytes, weights) = network
            .compile_outside(DType::I8, &only_run, Some(&session))
            .unwrap();
        let file = File::new(&weights, 2);
        let slices = file.slices();
        with_image(&bytes, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::with_weights(image, &mut arena, ops::ALL, &slices).unwrap();
            assert_eq!(used::<i8>(&mut session, false).0, expected.0);
        });
    });
}

/// The bytes of `image` with those of its first parameter, `from`, being `to`.
fn replaced(image: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = image.windows(from.len()).position(|bytes| bytes == from);
    let mut image = image.to_vec();
    image[at.unwrap()..][..to.len()].copy_from_slice(to);
    image
}

/// The bits of an element.
fn u64_of<T: Element>(element: T) -> u64 {
    let mut bits = [0; 8];
    element.le_bytes(|bytes| bits[..bytes.len()].copy_from_slice(bytes));
    u64::from_le_bytes(bits)
}

/// The element that has these bits, the first of them.
fn of_u64<T: Element>(bits: u64) -> T {
    bytemuck::pod_read_unaligned(&bits.to_le_bytes()[..size_of::<T>()])
}

/// Elements beyond the magnitude of their type, whose sums overflow, are refused wherever they come from.
fn is_refused<T: Element>() {
    let bits = T::MAGNITUDE_BITS;
    let dtype = T::DTYPE;
    let network = Network::new([3]).layer("head", Dense::new(2));
    let options = Options {
        train: true,
        ..Options::default()
    };
    // The next number behind the largest, either way, whose bits are those of zero but for one, or for all above it.
    let zero = u64_of(T::ZERO);
    let beyond = [1 << bits, (1u64 << bits).wrapping_neg()].map(|q| of_u64::<T>(q ^ zero));
    let stored = |element: T| {
        let mut bytes = Vec::new();
        element.le_bytes(|of| bytes.extend_from_slice(of));
        bytes
    };
    let magnitude = |index| Error::Magnitude { index, dtype };
    let (bytes, weights) = network.compile_outside(dtype, &options, None).unwrap();
    let inside = network.compile(dtype, &options).unwrap();
    let first = &weights[0];
    for element in beyond {
        let element = stored(element);
        // In the image.
        let mut damaged = replaced(&inside, first, &element);
        selvedge_tests::hostile::mend(&mut damaged);
        with_image(&damaged, |image| {
            assert_eq!(refused(image, &[]), magnitude(0))
        });
        // Outside.
        let mut large = first.clone();
        large[..element.len()].copy_from_slice(&element);
        let file = File::new(&[large, weights[1].clone()], 8);
        with_image(&bytes, |image| {
            assert_eq!(refused(image, &file.slices()), magnitude(0))
        });
        // In a state.
        with_image(&inside, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let mut state = vec![0; session.state_bytes()];
            session.save(&mut state).unwrap();
            let mut state = replaced(&state, first, &element);
            selvedge_tests::hostile::mend_state(&mut state);
            let expected = Err(Error::State(StateError::Magnitude));
            assert_eq!(session.restore(&state), expected);
        });
    }
    with_image(&inside, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        for element in beyond {
            let elements = [T::ZERO, T::ZERO, element, T::ZERO, T::ZERO, T::ZERO];
            assert_eq!(session.set_parameter(0, &elements, 0), Err(magnitude(0)));
            let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
            x.copy_from_slice(&[T::ZERO, T::ZERO, element]);
            assert_eq!(session.run(&Serial, 1), Err(magnitude(0)));
            session.input_mut::<T>(Role::Infer, 0).unwrap()[2] = T::ZERO;
            session.run(&Serial, 1).unwrap();
        }
        let largest = T::from_f64(2f64.powi(bits as i32) - 1.0);
        session.set_parameter(0, &[largest; 6], 0).unwrap();
    });
}

#[test]
fn elements_beyond_their_magnitude_are_refused() {
    is_refused::<i32>();
    is_refused::<u32>();
    is_refused::<i64>();
    is_refused::<u64>();
}
