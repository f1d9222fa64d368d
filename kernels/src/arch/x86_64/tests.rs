//! Every kernel of every set against plain code.

extern crate std;

mod affine;

use super::{Avx2, Avx512};
use crate::activation::Activation;
use crate::arch::block::{Blocks, Factors, HEIGHT, Rows, WIDTH};
use crate::arch::cells::{self, CellWeights, Cells, Strip};
use crate::arch::narrow::{Extent, Narrow, Narrowing};
use crate::arch::panel::{self, LANES, Panel, Panels};
use crate::arch::patch::{self, Filters, Patch, Patched};
use crate::arch::scalar::{TILE, add_row};
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use crate::arch::{Isa, Kernel, Scalar};
use crate::element::Element;
use crate::fixed::{Magnitude, Rounding};
use crate::requantize::{Epilogue, Store};
use crate::rng::{Words, mix32};
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

/// Sums of what does not fit are zero; an instruction set without panels has none.
#[inline(always)]
fn multiplies_nothing<I: Isa>(
    isa: I,
    x: Operand<'_, f32>,
    panel: &Panel<f32>,
    segments: &Segments,
) {
    let mut sums = [[[2.0; LANES]; ROWS]; 2];
    f32::by_panel(isa, x, panel, segments, &mut sums);
    let expected = if f32::has_panels::<I>() { 0.0 } else { 2.0 };
    let mut sums = sums.as_flattened().as_flattened().iter();
    assert!(sums.all(|&sum| sum == expected));
}

/// What follows a computation that was refused.
struct Refused;

impl Kernel for Refused {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let floats = [1.0f32; 64];
        let wide = |values, step, rows| Operand { values, step, rows };
        let mut panel = Panel::new();
        let many = [1.0f32; panel::ROOM + 1];
        // A panel of more than there is, of more than it has room for, with rows beyond the end.
        for (values, step, rows, len) in [
            (&floats[..], 0, 1, 65),
            (&floats[..], 0, 1, usize::MAX),
            (&floats[..], 1, 16, 50),
            (&floats[..], usize::MAX, 2, 1),
            (&many[..], 0, 1, panel::ROOM + 1),
            (&many[..], 0, LANES + 1, panel::ROOM),
            (&many[..], 0, 2 * LANES + 1, 1),
        ] {
            f32::pack(isa, wide(values, step, rows), len, &mut panel);
            let x = wide(&floats[..], 0, 1);
            multiplies_nothing(isa, x, &panel, &Segments::one(1));
        }
        // Weights beyond a panel, and `x` beyond its end.
        f32::pack(isa, wide(&floats[..], 1, 16), 8, &mut panel);
        let whole = wide(&floats[..], 0, 1);
        for (x, segments) in [
            (whole, Segments::one(9)),
            (whole, Segments::one(8).after(1)),
            (whole, Segments::one(8).after(usize::MAX)),
            (wide(&floats[..7], 0, 1), Segments::one(8)),
            (wide(&floats[..], 57, 2), Segments::one(8)),
            (wide(&floats[..], 0, 0), Segments::one(8)),
        ] {
            multiplies_nothing(isa, x, &panel, &segments);
        }

        let bytes = [1i8; 64];
        let mut sums = [[2i32; WIDTH]; HEIGHT];
        for (sum_step, row_step, step, count, width) in [
            (1, 1, 0, 62, 32),
            (22, 0, 0, 2, 32),
            (0, usize::MAX, 0, 2, 32),
            (0, 0, 33, 2, 32),
            (0, 0, 0, 2, 33),
            (0, 0, usize::MAX, 2, 1),
            (0, 0, 0, 0, 32),
        ] {
            let factors = Factors {
                values: &bytes[..],
                sum_step,
                row_step,
            };
            let rows = Rows {
                values: &bytes[..],
                step,
                count,
                width,
            };
            i8::add_block(isa, factors, rows, &mut sums);
        }
        assert!(sums.as_flattened().iter().all(|&sum| sum == 2));

