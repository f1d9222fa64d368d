//! Every kernel, with the types and the direction that a test must run.

use super::source::{closing, files, has, sources, tokens};
use super::tests::Crate;
use std::collections::{BTreeMap, BTreeSet};

/// The twelve element types.
pub(crate) const TYPES: [&str; 12] = [
    "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f16", "bf16", "f32", "f64",
];

/// Families that are there for some types only.
const FEWER: [(&str, &[&str]); 3] = [
    // Activations; under them are weights of 8 bits.
    ("mixed", &["i16", "u16"]),
    // What TensorFlow Lite has.
    ("affine", &["i8", "u8", "i16"]),
    // Positions that a network computes: there is no rule for integers.
    ("deformable", &["f16", "bf16", "f32", "f64"]),
];

/// Kernels without one that is their gradient, and why.
const WITHOUT_GRADIENT: [(&str, &str); 28] = [
    ("argmax", "an index"),
    ("argmin", "an index"),
    ("biases", "initialisation"),
    ("binary_cross_entropy", "gives its gradient beside the loss"),
    ("concat", "its gradient is split"),
    ("convert", "its gradient is the conversion the other way"),
    ("cross_entropy", "gives its gradient beside the loss"),
    (
        "cross_entropy_of_head",
        "gives its gradient beside the loss",
    ),
    ("error_sums", "a part of the backward pass"),
    ("fold", "for inference"),
    ("fold_transposed", "for inference"),
    ("infer", "for inference"),
    ("initial_offsets", "initialisation"),
    ("log_prob", "for inference; cross_entropy trains"),
    (
        "members",
        "a part of the forward pass, whose gradient has the scores",
    ),
    ("negate", "its own gradient"),
    ("ones", "initialisation"),
    ("permute", "its gradient is the opposite permutation"),
    ("regression", "gives its gradient beside the loss"),
    ("scores", "a part of the backward pass"),
    ("soft_cross_entropy", "gives its gradient beside the loss"),
    ("split", "its gradient is concat"),
    ("squared_error", "gives its gradient beside the loss"),
    (
        "statistics",
        "a part of the forward pass, through which backward_input goes",
    ),
    ("sum", "its gradient is the error itself, or sum_backward"),
    ("transform", "for inference"),
    ("uniform", "initialisation"),
    ("update_running", "statistics for inference"),
];

/// Families that are for inference alone.
const FOR_INFERENCE: [&str; 1] = ["affine"];

/// A public function that writes elements, with the names of its modules from the outermost on.
#[derive(Debug)]
struct Kernel {
    modules: [String; 2],
    name: String,
    /// Whether the inner module is a part of its path: else it is a file of the outer one.
    is_nested: bool,
}

/// All of them, from the sources of the crate.
fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    let sources = files("kernels/src");
    let public = |[outer, inner]: &[String; 2]| {
        let of = |folder: &str, file: &str| {
            let source = sources.iter().find(|([a, b], _)| a == folder && b == file);
            source.is_some_and(|(_, source)| has(&tokens(source), &["pub", "mod", inner]))
        };
        of(outer, "mod") || of(outer, "lib")
    };
    for (modules, source) in &sources {
        // Parts of kernels for one instruction set are no calls of users.
        if modules
            .iter()
            .any(|module| module == "arch" || module == "x86_64")
        {
            continue;
        }
        let tokens = tokens(source);
        for at in 0..tokens.len() {
            if !(tokens[at] == "pub" && tokens.get(at + 1).is_some_and(|token| token == "fn")) {
                continue;
            }
            let open = (at..tokens.len())
                .find(|&i| tokens[i] == "(")
                .expect("arguments");
            let (generics, arguments) =
                (&tokens[at + 3..open], &tokens[open..closing(&tokens, open)]);
            let is_generic = ["Element", "Activation", "Input", "Float"]
                .iter()
                .any(|bound| generics.iter().any(|token| token == bound));
            let is_method = arguments.iter().take(4).any(|token| token == "self");
            let writes = has(arguments, &["&", "mut", "["])
                || (arguments.iter()).any(|token| ["Gradient", "Errors"].contains(&token.as_str()));
            if is_generic && !is_method && writes {
                kernels.push(Kernel {
                    modules: modules.clone(),
                    name: tokens[at + 2].clone(),
                    is_nested: public(modules),
                });
            }
        }
    }
    kernels
}

impl Kernel {
    /// The module that a call names.
    fn family(&self) -> &String {
        &self.modules[usize::from(self.is_nested)]
    }

