//! What is refused, and that nothing is written then.

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::{Arg, Error};
use selvedge_tests::curve::Curve;

#[test]
fn refusals_write_nothing() {
    const MARK: i8 = 85;
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    for curve in Curve::ALL {
        let activation = curve.activation::<i8>();
        for (x, out, slope, want) in [
            (3, 2, 0, length(Arg::Out, 3, 2)),
            (3, 4, 3, length(Arg::Out, 3, 4)),
            (3, 3, 2, length(Arg::Slope, 3, 2)),
            (3, 3, 4, length(Arg::Slope, 3, 4)),
        ] {
            let (mut y, mut kept) = (vec![MARK; out], vec![MARK; slope]);
            let got =
                activation::forward(activation, -4, &vec![9; x], Store::EXACT, &mut y, &mut kept);
            assert_eq!(got, Err(want), "{curve:?}");
            assert!(
                y.iter().chain(&kept).all(|&q| q == MARK),
                "{curve:?}: written"
            );
        }
        let no_slope = activation.keeps_slope();
        for (y, slope, dy, want) in [
            (3, 3, 2, Some(length(Arg::Dy, 3, 2))),
            (2, 2, 3, Some(length(Arg::Dy, 2, 3))),
            (3, 0, 3, no_slope.then(|| length(Arg::Slope, 3, 0))),
            (3, 2, 3, no_slope.then(|| length(Arg::Slope, 3, 2))),
        ] {
            let mut d = vec![MARK; dy];
            let got = activation::backward(activation, &vec![0; y], &vec![0; slope], &mut d);
            assert_eq!(got.err(), want, "{curve:?}: backward");
            if want.is_some() {
                assert!(d.iter().all(|&q| q == MARK), "{curve:?}: backward wrote");
            }
        }
        let shape = dense::Shape {
            batch: 2,
            inputs: 1,
            outputs: 2,
        };
        let (mut y, mut kept) = ([MARK; 4], [MARK; 3]);
        let bias = Bias {
            values: &[0; 2],
            shift: 0,
        };
        let epilogue = Epilogue::EXACT.with(activation);
        let got = dense::forward(
            &Serial,
            shape,
            &[1, 2],
            &[3, 4],
            bias,
            epilogue,
            &mut y,
            &mut kept,
        );
        assert_eq!(got, Err(length(Arg::Slope, 4, 3)), "{curve:?}: dense");
        assert!(
            y.iter().chain(&kept).all(|&q| q == MARK),
            "{curve:?}: dense wrote"
        );
    }
}

#[test]
fn leaky_factors_are_rounded_and_capped() {
    for (thousandths, parts) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (10, 3),
        (100, 26),
        (999, 256),
        (5000, 256),
    ] {
        let activation = Activation::<i32>::leaky_relu(thousandths);
        let (mut y, mut slope, mut dy) = ([0; 2], [0; 2], [-(1 << 20), 1 << 20]);
        let x = [-(1 << 20), 1 << 20];
        activation::forward(activation, -4, &x, Store::EXACT, &mut y, &mut slope).unwrap();
        assert_eq!(
            (y, slope),
            ([-(parts << 12), 1 << 20], [1, 0]),
            "{thousandths}"
        );
        activation::backward(activation, &y, &slope, &mut dy).unwrap();
        assert_eq!(dy, [-(parts << 12), 1 << 20], "{thousandths}");
    }
}
