//! What is no image, what does not fit, what is not linked.

use super::{CNN, MLP, compile, with_image};
use proptest::prelude::*;
use selvedge_core::Serial;
use selvedge_core::image::{Error as ImageError, Image, Role};
use selvedge_core::network::{Dense, Error as NetworkError, MaxPool2d, Network, Options};
use selvedge_core::ops::{self, Kind};
use selvedge_core::session::{Error, Session};
use selvedge_kernels::DType;

/// Parses bytes at an address that an image may have, and runs what is one.
fn attempt(bytes: &[u8]) -> Result<(), String> {
    let mut room = vec![0; bytes.len() + 16];
    let skipped = room.as_ptr().align_offset(16);
    let place = &mut room[skipped..skipped + bytes.len()];
    place.copy_from_slice(bytes);
    let image = Image::parse(place).map_err(|error| error.to_string())?;
    if image.arena_bytes() > 1 << 24 {
        return Err("too large for this test".to_owned());
    }
    let mut arena = vec![0; image.arena_bytes()];
    let mut session =
        Session::new(&image, &mut arena, ops::ALL).map_err(|error| error.to_string())?;
    session.run(&Serial, 1).map_err(|error| error.to_string())?;
    let sgd = selvedge_digits::rate_at(0, 1);
    (session.train_step(&Serial, 1, &sgd)).map_err(|error| error.to_string())
}

#[test]
fn a_truncated_image_is_refused_at_every_length() {
    let bytes = compile::<i8>(MLP);
    assert_eq!(attempt(&bytes), Ok(()));
    for len in 0..bytes.len() {
        assert!(attempt(&bytes[..len]).is_err(), "{len} bytes were taken");
    }
}

#[test]
fn a_byte_that_has_changed_is_found() {
    let bytes = compile::<i8>(MLP);
    let table = 32 + 4 * 16;
    for at in (table..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        if damaged[at..].iter().zip(&bytes[at..]).any(|(a, b)| a != b) && attempt(&damaged).is_ok()
        {
            // Between sections lie bytes that nobody reads.
            let zeros = bytes[at] == 0;
            assert!(zeros, "byte {at} changed unseen");
        }
    }
}

#[test]
fn later_versions_are_named() {
    let mut bytes = compile::<i8>(MLP);
    bytes[8] = 9;
    let expected = ImageError::Version { got: 9, newest: 1 };
    assert_eq!(attempt(&bytes), Err(expected.to_string()));
}

#[test]
fn what_is_not_linked_is_named() {
    with_image(&compile::<i8>(CNN), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let error = Session::new(image, &mut arena, &[ops::dense::run::<i8>()]).unwrap_err();
        let expected = Error::Operator {
            kind: Kind::Conv as u16,
            dtype: DType::I8,
        };
        assert_eq!(error, expected);
        assert!(error.to_string().contains("conv"), "{error}");
    });
}

#[test]
fn a_small_arena_and_wrong_calls_are_refused() {
    with_image(&compile::<i8>(MLP), |image| {
        let expected = image.arena_bytes();
        let mut arena = vec![0; expected];
        let got = expected - 1;
        let error = Session::new(image, &mut arena[..got], ops::ALL).unwrap_err();
        assert_eq!(error, Error::Arena { expected, got });

        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        assert_eq!(session.output::<i16>(0).unwrap_err(), Error::NotRun);
        let expected = DType::I8;
        let got = DType::U8;
        let error = session.input_mut::<u8>(Role::Infer, 0).unwrap_err();
        assert_eq!(error, Error::DType { expected, got });
        let error = session.input_mut::<i8>(Role::Infer, 1).unwrap_err();
        assert_eq!(error, Error::Index { index: 1 });
        for got in [0, 9] {
            let error = session.run(&Serial, got).unwrap_err();
            assert_eq!(error, Error::Batch { capacity: 8, got });
        }
        // A label beyond the classes is the kernel's to refuse.
        session.input_mut::<u16>(Role::Train, 1).unwrap()[0] = 10;
        let before = session.fingerprint().unwrap();
        let sgd = selvedge_digits::rate_at(0, 1);
        let error = session.train_step(&Serial, 1, &sgd).unwrap_err();
        assert!(error.to_string().contains("label"), "{error}");
        assert_eq!(session.fingerprint().unwrap(), before);
    });
}

#[test]
fn descriptions_that_cannot_be_are_refused_by_path() {
    let network = Network::new([8])
        .layer("halve", MaxPool2d::default())
        .layer("head", Dense::new(2));
    let error = network.compile(DType::I8, &Options::default()).unwrap_err();
    let expected = NetworkError::Shape {
        path: "halve".to_owned(),
        expected: "rows, columns and channels".to_owned(),
        found: "[8]".to_owned(),
    };
    assert_eq!(error, expected);
    for (json, word) in [
        (
            r#"{"input": [2], "layers": [{"name": "a", "type": "dens"}]}"#,
            "dens",
        ),
        (
            r#"{"input": [2], "layers": [{"name": "a", "type": "dense"}]}"#,
            "outputs",
        ),
        (r#"{"input": [2]}"#, "layers"),
    ] {
        let error = Network::from_json(json).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

proptest! {
    /// With its checksums made right again, a damaged image is run: it may fail, it may not panic.
    #[test]
    fn hostile_images_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = compile::<i8>(CNN);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        mend(&mut bytes);
        let _ = attempt(&bytes);
    }
}

/// Makes the checksums of all sections right.
fn mend(bytes: &mut [u8]) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    for section in 0..4 {
        let entry = 32 + 16 * section;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (offset, len) = (word(entry + 4), word(entry + 8));
        if let Some(body) = offset.checked_add(len).and_then(|to| bytes.get(offset..to)) {
            let checksum = crc.checksum(body);
            bytes[entry + 12..entry + 16].copy_from_slice(&checksum.to_le_bytes());
        }
    }
}
