//! The configuration reference as a file to start from: each key in a comment, at its default.

use super::keys::Key;
use super::words;

/// The file.
pub(super) fn file(keys: &[Key]) -> String {
    let mut file = String::new();
    for paragraph in words::INTRODUCTION {
        file += &comment(paragraph);
        file += "#\n";
    }
    file += "# See runsc-guard.toml(5).\n\n[guard]\n";
    for Key { name, default, accepted, meaning, .. } in keys {
        file += &format!(
            "\n{}{}# {name} = {default}\n",
            comment(&format!("{meaning}.")),
            comment(&format!("Accepted: {accepted}."))
        );
    }
    file
}

/// Lines of at most this.
const WIDTH: usize = 100;

fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::commands::generate::keys;
    use runsc_guard_node::config::{Config, parse};

    #[test]
    fn it_says_what_holds_without_it() {
        let file = file(&keys::all().unwrap());
        assert_eq!(parse(Path::new("example"), &file).unwrap(), Config::default());
        let set: String = file
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .fold(String::new(), |all, line| all + line + "\n");
        assert_eq!(set.lines().count(), 1 + runsc_guard_node::config::KEYS.len(), "{set}");
        assert_eq!(parse(Path::new("example"), &set).unwrap(), Config::default());
    }
}
