//! Lines `key = value`, which `cargo xtask firmware` reads. Written by hand: `core::fmt` would
//! cost some 5 KB of flash.

use crate::board;

/// A text.
pub fn text(key: &str, value: &str) {
    #[cfg(feature = "defmt")]
    defmt::println!("{=str} = {=str}", key, value);
    #[cfg(not(feature = "defmt"))]
    line(key, value.as_bytes());
}

/// A number.
pub fn number(key: &str, value: u32) {
    let mut digits = [0; 10];
    let mut rest = value;
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = at;
        if rest == 0 {
            break;
        }
    }
    bytes(key, digits.get(start..).unwrap_or_default());
}

/// Bytes in hexadecimal.
pub fn hex(key: &str, value: &[u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [[0; 2]; 32];
    for (pair, byte) in out.iter_mut().zip(value) {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
    bytes(key, out.as_flattened());
}

fn bytes(key: &str, value: &[u8]) {
    #[cfg(feature = "defmt")]
    text(key, core::str::from_utf8(value).unwrap_or_default());
    #[cfg(not(feature = "defmt"))]
    line(key, value);
}

#[cfg(not(feature = "defmt"))]
fn line(key: &str, value: &[u8]) {
    board::write(key.as_bytes());
    board::write(b" = ");
    board::write(value);
    board::write(b"\n");
}

/// Ends the run: after a panic or a refused step.
pub fn fail(why: &str) -> ! {
    text("error", why);
    board::exit(1)
}
