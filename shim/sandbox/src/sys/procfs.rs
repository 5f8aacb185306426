//! What /proc tells. Everything read here may vanish between two reads, and `comm` and the
//! command line are the process's own words: they may hold spaces, parentheses and anything that is no NUL.
//! What may never come back is read in [`bounded`](crate::sys::bounded), and nowhere else.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the kernel says of a process' standing, in `/proc/<pid>/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its pid in this pid namespace and in each one below, down to its own.
    pub pids: Vec<i32>,
    /// Its effective capabilities, within its own user namespace.
    pub effective: u64,
}

impl Status {
    /// Of a process.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self::parse(&String::from_utf8_lossy(&read_file(&dir(pid).join("status"))?)))
    }

    /// A name in it cannot pretend to be a line: the kernel escapes the end of one.
    fn parse(text: &str) -> Self {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Self {
            pids: line("NSpid:").split_ascii_whitespace().flat_map(str::parse).collect(),
            effective: u64::from_str_radix(line("CapEff:").trim(), 16).unwrap_or_default(),
        }
    }
}

/// Which namespace of a kind (`user`, `mnt`, ...) a process is in. Whoever may not trace it is not told.
pub fn namespace(pid: i32, kind: &str) -> io::Result<PathBuf> {
    fs::read_link(dir(pid).join("ns").join(kind)).map_err(gone)
}

/// So many of the ticks in which the kernel tells a process' times: 100 per second on every architecture that gVisor runs on
/// (USER_HZ).
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(10))
}

/// Since the machine was booted.
pub fn uptime() -> Option<Duration> {
    let text = read_file(Path::new("/proc/uptime")).ok()?;
    let seconds = std::str::from_utf8(&text).ok()?.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Whether more threads want a processor right now than this machine has.
pub fn is_crowded() -> bool {
    let wanting = fs::read_to_string("/proc/loadavg").ok().and_then(|text| running(&text));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    wanting.is_some_and(|wanting| wanting > processors)
}

/// The fourth field is those that run and all there are, `3/118`.
fn running(loadavg: &str) -> Option<usize> {
    loadavg.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

/// Whether a process in this state waits for SIGCONT, or for its debugger.
pub fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't')
}

/// The arguments in `/proc/<pid>/cmdline`, each of which ends with a NUL; the last one's may be missing.
pub fn arguments(cmdline: &[u8]) -> Vec<OsString> {
    let all = cmdline.strip_suffix(&[0]).unwrap_or(cmdline);
    if all.is_empty() {
        return Vec::new();
    }
    all.split(|byte| *byte == 0).map(|one| OsString::from_vec(one.to_vec())).collect()
}

/// The working directory, where it can be read.
pub fn working_directory(pid: i32) -> Option<PathBuf> {
    fs::read_link(dir(pid).join("cwd")).ok()
}

/// The children of all its threads, or none where the kernel has no `children` files
/// (CONFIG_PROC_CHILDREN).
pub fn children(pid: i32) -> io::Result<Option<Vec<i32>>> {
    let mut found = Vec::new();
    for thread in numbers(&dir(pid).join("task"))? {
        match children_of(pid, thread) {
            Ok(children) => found.extend(children),
            // The thread has ended, or there is no such file at all.
            Err(_) if dir(pid).join(format!("task/{thread}/stat")).exists() => return Ok(None),
            Err(_) => {}
        }
    }
    Ok(Some(found))
}

/// The children of one of its threads: those that this has started, and orphans if it is the first.
pub(crate) fn children_of(pid: i32, thread: i32) -> io::Result<Vec<i32>> {
    let list = read_file(&dir(pid).join(format!("task/{thread}/children")))?;
    Ok(String::from_utf8_lossy(&list).split_ascii_whitespace().flat_map(str::parse).collect())
}

/// The memory of a process that is in RAM, in bytes, shared pages included.
pub fn resident(pid: i32) -> Option<u64> {
    let text = read_file(&dir(pid).join("status")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How often a thread has given its processor away to wait for something.
pub fn switches(thread: i32) -> Option<u64> {
    let text = read_file(&dir(thread).join("status")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// Every process id that this /proc shows.
pub fn all() -> io::Result<Vec<i32>> {
    numbers(Path::new("/proc"))
}

/// Where in the kernel a process or thread waits; none where it runs or the kernel does not tell.
pub fn wait_channel(pid: i32) -> Option<String> {
    let name = read_file(&dir(pid).join("wchan")).ok()?;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    (!name.is_empty() && name != "0").then_some(name)
}

/// `/proc/<pid>/cgroup`: for each hierarchy its controllers (empty for v2) and the path in it.
pub fn cgroups(pid: i32) -> Vec<(String, PathBuf)> {
    let text = read_file(&dir(pid).join("cgroup")).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(cgroup_line).collect()
}

pub(crate) fn cgroup_line(line: &[u8]) -> Option<(String, PathBuf)> {
    let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
    let controllers = String::from_utf8_lossy(parts.next()?).into_owned();
    Some((controllers, PathBuf::from(OsStr::from_bytes(parts.next()?))))
}

/// `/proc/<pid>`.
pub fn dir(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// A file of /proc, whole.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, u64::MAX)
}

pub(crate) fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // What most of them hold fits, so that it takes one read and another that finds the end. Without `take` such a file
    // would be asked first how large it is, which it does not know.
    let mut bytes = Vec::with_capacity(4096);
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes).map_err(gone)?;
    Ok(bytes)
}

/// Reading an opened file of a process that has ended gives ESRCH; opening it gives ENOENT.
fn gone(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::ESRCH) { io::ErrorKind::NotFound.into() } else { error }
}

pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(dir).map_err(gone)?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_pids_and_capabilities() {
        let text = "Name:\tx\\nNSpid:\t1\nNSpid:\t77\t1\nCapPrm:\t0\nCapEff:\t0000000000200000\n";
        assert_eq!(Status::parse(text), Status { pids: vec![77, 1], effective: 1 << 21 });
        let me = std::process::id() as i32;
        assert_eq!(Status::of(me).unwrap().pids.first(), Some(&me));
        assert!(namespace(me, "pid").is_ok() && uptime().unwrap() > Duration::ZERO);
    }

    #[test]
    fn what_runs_stands_before_the_slash() {
        assert_eq!(running("29.98 21.85 13.35 3/118 23258\n"), Some(3));
        assert_eq!(running("1 2 3"), None);
        assert!(running(&fs::read_to_string("/proc/loadavg").unwrap()).unwrap() >= 1);
    }

    #[test]
    fn cgroup_paths_may_hold_colons() {
        let (controllers, path) = cgroup_line(b"7:cpu,cpuacct:/a:b/c").unwrap();
        assert_eq!((controllers.as_str(), path.as_path()), ("cpu,cpuacct", Path::new("/a:b/c")));
        assert!(cgroup_line(b"").is_none());
    }

    #[test]
    fn what_the_kernel_says_of_this_process() {
        let pid = std::process::id() as i32;
        assert!(all().unwrap().contains(&pid));
        assert!(!cgroups(pid).is_empty());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(pid).unwrap().is_none_or(|found| found.contains(&(child.id() as i32))));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
