//! Step 1: what the host's /proc tells of a wedge. Nothing here asks the sandbox, so nothing here can hang with it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::processes::process::{Process, Role};
use crate::resources::cgroup;
use crate::sys::bounded;
use crate::sys::identity::{self, Stat};
use crate::sys::procfs;

/// A sandbox may have thousands of stubs, which all look the same.
const PROCESSES: usize = 32;
/// Threads described per process, those in state D first.
const THREADS: usize = 16;
/// Kernel stacks per process: in a frozen one every thread is in state D.
const STACKS: usize = 4;

/// A sandbox at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Diagnostics {
    /// The processes, stubs last.
    pub processes: Vec<Witness>,
    /// How many more there are.
    pub omitted: usize,
}

/// One process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Its pid.
    pub pid: i32,
    /// What it is there for.
    pub role: Role,
    /// The kernel's name for it.
    pub comm: String,
    /// Its command line, blanks between the arguments.
    pub command: String,
    /// How long it has lived, in seconds.
    pub age_s: u64,
    /// Its cgroup in the hierarchy that can freeze it.
    pub cgroups: Vec<PathBuf>,
    /// Whether one of these is frozen.
    pub frozen: bool,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// One thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Thread {
    /// Its id.
    pub tid: i32,
    /// R, S, D, T, ...
    pub state: char,
    /// Where in the kernel it waits.
    pub wchan: Option<String>,
    /// How it came there: for the first few threads in state D.
    pub stack: Option<String>,
}

/// Looks at each of these processes until `deadline`.
pub fn diagnostics(found: &[Process], deadline: Instant) -> Diagnostics {
    let total = found.len();
    let mut found: Vec<&Process> = found.iter().collect();
    found.sort_by_key(|process| process.role == Role::Stub);
    let uptime = procfs::uptime().unwrap_or_default();
    let in_time = |_: &&&Process| Instant::now() < deadline;
    let processes: Vec<Witness> = found
        .iter()
        .take(PROCESSES)
        .take_while(in_time)
        .map(|process| Witness::of(process, uptime))
        .collect();
    Diagnostics { omitted: total - processes.len(), processes }
}

/// Asks the real shim among these for its goroutines (SIGUSR1, `pkg/shim` of containerd): they arrive in its log. False
/// if there is none that could answer.
pub fn ask_for_goroutines(found: &[Process]) -> bool {
    let shim = found.iter().find(|process| process.role == Role::RealShim);
    let Some(shim) = shim.filter(|shim| !shim.is_stopped()) else { return false };
    let sent = shim.identity.open().and_then(|fd| fd.send(Signal::SIGUSR1));
    sent.inspect_err(|error| log::warn!("guard: SIGUSR1 to the real shim: {error}")).is_ok()
}

impl Witness {
    fn of(process: &Process, uptime: Duration) -> Self {
        let pid = process.identity.pid;
        let mut threads = identity::threads(pid);
        threads.sort_by_key(|thread| thread.state != 'D');
        let cgroups = cgroup::freezable(pid);
        let words: Vec<_> = process.argv.iter().map(|word| word.to_string_lossy()).collect();
        Self {
            pid,
            role: process.role.clone(),
            comm: process.comm.clone(),
            command: words.join(" "),
            age_s: process.identity.age(uptime).as_secs(),
            frozen: cgroups.iter().any(|folder| cgroup::is_frozen(folder)),
            cgroups,
            threads: threads
                .iter()
                .take(THREADS)
                .enumerate()
                .map(|(nth, stat)| Thread::of(stat, nth < STACKS))
                .collect(),
        }
    }
}

impl Thread {
    fn of(stat: &Stat, with_stack: bool) -> Self {
        let tid = stat.identity.pid;
        let stack = if with_stack && stat.state == 'D' { bounded::kernel_stack(tid) } else { None };
        Self { tid, state: stat.state, wchan: procfs::wait_channel(tid), stack }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;
    use crate::processes::find::find;
    use crate::sys::identity::Identity;

    #[test]
    fn describes_what_descends_from_the_guard() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let guard = Identity::me().ok();
        let scope = Scope { guard, ..Scope::default() };
        let seen = diagnostics(&find(&scope), Instant::now() + Duration::from_secs(5));
        let witness = seen.processes.iter().find(|one| one.pid == child.id() as i32).unwrap();
        assert_eq!((&witness.role, witness.frozen), (&Role::Other, false));
        assert_eq!(witness.threads.len(), 1);
        assert!(witness.age_s < 600);
        assert!(serde_json::to_string(&seen).unwrap().contains("\"threads\""));
        let late = diagnostics(&find(&scope), Instant::now());
        assert!(late.processes.is_empty() && late.omitted > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
