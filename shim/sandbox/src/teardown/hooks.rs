//! The engine's own poststop hooks: with nerdctl they take down a container's network. `runsc delete` would run them,
//! and after a forced end that is never asked: it kills the pid in its state file unchecked (rule 1). So they are run
//! here, as it would (`runsc/specutils`, `executeHook`): after all else is released, one after the other, with the
//! container's state as input.
//!
//! Each runs once, whoever ends the sandbox: `runsc delete` removes the state file before it runs them, and so does
//! who claims them here. Whoever has removed the file runs them.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::diagnostics::bounded_command::end;
use crate::processes::exempt::Exempt;
use crate::processes::trusted::Ground;
use crate::resources::hooks::{Hook, Hooks, State};
use crate::teardown::leftover::Leftover;
use crate::teardown::observer::Observer;

/// What one hook may take unless it sets a shorter time itself.
const HOOK: Duration = Duration::from_secs(5);

/// How one hook ended.
enum Ran {
    /// With success.
    Well,
    /// To its end, and whether that was a success is nobody's to know any more: the guard's server reaps every child.
    Somehow,
    /// With an error of its own, after which the others are run all the same.
    Badly(String),
    /// Not, or not to its end.
    Not(String),
}

/// Runs what the engine wants run for one container; gives what did not run to its end.
pub(crate) fn run_hooks(hooks: &Hooks, observer: &dyn Observer) -> Vec<Leftover> {
    let mut left = Vec::new();
    for (path, ran) in run(hooks) {
        let container = hooks.state.id.clone();
        let line = format!("poststop hook {} of {container}", path.display());
        match ran {
            Ran::Well => observer.happened(&format!("{line} has run")),
            Ran::Somehow => observer.happened(&format!("{line} has run; how it ended was not seen")),
            Ran::Badly(how) => {
                log::warn!("{line}: {how}");
                observer.happened(&format!("{line}: {how}"));
            }
            Ran::Not(why) => {
                log::warn!("{line} did not run: {why}");
                left.push(Leftover::Hook { path, container, why });
            }
        }
    }
    left
}

/// Runs them in their order; tells how each has ended.
fn run(hooks: &Hooks) -> impl Iterator<Item = (PathBuf, Ran)> {
    hooks.hooks.iter().map(|hook| {
        let ran = run_one(hook, &hooks.state).unwrap_or_else(|error| Ran::Not(error.to_string()));
        (hook.path.clone(), ran)
    })
}

fn run_one(hook: &Hook, state: &State) -> io::Result<Ran> {
    let Some(program) = Ground::look().resolve(&hook.path) else {
        // Rule 9: nothing is executed that a stranger could have written.
        return Ok(Ran::Not(
            "it is not there, or others than root can change it or a folder above it".to_owned(),
        ));
    };
    let limit = hook.timeout.map_or(HOOK, |limit| HOOK.min(Duration::from_secs(limit)));
    let args = hook.args.as_deref().unwrap_or_default();
    let mut command = Command::new(program.path);
    command.arg0(args.first().map_or(hook.path.as_os_str(), |name| name.as_ref()));
    command.args(args.iter().skip(1));
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|one| one.split_once('=')));
    }
    command.process_group(0).current_dir("/");
    command.stdin(input(state)?).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Exempt::spawn(&mut command)?;
    Ok(finish(running, Instant::now() + limit, limit))
}

/// A file without a name: a hook that does not read is not waited for.
fn input(state: &State) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"state", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(state)?)?;
    file.rewind()?;
    Ok(file)
}

/// Waits for the end of a hook, and kills one that takes longer than it may.
fn finish(mut hook: Exempt, deadline: Instant, limit: Duration) -> Ran {
    match end(&mut hook.child, deadline) {
        Ok(None) => Ran::Not(format!("it has not ended within {limit:?}")),
        Ok(Some(status)) if status.success() => Ran::Well,
        Ok(Some(status)) => Ran::Badly(match status.signal() {
            Some(signal) => format!("it was ended by signal {signal}"),
            None => format!("it ended with status {}", status.code().unwrap_or_default()),
        }),
        Err(_) => Ran::Somehow,
    }
}

#[cfg(test)]
mod tests;
