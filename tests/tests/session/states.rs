//! States of sessions: a training that is stopped goes on to the same bytes, whatever happens to the power.

use super::{CNN, MLP, TRAINED, with_image};
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Network, Options};
use selvedge_core::ops;
use selvedge_core::session::{Error, Session, Slot, StateError, Storage};
use selvedge_core::train::Samples;
use selvedge_core::{Element, Serial, Sgd};
use selvedge_digits::{BATCH, EPOCHS, rate_at, train};
use selvedge_tests::hostile::mend_state;

const SEPARABLE: &str = include_str!("zoo/separable.json");

/// What training has changed, as bytes.
fn state(session: &Session<'_>) -> Vec<u8> {
    let mut bytes = vec![0; session.state_bytes()];
    assert_eq!(session.save(&mut bytes), Ok(bytes.len()));
    bytes
}

fn step<T: Element>(session: &mut Session<'_>, number: usize, sgd: &Sgd, accumulates: bool) {
    let mut labels = [0; BATCH];
    let x = session.input_mut::<T>(Role::Train, 0).unwrap();
    for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
        *label = train().read(number * BATCH + i, x).unwrap();
    }
    session
        .input_mut(Role::Train, 1)
        .unwrap()
        .copy_from_slice(&labels);
    if accumulates {
        session.accumulate(&Serial, BATCH).unwrap();
        if number % 3 == 2 {
            session.update(&Serial, sgd).unwrap();
        }
    } else {
        session.train_step(&Serial, BATCH, sgd).unwrap();
    }
}

fn goes_on<T: Element>(json: &str, accumulate: bool) {
    const STEPS: usize = 12;
    let sgd = Sgd {
        momentum: 200,
        ..Sgd::new(rate_at(0, EPOCHS).rate.halved(2))
    };
    let options = Options {
        momentum: true,
        accumulate,
        ..TRAINED
    };
    let bytes = Network::from_json(json)
        .unwrap()
        .compile(T::DTYPE, &options)
        .unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut whole = Session::new(image, &mut arena, ops::ALL).unwrap();
        (0..STEPS).for_each(|number| step::<T>(&mut whole, number, &sgd, accumulate));
        for stop in [0, 1, 7] {
            let mut arena = vec![0; image.arena_bytes()];
            let mut first = Session::new(image, &mut arena, ops::ALL).unwrap();
            first.set_frozen(1, true).unwrap();
            first.set_frozen(1, false).unwrap();
            (0..stop).for_each(|number| step::<T>(&mut first, number, &sgd, accumulate));
            let kept = state(&first);
            // Another session, which has learned something else since.
            let mut arena = vec![0; image.arena_bytes()];
            let mut second = Session::new(image, &mut arena, ops::ALL).unwrap();
            step::<T>(&mut second, 20, &sgd, accumulate);
            second.restore(&kept).unwrap();
            assert_eq!(state(&second), kept);
            (stop..STEPS).for_each(|number| step::<T>(&mut second, number, &sgd, accumulate));
            assert!(
                state(&second) == state(&whole),
                "{}: stopped at {stop}",
                T::DTYPE
            );
        }
    });
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bytes() {
    goes_on::<i8>(CNN, false);
    goes_on::<u16>(SEPARABLE, false);
    goes_on::<f32>(SEPARABLE, false);
    goes_on::<selvedge_kernels::bf16>(CNN, true);
    goes_on::<i8>(SEPARABLE, true);
}

/// A session of `image` after `steps` steps.
fn trained<'a>(image: &Image<'a>, arena: &'a mut [u8], steps: usize) -> Session<'a> {
    let mut session = Session::new(image, arena, ops::ALL).unwrap();
    for number in 0..steps {
        step::<i8>(&mut session, number, &rate_at(0, EPOCHS), false);
    }
    session
}

fn mlp() -> Vec<u8> {
    Network::from_json(MLP)
        .unwrap()
        .compile(i8::DTYPE, &TRAINED)
        .unwrap()
}

