//! Which handler the drill is of: containerd says which it has, or its configuration does where there is no CRI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::pod;
use crate::args::{Drill, Via};
use crate::containerd::client::Client;
use crate::containerd::files::{GUARDS_TYPE, GVISORS_TYPE, Settings, USUAL};
use crate::containerd::live::{self, Handler};
use crate::containerd::process::{meet, settings_of};

/// What containerd may take to say what it is.
const ANSWERS: Duration = Duration::from_secs(5);

/// By what it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// containerd's CRI.
    Pod,
    /// containerd's own API.
    Task,
}

impl Kind {
    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Task => "task",
        }
    }
}

/// The choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// The handler's name; empty where the shim is named by its type alone.
    pub(super) name: String,
    /// Its runtime type.
    pub(super) runtime_type: &'static str,
    /// The shim's configuration.
    pub(super) config_path: Option<PathBuf>,
    /// The configuration of which guard it is compared with.
    pub(super) guards_config: Option<PathBuf>,
    /// What is started.
    pub(super) kind: Kind,
}

/// Asks the containerd at `address`.
pub(super) fn choose(address: &Path, args: &Drill) -> Result<Chosen> {
    let client = Client { address: address.to_owned(), namespace: pod::NAMESPACE };
    let has_cri = pod::is_there(&client).map_err(|status| {
        let message = status.message();
        anyhow::anyhow!(
            "containerd at {} does not answer: {message}; see `runsc-guard doctor`",
            address.display()
        )
    })?;
    ensure!(has_cri || args.via != Via::Cri, "the containerd at {} has no CRI", address.display());
    let handlers = if has_cri { known(address)? } else { configured(address) };
    let mut chosen = pick(&handlers, args, has_cri)?;
    if let Some(path) = &args.config_path {
        ensure!(
            chosen.kind == Kind::Task,
            "a pod has the configuration of its handler: --config-path is for --via task"
        );
        (chosen.config_path, chosen.guards_config) = (Some(path.clone()), Some(path.clone()));
    }
    Ok(chosen)
}

/// Runtime type and configuration of each handler.
type Handlers = BTreeMap<String, (String, Option<PathBuf>)>;

fn known(address: &Path) -> Result<Handlers> {
    let told = |one: Handler| (one.kind().to_owned(), one.config_path().map(Path::to_owned));
    Ok(live::handlers(address, ANSWERS)?.into_iter().map(|(name, one)| (name, told(one))).collect())
}

/// Without a CRI nobody uses them, but they say which configuration the shim is meant to have.
fn configured(address: &Path) -> Handlers {
    let met = meet(address, Instant::now() + ANSWERS);
    let file =
        met.process.as_ref().and_then(|process| settings_of(process.pid)).unwrap_or_else(|| USUAL.into());
    let handlers = Settings::load(&file, met.major());
    let handlers = handlers.map(|settings| settings.handlers).unwrap_or_default().into_iter();
    let kind = |guarded| if guarded { GUARDS_TYPE } else { GVISORS_TYPE }.to_owned();
    handlers.map(|one| (one.name, (kind(one.guarded), one.config_path))).collect()
}

