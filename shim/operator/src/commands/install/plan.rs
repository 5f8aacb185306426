//! What containerd's configuration has to become, and where. containerd itself is asked about every candidate: the
//! handler must be there, and nothing else may have changed.
//!
//! A file of its own is the first choice, where the configuration imports a folder, but only for containerd 2:
//! containerd 1 lets an imported file's table of CRI replace the whole table (seen with 1.6.20 and 1.7.35: the
//! owner's handlers and settings are gone), so that even one which changes nothing today would swallow what the
//! owner writes tomorrow. And there the first handler in a configuration replaces the default `runc`, which is
//! therefore written down beside it.
//!
//! Where a distribution makes the configuration anew at each start, what it makes it from is changed, and containerd is
//! asked about what the next start will make of that.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::hand::show;
use super::node::{Containerd, folder, resolved};
use super::text as written;
use crate::commands::doctor::handler_tables;
use crate::containerd::distribution::Place;
use crate::containerd::dump::Dump;
use crate::containerd::files::{GVISORS_TYPE, RAISE};
use crate::containerd::handler::Runtime;

/// Its name in a folder that is imported.
pub(super) const DROP_IN: &str = "runsc-guard.toml";
/// containerd's configuration as it is.
pub(super) struct Settings {
    /// The first file, as containerd is given it: what it imports is looked for beside that, even where it is a link.
    pub(super) config: PathBuf,
    /// The file itself.
    pub(super) file: PathBuf,
    /// What is in it, if there is such a file.
    pub(super) text: Option<String>,
    /// All of it, as containerd reads it.
    pub(super) dump: Dump,
    pub(super) version: u32,
    /// What the first file imports.
    pub(super) imports: Vec<String>,
    pub(super) place: Place,
    /// Where a block is or would be, and what is there now: the configuration itself, or its template.
    pub(super) source: PathBuf,
    pub(super) written: Option<String>,
    /// Files of the handler's own that could be, or are there.
    drop_ins: Vec<PathBuf>,
}

/// A file, and what has to be in it; nothing where it has to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Which.
    pub(super) path: PathBuf,
    /// What.
    pub(super) content: Option<String>,
}

/// What is to be done about the handler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Its owner has written it down.
    Owners,
    /// To be as this says.
    Ours(Change),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    version: u32,
    imports: Vec<String>,
}

impl Settings {
    /// Reads it, and has containerd read it.
    pub(super) fn read(containerd: &Containerd) -> Result<Self> {
        let config = containerd.config.clone();
        let file = resolved(&config);
        let text = match fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let newest = if containerd.major >= 2 { 3 } else { 2 };
        let head = text.as_deref().map(toml::from_str::<Head>).transpose();
        let head = head.with_context(|| file.display().to_string())?.unwrap_or_default();
        let version = if text.is_some() { head.version } else { newest };
        let place = containerd.distribution.place(&file, text.as_deref().unwrap_or_default(), version);
        ensure!(
            text.is_some() || place == Place::Itself,
            "{} is not there yet: {} writes it when it starts; start that once",
            file.display(),
            containerd.distribution.name()
        );
        // containerd has its defaults then, and so it has with a file that says nothing.
        let dump = match &text {
            Some(_) => containerd.dump(&config),
            None => show(&config, &written::new_file(newest), |file| containerd.dump(file)),
        }?;
        ensure!(!dump.has_no_cri(), "{}: disabled_plugins has CRI: there can be no pod here", file.display());
        let (source, written) = match &place {
            Place::Template { file: template, base } => (template.clone(), templated(template, *base)?),
            _ => (file.clone(), text.clone()),
        };
        let makes = matches!(place, Place::Template { .. });
        let imported = head.imports.iter().filter_map(|import| folder(&config, import, makes));
        let merged = if let Place::Folder(folder) = &place { Some(folder.clone()) } else { None };
        let drop_ins = merged.into_iter().chain(imported).map(|folder| folder.join(DROP_IN)).collect();
        Ok(Self {
            config,
            file,
            text,
            dump,
            version,
            imports: head.imports,
            place,
            source,
            written,
            drop_ins,
        })
    }

