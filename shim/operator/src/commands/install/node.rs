//! The node's containerd: which program it is, what it makes of a configuration, what it has in memory, and its
//! restart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{self, Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use runsc_guard_node::program;
use runsc_guard_sandbox::processes::proof::Vantage;
use runsc_guard_sandbox::processes::trusted::Ground;

use super::site::{PATH, Site};
use crate::bounded::{self, Let};
use crate::containerd::distribution::Distribution;
use crate::containerd::dump::Dump;
use crate::containerd::live::{self, Handler, NoCri};
use crate::containerd::process::{Greeting, Process, number, settings_of, state_of};

/// Printing a version or a dump takes a twentieth of a second.
const PRINTS: Duration = Duration::from_secs(10);
/// A service manager gives it 90 s to end (systemd's `DefaultTimeoutStopSec`).
const RESTARTS: Duration = Duration::from_secs(120);
/// Its CRI is there a second or two after its start; on a slow node, later.
const COMES_UP: Duration = Duration::from_secs(60);
/// How long one answer is waited for, and how often it is asked while it comes up.
const ANSWERS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// containerd, as it runs or would run.
pub(super) struct Containerd {
    /// Its program.
    program: PathBuf,
    /// Under which name it is run: one program may be several (k3s).
    name: OsString,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// Where it looks for shims.
    pub(super) path: OsString,
    /// Where the bundles of what runs are, where it was told so by a flag.
    pub(super) state: Option<PathBuf>,
    /// The major version of the program.
    pub(super) major: u32,
    /// Whose it is.
    pub(super) distribution: Distribution,
    address: PathBuf,
    is_running: bool,
}

impl Containerd {
    /// Looks for it. One that is there and does not answer is nothing to build on.
    pub(super) fn find(site: &Site) -> Result<Self> {
        let met = &site.found.containerd;
        let is_running = match met.greeting {
            Greeting::Answered => true,
            Greeting::Absent | Greeting::Refused => false,
            Greeting::Silent(_) | Greeting::Broken(_) => {
                bail!("containerd does not answer at {}; see `runsc-guard doctor`", met.address.display())
            }
        };
        let process = met.process.as_ref();
        let program = program(process, &site.path, site.found.distribution)?;
        let given = process.and_then(|process| settings_of(process.pid));
        let config = site.config.clone().or(given).unwrap_or_else(|| site.found.distribution.config().into());
        let mut found = Self {
            name: process.and_then(name).unwrap_or_else(|| program.clone().into_os_string()),
            config: path::absolute(config)?,
            state: process.and_then(state),
            major: 0,
            distribution: site.found.distribution,
            address: met.address.clone(),
            is_running,
            program,
            path: site.path.clone(),
        };
        let version = found.run(&["--version"])?;
        found.major =
            number(&version).with_context(|| format!("{} is no containerd: {version:?}", found.name()))?.0;
        Ok(found)
    }

    /// What the program that the next start runs makes of a configuration.
    pub(super) fn dump(&self, config: &Path) -> Result<Dump> {
        Dump::read(&self.run(&["--config", &config.to_string_lossy(), "config", "dump"])?)
    }

    /// Where its state is.
    pub(super) fn state_folder(&self, dump: &Dump) -> PathBuf {
        self.state.clone().unwrap_or_else(|| dump.state().into())
    }

    /// The handlers that it has in memory; nothing where it does not run.
    pub(super) fn handlers(&self) -> Result<Option<BTreeMap<String, Handler>>> {
        if !self.is_running {
            return Ok(None);
        }
        self.handlers_once(|_| true).map(Some)
    }

    /// Runs the command that restarts it, and waits until what it has in memory is as `wanted`.
    pub(super) fn restart(
        &self,
        command: &str,
        wanted: impl Fn(&BTreeMap<String, Handler>) -> bool,
    ) -> Result<()> {
        let mut words = command.split_whitespace();
        let program = words.next().context("the command to restart containerd is empty")?;
        // systemctl does nothing, and says that all went well, in what it takes for a chroot.
        let mut restart = Command::new(program);
        restart.args(words).env("PATH", PATH).env("SYSTEMD_IGNORE_CHROOT", "1");
        match bounded::let_run(&mut restart, Instant::now() + RESTARTS).map_err(|why| anyhow!(why))? {
            Let::GoesOn(pid) => bail!(Overdue { command: command.to_owned(), pid }),
            Let::Ended(status, said) => ensure!(status.success(), "`{command}`: {status}: {}", said.trim()),
        }
        self.handlers_once(wanted).with_context(|| format!("after `{command}`")).map(drop)
    }

