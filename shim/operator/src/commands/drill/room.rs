//! What a drill keeps on the node: a folder of root's for each throw-away sandbox, made before that and removed after it.
//! By these the next drill finds what one that was killed has left. One drill at a time for each containerd.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use runsc_guard_node::lock::Lock;
use runsc_guard_node::paths::{Base, check_name};
use runsc_guard_sandbox::processes::process::guard_name;
use runsc_guard_sandbox::sys::file;

/// Of pods, of their Kubernetes namespace, of containerd's namespace.
pub(super) const NAME: &str = "runsc-guard-drill";
/// What containerd may take for what is nothing to it.
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// The guest's program, in its root file system.
pub(super) const PROGRAM: &str = "pause";
/// How long another drill is waited for: as long as one takes by default.
const OTHERS: Duration = Duration::from_secs(30);
/// What random bytes a name has.
const RANDOM: usize = 8;

/// The place for the drills of one containerd.
pub(super) struct Room {
    folder: PathBuf,
    _lock: Lock,
}

impl Room {
    /// Waits for a drill that is under way.
    pub(super) fn enter(address: &Path) -> Result<Self> {
        let name = guard_name(&address.to_string_lossy(), NAME, NAME);
        let folder = Base::default().runtime.join(format!("drill-{}", &name[..16]));
        let lock = Lock::take(&folder.with_extension("lock"), Instant::now() + OTHERS);
        Ok(Self { folder, _lock: lock.context("another drill is under way")? })
    }

    /// What earlier drills have left: those that were killed.
    pub(super) fn leftovers(&self) -> Vec<Record> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| check_name("id", name).is_ok()).map(|name| self.record(name)).collect()
    }

    /// A new one, with a name that nobody can know before.
    pub(super) fn make(&self) -> Result<Record> {
        let random = fs::File::open("/dev/urandom").and_then(|mut source| {
            let mut bytes = [0; RANDOM];
            io::Read::read_exact(&mut source, &mut bytes).map(|()| bytes)
        });
        let random: String =
            random.context("/dev/urandom")?.iter().map(|byte| format!("{byte:02x}")).collect();
        let record = self.record(format!("{NAME}-{random}"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&record.folder)
            .with_context(|| record.folder.display().to_string())?;
        Ok(record)
    }

    fn record(&self, name: String) -> Record {
        Record { folder: self.folder.join(&name), name }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Not as long as there is something left to find.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// One throw-away sandbox.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its name, which is the pod's uid or the task's id.
    pub(super) name: String,
    folder: PathBuf,
}

impl Record {
    /// Makes a root file system for a guest.
    pub(super) fn rootfs(&self) -> Result<PathBuf> {
        let rootfs = self.folder.join("rootfs");
        let fill = || {
            for folder in ["", "dev", "proc", "sys", "tmp"] {
                DirBuilder::new().recursive(true).mode(0o755).create(rootfs.join(folder))?;
            }
            let program = rootfs.join(PROGRAM);
            fs::write(&program, elf())?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        };
        fill().with_context(|| rootfs.display().to_string())?;
        Ok(rootfs)
    }

    /// Removes it, when nothing is left that it would be needed for.
    pub(super) fn remove(&self) -> Result<()> {
        for cgroup in self.cgroups() {
            unless_gone(fs::remove_dir(&cgroup)).with_context(|| cgroup.display().to_string())?;
        }
        unless_gone(fs::remove_dir_all(&self.folder)).with_context(|| self.folder.display().to_string())
    }

    /// What runsc has made above the pod's own cgroup, in every hierarchy, and what nobody else removes.
    fn cgroups(&self) -> Vec<PathBuf> {
        let in_each = ["/sys/fs/cgroup", "/sys/fs/cgroup/*"].map(|top| format!("{top}/{}", self.name));
        let found = in_each.iter().filter_map(|pattern| glob::glob(pattern).ok());
        found.flatten().flatten().collect()
    }
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whether runsc has its cgroups made by systemd.
pub(super) fn by_systemd(config_path: Option<&Path>) -> bool {
    const LIMIT: u64 = 1 << 20;
    let text = config_path
        .and_then(|path| file::read(path, LIMIT).ok())
        .and_then(|text| String::from_utf8(text).ok());
    let table = text.and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
    match table.get("runsc_config").and_then(|flags| flags.get("systemd-cgroup")) {
        Some(toml::Value::String(text)) => text == "true",
        Some(value) => value.as_bool().unwrap_or_default(),
        None => false,
    }
}

/// ELF's number of the machine, and what the program does there: pause(2), or ppoll(2) of nothing, again and again.
#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, &[u8]) = (62, &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]);
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, &[u8]) = (
    183,
    &[
        0x28, 0x09, 0x80, 0xd2, 0, 0, 0x80, 0xd2, 1, 0, 0x80, 0xd2, 2, 0, 0x80, 0xd2, 3, 0, 0x80, 0xd2, 4, 0,
        0x80, 0xd2, 0x01, 0, 0, 0xd4, 0xf9, 0xff, 0xff, 0x17,
    ],
);

/// The smallest program that stays: one segment, and nothing in it but that.
fn elf() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // The largest page that there is.
    const ALIGNED: u64 = 0x1_0000;
    let (machine, code) = MACHINE;
    let mut elf = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    // An executable.
    [2, machine].iter().for_each(|half| put(&half.to_le_bytes()));
    put(&1_u32.to_le_bytes());
    // Where it begins; where its one program header is; no section headers, no flags.
    [BASE + HEADERS, 64, 0].iter().for_each(|word| put(&word.to_le_bytes()));
    put(&0_u32.to_le_bytes());
    [64_u16, 56, 1, 0, 0, 0].iter().for_each(|half| put(&half.to_le_bytes()));
    // To be loaded, readable and executable.
    [1_u32, 5].iter().for_each(|half| put(&half.to_le_bytes()));
    let size = HEADERS + code.len() as u64;
    [0, BASE, BASE, size, size, ALIGNED].iter().for_each(|word| put(&word.to_le_bytes()));
    put(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_guests_program_stays_until_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record { name: "x".to_owned(), folder: folder.path().join("x") };
        let program = record.rootfs().unwrap().join(PROGRAM);
        let mut child = Command::new(&program).spawn().unwrap();
        let asleep = |pid: u32| {
            let stat = runsc_guard_sandbox::sys::identity::Stat::of(pid.cast_signed()).unwrap();
            stat.state == 'S' && stat.comm == PROGRAM
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !asleep(child.id()) && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(asleep(child.id()) && child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        record.remove().unwrap();
        record.remove().unwrap();
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn who_makes_the_cgroups_stands_in_runscs_configuration() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, systemd) in [
            ("", false),
            ("[runsc_config]\nsystemd-cgroup = \"true\"\n", true),
            ("[runsc_config]\nsystemd-cgroup = true\n", true),
            ("[runsc_config]\nsystemd-cgroup = \"false\"\n", false),
            ("no TOML", false),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(by_systemd(Some(file.path())), systemd, "{text}");
        }
        assert!(!by_systemd(None));
    }
}