    /// The file of the handler's own that is there.
    fn drop_in(&self) -> Option<&PathBuf> {
        self.drop_ins
            .iter()
            .find(|file| fs::read_to_string(file).is_ok_and(|text| written::is_drop_in(&text)))
    }

    /// A place for one.
    fn place_for_drop_in(&self, containerd: &Containerd) -> Option<&PathBuf> {
        let merges = containerd.major >= 2 || matches!(self.place, Place::Folder(_));
        self.drop_ins.iter().find(|file| merges && !file.exists())
    }

    fn has_block(&self) -> bool {
        self.written.as_deref().is_some_and(written::has_block)
    }

    /// ConfigPath: what was said, else what the handler has already, else gVisor's own handler's.
    pub(super) fn config_path(
        &self,
        containerd: &Containerd,
        handler: &str,
        said: Option<PathBuf>,
    ) -> PathBuf {
        let handlers = self.dump.handlers();
        let gvisors = handlers.values().find(|one| one.kind() == GVISORS_TYPE);
        let present = handlers.get(handler).into_iter().chain(gvisors);
        let present = present.filter_map(Runtime::config_path);
        said.or_else(|| present.into_iter().find(|path| path.is_absolute()).map(Path::to_owned))
            .unwrap_or_else(|| containerd.distribution.runsc_config().into())
    }

    /// What makes containerd know `handler`.
    pub(super) fn with(&self, containerd: &Containerd, handler: &str, config_path: &Path) -> Result<Plan> {
        let file = self.file.display();
        let own = self.drop_in();
        if own.is_none()
            && !self.has_block()
            && let Some(there) = self.dump.handlers().get(handler)
        {
            ensure!(
                there.is_guard(),
                "{file} has a handler {handler} that is not the guard's; choose another name: --handler"
            );
            return Ok(Plan::Owners);
        }
        ensure!(
            self.version >= 2,
            "{file} is of version 1, as one without `version` is, and the handler's table would not be read in it: {RAISE}; \
             then run this again"
        );
        ensure!(
            self.version < 3 || containerd.major >= 2,
            "{file} is of version 3, and containerd {} reads no handlers in it: with `version = 2` they stand in \
             [plugins.\"io.containerd.grpc.v1.cri\"]; or bring containerd 2, then run this again",
            containerd.major
        );
        let outside = |text: &String| written::without_block(text).ok().flatten().unwrap_or(text.clone());
        let outside = self.written.as_ref().map(outside).unwrap_or_default();
        ensure!(
            self.source == self.file || !written::has_handler(&outside, handler),
            "{} has a handler {handler} already, which {} has not read yet: restart it, then run this again",
            self.source.display(),
            containerd.distribution.name()
        );
        let tables = handler_tables(self.version, handler, config_path);
        if let Place::Elsewhere(why) = self.place {
            bail!("{file} is not to be changed, {why}. What containerd needs:\n{tables}");
        }
        let drop_in = own.or_else(|| self.place_for_drop_in(containerd)).filter(|_| !self.has_block());
        if let Some(path) = drop_in {
            let there =
                own.map(fs::read_to_string).transpose().with_context(|| path.display().to_string())?;
            let there = there.as_deref().map_or("", written::body);
            let body = written::updated(there, &format!("version = {}\n{tables}", self.version))?;
            let change = Change { path: path.clone(), content: Some(written::drop_in(&body)) };
            let seen = self.try_out(containerd, &change)?;
            if own.is_some() || self.differs(&seen, handler, config_path).is_none() {
                return self.checked(&seen, change, handler, config_path);
            }
        }
        let block = |tables: &str| -> Result<Change> {
            let before = self.written.clone().unwrap_or_else(|| self.made());
            let tables = written::updated(written::tables(&before).unwrap_or_default(), tables)?;
            let content =
                written::with_block(&before, &tables).with_context(|| self.source.display().to_string())?;
            Ok(Change { path: self.source.clone(), content: Some(content) })
        };
        ensure!(
            !matches!(self.place, Place::Folder(_)),
            "{} would not become what the handler needs by a file beside those in it",
            self.drop_ins.first().unwrap_or(&self.file).display()
        );
        let change = block(&tables)?;
        let seen = self.try_out(containerd, &change)?;
        let (before, after) = (self.dump.tables(), seen.tables());
        let lost: BTreeMap<_, _> =
            before.into_iter().filter(|(name, _)| name != handler && !after.contains_key(name)).collect();
        if lost.is_empty() {
            return self.checked(&seen, change, handler, config_path);
        }
        let change = block(&(tables + &written::written_down(self.version, lost)?))?;
        self.checked(&self.try_out(containerd, &change)?, change, handler, config_path)
    }

