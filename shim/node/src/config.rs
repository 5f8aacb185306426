//! The `[guard]` table, in the same TOML file that `ConfigPath` names for gVisor.
//!
//! gVisor ignores tables that it does not know, and here everything outside `[guard]` is gVisor's, except
//! what says where things lie, which is read too (`gvisors`). An unknown key
//! inside `[guard]` is an error: a deadline that is silently not set is worse than a pod that does not start.
//! Only `start` and `-info` parse TOML; the guard itself gets the result as JSON and keeps it for life.

use std::path::Path;

use toml::de::DeTable;

use runsc_guard_sandbox::sys::file;

mod annotations;
mod bounds;
mod error;
mod gvisors;
mod keys;
#[cfg(test)]
mod tests;
mod values;

pub use annotations::{PREFIX as ANNOTATIONS, apply as apply_annotations};
pub use bounds::{Accepted, Bounds};
pub use error::{ConfigError, shorten};
pub use keys::{KEYS, Key};
pub use values::{Config, LogFormat, REPORT_DIR, StatsWay};

use error::{Source, line_of};

/// Where it is looked for under CRI-O, which names a handler's file in Create only, when the guard has long been started
/// (`internal/oci/runtime_vm.go`, `CreateContainer`).
pub const OF_CRIO: &str = "/etc/crio/runsc-guard.toml";
/// The most that is read; a real one has a few hundred bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads the file that `ConfigPath` names; the defaults where it names none.
pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    if !path.is_absolute() {
        return Err(ConfigError::Relative(path.to_owned()));
    }
    let content = file::read(path, MAX_FILE)
        .map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
    match std::str::from_utf8(&content) {
        Ok(text) => parse(path, text),
        Err(error) => {
            Err(ConfigError::NotText { file: path.to_owned(), line: line_of(&content, error.valid_up_to()) })
        }
    }
}

/// Reads the text of a configuration; `path` is for the error only.
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let file = path.to_owned();
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        line: line_of(text.as_bytes(), error.span().map_or(0, |span| span.start)),
        message: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        file: file.clone(),
    })?;
    let mut config = Config::default();
    let source = Source { file, text };
    gvisors::read(&mut config, &source, document.get_ref())?;
    let Some((name, guard)) = document.get_ref().iter().find(|(key, _)| *key.get_ref() == "guard") else {
        return Ok(config);
    };
    let Some(table) = guard.get_ref().as_table() else {
        return Err(source.refuse(name.span().start, "guard", guard, Accepted::Table));
    };
    // In the order of the lines: the first mistake that a reader sees is the first that is told.
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in &entries {
        match keys::set(&mut config, key.get_ref(), value.get_ref()) {
            Ok(()) => {}
            Err(bounds::Refused::Key) => return Err(source.unknown(key.span().start, key.get_ref())),
            Err(bounds::Refused::Value(accepted)) => {
                return Err(source.refuse(key.span().start, key.get_ref(), value, accepted));
            }
        }
    }
    let is_set = |name: &str| entries.iter().any(|(key, _)| *key.get_ref() == name);
    match bounds::fit_together(&mut config.policy, is_set) {
        Ok(()) => Ok(config),
        Err((at, accepted)) => match entries.iter().find(|(key, _)| *key.get_ref() == at) {
            Some((key, value)) => Err(source.refuse(key.span().start, at, value, accepted)),
            None => Err(source.unknown(name.span().start, at)),
        },
    }
}
