//! States in files: whatever a loss of power leaves of the one that is written, a whole one is loaded.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

use selvedge::storage::FileStorage;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Dense, Network, Options};
use selvedge_core::session::{Error, Session, StateError};
use selvedge_core::{DType, Serial, ops};
use selvedge_digits::rate_at;
use std::fs;
use std::path::{Path, PathBuf};

/// An image of a small network, at an address that it may have.
fn with_image(then: impl FnOnce(&Image<'_>)) {
    let options = Options {
        train: true,
        ..Options::default()
    };
    let network = Network::new([2]).layer("head", Dense::new(2));
    let bytes = network.compile(DType::I8, &options).unwrap();
    let mut room = vec![0u128; bytes.len().div_ceil(16)];
    bytemuck::cast_slice_mut(&mut room)[..bytes.len()].copy_from_slice(&bytes);
    then(&Image::parse(bytemuck::cast_slice(&room)).unwrap());
}

/// One step more.
fn learn(session: &mut Session<'_>) {
    let x = session.input_mut::<i8>(Role::Train, 0).unwrap();
    x.copy_from_slice(&[90, -20]);
    session.input_mut::<u16>(Role::Train, 1).unwrap()[0] = 1;
    session.train_step(&Serial, 1, &rate_at(0, 1)).unwrap();
}

fn state(session: &Session<'_>) -> Vec<u8> {
    let mut state = vec![0; session.state_bytes()];
    session.save(&mut state).unwrap();
    state
}

fn slot(path: &Path, number: usize) -> PathBuf {
    path.with_extension(format!("state.{number}"))
}

#[test]
fn without_power_at_any_byte_a_whole_state_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.state");
    with_image(|image| {
        let [mut arena, mut other] = [(); 2].map(|()| vec![0; image.arena_bytes()]);
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut reader = Session::new(image, &mut other, ops::ALL).unwrap();
        let mut storage = FileStorage::open(&path).unwrap();
        let empty = Err(Error::State(StateError::Empty));
        assert_eq!(reader.load_from(&mut storage), empty);

        let mut before: Option<Vec<u8>> = None;
        for saved in 0..5 {
            learn(&mut session);
            session.save_to(&mut storage).unwrap();
            let after = state(&session);
            let written = slot(&path, saved % 2);
            let whole = fs::read(&written).unwrap();
            assert_eq!(whole.len(), 16 + after.len());
            // What a loss of power may leave: the file cut off, or the first bytes, which are written last, not there.
            let unsealed = [&[0; 16], &whole[16..]].concat();
            let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
            let partly = (0..16).map(|len| [&whole[..len], &unsealed[len..]].concat());
            for left in cut.chain(partly) {
                fs::write(&written, &left).unwrap();
                let mut storage = FileStorage::open(&path).unwrap();
                // Behind the end of a file are zeros: those of the state may be cut off.
                let mut padded = left;
                padded.resize(whole.len(), 0);
                let expected = match padded == whole {
                    true => Some(&after),
                    false => before.as_ref(),
                };
                let loaded = reader.load_from(&mut storage);
                match expected {
                    None => assert_eq!(loaded, empty),
                    Some(expected) => {
                        assert_eq!(loaded, Ok(()));
                        assert!(state(&reader) == *expected);
                    }
                }
            }
            fs::write(&written, &whole).unwrap();
            reader
                .load_from(&mut FileStorage::open(&path).unwrap())
                .unwrap();
            assert!(state(&reader) == after);
            before = Some(after);
        }
        // Two files, whatever was saved.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        // What was loaded goes on as what was saved.
        learn(&mut session);
        learn(&mut reader);
        assert!(state(&reader) == state(&session));
    });
}

#[test]
fn files_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = FileStorage::open(&folder.path().join("missing/model")).unwrap_err();
    assert!(error.to_string().contains("missing/model.0"), "{error}");
    fs::create_dir(folder.path().join("model.1")).unwrap();
    let error = FileStorage::open(&folder.path().join("model")).unwrap_err();
    assert!(error.to_string().contains("model.1"), "{error}");
}

/// A device that is full is one that refuses to be written.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_the_last_state_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    with_image(|image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut storage = FileStorage::open(&path).unwrap();
        session.save_to(&mut storage).unwrap();
        let before = state(&session);
        drop(storage);
        fs::remove_file(folder.path().join("model.1")).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("model.1")).unwrap();
        let mut storage = FileStorage::open(&path).unwrap();
        learn(&mut session);
        let failed = Err(Error::State(StateError::Storage));
        assert_eq!(session.save_to(&mut storage), failed);
        let failure = storage.take_failure().unwrap().to_string();
        assert!(failure.contains("model.1"), "{failure}");
        assert!(storage.take_failure().is_none());
        drop(storage);
        fs::remove_file(folder.path().join("model.1")).unwrap();
        session
            .load_from(&mut FileStorage::open(&path).unwrap())
            .unwrap();
        assert!(state(&session) == before);
    });
}
