//! No file knows another in a circle, in any crate of the guard: whoever reads one can read first what it builds on.
//!
//! A file knows another if its code names something of it in a path: `use crate::a::B`, `super::C`, `child::d()`. Tests
//! and comments do not count, nor does what binds modules together without knowing them: `mod child;`, and
//! `pub use child::E`, which makes no difference to who names `E`, since that counts as naming it in `child`. So a module
//! and its own children may know each other in one direction only, like all files.
#![allow(clippy::unwrap_used)]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates.
const CRATES: [&str; 12] = [
    "../../src",
    "../../proto/src",
    "../sandbox/src",
    "../node/src",
    "src",
    "../operator/src",
    "../../integration/harness/src",
    "../../integration/faults/src",
    "../../integration/bench/src",
    "../../integration/demo/src",
    "../../integration/cluster/src",
    "../../integration/scenarios/tests",
];
/// What begins an item that others may name.
const ITEMS: [&str; 9] = ["fn", "struct", "enum", "trait", "const", "static", "type", "union", "mod"];

#[test]
fn no_file_knows_another_in_a_circle() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut imports, mut circles) = (0, 0, BTreeSet::new());
    for source in CRATES {
        let knows = Sources::of(&here.join(source)).knows();
        files += knows.len();
        imports += knows.values().map(BTreeSet::len).sum::<usize>();
        circles.extend(in_circles(&knows).into_iter().map(|file| format!("{source}: {file}")));
    }
    assert!(circles.is_empty(), "files that know themselves through others: {circles:#?}");
    assert!(files > 150 && imports > 2 * files, "{files} files, {imports} imports");
}

#[test]
fn what_counts_as_knowing() {
    let code = "
        //! See crate::comment.
        use std::fs;
        use crate::a::{self, b::{C, d as e}};
        pub use child::E;
        mod child;
        fn f() { super::g(); child::h::<crate::i::J>(\"crate::string\"); '\\''; }
        #[cfg(test)]
        use crate::k;
        #[cfg(test)]
        mod tests { use crate::l; fn m() {} }
        #[cfg(test)]
        mod more;
        struct N<'a>(&'a crate::o::P);
    ";
    let file = File::parse(code, &["x".into(), "y".into()]);
    let expected = ["a", "a::b::C", "a::b::d", "i::J", "o::P", "x::g", "x::y::child::h"];
    assert_eq!(file.names.iter().map(|path| path.join("::")).collect::<Vec<_>>(), expected);
    assert_eq!(file.others["E"].join("::"), "x::y::child::E");
    let ways = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")];
    let mut knows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (one, other) in ways {
        knows.entry(one.to_owned()).or_default().insert(other.to_owned());
    }
    assert_eq!(in_circles(&knows), BTreeSet::from(["b", "c"]));
    knows.remove("c");
    assert_eq!(in_circles(&knows), BTreeSet::new());
}

/// Below the crate's root.
type Module = Vec<String>;

/// One file, as far as it names others.
#[derive(Default)]
struct File {
    /// The paths in it.
    names: BTreeSet<Module>,
    /// What it hands on under a name of its own (`*` for all) that others define.
    others: BTreeMap<String, Module>,
    /// What it defines.
    defines: BTreeSet<String>,
}

/// A crate.
struct Sources(BTreeMap<Module, File>);

impl Sources {
    fn of(root: &Path) -> Self {
        let (mut files, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(module) = module(root, &path) {
                    let file = File::parse(&fs::read_to_string(&path).unwrap(), &module);
                    files.entry(module).or_insert(file);
                }
            }
        }
        Self(files)
    }

    fn knows(&self) -> BTreeMap<String, BTreeSet<String>> {
        let title = |module: &Module| if module.is_empty() { "the root".into() } else { module.join("::") };
        let known = |(module, file): (&Module, &File)| {
            let known = file.names.iter().filter_map(|name| self.defined_in(name, 0));
            let known = known.filter(|other| other != module).map(|other| title(&other)).collect();
            (title(module), known)
        };
        self.0.iter().map(known).collect()
    }

    /// The file that a path leads into; none if it leads out of the crate.
    fn defined_in(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let file = &self.0[module];
        let Some(name) = rest.first().filter(|name| !file.defines.contains(*name) && depth < 8) else {
            return Some(module.to_owned());
        };
        let handed_on = file.others.get(name).map(|origin| [origin, &rest[1..]].concat());
        let from_all = || file.others.get("*").map(|origin| [origin, rest].concat());
        match handed_on.or_else(from_all) {
            Some(origin) => self.defined_in(&origin, depth + 1),
            None => Some(module.to_owned()),
        }
    }
}

/// The module in a file; none if that is a test's.
fn module(root: &Path, path: &Path) -> Option<Module> {
    let inside = path.strip_prefix(root).unwrap().with_extension("");
    let mut module: Module = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.iter().any(|part| ["tests", "testing", "fuzzing"].contains(&part.as_str())) {
        return None;
    }
    if ["lib", "main", "mod"].contains(&module.last()?.as_str()) {
        module.pop();
    }
    (path.extension()? == "rs").then_some(module)
}

