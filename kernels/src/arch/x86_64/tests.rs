//! Every kernel of every set against plain code.

extern crate std;

mod affine;
mod narrow;
mod refused;
mod weigh;

use super::{Avx2, Avx512};

use crate::arch::panel::{self, LANES, Panel, Panels};

use crate::arch::scalar::{TILE, add_row};
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use crate::arch::{Isa, Kernel, Scalar};
use crate::element::Element;

use crate::rng::mix32;
use half::{bf16, f16};
use std::vec::Vec;

/// One of the sets of this folder.
#[derive(Clone, Copy, Debug)]
enum Set {
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Set {
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Avx2(isa) => isa.run(kernel),
            Self::Avx512(isa) => isa.run(kernel),
        }
    }
}

/// Those that the processor has, without the feature `detect`, so that a plain `cargo test`
/// compares, too.
fn sets() -> Vec<Set> {
    use std::arch::is_x86_feature_detected as has;
    let mut sets = Vec::new();
    if has!("avx2") && has!("f16c") {
        sets.push(Set::Avx2(Avx2(())));
        let has_512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq");
        if has_512 && has!("avx512vl") && has!("avx512vnni") {
            sets.push(Set::Avx512(Avx512(Avx2(()))));
        }
    }
    if sets.len() < 2 {
        std::eprintln!("skipped in part: this processor has only {sets:?}");
    }
    sets
}

struct Dot<'a, T>(&'a [T], &'a [T]);

impl<T: Element> Kernel for Dot<'_, T> {
    type Output = T::Acc;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> T::Acc {
        T::dot(isa, self.0, self.1)
    }
}

struct AddRow<'a, T: Element>(T, &'a [T]);

impl<T: Element> Kernel for AddRow<'_, T> {
    type Output = [T::Acc; TILE];

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> [T::Acc; TILE] {
        let mut sums = [T::Acc::default(); TILE];
        add_row::<T, I>(isa, &mut sums, self.0.widen(), self.1);
        add_row::<T, I>(isa, &mut sums, self.0.widen(), self.1);
        sums
    }
}

struct OneTile<'a, T>(Operand<'a, T>, Operand<'a, T>, Segments);

impl<T: Element> Kernel for OneTile<'_, T> {
    type Output = Tile<T::Acc>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Tile<T::Acc> {
        let mut tile = [[T::Acc::default(); COLUMNS]; ROWS];
        T::tile(isa, self.0, self.1, &self.2, &mut tile);
        tile
    }
}

struct Widen(f16);

impl Kernel for Widen {
    type Output = [f32; 8];

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> [f32; 8] {
        isa.widen_f16(&[
            self.0,
            f16::ONE,
            self.0,
            f16::MAX,
            self.0,
            self.0,
            f16::MIN,
            self.0,
        ])
    }
}

/// `word(i)` for all `i` of a slice, or one of the `extremes` for one element in four.
fn fill<T: Copy>(n: usize, seed: u32, extremes: &[T], word: impl Fn(u32) -> T) -> Vec<T> {
    (0..n as u32)
        .map(|i| {
            let u = mix32(seed ^ mix32(i));
            match extremes.get((u >> 8) as usize % (4 * extremes.len())) {
                Some(&extreme) => extreme,
                None => word(u),
            }
        })
        .collect()
}

const LONGEST: usize = 200;
const OFFSETS: usize = 32;

/// Compares all sets with plain code; `same` tells whether two sums are equal.
fn kernels_agree<T: Element>(
    name: &str,
    extremes: &[T],
    word: impl Fn(u32) -> T,
    same: impl Fn(T::Acc, T::Acc) -> bool,
) {
    for isa in sets() {
        dots_agree_on(isa, name, extremes, &word, &same);
        tiles_agree_on(isa, name, extremes, &word, &same);
    }
}

