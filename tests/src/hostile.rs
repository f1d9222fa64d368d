//! Images, states and descriptions that somebody made to do harm: what a fuzzer's bytes are tried on (`fuzz/`), and what the
//! tests change to come close. All may be refused; nothing may panic, hang or take memory that nobody has granted.

use crate::noise::Noise;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Network, Options};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::{DType, Serial, Sgd};
use serde_json::Value;

/// Bytes of an image's header.
const HEADER: usize = 32;
/// The largest arena that is granted.
const MOST_BYTES: usize = 1 << 24;

/// To be trained two samples at a time.
#[must_use]
pub fn trained() -> Options {
    Options {
        samples: 2,
        train: true,
        momentum: true,
        ..Options::default()
    }
}

/// Plain descent.
const PLAIN: Sgd = selvedge_digits::rate_at(0, 1);
/// Descent that keeps velocities.
const WITH_MOMENTUM: Sgd = Sgd {
    momentum: 200,
    nesterov: true,
    ..PLAIN
};

/// Calls `then` with the image in `bytes`, at an address that an image may have.
fn parsed<R>(
    bytes: &[u8],
    then: impl FnOnce(&Image<'_>) -> Result<R, String>,
) -> Result<R, String> {
    let mut room = vec![0; bytes.len() + 16];
    let skipped = room.as_ptr().align_offset(16);
    let place = &mut room[skipped..skipped + bytes.len()];
    place.copy_from_slice(bytes);
    then(&Image::parse(place).map_err(|error| error.to_string())?)
}

/// Calls `then` with a session of the image in `bytes`.
fn with_session<R>(
    bytes: &[u8],
    then: impl FnOnce(&mut Session<'_>) -> Result<R, String>,
) -> Result<R, String> {
    parsed(bytes, |image| {
        if image.arena_bytes() > MOST_BYTES {
            return Err("too large for this test".to_owned());
        }
        let mut arena = vec![0; image.arena_bytes()];
        if image.outside().sum::<usize>() > MOST_BYTES {
            return Err("too many weights for this test".to_owned());
        }
        let outside: Vec<Vec<u8>> = image.outside().map(|len| vec![0; len + 16]).collect();
        let sizes = image.outside();
        let outside: Vec<&[u8]> = (outside.iter().zip(sizes))
            .map(|(room, len)| &room[room.as_ptr().align_offset(16)..][..len])
            .collect();
        let session = Session::with_weights(image, &mut arena, ops::ALL, &outside);
        then(&mut session.map_err(|error| error.to_string())?)
    })
}

/// Runs a session, and trains it.
fn exercise(session: &mut Session<'_>) -> Result<(), String> {
    let run = session.run(&Serial, 1);
    let trained = session.train_step(&Serial, 1, &PLAIN);
    let _ = session.train_step(&Serial, 1, &WITH_MOMENTUM); // which not each image has
    let mut state = vec![0; session.state_bytes()];
    let saved = session.save(&mut state).map(drop);
    let said = run.and(trained).and(saved);
    said.map_err(|error| error.to_string())
}

/// Parses bytes as an image, runs and trains what is one.
///
/// # Errors
/// What has refused, in words.
pub fn image(bytes: &[u8]) -> Result<(), String> {
    with_session(bytes, exercise)
}

/// Restores bytes as a state of the image in `of`, and goes on from there.
///
/// # Errors
/// What has refused, in words.
pub fn state(of: &[u8], bytes: &[u8]) -> Result<(), String> {
    with_session(of, |session| {
        session.restore(bytes).map_err(|error| error.to_string())?;
        exercise(session)
    })
}

/// Compiles text as the description of a network; what is one must be an image that a session takes.
///
/// # Errors
/// What has refused, in words.
///
/// # Panics
/// If a session does not take what was compiled.
pub fn description(text: &[u8], dtype: DType) -> Result<(), String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if !is_bounded(&value) {
        return Err("too large for this test".to_owned());
    }
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let network = Network::from_json(text).map_err(|error| error.to_string())?;
    let bytes = network.compile(dtype, &trained());
    let bytes = bytes.map_err(|error| error.to_string())?;
    parsed(&bytes, |image| {
        let arena_bytes = image.arena_bytes();
        if arena_bytes > MOST_BYTES {
            return Err("too large for this test".to_owned());
        }
        let mut arena = vec![0; arena_bytes];
        let session = Session::new(image, &mut arena, ops::ALL);
        exercise(&mut session.unwrap_or_else(|error| panic!("{text}: {error}")))
    })
    .map_err(|error| format!("compiled: {error}"))
}

/// Whether a network has few enough elements to be compiled in a moment: of numbers that nobody has memory for, it must
/// find out itself.
fn is_bounded(value: &Value) -> bool {
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) => !(25..1 << 40).contains(&number),
            None => true,
        },
        Value::Array(values) => values.len() < 32 && values.iter().all(is_bounded),
        Value::Object(entries) => entries.iter().all(|(key, value)| {
            // Thousandths size nothing.
            ["probability", "temperature", "leaky_relu"].contains(&key.as_str())
                || is_bounded(value)
        }),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Where the image's sections lie, as far as it says so.
#[must_use]
pub fn sections(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    entries(bytes)
        .map(|entry| {
            let (offset, len) = (word(bytes, entry + 4), word(bytes, entry + 8));
            offset..offset.saturating_add(len)
        })
        .collect()
}

