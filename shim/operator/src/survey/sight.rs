//! Whether the node can be seen from here. What may not be looked at looks as if it were not there: a guard that cannot be
//! told from a stranger is a dead guard, and its healthy sandbox an orphan. So nothing is said of a node, and nothing
//! done to it, by who could not see a guard that is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::sys::procfs::{self, Status};

/// `CAP_SYS_PTRACE`: namespaces, programs and folders of processes are told to whoever has it, and nothing is hidden from
/// it (hidepid).
const SYS_PTRACE: u64 = 1 << 19;
/// The first user namespace of a machine (`PROC_USER_INIT_INO`): a capability in it counts everywhere.
const FIRST_USERS: &str = "user:[4026531837]";

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Blind {
    /// Pids mean others.
    #[error(
        "this process is not in the pid namespace that /proc shows, so guards cannot be seen; run it in that of the node \
         (in a pod: hostPID: true)"
    )]
    Pids,
    /// It may not look.
    #[error(
        "this process lacks CAP_SYS_PTRACE, so guards cannot be told from other processes; run it as root of the node, or \
         in a pod with that capability and hostPID: true"
    )]
    Capability,
    /// Its capabilities count for nothing out there.
    #[error(
        "this process is not in the user namespace of the node, so guards cannot be told from other processes; run it as \
         root of the node"
    )]
    Users,
    /// A place where sandboxes are told of.
    #[error("{} cannot be read: {error}; run this as root of the node", path.display())]
    Closed {
        /// The place.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What is known of this process.
struct View {
    pid: i32,
    /// The same, as /proc has it.
    shown: Option<i32>,
    effective: u64,
    /// Its own user namespace, and that of process 1.
    users: (io::Result<PathBuf>, io::Result<PathBuf>),
}

/// Fails where a guard that lives might not be seen.
pub(crate) fn clear() -> Result<(), Blind> {
    let pid = std::process::id().cast_signed();
    let shown = fs::read_link("/proc/self").ok().and_then(|name| name.to_str()?.parse().ok());
    judge(View {
        pid,
        shown,
        effective: Status::of(pid).unwrap_or_default().effective,
        users: (procfs::namespace(pid, "user"), procfs::namespace(1, "user")),
    })
}

fn judge(view: View) -> Result<(), Blind> {
    if view.shown != Some(view.pid) {
        return Err(Blind::Pids);
    }
    if view.effective & SYS_PTRACE == 0 {
        return Err(Blind::Capability);
    }
    // A node within a node (kind) has users of its own, and a process 1 that can be seen.
    match view.users {
        (Ok(mine), _) if mine == Path::new(FIRST_USERS) => Ok(()),
        (Ok(mine), Ok(node)) if mine == node => Ok(()),
        _ => Err(Blind::Users),
    }
}

/// What is in a folder: nothing if there is none.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Blind> {
    let read = || -> io::Result<_> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| Blind::Closed { path: folder.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_might_not_see_a_guard_is_told_what_it_lacks() {
        let denied = || Err(io::ErrorKind::PermissionDenied.into());
        let view = || View {
            pid: 7,
            shown: Some(7),
            effective: SYS_PTRACE,
            users: (Ok("user:[1]".into()), Ok("user:[1]".into())),
        };
        let said = |view: View| judge(view).unwrap_err().to_string();
        judge(view()).unwrap();
        for shown in [Some(8), None] {
            let said = said(View { shown, ..view() });
            assert!(said.contains("pid namespace") && said.contains("hostPID: true"), "{said}");
        }
        // All that root has but this.
        let weak = said(View { effective: !SYS_PTRACE, ..view() });
        assert!(weak.contains("CAP_SYS_PTRACE") && weak.contains("run it as root"), "{weak}");
        let users = |mine: &str, node| View { users: (Ok(mine.into()), node), ..view() };
        for node in [Ok("user:[2]".into()), denied()] {
            assert!(said(users("user:[1]", node)).contains("user namespace"));
        }
        assert!(
            judge(View { users: (denied(), denied()), ..view() }).is_err(),
            "two errors are not the same"
        );
        // Process 1 may keep to itself.
        judge(users(FIRST_USERS, denied())).unwrap();
    }

    #[test]
    fn what_is_not_there_is_empty_and_what_cannot_be_read_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(entries(&folder.path().join("nothing")).unwrap().is_empty());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(entries(folder.path()).unwrap(), std::slice::from_ref(&file));
        assert!(entries(&file).unwrap_err().to_string().contains("file cannot be read: "));
    }
}
