//! The guard and the operator's command on the node: where they go, and where somebody else has brought them already. What
//! a package or a system extension has brought stays where it is: a copy in front of it would outlive its next version,
//! and /usr may be read-only.

use std::env::{current_exe, split_paths};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use runsc_guard_sandbox::sys::kernel::{FileId, Links};

use super::hand::{Hand, Kind};
use crate::bounded;
use crate::containerd::files::GUARD;

/// This program's name on a node.
const COMMAND: &str = "runsc-guard";
/// This program, whatever has become of its path.
const THIS: &str = "/proc/self/exe";
/// A program that runs at all says something at once.
const RUNS: Duration = Duration::from_secs(10);

/// Where the programs are, or go.
pub(super) struct Place {
    /// The folder.
    pub(super) folder: PathBuf,
    /// Whether somebody else has brought them there, who also takes them away.
    pub(super) is_anothers: bool,
}

impl Place {
    /// The folder that was `said`; else the one from which containerd, with this `path`, takes the guard beside this very
    /// program; else the `usual` one.
    pub(super) fn of(said: Option<&Path>, usual: &Path, path: &OsStr) -> Self {
        let ours = |folder: PathBuf| Self { folder, is_anothers: false };
        if let Some(said) = said {
            return ours(said.to_owned());
        }
        let brought = split_paths(path).find(|folder| folder.join(GUARD).is_file());
        let brought = brought
            .filter(|folder| is_same(&folder.join(COMMAND), Path::new(THIS)) && !is_same(folder, usual));
        brought.map_or_else(|| ours(usual.to_owned()), |folder| Self { folder, is_anothers: true })
    }

    /// The guard's program.
    pub(super) fn guard(&self) -> PathBuf {
        self.folder.join(GUARD)
    }

    fn command(&self) -> PathBuf {
        self.folder.join(COMMAND)
    }

    /// Takes them away, unless they are another's.
    pub(super) fn clear(&self, hand: Hand) -> Result<()> {
        if self.is_anothers {
            hand.say(
                "guard",
                &format!("{} stays: it goes as it came, with its package", self.guard().display()),
            );
            return Ok(());
        }
        hand.remove("guard", &self.guard())?;
        hand.remove("command", &self.command())
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    FileId::of(one, Links::Follow).ok().is_some_and(|id| FileId::of(other, Links::Follow).ok() == Some(id))
}

/// What goes onto the node.
pub(super) struct Programs {
    guard: Vec<u8>,
    command: Vec<u8>,
}

impl Programs {
    /// This one, and the guard beside it.
    pub(super) fn beside_this_one() -> Result<Self> {
        let guard = current_exe()?.with_file_name(GUARD);
        let guard = fs::read(&guard).with_context(|| guard.display().to_string())?;
        Ok(Self { guard, command: fs::read(THIS)? })
    }

    /// Brings them there, if nobody else has. What containerd's PATH is each must run with.
    pub(super) fn place(&self, hand: Hand, place: &Place, path: &OsStr) -> Result<()> {
        if place.is_anothers {
            hand.say("guard", &format!("{}: there already", place.guard().display()));
            return Ok(());
        }
        let runs = |draft: &Path| {
            let mut command = Command::new(draft);
            let done = bounded::run(command.arg("-v").env("PATH", path), Instant::now() + RUNS);
            let done = done.map_err(|why| anyhow!(why))?;
            // What it says depends on much; that it says something shows that this node can run it.
            ensure!(done.status.code().is_some(), "{} does not run here: {}", draft.display(), done.status);
            Ok(())
        };
        hand.place("guard", &place.guard(), &self.guard, Kind::Program, runs)?;
        hand.place("command", &place.command(), &self.command, Kind::Program, runs)
    }
}
