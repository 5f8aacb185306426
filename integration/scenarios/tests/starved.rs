//! What a sandbox is taken for that does not answer in time: one that is starved of its processor is slow, and that
//! costs its containers nothing; one that is stopped, deadlocked, or paused on purpose, lets no SIGKILL through.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Handler, Host, Parts, Pod, PodContainer, SOON, Versions, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
    promise::{DEADLINE, ESCALATION, QUERY},
    run, traces,
};
use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// More than the watched time, beside three questions that nobody answers.
const LATE: Duration = SOON.saturating_mul(2);
/// `kill_deadline` where the sandbox is, and more than three questions to the sentry take.
const PATIENT: Duration = Duration::from_secs(6);
const WATCHED: Duration = Duration::from_secs(10);

/// A pod with a member that is to be killed and its sibling, which nobody wants to end.
struct Subject {
    host: Host,
    cri: Cri,
    before: Resources,
    pod: Pod,
    member: PodContainer,
    sibling: PodContainer,
    sandbox: Sandbox,
}

impl Subject {
    fn run(parts: Parts, kill_deadline: Duration, member: &[&str]) -> Result<Self> {
        Self::under(Handler::guarded("guarded"), parts, kill_deadline, member)
    }

    fn under(handler: Handler, parts: Parts, kill_deadline: Duration, member: &[&str]) -> Result<Self> {
        let kill_deadline = format!("\"{}s\"", kill_deadline.as_secs());
        let handler = handler.guard("kill_deadline", &kill_deadline).guard("hard_limit", "\"0s\"");
        let host = Host::builder().parts(parts).handler(handler).start()?;
        let (cri, before) = (host.cri()?, Resources::of(&host));
        let pod = cri.run_pod("guarded", "starved")?;
        let sibling = cri.run_container(&pod, "sibling", &["sleep", "100000"])?;
        let member = cri.run_container(&pod, "member", member)?;
        let sandbox = Sandbox::of(&host, &pod.id)?;
        Ok(Self { host, cri, before, pod, member, sibling, sandbox })
    }

    /// Sends SIGKILL to the member, and does not wait for what comes of it.
    fn kill_member(&self) {
        let (ctr, id) = (self.host.ctr().in_namespace("k8s.io"), self.member.id.clone());
        // How it is answered depends on how slow the sandbox is.
        thread::spawn(move || ctr.kill(&id, "SIGKILL", WATCHED));
    }

    fn status(&self, id: &str) -> Result<String> {
        let tasks = self.host.ctr().in_namespace("k8s.io").tasks(LATE)?;
        Ok(tasks.into_iter().find(|task| task.id == id).context("no such task")?.status)
    }

    fn is_left_alone(&self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < WATCHED {
            ensure!(self.sandbox.sentry.is_alive(), "the sandbox was ended after {:?}", began.elapsed());
            thread::sleep(Duration::from_millis(100));
        }
        ensure!(!self.host.log().contains("wedged:"), "it was found wedged");
        Ok(())
    }

    /// The sibling runs on and takes an exec.
    fn is_well(&self) -> Result<()> {
        ensure!(self.status(&self.sibling.id)? == "RUNNING", "the sibling has ended");
        let done = self.cri.exec(&self.sibling, &["true"], LATE)?;
        ensure!(done.exit_code == 0, "an exec in the sibling ends with {}", done.exit_code);
        Ok(())
    }

    /// An exec holds the lock of the sentry's whole control socket while it waits for the member's gofer, which is stopped.
    fn deadlock(&self) -> Result<()> {
        let is_gofer = |one: &Process| {
            one.args.first().is_some_and(|arg| arg == "runsc-gofer")
                && one.args.iter().any(|arg| arg.contains(&self.member.id))
        };
        let gofer = self.host.processes().into_iter().find(is_gofer).context("the member has no gofer")?;
        faults::stop(&gofer)?;
        let (ctr, id) = (self.host.ctr().in_namespace("k8s.io"), self.member.id.clone());
        // It ends with the sandbox.
        thread::spawn(move || ctr.exec(&id, "hangs", &["cat", "/etc/hostname"], b"", WATCHED));
        let root = self.host.runsc_root("k8s.io");
        eventually(SOON, "the sentry answers nobody", || {
            let mut state = Command::new(&self.host.parts().runsc);
            state.arg(format!("--root={}", root.display())).args(["state", &self.sibling.id]);
            run(&mut state, b"", QUERY).ok()?.status.is_none().then_some(())
        })
    }

