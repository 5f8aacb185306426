//! What is kept in a container's bundle: the guard's record, for whoever must finish the job when the guard
//! is dead, and what can be learned from the files of its neighbours (`config.json`, `state.json`).
//!
//! The record lies in *every* member's bundle, not only in the root's: `delete` is called for each container
//! on its own, in any order, and bundles go one by one. It is read with tolerance: older and newer guards
//! must understand each other, and an empty or truncated one says nothing but is no error. After a reboot
//! its pids are strangers', so they are dropped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runsc_guard_core::exit::KILLED;
use serde::{Deserialize, Serialize};

use runsc_guard_sandbox::Member;
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::identity::Identity;

pub(crate) mod neighbours;
#[cfg(test)]
mod tests;

pub use neighbours::{recorded_beside, sandbox_of, sandbox_states, state_names, state_root};

/// Its name in the bundle.
pub const RECORD: &str = "runsc-guard.json";
/// The format that this guard writes; fields may be added without changing it.
const VERSION: u32 = 1;
/// The most that is read; fifty members make some ten thousand bytes.
const MAX_RECORD: u64 = 1 << 20;

/// One sandbox, as the guard left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Format.
    pub version: u32,
    /// The boot in which the pids below mean anything.
    pub boot_id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// Id of the sandbox: the pod's, or the stand-alone container's own.
    pub sandbox: String,
    /// The guard's socket.
    pub socket: PathBuf,
    /// The guard's private folder.
    pub folder: PathBuf,
    /// runsc's root with the namespace.
    pub runsc_root: PathBuf,
    /// The guard.
    pub guard: Option<Identity>,
    /// The real shim.
    pub real_shim: Option<Identity>,
    /// The sentry, as it was seen below the guard.
    pub sentry: Option<Identity>,
    /// The gofers that were seen there last.
    pub gofers: Vec<Identity>,
    /// Every container that this sandbox has or had, the root container first.
    pub members: Vec<MemberRecord>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberRecord {
    /// Its full id.
    pub id: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// The pid that Create answered; 0 if it has not.
    pub pid: u32,
    /// How it ended, once known.
    pub exit: Option<Exit>,
    /// Closed cleanly or torn down: nothing of it is left.
    pub released: bool,
}

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The pid that its exit was reported with.
    pub pid: u32,
    /// Its status.
    pub exit_status: u32,
    /// When, in nanoseconds since the epoch.
    pub exited_at_ns: u64,
}

impl Exit {
    /// The exit of a task that had none before its sandbox was killed.
    pub fn killed(pid: u32) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since_epoch.unwrap_or(Duration::ZERO).as_nanos();
        Self { pid, exit_status: KILLED, exited_at_ns: u64::try_from(now).unwrap_or(u64::MAX) }
    }
}

impl Record {
    /// An empty record of this boot.
    pub fn new(namespace: &str, sandbox: &str) -> Self {
        Self {
            version: VERSION,
            boot_id: boot_id(),
            namespace: namespace.to_owned(),
            sandbox: sandbox.to_owned(),
            ..Self::default()
        }
    }

    /// The record in `bundle`; nothing where there is none that can be read. Identities of another boot are
    /// left out.
    pub fn load(bundle: &Path) -> Option<Self> {
        let content = file::read(&bundle.join(RECORD), MAX_RECORD).ok()?;
        Self::parse(&content, &boot_id())
    }

    pub(crate) fn parse(content: &[u8], boot_id: &str) -> Option<Self> {
        let mut record: Self = serde_json::from_slice(content).ok()?;
        record.members.retain(|member| !member.id.is_empty());
        if record.boot_id != boot_id {
            record.guard = None;
            record.real_shim = None;
            record.sentry = None;
            record.gofers.clear();
        }
        Some(record)
    }

    /// Writes the record into the bundle of every member that still has one, and into the guard's folder, for when
    /// there are no bundles any more. What cannot be written is left
    /// as it was: a full disk fails no request. The errors are returned for the log.
    pub fn store(&self) -> Vec<io::Error> {
        let folders = self.members.iter().map(|member| &member.bundle).chain([&self.folder]);
        let there = folders.filter(|bundle| bundle.is_absolute() && bundle.is_dir());
        there.filter_map(|bundle| self.store_in(bundle).err()).collect()
    }

    /// Writes the record into one bundle.
    pub fn store_in(&self, bundle: &Path) -> io::Result<()> {
        let content = serde_json::to_vec(self)?;
        file::replace(&bundle.join(RECORD), &content, 0o600)
    }

    /// The member with this id.
    pub fn member(&self, id: &str) -> Option<&MemberRecord> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The member with this id, added if it is new; a bundle that is known is kept.
    pub fn member_mut(&mut self, id: &str, bundle: &Path) -> &mut MemberRecord {
        let at = match self.members.iter().position(|member| member.id == id) {
            Some(at) => at,
            None => {
                let added =
                    MemberRecord { id: id.to_owned(), bundle: bundle.to_owned(), ..MemberRecord::default() };
                // Whoever tears down wants the root container first.
                let at = if id == self.sandbox { 0 } else { self.members.len() };
                self.members.insert(at, added);
                at
            }
        };
        &mut self.members[at]
    }

    /// Whether nothing of any member is left.
    pub fn is_released(&self) -> bool {
        !self.members.is_empty() && self.members.iter().all(|member| member.released)
    }

    /// What to look for when this sandbox must be found.
    pub fn scope(&self) -> Scope {
        Scope {
            guard: self.guard,
            real_shim: self.real_shim,
            sentry: self.sentry,
            gofers: self.gofers.clone(),
            members: self
                .members
                .iter()
                .map(|member| Member::new(member.id.as_str(), member.bundle.as_path()))
                .collect(),
            runsc_root: self.runsc_root.clone(),
            folder: self.folder.clone(),
            ..Scope::default()
        }
    }
}

/// This boot's id; empty, and so equal to no other, where the kernel does not tell.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
