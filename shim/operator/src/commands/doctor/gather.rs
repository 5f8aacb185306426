//! One look at the node. Everything that can block (a socket, a program, a file on a file system that hangs) runs
//! beside this thread and is given up by one deadline.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use runsc_guard_node::config::Config;
use runsc_guard_node::program;
use runsc_guard_sandbox::processes::proof::{self, Vantage};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::kernel;

use super::facts::{Cgroups, Facts, Kernel};
use super::look::{LATE, late_handler, late_parts, look_at_handler, look_for_parts};
use crate::args::{Doctor, Scope};
use crate::bounded::{Later, run};
use crate::containerd::distribution::Distribution;
use crate::containerd::docker::{self, Docker};
use crate::containerd::dump::Dump;
use crate::containerd::files::{self, Settings};
use crate::containerd::handler::Runtime;
use crate::containerd::live;
use crate::containerd::process::{self, Containerd, Greeting};
use crate::containerd::search::{self, Found, Said};
use crate::survey::{Seen, survey};

/// The whole look.
const LIMIT: Duration = Duration::from_millis(1600);

/// Looks.
pub(crate) fn gather(scope: &Scope, args: &Doctor) -> Facts {
    let deadline = Instant::now() + LIMIT;
    let sandboxes = {
        let scope = scope.clone();
        Later::begin(move || survey(&scope).map_err(|error| format!("{error:#}")))
    };
    let kernel = Later::begin(look_at_kernel);
    let said = Said { address: args.address.clone(), distribution: args.distribution };
    let Found { containerd, distribution, restart } = search::find(&said, deadline);
    let named = args.containerd_config.clone();
    let (settings_file, settings) = read_settings(named, &containerd, distribution, deadline);
    let path = containerd.process.as_ref().map(|process| process.path.clone());
    let path = path.or_else(program::path).unwrap_or_default();
    let merged =
        asked(&containerd, settings.as_ref().ok().and_then(Option::as_ref).map(|_| &settings_file), deadline);
    let memory = in_memory(&containerd);
    let docker = docker(&settings, distribution, deadline);
    let handlers: Vec<_> = defined(&settings, docker.as_ref())
        .map(|defined| {
            let (of, path) = (defined.clone(), path.clone());
            (defined, Later::begin(move || look_at_handler(of, &path, deadline)))
        })
        .collect();
    let unconfigured = handlers.is_empty().then(|| {
        let path = path.clone();
        Later::begin(move || look_for_parts(&Config::default(), &path, deadline))
    });
    let seen = sandboxes.by(deadline).unwrap_or_else(|| Err(LATE.to_owned()));
    Facts {
        root: geteuid().is_root(),
        kernel: kernel.by(deadline).unwrap_or(NOTHING_KNOWN),
        containerd,
        distribution,
        restart,
        settings_file,
        settings,
        merged: merged.and_then(|merged| merged.by(deadline)),
        memory: memory.and_then(|memory| memory.by(deadline)),
        docker,
        unconfigured: unconfigured.map(|parts| parts.by(deadline).unwrap_or_else(late_parts)),
        handlers: handlers
            .into_iter()
            .map(|(defined, looked)| looked.by(deadline).unwrap_or_else(|| late_handler(defined)))
            .collect(),
        unseen: seen.as_ref().ok().and_then(Seen::unseen),
        sandboxes: seen.map(|seen| seen.sandboxes),
    }
}

/// What containerd's program makes of its configuration: the one that runs, and only if it is root's alone.
fn asked(
    containerd: &Containerd,
    file: Option<&PathBuf>,
    deadline: Instant,
) -> Option<Later<Result<Dump, String>>> {
    let (pid, file) = (containerd.process.as_ref()?.pid, file?.clone());
    let program = Vantage::new().is_root(pid).then(|| proof::program_path(pid, &Ground::look()))??;
    let name = bounded::command_line(pid).ok().and_then(|argv| argv.into_iter().next()).unwrap_or_default();
    Some(Later::begin(move || {
        let mut command = Command::new(program.path);
        command.arg0(name).arg("--config").arg(&file).args(["config", "dump"]).current_dir("/");
        let done = run(&mut command, deadline)?;
        if !done.status.success() {
            return Err(done.stderr.lines().last().unwrap_or_default().trim().to_owned());
        }
        Dump::read(&done.stdout).map_err(|error| format!("{error:#}"))
    }))
}

