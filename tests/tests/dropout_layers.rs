//! Dropout as a typed layer.

use selvedge_core::net::Dropout;
use selvedge_core::tensor::D2;
use selvedge_kernels::Element;
use selvedge_kernels::scale::Mode;
use selvedge_tests::layers::{Case, Driven};
use selvedge_tests::{check_layer, for_each_type, tolerance};

#[test]
fn dropout_is_linear_in_training() {
    check_layer!(T => Dropout<T, D2<4, 5>>, Case::new("a half"));
    check_layer!(
        T => Dropout<T, D2<4, 5>, 300>,
        Case::new("300").off_by([tolerance::DROPOUT_SCALE; 2])
    );
}

fn is_gone_at_inference<T: Element>() {
    let x: Vec<f64> = (0..20).map(|i| f64::from(i) / 16.0 - 0.5).collect();
    let mut layer = Driven::<Dropout<T, D2<4, 5>, 300>, 1>::new(1);
    let y = layer.forward(&x);
    let left_out = y
        .iter()
        .zip(&x)
        .filter(|&(&y, &x)| y == 0.0 && x != 0.0)
        .count();
    assert!((1..=12).contains(&left_out), "{}: {left_out}", T::DTYPE);
    layer.step = 1;
    assert_ne!(layer.forward(&x), y, "{}: another mask each step", T::DTYPE);
    layer.mode = Mode::Infer;
    assert_eq!(layer.forward(&x), layer.input(), "{}", T::DTYPE);
}

#[test]
fn dropout_is_gone_at_inference() {
    macro_rules! check {
        ($t:ty) => {
            is_gone_at_inference::<$t>();
        };
    }
    for_each_type!(check);
}
