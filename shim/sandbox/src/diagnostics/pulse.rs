//! Whether a sentry that has not answered is at work or held back, as far as /proc and its cgroups tell: then its silence
//! proves nothing. Only what takes no lock of the process' memory is read (stat, cgroup).
//!
//! An answer takes the sentry 0.3 ms of a processor. So what speaks for it is not that it uses some, but that it is kept
//! from it (its cgroup has used up its quota, it stands in the queue of a crowded machine, its program must be read from
//! a disk) or has a lot to do (a checkpoint). Measured on a sentry whose control socket is deaf because an exec holds
//! `Loader.mu` while its gofer is stopped: gVisor 2026-09 uses 0.00 ms of a processor in a second, all 18 threads asleep;
//! an idle one of 2025-05 uses 31 to 42 ms by itself, some 1,000 wake-ups. So on a crowded machine a thread of it is seen in
//! the queue now and then; but a thread that has gone to sleep of its own accord hundreds of times meanwhile had the
//! processor each time for as long as it wanted, and it is not for the queue that nobody is answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::resources::cgroup;
use crate::sys::identity::{self, Identity, Stat};
use crate::sys::procfs::{self, ticks};

/// The part of one processor above which a sentry is at work: one in fifteen, twice what one of gVisor 2025-05 uses when
/// nobody wants anything of it.
const AT_WORK: u32 = 15;
/// A thread that goes to sleep of its own accord once in this time or more often does not wait for a processor: an answer
/// takes a few threads' turns, and fifty such waits fit into the time that a question has.
const RESTS: Duration = Duration::from_millis(20);

/// One look at a sentry.
#[derive(Clone, Debug)]
pub struct Pulse {
    at: Instant,
    /// Processor time that it has used, all its threads together.
    ticks: u64,
    /// Pages that it had to wait for a disk for.
    major_faults: u64,
    /// How often its cgroup, or one above it, has used up its quota.
    throttled: u64,
    /// Stopped or frozen: it cannot do anything until somebody lets it.
    held: bool,
    /// A thread of it can run and may have to wait for its cgroup's next period, since that has been used up before.
    queued: bool,
    /// Its threads, where the machine has more threads that can run than processors.
    crowded: Vec<Thread>,
}

/// One of its threads.
#[derive(Clone, Copy, Debug)]
struct Thread {
    id: i32,
    can_run: bool,
    /// How often it has gone to sleep of its own accord.
    rests: u64,
}

impl Pulse {
    /// Looks; none if it is dead.
    pub fn of(sentry: Identity) -> Option<Self> {
        let pid = sentry.pid;
        let stat = Stat::of(pid).ok().filter(|stat| stat.identity == sentry && !stat.is_dead())?;
        let frozen = || cgroup::freezable(pid).iter().any(|folder| cgroup::is_frozen(folder));
        let throttled = throttled(&cgroup::limiting(pid));
        let is_crowded = procfs::is_crowded();
        let threads = if throttled > 0 || is_crowded { threads(pid) } else { Vec::new() };
        Some(Self {
            at: Instant::now(),
            ticks: stat.ticks,
            major_faults: stat.major_faults,
            throttled,
            held: procfs::is_stopped(stat.state) || frozen(),
            queued: throttled > 0 && threads.iter().any(|thread| thread.can_run),
            crowded: if is_crowded { threads } else { Vec::new() },
        })
    }

    /// Whether it is stopped or frozen: whatever asks it hangs.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether what was seen between `before` and this look explains that it has not answered meanwhile.
    pub fn explains(&self, before: &Self) -> bool {
        if self.held {
            return false;
        }
        let used = ticks(self.ticks.saturating_sub(before.ticks));
        // What is counted in ticks may be one more than it was.
        let at_work = used > ticks(1) + self.at.saturating_duration_since(before.at) / AT_WORK;
        let kept = self.throttled > before.throttled || self.major_faults > before.major_faults;
        at_work || kept || self.queued || self.is_crowded_out(before)
    }

    /// Whether one of its threads can run and has not had a processor time and again since `before`.
    fn is_crowded_out(&self, before: &Self) -> bool {
        let since = self.at.saturating_duration_since(before.at);
        let rests = |thread: &Thread| {
            let earlier = before.crowded.iter().find(|earlier| earlier.id == thread.id)?;
            let rests = thread.rests.saturating_sub(earlier.rests);
            Some(RESTS * u32::try_from(rests).unwrap_or(u32::MAX) >= since)
        };
        self.crowded.iter().filter(|thread| thread.can_run).any(|thread| rests(thread) != Some(true))
    }
}

fn threads(pid: i32) -> Vec<Thread> {
    let thread = |stat: Stat| {
        let rests = procfs::switches(stat.identity.pid).unwrap_or(0);
        Thread { id: stat.identity.pid, can_run: stat.state == 'R', rests }
    };
    identity::threads(pid).into_iter().map(thread).collect()
}

/// A quota counts wherever it lies above the process; all those below share it.
fn throttled(limiting: &[PathBuf]) -> u64 {
    limiting.iter().flat_map(|folder| folder.ancestors()).map(nr_throttled).sum()
}

