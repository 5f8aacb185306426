//! What a configuration is: the values, their defaults, and how a guard is given them.

use std::path::PathBuf;
use std::time::Duration;

use runsc_guard_core::policy::{Policy, Watchdog};
use runsc_guard_sandbox::teardown::unblock::UnblockPolicy;
use serde::{Deserialize, Serialize};

/// Where reports of escalations go unless configured otherwise.
pub const REPORT_DIR: &str = "/var/log/runsc-guard";

/// All that the operator can set. A guard of another version may have written it: what it did not know has its
/// default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The deadlines.
    #[serde(with = "PolicyFields")]
    pub policy: Policy,
    /// The real shim: a name on PATH, or an absolute path.
    pub shim: String,
    /// Where reports of escalations go.
    pub report_dir: PathBuf,
    /// Step 6: set down the network links of a sandbox that cannot die.
    pub release_network: bool,
    /// Step 6: abort a hung FUSE connection that is this pod's alone.
    pub abort_fuse: bool,
    /// Who is asked for Stats.
    pub stats: StatsWay,
    /// How a line of the log is written.
    pub log_format: LogFormat,
    /// May a pod shorten its own deadlines.
    pub allow_annotations: bool,
    /// gVisor's `root`, without the namespace.
    pub runsc_root: PathBuf,
    /// `root` in `[runsc_config]`, which wins and is taken as it stands.
    pub runsc_flag_root: Option<PathBuf>,
    /// `allow-flag-override` in `[runsc_config]`: a pod's annotations may set runsc's flags.
    pub runsc_flag_override: bool,
    /// gVisor's `binary_name`.
    pub runsc_binary: String,
}

/// Who is asked for Stats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsWay {
    /// The sentry, once it has proved that it says what the real shim would.
    Direct,
    /// The real shim.
    Shim,
}

/// How containerd writes its log, into which the guard's lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Its text.
    Logfmt,
    /// Its JSON.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            shim: "containerd-shim-runsc-v1".into(),
            report_dir: REPORT_DIR.into(),
            release_network: true,
            abort_fuse: true,
            stats: StatsWay::Direct,
            log_format: LogFormat::Logfmt,
            allow_annotations: false,
            runsc_root: "/run/containerd/runsc".into(),
            runsc_flag_root: None,
            runsc_flag_override: false,
            runsc_binary: "runsc".into(),
        }
    }
}

impl Config {
    /// Where runsc works for a namespace of containerd (its `--root`).
    pub fn runsc_root_of(&self, namespace: &str) -> PathBuf {
        self.runsc_flag_root.clone().unwrap_or_else(|| self.runsc_root.join(namespace))
    }
}

impl From<&Config> for UnblockPolicy {
    fn from(config: &Config) -> Self {
        Self { network: config.release_network, fuse: config.abort_fuse }
    }
}

/// [`Policy`] knows nothing of serde: it belongs to a crate that has no I/O.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Policy")]
struct PolicyFields {
    create_deadline: Duration,
    start_deadline: Duration,
    exec_deadline: Duration,
    query_deadline: Duration,
    stats_deadline: Duration,
    signal_deadline: Duration,
    kill_deadline: Duration,
    hard_limit: Option<Duration>,
    delete_deadline: Duration,
    shutdown_deadline: Duration,
    #[serde(with = "WatchdogWords", default = "watchdog")]
    watchdog: Watchdog,
    #[serde(default = "watchdog_after")]
    watchdog_after: Duration,
}

fn watchdog() -> Watchdog {
    Policy::default().watchdog
}

fn watchdog_after() -> Duration {
    Policy::default().watchdog_after
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Watchdog", rename_all = "lowercase")]
enum WatchdogWords {
    Off,
    Report,
    Kill,
}
