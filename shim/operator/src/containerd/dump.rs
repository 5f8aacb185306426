//! What containerd makes of its configuration: `containerd config dump`, all imports merged, all defaults filled in.
//! It judges every change before it is made: what comes out must differ by the handler alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::files::Table as Cri;
use super::handler::Runtime;

/// Where the bundles of what runs are if nobody has said otherwise.
pub(crate) const STATE: &str = "/run/containerd";

/// A dump.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dump(Table);

impl Dump {
    /// Reads what containerd printed.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let mut table: Table =
            toml::from_str(text).context("what `containerd config dump` prints is no TOML")?;
        // Which files they are is told here, not what is in them.
        table.remove("imports");
        Ok(Self(table))
    }

    /// The tables of all handlers.
    pub(crate) fn tables(&self) -> BTreeMap<String, Value> {
        let runtimes = self.at(&["plugins", self.cri(), "containerd", "runtimes"]).and_then(Value::as_table);
        runtimes.into_iter().flatten().map(|(name, handler)| (name.clone(), handler.clone())).collect()
    }

    /// All handlers.
    pub(crate) fn handlers(&self) -> BTreeMap<String, Runtime> {
        let read = |handler: Value| handler.try_into().unwrap_or_default();
        self.tables().into_iter().map(|(name, handler)| (name, read(handler))).collect()
    }

    /// Those with the guard, and each one's ConfigPath.
    pub(crate) fn guarded(&self) -> BTreeMap<String, PathBuf> {
        let guarded = self.handlers().into_iter().filter(|(_, one)| one.is_guard());
        guarded.map(|(name, one)| (name, one.options.unwrap_or_default().config_path.into())).collect()
    }

    /// Whether a handler, of whatever type, has this ConfigPath.
    pub(crate) fn relies_on(&self, config_path: &Path) -> bool {
        self.handlers().values().any(|one| one.config_path() == Some(config_path))
    }

    /// The handler of pods that name none.
    pub(crate) fn default_handler(&self) -> Option<&str> {
        self.at(&["plugins", self.cri(), "containerd", "default_runtime_name"])?.as_str()
    }

    /// Where the bundles of what runs are.
    pub(crate) fn state(&self) -> &str {
        self.at(&["state"]).and_then(Value::as_str).unwrap_or(STATE)
    }

    /// Whether containerd writes its log as JSON.
    pub(crate) fn logs_json(&self) -> bool {
        self.at(&["debug", "format"]).and_then(Value::as_str) == Some("json")
    }

    /// Whether containerd's CRI is switched off, by whichever of its names.
    pub(crate) fn has_no_cri(&self) -> bool {
        let disabled = self.at(&["disabled_plugins"]).and_then(Value::as_array);
        let names = || disabled.into_iter().flatten().filter_map(Value::as_str);
        names().any(|name| Cri::ALL.iter().any(|table| table.plugin() == name))
    }

    /// The same without this handler.
    pub(crate) fn without(&self, handler: &str) -> Self {
        let mut table = self.0.clone();
        let path = ["plugins", self.cri(), "containerd", "runtimes"];
        let runtimes = path.into_iter().try_fold(&mut table, |table, key| table.get_mut(key)?.as_table_mut());
        if let Some(runtimes) = runtimes {
            runtimes.remove(handler);
        }
        Self(table)
    }

    /// The first key in which two dumps differ.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        difference(&self.0, &other.0).map(|path| path.join("."))
    }

    /// The plugin that has the handlers. A dump is of the newest version that its containerd knows.
    fn cri(&self) -> &'static str {
        let version = self.at(&["version"]).and_then(Value::as_integer).unwrap_or_default();
        Cri::of_version(version.try_into().unwrap_or_default()).plugin()
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (last, above) = path.split_last()?;
        let table = above.iter().try_fold(&self.0, |table, key| table.get(*key)?.as_table())?;
        table.get(*last)
    }
}

fn difference(one: &Table, other: &Table) -> Option<Vec<String>> {
    let differs = |key: &String| match (one.get(key), other.get(key)) {
        (Some(Value::Table(one)), Some(Value::Table(other))) => {
            difference(one, other).map(|path| [vec![key.clone()], path].concat())
        }
        (one, other) => (one != other).then(|| vec![key.clone()]),
    };
    one.keys().chain(other.keys()).find_map(differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = r#"
        version = 2
        imports = ["/etc/containerd/config.toml"]
        disabled_plugins = ["io.containerd.snapshotter.v1.zfs"]
        state = "/run/c"
        [plugins."io.containerd.grpc.v1.cri".containerd]
          default_runtime_name = "runc"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
            runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.h]
            runtime_type = "io.containerd.runsc-guard.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
            runtime_type = "io.containerd.runsc.v1"
            options = { ConfigPath = "/etc/runsc.toml" }
    "#;

    #[test]
    fn a_dump_tells_what_matters() {
        let dump = Dump::read(V2).unwrap();
        assert_eq!(dump.handlers().into_keys().collect::<Vec<_>>(), ["h", "runc", "runsc"]);
        assert_eq!((dump.default_handler(), dump.state()), (Some("runc"), "/run/c"));
        assert!(
            dump.relies_on(Path::new("/etc/runsc.toml"))
                && !dump.without("runsc").relies_on(Path::new("/etc/runsc.toml"))
        );
        assert!(!dump.has_no_cri() && !dump.logs_json());
        assert!(Dump::read("version = 4\n[debug]\nformat = \"json\"").unwrap().logs_json());
        assert!(Dump::read("disabled_plugins = [\"cri\"]").unwrap().has_no_cri());
    }

    #[test]
    fn what_differs_is_named() {
        let dump = Dump::read(V2).unwrap();
        let moved = Dump::read(&V2.replace("config.toml", "other.toml")).unwrap();
        assert_eq!(dump.difference(&moved), None, "where it was imported from is not what it says");
        let without = dump.without("h");
        assert_eq!(without.handlers().into_keys().collect::<Vec<_>>(), ["runc", "runsc"]);
        let path = "plugins.io.containerd.grpc.v1.cri.containerd.runtimes.h";
        assert_eq!(dump.difference(&without).as_deref(), Some(path));
        assert_eq!(without.difference(&dump.without("h")), None);
    }
}
