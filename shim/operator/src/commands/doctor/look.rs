//! A look at what belongs to one handler: the guard, gVisor's programs, the file that ConfigPath names. Only a runsc that is
//! root's alone is run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};
use runsc_guard_node::config::{self, Config};
use runsc_guard_node::program::{self, ProgramError};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::file;
use serde::Deserialize;

use super::facts::{Handler, Parts};
use crate::bounded::output;
use crate::containerd::files::{self, GUARD};
use crate::gvisor::config::{Mistake, Reader};
use crate::gvisor::flags::{self, Flags};
use crate::gvisor::{self, Built, packaged};

/// What is said of what did not come in time.
pub(super) const LATE: &str = "looking took too long and was given up; a file system may hang";
/// What a program may take to print its version.
const VERSION: Duration = Duration::from_millis(900);
/// Far more than a file of gVisor's flags has.
const MAX_CONFIG: u64 = 1 << 20;
/// Asked where nothing else tells gVisor's version.
const RPM: &str = "/usr/bin/rpm";

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
        // Of a file that the guard does not take either only that is said.
        mistakes: match config {
            Ok(_) => mistakes(defined.config_path.as_deref(), &parts, deadline),
            Err(_) => Vec::new(),
        },
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

/// Looks for gVisor's programs.
pub(super) fn look_for_parts(config: &Config, path: &OsStr, deadline: Instant) -> Parts {
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

/// Nothing is known of them in time.
pub(super) fn late_parts() -> Parts {
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

/// Nothing is known of it in time.
pub(super) fn late_handler(defined: files::Handler) -> Handler {
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
    use std::fs;

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
        let looked =
            look_at_handler(defined, folder.path().as_os_str(), Instant::now() + Duration::from_secs(32));
        assert_eq!(looked.guard, Ok(at(GUARD)));
        assert_eq!(looked.parts.shim, Ok(at("containerd-shim-runsc-v1")));
        assert_eq!(looked.parts.version, Ok("runsc version release-20260714.0\n".to_owned()));
        assert_eq!((looked.reports, looked.config.unwrap().report_dir), (Ok(()), at("reports")));
    }
}
