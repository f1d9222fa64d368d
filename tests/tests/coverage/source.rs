//! Rust sources as text and as tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The Rust sources below a folder of the workspace, each on one line and without comments.
pub(crate) fn sources(folder: &str) -> Vec<String> {
    files(folder)
        .into_iter()
        .map(|(_, source)| source)
        .collect()
}

/// The same with the names of their modules: folder and file.
pub(crate) fn files(folder: &str) -> Vec<([String; 2], String)> {
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
pub(crate) fn identifiers(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

/// The identifier after each occurrence of a phrase.
pub(crate) fn after(source: &str, phrase: &str) -> impl Iterator<Item = String> {
    source
        .split(phrase)
        .skip(1)
        .filter_map(|rest| identifiers(rest).next())
}

/// The tokens of a source: words, `::`, and other characters one by one; texts and lifetimes are left out.
pub(crate) fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let start = i;
        i += 1;
        if c == '"' {
            while chars.get(i).is_some_and(|&c| c != '"') {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' {
            // A character, or the tick of a lifetime.
            if chars.get(i) == Some(&'\\') {
                i += 3;
            } else if chars.get(i + 1) == Some(&'\'') {
                i += 2;
            }
        } else if c.is_alphanumeric() || c == '_' {
            while chars
                .get(i)
                .is_some_and(|&c| c.is_alphanumeric() || c == '_')
            {
                i += 1;
            }
            tokens.push(chars[start..i].iter().collect());
        } else if c == ':' && chars.get(i) == Some(&':') {
            i += 1;
            tokens.push("::".to_owned());
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
    }
    tokens
}

/// Where the bracket that opens at `open` closes.
pub(crate) fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

/// The functions and the macros of a source: what stands between a name and the end of its body. Those of one
/// name are taken together.
pub(crate) fn items(tokens: &[String]) -> [BTreeMap<String, Vec<String>>; 2] {
    let [mut functions, mut macros] = [BTreeMap::<_, Vec<String>>::new(), BTreeMap::new()];
    for (i, token) in tokens.iter().enumerate() {
        let (into, name) = match token.as_str() {
            "fn" => (&mut functions, i + 1),
            "macro_rules" => (&mut macros, i + 2),
            _ => continue,
        };
        // The body's bracket, after those of arguments and of arrays among them; a declaration has none.
        let mut at = name + 1;
        while let Some(token) = tokens.get(at) {
            match token.as_str() {
                "{" => break,
                ";" | "}" => break,
                "(" | "[" => at = closing(tokens, at),
                _ => {}
            }
            at += 1;
        }
        if tokens.get(at).is_some_and(|token| token == "{") {
            let body = &tokens[name + 1..=closing(tokens, at)];
            into.entry(tokens[name].clone())
                .or_default()
                .extend_from_slice(body);
        }
    }
    [functions, macros]
}

/// Whether `pattern` stands somewhere in `tokens`.
pub(crate) fn has(tokens: &[String], pattern: &[&str]) -> bool {
    tokens
        .windows(pattern.len())
        .any(|window| window.iter().zip(pattern).all(|(a, b)| a == b))
}