impl File {
    fn parse(code: &str, module: &[String]) -> Self {
        let mut file = Self::default();
        let tokens = without_tests(&tokens(code));
        let modules: BTreeSet<&str> = tokens
            .windows(3)
            .filter(|three| three[0] == "mod" && three[2] == ";")
            .map(|three| &*three[1])
            .collect();
        let below = |path: &[String]| absolute(path, module, &modules);
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            let before = at.checked_sub(1).map(|at| tokens[at].as_str());
            if token == "use" {
                let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
                for (path, alias) in leaves(&tokens[at + 1..end]) {
                    let Some(path) = below(&path) else { continue };
                    if matches!(before, Some("pub" | ")")) {
                        file.others.insert(alias, path);
                    } else {
                        file.names.insert(path);
                    }
                }
                at = end;
            } else if ITEMS.contains(&token)
                && tokens.get(at + 2).is_some_and(|token| token != ";" || tokens[at] != "mod")
            {
                file.defines.extend(tokens.get(at + 1).cloned());
            } else if is_name(token)
                && before != Some("::")
                && tokens.get(at + 1).is_some_and(|next| next == "::")
            {
                let mut path = vec![token.to_owned()];
                while tokens[at + 1] == "::" && is_name(&tokens[at + 2]) {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                file.names.extend(below(&path));
            }
            at += 1;
        }
        file
    }
}

/// A path from the crate's root on; none if it leads to another crate, or is relative to an import, which has been seen.
fn absolute(path: &[String], module: &[String], modules: &BTreeSet<&str>) -> Option<Module> {
    let rest = path.get(1..)?;
    match path[0].as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len() - up], &path[up..]].concat())
        }
        child if modules.contains(child) => Some([module, path].concat()),
        _ => None,
    }
}

/// The paths that a `use` names, each with the name that it gets.
fn leaves(tokens: &[String]) -> Vec<(Module, String)> {
    let Some(open) = tokens.iter().position(|token| token == "{") else {
        let (path, alias) = match tokens.iter().position(|token| token == "as") {
            Some(at) => (&tokens[..at], tokens.last()),
            None => (tokens, tokens.last()),
        };
        let path: Module = path.iter().filter(|token| *token != "::").cloned().collect();
        return alias.map(|alias| (path, alias.clone())).into_iter().collect();
    };
    let prefix: Module = tokens[..open].iter().filter(|token| *token != "::").cloned().collect();
    let (mut depth, mut parts) = (0, vec![Vec::new()]);
    for token in &tokens[open + 1..tokens.len() - 1] {
        match token.as_str() {
            "," if depth == 0 => {
                parts.push(Vec::new());
                continue;
            }
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        parts.last_mut().unwrap().push(token.clone());
    }
    let below = parts.iter().filter(|part| !part.is_empty()).flat_map(|part| leaves(part));
    let whole = |(path, alias): (Module, String)| match path.as_slice() {
        [only] if only == "self" => (prefix.clone(), prefix.last().cloned().unwrap_or_default()),
        path => ([&prefix, path].concat(), alias),
    };
    below.map(whole).collect()
}

/// Names, `::`, and every other character by itself; neither comments nor what is quoted.
fn tokens(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    flatten(code.parse().unwrap(), &mut found);
    found
}

fn flatten(stream: TokenStream, found: &mut Vec<String>) {
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                found.push(open.to_owned());
                flatten(group.stream(), found);
                found.push(close.to_owned());
            }
            TokenTree::Ident(name) => found.push(name.to_string()),
            TokenTree::Punct(sign)
                if sign.as_char() == ':' && found.last().is_some_and(|last| last == ":") =>
            {
                *found.last_mut().unwrap() = "::".to_owned();
            }
            TokenTree::Punct(sign) => found.push(sign.to_string()),
            TokenTree::Literal(_) => {}
        }
    }
}

/// Without the items that only tests have.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(5).eq(["#", "[", "cfg", "(", "test"])
            || tokens[at..].iter().take(7).eq(["#", "[", "cfg", "(", "any", "(", "test"])
        {
            let mut depth = 0;
            let is_end = |token: &String| {
                depth += i32::from("{".contains(token.as_str())) - i32::from("}".contains(token.as_str()));
                depth == 0 && (token == ";" || token == "}")
            };
            at += tokens[at..].iter().position(is_end).unwrap() + 1;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_name(token: &str) -> bool {
    token.starts_with(|one: char| one.is_alphabetic() || one == '_')
}

/// The files that know themselves through others.
fn in_circles(knows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&str> {
    let comes_back = |start: &&String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*start]);
        while let Some(one) = next.pop() {
            next.extend(knows.get(one).into_iter().flatten().filter(|other| seen.insert(*other)));
        }
        seen.contains(start)
    };
    knows.keys().filter(comes_back).map(String::as_str).collect()
}