/// What the running containerd has in memory.
fn in_memory(containerd: &Containerd) -> Option<Later<Result<BTreeMap<String, Runtime>, String>>> {
    let address = containerd.address.clone();
    (containerd.greeting == Greeting::Answered)
        .then(|| Later::begin(move || live::handlers(&address, LIMIT).map_err(|error| format!("{error:#}"))))
}

/// Docker, where it is all that there is: containerd has no CRI then.
fn docker(
    settings: &Result<Option<Settings>, String>,
    distribution: Distribution,
    deadline: Instant,
) -> Option<Result<Docker, String>> {
    let is_off = settings.iter().flatten().any(|settings| settings.has_no_cri().is_some());
    let is_dockers = distribution == Distribution::Docker;
    (is_off || is_dockers)
        .then(|| Later::begin(|| docker::look(Path::new("/"))).by(deadline).flatten())
        .flatten()
}

/// The handlers that matter here.
fn defined(
    settings: &Result<Option<Settings>, String>,
    docker: Option<&Result<Docker, String>>,
) -> impl Iterator<Item = files::Handler> {
    let containerds = settings.iter().flatten().flat_map(|settings| settings.handlers.clone());
    let dockers = docker.into_iter().flatten().flat_map(|docker| docker.handlers.clone());
    let all: Vec<_> = if docker.is_some() { dockers.collect() } else { containerds.collect() };
    all.into_iter()
}

/// Nothing that is held against the kernel but that it did not answer.
const NOTHING_KNOWN: Kernel =
    Kernel { pidfds: true, user_namespaces: None, cgroups: Cgroups::None, kvm: false };

/// Looks at the kernel.
pub(crate) fn look_at_kernel() -> Kernel {
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces");
    let cgroups = Path::new("/sys/fs/cgroup");
    Kernel {
        pidfds: kernel::pidfd_supported(),
        user_namespaces: limit.ok().and_then(|text| text.trim().parse().ok()),
        cgroups: match () {
            () if cgroups.join("cgroup.controllers").exists() => Cgroups::V2,
            () if cgroups.join("unified/cgroup.controllers").exists() => Cgroups::Hybrid,
            () if cgroups.join("memory").exists() => Cgroups::V1,
            () => Cgroups::None,
        },
        kvm: Path::new("/dev/kvm").exists(),
    }
}

/// containerd's configuration: the file that is named, else the one that the running containerd was given, else
/// where it usually is.
fn read_settings(
    named: Option<PathBuf>,
    containerd: &Containerd,
    distribution: Distribution,
    deadline: Instant,
) -> (PathBuf, Result<Option<Settings>, String>) {
    let pid = containerd.process.as_ref().map(|process| process.pid);
    let major = containerd.major();
    let is_named = named.is_some();
    let fallback = named.clone().unwrap_or_else(|| distribution.config().into());
    let read = Later::begin(move || {
        let given = || pid.and_then(process::settings_of);
        // Talos' is known by this file, whatever containerd says.
        let talos = || Some(Distribution::Talos.config().to_owned()).filter(|file| file.exists());
        let usual = || talos().unwrap_or_else(|| distribution.config().into());
        let file = named.or_else(given).unwrap_or_else(usual);
        // A file that nobody has named may be absent, for containerd as for us.
        let is_absent = !is_named && !file.exists();
        let settings = (!is_absent).then(|| Settings::load(&file, major).map_err(|error| error.to_string()));
        (file, settings.transpose())
    });
    read.by(deadline).unwrap_or_else(|| (fallback, Err(LATE.to_owned())))
}
