//! Runtime handlers: the same containerd serves the unguarded shim and the guard, each in as many variants as
//! the scenarios need.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// One runtime handler of a [`crate::Host`]: a name for CRI, a runtime type, and a configuration file.
#[derive(Clone, Debug)]
pub struct Handler {
    pub(crate) name: String,
    pub(crate) guarded: bool,
    guard_table: String,
    runsc: Option<PathBuf>,
    real_shim: Option<PathBuf>,
    flags: Vec<(String, String)>,
}

impl Handler {
    /// gVisor's own shim, as most people run it today.
    pub fn unguarded(name: &str) -> Self {
        Self::new(name, false)
    }

    /// The guard over gVisor's own shim.
    pub fn guarded(name: &str) -> Self {
        Self::new(name, true)
    }

    fn new(name: &str, guarded: bool) -> Self {
        Self {
            name: name.to_owned(),
            guarded,
            guard_table: String::new(),
            runsc: None,
            real_shim: None,
            flags: Vec::new(),
        }
    }

    /// A guarded one with this `kill_deadline`, so that ends can be waited for: `"2s"`.
    pub fn quick(name: &str, kill_deadline: &str) -> Self {
        Self::guarded(name).guard("kill_deadline", &format!("{kill_deadline:?}"))
    }

    /// Sets one key of `[guard]`, as it would stand in TOML: `.guard("kill_deadline", "\"2s\"")`. An
    /// unguarded handler has no such table.
    pub fn guard(mut self, key: &str, value: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.guard_table, "{key} = {value}");
        self
    }

    /// Runs this instead of `runsc` (a wrapper, see [`crate::faults::hanging_runsc`]).
    pub fn runsc(mut self, path: impl Into<PathBuf>) -> Self {
        self.runsc = Some(path.into());
        self
    }

    /// Has the guard run this instead of the real shim.
    pub fn real_shim(mut self, path: impl Into<PathBuf>) -> Self {
        self.real_shim = Some(path.into());
        self
    }

    /// Passes `--key=value` to runsc.
    pub fn runsc_flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    /// What follows `--runtime` in ctr and stands as `runtime_type` in containerd's configuration.
    pub fn runtime_type(&self) -> &'static str {
        if self.guarded { "io.containerd.runsc-guard.v2" } else { "io.containerd.runsc.v1" }
    }

    /// Whether the guard stands before the real shim.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// The file that `ConfigPath` names, in the folder of a host.
    pub fn config_path(&self, host: &Path) -> PathBuf {
        host.join(format!("{}.toml", self.name))
    }

    /// What stands in it.
    pub(crate) fn toml(&self, host: &Path, real_shim: &Path) -> String {
        let mut text = format!("root = {:?}\n", host.join("r"));
        if let Some(runsc) = &self.runsc {
            let _ = writeln!(text, "binary_name = {runsc:?}");
        }
        text.push_str("[runsc_config]\nplatform = \"systrap\"\n");
        for (key, value) in &self.flags {
            let _ = writeln!(text, "{key} = {value:?}");
        }
        if self.guarded {
            let reports = host.join("reports");
            let real_shim = self.real_shim.as_deref().unwrap_or(real_shim);
            let _ = writeln!(
                text,
                "[guard]\nshim = {real_shim:?}\nreport_dir = {reports:?}\n{}",
                self.guard_table
            );
        }
        text
    }
}