        // Filters beyond the end, too many, too long, of another length than those before; windows beyond
        // the end of a patch.
        let mut filters = Filters::new();
        for (step, rows, runs) in [
            (0, 1, [1, 65]),
            (0, 17, [1, 1]),
            (0, 1, [usize::MAX, 2]),
            (usize::MAX, 2, [1, 1]),
        ] {
            let operand = Operand {
                values: &bytes[..],
                step,
                rows,
            };
            assert!(!i8::pack_filters(isa, operand, runs, &mut filters));
        }
        let operand = |step, rows| Operand {
            values: &bytes[..],
            step,
            rows,
        };
        let is_packed = i8::pack_filters(isa, operand(1, 16), [2, 9], &mut filters);
        assert_eq!(is_packed, i8::has_patches::<I>());
        assert!(!i8::pack_filters(isa, operand(1, 16), [1, 9], &mut filters));
        let mut patch = Patch::new();
        let mut sums = [[2i32; LANES]; ROWS];
        patch.set_places([0, 9].into_iter(), 9);
        for (first, step, count) in [
            (patch::ROOM - 20, 0, 1),
            (patch::ROOM - 42, 8, 2),
            (0, patch::ROOM, 12),
            (usize::MAX, 1, 1),
            (1, usize::MAX, 5),
            (0, 1, 0),
        ] {
            let windows = patch::Windows { first, step, count };
            i8::by_patch(isa, &patch, windows, &filters, 0, &[0; LANES], &mut sums);
        }
        let windows = patch::Windows {
            first: 0,
            step: 1,
            count: 1,
        };
        i8::by_patch(
            isa,
            &patch,
            windows,
            &filters,
            usize::MAX,
            &[0; LANES],
            &mut sums,
        );
        assert!(sums.as_flattened().iter().all(|&sum| sum == 2));

        // More windows than a strip has.
        let weights = CellWeights::new();
        let mut sums = [[2i32; cells::WIDTH]; cells::PIXELS];
        for (groups, kernel, dilation, stride, pixels) in [
            (1, 3, 1, 1, 17),
            (1, 17, 1, 1, 1),
            (1, 3, 20, 1, 1),
            (2, 3, 1, 10, 4),
            (0, 3, 1, 1, 1),
            (1, 0, 1, 1, 1),
            (1, 3, 1, 0, 2),
            (usize::MAX, 3, 1, 1, 1),
            (1, 3, usize::MAX, 1, 1),
        ] {
            let windows = cells::Windows {
                groups,
                kernel,
                dilation,
                stride,
                pixels,
            };
            let biases = [0; cells::WIDTH];
            i8::by_cells(isa, &Strip::new(), windows, &weights, &biases, &mut sums);
        }
        assert!(sums.as_flattened().iter().all(|&sum| sum == 2));

        // Rows that are not in their slices, and shifts that are none.
        let (acc, mut out) = ([1i32; 64], [2i8; 64]);
        for (rows, width, columns, step, shift) in [
            (5, 16, 16, 16, 1),
            (4, 16, 16, 17, 1),
            (1, 16, 17, 0, 1),
            (0, 16, 16, 16, 1),
            (1, 24, 16, 16, 1),
            (usize::MAX, 16, 1, 1, 1),
            (2, 16, 1, usize::MAX, 1),
            (1, 16, 16, 16, 0),
            (1, 16, 16, 16, 32),
        ] {
            let extent = Extent {
                rows,
                width,
                columns,
                step,
            };
            let narrowing = Narrowing {
                is_relu: false,
                shift,
                rounding: Rounding::NearestEven,
                element: 0,
            };
            let seen = <i8 as Narrow<i8>>::narrow(isa, &acc, extent, narrowing, &mut out);
            assert_eq!(seen, None);
        }
        assert!(out.iter().all(|&x| x == 2));
    }
}

#[test]
fn what_does_not_fit_is_left_alone() {
    for isa in sets() {
        isa.run(Refused);
    }
}

/// The epilogue of some rows, by an instruction set.
struct Tile16<'a, T: Element> {
    acc: &'a [[T::Acc; 48]; 5],
    place: [usize; 3],
    epilogue: Epilogue<T>,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Tile16<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let (mut acc, mut range) = (*self.acc, Default::default());
        self.epilogue
            .tile_by(isa, &mut acc, self.place, 77, &mut range, self.out, &mut []);
        range.bits()
    }
}