    /// What takes the handler away again, and what containerd reads then.
    pub(super) fn without(&self, containerd: &Containerd) -> Result<Option<(Change, Dump)>> {
        let block = self.written.as_deref().map(written::without_block).transpose();
        let block = block.with_context(|| self.source.display().to_string())?.flatten();
        let change = match (block, self.drop_in()) {
            (Some(rest), _) => {
                let content = Some(rest).filter(|rest| !written::is_new_file(rest) && *rest != self.made());
                Change { path: self.source.clone(), content }
            }
            (None, Some(path)) => Change { path: path.clone(), content: None },
            (None, None) => return Ok(None),
        };
        let seen = self.try_out(containerd, &change)?;
        let (before, after) = (self.dump.handlers(), seen.handlers());
        let gone: BTreeMap<_, _> = before.into_iter().filter(|(name, _)| !after.contains_key(name)).collect();
        if let Some((name, _)) = gone.iter().find(|(_, one)| !one.is_guard()) {
            bail!(
                "{name}, which is not the guard's, stands among what goes from {}: move its tables to a place of their own \
                 first, then run this again",
                change.path.display()
            );
        }
        if let Some(name) = self.dump.default_handler().filter(|name| gone.contains_key(*name)) {
            bail!("{name} is the default handler (default_runtime_name): give containerd another one first");
        }
        let rest = gone.keys().fold(self.dump.clone(), |dump, name| dump.without(name));
        if let Some(what) = rest.difference(&seen) {
            bail!("taking the handler away would change {what}, too: something else relies on what is there");
        }
        Ok(Some((change, seen)))
    }

    fn checked(&self, seen: &Dump, change: Change, handler: &str, config_path: &Path) -> Result<Plan> {
        match self.differs(seen, handler, config_path) {
            None => Ok(Plan::Ours(change)),
            Some(why) => bail!(
                "{}: {why}; what the handler needs, to be put where it belongs by hand:\n{}",
                self.file.display(),
                handler_tables(self.version.max(2), handler, config_path)
            ),
        }
    }

    /// Why this is not the same with the handler and nothing else.
    fn differs(&self, seen: &Dump, handler: &str, config_path: &Path) -> Option<String> {
        let handlers = seen.handlers();
        if !handlers.get(handler).is_some_and(|one| one.is_guard_with(config_path)) {
            return Some(
                "containerd would not know the handler (does a file that it imports replace its tables?)"
                    .into(),
            );
        }
        let what = self.dump.without(handler).difference(&seen.without(handler))?;
        Some(format!("with the handler in it, containerd would read {what} in another way"))
    }
}

/// A template, if it is there; it must be where nothing stands for it.
fn templated(template: &Path, base: Option<&str>) -> Result<Option<String>> {
    match fs::read_to_string(template) {
        Err(error) if error.kind() == ErrorKind::NotFound && base.is_some() => Ok(None),
        read => read.map(Some).with_context(|| template.display().to_string()),
    }
}
