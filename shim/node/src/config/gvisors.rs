//! gVisor's own keys, as far as they say where things lie: the guard must look where the real shim and runsc do, and
//! says so at `start` where it could not. All else is gVisor's business.
//!
//! `[runsc_config]` becomes flags of runsc, after those that the real shim gives by itself (pkg/shim/v1/runsccmd/runsc.go,
//! `args`), and of two with one name runsc takes the last: `root` in there wins over the one at the top, and no
//! namespace is appended to it. What is relative there is so to the real shim's working directory, which under the
//! guard is another one.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source, shorten};
use super::values::Config;

const PATH: &str = "an absolute path";
const PROGRAM: &str = "a name on PATH, or an absolute path";
const ONCE: &str = "it once; gVisor does not tell small letters from capitals there, and takes either";

type Value<'a> = Spanned<DeValue<'a>>;

/// Takes over what is right; what is no text is a mistake that gVisor names in its own words at Create.
pub(super) fn read(
    config: &mut Config,
    source: &Source<'_>,
    document: &DeTable<'_>,
) -> Result<(), ConfigError> {
    if let Some((value, root)) = text(source, document, "root")? {
        config.runsc_root = absolute(source, "root", value, root)?.into();
    }
    if let Some((value, binary)) = text(source, document, "binary_name")? {
        if binary.contains('/') && !Path::new(binary).is_absolute() {
            return Err(source.elsewhere("binary_name", value, PROGRAM));
        }
        config.runsc_binary = binary.into();
    }
    let flags = entry(source, document, "runsc_config")?.and_then(|flags| flags.get_ref().as_table());
    for (key, value) in flags.into_iter().flatten() {
        let Some(text) = value.get_ref().as_str() else { continue };
        // Cut as runsc cuts its flag, wherever the TOML has put the sign.
        let flag = format!("{}={text}", key.get_ref());
        match flag.split_once('=') {
            Some((name @ "root", path)) => {
                let name = format!("[runsc_config] {name}");
                config.runsc_flag_root = Some(absolute(source, &name, value, path)?.into());
            }
            // Go's own words for true (strconv.ParseBool); runsc refuses what is none for false either.
            Some(("allow-flag-override", said)) => {
                config.runsc_flag_override = matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True");
            }
            Some((name @ "shared-root", path)) if !path.is_empty() => {
                absolute(source, &format!("[runsc_config] {name}"), value, path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn absolute<'a>(
    source: &Source<'_>,
    key: &str,
    value: &Value<'_>,
    path: &'a str,
) -> Result<&'a str, ConfigError> {
    if Path::new(path).is_absolute() { Ok(path) } else { Err(source.elsewhere(key, value, PATH)) }
}

/// A text that is not empty, which is the default.
fn text<'a>(
    source: &Source<'_>,
    document: &'a DeTable<'_>,
    name: &str,
) -> Result<Option<(&'a Value<'a>, &'a str)>, ConfigError> {
    let value = entry(source, document, name)?;
    Ok(value.and_then(|value| Some((value, value.get_ref().as_str().filter(|text| !text.is_empty())?))))
}

/// The value of a key in any mixture of small letters and capitals, as gVisor's reader finds it.
fn entry<'a>(
    source: &Source<'_>,
    document: &'a DeTable<'_>,
    name: &str,
) -> Result<Option<&'a Value<'a>>, ConfigError> {
    let mut found = document.iter().filter(|(key, _)| key.get_ref().eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value);
    match found.next() {
        Some((key, value)) => Err(source.elsewhere(key.get_ref(), value, ONCE)),
        None => Ok(first),
    }
}

impl Source<'_> {
    fn elsewhere(&self, key: &str, value: &Value<'_>, accepted: &'static str) -> ConfigError {
        ConfigError::Elsewhere {
            file: self.file.clone(),
            line: self.line(value.span().start),
            key: shorten(key),
            found: shorten(self.text.get(value.span()).unwrap_or_default()),
            accepted,
        }
    }
}
