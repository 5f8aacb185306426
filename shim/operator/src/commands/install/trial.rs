//! What containerd would make of a change, before it is made: containerd itself is shown what it would read then.

use std::fs;

use anyhow::{Context as _, Result};
use runsc_guard_node::paths::Base;
use toml::{Table, Value};

use super::hand::show;
use super::node::Containerd;
use super::plan::{Change, DROP_IN, Head, Settings};
use super::text as written;
use crate::containerd::distribution::Place;
use crate::containerd::dump::Dump;
use crate::containerd::files;

impl Settings {
    /// What the file is in which a block goes where there was none.
    pub(super) fn made(&self) -> String {
        match self.place {
            Place::Template { base: Some(base), .. } => written::new_template(base),
            _ => written::new_file(self.version),
        }
    }

    /// What containerd would read after the change.
    pub(super) fn try_out(&self, containerd: &Containerd, change: &Change) -> Result<Dump> {
        match &change.content {
            content if change.path == self.source && self.source != self.file => {
                self.try_out_rendered(containerd, content.as_deref().and_then(written::tables))
            }
            Some(content) if change.path == self.file => {
                show(&self.file, content, |file| containerd.dump(file))
            }
            Some(content) if containerd.major < 2 => self.try_out_merged(containerd, content),
            // A first file that imports the real one, and the new one; not beside others, whose folder may be watched.
            Some(content) => show(&Base::default().runtime.join(DROP_IN), content, |new| {
                let both = format!("version = {}\nimports = [{:?}, {new:?}]\n", self.version, self.file);
                show(&self.file, &both, |file| containerd.dump(file))
            }),
            None if change.path == self.file => {
                show(&self.file, &written::new_file(self.version), |file| containerd.dump(file))
            }
            // Nobody but the handler stands in it.
            None => {
                let gone = fs::read_to_string(&change.path)?;
                let gone: Value = toml::from_str(&gone)?;
                let path =
                    ["plugins", files::Table::of_version(self.version).plugin(), "containerd", "runtimes"];
                let names =
                    path.into_iter().try_fold(&gone, |table, key| table.get(key)).and_then(Value::as_table);
                let names = names.into_iter().flat_map(|names| names.keys());
                Ok(names.fold(self.dump.clone(), |dump, name| dump.without(name)))
            }
        }
    }

    /// What the next start makes of the template: what the last one has made, with these tables at its end.
    fn try_out_rendered(&self, containerd: &Containerd, tables: Option<&str>) -> Result<Dump> {
        let rendered = self.text.clone().unwrap_or_default();
        let rendered = written::without_block(&rendered)?.unwrap_or(rendered);
        let next =
            tables.map(|tables| written::with_block(&rendered, tables)).transpose()?.unwrap_or(rendered);
        show(&self.file, &next, |file| containerd.dump(file))
    }

    /// What k0s makes of a file in its folder, where containerd itself would not merge it: it is added to the file with
    /// the CRI's tables, which k0s has merged and the configuration imports.
    fn try_out_merged(&self, containerd: &Containerd, content: &str) -> Result<Dump> {
        let text = self.text.as_deref().unwrap_or_default();
        let head: Head = toml::from_str(text)?;
        let plugin = files::Table::of_version(self.version).plugin();
        let has_cri = |file: &&String| fs::read_to_string(file).is_ok_and(|text| text.contains(plugin));
        let merged = head.imports.iter().find(has_cri);
        let merged =
            merged.with_context(|| format!("{} imports nothing with {plugin}", self.file.display()))?;
        let mut all: Table = toml::from_str(&fs::read_to_string(merged)?)?;
        merge(&mut all, toml::from_str(content)?);
        let all = toml::to_string(&all)?;
        show(&Base::default().runtime.join(DROP_IN), &all, |new| {
            let next = text.replace(merged.as_str(), &new.to_string_lossy());
            show(&self.file, &next, |file| containerd.dump(file))
        })
    }
}

/// Tables into tables; all else is replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}
