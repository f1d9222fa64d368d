//! Every layer is held against differences and `f64` in all types that it has and both directions, and every
//! kernel is called by a test: what is added without one is named here.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_kernels::{DType, Element};
use selvedge_tests::for_each_type;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The Rust sources below a folder of the workspace, each on one line and without comments.
fn sources(folder: &str) -> Vec<String> {
    files(folder)
        .into_iter()
        .map(|(_, source)| source)
        .collect()
}

/// The same with the names of their modules: folder and file.
fn files(folder: &str) -> Vec<([String; 2], String)> {
    fn collect(folder: &Path, into: &mut Vec<([String; 2], String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                let code = |line: &str| line.split("//").next().unwrap().trim().to_owned();
                let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
                let modules = [name(folder), name(&path)];
                into.push((
                    modules,
                    source.lines().map(code).collect::<Vec<_>>().join(" "),
                ));
            }
        }
    }
    let mut all = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    collect(&root.join(folder), &mut all);
    all
}

/// The identifiers in a text.
fn identifiers(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

/// The identifier after each occurrence of a phrase.
fn after(source: &str, phrase: &str) -> impl Iterator<Item = String> {
    source
        .split(phrase)
        .skip(1)
        .filter_map(|rest| identifiers(rest).next())
}

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
    for generic in ["Apply", "Norm", "Fork", "Binary", "First", "Logits", "name"] {
        names.remove(generic);
    }
    names.retain(|name| name.chars().next().is_some_and(char::is_uppercase));
    names
}

#[test]
fn every_layer_is_checked_in_every_type_and_both_directions() {
    let layers = layers();
    assert!(layers.len() > 50, "the sources were misread: {layers:?}");
    // Weights of 8 bits under activations of 16: no other types, and a check of their own.
    let (mixed, plain): (BTreeSet<_>, BTreeSet<_>) = layers
        .into_iter()
        .partition(|name| ["MixedDense", "MixedConv"].contains(&name.as_str()));
    assert_eq!(mixed.len(), 2, "the sources were misread: {mixed:?}");
    // Both compare outputs, errors and updates: in all types, in all pairs of types.
    for (layers, check) in [(plain, "check_layer!("), (mixed, "check_mixed!(")] {
        let checked: BTreeSet<String> = sources("tests/tests")
            .iter()
            .flat_map(|source| source.split(check).skip(1))
            .flat_map(|call| identifiers(call.split("Case").next().unwrap()).collect::<Vec<_>>())
            .collect();
        let missing: Vec<_> = layers.difference(&checked).collect();
        assert!(missing.is_empty(), "no {check}..) of {missing:?}");
    }
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

#[test]
fn every_kernel_is_called_by_a_test() {
    let mut kernels: BTreeMap<String, Vec<[String; 2]>> = BTreeMap::new();
    for (modules, source) in files("kernels/src") {
        // Parts of kernels for one instruction set are no calls of users.
        if modules
            .iter()
            .any(|module| module == "arch" || module == "x86_64")
        {
            continue;
        }
        // Those with an element type as a parameter.
        let functions = source.split("pub fn ").skip(1);
        let is_kernel = |rest: &&str| {
            let (name, arguments) = rest.split_once('(').unwrap();
            let is_method = arguments.trim_start_matches([' ', '&']).starts_with("self");
            name.contains("T: Element") && !is_method
        };
        let generic = functions.filter(is_kernel);
        for name in generic.filter_map(|rest| identifiers(rest).next()) {
            kernels.entry(name).or_default().push(modules.clone());
        }
    }
    assert!(kernels.len() > 60, "the sources were misread: {kernels:?}");
    let tests: Vec<String> = ["tests/tests", "tests/src"]
        .into_iter()
        .flat_map(sources)
        .collect();
    let words: BTreeSet<String> = tests
        .iter()
        .flat_map(|source| identifiers(source).collect::<Vec<_>>())
        .collect();
    let mut missing = Vec::new();
    for (name, places) in &kernels {
        for modules in places {
            // Where families share a name, it must stand behind that of its family.
            let is_called = if let [_] = places[..] {
                words.contains(name)
            } else {
                modules.iter().any(|module| {
                    tests.iter().any(|source| {
                        // `family::name`, or imported as `family::{.., name, ..}`.
                        let family = format!("{module}::");
                        source.split(&family).skip(1).any(|rest| {
                            let named = match rest.strip_prefix('{') {
                                Some(list) => list.split('}').next().unwrap(),
                                None => rest
                                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                                    .next()
                                    .unwrap(),
                            };
                            identifiers(named).any(|word| word == *name)
                        })
                    })
                })
            };
            if !is_called {
                missing.push(format!("{}::{name}", modules.join("::")));
            }
        }
    }
    assert!(missing.is_empty(), "no test calls {missing:?}");
}
