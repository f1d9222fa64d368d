//! Packed weights: every code of every format against an independent definition and PyTorch, rounding
//! to nearest, packing into bytes, and what encoding loses.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::packed::{
    BLOCK, Format, Scale, Weights, encode_row, encode_row_with, nearest_scale,
};
use selvedge_kernels::{Arg, Error, f16};
use selvedge_tests::noise::Noise;
use serde_json::Value;

/// A float of `exponent` and `fraction` bits as the specification writes it, without special codes.
fn float(code: u8, exponent: u32, fraction: u32, bias: i32) -> f64 {
    let sign = if code >> (exponent + fraction) & 1 == 1 {
        -1.0
    } else {
        1.0
    };
    let e = i32::from(code >> fraction & ((1 << exponent) - 1));
    let m = f64::from(code & ((1 << fraction) - 1)) / f64::from(1u32 << fraction);
    sign * if e == 0 {
        m * 2f64.powi(1 - bias)
    } else {
        (1.0 + m) * 2f64.powi(e - bias)
    }
}

/// The value of each code, by definition.
fn table(format: Format) -> Vec<f64> {
    let e4m3 = |code: u8| match code {
        0x7F | 0xFF => f64::NAN,
        _ => float(code, 4, 3, 7),
    };
    let e5m2 = |code: u8| match code {
        0x7C => f64::INFINITY,
        0xFC => f64::NEG_INFINITY,
        _ if code & 0x7F > 0x7C => f64::NAN,
        _ => float(code, 5, 2, 15),
    };
    match format {
        Format::Fp8E4M3 => (0..=255).map(e4m3).collect(),
        Format::Fp8E5M2 => (0..=255).map(e5m2).collect(),
        Format::Fp4 => [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
            .into_iter()
            .chain([-0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
            .collect(),
        Format::Int4 => (0..8).chain(-8..0).map(f64::from).collect(),
        Format::Int2 => vec![0.0, 1.0, -2.0, -1.0],
        Format::Ternary => vec![-1.0, 0.0, 1.0],
        Format::Binary => vec![-1.0, 1.0],
    }
}

/// Of all codes, by the definitions of the formats: a table of E2M1 that lacks some, or int4 codes that are all
/// zero, would pass tests of rounding alone (`docs/numerics/weights.md` §20).
#[test]
fn every_code_has_its_value() {
    for format in Format::ALL {
        let table = table(format);
        assert_eq!(table.len(), usize::from(format.codes()), "{format:?}");
        for (code, &want) in (0..=255u8).zip(&table) {
            let got = f64::from(format.value(code));
            assert!(
                got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                "{format:?} {code:#x}: {got} instead of {want}"
            );
            let integer = format.integer(code) as f64 * 2f64.powi(format.exponent());
            let finite = if want.is_nan() {
                0.0
            } else {
                want.clamp(-57_344.0, 57_344.0)
            };
            assert_eq!(integer, finite, "{format:?} {code:#x} as an integer");
            assert!(format.integer(code).unsigned_abs() <= format.largest_integer());
            if want.is_nan() {
                assert!(format.value(format.code(want)).is_nan());
            } else {
                assert_eq!(format.code(want), code, "{format:?}: {want}");
            }
        }
        let largest = table
            .iter()
            .map(|v| (v * 2f64.powi(-format.exponent())).abs());
        let largest = largest.filter(|v| v.is_finite()).fold(0.0, f64::max);
        assert_eq!(format.largest_integer() as f64, largest, "{format:?}");
    }
}

/// The nearest code by trying all: ties go to the even significand, which is the even code of a
/// float, and to the even number for integers; beyond the largest number, that one.
fn nearest(format: Format, table: &[f64], x: f64) -> Vec<u8> {
    let is_float = matches!(format, Format::Fp8E4M3 | Format::Fp8E5M2 | Format::Fp4);
    let x = x.clamp(-1e6, 1e6); // farther out, an f64 no longer tells distances apart
    let candidates = (0..=255u8).zip(table).filter(|(_, v)| v.is_finite());
    let least = candidates
        .clone()
        .map(|(_, v)| (x - v).abs())
        .fold(f64::INFINITY, f64::min);
    let ties: Vec<(u8, f64)> = candidates
        .filter(|&(_, &v)| (x - v).abs() == least)
        .map(|(code, &v)| (code, v))
        .collect();
    let is_even = |&(code, v): &(u8, f64)| {
        if is_float {
            code & 1 == 0
        } else {
            v.rem_euclid(2.0) == 0.0
        }
    };
    let zeros = ties.iter().all(|&(_, v)| v == 0.0); // plus and minus
    let kept: Vec<u8> = if ties.len() > 1 && !zeros && format != Format::Binary {
        ties.iter().filter(|t| is_even(t)).map(|t| t.0).collect()
    } else {
        ties.iter().map(|t| t.0).collect()
    };
    assert!(!kept.is_empty(), "{format:?} {x}");
    kept
}

#[test]
fn codes_are_nearest_for_every_f16_and_many_f32() {
    let mut noise = Noise::new(7);
    let f32s = (0..40_000)
        .map(|_| f32::from_bits(noise.word()))
        .collect::<Vec<_>>();
    for format in Format::ALL {
        let table = table(format);
        let halves = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f64());
        let near = f32s.iter().map(|&x| f64::from(x));
        // Random bits spread over 2^-126 to 2^127; these lie within the formats.
        let inside = f32s
            .iter()
            .map(|&x| f64::from(x % 16.0) * f64::from(format.largest()) / 8.0);
        for x in halves.chain(near).chain(inside).filter(|x| x.is_finite()) {
            let code = format.code(x);
            let want = nearest(format, &table, x);
            assert!(
                want.contains(&code),
                "{format:?}: {x:e} is {code}, not {want:?}"
            );
            let signed = matches!(format, Format::Fp8E4M3 | Format::Fp8E5M2 | Format::Fp4);
            if signed {
                let value = format.value(code);
                assert_eq!(
                    value.is_sign_negative(),
                    x.is_sign_negative(),
                    "{format:?}: {x:e}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_a_number_has_a_code() {
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    for (format, of_nan, of_infinity, of_minus) in [
        (Format::Fp8E4M3, f32::NAN, 448.0, -448.0),
        (Format::Fp8E5M2, f32::NAN, f32::INFINITY, f32::NEG_INFINITY),
        (Format::Fp4, 0.0, 6.0, -6.0),
        (Format::Int4, 0.0, 7.0, -8.0),
        (Format::Int2, 0.0, 1.0, -2.0),
        (Format::Ternary, 0.0, 1.0, -1.0),
        (Format::Binary, 1.0, 1.0, -1.0),
    ] {
        for (x, want) in [
            (nan, of_nan),
            (infinity, of_infinity),
            (-infinity, of_minus),
        ] {
            let got = format.value(format.code(x));
            assert!(
                got == want || (got.is_nan() && want.is_nan()),
                "{format:?} {x}: {got}"
            );
        }
    }
}

#[test]
fn eight_bit_floats_are_those_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/torch/packed.json")).unwrap();
    for format in [Format::Fp8E4M3, Format::Fp8E5M2] {
        let golden = &golden[format.name()];
        let numbers = |key: &str| -> Vec<u32> {
            let list = golden[key].as_array().unwrap();
            list.iter().map(|v| v.as_u64().unwrap() as u32).collect()
        };
        let nan = numbers("nan");
        for (code, bits) in (0..=255u8).zip(numbers("values")) {
            let value = format.value(code);
            if nan.contains(&u32::from(code)) {
                assert!(value.is_nan(), "{format:?} {code}");
            } else {
                assert_eq!(value.to_bits(), bits, "{format:?} {code}");
            }
        }
        let (x, codes) = (numbers("x"), numbers("codes"));
        assert!(x.len() > 400 && x.len() == codes.len());
        for (x, code) in x.into_iter().zip(codes) {
            let x = f32::from_bits(x);
            assert_eq!(
                u32::from(format.code(f64::from(x))),
                code,
                "{format:?}: {x:e}"
            );
        }
    }
}

/// Five digits by division, the definition.
fn digits(mut v: u32) -> [u32; 5] {
    let mut digits = [0; 5];
    for digit in digits.iter_mut().rev() {
        (*digit, v) = (v % 3, v / 3);
    }
    digits
}

#[test]
fn every_group_of_codes_survives_its_byte() {
    for v in 0..243u32 {
        let row = digits(v).map(|d| d as f32 - 1.0);
        let mut byte = [0u8];
        encode_row_with(Format::Ternary, &row, 0i8, &mut byte).unwrap();
        assert_eq!(
            u32::from(byte[0]),
            (256 * v).div_ceil(243),
            "the documented fraction"
        );
        let weights = Weights::new(Format::Ternary, 1, 5, &byte, &[0i8]).unwrap();
        for start in 0..5 {
            let mut back = vec![9.0; 5 - start];
            weights.decode(0, start, &mut back);
            assert_eq!(back, row[start..], "{v}");
        }
    }
    for byte in 0..=255u8 {
        // Any byte decodes to something of the format, also those that no encoder writes.
        for format in Format::ALL {
            let len = format.per_byte();
            let weights =
                Weights::new(format, 1, len, std::slice::from_ref(&byte), &[0i8]).unwrap();
            let mut row = vec![9.0f32; len];
            weights.decode(0, 0, &mut row);
            let table = table(format);
            for value in row.iter().copied() {
                assert!(
                    table
                        .iter()
                        .any(|&v| v == f64::from(value) || (v.is_nan() && value.is_nan())),
                    "{format:?} {byte}: {value}"
                );
            }
            if format != Format::Ternary && row.iter().all(|v| !v.is_nan()) {
                let mut again = [0u8];
                encode_row_with(format, &row, 0i8, &mut again).unwrap();
                assert_eq!(again, [byte], "{format:?}");
            }
        }
    }
}

/// Rows of all lengths and starts, blocks of different scales: decoding is value times scale.
fn rows_decode<S: Scale + PartialEq + std::fmt::Debug>(
    scale: impl Fn(&mut Noise) -> S,
    per_tensor: bool,
) {
    let mut noise = Noise::new(11);
    for format in Format::ALL {
        for len in (1..40).chain([63, 64, 65, 100]) {
            let rows = 3;
            let row_bytes = format.row_bytes(len);
            let table = table(format);
            let codes: Vec<Vec<usize>> = (0..rows)
                .map(|_| (0..len).map(|_| noise.below(table.len())).collect())
                .collect();
            let blocks = len.div_ceil(BLOCK);
            let scales: Vec<S> = (0..if per_tensor { 1 } else { rows * blocks })
                .map(|_| scale(&mut noise))
                .collect();
            let mut bytes = vec![0; rows * row_bytes];
            for (codes, bytes) in codes.iter().zip(bytes.chunks_mut(row_bytes)) {
                let row: Vec<f32> = codes.iter().map(|&c| format.value(c as u8)).collect();
                encode_row_with(format, &row, 0i8, bytes).unwrap();
            }
            let weights = Weights::new(format, rows, len, &bytes, &scales).unwrap();
            assert_eq!(weights.extents(), [rows, len]);
            for (r, codes) in codes.iter().enumerate() {
                for start in 0..len {
                    let mut got = vec![0.0f32; len - start];
                    weights.decode(r, start, &mut got);
                    for (i, &got) in (start..len).zip(&got) {
                        let scale = scales[if per_tensor {
                            0
                        } else {
                            r * blocks + i / BLOCK
                        }];
                        let want = table[codes[i]] * scale.to_f64();
                        assert!(
                            f64::from(got) == want || (got.is_nan() && want.is_nan()),
                            "{format:?} row {r}, {i} of {len}: {got} instead of {want}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn decoded_rows_are_values_times_scales() {
    for per_tensor in [false, true] {
        rows_decode(|noise| (noise.below(80) as i8) - 40, per_tensor);
        rows_decode(|noise| f16::from_f64(noise.signed() * 100.0), per_tensor);
    }
}

#[test]
fn extreme_exponents_are_exact_or_infinite() {
    for (exponent, code) in [(-127i8, 1), (-127, 2), (127, 1), (126, 0x7B)] {
        let format = Format::Fp8E5M2;
        let weights = Weights::new(
            format,
            1,
            1,
            std::slice::from_ref(&code),
            std::slice::from_ref(&exponent),
        )
        .unwrap();
        let mut got = [0.0f32];
        weights.decode(0, 0, &mut got);
        let want = (f64::from(format.value(code)) * 2f64.powi(i32::from(exponent))) as f32;
        assert_eq!(got[0].to_bits(), want.to_bits(), "{exponent} {code}");
    }
}

/// A scale of 0 takes every number to 0, and leaves NaN.
#[test]
fn blocks_of_scale_zero_decode_as_zeros() {
    fn zeros<S: Scale + PartialEq + std::fmt::Debug>(zero: S) {
        for format in Format::ALL {
            let mut codes = vec![0; format.row_bytes(3)];
            let mut scale = [zero];
            for nan in [f32::NAN, 0.0] {
                encode_row(format, &[0.0f32, nan, -0.0], &mut codes, &mut scale).unwrap();
                assert_eq!(scale, [zero], "{format:?}");
                let weights = Weights::new(format, 1, 3, &codes, &scale).unwrap();
                let mut back = [9.0f32; 3];
                weights.decode(0, 0, &mut back);
                let has_nan = matches!(format, Format::Fp8E4M3 | Format::Fp8E5M2);
                assert_eq!(back[1].is_nan(), nan.is_nan() && has_nan, "{format:?}");
                assert_eq!([back[0], back[2]], [0.0; 2], "{format:?}");
                assert!(back[1].is_nan() || back[1] == 0.0, "{format:?}: {back:?}");
            }
        }
    }
    zeros(i8::MIN);
    zeros(f16::ZERO);
}

fn normal(noise: &mut Noise) -> f32 {
    let sum: f64 = (0..12).map(|_| (noise.signed() + 1.0) / 2.0).sum();
    (0.3 * (sum - 6.0)) as f32
}

/// Root mean square of the error of a block, over its largest weight: of weights as the reference
/// system was measured with, N(0, 0.3). For int4 the bound is that of its replacement, 0.045 (a step of
/// 1/7 over the square root of 12 is 0.041); where scales are powers of two, steps are up to twice as
/// large. Half steps of the floats are relative: 1/16 and 1/8 for E4M3 and E5M2, and 1/12 of the largest
/// for E2M1, whose root mean square lies below.
#[test]
fn encoding_loses_no_more_than_the_format_must() {
    let mut noise = Noise::new(3);
    for (format, half, power) in [
        (Format::Fp8E4M3, 1.0 / 32.0, 1.0 / 32.0),
        (Format::Fp8E5M2, 1.0 / 16.0, 1.0 / 16.0),
        (Format::Fp4, 0.083, 0.16),
        (Format::Int4, 0.045, 0.083),
    ] {
        let row: Vec<f32> = (0..BLOCK * 64).map(|_| normal(&mut noise)).collect();
        let mut codes = vec![0; format.row_bytes(row.len())];
        let rms = |back: &[f32]| {
            let mut sum = 0.0;
            for (block, back) in row.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = block.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                for (w, b) in block.iter().zip(back) {
                    let error = f64::from(w - b) / f64::from(largest);
                    sum += error * error;
                }
            }
            (sum / row.len() as f64).sqrt()
        };
        let mut back = vec![0.0; row.len()];
        let mut halves = vec![f16::ZERO; row.len() / BLOCK];
        encode_row(format, &row, &mut codes, &mut halves).unwrap();
        Weights::new(format, 1, row.len(), &codes, &halves)
            .unwrap()
            .decode(0, 0, &mut back);
        let zeros = back.iter().filter(|w| **w == 0.0).count();
        assert!(
            zeros < row.len() / 4,
            "{format:?}: {zeros} weights of {} became zero",
            row.len()
        );
        assert!(rms(&back) <= half, "{format:?}: {}", rms(&back));
        let mut powers = vec![0i8; row.len() / BLOCK];
        encode_row(format, &row, &mut codes, &mut powers).unwrap();
        Weights::new(format, 1, row.len(), &codes, &powers)
            .unwrap()
            .decode(0, 0, &mut back);
        assert!(
            rms(&back) <= power,
            "{format:?}, powers of two: {}",
            rms(&back)
        );
    }
}

#[test]
fn scales_are_what_is_documented() {
    let mut codes = [0u8; 1];
    let mut scale = [0i8];
    for (row, want) in [
        ([7.0f32, -1.0], 0),
        ([7.1, 0.0], 1),
        ([3.5, 0.0], -1),
        ([0.0, 0.0], i8::MIN),
        ([1e-45, 0.0], -127),
        ([f32::NAN, 0.0], i8::MIN),
        ([f32::NAN, 3.5], -1),
        ([f32::MAX, 0.0], 126),
    ] {
        encode_row(Format::Int4, &row, &mut codes, &mut scale).unwrap();
        assert_eq!(scale, [want], "{row:?}");
    }
    // Means: of ternary and binary, to the nearest power of two.
    for (row, want) in [([1.0f32, 2.0], 0), ([1.0, 2.1], 1), ([4.0, -4.0], 2)] {
        for format in [Format::Ternary, Format::Binary] {
            encode_row(format, &row, &mut codes, &mut scale).unwrap();
            assert_eq!(scale, [want], "{row:?}");
        }
    }
    let mut half = [f16::ZERO];
    encode_row(Format::Ternary, &[0.5f32, -1.5, 0.1], &mut codes, &mut half).unwrap();
    assert_eq!(half, [f16::from_f64(0.7)]);
    let weights = Weights::new(Format::Ternary, 1, 3, &codes, &half).unwrap();
    let mut back = [0.0f32; 3];
    weights.decode(0, 0, &mut back);
    assert_eq!(back, [1.0, -1.0, 0.0].map(|v| v * half[0].to_f32()));
    // NaN does not count: neither for the sum nor for the number of weights.
    for format in Format::ALL {
        let without: f16 = nearest_scale(format, &[1.0]);
        assert_eq!(
            nearest_scale::<f16>(format, &[f32::NAN, 1.0]),
            without,
            "{format:?}"
        );
        assert_eq!(
            nearest_scale::<f16>(format, &[f32::NAN]),
            f16::ZERO,
            "{format:?}"
        );
    }
    assert_eq!(
        nearest_scale::<f16>(Format::Binary, &[f32::NAN, 1.0]),
        f16::ONE
    );
    // Never cut off: the largest weight is at most the largest code times the scale.
    let mut noise = Noise::new(2);
    for _ in 0..2000 {
        let row = [f32::from_bits(noise.word() & 0xBFFF_FFFF) % 3000.0, 0.0];
        encode_row(Format::Int4, &row, &mut codes, &mut half).unwrap();
        if row[0].is_finite() {
            assert!(
                f64::from(row[0].abs()) <= 7.0 * half[0].to_f64(),
                "{row:?} {half:?}"
            );
        }
    }
}

#[test]
fn refusals_say_what_and_write_nothing() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let row = [1.0f32; 33];
    let mut codes = [9u8; 16];
    let mut scales = [9i8; 2];
    assert_eq!(
        encode_row(Format::Int4, &row, &mut codes, &mut scales),
        length(Arg::Weight, 17, 16)
    );
    let mut codes = [9u8; 17];
    assert_eq!(
        encode_row(Format::Int4, &row, &mut codes, &mut scales[..1]),
        length(Arg::Scale, 2, 1)
    );
    assert_eq!(
        encode_row(Format::Int4, &[], &mut codes[..0], &mut scales[..0]),
        Err(Error::Zero { arg: Arg::X })
    );
    assert_eq!(
        encode_row_with(Format::Int4, &row, 0i8, &mut codes[..3]),
        length(Arg::Weight, 17, 3)
    );
    assert!(codes.iter().all(|&c| c == 9) && scales == [9; 2]);

    let weights = |rows, len, codes: usize, scales: usize| {
        Weights::new(
            Format::Int4,
            rows,
            len,
            &[0; 64][..codes],
            &[0i8; 64][..scales],
        )
        .map(|_| ())
    };
    assert_eq!(weights(2, 33, 34, 4), Ok(()));
    assert_eq!(weights(2, 33, 34, 1), Ok(()));
    assert_eq!(weights(2, 33, 33, 4), length(Arg::Weight, 34, 33));
    assert_eq!(weights(2, 33, 34, 2), length(Arg::Scale, 4, 2));
    assert_eq!(weights(2, 33, 34, 0), length(Arg::Scale, 4, 0));
    assert_eq!(weights(0, 33, 0, 1), Err(Error::Zero { arg: Arg::Weight }));
    assert_eq!(weights(2, 0, 0, 1), Err(Error::Zero { arg: Arg::Weight }));
    assert_eq!(
        weights(usize::MAX, 2, 0, 1),
        Err(Error::Overflow {
            arg: Arg::Weight,
            got: None,
        })
    );
    // Beyond the row or the tensor nothing is decoded.
    let weights = Weights::new(Format::Binary, 1, 2, &[3], &[0i8]).unwrap();
    let mut row = [5.0f32; 4];
    weights.decode(1, 0, &mut row);
    weights.decode(0, 2, &mut row);
    assert_eq!(row, [5.0; 4]);
    weights.decode(0, 1, &mut row);
    assert_eq!(row, [1.0, 5.0, 5.0, 5.0]);
}
