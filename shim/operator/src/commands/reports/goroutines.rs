//! Dumps of goroutines, summed up: those that do the same are one line. Pure.

use std::collections::BTreeMap;

/// Frames shown of each.
const FRAMES: usize = 5;
/// Packages that tell how something waits, and not for what.
const PLUMBING: [&str; 6] = ["runtime.", "sync.", "syscall.", "internal/", "reflect.", "golang.org/x/sys/"];
/// How a goroutine waits for a lock.
const LOCKS: [&str; 3] = ["sync.Mutex", "sync.RWMutex", "semacquire"];

/// Who works for the guest, or for whoever asked gVisor's shim.
const WORK: [&str; 3] = ["kernel.(*Task)", "containerManager)", "/shim/v1/proc."];

/// Goroutines with the same stack in the same state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// How many.
    pub(crate) count: usize,
    /// What they wait for, in Go's words.
    pub(crate) state: String,
    /// For how long the one that waits longest does.
    pub(crate) minutes: u64,
    /// The innermost function first, without arguments.
    frames: Vec<String>,
}

impl Group {
    /// The innermost functions that say something.
    pub(crate) fn path(&self) -> String {
        let telling = |frame: &&String| !PLUMBING.iter().any(|package| frame.starts_with(package));
        let mut frames: Vec<&String> = self.frames.iter().filter(telling).take(FRAMES).collect();
        if frames.is_empty() {
            frames = self.frames.iter().take(FRAMES).collect();
        }
        let short = |frame: &&String| frame.rsplit('/').next().unwrap_or_default().to_owned();
        frames.iter().map(short).collect::<Vec<_>>().join(" < ")
    }

    /// How much it may tell: who waits for a lock, tasks and requests, the rest of gVisor, everything else.
    fn weight(&self) -> u8 {
        let calls = |part: &str| self.frames.iter().any(|frame| frame.contains(part));
        if LOCKS.iter().any(|lock| self.state.starts_with(lock)) {
            3
        } else if WORK.iter().any(|part| calls(part)) {
            2
        } else {
            u8::from(calls("gvisor.dev/gvisor/"))
        }
    }
}

/// The groups of a dump, the most telling first; of these the many, and then the patient.
pub(crate) fn groups(text: &str) -> Vec<Group> {
    let mut groups: BTreeMap<(String, Vec<String>), (usize, u64)> = BTreeMap::new();
    for (state, minutes, frames) in text.split("\n\n").filter_map(goroutine) {
        let (count, longest) = groups.entry((state, frames)).or_default();
        (*count, *longest) = (*count + 1, minutes.max(*longest));
    }
    let group = |((state, frames), (count, minutes))| Group { count, state, minutes, frames };
    let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|one| std::cmp::Reverse((one.weight(), one.count, one.minutes)));
    groups
}

/// `goroutine 7 [chan receive, 3 minutes]:`, and then two lines for each frame.
fn goroutine(block: &str) -> Option<(String, u64, Vec<String>)> {
    let mut lines = block.trim_start_matches('\n').lines();
    let head = lines.next()?.strip_prefix("goroutine ")?;
    let (_, state) = head.split_once('[')?;
    let mut words = state.trim_end_matches("]:").split(", ");
    let state = words.next()?.to_owned();
    let minutes = words.find_map(|word| word.strip_suffix(" minutes")?.parse().ok()).unwrap_or_default();
    let calls = lines.filter(|line| !line.starts_with(['\t', '.']) && !line.starts_with("created by "));
    let name = |call: &str| call.rfind('(').map_or(call, |at| &call[..at]).to_owned();
    Some((state, minutes, calls.map(name).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "goroutine 24 [running]:
gvisor.dev/gvisor/pkg/log.Stacks(0x1)
\tpkg/log/log.go:319 +0x67

goroutine 1 [sync.Cond.Wait, 3 minutes]:
sync.runtime_notifyListWait(0x2ffb, 0x0)
\truntime/sema.go:617 +0x1b3
sync.(*Cond).Wait(0x1?)
\tsync/cond.go:71 +0x73
gvisor.dev/gvisor/pkg/sentry/kernel.(*Kernel).WaitExited(0x2ffb4ae5cf08)
\tkernel.go:1731 +0x6d
main.main()
\trunsc/main.go:31 +0xf

goroutine 41 [sync.Mutex.Lock, 7 minutes]:
gvisor.dev/gvisor/pkg/shim/v1/proc.(*Init).State(0x1, {0x2, 0x3})
\tinit.go:1 +0x1
created by github.com/containerd/ttrpc.(*serverConn).run in goroutine 9
\tserver.go:1 +0x1

goroutine 42 [sync.Mutex.Lock, 9 minutes, locked to thread]:
gvisor.dev/gvisor/pkg/shim/v1/proc.(*Init).State(0x8, {0x9, 0x3})
\tinit.go:1 +0x1
created by github.com/containerd/ttrpc.(*serverConn).run in goroutine 9
\tserver.go:1 +0x1";

    #[test]
    fn the_same_are_one_and_those_that_wait_for_a_lock_come_first() {
        let groups = groups(DUMP);
        assert_eq!(groups.len(), 3);
        let first = &groups[0];
        assert_eq!((first.count, first.state.as_str(), first.minutes), (2, "sync.Mutex.Lock", 9));
        assert_eq!(first.path(), "proc.(*Init).State");
        let waits = groups.iter().find(|one| one.state == "sync.Cond.Wait").unwrap();
        assert_eq!((waits.path().as_str(), waits.minutes), ("kernel.(*Kernel).WaitExited < main.main", 3));
    }

    #[test]
    fn what_is_no_dump_has_no_groups() {
        assert!(groups("").is_empty() && groups("level=info\n\nmsg").is_empty());
        assert_eq!(groups("goroutine 1 [running]:\nruntime.futex(0x1)")[0].path(), "runtime.futex");
    }
}
