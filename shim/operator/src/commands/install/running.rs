//! Processes of this node that run the guard's program. One question, asked before the program goes: by `uninstall`, and
//! by the packages' scripts (`uninstall --check`), whatever containerd is found and wherever its bundles are.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::processes::proof::{Vantage, program};
use runsc_guard_sandbox::sys::kernel::{FileId, Links, PidFd};
use runsc_guard_sandbox::sys::{bounded, procfs};

/// What the kernel adds to the name of a program that was replaced or removed since.
const REPLACED: &str = " (deleted)";

/// One of them.
pub(super) struct Running {
    /// Its pid.
    pub(super) pid: i32,
    /// The process itself.
    pub(super) process: PidFd,
    /// The sandbox that it says it guards: namespace and id.
    pub(super) sandbox: Option<String>,
}

/// All that run `guard`, or an older one that was in its place. A node within the node (kind, a cluster in namespaces) has
/// processes of its own and a program of its own: they are none of this node's.
pub(super) fn running(guard: &Path) -> io::Result<Vec<Running>> {
    let (place, vantage) = (Place::of(guard), Vantage::new());
    Ok(procfs::all()?.into_iter().filter_map(|pid| place.run_by(pid, &vantage)).collect())
}

/// Where the program is.
struct Place {
    path: PathBuf,
    file: Option<FileId>,
}

impl Place {
    fn of(guard: &Path) -> Self {
        let folder = guard.parent().and_then(|folder| fs::canonicalize(folder).ok());
        let path = folder.zip(guard.file_name()).map(|(folder, name)| folder.join(name));
        let path = fs::canonicalize(guard).ok().or(path).unwrap_or_else(|| guard.to_owned());
        Self { file: FileId::of(&path, Links::Follow).ok(), path }
    }

    /// The process is opened first and looked at second: what is told is of this very one.
    fn run_by(&self, pid: i32, vantage: &Vantage) -> Option<Running> {
        let process = PidFd::of(pid).ok()?;
        let runs = self.is_run_by(pid) || self.was_run_by(pid, vantage);
        (runs && vantage.is_root(pid) && !process.is_dead()).then(|| Running {
            pid,
            process,
            sandbox: sandbox(&bounded::command_line(pid).unwrap_or_default()),
        })
    }

    fn is_run_by(&self, pid: i32) -> bool {
        self.is_same(program(pid))
    }

    /// One that was replaced: its name tells, where the file of that name is ours.
    fn was_run_by(&self, pid: i32, vantage: &Vantage) -> bool {
        let Ok(name) = fs::read_link(procfs::dir(pid).join("exe")) else { return false };
        let mut replaced = self.path.clone().into_os_string();
        replaced.push(REPLACED);
        let sees = |path: &Path| {
            let seen = procfs::dir(pid).join("root").join(path.strip_prefix("/").unwrap_or(path));
            // A mount there may hang. Where it cannot be looked at, its name counts.
            let look = move || FileId::of(&seen, Links::Follow).ok();
            bounded::ask(pid, look).map_or(true, |found| self.is_same(found))
        };
        // Nobody but root's processes is followed to where it sees files.
        name.as_os_str() == replaced
            && vantage.is_root(pid)
            && (vantage.shares_files(pid) || sees(&self.path))
    }

    fn is_same(&self, other: Option<FileId>) -> bool {
        self.file.as_ref().zip(other.as_ref()).is_some_and(|(ours, other)| ours.is_same(other))
    }
}

fn sandbox(argv: &[OsString]) -> Option<String> {
    let after = |flag: &str| argv.windows(2).find(|two| two[0] == flag).map(|two| two[1].to_string_lossy());
    Some(format!("{}/{}", after("-namespace")?, after("-id")?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use runsc_guard_sandbox::testing::without_descriptors;

    use super::*;

    #[test]
    fn a_program_is_known_by_its_file_and_once_replaced_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let guard = folder.path().join("guard");
        let (other, bystander) = (folder.path().join("other"), folder.path().join("guard2"));
        for copy in [&guard, &other, &bystander] {
            fs::copy("/bin/sleep", copy).unwrap();
        }
        let mut running_ones =
            [&guard, &bystander].map(|program| Command::new(program).arg("60").spawn().unwrap());
        let place = Place::of(&guard);
        let pid = i32::try_from(running_ones[0].id()).unwrap();
        while !place.is_run_by(pid) {
            std::thread::yield_now();
        }
        let strange = i32::try_from(running_ones[1].id()).unwrap();
        assert!(!place.is_run_by(strange) && !place.was_run_by(strange, &Vantage::new()));
        fs::rename(&other, &guard).unwrap();
        let place = Place::of(&guard);
        assert!(!place.is_run_by(pid));
        assert_eq!(place.was_run_by(pid, &Vantage::new()), Vantage::new().is_root(pid));
        for one in &mut running_ones {
            one.kill().unwrap();
            one.wait().unwrap();
        }
    }

    #[test]
    fn who_cannot_look_does_not_say_that_none_runs() {
        assert!(without_descriptors(|| running(Path::new("/bin/sleep")).is_err()));
    }

    #[test]
    fn a_guard_says_which_sandbox_it_has() {
        let argv = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(sandbox(&argv("guard -namespace k8s.io -id a -address /a")).as_deref(), Some("k8s.io/a"));
        assert_eq!(sandbox(&argv("guard -info")), None);
    }
}
