//! containerd, by its socket: whether somebody answers there, and which process that is. It is greeted as gRPC
//! does (HTTP/2's preface and an empty SETTINGS frame, RFC 9113, 3.4): a containerd that works answers with its
//! own SETTINGS, one that is stopped takes the connection and says nothing. The kernel tells who listens.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use runsc_guard_sandbox::processes::proof::{self, Vantage};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::identity::Stat;
use runsc_guard_sandbox::sys::procfs;

use crate::bounded::{Later, output};

/// A containerd that works answers within a millisecond.
const ANSWER: Duration = Duration::from_millis(500);
/// The client's preface with an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Length of a frame's header, and where in it the type is.
const HEADER: usize = 9;
const TYPE: usize = 3;
/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// What its program may take to print its version.
const VERSION: Duration = Duration::from_millis(450);

/// containerd.
#[derive(Clone, Debug)]
pub(crate) struct Containerd {
    /// Its socket.
    pub(crate) address: PathBuf,
    /// What came back from there.
    pub(crate) greeting: Greeting,
    /// The process that listens there.
    pub(crate) process: Option<Process>,
}

/// What a greeting on containerd's socket was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// gRPC's greeting.
    Answered,
    /// Nothing, for so long.
    Silent(Duration),
    /// There is no socket.
    Absent,
    /// Nobody listens there.
    Refused,
    /// Something else.
    Broken(String),
}

/// containerd's process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// Its pid.
    pub(crate) pid: i32,
    /// R, S, D, T, ...
    pub(crate) state: char,
    /// What it runs.
    pub(crate) exe: PathBuf,
    /// Where it looks for shims: its working directory, its PATH, beside itself.
    pub(crate) path: OsString,
    /// Its effective capabilities.
    pub(crate) capabilities: Option<u64>,
    /// What `containerd --version` prints.
    pub(crate) version: Result<String, String>,
}

/// Greets the containerd at `address` and looks at its process.
pub(crate) fn meet(address: &Path, deadline: Instant) -> Containerd {
    let path = address.to_path_buf();
    // Connecting, too, can block: when many wait for one that is stopped.
    let met = Later::begin(move || greet(&path)).by(deadline.min(Instant::now() + ANSWER + ANSWER / 5));
    let (greeting, pid) = met.unwrap_or((Greeting::Silent(ANSWER), None));
    let process = pid.and_then(|pid| Later::begin(move || look_at(pid, deadline)).by(deadline).flatten());
    Containerd { address: address.to_owned(), greeting, process }
}

fn greet(address: &Path) -> (Greeting, Option<i32>) {
    let mut stream = match UnixStream::connect(address) {
        Ok(stream) => stream,
        Err(error) => return (unconnected(&error), None),
    };
    let listener = getsockopt(&stream, sockopt::PeerCredentials).ok();
    let pid = listener.map(|one| one.pid()).filter(|pid| *pid > 0);
    let mut header = [0; HEADER];
    let answer = stream
        .set_read_timeout(Some(ANSWER))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER)))
        .and_then(|()| stream.write_all(HELLO))
        .and_then(|()| stream.read_exact(&mut header));
    let greeting = match answer {
        Ok(()) if header[TYPE] == SETTINGS => Greeting::Answered,
        Ok(()) => Greeting::Broken("what listens there does not speak gRPC".to_owned()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Greeting::Silent(ANSWER)
        }
        Err(error) => Greeting::Broken(error.to_string()),
    };
    (greeting, pid)
}

fn unconnected(error: &std::io::Error) -> Greeting {
    match error.kind() {
        ErrorKind::NotFound => Greeting::Absent,
        ErrorKind::ConnectionRefused => Greeting::Refused,
        _ => Greeting::Broken(error.to_string()),
    }
}

fn look_at(pid: i32, deadline: Instant) -> Option<Process> {
    let state = Stat::of(pid).ok()?.state;
    let proc = procfs::dir(pid);
    let exe = fs::read_link(proc.join("exe")).ok()?;
    let path = bounded::environment(pid, "PATH").unwrap_or_default();
    let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
    let version = version(pid, deadline.min(Instant::now() + VERSION));
    Some(Process {
        pid,
        state,
        path: shims_path(procfs::working_directory(pid), &path, &exe),
        exe,
        capabilities: capabilities(&status),
        version,
    })
}

/// What its program says of itself; under its own name, for a program that is several (k3s). Only a file that is root's
/// alone here and the very one that root runs there.
fn version(pid: i32, deadline: Instant) -> Result<String, String> {
    if !Vantage::new().is_root(pid) {
        return Err(format!("process {pid} is not root here, and its program is not run"));
    }
    let program = proof::program_path(pid, &Ground::look());
    let program = program.ok_or_else(|| {
        format!("the program of process {pid} has been replaced, is not root's alone, or lies where it is not seen from here")
    })?;
    let name = bounded::command_line(pid).ok().and_then(|argv| argv.into_iter().next());
    output(Command::new(program.path).arg0(name.unwrap_or_default()).arg("--version"), deadline)
}

