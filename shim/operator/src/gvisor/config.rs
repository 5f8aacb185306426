//! What gVisor's shim makes of the file that ConfigPath names, and what it silently does not: it reads TOML into known keys
//! (`pkg/shim/v1/runsc/options.go`) and forgets all others; what is not of a key's type fails every Create; and what stands
//! in `[runsc_config]` becomes runsc's flags (`pkg/shim/v1/runsccmd/runsc.go`). Pure.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::flags::{Flags, Kind};

/// Keys at the top, and what they take. gVisor finds them whatever letters are capitals.
const KEYS: [(&str, Takes); 10] = [
    ("shim_cgroup", Takes::Text),
    ("io_uid", Takes::Number),
    ("io_gid", Takes::Number),
    ("binary_name", Takes::Text),
    ("root", Takes::Text),
    ("log_path", Takes::Text),
    ("log_level", Takes::Text),
    ("grouping", Takes::Bool),
    ("enable_hibernate_server", Takes::Bool),
    ("runsc_config", Takes::Table),
];
const GUARD: &str = "guard";
const FLAGS: &str = "runsc_config";
/// What logrus knows.
const LEVELS: [&str; 8] = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];
const PLATFORMS: [&str; 3] = ["systrap", "kvm", "ptrace"];
/// Go's words (strconv.ParseBool).
const BOOLS: [&str; 12] = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Number,
    Bool,
    Table,
}

impl Takes {
    fn fits(self, value: &DeValue<'_>) -> bool {
        match self {
            Self::Text => value.is_str(),
            Self::Number => value.is_integer(),
            Self::Bool => value.is_bool(),
            Self::Table => value.is_table(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Number => "a whole number",
            Self::Bool => "true or false without quotes",
            Self::Table => "a table",
        }
    }
}

/// Something in that file that is not what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Its line.
    pub(crate) line: usize,
    /// Its key, with its table.
    pub(crate) key: String,
    /// What follows.
    pub(crate) what: String,
    /// What to write.
    pub(crate) remedy: String,
    /// No sandbox starts with it.
    pub(crate) fatal: bool,
}