    /// Whether `body` calls it: by `family::name`, or by its name where that is `imported` or has no other
    /// meaning in the crate. `dense::forward` may be that of `packed`: where `is_known`, the text around says so.
    fn is_called(&self, body: &[String], imported: bool, is_known: bool) -> bool {
        let [outer, family] = [&self.modules[0], self.family()];
        let by_family = if is_known {
            has(body, &[family, "::", &self.name])
        } else {
            has(body, &[outer, "::", family, "::", &self.name])
        };
        let alone = |at: usize| {
            let before = at.checked_sub(1).map_or("", |before| &body[before]);
            body[at] == self.name && !["::", ".", "fn"].contains(&before)
        };
        by_family || imported && (0..body.len()).any(alone)
    }

    /// Whether a test brings its name into scope.
    fn is_imported(&self, tokens: &[String]) -> bool {
        (2..tokens.len()).any(|at| {
            tokens[at] == "{"
                && tokens[at - 1] == "::"
                && self.family() == &tokens[at - 2]
                && tokens[at..closing(tokens, at)].contains(&self.name)
        })
    }

    /// The types it must be run in.
    fn types(&self) -> &'static [&'static str] {
        let fewer = FEWER
            .iter()
            .find(|(family, _)| self.modules.iter().any(|module| module == family));
        fewer.map_or(&TYPES, |(_, types)| types)
    }

    /// What its gradient would be called, in the same family.
    fn gradients(&self) -> Vec<String> {
        let name = &self.name;
        match name.strip_suffix("forward") {
            Some(stem) => vec![format!("{stem}backward"), format!("{stem}backward_input")],
            None => vec![format!("{name}_backward")],
        }
    }
}

#[test]
fn every_kernel_is_run_in_every_type() {
    let kernels = kernels();
    assert!(kernels.len() > 80, "the sources were misread: {kernels:?}");
    // `check_layer!` runs each typed layer in all types and both directions.
    let layers: Vec<_> = sources("core/src/net")
        .iter()
        .map(|source| tokens(source))
        .collect();
    let tests = Crate::all();
    let mut missing = BTreeMap::new();
    for kernel in &kernels {
        let names = kernels.iter().filter(|other| other.name == kernel.name);
        let is_unique = names.count() == 1;
        // Whether another kernel is called by the same two names.
        let twins = kernels
            .iter()
            .filter(|other| other.name == kernel.name && other.family() == kernel.family());
        let is_alone = twins.count() == 1 || kernel.modules[0] == "src";
        let is_known = |text: &[String]| is_alone || text.contains(&kernel.modules[0]);
        if layers
            .iter()
            .any(|layer| kernel.is_called(layer, is_unique, is_known(layer)))
        {
            continue;
        }
        let mut run = BTreeSet::new();
        for test in &tests {
            let imported = is_unique || kernel.is_imported(&test.tokens);
            let is_known = is_known(&test.tokens);
            run.extend(test.types_of(&kernel.name, |body| {
                kernel.is_called(body, imported, is_known)
            }));
        }
        let types: Vec<_> = kernel
            .types()
            .iter()
            .filter(|&t| !run.contains(*t))
            .collect();
        if !types.is_empty() {
            missing.insert(
                format!("{}::{}", kernel.modules.join("::"), kernel.name),
                types,
            );
        }
    }
    assert!(
        missing.is_empty(),
        "no test of these kernels in these types: {missing:#?}"
    );
}

#[test]
fn every_kernel_has_a_gradient_or_a_reason() {
    let kernels = kernels();
    let mut missing = Vec::new();
    let mut reasons: BTreeSet<&str> = WITHOUT_GRADIENT.iter().map(|(name, _)| *name).collect();
    for kernel in &kernels {
        if kernel.name.contains("backward")
            || FOR_INFERENCE
                .iter()
                .any(|family| kernel.modules.iter().any(|m| m == family))
        {
            continue;
        }
        let siblings = kernels.iter().filter(|other| {
            other.modules[0] == kernel.modules[0] || other.modules == kernel.modules
        });
        let names: BTreeSet<_> = siblings.map(|other| &other.name).collect();
        let has_one = kernel
            .gradients()
            .iter()
            .any(|gradient| names.contains(gradient));
        let has_reason = WITHOUT_GRADIENT
            .iter()
            .any(|(name, _)| *name == kernel.name);
        if has_reason {
            reasons.remove(kernel.name.as_str());
        }
        if !has_one && !has_reason {
            missing.push(format!("{}::{}", kernel.modules.join("::"), kernel.name));
        }
    }
    assert!(missing.is_empty(), "no gradient of {missing:?}");
    assert!(
        reasons.is_empty(),
        "no kernels with these names: {reasons:?}"
    );
}
