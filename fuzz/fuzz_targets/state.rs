//! Bytes over the state of the demo's network, with a checksum that is right: restored, run, trained.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_core::DType;
use selvedge_tests::hostile::{compiled, mend_state, state, state_of, trained};
use std::sync::OnceLock;

/// The image, and a state of it.
static MODEL: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let (image, good) = MODEL.get_or_init(|| {
        let image = compiled(
            include_str!("../../digits/networks/cnn.json"),
            DType::I8,
            &trained(),
        );
        let state = state_of(&image);
        (image, state)
    });
    let mut hostile = good.clone();
    // Behind the bytes that say what it is a state of.
    for (to, &from) in hostile.iter_mut().skip(20).zip(bytes) {
        *to = from;
    }
    mend_state(&mut hostile);
    let _ = state(image, &hostile);
});