fn nr_throttled(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> Pulse {
        let at = Instant::now();
        let crowded = vec![Thread { id: 1, can_run: false, rests: 70 }];
        Pulse { at, ticks: 500, major_faults: 3, throttled: 7, held: false, queued: false, crowded }
    }

    fn explains(change: impl FnOnce(&mut Pulse)) -> bool {
        let before = pulse();
        let mut after = Pulse { at: before.at + Duration::from_secs(1), ..before.clone() };
        change(&mut after);
        after.explains(&before)
    }

    #[test]
    fn only_work_or_what_keeps_from_it_explains_silence() {
        assert!(!explains(|_| ()));
        assert!(explains(|after| after.throttled += 1));
        assert!(explains(|after| after.major_faults += 1));
        assert!(explains(|after| after.queued = true));
        assert!(explains(|after| after.ticks += 8));
        // What gVisor 2025-05 uses for nothing, with what ticks add to it.
        assert!(!explains(|after| after.ticks += 5));
        assert!(!explains(
            |after| (after.held, after.throttled, after.queued, after.ticks) = (true, 9, true, 900)
        ));
    }

    #[test]
    fn a_thread_that_rests_time_and_again_does_not_wait_for_a_processor() {
        let can_run =
            |id, rests| move |after: &mut Pulse| after.crowded.push(Thread { id, can_run: true, rests });
        // It has had its turn once in 20 ms, and in a little more.
        assert!(!explains(can_run(1, 70 + 50)));
        assert!(explains(can_run(1, 70 + 49)));
        // It began meanwhile; or another one is crowded out.
        assert!(explains(can_run(2, 9000)));
        assert!(explains(|after| {
            can_run(1, 9000)(after);
            can_run(3, 0)(after);
        }));
        // That the machine is crowded is not enough.
        assert!(!explains(|after| after.crowded[0].rests += 1));
    }

    /// As cgroup v2 writes it: v1 counts under the same name.
    #[test]
    fn a_quota_counts_wherever_it_is_above() {
        let folder = tempfile::tempdir().unwrap();
        let pod = folder.path().join("pod");
        fs::create_dir_all(pod.join("container")).unwrap();
        let stat = |count| {
            format!("usage_usec 7\nnice_usec 0\nnr_periods 9\nnr_throttled {count}\nthrottled_usec 8\n")
        };
        fs::write(folder.path().join("cpu.stat"), stat(20)).unwrap();
        fs::write(pod.join("cpu.stat"), "usage_usec 7\nnice_usec 0\n").unwrap();
        fs::write(pod.join("container/cpu.stat"), stat(3)).unwrap();
        assert_eq!(throttled(&[pod.join("container")]), 23);
        assert_eq!(throttled(&[pod]), 20);
    }

    /// A folder of our own with a quota of a hundredth of a processor.
    fn with_quota() -> PathBuf {
        let name = format!("guard-test-quota-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        let (root, file, quota) = match cgroup::unified() {
            _ if v1.exists() => (v1, "cpu.cfs_quota_us", "1000"),
            v2 => (v2.expect("needs cgroups"), "cpu.max", "1000 100000"),
        };
        let group = root.join(name);
        fs::create_dir(&group).expect("needs root, to make cgroups");
        fs::write(group.join(file), quota).expect("needs the controller cpu");
        group
    }

    #[test]
    fn who_has_used_up_a_quota_above_is_kept_from_answering() {
        let group = with_quota();
        let below = group.join("below");
        fs::create_dir(&below).unwrap();
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let identity = Identity::of(busy.id() as i32).unwrap();
        fs::write(below.join("cgroup.procs"), identity.pid.to_string()).unwrap();
        let before = Pulse::of(identity).unwrap();
        let limit = Instant::now() + Duration::from_secs(30);
        while Pulse::of(identity).unwrap().throttled == before.throttled && Instant::now() < limit {
            std::thread::yield_now();
        }
        let crowded = Vec::new();
        let after = Pulse { ticks: before.ticks, queued: false, crowded, ..Pulse::of(identity).unwrap() };
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(after.throttled > before.throttled && after.explains(&before), "{after:?}");
        for folder in [&below, &group] {
            while fs::remove_dir(folder).is_err() {
                assert!(Instant::now() < limit, "{} stays", folder.display());
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_busy_process_is_at_work_and_a_stopped_one_is_not() {
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let identity = Identity::of(busy.id() as i32).unwrap();
        let before = Pulse::of(identity).unwrap();
        let limit = Instant::now() + Duration::from_secs(20);
        let shows = |what: &dyn Fn(&Pulse) -> bool| loop {
            match Pulse::of(identity) {
                Some(pulse) if what(&pulse) => return true,
                _ if Instant::now() >= limit => return false,
                _ => std::thread::yield_now(),
            }
        };
        let at_work = shows(&|pulse| pulse.explains(&before));
        identity.open().unwrap().send(nix::sys::signal::Signal::SIGSTOP).unwrap();
        let held = shows(&|pulse| pulse.held && !pulse.explains(&before));
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(at_work && held && Pulse::of(identity).is_none(), "at work: {at_work}, held: {held}");
    }
}
