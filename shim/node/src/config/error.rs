//! A mistake in a configuration, told with its line and with what is accepted there.

use std::path::PathBuf;

use runsc_guard_sandbox::sys::file;
use toml::Spanned;
use toml::de::DeValue;

use super::bounds::Accepted;
use super::keys;

/// A configuration that cannot be used, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file gave no content.
    #[error("{}: {source}; it is the file that ConfigPath names for this runtime handler", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: file::ReadError,
    },
    /// gVisor's shim would take it from its own folder, which is another one under the guard.
    #[error("{}: ConfigPath must be an absolute path", .0.display())]
    Relative(PathBuf),
    /// Not text.
    #[error("{}:{line}: not UTF-8, which TOML must be", file.display())]
    NotText {
        /// Which file.
        file: PathBuf,
        /// The first line that is not.
        line: usize,
    },
    /// Not TOML.
    #[error("{}:{line}: not TOML: {message}", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A key that the guard does not know.
    #[error("{}:{line}: [guard] {key}: no such key; accepted: {}", file.display(), keys::names().join(", "))]
    Unknown {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: String,
    },
    /// A key of gVisor's by which the guard would look elsewhere than gVisor works.
    #[error("{}:{line}: {key} = {found}: the guard could not find what gVisor makes; accepted: {accepted}", file.display())]
    Elsewhere {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key, and the table that it is in.
        key: String,
        /// What stands there, shortened.
        found: String,
        /// What may stand there.
        accepted: &'static str,
    },
    /// A value that the guard does not take.
    #[error("{}:{line}: [guard] {key} = {found}: not accepted; accepted: {accepted}", file.display())]
    Value {
        /// Which file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: String,
        /// What stands there, shortened.
        found: String,
        /// What may stand there.
        accepted: Box<Accepted>,
    },
}

/// The text that errors point into.
pub(super) struct Source<'a> {
    pub(super) file: PathBuf,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn unknown(&self, at: usize, key: &str) -> ConfigError {
        ConfigError::Unknown { file: self.file.clone(), line: self.line(at), key: shorten(key) }
    }

    pub(super) fn refuse(
        &self,
        at: usize,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        accepted: Accepted,
    ) -> ConfigError {
        let found = shorten(self.text.get(value.span()).unwrap_or_default());
        ConfigError::Value {
            file: self.file.clone(),
            line: self.line(at),
            key: key.to_owned(),
            found,
            accepted: Box::new(accepted),
        }
    }

    pub(super) fn line(&self, at: usize) -> usize {
        line_of(self.text.as_bytes(), at)
    }
}

/// In one line of a bounded length: what somebody else may have written.
pub fn shorten(text: &str) -> String {
    const MOST: usize = 40;
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if chars.next().is_some() {
        short.push_str("...");
    }
    short
}

pub(super) fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
