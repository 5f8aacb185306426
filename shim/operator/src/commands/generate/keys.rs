//! What `[guard]` takes, as the table of its keys has it; what depends on other keys is asked of the code that reads a
//! file: each key is tried with the ends of its bounds.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use humantime::format_duration;
use runsc_guard_node::config::{self, Accepted, Bounds, Config, ConfigError};
use serde_json::Value;

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// As it would stand in the file.
    pub(super) default: String,
    /// What is taken, and what depends on other keys.
    pub(super) accepted: String,
    pub(super) meaning: String,
    /// By which a pod may shorten it.
    pub(super) annotation: Option<String>,
}

/// Each of them, in the order in which an error lists them.
pub(super) fn all() -> Result<Vec<Key>> {
    config::KEYS.iter().map(key).collect()
}

fn key(key: &config::Key) -> Result<Key> {
    Ok(Key {
        name: key.name,
        default: default(key.name)?,
        accepted: accepted_in_words(key.name, &key.accepted())?,
        meaning: key.meaning(),
        annotation: key.annotation().map(|name| format!("{}{name}", config::ANNOTATIONS)),
    })
}

/// What `[guard]` says to this value.
fn refusal(key: &str, value: &str) -> Result<Option<Accepted>> {
    match config::parse(Path::new("generated"), &format!("[guard]\n{key} = {value}")) {
        Ok(_) => Ok(None),
        Err(ConfigError::Value { accepted, .. }) => Ok(Some(*accepted)),
        Err(error) => bail!("{key} = {value}: {error}"),
    }
}

/// The bounds, and what the ends of them meet in other keys' defaults.
fn accepted_in_words(name: &str, accepted: &Accepted) -> Result<String> {
    let (Accepted::Duration(Bounds { least, most }) | Accepted::DurationOrNever(Bounds { least, most })) =
        accepted
    else {
        return Ok(accepted.to_string());
    };
    let mut words = format!("{} to {}", quoted(*least), quoted(*most));
    if matches!(accepted, Accepted::DurationOrNever(_)) {
        words += ", or \"0s\" for never";
    }
    for end in [least, most] {
        if let Some(other) = refusal(name, &quoted(*end))? {
            words += &format!("; {other}");
        }
    }
    Ok(words)
}

fn quoted(duration: Duration) -> String {
    format!("\"{}\"", format_duration(duration))
}

fn default(name: &str) -> Result<String> {
    let config = serde_json::to_value(Config::default())?;
    let value = config.get(name).or_else(|| config.get("policy")?.get(name));
    Ok(match value.with_context(|| format!("{name} has no default"))? {
        Value::Null => quoted(Duration::ZERO),
        duration @ Value::Object(_) => quoted(serde_json::from_value(duration.clone())?),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn bounds_and_defaults_are_those_of_the_code() {
        let keys = all().unwrap();
        let of = |name: &str| keys.iter().find(|key| key.name == name).unwrap();
        assert_eq!(
            (of("kill_deadline").default.as_str(), of("kill_deadline").accepted.as_str()),
            ("\"10s\"", "\"100ms\" to \"1h\"")
        );
        assert_eq!(of("abort_fuse").accepted, "true or false");
        assert!(
            of("hard_limit").accepted.contains("or \"0s\" for never; at least kill_deadline"),
            "{}",
            of("hard_limit").accepted
        );
        assert!(of("delete_deadline").accepted.contains("where shutdown_deadline is \"2s\""));
        assert_eq!(of("shim").annotation, None);
        let annotated: BTreeSet<_> = keys.iter().filter_map(|key| key.annotation.as_deref()).collect();
        assert_eq!(annotated.len(), 7);
        assert!(annotated.contains("io.containerd.runsc-guard.hard-limit"));
    }
}
