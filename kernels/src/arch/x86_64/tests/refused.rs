//! What does not fit a computation is left alone by every set.

extern crate std;

use super::sets;
use crate::arch::block::{Blocks, Factors, HEIGHT, Rows, WIDTH};
use crate::arch::cells::{CellWeights, Cells, Strip};
use crate::arch::narrow::{Extent, Narrow, Narrowing};
use crate::arch::panel::{LANES, Panel, Panels};
use crate::arch::patch::{Filters, Patch, Patched};
use crate::arch::tile::{Operand, ROWS, Segments};
use crate::arch::{Isa, Kernel, cells, panel, patch};
use crate::fixed::Rounding;

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
