//! One look at the node. Everything that can block (a socket, a program, a file on a file system that hangs) runs
//! beside this thread and is given up by one deadline.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result as Anyhow;
use nix::unistd::{AccessFlags, access, geteuid};
use runsc_guard_node::config::{self, Config};
use runsc_guard_node::program::{self, ProgramError};
use runsc_guard_sandbox::processes::proof::{self, Vantage};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::kernel;
use serde::Deserialize;

use super::facts::{Cgroups, Facts, Handler, Kernel, Parts};
use crate::args::{Doctor, Scope};
use crate::bounded::{Later, output, run};
use crate::containerd::distribution::Distribution;
use crate::containerd::docker::{self, Docker};
use crate::containerd::dump::Dump;
use crate::containerd::files::{self, GUARD, Settings};
use crate::containerd::handler::Runtime;
use crate::containerd::live;
use crate::containerd::process::{self, Containerd, Greeting};
use crate::containerd::search::{self, Found, Said};
use crate::gvisor::config::{Mistake, Reader};
use crate::gvisor::flags::{self, Flags};
use crate::gvisor::{self, Built, packaged};
use crate::survey::{Seen, survey};

/// The whole look.
const LIMIT: Duration = Duration::from_millis(1600);
/// What a program may take to print its version.
const VERSION: Duration = Duration::from_millis(900);
/// What containerd's CRI may take to tell its handlers.
const MEMORY: Duration = Duration::from_millis(600);
/// Far more than a file of gVisor's flags has.
const MAX_CONFIG: u64 = 1 << 20;
/// Asked where nothing else tells gVisor's version.
const RPM: &str = "/usr/bin/rpm";
/// What is said of what did not come in time.
const LATE: &str = "looking took too long and was given up; a file system may hang";

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
        memory: memory.and_then(|memory| memory.by(deadline)).and_then(Result::ok),
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
fn in_memory(containerd: &Containerd) -> Option<Later<Anyhow<BTreeMap<String, Runtime>>>> {
    let address = containerd.address.clone();
    (containerd.greeting == Greeting::Answered)
        .then(|| Later::begin(move || live::handlers(&address, MEMORY)))
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

/// Looks at what belongs to a handler, as containerd finds it on this PATH.
pub(crate) fn look_at_handler(defined: files::Handler, path: &OsStr, deadline: Instant) -> Handler {
    let config = config::load(defined.config_path.as_deref());
    let program = defined.shim_path.as_ref().map_or(GUARD.into(), |path| path.to_string_lossy());
    let guard = find(&program, path);
    // What a bad `[guard]` table does not tell is as if it were not there.
    let mut believed = config.as_ref().map(Clone::clone).unwrap_or_default();
    if let (Some(shim), false) = (&defined.shim_path, defined.guarded) {
        believed.shim = shim.to_string_lossy().into_owned();
    }
    let parts = look_for_parts(&believed, path, deadline);
    Handler {
        guard,
        mistakes: config
            .is_ok()
            .then(|| mistakes(defined.config_path.as_deref(), &parts, deadline))
            .unwrap_or_default(),
        parts,
        platform: defined.config_path.as_deref().and_then(platform),
        reports: writable(&believed.report_dir),
        config: config.map_err(|error| error.to_string()),
        defined,
    }
}

/// What of the file of a handler gVisor will not read, or will refuse; its runsc is asked, where it is root's alone.
fn mistakes(file: Option<&Path>, parts: &Parts, deadline: Instant) -> Vec<Mistake> {
    let text = file.and_then(|file| String::from_utf8(file::read(file, MAX_CONFIG).ok()?).ok());
    let Some(text) = text else { return Vec::new() };
    let runsc = parts.runsc.as_deref().ok().filter(|_| parts.trusted && parts.version.is_ok());
    let flags = runsc.and_then(|runsc| Flags::of(runsc, deadline));
    let guards: Vec<&str> = config::KEYS.iter().map(|key| key.name).collect();
    let refusal = |name: &str, value: &str| flags::refusal(runsc?, name, value, deadline);
    Reader { flags: flags.as_ref(), refusal: &refusal, guards: &guards }.read(&text)
}

fn look_for_parts(config: &Config, path: &OsStr, deadline: Instant) -> Parts {
    let (shim, runsc) = (find(&config.shim, path), find(&config.runsc_binary, path));
    let deadline = deadline.min(Instant::now() + VERSION);
    let ground = Ground::look();
    let file = match &runsc {
        Ok(file) => file,
        Err(why) => return Parts { shim, runsc: Err(why.clone()), ..late_parts() },
    };
    let own = ground.resolve(file);
    let version = match &own {
        Some(own) => output(Command::new(&own.path).arg("--version"), deadline),
        None => Err("not run: it is not root's alone".to_owned()),
    };
    let told = version.as_deref().ok().and_then(packaged::by_itself);
    let built = if told.is_none() {
        gvisor::built(Path::new("/"), file).or_else(|| by_rpm(file, &ground, deadline))
    } else {
        None
    };
    let release = told.or_else(|| built.as_ref().map(|built| built.release));
    let missing = release.and_then(|release| gvisor::missing_beside(file, release));
    Parts { shim, trusted: own.is_some(), version, built, missing, runsc }
}

/// Where rpm is, and knows whose file this is.
fn by_rpm(runsc: &Path, ground: &Ground, deadline: Instant) -> Option<Built> {
    let rpm = ground.resolve(Path::new(RPM))?;
    let said = output(Command::new(rpm.path).args(["-qf", "--qf", "%{VERSION}"]).arg(runsc), deadline);
    packaged::by_rpm(&said.ok()?)
}

/// As the guard finds the real shim, and containerd the guard.
fn find(program: &str, path: &OsStr) -> Result<PathBuf, String> {
    program::find_shim(program, Some(path)).map_err(|error| match error {
        ProgramError::NotOnPath { .. } => format!("no {program} in {}", path.display()),
        other => other.to_string(),
    })
}

fn late_parts() -> Parts {
    let late = || Err(LATE.to_owned());
    Parts {
        shim: late(),
        runsc: late(),
        trusted: true,
        version: Err(LATE.to_owned()),
        built: None,
        missing: None,
    }
}

fn late_handler(defined: files::Handler) -> Handler {
    let late = || LATE.to_owned();
    Handler {
        defined,
        guard: Err(late()),
        config: Err(late()),
        parts: late_parts(),
        mistakes: Vec::new(),
        platform: None,
        reports: Err(late()),
    }
}

#[derive(Deserialize)]
struct Gvisors {
    runsc_config: GvisorsFlags,
}

#[derive(Deserialize)]
struct GvisorsFlags {
    platform: String,
}

/// gVisor's platform, where the file sets it.
fn platform(file: &Path) -> Option<String> {
    let text = String::from_utf8(file::read(file, MAX_CONFIG).ok()?).ok()?;
    let gvisors: Gvisors = toml::from_str(&text).ok()?;
    Some(gvisors.runsc_config.platform)
}

/// Whether a file can be made in `folder`, or the folder itself where it is not there yet.
fn writable(folder: &Path) -> Result<(), String> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    if !there.is_dir() {
        return Err(format!("{} is no folder", there.display()));
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| format!("{}: {}", there.display(), errno.desc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_writable_if_it_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable(&folder.path().join("not/yet")), Ok(()));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(writable(&file.join("below")).unwrap_err().ends_with("is no folder"));
        assert!(writable(Path::new("/proc/1")).is_err(), "root, too, cannot write there");
    }

    #[test]
    fn the_platform_is_gvisors_to_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runsc.toml");
        assert_eq!(platform(&file), None);
        fs::write(&file, "[guard]\n[runsc_config]\nplatform = \"kvm\"\ndebug = \"true\"\n").unwrap();
        assert_eq!(platform(&file).as_deref(), Some("kvm"));
        fs::write(&file, "[runsc_config]\ndebug = \"true\"\n").unwrap();
        assert_eq!(platform(&file), None);
    }

    #[test]
    fn a_handler_is_looked_at_with_its_own_file_and_programs() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["runsc", "containerd-shim-runsc-v1", GUARD] {
            fs::write(at(name), "#!/bin/sh\necho runsc version release-20260714.0\n").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let text = format!("[guard]\nreport_dir = {:?}\n", at("reports"));
        fs::write(at("runsc.toml"), text).unwrap();
        let defined = files::Handler {
            name: "h".into(),
            file: at("config.toml"),
            line: 0,
            version: 3,
            table: files::Table::CriRuntime,
            guarded: true,
            shim_path: None,
            type_url: None,
            config_path: Some(at("runsc.toml")),
        };
        let looked = look_at_handler(defined, folder.path().as_os_str(), Instant::now() + LIMIT * 20);
        assert_eq!(looked.guard, Ok(at(GUARD)));
        assert_eq!(looked.parts.shim, Ok(at("containerd-shim-runsc-v1")));
        assert_eq!(looked.parts.version, Ok("runsc version release-20260714.0\n".to_owned()));
        assert_eq!((looked.reports, looked.config.unwrap().report_dir), (Ok(()), at("reports")));
    }
}
