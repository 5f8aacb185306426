//! What `[guard]` takes, asked of the code that reads it: each key is tried with values that it cannot take, and the
//! refusals tell its bounds. Only the meanings are words of this file's own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use humantime::format_duration;
use runsc_guard_core::policy::{Policy, limits};
use runsc_guard_node::config::{self, Accepted, Bounds, Config, ConfigError};
use runsc_guard_node::report::{KEPT, WEIGHT};
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
    config::KEYS.into_iter().map(key).collect()
}

fn key(name: &'static str) -> Result<Key> {
    let accepted = refusal(name, "[]")?.with_context(|| format!("{name} takes anything"))?;
    let annotation = format!("{}{}", config::ANNOTATIONS, name.replace('_', "-"));
    let ignored = config::apply_annotations(&mut Policy::default(), [(annotation.as_str(), "100ms")]);
    Ok(Key {
        name,
        default: default(name)?,
        accepted: accepted_in_words(name, &accepted)?,
        meaning: meaning(name).with_context(|| format!("{name} has no meaning"))?,
        annotation: ignored.is_none().then_some(annotation),
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

fn meaning(name: &str) -> Option<String> {
    let words = match name {
        "shim" => "The real shim, which the guard runs: a name on containerd's PATH, or an absolute path",
        "create_deadline" => {
            "Create; then what it began is torn down, and only that, and the error names the step that is stuck"
        }
        "start_deadline" => "Start of a task; then an error, and nothing is torn down",
        "exec_deadline" => {
            "Exec, Start of an exec, Update, Pause, Resume, ResizePty and CloseIO; then an error, and nothing is torn down"
        }
        "query_deadline" => {
            return Some(format!(
                "State and Pids; then they are answered from the guard's record (containerd waits {} for State)",
                format_duration(limits::STATE)
            ));
        }
        "stats_deadline" => {
            return Some(format!(
                "Stats; then an error (containerd waits {})",
                format_duration(limits::STATS)
            ));
        }
        "signal_deadline" => {
            "Signals other than SIGKILL; then they count as pending, and are delivered when that is possible"
        }
        "kill_deadline" => {
            "SIGKILL to the exit, counted from the first: retries do not move it; then the sandbox is ended"
        }
        "hard_limit" => {
            "The same for one container of a pod while the sandbox answers and a sibling lives that nobody has asked to end, since that goes with it"
        }
        "delete_deadline" => {
            "Delete, through errors too; then the container is released by itself (for the root container the sandbox is ended), and the answer is its exit"
        }
        "shutdown_deadline" => {
            return Some(format!(
                "Shutdown; it is answered by then (containerd waits {})",
                format_duration(limits::SHUTDOWN)
            ));
        }
        "release_network" => {
            "Take the pod's links from a sandbox that the kernel cannot kill, so that nobody answers on an address \
             that is given away"
        }
        "abort_fuse" => {
            "Abort a hung FUSE connection that keeps a sandbox alive and that only this pod has mounted"
        }
        "report_dir" => {
            return Some(format!(
                "What was seen of a wedged sandbox goes there, one JSON file each; the guard makes the folder, and \
                 keeps the newest {KEPT} and {} MiB at most",
                WEIGHT >> 20
            ));
        }
        "watchdog" => {
            "A sandbox that stops answering, although nobody wants its end: \"report\" tells, \"kill\" ends it as well"
        }
        "watchdog_after" => "How long it must not have answered what containerd asks by itself",
        "allow_annotations" => "Whether a pod may shorten its own deadlines",
        _ => return None,
    };
    Some(words.to_owned())
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
