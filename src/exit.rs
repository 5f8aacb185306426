//! How a process ended, and who says so.

/// The status of a task that had no exit before the guard killed its sandbox: 128 + SIGKILL. (The real shim
/// on its own reports 128, its internal error: gVisor pkg/shim/v1/proc/utils.go.)
pub const KILLED: u32 = 137;
/// What the real shim reports for a process whose sandbox died under it.
pub const REAL_SHIM_LOST_IT: u32 = 128;

/// The end of a task or an exec'd process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The process id that was reported at Create or Start.
    pub pid: u32,
    /// Exit status as containerd knows it (128 + signal for a killed process).
    pub status: u32,
    /// When, in nanoseconds since the epoch.
    pub at_ns: u64,
}

impl Exit {
    /// The exit that the guard itself establishes after it has killed `pid`.
    pub const fn killed(pid: u32, at_ns: u64) -> Self {
        Self { pid, status: KILLED, at_ns }
    }
}

/// Who has published an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// The real shim: whatever else it says of the process goes on, too.
    RealShim,
    /// The guard: what the real shim still says of the process contradicts it.
    Guard,
}
