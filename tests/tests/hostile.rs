//! What a fuzzer does, for a bounded time and without one: images, states and descriptions that are nearly right.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

use selvedge_core::DType;
use selvedge_core::network::{Network, Options};
use selvedge_tests::hostile::{
    self, change, change_description, compiled, mend, mend_state, sections, state_of, trained,
};
use selvedge_tests::noise::Noise;
use serde_json::Value;
use std::time::{Duration, Instant};

macro_rules! zoo {
    ($($name:literal)*) => {
        [$(include_str!(concat!("session/zoo/", $name, ".json"))),*]
    };
}

/// Networks that together have every layer.
const ZOO: [&str; 17] = zoo!(
    "audio" "clusters" "decoder" "experts" "hourglass" "lenet" "mobile" "moves" "parts" "perceptron" "residual" "rows"
    "separable" "shares" "signal" "speller" "volume"
);
const DTYPES: [DType; 5] = [DType::I8, DType::U16, DType::I32, DType::Bf16, DType::F32];

/// Several outputs and losses.
const HEADS: &str = r#"{
    "input": [6],
    "layers": [
        {"name": "trunk", "type": "dense", "outputs": 5, "activation": "relu"},
        {"name": "aux", "type": "head", "loss": "squared", "weight": -2,
         "layers": [{"name": "two", "type": "dense", "outputs": 2}]},
        {"name": "seen", "type": "head", "layers": []},
        {"name": "head", "type": "dense", "outputs": 3}
    ]
}"#;
/// Layers that go over the positions of a sequence.
const SEQUENCE: &str = r#"{
    "input": [1, 6],
    "layers": [
        {"name": "attention", "type": "attention", "heads": 2, "size": 4, "sight": "causal", "rotary": {}, "cache": 5},
        {"name": "lstm", "type": "lstm", "units": 4, "steps": "all", "carried": true},
        {"name": "head", "type": "dense", "outputs": 3}
    ]
}"#;

/// The type of a network that has layers of one type only.
fn of(json: &str) -> Option<DType> {
    match (json.contains("deformable"), json.contains("mixed")) {
        (true, _) => Some(DType::F32),
        (_, true) => Some(DType::U16),
        _ => None,
    }
}

/// Says which try it was, if that panics.
struct Try(&'static str, u32);

impl Drop for Try {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: seed {}", self.0, self.1);
        }
    }
}

/// Tries seeds from `first` on until `is_over` says so; returns how many were taken as good.
fn try_all(
    name: &'static str,
    is_over: &dyn Fn(u32) -> bool,
    attempt: impl Fn(&mut Noise) -> bool,
) {
    let mut good = 0;
    let seeds = (1u32..).take_while(|&seed| !is_over(seed));
    let tries = seeds.inspect(|&seed| {
        let _named = Try(name, seed);
        good += u32::from(attempt(&mut Noise::new(seed)));
    });
    let tries = tries.count();
    println!("{name}: {tries} tries, {good} of them good");
    // A change that is always found, or never, tries nothing.
    assert!(good > 0 && (good as usize) < tries, "{good} of {tries}");
}

fn images(is_over: &dyn Fn(u32) -> bool) {
    let mut all: Vec<Vec<u8>> = (ZOO.iter().zip(DTYPES.iter().cycle()))
        .map(|(json, &dtype)| compiled(json, of(json).unwrap_or(dtype), &trained()))
        .collect();
    let sequence = Options {
        sequence: true,
        ..trained()
    };
    for dtype in DTYPES {
        all.push(compiled(HEADS, dtype, &trained()));
        all.push(compiled(SEQUENCE, dtype, &sequence));
        let network = Network::from_json(HEADS).unwrap();
        let (image, _) = network.compile_outside(dtype, &trained(), None).unwrap();
        all.push(image);
    }
    try_all("images", is_over, |noise| {
        let mut bytes = all[noise.below(all.len())].clone();
        // All but the weights, any of which are weights.
        let mut places = sections(&bytes);
        places.remove(1);
        places.retain(|place| !place.is_empty());
        places.push(8..32 + 16 * (places.len() + 1));
        change(&mut bytes, &places, noise);
        mend(&mut bytes);
        hostile::image(&bytes).is_ok()
    });
}

fn states(is_over: &dyn Fn(u32) -> bool) {
    let digits = [include_str!("../../digits/networks/cnn.json"), ZOO[12]];
    let model = |json, dtype| {
        let image = compiled(json, dtype, &trained());
        let state = state_of(&image);
        (image, state)
    };
    let types = [DType::I8, DType::U16, DType::I32, DType::F32];
    let all = types.map(|dtype| digits.map(|json| model(json, dtype)));
    try_all("states", is_over, |noise| {
        let (image, state) = &all[noise.below(types.len())][noise.below(2)];
        let mut bytes = state.clone();
        let all = 8..bytes.len();
        // What comes before parameters is small, and says more.
        change(&mut bytes, &[8..200, all], noise);
        mend_state(&mut bytes);
        hostile::state(image, &bytes).is_ok()
    });
}

fn descriptions(is_over: &dyn Fn(u32) -> bool) {
    let all: Vec<Value> = ZOO
        .iter()
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    try_all("descriptions", is_over, |noise| {
        let mut value = all[noise.below(all.len())].clone();
        for _ in 0..=noise.below(3) {
            change_description(&mut value, noise);
        }
        let dtype = DTYPES[noise.below(DTYPES.len())];
        hostile::description(value.to_string().as_bytes(), dtype).is_ok()
    });
}

#[test]
fn images_that_are_nearly_right_do_not_panic() {
    images(&|seed| seed > 300);
}

#[test]
fn states_that_are_nearly_right_do_not_panic() {
    states(&|seed| seed > 300);
}

#[test]
fn descriptions_that_are_nearly_right_do_not_panic() {
    descriptions(&|seed| seed > 300);
}

/// `cargo xtask test` runs it; `HOSTILE_SECONDS` says for how long.
#[test]
#[ignore = "takes its time"]
fn for_some_seconds() {
    let seconds = std::env::var("HOSTILE_SECONDS").map_or(Ok(5), |text| text.parse());
    let seconds = seconds.unwrap_or_else(|error| panic!("HOSTILE_SECONDS: {error}"));
    std::thread::scope(|scope| {
        for run in [images, states, descriptions] {
            scope.spawn(move || {
                let end = Instant::now() + Duration::from_secs(seconds);
                run(&|_| Instant::now() > end);
            });
        }
    });
}

#[test]
fn what_is_right_is_taken() {
    for json in ZOO {
        let dtype = of(json).unwrap_or(DType::I8);
        assert_eq!(hostile::image(&compiled(json, dtype, &trained())), Ok(()));
        assert_eq!(hostile::description(json.as_bytes(), dtype), Ok(()));
        // A network that is compiled to be run alone has no program to train.
        let error = hostile::image(&compiled(json, dtype, &Options::default())).unwrap_err();
        assert_eq!(error, "the image has no program `train`");
    }
}