/// Reads a file for such.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// runsc's flags, where they are known.
    pub(crate) flags: Option<&'a Flags>,
    /// What runsc says against a value, where it has to be asked.
    pub(crate) refusal: &'a dyn Fn(&str, &str) -> Option<String>,
    /// The keys of `[guard]`.
    pub(crate) guards: &'a [&'a str],
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    /// Of what is no TOML nothing is said here: it is said elsewhere.
    pub(crate) fn read(&self, text: &str) -> Vec<Mistake> {
        let Ok(document) = DeTable::parse(text) else { return Vec::new() };
        let document = document.get_ref();
        let mut found: Vec<(usize, Mistake)> = Vec::new();
        let mut top_root = None;
        for (key, value) in document {
            let name = key.get_ref().to_lowercase();
            if name == GUARD {
                continue;
            }
            if name == "root" {
                top_root = value.get_ref().as_str();
            }
            found.extend(self.at_the_top(key.get_ref(), &name, value).map(|one| (key.span().start, one)));
            for (flag, value) in value.get_ref().as_table().into_iter().flatten().filter(|_| name == FLAGS) {
                found.extend(self.flag(flag.get_ref(), value).map(|one| (flag.span().start, one)));
            }
        }
        let flags = document.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case(FLAGS));
        let root = flags.and_then(|(_, flags)| {
            flags.get_ref().as_table()?.iter().find(|(key, _)| *key.get_ref() == "root")
        });
        found.extend(
            root.and_then(|(key, root)| Some((key.span().start, wins(root.get_ref().as_str()?, top_root)))),
        );
        found.sort_by_key(|(at, _)| *at);
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        found.into_iter().map(|(at, one)| Mistake { line: line(at), ..one }).collect()
    }

    fn at_the_top(&self, key: &str, name: &str, value: &Value<'_>) -> Option<Mistake> {
        let Some((_, takes)) = KEYS.iter().find(|(known, _)| *known == name) else {
            return Some(self.stray(key, value));
        };
        let told = value.get_ref().as_str().unwrap_or_default();
        match name {
            _ if !takes.fits(value.get_ref()) => Some(fatal(
                key,
                format!("gVisor's shim takes {} there and refuses the file: no sandbox starts", takes.words()),
                format!("make it {}", takes.words()),
            )),
            "log_level" if !told.is_empty() && !LEVELS.contains(&told.to_lowercase().as_str()) => Some(fatal(
                key,
                format!("{told:?} is no level of its log: no sandbox starts"),
                format!("one of {}", LEVELS.join(", ")),
            )),
            "log_path" if !told.is_empty() => Some(slight(
                key,
                "gVisor's shim opens it again for each container that is created and never closes it: one that restarts \
                 again and again uses up the descriptors of its pod's shim, and its Create then fails"
                    .to_owned(),
                "take it out where containers restart; the shim's log is in containerd's, too".to_owned(),
            )),
            _ => None,
        }
    }

    /// A key that gVisor does not read.
    fn stray(&self, key: &str, value: &Value<'_>) -> Mistake {
        let quoted = match value.get_ref().as_str() {
            Some(text) => format!("{text:?}"),
            None => match value.get_ref().as_bool() {
                Some(word) => format!("\"{word}\""),
                None => "\"...\"".to_owned(),
            },
        };
        let remedy = match self.flags.and_then(|flags| flags.like(key)) {
            _ if value.get_ref().is_table() => {
                format!(
                    "tables of this file are [{FLAGS}], gVisor's, and [{GUARD}]; take it out, or give it its right name"
                )
            }
            _ if self.guards.contains(&key) => format!("move it below [{GUARD}]"),
            Some(flag) => format!("move it below [{FLAGS}], in quotes: {flag} = {quoted}"),
            None => "take it out, or give it its right name".to_owned(),
        };
        slight(key, "nobody reads it there: it has no effect".to_owned(), remedy)
    }

    fn flag(&self, key: &str, value: &Value<'_>) -> Option<Mistake> {
        let named = format!("[{FLAGS}] {key}");
        let Some(text) = value.get_ref().as_str() else {
            let word = value.get_ref().as_bool().map(|word| word.to_string());
            let word = word.or_else(|| value.get_ref().as_integer().map(|number| number.to_string()));
            let remedy = format!("{key} = \"{}\"", word.as_deref().unwrap_or("..."));
            let what = "gVisor's shim takes a text there and refuses the file: no sandbox starts";
            return Some(fatal(&named, what.to_owned(), remedy));
        };
        if self.guards.contains(&key) || KEYS.iter().any(|(known, _)| *known == key && key != "root") {
            let where_to = if self.guards.contains(&key) {
                format!("move it below [{GUARD}]")
            } else {
                "move it to the top of the file, above all tables".to_owned()
            };
            return Some(fatal(
                &named,
                "it is no flag of runsc's, which refuses it: no sandbox starts".to_owned(),
                where_to,
            ));
        }
        let kind = match self.flags.map(|flags| (flags.kind(key), flags.like(key))) {
            Some((None, like)) => {
                let what = "runsc has no such flag, and refuses it: no sandbox starts".to_owned();
                let remedy = like
                    .map_or("take it out; `runsc flags` lists those that there are".to_owned(), |like| {
                        format!("it is called {like}")
                    });
                return Some(fatal(&named, what, remedy));
            }
            Some((kind, _)) => kind,
            None => None,
        };
        self.value(key, &named, text, kind)
    }

    fn value(&self, key: &str, named: &str, text: &str, kind: Option<Kind>) -> Option<Mistake> {
        let refuses = |takes: &str| {
            let what = format!("{text:?} is not what runsc takes there ({takes}): no sandbox starts");
            Some(fatal(named, what, format!("{key} = one of {takes}")))
        };
        if text.trim() != text {
            let what = format!("{text:?} has a blank in it, and runsc takes it as part of the value");
            return Some(Mistake {
                fatal: kind != Some(Kind::Text) || key == "platform",
                ..fatal(named, what, format!("{key} = {:?}", text.trim()))
            });
        }
        match kind {
            Some(Kind::Bool) if !BOOLS.contains(&text) => refuses("\"true\", \"false\""),
            Some(Kind::Number) if text.parse::<i64>().is_err() => refuses("whole numbers in quotes"),
            Some(Kind::Other) => {
                let said = (self.refusal)(key, text)?;
                Some(fatal(
                    named,
                    format!("runsc refuses it: no sandbox starts: {said}"),
                    "`runsc flags` says what it takes".to_owned(),
                ))
            }
            _ if key == "platform" && !PLATFORMS.contains(&text) => {
                refuses("\"systrap\", \"kvm\", \"ptrace\"")
            }
            _ => None,
        }
    }
}

fn wins(root: &str, top: Option<&str>) -> Mistake {
    let over =
        top.map_or("the folder that the shim gives".to_owned(), |top| format!("root = {top:?} at the top"));
    slight(
        &format!("[{FLAGS}] root"),
        format!(
            "{root:?} wins over {over}, and containers of all of containerd's namespaces lie in it together: `ctr` and \
             `crictl` may see each other's, and runsc's own commands need --root={root}"
        ),
        format!(
            "root = {root:?} at the top of the file instead, above all tables: the namespace is added there"
        ),
    )
}

fn fatal(key: &str, what: String, remedy: String) -> Mistake {
    Mistake { line: 0, key: key.to_owned(), what, remedy, fatal: true }
}

fn slight(key: &str, what: String, remedy: String) -> Mistake {
    Mistake { fatal: false, ..fatal(key, what, remedy) }
}

#[cfg(test)]
mod tests;
