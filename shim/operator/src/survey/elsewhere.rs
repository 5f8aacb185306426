//! Whom this look cannot follow. containerd may have mounts of its own (`unshare -m`, systemd's PrivateMounts, snap, k0s),
//! and its shims are born into them. Mostly the folders that matter are the node's all the same. Where they are not,
//! guards and runsc's files are not seen from here, and a guarded sandbox looks unguarded, or like none: then that is
//! said, with the process from whose place all of it can be seen.

use std::fmt;
use std::fs;
use std::path::Path;

use runsc_guard_sandbox::processes::proof::{Standing, Vantage};
use runsc_guard_sandbox::sys::kernel::{FileId, Links};
use runsc_guard_sandbox::sys::{bounded, procfs};

use super::guards::Known;
use super::table::{Kind, Table};
use crate::args::Scope;

/// Pids named.
const NAMED: usize = 3;

/// Root's guards and gVisor's shims in scope whose own folder is another one than what has its name here.
pub(super) fn keepers(scope: &Scope, table: &Table, guards: &[Known]) -> Vec<i32> {
    let vantage = Vantage::new();
    let is_known = |pid| guards.iter().any(|known| known.process.is_some_and(|guard| guard.pid == pid));
    let is_unseen = |(pid, kind): &(i32, &Kind)| match kind {
        Kind::Guard => !is_known(*pid) && is_in(*pid, scope),
        Kind::Shim { gvisors: true, namespace, .. } => covers(scope, namespace) && !works_here(*pid),
        _ => false,
    };
    let apart = |pid: i32| table.standing(pid) == Standing::Root && !vantage.shares_files(pid);
    let all = table.kinds().filter(|(pid, _)| apart(*pid)).filter(is_unseen);
    all.map(|(pid, _)| pid).collect()
}

fn covers(scope: &Scope, namespace: &str) -> bool {
    scope.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
}

fn is_in(guard: i32, scope: &Scope) -> bool {
    let argv = bounded::command_line(guard).unwrap_or_default();
    let namespace = argv.windows(2).find(|two| two[0] == "-namespace").map(|two| two[1].to_string_lossy());
    namespace.is_some_and(|namespace| covers(scope, &namespace))
}

/// Whether the folder that a real shim works in is here what it is there.
pub(super) fn works_here(pid: i32) -> bool {
    let look = move || {
        let cwd = procfs::dir(pid).join("cwd");
        let of = |path: &Path| FileId::of(path, Links::Follow).ok();
        let here = fs::read_link(&cwd).ok().and_then(|name| of(&name));
        of(&cwd).zip(here).is_some_and(|(there, here)| there.is_same(&here))
    };
    bounded::ask(pid, look).unwrap_or(false)
}

/// What could not be seen, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Unseen {
    /// In a line.
    pub(crate) what: String,
    /// A command.
    pub(crate) remedy: String,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; from there all is seen: {}", self.what, self.remedy)
    }
}

impl Unseen {
    /// Of these keepers; none where there are none.
    pub(super) fn of(pids: &[i32]) -> Option<Self> {
        let first = pids.first()?;
        let named: Vec<String> = pids.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if pids.len() > NAMED { ", ..." } else { "" };
        let what = format!(
            "guards and real shims with mounts of their own, whose files are not seen from here: pid {}{more}",
            named.join(", ")
        );
        Some(Self { what, remedy: format!("runsc-guard --host={first} ls") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_look_is_said_in_one_line() {
        assert!(Unseen::of(&[]).is_none());
        let said = Unseen::of(&[7, 8, 9, 10]).unwrap().to_string();
        assert!(
            said.ends_with("pid 7, 8, 9, ...; from there all is seen: runsc-guard --host=7 ls"),
            "{said}"
        );
    }

    #[test]
    fn what_has_this_folder_is_seen() {
        let me = std::process::id().cast_signed();
        assert!(works_here(me));
    }
}
