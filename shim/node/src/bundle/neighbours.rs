//! What the files of others say about a container: the real shim's `state.json`, runsc's state files. Only the few fields that are needed are looked at; a spec has tens of kilobytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::Config;
use runsc_guard_sandbox::resources::spec::MAX_SPEC;
use runsc_guard_sandbox::resources::state_file::{RunscState, parse_name};
use runsc_guard_sandbox::sys::file;

use super::{MemberRecord, Record};

/// Where runsc works for that namespace, as the real shim was configured, from its `state.json`
/// (`pkg/shim/v1/runsc/state.go`); it is the first thing that Create writes.
pub fn state_root(bundle: &Path, namespace: &str) -> Option<PathBuf> {
    root_in_state(&file::read(&bundle.join("state.json"), MAX_SPEC).ok()?, namespace)
}

pub(crate) fn root_in_state(content: &[u8], namespace: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct State {
        options: Options,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Options {
        #[serde(default)]
        root: PathBuf,
        runsc_config: Option<Flags>,
    }
    #[derive(Deserialize)]
    struct Flags {
        root: Option<PathBuf>,
    }
    let Options { root, runsc_config } = serde_json::from_slice::<State>(content).ok()?.options;
    let flag = runsc_config.and_then(|flags| flags.root);
    let named = Config { runsc_root: root, runsc_flag_root: flag, ..Config::default() };
    Some(named.runsc_root_of(namespace)).filter(|root| root.is_absolute())
}

/// The sandbox of container `id`, from the names of runsc's state files.
pub fn sandbox_of(runsc_root: &Path, id: &str) -> Option<String> {
    state_names(runsc_root).into_iter().find(|(container, _)| container == id).map(|(_, sandbox)| sandbox)
}

/// The sandbox of container `id`, from the records in the bundles beside its own, which itself may be gone.
pub fn recorded_beside(bundle: &Path, id: &str) -> Option<String> {
    let beside = fs::read_dir(bundle.parent()?).ok()?.flatten();
    let mut records = beside.filter_map(|entry| Record::load(&entry.path()));
    records.find(|record| record.member(id).is_some()).map(|record| record.sandbox)
}

/// Every container that runsc's state files name in `sandbox`, with its bundle and the sentry's pid where
/// they can be read.
pub fn sandbox_states(runsc_root: &Path, sandbox: &str) -> Vec<MemberRecord> {
    let mut names = state_names(runsc_root);
    names.retain(|(_, group)| group == sandbox);
    let read = |(id, _): (String, String)| {
        let state = RunscState::read(runsc_root, &id, sandbox).ok();
        let sentry = state.as_ref().and_then(|state| state.sandbox.as_ref());
        MemberRecord {
            id,
            pid: sentry.map_or(0, |sentry| sentry.pid.unsigned_abs()),
            bundle: state.map(|state| state.bundle_dir).unwrap_or_default(),
            ..MemberRecord::default()
        }
    };
    names.into_iter().map(read).collect()
}

/// Container and sandbox of every state file.
pub fn state_names(runsc_root: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(runsc_root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (container, sandbox, _) = parse_name(&name).filter(|(_, _, kind)| *kind == "state")?;
            Some((container.to_owned(), sandbox.to_owned()))
        })
        .collect()
}
