//! Every layer is held against differences and `f64` in all types that it has and both directions, and every
//! kernel is run by a test in each type, with its gradient: what is added without that is named here, as
//! kernel, type, direction. All is read off the sources.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(missing_docs)] // modules of a test

mod kernels;
mod source;
mod tests;

use selvedge_kernels::{DType, Element};
use selvedge_tests::for_each_type;
use source::{after, identifiers, sources};
use std::collections::BTreeSet;

/// Layers of floats. The zoo has none of them: its image is proven to hold no float routine
/// (`xtask/src/proof.rs`).
const FLOATS: [&str; 1] = ["DeformableAttention"];

/// The layers, joins and activations that `core` has.
fn layers() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources("core/src/net") {
        for phrase in [
            "Layer for ",
            "Join<A, B> for ",
            "Activation for ",
            "impl_layer!(",
        ] {
            names.extend(after(&source, phrase));
        }
        // `impl_layer!(impl [..] for Name<..>, ..)`.
        for call in source.split("impl_layer!(").skip(1) {
            let generics = call.trim_start().strip_prefix("impl [");
            let layer = generics.and_then(|rest| rest.split("] for ").nth(1));
            names.extend(layer.and_then(|rest| identifiers(rest).next()));
        }
        // Aliases of layers have the element type first.
        let is_layer = |rest: &&str| rest.split('=').next().unwrap().contains("<T");
        let aliases = source.split("pub type ").skip(1).filter(is_layer);
        names.extend(aliases.filter_map(|rest| identifiers(rest).next()));
        // `Name: gain He, ..;`
        for block in source.split("impl_activation! {").skip(1) {
            let lines = block.split('}').next().unwrap().split(';');
            names.extend(lines.filter_map(|line| identifiers(line).next()));
        }
    }
    // What makes layers of other types, each of which is checked; an activation of another output type.
    for generic in [
        "Apply",
        "Norm",
        "Fork",
        "Binary",
        "Recurrent",
        "First",
        "Logits",
        "name",
    ] {
        names.remove(generic);
    }
    names.retain(|name| name.chars().next().is_some_and(char::is_uppercase));
    names
}

#[test]
fn every_layer_is_checked_in_every_type_and_both_directions() {
    let layers = layers();
    assert!(layers.len() > 50, "the sources were misread: {layers:?}");
    // Weights of 8 bits under activations of 16: no other types, and a check of their own. So have floats alone.
    let of = |names: &[&str], layers: BTreeSet<String>| -> [BTreeSet<String>; 2] {
        let (some, rest) = layers
            .into_iter()
            .partition(|name| names.contains(&name.as_str()));
        let some: BTreeSet<_> = some;
        assert_eq!(
            some.len(),
            names.len(),
            "the sources were misread: {some:?}"
        );
        [some, rest]
    };
    let [mixed, layers] = of(&["MixedDense", "MixedConv"], layers);
    let [floats, plain] = of(&FLOATS, layers);
    // All compare outputs, errors and updates: in all types, in all pairs of types, in the four floats.
    for (layers, check) in [
        (plain, "check_layer!("),
        (mixed, "check_mixed!("),
        (floats, "check_float!("),
    ] {
        let checked: BTreeSet<String> = sources("tests/tests")
            .iter()
            .flat_map(|source| source.split(check).skip(1))
            .flat_map(|call| identifiers(call.split("Case").next().unwrap()).collect::<Vec<_>>())
            .collect();
        let missing: Vec<_> = layers.difference(&checked).collect();
        assert!(missing.is_empty(), "no {check}..) of {missing:?}");
    }
}

/// The type that a line of `net!` names: `conv_transpose2d` is `ConvTranspose`.
fn in_camel_case(name: &str) -> String {
    let name = ["1d", "2d", "3d"]
        .iter()
        .find_map(|axes| name.strip_suffix(axes))
        .unwrap_or(name);
    name.split('_')
        .filter_map(|word| Some(word.get(..1)?.to_uppercase() + word.get(1..)?))
        .collect()
}

#[test]
fn every_layer_is_compared_on_every_target() {
    let zoo: BTreeSet<String> = sources("digits/src/zoo")
        .iter()
        .flat_map(|source| {
            identifiers(source.split("net! {").skip(1).collect::<String>().as_str())
                .collect::<Vec<_>>()
        })
        .flat_map(|name| [in_camel_case(&name), name])
        .collect();
    let mut layers = layers();
    // Another name of `Dense`, and what a layer has without an activation.
    for name in ["Stitch", "Identity"] {
        layers.remove(name);
    }
    layers.retain(|name| !FLOATS.contains(&name.as_str()));
    let missing: Vec<_> = layers.difference(&zoo).collect();
    assert!(
        missing.is_empty(),
        "no network of digits/src/zoo has {missing:?}"
    );
}

#[test]
fn every_type_is_checked() {
    let mut types = Vec::new();
    macro_rules! name {
        ($t:ty) => {
            types.push(<$t>::DTYPE)
        };
    }
    for_each_type!(name);
    assert_eq!(types.len(), DType::ALL.len());
    for dtype in DType::ALL {
        assert!(types.contains(&dtype), "{} is left out", dtype.name());
    }
}
