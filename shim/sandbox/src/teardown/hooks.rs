//! The engine's own poststop hooks: with nerdctl they take down a container's network. `runsc delete` would run them,
//! and after a forced end that is never asked: it kills the pid in its state file unchecked (rule 1). So they are run
//! here, as it would (`runsc/specutils`, `executeHook`): after all else is released, one after the other, with the
//! container's state as input.
//!
//! Each runs once, whoever ends the sandbox: `runsc delete` removes the state file before it runs them, and so does
//! who claims them here. Whoever has removed the file runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::diagnostics::child::{end, identity_of};
use crate::processes::trusted::Ground;
use crate::sys::identity::Identity;

/// What one hook may take unless it sets a shorter time itself.
const HOOK: Duration = Duration::from_secs(5);

/// Those that run now below this process. They are no part of a sandbox, though they descend from its guard.
static RUNNING: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// One of a container's poststop hooks, as the OCI runtime specification has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hook {
    path: PathBuf,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    /// In seconds.
    timeout: Option<u64>,
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

/// How one hook ended.
pub(crate) enum Ran {
    /// With success, or its end is nobody's to know any more: the guard's server reaps every child.
    Well,
    /// With an error of its own, after which the others are run all the same.
    Badly(String),
    /// Not, or not to its end.
    Not(String),
}

/// Of these hooks, those that nobody has run: their state files were still there. Now they are not.
pub(crate) fn claim(hooks: &[Hooks]) -> Vec<Hooks> {
    hooks.iter().filter(|one| fs::remove_file(&one.file).is_ok()).cloned().collect()
}

impl Hooks {
    /// Runs them in their order; tells how each has ended.
    pub(crate) fn run(&self) -> impl Iterator<Item = (PathBuf, Ran)> {
        self.hooks.iter().map(|hook| {
            let ran = hook.run(&self.state).unwrap_or_else(|error| Ran::Not(error.to_string()));
            (hook.path.clone(), ran)
        })
    }
}

impl Hook {
    fn run(&self, state: &State) -> io::Result<Ran> {
        let Some(program) = Ground::look().resolve(&self.path) else {
            // Rule 9: nothing is executed that a stranger could have written.
            return Ok(Ran::Not(
                "it is not there, or others than root can change it or a folder above it".to_owned(),
            ));
        };
        let limit = self.timeout.map_or(HOOK, |limit| HOOK.min(Duration::from_secs(limit)));
        let args = self.args.as_deref().unwrap_or_default();
        let mut command = Command::new(program.path);
        command.arg0(args.first().map_or(self.path.as_os_str(), |name| name.as_ref()));
        command.args(args.iter().skip(1));
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().filter_map(|one| one.split_once('=')));
        }
        command.process_group(0).current_dir("/");
        command.stdin(input(state)?).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running::start(&mut command)?;
        Ok(running.end(Instant::now() + limit, limit))
    }
}

/// A file without a name: a hook that does not read is not waited for.
fn input(state: &State) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(state)?)?;
    file.rewind()?;
    Ok(file)
}

/// A hook that runs.
struct Running {
    child: Child,
    identity: Option<Identity>,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        // Held meanwhile: nobody may find the child before it is known.
        let mut running = running();
        let child = command.spawn()?;
        let identity = i32::try_from(child.id()).ok().and_then(|pid| Identity::of(pid).ok());
        running.extend(identity);
        Ok(Self { child, identity })
    }

    fn end(mut self, deadline: Instant, limit: Duration) -> Ran {
        let process = identity_of(&self.child);
        let in_time = process.as_ref().is_none_or(|(_, fd)| fd.wait(deadline));
        if !in_time {
            end(&mut self.child, process, deadline);
            return Ran::Not(format!("it has not ended within {limit:?} and was killed"));
        }
        match self.child.wait() {
            Ok(status) if !status.success() => Ran::Badly(match status.signal() {
                Some(signal) => format!("it was ended by signal {signal}"),
                None => format!("it ended with status {}", status.code().unwrap_or_default()),
            }),
            Ok(_) | Err(_) => Ran::Well,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(identity) = self.identity {
            running().remove(&identity);
        }
    }
}

fn running() -> MutexGuard<'static, BTreeSet<Identity>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is a hook that runs below this process: neither it nor what descends from it is the sandbox's.
pub(crate) fn is_running(identity: Identity) -> bool {
    running().contains(&identity)
}

#[cfg(test)]
mod tests;