#[test]
fn what_is_no_state_of_this_image_changes_nothing() {
    with_image(&mlp(), |image| {
        let [mut one, mut two] = [(); 2].map(|()| vec![0; image.arena_bytes()]);
        let kept = state(&trained(image, &mut one, 2));
        let mut session = trained(image, &mut two, 3);
        let before = state(&session);
        for len in 0..kept.len() {
            let error = session.restore(&kept[..len]).unwrap_err();
            assert!(
                matches!(error, Error::State(StateError::Length { .. })),
                "{len}: {error}"
            );
        }
        for at in 0..kept.len() {
            let mut damaged = kept.clone();
            damaged[at] ^= 1 << (at % 8);
            assert!(
                matches!(session.restore(&damaged), Err(Error::State(_))),
                "byte {at}"
            );
        }
        // An exponent that no tensor has, in bytes whose checksum is right.
        let mut hostile = kept.clone();
        hostile[32..36].copy_from_slice(&40_000i32.to_le_bytes());
        mend_state(&mut hostile);
        let refused = Error::State(StateError::Exponent);
        assert_eq!(session.restore(&hostile), Err(refused));
        let longer = [&kept[..], &[0]].concat();
        assert!(session.restore(&longer).is_err());
        let (expected, got) = (kept.len(), kept.len() - 1);
        let mut small = vec![7; got];
        let room = Error::State(StateError::Room { expected, got });
        assert_eq!(session.save(&mut small), Err(room));
        assert!(small.iter().all(|&byte| byte == 7));
        assert_eq!(state(&session), before);
        session.restore(&kept).unwrap();
        assert_eq!(state(&session), kept);
    });
    // Of equal length, and still another image's.
    let other = Options { seed: 2, ..TRAINED };
    let other = Network::from_json(MLP)
        .unwrap()
        .compile(i8::DTYPE, &other)
        .unwrap();
    with_image(&mlp(), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let kept = state(&trained(image, &mut arena, 1));
        with_image(&other, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = trained(image, &mut arena, 0);
            let refused = Error::State(StateError::Image);
            assert_eq!(session.restore(&kept), Err(refused));
        });
    });
}

/// Two slots whose power goes after so many bytes were written or erased.
#[derive(Clone)]
struct Ram {
    slots: [Vec<u8>; 2],
    power: usize,
}

impl Ram {
    fn new(capacity: usize) -> Self {
        let slot = vec![0xFF; capacity];
        Self {
            slots: [slot.clone(), slot],
            power: usize::MAX,
        }
    }

    fn put(&mut self, slot: Slot, at: usize, byte: u8) -> Result<(), ()> {
        self.power = self.power.checked_sub(1).ok_or(())?;
        self.slots[slot as usize][at] = byte;
        Ok(())
    }
}

impl Storage for Ram {
    type Error = ();

    fn capacity(&self) -> usize {
        self.slots[0].len()
    }

    fn read(&mut self, slot: Slot, offset: usize, to: &mut [u8]) -> Result<(), ()> {
        to.copy_from_slice(&self.slots[slot as usize][offset..][..to.len()]);
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), ()> {
        (0..self.capacity()).try_for_each(|at| self.put(slot, at, 0xFF))
    }

    fn write(&mut self, slot: Slot, offset: usize, from: &[u8]) -> Result<(), ()> {
        let mut bytes = (offset..).zip(from);
        bytes.try_for_each(|(at, &byte)| self.put(slot, at, byte))
    }

    fn flush(&mut self, _: Slot) -> Result<(), ()> {
        Ok(())
    }
}

#[test]
fn without_power_at_any_byte_a_whole_state_is_left() {
    with_image(&mlp(), |image| {
        let mut arenas = [(); 4].map(|()| vec![0; image.arena_bytes()]);
        let [first, second, third, reader] = &mut arenas;
        let sessions = [
            trained(image, first, 1),
            trained(image, second, 2),
            trained(image, third, 3),
        ];
        let states = sessions.each_ref().map(state);
        let mut reader = trained(image, reader, 0);

        let needed = states[0].len() + 16;
        let mut small = Ram::new(needed - 1);
        let room = StateError::Room {
            expected: needed,
            got: needed - 1,
        };
        assert_eq!(sessions[0].save_to(&mut small), Err(Error::State(room)));
        assert!(small.slots.concat().iter().all(|&byte| byte == 0xFF));

        let mut storage = Ram::new(needed);
        let empty = Err(Error::State(StateError::Empty));
        assert_eq!(reader.load_from(&mut storage), empty);
        let mut before: Option<usize> = None;
        for (next, session) in sessions.iter().enumerate() {
            let mut done = storage.clone();
            session.save_to(&mut done).unwrap();
            let (mut old, mut new) = (0, 0);
            let all = 2 * needed; // erased, then written
            for power in 0..=all {
                let mut cut = storage.clone();
                cut.power = power;
                let saved = session.save_to(&mut cut);
                assert_eq!(saved.is_ok(), power >= all);
                cut.power = usize::MAX;
                match (reader.load_from(&mut cut), before) {
                    (Ok(()), _) if state(&reader) == states[next] => new += 1,
                    (Ok(()), Some(before)) => {
                        assert_eq!(state(&reader), states[before], "byte {power}");
                        old += 1;
                    }
                    (refused, None) => {
                        assert_eq!(refused, empty);
                        old += 1;
                    }
                    (refused, _) => panic!("byte {power}: {refused:?}"),
                }
            }
            assert!(old > needed && new > 0, "{old} old, {new} new");
            (storage, before) = (done, Some(next));
        }
    });
}
