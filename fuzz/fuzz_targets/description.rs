//! Text as the description of a network, in an integer type and in a float: compiled, run, trained.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_core::DType;
use selvedge_tests::hostile::description;

fuzz_target!(|text: &[u8]| {
    for dtype in [DType::I8, DType::F32] {
        let _ = description(text, dtype);
    }
});