    fn end(self) -> Result<()> {
        ensure!(!self.host.log().contains("cannot be asked"), "the sentry's socket was not found");
        self.cri.end_pod(&self.pod)?;
        assert_nothing_left(&self.host, &self.before, LATE)
    }
}

fn parts(gvisor: &str) -> Result<Parts> {
    let all = Versions::all()?;
    let found = all.into_iter().find(|one| one.containerd == "2.4.2" && one.gvisor == gvisor);
    Parts::of(found.context("not pinned")?)
}

/// Limits the pod to so many percent of one processor, in one piece in each second, or not at all.
fn limit_processor(host: &Host, percent: Option<u32>) -> Result<()> {
    const PERIOD: u32 = 1_000_000;
    let mut done = 0;
    for hierarchy in traces::hierarchies() {
        let folder = hierarchy.join(host.tag()).join("pod-starved");
        let quota = percent.map(|percent| (PERIOD / 100 * percent).to_string());
        for (file, text) in [
            ("cpu.cfs_period_us", PERIOD.to_string()),
            ("cpu.cfs_quota_us", quota.clone().unwrap_or_else(|| "-1".to_owned())),
            ("cpu.max", format!("{} {PERIOD}", quota.unwrap_or_else(|| "max".to_owned()))),
        ] {
            let file = folder.join(file);
            if file.exists() {
                fs::write(&file, text).with_context(|| file.display().to_string())?;
                done += 1;
            }
        }
    }
    ensure!(done > 0, "nothing limits the processor time of the pod");
    Ok(())
}

/// What a member runs that wants more of the processor than the pod has.
const BUSY: [&str; 3] = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait"];

#[test]
fn a_member_that_is_killed_in_a_starved_sandbox_costs_its_sibling_nothing() -> Result<()> {
    for gvisor in ["2026-09", "2025-05"] {
        let subject = Subject::run(parts(gvisor)?, PATIENT, &BUSY)?;
        limit_processor(&subject.host, Some(1))?;
        subject.kill_member();
        subject.is_left_alone().with_context(|| format!("gVisor {gvisor}"))?;
        limit_processor(&subject.host, None)?;
        let ctr = subject.host.ctr().in_namespace("k8s.io");
        eventually(LATE, "the member's exit", || {
            // As a kubelet does: the one before may have been given up on the way.
            let _ = ctr.kill(&subject.member.id, "SIGKILL", LATE);
            (subject.status(&subject.member.id).ok().as_deref() != Some("RUNNING")).then_some(())
        })?;
        subject.is_well()?;
        subject.end()?;
    }
    Ok(())
}

/// As slow, but stopped: nothing explains its silence. And one that answers, but is paused, lets no SIGKILL through.
#[test]
fn a_stopped_and_a_paused_sandbox_hold_their_members_up() -> Result<()> {
    for gvisor in ["2026-09", "2025-05"] {
        for pauses in [false, true] {
            let subject = Subject::run(parts(gvisor)?, DEADLINE, &["sleep", "100000"])?;
            if pauses {
                let ctr = subject.host.ctr().in_namespace("k8s.io");
                faults::pause(&subject.host, &ctr, &subject.pod.id)?;
            } else {
                subject.sandbox.stop_sentry()?;
            }
            let began = Instant::now();
            subject.kill_member();
            subject.sandbox.sentry.gone_within(DEADLINE + ESCALATION + LATE)?;
            let took = began.elapsed();
            println!("{gvisor}, paused {pauses}: ended after {took:?}");
            ensure!(took >= DEADLINE, "{gvisor}, paused {pauses}: ended before its time, after {took:?}");
            subject.end()?;
        }
    }
    Ok(())
}

/// It is neither stopped nor dead, and another container's exec is all that is wrong: nobody gets an answer any more. (One
/// of 2025-05 wakes up a thousand times a second by itself, which on a crowded machine looks like one that is starved.)
#[test]
fn a_deadlocked_sandbox_holds_its_members_up() -> Result<()> {
    // With directfs most files are read without the gofer.
    let handler = Handler::guarded("guarded").runsc_flag("directfs", "false");
    let subject = Subject::under(handler, parts("2026-09")?, DEADLINE, &["sleep", "100000"])?;
    subject.deadlock()?;
    let began = Instant::now();
    subject.kill_member();
    subject.sandbox.sentry.gone_within(DEADLINE + ESCALATION + LATE)?;
    let took = began.elapsed();
    println!("deadlocked: ended after {took:?}");
    ensure!(took >= DEADLINE, "ended before its time, after {took:?}");
    subject.end()
}
