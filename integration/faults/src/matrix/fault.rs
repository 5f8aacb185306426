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

/// When a runsc command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At once.
    AtOnce,
    /// After [`Fault::LATE`], more than any deadline of one request.
    Late,
    /// Each second time; else it hangs.
    InTurns,
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
    /// This subcommand of runsc fails, and does nothing: at once, after a while, or in turns with hanging.
    Fails(When, &'static str),
    /// The container has ended, that is known, and whatever its Delete needs hangs.
    DeleteHung,
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
    /// containerd is ended by SIGTERM, then guard and real shim are sent it, as when a node is shut down; a node that
    /// comes up has containerd again.
    NodeShutdown,
}

impl Fault {
    /// Every fault of the table; the others are what [`super::versions`] has beside those.
    pub const ALL: [Self; 56] = [
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
        Self::Fails(When::AtOnce, "create"),
        Self::Fails(When::AtOnce, "start"),
        Self::Fails(When::AtOnce, "exec"),
        Self::Fails(When::AtOnce, "kill"),
        Self::Fails(When::AtOnce, "state"),
        Self::Fails(When::AtOnce, "delete"),
        Self::Fails(When::AtOnce, "wait"),
        Self::Fails(When::AtOnce, "events"),
        Self::Fails(When::Late, "create"),
        Self::Fails(When::Late, "start"),
        Self::Fails(When::Late, "exec"),
        Self::Fails(When::Late, "kill"),
        Self::Fails(When::Late, "state"),
        Self::Fails(When::Late, "delete"),
        Self::Fails(When::Late, "wait"),
        Self::Fails(When::Late, "events"),
        Self::Fails(When::InTurns, "create"),
        Self::Fails(When::InTurns, "start"),
        Self::Fails(When::InTurns, "exec"),
        Self::Fails(When::InTurns, "kill"),
        Self::Fails(When::InTurns, "state"),
        Self::Fails(When::InTurns, "delete"),
        Self::Fails(When::InTurns, "wait"),
        Self::Fails(When::InTurns, "events"),
        Self::DeleteHung,
        Self::LockHeld,
        Self::CreateStuck,
        Self::StdoutFull,
        Self::ContainerdRestarted,
        Self::ContainerdKilled,
        Self::GuardStopped,
        Self::DiskFull,
        Self::NoThread,
        Self::NodeShutdown,
    ];

    /// How long a command takes that fails late, in seconds.
    pub const LATE: u32 = 3;
    /// How long [`Fault::GuardStopped`] lasts.
    pub const GUARD_STOPPED: Duration = Duration::from_secs(30);
    /// How long [`Fault::FuseHung`] and [`Fault::MmapLockHeld`] last.
    pub const FUSE_HUNG: Duration = Duration::from_secs(10);
    /// Within which everything is gone after [`Fault::NodeShutdown`]: a service manager waits for what lives on.
    pub const GONE_WITHIN: Duration = Duration::from_secs(2);
    /// How long [`Fault::NoThread`] lasts.
    pub const NO_THREAD: Duration = Duration::from_secs(10);

    /// The subcommands of runsc that it makes hang or fail.
    pub(super) fn commands(self) -> Vec<&'static str> {
        match self {
            Self::Hangs(command) | Self::Fails(_, command) => vec![command],
            Self::DeleteHung => vec!["kill", "delete"],
            _ => Vec::new(),
        }
    }

    /// Only a guarded sandbox has it.
    pub fn needs_guard(self) -> bool {
        matches!(
            self,
            Self::GuardStopped | Self::NoThread | Self::Stopped(Part::Guard) | Self::Killed(Part::Guard)
        )
    }

    /// The sentry is stopped, or the real shim: a measurement tells, at `kill_deadline` where that leaves the time.
    /// Else the siblings of a container that does not die are spared until `hard_limit`.
    pub(super) fn is_silence(self) -> bool {
        use Part::{Everything, RealShim, Sentry};
        matches!(self, Self::Stopped(Sentry | RealShim | Everything) | Self::Frozen)
    }

    /// Nothing hangs: what ends, if anything, ends without a report.
    pub(super) fn is_no_hang(self) -> bool {
        matches!(self, Self::None | Self::NodeShutdown)
    }

    /// containerd itself goes away: its clients' calls end, and events of that moment have no subscriber.
    pub(super) fn takes_containerd(self) -> bool {
        matches!(
            self,
            Self::ContainerdRestarted
                | Self::ContainerdKilled
                | Self::StoppedAfterRestart
                | Self::NodeShutdown
        )
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
            Self::Fails(When::AtOnce, command) => format!("runsc {command} fails"),
            Self::Fails(When::Late, command) => format!("runsc {command} fails late"),
            Self::Fails(When::InTurns, command) => format!("runsc {command} fails or hangs in turns"),
            Self::DeleteHung => "exited, Delete hung".to_owned(),
            Self::LockHeld => "state lock held".to_owned(),
            Self::CreateStuck => "Create stuck".to_owned(),
            Self::StdoutFull => "stdout full".to_owned(),
            Self::ContainerdRestarted => "containerd restarted".to_owned(),
            Self::ContainerdKilled => "containerd killed".to_owned(),
            Self::StoppedAfterRestart => "containerd killed, then sentry stopped".to_owned(),
            Self::GuardStopped => "guard stopped for 30 s".to_owned(),
            Self::DiskFull => "disk full".to_owned(),
            Self::NoThread => "no thread to be had".to_owned(),
            Self::NodeShutdown => "node shutdown".to_owned(),
        })
    }
}
