//! What a container uses, as its sentry says: what `runsc events --stats` prints, without that process.
//!
//! runsc asks the sentry for `containerManager.Event` (runsc/boot/events.go), and puts in place of its processor time a part
//! of what the sandbox's cgroup has used (runsc/container/container.go, `populateStats`): [`processor`] reads that,
//! [`self_proof`] divides it. Event takes `Loader.mu` and `TaskSet.mu`, like the question whether the sentry answers at all
//! ([`control`](super::control)); a paused sandbox answers it.
//!
//! Whatever is not known here is not taken for something else: a field that no gVisor has had so far makes the whole
//! answer nonsense.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

use super::control::{Control, Question, Unanswered};
use self_proof::ProcessorTime;

pub mod processor;
pub mod self_proof;

/// Takes a string, the container's id.
const EVENT: &str = "containerManager.Event";

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    network_interfaces: IgnoredAny,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cpu {
    /// All of it.
    pub usage: CpuUsage,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CpuUsage {
    /// In the sentry's kernel.
    pub kernel: u64,
    /// Outside.
    pub user: u64,
    /// Both.
    pub total: u64,
    /// No gVisor tells it.
    percpu: Option<[u64; 0]>,
}

/// Memory, by kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Of the page cache.
    pub cache: u64,
    /// All of it.
    pub usage: Entry,
    /// Swapped.
    pub swap: Entry,
    /// The kernel's.
    pub kernel: Entry,
    /// That for TCP.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Entry,
    raw: IgnoredAny,
}

/// One kind of memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    /// At most so much.
    pub limit: u64,
    /// In use.
    pub usage: u64,
    /// The most there was.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pids {
    /// So many now.
    pub current: u64,
    /// At most so many.
    pub limit: u64,
}

/// What was learned of a container at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// As runsc would tell it.
    pub usage: Usage,
    /// Where the sentry tells that of each container.
    time: Option<ProcessorTime>,
}

impl Reading {
    /// What another may have told between two readings: each field between that of the one and the other that are given.
    pub fn between(before: &Self, after: &Self) -> (Usage, Usage) {
        let (mut low, mut high) = (before.usage.clone(), after.usage.clone());
        if let (Some(before), Some(after)) = (before.time, after.time) {
            (low.cpu.usage.total, high.cpu.usage.total) = ProcessorTime::between(&before, &after);
        }
        (low, high)
    }
}

/// The sentry's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Told {
    event: Event,
    container_usage: Option<BTreeMap<String, u64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    r#type: String,
    id: String,
    data: Usage,
}

impl Control {
    /// Asks what a container uses, and waits for nothing.
    pub fn ask_usage(&self, container: &str) -> Result<Question, Unanswered> {
        self.put(EVENT, container)
    }
}

impl Told {
    /// What `container` uses, the sandbox's processes having used `host` of the processors.
    pub fn of(self, container: &str, host: Option<u64>) -> Result<Reading, Unanswered> {
        let Event { r#type, id, data: mut usage } = self.event;
        if r#type != "stats" || id != container {
            return Err(Unanswered::Nonsense);
        }
        let each = self.container_usage.unwrap_or_default();
        let time = ProcessorTime::new(each.get(container).copied(), each.values().copied(), host);
        if let Some(time) = time {
            usage.cpu.usage.total = time.share();
        }
        Ok(Reading { usage, time })
    }
}

#[cfg(test)]
mod tests;
