//! runsc's flags, as it lists them itself: `runsc flags`. A flag stands in a line of its own, behind two blanks and a dash,
//! with the kind of its value, if it takes one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::bounded;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Go's words for true and false.
    Bool,
    /// A whole number.
    Number,
    /// Any text.
    Text,
    /// What only runsc knows.
    Other,
}

/// All of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(BTreeMap<String, Kind>);

impl Flags {
    /// As this runsc, which is root's alone, lists them.
    pub(crate) fn of(runsc: &Path, deadline: Instant) -> Option<Self> {
        let said = bounded::run(Command::new(runsc).arg("flags"), deadline).ok()?;
        // It is the usage that Go prints, which goes to stderr.
        let flags = Self::read(&(said.stdout + &said.stderr));
        Some(flags).filter(|flags| !flags.0.is_empty())
    }

    /// Those in a list.
    pub(crate) fn read(list: &str) -> Self {
        let flag = |line: &str| {
            let mut words = line.strip_prefix("  -")?.split_whitespace();
            let name = words.next()?.to_owned();
            let kind = match words.next() {
                None => Kind::Bool,
                Some("int" | "uint") => Kind::Number,
                Some("string") => Kind::Text,
                Some(_) => Kind::Other,
            };
            Some((name, kind))
        };
        Self(list.lines().filter_map(flag).collect())
    }

    /// What the flag of this name takes.
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        self.0.get(name).copied()
    }

    /// A flag that could be meant by a name that is none's: only dashes, underscores or capitals differ.
    pub(crate) fn like(&self, name: &str) -> Option<&str> {
        let bare = |name: &str| name.replace(['-', '_'], "").to_lowercase();
        self.0.keys().find(|flag| bare(flag) == bare(name)).map(String::as_str)
    }
}

/// What runsc says against a value of a flag whose kind only it knows; nothing if it takes it. Nothing is done by this:
/// flags are read first, and it then lists its flags.
pub(crate) fn refusal(runsc: &Path, name: &str, value: &str, deadline: Instant) -> Option<String> {
    let said =
        bounded::run(Command::new(runsc).arg(format!("--{name}={value}")).arg("flags"), deadline).ok()?;
    let refused = said.stderr.lines().next().filter(|line| line.starts_with("invalid ")).map(str::to_owned);
    refused.filter(|_| !said.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_go_lists_them() {
        let list = "  -debug\n    \tenable debug logging.\n  -fdlimit int\n    \tSpecifies -a limit (default -1)\n  \
                    -overlay2 value\n    \twrap mounts\n    \t* -none\n  -platform string\n    \twhich. (default \"systrap\")\n";
        let flags = Flags::read(list);
        assert_eq!(flags.0.len(), 4);
        for (name, kind) in [
            ("debug", Kind::Bool),
            ("fdlimit", Kind::Number),
            ("overlay2", Kind::Other),
            ("platform", Kind::Text),
        ] {
            assert_eq!(flags.kind(name), Some(kind), "{name}");
        }
        assert_eq!(flags.kind("Debug"), None, "Go tells small letters from capitals");
        assert_eq!(
            (flags.like("fd_limit"), flags.like("--debug"), flags.like("x")),
            (Some("fdlimit"), Some("debug"), None)
        );
        assert_eq!(Flags::read("runsc: unknown command"), Flags::default());
    }
}
