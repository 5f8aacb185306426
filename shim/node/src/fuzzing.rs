//! What the fuzz targets do with the configuration, and with the files of the guard and its neighbours.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;
use runsc_guard_core::policy::{ANSWER_MARGIN, DELETE_BINARY_CLEAN, Policy, Watchdog, budgets, limits};
use runsc_guard_sandbox::resources::spec::{Annotations, Membership};
use runsc_guard_sandbox::sys::identity::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bundle::neighbours::root_in_state;
use crate::bundle::{MemberRecord, Record};
use crate::config::{self, Config, ConfigError, LogFormat, StatsWay};
use crate::params::ServeParams;

/// The TOML file that `ConfigPath` names. A configuration that is accepted keeps every bound and can be written as
/// TOML and as JSON without a change; one that is not is refused in one line that names file and line.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = |text: &str| config::parse(Path::new("/c.toml"), text);
    match read(text) {
        Ok(config) => {
            assert_bounds(&config);
            assert_reads_back(&config);
            let again = as_toml(&config);
            assert_eq!(read(&again).ok(), Some(config), "{again}");
        }
        Err(error) => {
            let (told, lines) = (error.to_string(), text.split('\n').count());
            let line = match error {
                ConfigError::Syntax { line, .. }
                | ConfigError::Unknown { line, .. }
                | ConfigError::Elsewhere { line, .. }
                | ConfigError::Value { line, .. } => line,
                other => panic!("not about the text: {other}"),
            };
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {told}");
            assert!(told.starts_with(&format!("/c.toml:{line}: ")), "{told}");
            assert!(!told.contains(char::is_control) && told.len() < 1000, "{told}");
        }
    }
}

fn assert_bounds(config: &Config) {
    let (hundred_ms, second) = (Duration::from_millis(100), Duration::from_secs(1));
    let Policy { create_deadline, start_deadline, exec_deadline, signal_deadline, .. } = config.policy;
    let Policy { query_deadline, stats_deadline, kill_deadline, hard_limit, .. } = config.policy;
    let Policy { delete_deadline, shutdown_deadline, watchdog_after, .. } = config.policy;
    let hour = 3600 * second;
    for (deadline, most) in [
        (create_deadline, hour),
        (start_deadline, hour),
        (exec_deadline, hour),
        (signal_deadline, hour),
        (kill_deadline, hour),
        (hard_limit.unwrap_or(kill_deadline), hour),
        (query_deadline, limits::STATE - ANSWER_MARGIN),
        (stats_deadline, limits::STATS - ANSWER_MARGIN),
        (shutdown_deadline, limits::SHUTDOWN - ANSWER_MARGIN),
        (delete_deadline, limits::EXIT_HANDLING),
    ] {
        assert!((hundred_ms..=most).contains(&deadline), "{deadline:?} in {config:?}");
    }
    let exit = delete_deadline + budgets::TOTAL + shutdown_deadline + DELETE_BINARY_CLEAN;
    assert!(exit <= limits::EXIT_HANDLING - second, "{config:?}");
    assert!(hard_limit.is_none_or(|limit| limit >= kill_deadline), "{config:?}");
    assert!((second..=24 * hour).contains(&watchdog_after), "{config:?}");
    assert!(config.report_dir.is_absolute() && !config.shim.is_empty(), "{config:?}");
}

