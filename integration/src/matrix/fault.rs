//! What goes wrong.

use std::{fmt, time::Duration};

/// Part of a sandbox and its surroundings that can be stopped or killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// gVisor's kernel.
    Sentry,
    /// The gofer of the container that the request is about.
    Gofer,
    /// Every systrap stub: the guest's own threads.
    Stubs,
    /// The real shim.
    RealShim,
    /// The real shim and everything under it: all but the guard.
    Everything,
    /// The guard.
    Guard,
    /// The runsc command that the request needs; where it needs none, the `runsc wait` of its container.
    Command,
}

/// One fault. All are made with real parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// None: all of it works, and then its end is asked for.
    None,
    /// SIGSTOP.
    Stopped(Part),
    /// SIGKILL.
    Killed(Part),
    /// The sandbox's freezer cgroup is frozen.
    Frozen,
    /// The FUSE server under the container's volume stops answering for [`Fault::FUSE_HUNG`]: who waits for it
    /// cannot be killed.
    FuseHung,
    /// The same in a write while the guest unmaps the file: a stub holds its mmap_lock, and who reads its command line
    /// hangs.
    MmapLockHeld,
    /// The FUSE server under the container's volume, which has a writeback cache, answers no write: who waits for its
    /// pages cannot be killed. In a pod for good; elsewhere, where the node has the mount too, for as long.
    FuseUnwritten,
    /// This subcommand of runsc never returns, and does nothing.
    Hangs(&'static str),
    /// Somebody holds runsc's state lock of the container.
    LockHeld,
    /// `runsc create` has done its work and never returns: the real shim's one lock is held.
    CreateStuck,
    /// The container's stdout FIFO is full and nobody reads it.
    StdoutFull,
    /// containerd is ended by SIGTERM and started again.
    ContainerdRestarted,
    /// containerd is ended by SIGKILL and started again.
    ContainerdKilled,
    /// The same; all of it works after that, and then the sentry is stopped.
    StoppedAfterRestart,
    /// The guard is stopped for [`Fault::GUARD_STOPPED`], then continued.
    GuardStopped,
    /// The disks of bundles, runsc's states and reports are full.
    DiskFull,
    /// The sentry is stopped, and for [`Fault::NO_THREAD`] the guard can make neither thread nor child.
    NoThread,
}

impl Fault {
    /// Every fault of the table; the others are what [`super::versions`] has beside those.
    pub const ALL: [Self; 30] = [
        Self::Stopped(Part::Sentry),
        Self::Stopped(Part::Gofer),
        Self::Stopped(Part::Stubs),
        Self::Stopped(Part::RealShim),
        Self::Stopped(Part::Everything),
        Self::Killed(Part::Sentry),
        Self::Killed(Part::Gofer),
        Self::Killed(Part::RealShim),
        Self::Killed(Part::Guard),
        Self::Killed(Part::Command),
        Self::Frozen,
        Self::FuseHung,
        Self::MmapLockHeld,
        Self::FuseUnwritten,
        Self::Hangs("create"),
        Self::Hangs("start"),
        Self::Hangs("exec"),
        Self::Hangs("kill"),
        Self::Hangs("state"),
        Self::Hangs("delete"),
        Self::Hangs("wait"),
        Self::Hangs("events"),
        Self::LockHeld,
        Self::CreateStuck,
        Self::StdoutFull,
        Self::ContainerdRestarted,
        Self::ContainerdKilled,
        Self::GuardStopped,
        Self::DiskFull,
        Self::NoThread,
    ];

    /// How long [`Fault::GuardStopped`] lasts.
    pub const GUARD_STOPPED: Duration = Duration::from_secs(30);
    /// How long [`Fault::FuseHung`] and [`Fault::MmapLockHeld`] last.
    pub const FUSE_HUNG: Duration = Duration::from_secs(10);
    /// How long [`Fault::NoThread`] lasts.
    pub const NO_THREAD: Duration = Duration::from_secs(10);

    /// Only a guarded sandbox has it.
    pub fn needs_guard(self) -> bool {
        matches!(
            self,
            Self::GuardStopped | Self::NoThread | Self::Stopped(Part::Guard) | Self::Killed(Part::Guard)
        )
    }

    /// The sentry goes on answering, and says yes to SIGKILL, which then has no effect on one container of a
    /// pod: that is what `hard_limit` is for.
    pub(super) fn leaves_sentry_answering(self) -> bool {
        matches!(
            self,
            Self::None
                | Self::Stopped(Part::Gofer | Part::Stubs)
                | Self::Killed(Part::Gofer)
                | Self::Hangs("wait" | "delete")
                | Self::StdoutFull
        )
    }

    /// containerd itself goes away: its clients' calls end, and events of that moment have no subscriber.
    pub(super) fn takes_containerd(self) -> bool {
        matches!(self, Self::ContainerdRestarted | Self::ContainerdKilled | Self::StoppedAfterRestart)
    }

    /// What the container runs: something that the fault can hurt.
    pub(super) fn command(self) -> &'static [&'static str] {
        match self {
            // A stub matters while its guest runs, a gofer while its guest uses files.
            Self::Stopped(Part::Stubs | Part::Gofer) | Self::Killed(Part::Gofer) => {
                &["sh", "-c", "while :; do ls /bin >/dev/null; sleep 1; done"]
            }
            Self::FuseHung => &["sh", "-c", "while :; do cat /mnt/file >/dev/null; sleep 0.3; done"],
            Self::MmapLockHeld => &["files", "munmap", "/mnt/file"],
            Self::FuseUnwritten => &["files", "fsync", "/mnt/file"],
            // A full FIFO matters to who writes.
            Self::StdoutFull => &["sh", "-c", "while :; do echo full; sleep 0.3; done"],
            _ => &["sleep", "100000"],
        }
    }

    /// Flags of runsc without which the fault has no effect: with directfs most file access avoids the gofer.
    pub(super) fn runsc_flags(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Stopped(Part::Gofer) | Self::Killed(Part::Gofer) => &[("directfs", "false")],
            _ => &[],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Part| match part {
            Part::Sentry => "sentry",
            Part::Gofer => "gofer",
            Part::Stubs => "stubs",
            Part::RealShim => "real shim",
            Part::Everything => "everything",
            Part::Guard => "guard",
            Part::Command => "runsc command",
        };
        f.pad(&match self {
            Self::None => "none".to_owned(),
            Self::Stopped(what) => format!("{} stopped", part(what)),
            Self::Killed(what) => format!("{} killed", part(what)),
            Self::Frozen => "cgroup frozen".to_owned(),
            Self::FuseHung => "FUSE volume hung".to_owned(),
            Self::MmapLockHeld => "mmap_lock held".to_owned(),
            Self::FuseUnwritten => "FUSE writeback hung".to_owned(),
            Self::Hangs(command) => format!("runsc {command} hangs"),
            Self::LockHeld => "state lock held".to_owned(),
            Self::CreateStuck => "Create stuck".to_owned(),
            Self::StdoutFull => "stdout full".to_owned(),
            Self::ContainerdRestarted => "containerd restarted".to_owned(),
            Self::ContainerdKilled => "containerd killed".to_owned(),
            Self::StoppedAfterRestart => "containerd killed, then sentry stopped".to_owned(),
            Self::GuardStopped => "guard stopped for 30 s".to_owned(),
            Self::DiskFull => "disk full".to_owned(),
            Self::NoThread => "no thread to be had".to_owned(),
        })
    }
}
