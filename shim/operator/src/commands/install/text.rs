//! What is written into containerd's configuration, and how it is found again. Pure: text in, text out.
//!
//! Everything of ours is recognised by what it says itself, so nothing has to be remembered elsewhere: a block by its
//! first and last line, a file by its first line. Whatever stands around a block is the owner's, to the byte. The
//! block brings the line feed that stands before it, so that it can also follow a last line that has none.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::{Table, Value};

use crate::containerd::files;

const BEGIN: &str =
    "# BEGIN runsc-guard: written by `runsc-guard install`, taken away by `runsc-guard uninstall`\n";
const END: &str = "# END runsc-guard\n";
/// What is recognised; the rest of the line may change from version to version.
const BEGINS: &str = "# BEGIN runsc-guard";
const MADE: &str = "# Made by `runsc-guard install`";

/// A block that has lost its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} begins a block of runsc-guard's that has no line {:?}: put that line where the block ends", END.trim())]
pub(super) struct Unended {
    line: usize,
}

/// Where the block is, with the line feed that came with it.
fn find(text: &str) -> Result<Option<Range<usize>>, Unended> {
    let begin = match text.find(&format!("\n{BEGINS}")) {
        _ if text.starts_with(BEGINS) => 0,
        Some(begin) => begin,
        None => return Ok(None),
    };
    let unended = || Unended { line: text[..begin].lines().count() + 1 };
    let end = text[begin..].find(&format!("\n{}", END.trim_end())).ok_or_else(unended)?;
    // Somebody's editor may have taken the line feed at the file's end.
    Ok(Some(begin..text.len().min(begin + end + 1 + END.len())))
}

/// Whether there is a block.
pub(super) fn has_block(text: &str) -> bool {
    !matches!(find(text), Ok(None))
}

/// The text with a block that holds `tables`: in place of the one that is there, else at the end.
pub(super) fn with_block(text: &str, tables: &str) -> Result<String, Unended> {
    let block = format!("\n{BEGIN}{tables}{END}");
    let at = find(text)?.unwrap_or(text.len()..text.len());
    Ok(format!("{}{block}{}", &text[..at.start], &text[at.end..]))
}

/// The text without the block, as it was before; nothing if there is none.
pub(super) fn without_block(text: &str) -> Result<Option<String>, Unended> {
    Ok(find(text)?.map(|at| format!("{}{}", &text[..at.start], &text[at.end..])))
}

/// The tables in the block, if there is one.
pub(super) fn tables(text: &str) -> Option<&str> {
    let block = &text[find(text).ok()??];
    let (_, from_begin) = block.split_once(BEGINS)?;
    let (_, tables) = from_begin.split_once('\n')?;
    tables.split_once(END.trim_end()).map(|(tables, _)| tables)
}

/// What a template begins with that had to be made; `base` stands for all that the distribution puts there itself.
pub(super) fn new_template(base: &str) -> String {
    format!("{MADE}, since there was none.\n{base}")
}

/// What a configuration begins with that had to be made.
pub(super) fn new_file(version: u32) -> String {
    format!("{MADE}, since there was none.\nversion = {version}\n")
}

/// Whether a configuration is one that had to be made, and has nothing else in it.
pub(super) fn is_new_file(text: &str) -> bool {
    [2, 3].into_iter().any(|version| text == new_file(version))
}

/// A file of its own for the handler, from its version on.
pub(super) fn drop_in(body: &str) -> String {
    format!("{MADE}, taken away by `runsc-guard uninstall`.\n{body}")
}

/// What is in such a file below its first line.
pub(super) fn body(drop_in: &str) -> &str {
    drop_in.split_once('\n').map_or("", |(_, body)| body)
}

/// `there` with `tables` in it. What else stands in it is kept: keys of the handler's, other tables; and all of it to the
/// byte where nothing is to be changed.
pub(super) fn updated(there: &str, tables: &str) -> anyhow::Result<String> {
    let old: Table = toml::from_str(there)?;
    let mut new = old.clone();
    merge(&mut new, toml::from_str(tables)?);
    match there {
        "" => Ok(tables.to_owned()),
        _ if new == old => Ok(there.to_owned()),
        _ => Ok(toml::to_string(&new)?),
    }
}

/// Tables into tables; all else is replaced.
pub(super) fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// Handlers as they came out of a dump.
pub(super) fn written_down(version: u32, handlers: BTreeMap<String, Value>) -> anyhow::Result<String> {
    let nest = |inner: Table, key: &str| Table::from_iter([(key.to_owned(), Value::Table(inner))]);
    let path = ["runtimes", "containerd", files::Table::of_version(version).plugin(), "plugins"];
    let tables = path.into_iter().fold(handlers.into_iter().collect(), nest);
    Ok(format!(
        "# Without this, containerd would lose by the above what it has by default:\n{}",
        toml::to_string(&tables)?
    ))
}