fn as_toml(config: &Config) -> String {
    let policy = &config.policy;
    let durations = [
        ("create_deadline", policy.create_deadline),
        ("start_deadline", policy.start_deadline),
        ("exec_deadline", policy.exec_deadline),
        ("query_deadline", policy.query_deadline),
        ("stats_deadline", policy.stats_deadline),
        ("signal_deadline", policy.signal_deadline),
        ("kill_deadline", policy.kill_deadline),
        ("hard_limit", policy.hard_limit.unwrap_or_default()),
        ("delete_deadline", policy.delete_deadline),
        ("shutdown_deadline", policy.shutdown_deadline),
        ("watchdog_after", policy.watchdog_after),
    ];
    let watchdog = match policy.watchdog {
        Watchdog::Off => "off",
        Watchdog::Report => "report",
        Watchdog::Kill => "kill",
    };
    let stats = match config.stats {
        StatsWay::Direct => "direct",
        StatsWay::Shim => "shim",
    };
    let log_format = match config.log_format {
        LogFormat::Logfmt => "logfmt",
        LogFormat::Json => "json",
    };
    let mut text = format!(
        "root = {}\nbinary_name = {}\n{}[guard]\nshim = {}\nreport_dir = {}\nwatchdog = \"{watchdog}\"\nstats = \"{stats}\"\nlog_format = \"{log_format}\"\n\
         release_network = {}\nabort_fuse = {}\nallow_annotations = {}\n",
        quoted(&config.runsc_root.to_string_lossy()),
        quoted(&config.runsc_binary),
        flags(config),
        quoted(&config.shim),
        quoted(&config.report_dir.to_string_lossy()),
        config.release_network,
        config.abort_fuse,
        config.allow_annotations,
    );
    for (key, duration) in durations {
        text.push_str(&format!("{key} = \"{}\"\n", format_duration(duration)));
    }
    text
}

/// `[runsc_config]`, as far as the guard goes by it.
fn flags(config: &Config) -> String {
    let root = config.runsc_flag_root.as_ref().map(|root| quoted(&root.to_string_lossy()));
    let root = root.map_or_else(String::new, |root| format!("root = {root}\n"));
    format!("[runsc_config]\n{root}allow-flag-override = \"{}\"\n", config.runsc_flag_override)
}

/// A TOML string, with every character by its number.
fn quoted(text: &str) -> String {
    let escaped: String = text.chars().map(|one| format!("\\U{:08X}", u32::from(one))).collect();
    format!("\"{escaped}\"")
}

/// The guard's own files, which may be forged or damaged: the record in a bundle, and what the guard was told.
/// What is understood is written and read back without a change, and pids of another boot are forgotten.
pub fn record(data: &[u8]) {
    for boot in ["this", ""] {
        let Some(mut record) = Record::parse(data, boot) else { continue };
        assert!(
            record.boot_id == boot
                || [record.guard, record.real_shim, record.sentry] == [None; 3] && record.gofers.is_empty()
        );
        assert!(record.members.iter().all(|member| !member.id.is_empty()));
        let written = serde_json::to_vec(&record).unwrap_or_default();
        assert_eq!(Record::parse(&written, boot).as_ref(), Some(&record));
        assert_eq!(record.scope().members.len(), record.members.len());
        let released = record.is_released();
        assert!(!released || record.members.iter().all(|member| member.released));
        // A container that joins is there once, and what was known stays.
        let count = record.members.len();
        let known = record.member("joined").cloned();
        let joined = record.member_mut("joined", Path::new("/b/joined")).clone();
        assert_eq!(record.members.len(), count + usize::from(known.is_none()));
        let new =
            || MemberRecord { id: "joined".into(), bundle: "/b/joined".into(), ..MemberRecord::default() };
        assert_eq!(joined, known.unwrap_or_else(new));
    }
    if let Ok(params) = serde_json::from_slice::<ServeParams>(data) {
        assert_reads_back(&params);
        assert_eq!(params.record().members.len(), 1);
    }
    if let Ok(identity) = serde_json::from_slice::<Identity>(data) {
        assert_reads_back(&identity);
    }
}

/// The files of containerd and the real shim in a bundle: `config.json` and `state.json`.
pub fn spec(data: &[u8]) {
    let annotations = || Annotations::in_config(data).ok();
    if let Some(Membership::MemberOf(sandbox)) = annotations().map(|mut all| all.membership()) {
        assert!(!sandbox.is_empty());
    }
    // It becomes part of a path.
    let uid = annotations().and_then(|mut all| all.pod_uid());
    assert!(uid.is_none_or(|uid| !uid.is_empty() && !uid.contains(['/', '.', '\0'])));
    assert!(root_in_state(data, "ns").is_none_or(|root| root.is_absolute()));
    runsc_guard_sandbox::fuzzing::configured(data);
}

fn assert_reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let written = serde_json::to_vec(value).unwrap_or_default();
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(value));
}
