//! The parameters of a network as bytes, to see what has moved.

use selvedge_core::Element;
use selvedge_core::net::{Layer, Network, Visitor};

/// The bytes of each parameter tensor: values, low bytes, exponent.
#[derive(Default)]
struct Tensors(Vec<Vec<u8>>);

impl Visitor for Tensors {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        let mut bytes: Vec<u8> = value
            .iter()
            .flat_map(|v| format!("{v:?} ").into_bytes())
            .collect();
        bytes.extend(residual.iter().map(|&low| low as u8));
        bytes.extend(exponent.to_le_bytes());
        self.0.push(bytes);
    }
}

/// Those of a network, in layer order.
pub fn tensors<N: Network>(network: &N) -> Vec<Vec<u8>> {
    let mut tensors = Tensors::default();
    network.layers().visit(&mut tensors);
    tensors.0
}