fn dots_agree_on<T: Element>(
    isa: Set,
    name: &str,
    extremes: &[T],
    word: &impl Fn(u32) -> T,
    same: &impl Fn(T::Acc, T::Acc) -> bool,
) {
    let n = LONGEST + OFFSETS;
    let a = fill(n, 1, extremes, word);
    let b = fill(n, 2, extremes, word);
    for len in (0..=70).chain([95, 96, 97, 127, 128, 129, LONGEST]) {
        for offset in 0..OFFSETS {
            let (a, b) = (&a[offset..offset + len], &b[OFFSETS - 1 - offset..][..len]);
            let (got, want) = (isa.run(Dot(a, b)), Dot(a, b).run(Scalar));
            assert!(
                same(got, want),
                "dot_{name}: {len} elements at offset {offset}"
            );
        }
    }
    for &extreme in extremes {
        let a = std::vec![extreme; LONGEST];
        for len in 0..=70 {
            for other in extremes {
                let b = std::vec![*other; LONGEST];
                let kernel = || Dot(&a[..len], &b[..len]);
                let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
                assert!(
                    same(got, want),
                    "dot_{name}: {len} times {extreme:?} {other:?}"
                );
            }
        }
    }
    for (len, &factor) in (0..=TILE).zip(a.iter().cycle()) {
        let row = &b[len..2 * len];
        let (got, want) = (
            isa.run(AddRow(factor, row)),
            AddRow(factor, row).run(Scalar),
        );
        let all = got.iter().zip(&want).all(|(&got, &want)| same(got, want));
        assert!(all, "add_row of {len} {name}");
    }
}

/// Tiles of all numbers of rows and columns, of one segment and of several, at all lengths up to
/// two vectors of the widest set and beyond, with rows that overlap as those of a convolution do.
fn tiles_agree_on<T: Element>(
    isa: Set,
    name: &str,
    extremes: &[T],
    word: &impl Fn(u32) -> T,
    same: &impl Fn(T::Acc, T::Acc) -> bool,
) {
    let n = 40_000;
    let (x, weight) = (fill(n, 3, extremes, word), fill(n, 4, extremes, word));
    let one = [[1; 3]].into_iter();
    let several = [[1, 1, 3], [1, 3, 1], [2, 3, 2], [0, 1, 1]].into_iter();
    let mut case = 0;
    for len in (0..=130).chain([191, 192, 193, 512]) {
        for counts in one
            .clone()
            .chain(several.clone().take(if len < 80 { 4 } else { 2 }))
        {
            case += 1;
            let (rows, columns) = (case % ROWS + 1, case / ROWS % COLUMNS + 1);
            let cells = counts.iter().product::<usize>();
            // Steps that overlap, that leave gaps, and those of filters without gaps.
            let [x_cell, w_cell] = [len / 2 + 1, len];
            let [x_row, w_row] = [x_cell * counts[2] + 3, w_cell * counts[2]];
            let [x_plane, w_plane] = [x_row * counts[1] + 1, w_row * counts[1]];
            let segments = Segments::new(
                len,
                counts,
                [x_plane, x_row, x_cell],
                [w_plane, w_row, w_cell],
            );
            let x = Operand {
                values: &x[case % 33..],
                step: len / 3,
                rows,
            };
            let weight = Operand {
                values: &weight[case % 31..],
                step: len * cells.max(1),
                rows: columns,
            };
            let kernel = || OneTile(x, weight, segments);
            let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
            for (r, (got, want)) in got.iter().zip(&want).take(rows).enumerate() {
                for (c, (&got, &want)) in got.iter().zip(want).take(columns).enumerate() {
                    assert!(
                        same(got, want),
                        "tile_{name} on {isa:?}: [{r}, {c}] of {rows}x{columns}, \
                         {counts:?} segments of {len}: {got:?} for {want:?}"
                    );
                }
            }
        }
    }
}

/// Segments that do not fit are not read, and give zeros.
#[test]
fn operands_that_are_too_short_are_left_alone() {
    for isa in sets() {
        let values = [1.0f32; 64];
        let operand = |step, rows| Operand {
            values: &values[..],
            step,
            rows,
        };
        for (x, weight, segments) in [
            (operand(0, 1), operand(0, 1), Segments::one(65)),
            (operand(1, 2), operand(0, 1), Segments::one(64)),
            (operand(0, 1), operand(usize::MAX, 3), Segments::one(1)),
            (operand(0, 0), operand(0, 1), Segments::one(1)),
            (
                operand(0, 1),
                operand(0, 1),
                Segments::new(8, [1, 1, usize::MAX], [0, 0, 8], [0; 3]),
            ),
        ] {
            let tile = isa.run(OneTile(x, weight, segments));
            assert!(tile.as_flattened().iter().all(|&sum| sum == 0.0));
        }
    }
}

/// The sums of a panel as tiles compute them, or nothing where there are no panels.
struct OnePanel<'a>(Operand<'a, f32>, Operand<'a, f32>, usize, Segments);

