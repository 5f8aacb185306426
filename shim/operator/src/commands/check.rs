//! `check`: is a sandbox of this node stuck for good, and is the guard there? In one line and an exit status, for what
//! acts on nodes. It judges what [`survey`] has found, and waits for nothing: what does not answer in time is told as
//! that.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::{Check, Scope};
use crate::bounded::Later;
use crate::containerd::files::{GUARD, Settings, USUAL};
use crate::containerd::live::{self, Handler};
use crate::containerd::process::{Containerd, Greeting, settings_of};
use crate::containerd::search::{self, Said};
use crate::survey::model::Sandbox;
use crate::survey::survey;

mod verdict;

use verdict::{Installed, Verdict};

/// Between two looks: what is in the middle of its end, or of a restart of containerd, is not stuck.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints the line.
pub(crate) fn run(scope: &Scope, args: &Check) -> Result<ExitCode> {
    let deadline = Instant::now() + args.timeout;
    let (looked, said) = (scope.clone(), Said { address: args.address.clone(), ..Said::default() });
    let sandboxes = Later::begin(move || look(&looked, deadline));
    let guard = Later::begin(move || installed(&said, deadline));
    let late = || Err(format!("no answer within {:?}", args.timeout));
    let sandboxes = sandboxes.by(deadline).unwrap_or_else(late);
    let guard =
        guard.by(deadline).unwrap_or_else(|| Installed::Unknown("containerd does not answer".to_owned()));
    let verdict = Verdict::of(&sandboxes, &guard);
    // What cannot be printed is told by the status.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{}\n", verdict.line).as_bytes());
    Ok(ExitCode::from(verdict.status(args.nagios)))
}

/// What is stuck at two looks, or all where nothing is at the first.
fn look(scope: &Scope, deadline: Instant) -> Result<Vec<Sandbox>, String> {
    let once = || survey(scope).map(|seen| seen.sandboxes).map_err(|error| format!("{error:#}"));
    let first = once()?;
    if !first.iter().any(|one| verdict::problem(one).is_some()) {
        return Ok(first);
    }
    std::thread::sleep(AGAIN.min(deadline.saturating_duration_since(Instant::now()) / 3));
    Ok(verdict::confirmed(&first, once()?))
}

/// Whether the next pod that is to have the guard will.
fn installed(said: &Said, deadline: Instant) -> Installed {
    let containerd = search::find(said, deadline).containerd;
    match (&containerd.greeting, &containerd.process) {
        (Greeting::Answered, Some(process)) => {
            let is_there = |folder: &Path| folder.join(GUARD).is_file();
            if !std::env::split_paths(&process.path).any(|folder| is_there(&folder)) {
                return Installed::No(format!("{GUARD} is in no folder of containerd's PATH"));
            }
        }
        (Greeting::Answered, None) => {}
        _ => {
            return Installed::Unknown(format!(
                "containerd does not answer at {}",
                containerd.address.display()
            ));
        }
    }
    match live::handlers(&containerd.address, deadline.saturating_duration_since(Instant::now())) {
        Ok(handlers) if handlers.values().any(Handler::is_guard) => Installed::Yes,
        Ok(_) => Installed::No("no handler of containerd's has the guard".to_owned()),
        // Where it is switched off there are no handlers, and who starts a task names the guard.
        Err(_) if has_no_cri(&containerd) => Installed::Yes,
        Err(error) => Installed::Unknown(format!("{error:#}")),
    }
}

/// Whether that containerd's configuration switches its CRI off.
fn has_no_cri(containerd: &Containerd) -> bool {
    let process = containerd.process.as_ref();
    let file = process.and_then(|process| settings_of(process.pid)).unwrap_or_else(|| USUAL.into());
    Settings::load(&file, containerd.major()).is_ok_and(|settings| settings.has_no_cri().is_some())
}