/// Where the entries of the table begin that lie in the image.
fn entries(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let len = bytes.len();
    let count = bytes
        .get(10..12)
        .map_or(0, |count| u16::from_le_bytes([count[0], count[1]]));
    (0..usize::from(count))
        .map(|section| HEADER + 16 * section)
        .take_while(move |entry| entry + 16 <= len)
}

/// The number at this place; 0 behind the end.
fn word(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
}

/// Makes the checksums of all sections right, as far as they lie in the image, and that of the header.
pub fn mend(bytes: &mut [u8]) {
    let mut end = HEADER;
    for (entry, body) in entries(bytes).zip(sections(bytes)).collect::<Vec<_>>() {
        end = entry + 16;
        if let Some(body) = bytes.get(body) {
            let checksum = CRC.checksum(body);
            bytes[entry + 12..end].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    seal(bytes, end);
}

/// Makes the checksum of a state right.
pub fn mend_state(bytes: &mut [u8]) {
    let end = bytes.len();
    seal(bytes, end);
}

/// Images and states have the checksum of what follows, up to `end`, in bytes 4 to 7.
fn seal(bytes: &mut [u8], end: usize) {
    if let Some(checked) = bytes.get(8..end) {
        let checksum = CRC.checksum(checked);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
}

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Compiles a description that is known to be good.
#[must_use]
pub fn compiled(json: &str, dtype: DType, options: &Options) -> Vec<u8> {
    let network = Network::from_json(json).unwrap();
    network.compile(dtype, options).unwrap()
}

/// The state of a session of `image` that has learned something.
#[must_use]
pub fn state_of(image: &[u8]) -> Vec<u8> {
    let saved = with_session(image, |session| {
        let labels = session.input_mut::<u16>(Role::Train, 1);
        labels.unwrap().fill(1);
        session.train_step(&Serial, 2, &WITH_MOMENTUM).unwrap();
        let mut state = vec![0; session.state_bytes()];
        session.save(&mut state).unwrap();
        Ok(state)
    });
    saved.unwrap()
}

/// Changes some bytes of `places`, one after the other: a bit, a byte, a word that is small or as large as there are.
pub fn change(bytes: &mut [u8], places: &[std::ops::Range<usize>], noise: &mut Noise) {
    let all: usize = places.iter().map(ExactSizeIterator::len).sum();
    for _ in 0..=noise.below(6) {
        let mut at = noise.below(all.max(1));
        let mut place = 0;
        for range in places {
            place = range.start + at;
            if at < range.len() {
                break;
            }
            at -= range.len();
        }
        let word = [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, noise.word()][noise.below(7)];
        let new = word.to_le_bytes();
        let new = match noise.below(4) {
            0 => &[bytes.get(place).copied().unwrap_or(0) ^ 1 << noise.below(8)][..],
            1 => &new[..1],
            2 => &new[..2],
            _ => &new,
        };
        for (to, &from) in bytes.iter_mut().skip(place).zip(new) {
            *to = from;
        }
    }
}

/// Changes one thing in a description: a number, a word, an entry that is gone or there twice.
pub fn change_description(value: &mut Value, noise: &mut Noise) {
    let mut left = noise.below(count(value));
    change_at(value, &mut left, noise);
}

/// Parts of a description, it itself being one.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the part that comes when `left` others have come.
fn change_at(value: &mut Value, left: &mut usize, noise: &mut Noise) {
    if *left == 0 {
        *left = usize::MAX; // done
        return replace(value, noise);
    }
    *left -= 1;
    let parts: Vec<&mut Value> = match value {
        Value::Array(values) => values.iter_mut().collect(),
        Value::Object(entries) => entries.values_mut().collect(),
        _ => return,
    };
    for part in parts {
        if *left == usize::MAX {
            return;
        }
        change_at(part, left, noise);
    }
}

fn replace(value: &mut Value, noise: &mut Noise) {
    const NUMBERS: [u64; 12] = [
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        12,
        1 << 40,
        1 << 62,
        (1 << 63) + 1,
        u64::MAX,
    ];
    const WORDS: [&str; 12] = [
        "dense",
        "conv",
        "flatten",
        "lstm",
        "attention",
        "softmax",
        "relu",
        "same",
        "u8",
        "",
        "a.b",
        "input",
    ];
    match value {
        Value::Number(number) => *number = NUMBERS[noise.below(NUMBERS.len())].into(),
        Value::String(text) => WORDS[noise.below(WORDS.len())].clone_into(text),
        Value::Bool(is) => *is = !*is,
        Value::Array(values) if !values.is_empty() => {
            let at = noise.below(values.len());
            match noise.below(4) {
                0 => drop(values.remove(at)),
                1 => values.insert(at, values[at].clone()),
                2 => values.swap(0, at),
                _ => values.push(NUMBERS[noise.below(8)].into()),
            }
        }
        Value::Object(entries) if !entries.is_empty() => {
            let keys: Vec<String> = entries.keys().cloned().collect();
            let key = &keys[noise.below(keys.len())];
            let taken = entries.remove(key);
            if let (Some(taken), true) = (taken, noise.below(2) == 0) {
                entries.insert(keys[noise.below(keys.len())].clone(), taken);
            }
        }
        other => *other = NUMBERS[noise.below(8)].into(),
    }
}
