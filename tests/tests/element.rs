//! Element types: conversions, storage, and ReLU on stored values, for each of the twelve.

use selvedge_kernels::{DType, Element, activation, bf16, f16};

/// Calls `$check::<T>()` for every element type.
macro_rules! for_each_type {
    ($check:ident) => {
        $check::<i8>();
        $check::<u8>();
        $check::<i16>();
        $check::<u16>();
        $check::<i32>();
        $check::<u32>();
        $check::<i64>();
        $check::<u64>();
        $check::<f16>();
        $check::<bf16>();
        $check::<f32>();
        $check::<f64>();
    };
}

/// The largest number of a type that whole numbers are exact up to.
fn largest<T: Element>() -> f64 {
    match T::DTYPE {
        DType::F16 => 2048.0,
        DType::Bf16 => 256.0,
        DType::F32 => 16_777_216.0,
        DType::F64 => 9_007_199_254_740_992.0,
        _ => ((1u64 << T::MAGNITUDE_BITS) - 1) as f64,
    }
}

fn bytes<T: Element>(x: T) -> Vec<u8> {
    let mut bytes = Vec::new();
    x.le_bytes(|part| bytes.extend_from_slice(part));
    bytes
}

fn whole_numbers_survive<T: Element>() {
    let name = T::DTYPE.name();
    let largest = largest::<T>();
    for x in [
        0.0,
        1.0,
        -1.0,
        100.0,
        -127.0,
        127.0,
        largest,
        -largest,
        largest - 1.0,
    ] {
        assert_eq!(T::from_f64(x).to_f64(), x, "{name}");
    }
    assert_eq!(T::from_f64(0.0), T::ZERO, "{name}");
    assert_eq!(bytes(T::ZERO).len(), T::DTYPE.bytes(), "{name}");
}

#[test]
fn whole_numbers_survive_in_every_type() {
    for_each_type!(whole_numbers_survive);
}

fn integers_round_and_saturate<T: Element>() {
    if !T::DTYPE.is_integer() {
        return;
    }
    let name = T::DTYPE.name();
    let largest = largest::<T>();
    for (x, want) in [
        (0.5, 0.0),
        (1.5, 2.0),
        (-0.5, 0.0),
        (-2.5, -2.0),
        (2.51, 3.0),
        (1e300, largest),
        (-1e300, -largest),
        (f64::INFINITY, largest),
        (f64::NAN, 0.0),
    ] {
        assert_eq!(T::from_f64(x).to_f64(), want, "{name}: {x}");
    }
}

#[test]
fn integers_round_to_even_and_saturate() {
    for_each_type!(integers_round_and_saturate);
}

fn pixels_are_256ths<T: Element>() {
    for pixel in 0..=255u8 {
        let got = T::from_pixel(pixel).to_f64() * f64::from(T::PIXEL_EXPONENT).exp2();
        // 8-bit types drop the lowest bit.
        let want = match T::DTYPE {
            DType::I8 | DType::U8 => f64::from(pixel & !1),
            _ => f64::from(pixel),
        };
        assert_eq!(got, want / 256.0, "{}: {pixel}", T::DTYPE.name());
    }
}

#[test]
fn pixels_are_256ths_in_every_type() {
    for_each_type!(pixels_are_256ths);
}

/// Unsigned types are stored in offset binary, everything little-endian.
#[test]
fn bytes_are_those_in_memory() {
    assert_eq!(bytes(i8::from_f64(-2.0)), [0xFE]);
    assert_eq!(bytes(u8::from_f64(-2.0)), [0x7E]);
    assert_eq!(bytes(i16::from_f64(258.0)), [0x02, 0x01]);
    assert_eq!(bytes(u16::from_f64(258.0)), [0x02, 0x81]);
    assert_eq!(bytes(i32::from_f64(-1.0)), [0xFF; 4]);
    assert_eq!(bytes(u32::from_f64(-1.0)), [0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(bytes(i64::from_f64(3.0)), [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes(u64::from_f64(3.0)), [3, 0, 0, 0, 0, 0, 0, 0x80]);
    assert_eq!(bytes(f16::from_f64(1.0)), [0x00, 0x3C]);
    assert_eq!(bytes(bf16::from_f64(-2.0)), [0x00, 0xC0]);
    assert_eq!(bytes(f32::from_f64(1.0)), [0, 0, 0x80, 0x3F]);
    assert_eq!(bytes(f64::from_f64(-2.0)), [0, 0, 0, 0, 0, 0, 0, 0xC0]);
}

fn relu_keeps_positive_values<T: Element>() {
    let name = T::DTYPE.name();
    let largest = largest::<T>();
    let x = [-largest, -1.0, 0.0, 1.0, largest];
    let mut y = x.map(T::from_f64);
    activation::relu(&mut y);
    assert_eq!(y.map(|y| y.to_f64()), x.map(|x| x.max(0.0)), "{name}: relu");
    let mut dy = [3.0, -4.0, 5.0, -6.0, 7.0].map(T::from_f64);
    let got = activation::relu_backward(&y, &mut dy);
    assert_eq!(got, Ok(()), "{name}");
    let want = [0.0, 0.0, 0.0, -6.0, 7.0];
    assert_eq!(dy.map(|d| d.to_f64()), want, "{name}: gradient of relu");
}

#[test]
fn relu_keeps_positive_values_in_every_type() {
    for_each_type!(relu_keeps_positive_values);
}

#[test]
fn names_are_unique_and_lead_back() {
    for dtype in DType::ALL {
        assert_eq!(DType::from_name(dtype.name()), Some(dtype));
        assert_eq!(dtype.to_string(), dtype.name());
    }
    assert_eq!(DType::from_name("I8"), None);
}