/// Whether a text that need not be TOML, as a template is none, has a table of this handler.
pub(super) fn has_handler(text: &str, handler: &str) -> bool {
    let name = format!(".runtimes.{handler}.");
    let head = |line: &str| {
        line.trim_start().strip_prefix('[')?.split(']').next().map(|head| head.replace(['"', '\''], "") + ".")
    };
    text.lines().filter_map(head).any(|head| head.contains(&name))
}

/// Whether such a file is ours.
pub(super) fn is_drop_in(text: &str) -> bool {
    text.starts_with(MADE)
}

/// A first file for ConfigPath. It has to be there, and all that could stand in it has a default.
pub(super) const RUNSC_CONFIG: &str = "\
# Made by `runsc-guard install`; yours as soon as you change it.
# gVisor's flags stand under [runsc_config]. Every key of [guard] has a default.
[guard]
";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "[a.b]\nc = 1\n";

    #[test]
    fn what_was_there_comes_back_to_the_byte() {
        for text in ["", "a = 1", "a = 1\n", "a = 1\n\n\n", "a = 1\r\n# END runsc-guard\n"] {
            let with = with_block(text, TABLES).unwrap();
            assert!(with.starts_with(text) && with.contains(TABLES) && has_block(&with), "{with:?}");
            assert_eq!(without_block(&with).unwrap().as_deref(), Some(text));
            assert_eq!(tables(&with), Some(TABLES));
            assert_eq!(with_block(&with, TABLES).unwrap(), with, "again is the same");
        }
        assert_eq!(without_block("a = 1\n").unwrap(), None);
    }

    #[test]
    fn a_block_is_replaced_where_it_stands() {
        let with = with_block("a = 1\n", "old = 1\n").unwrap() + "[after]\n";
        let replaced = with_block(&with, TABLES).unwrap();
        assert!(!replaced.contains("old") && replaced.ends_with("# END runsc-guard\n[after]\n"));
        assert_eq!(without_block(&replaced).unwrap().as_deref(), Some("a = 1\n[after]\n"));
    }

    #[test]
    fn an_editor_may_have_taken_the_last_line_feed() {
        let with = with_block("a = 1\n", TABLES).unwrap();
        assert_eq!(without_block(with.trim_end()).unwrap().as_deref(), Some("a = 1\n"));
    }

    #[test]
    fn a_block_without_its_end_is_nobodys_to_guess() {
        let error = with_block("a = 1\n\n# BEGIN runsc-guard: x\nb = 1\n", TABLES).unwrap_err();
        assert!(error.to_string().starts_with("line 2 begins a block"), "{error}");
        assert!(without_block("# BEGIN runsc-guard\n").is_err());
    }

    #[test]
    fn what_an_operator_has_added_is_kept() {
        assert_eq!(updated("", TABLES).unwrap(), TABLES);
        let edited = "# mine\n[a]\n[a.b]\n  c = 1\n  pod_annotations = [\"x\"]\n[a.d]\n  e = 2\n";
        assert_eq!(updated(edited, TABLES).unwrap(), edited, "to the byte");
        let changed: Table = toml::from_str(&updated(edited, "[a.b]\nc = 3\n").unwrap()).unwrap();
        let expected = "[a.b]\nc = 3\npod_annotations = [\"x\"]\n[a.d]\ne = 2\n";
        assert_eq!(changed, toml::from_str(expected).unwrap());
    }

    #[test]
    fn a_template_tells_its_handlers() {
        let template = "{{ template \"base\" . }}\n  [plugins.'p.v1'.containerd.runtimes.\"a\"] # mine\n[x.runtimes.b.options]\n";
        assert!(has_handler(template, "a") && has_handler(template, "b"));
        assert!(!has_handler(template, "c") && !has_handler("# [x.runtimes.a]\n", "a"));
    }

    #[test]
    fn files_of_ours_are_known_by_their_first_line() {
        assert!(
            is_drop_in(&drop_in(TABLES)) && body(&drop_in(TABLES)) == TABLES && !is_drop_in("version = 3\n")
        );
        let made = with_block(&new_file(3), TABLES).unwrap();
        assert!(is_new_file(&without_block(&made).unwrap().unwrap()) && !is_new_file(&made));
    }
}