/// Accumulators become bytes as they do in plain code: ties, extremes, all shifts, parts of vectors.
#[test]
fn narrowing_agrees() {
    fn agrees<T: Element<Acc = i32>>(isa: Set, extremes: &[i32]) {
        let words = fill(5 * 48, 5, extremes, |u| (u as i32) >> (u % 31));
        let mut acc = [[0; 48]; 5];
        for (to, &x) in acc.as_flattened_mut().iter_mut().zip(&words) {
            *to = x;
        }
        let roundings = [
            Rounding::NearestEven,
            Rounding::Stochastic(Words::new(1, 2, 3)),
        ];
        for shift in -2..34 {
            for (case, columns) in (1..=48).enumerate() {
                let (rows, step) = (case % 5 + 1, columns + case % 3);
                for rounding in roundings {
                    for activation in [Activation::Identity, Activation::Relu] {
                        let epilogue = Epilogue {
                            activation,
                            exponent: 0,
                            store: Store::Shift { shift, rounding },
                        };
                        let [mut got, mut want] = [[T::ZERO; 260]; 2];
                        let place = [rows, columns, step];
                        let kernel = |out| Tile16 {
                            acc: &acc,
                            place,
                            epilogue,
                            out,
                        };
                        let seen = isa.run(kernel(&mut got[..]));
                        let name = std::format!("{isa:?}, {place:?}, {epilogue:?}");
                        assert_eq!(seen, kernel(&mut want[..]).run(Scalar), "{name}");
                        assert_eq!(got, want, "{name}");
                    }
                }
            }
        }
    }
    let extremes = [i32::MAX, -i32::MAX, 1 << 30, 127, -128, 384, -3, 2, 0];
    for isa in sets() {
        agrees::<i8>(isa, &extremes);
        agrees::<u8>(isa, &extremes);
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

/// A type's weighted rows, with factors of 32 bits.
macro_rules! weigh {
    ($name:ident: $element:ty, $sum:ty, $weigh:ident, |$word:ident| $x:expr, $factor:expr, |$f:ident, $e:ident| $product:expr) => {
        #[test]
        fn $name() {
            struct Weigh<'a>(Factors<'a, $sum>, Rows<'a, $element>, [[$sum; WIDTH]; 4]);
            impl Kernel for Weigh<'_> {
                type Output = Option<[[$sum; WIDTH]; 4]>;

                #[inline(always)]
                fn run<I: Isa>(self, isa: I) -> Self::Output {
                    let Self(factors, rows, mut sums) = self;
                    isa.$weigh(factors, rows, &mut sums).then_some(sums)
                }
            }
            let mut seed = 0;
            let mut next = || {
                seed += 1;
                mix32(seed)
            };
            for count in [1usize, 2, 7, 30] {
                for width in [1usize, 8, 15, 16, 17, 31, 32] {
                    let step = width + 3;
                    let values: Vec<$element> = (0..count * step)
                        .map(|_| {
                            let $word = next();
                            $x
                        })
                        .collect();
                    let words: Vec<$sum> = (0..4 * count)
                        .map(|_| {
                            let $word = next();
                            $factor
                        })
                        .collect();
                    for (sum_step, row_step) in [(count, 1), (1, 4)] {
                        let factors = Factors {
                            values: &words,
                            sum_step,
                            row_step,
                        };
                        let rows = Rows {
                            values: &values[..(count - 1) * step + width],
                            step,
                            count,
                            width,
                        };
                        let begin = [[<$sum>::from(3u8); WIDTH]; 4];
                        let mut want = begin;
                        for k in 0..count {
                            for (r, want) in want.iter_mut().enumerate() {
                                let $f = words[r * sum_step + k * row_step];
                                for (c, want) in want.iter_mut().enumerate().take(width) {
                                    let $e = values[k * step + c];
                                    *want += $product;
                                }
                            }
                        }
                        assert!(Weigh(factors, rows, begin).run(Scalar).is_none());
                        for set in sets() {
                            let Some(got) = set.run(Weigh(factors, rows, begin)) else {
                                assert!(matches!(set, Set::Avx2(_)), "{set:?} does not");
                                continue;
                            };
                            for (want, got) in want.iter().zip(&got) {
                                assert_eq!(want[..width], got[..width], "{count} of {width}");
                            }
                            // Neither rows nor factors may be missing.
                            let short = Rows {
                                count: count + 1,
                                ..rows
                            };
                            assert!(set.run(Weigh(factors, short, begin)).is_none());
                            let values = &words[..words.len() - 1];
                            let short = Factors { values, ..factors };
                            assert!(set.run(Weigh(short, rows, begin)).is_none());
                        }
                    }
                }
            }
        }
    };
}

weigh!(weighted_rows_of_f32: f32, f32, weigh_f32, |word| word as f32 / 4_294_967_296.0 - 0.5,
    word as f32 / 4_294_967_296.0 - 0.5, |f, x| f * x);
weigh!(weighted_rows_of_i8: i8, i32, weigh_i8, |word| word as i8, (word & 0xFFFF) as i32 - 32_768, |f, x| f * i32::from(x));
weigh!(weighted_rows_of_u8: u8, i32, weigh_u8, |word| word as u8, (word & 0xFFFF) as i32 - 32_768,
    |f, x| f * (i32::from(x) - 128));