    fn handlers_once(
        &self,
        wanted: impl Fn(&BTreeMap<String, Handler>) -> bool,
    ) -> Result<BTreeMap<String, Handler>> {
        let deadline = Instant::now() + COMES_UP;
        loop {
            match live::handlers(&self.address, ANSWERS) {
                Ok(handlers) if wanted(&handlers) => return Ok(handlers),
                Ok(_) if Instant::now() >= deadline => bail!("containerd still has the handlers that it had"),
                Err(error) if error.is::<NoCri>() || Instant::now() >= deadline => return Err(error),
                _ => thread::sleep(PAUSE),
            }
        }
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg0(&self.name).args(args).env("PATH", &self.path).current_dir("/");
        let done = bounded::run(&mut command, Instant::now() + PRINTS).map_err(|why| anyhow!(why))?;
        ensure!(done.status.success(), "{} {}: {}", self.name(), args.join(" "), done.stderr.trim());
        Ok(done.stdout)
    }

    fn name(&self) -> String {
        self.program.display().to_string()
    }
}

/// A restart that takes longer than any service manager gives a service to end. It is let go on: broken off it might
/// leave containerd stopped.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{command}` (process {pid}) has not ended within {} s and goes on: containerd does not stop, or does not come up. \
     See `journalctl -u containerd`, and when containerd answers, run this again",
    RESTARTS.as_secs()
)]
pub(super) struct Overdue {
    command: String,
    pid: u32,
}

/// The file that would be run at the next start: the running one's may have been replaced since. It is run as root, so
/// that nobody else may have put it there.
fn program(process: Option<&Process>, path: &OsString, distribution: Distribution) -> Result<PathBuf> {
    let running = process.map(|process| process.exe.to_string_lossy().into_owned());
    let running = running.map(|exe| PathBuf::from(exe.trim_end_matches(" (deleted)")));
    let found = match running.filter(|exe| exe.is_file()) {
        Some(exe) => exe,
        None => program::find_shim("containerd", Some(path)).map_err(|_| {
            let (whose, path) = (distribution.name(), path.display());
            anyhow!("{whose} does not run here, and there is no containerd on {path}; start it, or --address, --distribution")
        })?,
    };
    let trusted = Ground::look().resolve(&found);
    trusted.map(|trusted| trusted.path).with_context(|| {
        let program = found.display();
        format!("{program} or a folder above it can be replaced by others than root: it is not run; chown root, chmod go-w")
    })
}

/// The folder that this containerd was told by a flag: what root says is so; what anybody else says of himself proves
/// nothing.
pub(super) fn state(process: &Process) -> Option<PathBuf> {
    Some(process.pid).filter(|pid| Vantage::new().is_root(*pid)).and_then(state_of)
}

fn name(process: &Process) -> Option<OsString> {
    runsc_guard_sandbox::sys::bounded::command_line(process.pid).ok()?.into_iter().next()
}

/// The configuration's own file: one that is a link stays one.
pub(super) fn resolved(config: &Path) -> PathBuf {
    fs::canonicalize(config).unwrap_or_else(|_| config.to_owned())
}

/// The folder of which containerd imports all files, if that is what `import` says and it is there or, where this says so,
/// can be made.
pub(super) fn folder(config: &Path, import: &str, makes: bool) -> Option<PathBuf> {
    let path = config.parent()?.join(import);
    let folder = path.parent()?;
    let takes_all = path.file_name()? == "*.toml";
    let is_there = folder.is_dir() || makes && folder.parent()?.is_dir();
    (takes_all && !folder.to_str()?.contains('*') && is_there).then(|| folder.to_owned())
}
