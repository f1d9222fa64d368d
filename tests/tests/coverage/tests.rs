//! Which functions of the tests run with which types, as far as their text tells: types are named in a call
//! (`check::<i8>()`), or by a macro that lists them (`for_each_type!`), or are those of a function that calls.

use super::kernels::TYPES;
use super::source::{files, has, items, sources, tokens};
use std::collections::{BTreeMap, BTreeSet};

type Types = BTreeSet<String>;

/// A test crate: a file, or the files of a folder.
pub(crate) struct Crate {
    pub(crate) tokens: Vec<String>,
    functions: BTreeMap<String, Vec<String>>,
    macros: BTreeMap<String, Vec<String>>,
    /// The types that functions run with, and those that macros are expanded for.
    of_functions: BTreeMap<String, Types>,
    of_macros: BTreeMap<String, Types>,
}

/// The element types among some tokens.
fn named(tokens: &[String]) -> Types {
    tokens
        .iter()
        .filter(|token| TYPES.contains(&token.as_str()))
        .cloned()
        .collect()
}

/// The tokens after each occurrence of a pattern.
fn following<'a>(tokens: &'a [String], pattern: &[&str]) -> Vec<&'a [String]> {
    let mut all = Vec::new();
    for at in 0..tokens.len() {
        let rest = &tokens[at..];
        if rest.len() >= pattern.len() && rest.iter().zip(pattern).all(|(a, b)| a == b) {
            all.push(&rest[pattern.len()..]);
        }
    }
    all
}

/// The type that `tokens` begin with.
fn first(tokens: &[String]) -> Option<String> {
    let path = if has(&tokens[..tokens.len().min(2)], &["selvedge_kernels", "::"]) {
        2
    } else {
        0
    };
    tokens
        .get(path)
        .filter(|token| TYPES.contains(&token.as_str()))
        .cloned()
}

impl Crate {
    /// All test crates.
    pub(crate) fn all() -> Vec<Self> {
        let shared: Vec<String> = sources("tests/src")
            .iter()
            .flat_map(|source| tokens(source))
            .collect();
        let [_, shared] = items(&shared);
        let mut crates = BTreeMap::<String, Vec<String>>::new();
        for ([folder, file], source) in files("tests/tests") {
            // What is refused is not run.
            if file.contains("refus") {
                continue;
            }
            let name = if folder == "tests" { file } else { folder };
            crates.entry(name).or_default().extend(tokens(&source));
        }
        crates.remove("coverage");
        crates
            .into_values()
            .map(|tokens| Self::of(tokens, &shared))
            .collect()
    }

    fn of(tokens: Vec<String>, shared: &BTreeMap<String, Vec<String>>) -> Self {
        let [functions, macros] = items(&tokens);
        let lists = || shared.iter().chain(&macros);
        let mut of_macros = BTreeMap::<String, Types>::new();
        for name in macros.keys() {
            let types = of_macros.entry(name.clone()).or_default();
            for (list, body) in lists() {
                if has(&tokens, &[list, "!", "(", name]) {
                    types.extend(named(body));
                }
            }
            for call in following(&tokens, &[name, "!"]) {
                types.extend(named(&call[..=super::source::closing(call, 0)]));
            }
        }
        let mut of_functions = BTreeMap::<String, Types>::new();
        for name in functions.keys() {
            let types = of_functions.entry(name.clone()).or_default();
            types.extend(
                following(&tokens, &[name, "::", "<"])
                    .into_iter()
                    .filter_map(first),
            );
            for (list, body) in lists() {
                if has(&tokens, &[list, "!", "(", name]) {
                    types.extend(named(body));
                }
            }
            for (list, body) in &macros {
                if body.contains(name) {
                    types.extend(of_macros[list].clone());
                }
            }
        }
        let mut all = Self {
            tokens,
            functions,
            macros,
            of_functions,
            of_macros,
        };
        while all.hands_on() {}
        all
    }

    /// Functions run with the types of those that call them. Returns whether there was one more.
    fn hands_on(&mut self) -> bool {
        let mut grows = false;
        for (caller, body) in &self.functions {
            let types = self.of_functions[caller].clone();
            for name in self.functions.keys().filter(|name| *name != caller) {
                let in_type = |rest: &&[String]| {
                    rest.iter()
                        .take_while(|token| *token != ">")
                        .any(|token| token == "T")
                };
                let is_called = has(body, &[name, "("])
                    || following(body, &[name, "::", "<"]).iter().any(in_type);
                if let Some(own) = self.of_functions.get_mut(name).filter(|_| is_called) {
                    let before = own.len();
                    own.extend(types.iter().cloned());
                    grows |= own.len() > before;
                }
            }
        }
        grows
    }

    /// The types in which something is run that `is_called` in the bodies of functions and macros.
    pub(crate) fn types_of(&self, kernel: &str, is_called: impl Fn(&[String]) -> bool) -> Types {
        let functions = self
            .functions
            .iter()
            .map(|(name, body)| (body, &self.of_functions[name]));
        let macros = self
            .macros
            .iter()
            .map(|(name, body)| (body, &self.of_macros[name]));
        let mut types = Types::new();
        for (body, run) in functions.chain(macros).filter(|(body, _)| is_called(body)) {
            types.extend(run.iter().cloned());
            types.extend(
                following(body, &[kernel, "::", "<"])
                    .into_iter()
                    .filter_map(first),
            );
        }
        types
    }
}