/// Pure.
fn pick(handlers: &Handlers, args: &Drill, has_cri: bool) -> Result<Chosen> {
    let runtime_type = if args.unguarded { GVISORS_TYPE } else { GUARDS_TYPE };
    let kind = if has_cri && args.via != Via::Task { Kind::Pod } else { Kind::Task };
    let of = |wanted: &str| -> Vec<&String> {
        handlers.iter().filter(|(_, (one, _))| one == wanted).map(|(name, _)| name).collect()
    };
    let chosen = |name: &str, kind| {
        let config = |name: &str| handlers.get(name).and_then(|(_, path)| path.clone());
        let guards = of(GUARDS_TYPE);
        // Without the guard, what it would have promised on this node.
        let guards_config =
            if args.unguarded { guards.first().copied().and_then(|name| config(name)) } else { config(name) };
        Chosen { name: name.to_owned(), runtime_type, config_path: config(name), guards_config, kind }
    };
    if let Some(name) = &args.handler {
        let (found, _) = handlers.get(name).with_context(|| {
            format!("containerd has no handler {name}; of the guard's: {:?}", of(GUARDS_TYPE))
        })?;
        return match found.as_str() {
            found if found == runtime_type => Ok(chosen(name, kind)),
            // The same configuration under gVisor's own shim, which no handler of CRI need have.
            GUARDS_TYPE if args.via != Via::Cri => Ok(chosen(name, Kind::Task)),
            found => {
                bail!("handler {name} has the runtime type {found}, and this drill is of {runtime_type}")
            }
        };
    }
    match (&of(runtime_type)[..], &of(GUARDS_TYPE)[..]) {
        ([name], _) => Ok(chosen(name, kind)),
        ([], [name, ..]) if args.unguarded && args.via != Via::Cri => Ok(chosen(name, Kind::Task)),
        ([], _) if kind == Kind::Task => Ok(chosen("", kind)),
        ([], _) => bail!(
            "containerd has no handler with the runtime type {runtime_type}; see `runsc-guard install`, or use --via task"
        ),
        (several, _) => bail!(
            "several handlers have the runtime type {runtime_type}: name one of {several:?} with --handler"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn picked(handlers: &[(&str, &str)], line: &str, has_cri: bool) -> Result<(String, &'static str, Kind)> {
        let handlers = handlers.iter().map(|(name, kind)| {
            ((*name).to_owned(), ((*kind).to_owned(), Some(PathBuf::from(format!("/{name}.toml")))))
        });
        let words = format!("runsc-guard drill {line}");
        let args = crate::args::Args::parse_from(words.split_whitespace());
        let crate::args::Command::Drill(args) = args.command else { unreachable!("another command") };
        let chosen = pick(&handlers.collect(), &args, has_cri)?;
        let config = (!chosen.name.is_empty()).then(|| format!("/{}.toml", chosen.name).into());
        assert_eq!(chosen.config_path, config);
        Ok((chosen.name, chosen.runtime_type, chosen.kind))
    }

    const BOTH: &[(&str, &str)] =
        &[("g", GUARDS_TYPE), ("runc", "io.containerd.runc.v2"), ("u", GVISORS_TYPE)];

    #[test]
    fn the_guards_handler_is_found_and_one_without_it_where_that_is_asked_for() {
        let name = |name: &str| name.to_owned();
        for (handlers, line, has_cri, expected) in [
            (BOTH, "", true, (name("g"), GUARDS_TYPE, Kind::Pod)),
            (BOTH, "", false, (name("g"), GUARDS_TYPE, Kind::Task)),
            (BOTH, "--via task", true, (name("g"), GUARDS_TYPE, Kind::Task)),
            (BOTH, "--unguarded", true, (name("u"), GVISORS_TYPE, Kind::Pod)),
            (BOTH, "--unguarded --handler g", true, (name("g"), GVISORS_TYPE, Kind::Task)),
            (&BOTH[..1], "--unguarded", true, (name("g"), GVISORS_TYPE, Kind::Task)),
            (&[], "", false, (name(""), GUARDS_TYPE, Kind::Task)),
            (&[], "--via task --unguarded", true, (name(""), GVISORS_TYPE, Kind::Task)),
        ] {
            assert_eq!(picked(handlers, line, has_cri).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_chosen_is_said() {
        let two: &[(&str, &str)] = &[("a", GUARDS_TYPE), ("b", GUARDS_TYPE)];
        for (handlers, line, why) in [
            (two, "", "several handlers"),
            (&[], "", "no handler with the runtime type io.containerd.runsc-guard.v2"),
            (&BOTH[..1], "--unguarded --via cri", "no handler with the runtime type io.containerd.runsc.v1"),
            (BOTH, "--handler x", "no handler x"),
            (BOTH, "--handler u", "handler u has the runtime type io.containerd.runsc.v1"),
            (BOTH, "--handler runc --unguarded", "handler runc has the runtime type io.containerd.runc.v2"),
        ] {
            let error = picked(handlers, line, true).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert_eq!(picked(two, "--handler b", true).unwrap().0, "b");
    }
}
