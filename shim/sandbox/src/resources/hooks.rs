//! The engine's own poststop hooks of a container, as runsc's state file lists them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One of a container's poststop hooks, as the OCI runtime specification has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hook {
    pub(crate) path: PathBuf,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    /// In seconds.
    pub(crate) timeout: Option<u64>,
}

/// The poststop hooks of one container.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    pub(crate) state: State,
    /// runsc's state file, which goes before they run.
    pub(crate) file: PathBuf,
    pub(crate) hooks: Vec<Hook>,
}

/// What a hook is told of its container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) pid: i32,
    pub(crate) bundle: PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Of these hooks, those that nobody has run: their state files were still there. Now they are not.
pub(crate) fn claim(hooks: &[Hooks]) -> Vec<Hooks> {
    hooks.iter().filter(|one| fs::remove_file(&one.file).is_ok()).cloned().collect()
}
