//! Bytes as an image, with checksums that are right: parsed, run, trained.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_tests::hostile::{image, mend};

fuzz_target!(|bytes: &[u8]| {
    let _ = image(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    let _ = image(&mended);
});
