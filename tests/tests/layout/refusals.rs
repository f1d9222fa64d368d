//! What is refused, by which error.

use selvedge_kernels::axes::Operand;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::layout::{self, Padding, PaddingMode, Range, inverse};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Error, select};
use selvedge_tests::tensors::extents;

#[test]
fn bad_input_is_refused() {
    const MARK: i8 = 85;
    let (x, all) = ([1i8; 12], extents(&[3, 4]));
    let mut out = [MARK; 12];
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let axis = |axis, rank| Error::Axis { axis, rank };
    let mut permute =
        |order: &[usize], x: &[i8]| layout::permute(&Serial, all, order, x, &mut out).unwrap_err();
    let axes = |expected, got| Error::Axes { expected, got };
    assert_eq!(permute(&[0], &x), axes(2, 1));
    assert_eq!(permute(&[0, 0], &x), axis(0, 2));
    assert_eq!(permute(&[0, 2], &x), axis(2, 2));
    assert_eq!(permute(&[1, 0], &x[..11]), length(Arg::X, 12, 11));
    assert_eq!(inverse(&[0; 7]), Err(Error::Rank { rank: 7 }));

    let sides = [[0, 0], [4, 1]];
    let reflect = Padding {
        sides: &sides,
        mode: PaddingMode::Reflect,
    };
    let error = layout::pad(&Serial, all, reflect, &x, &mut out).unwrap_err();
    assert_eq!(
        error,
        Error::Reflection {
            axis: 1,
            padding: 4,
            extent: 4
        }
    );
    assert_eq!(
        error.to_string(),
        "axis 1 with 4 elements cannot reflect 4, at most 3"
    );
    let few = Padding {
        sides: &sides[..1],
        mode: PaddingMode::Edge,
    };
    assert_eq!(
        layout::pad(&Serial, all, few, &x, &mut out),
        Err(axes(2, 1))
    );
    let edge = Padding {
        sides: &sides,
        mode: PaddingMode::Edge,
    };
    assert_eq!(
        layout::pad(&Serial, all, edge, &x, &mut out),
        Err(length(Arg::Out, 27, 12))
    );
    let exact = Store::EXACT;
    assert_eq!(
        layout::pad_backward(&Serial, all, edge, &x, exact, &mut out),
        Err(length(Arg::Dy, 27, 12))
    );
    let huge = [[usize::MAX, 1], [0, 0]];
    let edge = Padding {
        sides: &huge,
        mode: PaddingMode::Edge,
    };
    assert_eq!(
        layout::pad(&Serial, all, edge, &x, &mut out),
        Err(Error::Overflow {
            arg: Arg::Shape,
            got: None
        })
    );

    let empty = Range {
        start: Some(2),
        stop: Some(2),
        step: 1,
    };
    let still = Range {
        step: 0,
        ..Range::ALL
    };
    for range in [empty, still] {
        let want = Err(Error::Range {
            axis: 1,
            extent: 4,
            range,
        });
        assert_eq!(
            layout::slice(&Serial, all, &[Range::ALL, range], &x, &mut out),
            want
        );
        assert_eq!(
            layout::slice_backward(all, &[Range::ALL, range], &x, &mut out),
            want
        );
    }
    assert_eq!(
        layout::slice(&Serial, all, &[Range::ALL], &x, &mut out),
        Err(axes(2, 1))
    );

    let part = |shape: &[usize]| Operand {
        values: &x[..shape.iter().product()],
        extents: extents(shape),
        exponent: 0,
    };
    assert_eq!(
        layout::concat::<i8>(0, &[], &mut out),
        Err(Error::Zero { arg: Arg::Parts })
    );
    let parts = [part(&[2, 3]), part(&[3, 2])];
    let want = Error::Extents {
        expected: extents(&[2, 2]),
        got: extents(&[3, 2]),
    };
    assert_eq!(layout::concat(1, &parts, &mut out), Err(want));
    assert_eq!(want.to_string(), "expected extents [2, 2], found [3, 2]");
    assert_eq!(
        layout::concat(2, &[part(&[2, 3])], &mut out),
        Err(axis(2, 2))
    );
    assert!(layout::concat(0, &[part(&[2, 3]), part(&[3])], &mut out).is_err());
    assert_eq!(
        layout::concat(0, &[part(&[2, 3])], &mut out),
        Err(length(Arg::Out, 6, 12))
    );
    let (a, b) = out.split_at_mut(5);
    assert_eq!(
        layout::split(all, 1, &x, &mut [a, b]),
        Err(length(Arg::Parts, 3, 5))
    );
    let (a, b) = out[..9].split_at_mut(3);
    assert_eq!(
        layout::split(all, 1, &x, &mut [a, b]),
        Err(length(Arg::Parts, 12, 9))
    );

    let error = layout::gather(all, 0, &[0, 3], &x, &mut out[..8]).unwrap_err();
    assert_eq!(
        error,
        Error::Index {
            row: 1,
            index: 3,
            extent: 3
        }
    );
    assert_eq!(error.to_string(), "indices: number 1 is 3, expected 0 to 2");
    assert_eq!(
        layout::gather_backward(&Serial, all, 0, &[0, 3], &x[..8], exact, &mut out),
        Err(error)
    );
    assert_eq!(
        layout::gather(all, 0, &[], &x, &mut out),
        Err(Error::Zero { arg: Arg::Shape })
    );

    let mut indices = [9; 12];
    for k in [0, 5] {
        let want = Err(Error::TopK { k, extent: 4 });
        assert_eq!(select::top_k(all, 1, k, &x, &mut out, &mut indices), want);
        assert_eq!(
            select::top_k_backward(all, 1, k, &indices, &x, &mut out),
            want
        );
    }
    assert_eq!(
        select::top_k(all, 2, 1, &x, &mut out, &mut indices),
        Err(axis(2, 2))
    );
    assert_eq!(
        select::top_k(all, 1, 2, &x, &mut out[..6], &mut indices),
        Err(length(Arg::Indices, 6, 12))
    );
    assert_eq!(
        select::top_k_backward(all, 1, 4, &[4; 12], &x, &mut out),
        Err(Error::Index {
            row: 0,
            index: 4,
            extent: 4
        })
    );
    assert_eq!(
        select::argmax(&Serial, all, 1, &x, &mut indices),
        Err(length(Arg::Out, 3, 12))
    );
    assert_eq!(
        select::argmin(&Serial, all, 3, &x, &mut indices),
        Err(axis(3, 2))
    );
    assert!(
        out.iter().all(|&x| x == MARK) && indices == [9; 12],
        "a refused call wrote something"
    );
}