impl Kernel for OnePanel<'_> {
    type Output = Option<[panel::Sums<f32>; 2]>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Option<[panel::Sums<f32>; 2]> {
        let Self(x, weight, len, segments) = self;
        let mut sums = [[[f32::NAN; LANES]; ROWS]; 2];
        let mut panel = Panel::new();
        f32::pack(isa, weight, len, &mut panel);
        f32::by_panel(isa, x, &panel, &segments, &mut sums);
        f32::has_panels::<I>().then_some(sums)
    }
}

/// Panels of all numbers of rows and outputs, narrow and wide, of short segments and of long ones.
#[test]
fn panels_agree_bit_by_bit() {
    let n = 60_000;
    let word = |u: u32| u as i32 as f32 / 65_537.0;
    let extremes = [f32::MIN_POSITIVE, -0.0, 1.0, 1e-45];
    let (x, weight) = (fill(n, 5, &extremes, word), fill(n, 6, &extremes, word));
    for isa in sets() {
        let mut case = 0;
        for len in (1..=48).chain([63, 64, 65, 160, 320, 321, 500, 512]) {
            for counts in [[1, 1, 1], [1, 1, 2], [1, 2, 1], [2, 3, 3], [2, 1, 0]] {
                let cells = counts.iter().product::<usize>();
                let filter_len = len * cells.max(1) + 3;
                if filter_len > panel::ROOM {
                    continue;
                }
                for _ in 0..8 {
                    case += 1;
                    let rows = case % ROWS + 1;
                    let columns = panel::take(filter_len, case / ROWS % (2 * LANES) + 1);
                    let steps = |gap| {
                        let row = len * counts[2] + gap;
                        [row * counts[1] + gap, row, len]
                    };
                    let segments = Segments::new(len, counts, steps(1), steps(0)).after(3);
                    let operand = |values, step, rows| Operand { values, step, rows };
                    let x = operand(&x[case % 33..], len / 3, rows);
                    let weight = operand(&weight[case % 31..], filter_len, columns);
                    let Some(got) = isa.run(OnePanel(x, weight, filter_len, segments)) else {
                        continue;
                    };
                    for c in 0..columns {
                        let values = &weight.values[c * filter_len..];
                        let one = operand(values, 0, 1);
                        let want = OneTile(x, one, segments).run(Scalar);
                        for (r, want) in want.iter().enumerate().take(rows) {
                            let got = got[c / LANES][r][c % LANES];
                            assert!(
                                got.to_bits() == want[0].to_bits(),
                                "[{r}, {c}] of {rows}x{columns}, {counts:?} segments of {len}: \
                                 {got} for {}",
                                want[0]
                            );
                        }
                    }
                }
            }
        }
    }
}

