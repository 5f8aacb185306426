//! What containerd would make of a change, before it is made: containerd itself is shown what it would read then.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use runsc_guard_node::paths::Base;
use toml::{Table, Value};

use super::hand::show;
use super::node::{Containerd, folder};
use super::plan::{Change, DROP_IN, Settings};
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
                show(&self.config, content, |file| containerd.dump(file))
            }
            None if change.path == self.file => {
                show(&self.config, &written::new_file(self.version), |file| containerd.dump(file))
            }
            Some(content) if containerd.major < 2 => self.try_out_merged(containerd, content),
            // Not beside others, whose folder may be watched.
            Some(content) => show(&Base::default().runtime.join(DROP_IN), content, |new| {
                let with = self.importing(&change.path, Some(new))?;
                show(&self.config, &with, |file| containerd.dump(file))
            }),
            // What k0s has merged, nobody takes apart: nobody but the handler stands in it.
            None if matches!(self.place, Place::Folder(_)) => {
                let gone = fs::read_to_string(&change.path)?;
                let gone: Value = toml::from_str(&gone)?;
                let path =
                    ["plugins", files::Table::of_version(self.version).plugin(), "containerd", "runtimes"];
                let names =
                    path.into_iter().try_fold(&gone, |table, key| table.get(key)).and_then(Value::as_table);
                let names = names.into_iter().flat_map(|names| names.keys());
                Ok(names.fold(self.dump.clone(), |dump, name| dump.without(name)))
            }
            None => show(&self.config, &self.importing(&change.path, None)?, |file| containerd.dump(file)),
        }
    }

    /// The configuration, importing `new` in place of the file `path` of a folder, or nothing in its place.
    fn importing(&self, path: &Path, new: Option<&Path>) -> Result<String> {
        let mut text: Table = toml::from_str(self.text.as_deref().unwrap_or_default())?;
        let mut imports = Vec::new();
        for import in &self.imports {
            match folder(&self.config, import, true).filter(|folder| path.parent() == Some(folder)) {
                Some(folder) => {
                    let others = fs::read_dir(&folder).into_iter().flatten().flatten().map(|one| one.path());
                    let mut files: Vec<_> =
                        others.filter(|one| one.extension() == Some("toml".as_ref())).collect();
                    files.retain(|one| one != path);
                    files.extend(new.map(|_| path.to_owned()));
                    // As containerd reads them: by name.
                    files.sort();
                    imports.extend(files);
                }
                None => imports.push(import.into()),
            }
        }
        if !imports.iter().any(|one| one == path) {
            imports.extend(new.map(|_| path.to_owned()));
        }
        let shown = imports.iter().map(|one| if one == path { new.unwrap_or(one) } else { one });
        let shown = shown.map(|one| Value::from(one.to_string_lossy().into_owned())).collect();
        text.insert("imports".to_owned(), Value::Array(shown));
        Ok(toml::to_string(&text)?)
    }

    /// What the next start makes of the template: what the last one has made, with these tables at its end.
    fn try_out_rendered(&self, containerd: &Containerd, tables: Option<&str>) -> Result<Dump> {
        let rendered = self.text.clone().unwrap_or_default();
        let rendered = written::without_block(&rendered)?.unwrap_or(rendered);
        let next =
            tables.map(|tables| written::with_block(&rendered, tables)).transpose()?.unwrap_or(rendered);
        show(&self.config, &next, |file| containerd.dump(file))
    }

    /// What k0s makes of a file in its folder, where containerd itself would not merge it: it is added to the file with
    /// the CRI's tables, which k0s has merged and the configuration imports.
    fn try_out_merged(&self, containerd: &Containerd, content: &str) -> Result<Dump> {
        let text = self.text.as_deref().unwrap_or_default();
        let plugin = files::Table::of_version(self.version).plugin();
        let has_cri = |file: &&String| fs::read_to_string(file).is_ok_and(|text| text.contains(plugin));
        let merged = self.imports.iter().find(has_cri);
        let merged =
            merged.with_context(|| format!("{} imports nothing with {plugin}", self.file.display()))?;
        let mut all: Table = toml::from_str(&fs::read_to_string(merged)?)?;
        written::merge(&mut all, toml::from_str(content)?);
        let all = toml::to_string(&all)?;
        show(&Base::default().runtime.join(DROP_IN), &all, |new| {
            let next = text.replace(merged.as_str(), &new.to_string_lossy());
            show(&self.config, &next, |file| containerd.dump(file))
        })
    }
}
