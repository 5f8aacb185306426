//! Processes by identity. A process is its pid *and* its start time; signals go through a pidfd.

mod memory;

use crate::Late;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

/// One process as /proc showed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Clock ticks since boot at its start: with the pid, its identity.
    pub started: u64,
    /// One letter: R, S, D, T, Z ...
    pub state: char,
    /// Its arguments; empty for a systrap stub and for a zombie.
    pub args: Vec<String>,
    /// Its short name.
    pub comm: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.args.join(" ");
        let line: String = line.chars().take(160).collect();
        write!(f, "{} {} ({}) {line}", self.pid, self.state, self.comm)
    }
}

impl Process {
    /// Reads process `pid`; `None` if there is none (any more).
    pub fn read(pid: i32) -> Option<Self> {
        Self::with_args(Self::of_stat(pid).into_iter().collect()).pop()
    }

    /// It without its arguments.
    fn of_stat(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let comm = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let started = fields.get(19)?.parse().ok()?;
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            started,
            state: fields.first()?.chars().next()?,
            args: Vec::new(),
            comm,
        })
    }

    fn with_args(mut all: Vec<Self>) -> Vec<Self> {
        let lines = Self::memory(&all, "cmdline");
        for (process, line) in all.iter_mut().zip(lines) {
            let args = line.split(|byte| *byte == 0).filter(|arg| !arg.is_empty());
            process.args = args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        }
        all
    }

    fn memory(all: &[Self], file: &str) -> Vec<Vec<u8>> {
        let identities: Vec<_> = all.iter().map(|process| (process.pid, process.started)).collect();
        memory::read(&identities, file)
    }

    /// Its state alone, for which nobody can make one wait.
    pub fn state(pid: i32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// The pids of those whose environment holds this word.
    pub(crate) fn whose_environment_has(all: &[Self], word: &str) -> BTreeSet<i32> {
        let has = |bytes: &Vec<u8>| bytes.split(|byte| *byte == 0).any(|one| one == word.as_bytes());
        let environments = Self::memory(all, "environ");
        all.iter().zip(environments).filter(|(_, bytes)| has(bytes)).map(|(process, _)| process.pid).collect()
    }

    /// This one.
    pub fn me() -> Result<Self> {
        Self::read(std::process::id().cast_signed()).context("this process is not in /proc")
    }

    /// Every process of this machine.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self::with_args(pids.filter_map(Self::of_stat).collect())
    }

    /// The processes that `mine` names, and all that descend from them.
    pub fn with_descendants(mine: impl Fn(&Self) -> bool) -> Vec<Self> {
        Self::descending(Self::all(), mine)
    }

    /// The same of these.
    pub(crate) fn descending(all: Vec<Self>, mine: impl Fn(&Self) -> bool) -> Vec<Self> {
        let parents: BTreeMap<i32, i32> = all.iter().map(|p| (p.pid, p.parent)).collect();
        let roots: BTreeSet<i32> = all.iter().filter(|p| mine(p)).map(|p| p.pid).collect();
        let belongs = |pid: i32| {
            let mut pid = pid;
            // A pid that is reused while we read could close a circle; no real ancestry is this long.
            for _ in 0..64 {
                if roots.contains(&pid) {
                    return true;
                }
                match parents.get(&pid) {
                    Some(parent) => pid = *parent,
                    None => return false,
                }
            }
            false
        };
        all.into_iter().filter(|p| belongs(p.pid)).collect()
    }

    /// The process still is, and is not a zombie.
    pub fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.started == self.started && now.state != 'Z')
    }

    /// Fails if it has ended, and who ended it must not have: `hack/test` knows these words, and gives no second try.
    pub fn assert_spared(&self) -> Result<()> {
        ensure!(self.is_alive(), "the wrong process was ended: {self}");
        Ok(())
    }

    /// A pidfd of exactly this process.
    pub fn pidfd(&self) -> Result<OwnedFd> {
        let pid = Pid::from_raw(self.pid).context("no pid")?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).with_context(|| format!("{self}"))?;
        // Opened first, compared second: what the descriptor holds cannot change any more.
        if Self::read(self.pid).is_none_or(|now| now.started != self.started) {
            bail!("gone: {self}");
        }
        Ok(fd)
    }

    /// Sends `signal` to exactly this process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(self.pidfd()?, signal).with_context(|| format!("{signal:?} to {self}"))
    }

    /// Waits until it has exited.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        self.gone_within(crate::patience(limit))
    }

    /// The same where that is promised: nothing stretches the limit.
    pub fn gone_within(&self, limit: Duration) -> Result<()> {
        let Ok(fd) = self.pidfd() else {
            return Ok(());
        };
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.try_into().ok();
            let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref());
            match ready {
                Ok(0) => return Err(Late { limit, what: format!("the end of {self}") }.into()),
                Err(rustix::io::Errno::INTR) => {}
                other => return other.map(drop).context("poll on a pidfd"),
            }
        }
    }

    /// What it runs; `None` for a kernel thread or where it cannot be read.
    pub fn exe(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The value that follows `flag` in its arguments.
    pub fn arg_after(&self, flag: &str) -> Option<&str> {
        let at = self.args.iter().position(|arg| arg == flag)?;
        self.args.get(at + 1).map(String::as_str)
    }

    /// A field of /proc/PID/status, as its first number (`VmRSS` in kB, `Threads`).
    pub fn status_number(&self, field: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line =
            text.lines().find(|line| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':')))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}