/// A single row by all numbers of outputs, at all lengths.
#[test]
fn single_rows_agree_bit_by_bit() {
    let word = |u: u32| u as i32 as f32 / 65_537.0;
    let (x, weight) = (fill(400, 7, &[-0.0], word), fill(4000, 8, &[-0.0], word));
    for isa in sets() {
        for len in 0..=300 {
            for columns in 1..=COLUMNS {
                let operand = |values, step, rows| Operand { values, step, rows };
                let x = operand(&x[len % 7..], 0, 1);
                let weight = operand(&weight[len % 5..], len + 1, columns);
                let kernel = || OneTile(x, weight, Segments::one(len).after(1));
                let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
                for (got, want) in got[0].iter().zip(&want[0]).take(columns) {
                    assert!(
                        got.to_bits() == want.to_bits(),
                        "{len} elements, {columns} outputs on {isa:?}: {got} for {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn integers_agree() {
    // -128 and -2^15 may stand in raw input data.
    let i8s = [i8::MIN, i8::MAX, -127, -1, 0, 1];
    kernels_agree("i8", &i8s, |u| u as i8, |a, b| a == b);
    let u8s = i8s.map(|x| x as u8 ^ 0x80);
    kernels_agree("u8", &u8s, |u| u as u8, |a, b| a == b);
    let i16s = [i16::MIN, i16::MAX, -i16::MAX, -1, 0, 1];
    kernels_agree("i16", &i16s, |u| u as i16, |a, b| a == b);
    let u16s = i16s.map(|x| x as u16 ^ 0x8000);
    kernels_agree("u16", &u16s, |u| u as u16, |a, b| a == b);
    // 24 magnitude bits.
    let i32s = [-(1 << 24), (1 << 24) - 1, -1, 0, 1];
    kernels_agree("i32", &i32s, |u| u as i32 >> 7, |a, b| a == b);
    let u32s = i32s.map(|x| x as u32 ^ 0x8000_0000);
    kernels_agree(
        "u32",
        &u32s,
        |u| (u as i32 >> 7) as u32 ^ 0x8000_0000,
        |a, b| a == b,
    );
    // 53 magnitude bits.
    let i64s = [-(1 << 53), (1 << 53) - 1, -1, 0, 1];
    let wide = |u: u32| (i64::from(u as i32) << 22) + i64::from(mix32(u) >> 11);
    kernels_agree("i64", &i64s, wide, |a, b| a == b);
    let u64s = i64s.map(|x| x as u64 ^ 1 << 63);
    kernels_agree("u64", &u64s, |u| wide(u) as u64 ^ 1 << 63, |a, b| a == b);
}

#[test]
fn floats_agree_bit_by_bit() {
    // All NaN count as equal: which of two payloads survives is not defined.
    let same32 = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let same64 = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let f16s = [
        f16::MAX,
        f16::MIN,
        f16::MIN_POSITIVE_SUBNORMAL,
        f16::NEG_ZERO,
        f16::ONE,
    ];
    let half = |u: u32| f16::from_bits(u as u16 & 0xBBFF); // exponents up to 2^-1
    kernels_agree("f16", &f16s, half, same32);
    let bf16s = [
        bf16::MIN_POSITIVE_SUBNORMAL,
        bf16::NEG_ZERO,
        bf16::ONE,
        bf16::NEG_ONE,
    ];
    let brain = |u: u32| bf16::from_f32(u as i32 as f32);
    kernels_agree("bf16", &bf16s, brain, same32);
    kernels_agree(
        "bf16 beyond the range",
        &[bf16::MAX, bf16::MIN, bf16::NAN],
        brain,
        same32,
    );
    let f32s = [f32::MIN_POSITIVE, -0.0, 1.0, 1e-45, -3e18];
    let single = |u: u32| u as i32 as f32 / 65_537.0;
    kernels_agree("f32", &f32s, single, same32);
    kernels_agree(
        "f32 beyond the range",
        &[f32::MAX, f32::INFINITY, f32::NAN],
        single,
        same32,
    );
    let f64s = [f64::MIN_POSITIVE, -0.0, 1.0, 5e-324, -1e150];
    kernels_agree("f64", &f64s, |u| f64::from(u as i32) / 65_537.0, same64);
}

#[test]
fn every_half_precision_number_is_widened_alike() {
    for isa in sets() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let (got, want) = (isa.run(Widen(x)), Widen(x).run(Scalar));
            for (got, want) in got.iter().zip(&want) {
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                assert!(same, "{bits:#06x}: {got} and {want}");
            }
        }
    }
}

/// As many products as `dense` admits, all of the largest magnitude; for 16 bits, more than the
/// sums of a tile have room for.
#[test]
fn the_longest_sums_agree() {
    fn agree<T: Element>(a: T, b: T, n: usize) {
        let (a, b) = (std::vec![a; n], std::vec![b; n]);
        let operand = |values| Operand {
            values,
            step: 0,
            rows: 1,
        };
        for isa in sets() {
            assert_eq!(isa.run(Dot(&a, &b)), Dot(&a, &b).run(Scalar));
            let kernel = || OneTile(operand(&a), operand(&b), Segments::one(n));
            let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
            assert!(got[0][0] == want[0][0], "{isa:?}: {got:?} for {want:?}");
            // Each cut into segments shorter than a vector, which take as much room as whole ones.
            let kernel = || {
                let segments = Segments::new(3, [1, 1, n / 3], [0, 0, 3], [0, 0, 3]);
                OneTile(operand(&a), operand(&b), segments)
            };
            let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
            assert!(got[0][0] == want[0][0], "{isa:?}: {got:?} for {want:?}");
        }
    }
    for (a, b) in [(127i8, 127i8), (-128, 127), (127, -128), (-128, -127)] {
        agree(a, b, i8::MAX_PRODUCTS);
        agree(a as u8 ^ 0x80, b as u8 ^ 0x80, u8::MAX_PRODUCTS);
    }
    for (a, b) in [
        (i16::MIN, i16::MIN),
        (i16::MIN, i16::MAX),
        (i16::MAX, 255),
        (i16::MIN, 255),
    ] {
        agree(a, b, 20_000);
        agree(a as u16 ^ 0x8000, b as u16 ^ 0x8000, 20_000);
    }
    agree(-(1i32 << 24), (1i32 << 24) - 1, i32::MAX_PRODUCTS);
}