/// The effective ones.
fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The configuration that a containerd was given: `--config FILE`, `--config=FILE`, `-c FILE`.
pub(crate) fn settings_of(pid: i32) -> Option<PathBuf> {
    path_flag(pid, &["--config", "-config", "-c"])
}

/// The folder of its bundles that a containerd was given: `--state FOLDER`, `--state=FOLDER` (k0s, MicroK8s). It goes
/// before what the configuration says.
pub(crate) fn state_of(pid: i32) -> Option<PathBuf> {
    path_flag(pid, &["--state", "-state"])
}

fn path_flag(pid: i32, names: &[&str]) -> Option<PathBuf> {
    let path = flag(&bounded::command_line(pid).ok()?, names)?;
    Some(procfs::working_directory(pid).unwrap_or_default().join(path))
}

fn flag(argv: &[OsString], names: &[&str]) -> Option<PathBuf> {
    let is_name = |one: &[u8]| names.iter().any(|name| name.as_bytes() == one);
    let apart = || argv.windows(2).find(|two| is_name(two[0].as_bytes())).map(|two| two[1].clone());
    let joined = argv.iter().find_map(|one| {
        let (name, value) =
            one.as_bytes().split_at_checked(one.as_bytes().iter().position(|c| *c == b'=')?)?;
        is_name(name).then(|| OsString::from_vec(value.get(1..).unwrap_or_default().to_vec()))
    });
    joined.or_else(apart).map(PathBuf::from)
}

impl Containerd {
    /// The major version of the running containerd, where it tells.
    pub(crate) fn major(&self) -> Option<u32> {
        number(self.process.as_ref()?.version.as_deref().ok()?).map(|(major, _)| major)
    }
}

/// `containerd github.com/containerd/containerd/v2 2.4.2 SHA`; something else's version is of no interest.
pub(crate) fn version_word(told: &str) -> &str {
    let words = told.strip_prefix("containerd ").unwrap_or_default();
    words.split_whitespace().nth(1).unwrap_or_default()
}

/// Major and minor.
pub(crate) fn number(told: &str) -> Option<(u32, u32)> {
    let mut parts = version_word(told).trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// containerd's order: its working directory, PATH, beside itself (`core/runtime/v2/shim_manager.go`).
fn shims_path(cwd: Option<PathBuf>, path: &OsStr, exe: &Path) -> OsString {
    let folders = cwd.into_iter().chain(std::env::split_paths(path)).chain(exe.parent().map(Path::to_owned));
    // A folder with a colon in its name cannot be in a PATH at all.
    std::env::join_paths(folders).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_flag_is_found_in_all_its_forms() {
        let flag = |line: &str| {
            flag(&line.split(' ').map(OsString::from).collect::<Vec<_>>(), &["--config", "-config", "-c"])
        };
        for line in
            ["containerd -l debug --config /a.toml", "containerd --config=/a.toml", "containerd -c /a.toml"]
        {
            assert_eq!(flag(line), Some("/a.toml".into()), "{line}");
        }
        assert_eq!(flag("containerd --address /a.sock"), None);
    }

    #[test]
    fn shims_are_looked_for_where_containerd_looks() {
        let path =
            shims_path(Some("/".into()), OsStr::new("/usr/bin:/bin"), Path::new("/opt/bin/containerd"));
        assert_eq!(path, "/:/usr/bin:/bin:/opt/bin");
    }

    #[test]
    fn capabilities_are_the_effective_ones() {
        assert_eq!(capabilities("Name:\tx\nCapPrm:\t0f\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn a_socket_without_a_listener_and_no_socket_differ() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        assert_eq!(greet(&path), (Greeting::Absent, None));
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(greet(&path), (Greeting::Refused, None));
    }

    #[test]
    fn who_takes_the_connection_and_says_nothing_is_known_by_pid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(greet(&path), (Greeting::Silent(ANSWER), i32::try_from(std::process::id()).ok()));
    }

    #[test]
    fn only_who_speaks_grpc_has_answered() {
        let folder = tempfile::tempdir().unwrap();
        for (answer, expected) in [
            (&b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0"[..], true),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
        ] {
            let path = folder.path().join(expected.to_string());
            let listener = UnixListener::bind(&path).unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut hello = vec![0; HELLO.len()];
                stream.read_exact(&mut hello).unwrap();
                stream.write_all(answer).unwrap();
                hello
            });
            assert_eq!(greet(&path).0 == Greeting::Answered, expected);
            assert_eq!(server.join().unwrap(), HELLO);
        }
    }
}
