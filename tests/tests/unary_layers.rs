//! Typed layers of one element: negation, magnitude, square.

use selvedge_core::net::{Abs, Negate, Square};
use selvedge_core::tensor::D2;
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;

/// A function of each element.
fn of_each(f: impl Fn(f64) -> f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| x.iter().map(|&x| f(x)).collect()
}

#[test]
fn unary_layers_are_their_functions() {
    check_layer!(T => Negate<T, D2<3, 5>>, Case::new("negate").defined(&of_each(|x| -x)));
    check_layer!(
        T => Abs<T, D2<3, 5>>,
        Case::new("abs").away_from_zero(0.1).defined(&of_each(f64::abs))
    );
    check_layer!(T => Square<T, D2<3, 5>>, Case::new("square").defined(&of_each(|x| x * x)));
}
