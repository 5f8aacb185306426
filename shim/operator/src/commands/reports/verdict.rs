//! What diagnostics say in one line. Pure, and it says no more than they do.

use runsc_guard_core::io::CauseKind;
use runsc_guard_node::report::Report;
use runsc_guard_sandbox::diagnostics::processes::{Diagnostics, Thread, Witness};
use runsc_guard_sandbox::processes::process::Role;
use runsc_guard_sandbox::teardown::stuck;

use crate::known::{self, Hang, Release};

/// Where a task of the guest's waits while it is stopped (pkg/sentry/kernel/task_run.go).
const STOPPED: &str = "kernel.(*Task).doStop";
/// What the sentry's stacks show where a signal has reached it and hangs there (runsc/boot/controller.go).
const SIGNALLING: &str = "(*containerManager).Signal";

/// The verdict. What the host did to the sandbox explains it before anything inside does.
pub(crate) fn verdict(report: &Report) -> String {
    let diagnostics = &report.diagnostics;
    if let Some(left) = report.left.first().filter(|_| report.is_unkillable()) {
        let held = diagnostics.processes.iter().any(|one| one.frozen).then(|| held_by_host(diagnostics));
        return held.flatten().unwrap_or_else(|| format!("the kernel does not let it die: {left}"));
    }
    if diagnostics.processes.is_empty() {
        return if report.sign.is_empty() { "no process was seen".to_owned() } else { report.sign.clone() };
    }
    if let Some(held) = held_by_host(diagnostics) {
        return held;
    }
    let tasks = report.stacks.text.matches(STOPPED).count();
    if tasks > 0 && outlived_sigkill(report) {
        return format!(
            "the sentry answered, and {tasks} of the guest's tasks were stopped inside it: it was paused, as by \
             `runsc pause`, and a SIGKILL has no effect before `runsc resume`"
        );
    }
    match known(report) {
        Some(hang) => named(hang, &report.runsc_version),
        None => inside(diagnostics) + &version(&report.runsc_version),
    }
}

/// The known hang that is not mended in the release that ran, and all of whose signs are there. A sentry that was not
/// seen to fail at a SIGKILL may be at work where another one hangs: its stacks show nothing.
fn known(report: &Report) -> Option<&'static Hang> {
    let release = Release::parse(&report.runsc_version);
    let seen = |sign: &String| {
        let wchans = || report.diagnostics.processes.iter().flat_map(|one| &one.threads);
        report.stacks.text.contains(sign.as_str())
            || report.goroutines.text.contains(sign.as_str())
            || wchans().any(|thread| thread.wchan.as_deref() == Some(sign.as_str()))
    };
    let acknowledged = report.kind() == Some(CauseKind::KillWithoutExit);
    let hung = outlived_sigkill(report) && (acknowledged || report.stacks.text.contains(SIGNALLING));
    known::all().iter().filter(|_| hung).find(|hang| {
        let mended = release.is_some_and(|release| hang.is_fixed_in(release));
        !mended && !hang.signs.is_empty() && hang.signs.iter().all(seen)
    })
}

/// No stop of the guest's own making outlives that.
fn outlived_sigkill(report: &Report) -> bool {
    let kind = report.kind();
    matches!(kind, Some(CauseKind::KillWithoutExit | CauseKind::KillUnacknowledged | CauseKind::Unkillable))
}

fn named(hang: &Hang, version: &str) -> String {
    let Hang { symptom, upstream, .. } = hang;
    let ran = if version.is_empty() { "which version ran is not known" } else { version };
    format!(
        "it hung inside gVisor and shows the signs of a known hang, {}: {symptom} ({}; {ran} ran)",
        upstream.join(", "),
        hang.cure()
    )
}

fn version(version: &str) -> String {
    if version.is_empty() { String::new() } else { format!(" ({version})") }
}

/// Frozen, stopped, or waiting in the host's kernel.
fn held_by_host(diagnostics: &Diagnostics) -> Option<String> {
    let of = |wanted: fn(&Role) -> bool| diagnostics.processes.iter().filter(move |one| wanted(&one.role));
    if let Some(frozen) = diagnostics.processes.iter().find(|one| one.frozen) {
        let folder = frozen.cgroups.first().map(|folder| folder.display().to_string()).unwrap_or_default();
        return Some(format!("{} {} was frozen, by {folder} or above", frozen.role, frozen.pid));
    }
    let kernel = of(|role| matches!(role, Role::Sentry | Role::Gofer | Role::RealShim));
    if let Some(stopped) = kernel.clone().find(|one| one.threads.iter().any(|thread| thread.state == 'T')) {
        return Some(format!("{} {} was stopped: somebody sent it SIGSTOP", stopped.role, stopped.pid));
    }
    let Some((witness, thread)) = diagnostics.processes.iter().find_map(stuck) else {
        let (witness, wchan, server) = diagnostics.processes.iter().find_map(served)?;
        return Some(format!("{} {} waited for {server}, in {wchan}", witness.role, witness.pid));
    };
    let wchan = thread.wchan.as_deref().unwrap_or("an unknown place");
    let server = server(wchan).map(|server| format!(": it waits for {server}")).unwrap_or_default();
    Some(format!("{} {} hung in the kernel in {wchan}{server}", witness.role, witness.pid))
}

/// Whose file system one waits for in this place of the kernel.
fn server(wchan: &str) -> Option<&'static str> {
    stuck::served(wchan).map(|(_, server)| server)
}

/// A thread that waits for such a server and can still be killed: that it hangs shows only then.
fn served(witness: &Witness) -> Option<(&Witness, &str, &'static str)> {
    let waits = |thread: &'_ Thread| thread.wchan.as_deref().and_then(server);
    let thread = witness.threads.iter().find(|thread| waits(thread).is_some())?;
    Some((witness, thread.wchan.as_deref()?, waits(thread)?))
}

/// Nothing on the host held it.
fn inside(diagnostics: &Diagnostics) -> String {
    let of = |wanted: fn(&Role) -> bool| diagnostics.processes.iter().filter(move |one| wanted(&one.role));
    let hung: Vec<&Witness> = of(|role| matches!(role, Role::Runsc(command) if command != "wait")).collect();
    match (of(|role| *role == Role::Sentry).next(), hung.first()) {
        (None, _) => "no sentry was left".to_owned(),
        (Some(sentry), Some(hung)) => {
            let (role, pid, age) = (&hung.role, hung.pid, hung.age_s);
            format!(
                "sentry {} could run and `{role}` {pid} had waited {age} s for it: it hung inside gVisor",
                sentry.pid
            )
        }
        (Some(sentry), None) => {
            let pid = sentry.pid;
            format!("nothing on the host held the sentry {pid}: if it did not answer, it hung inside gVisor")
        }
    }
}

/// A thread in state D, which no signal ends, stubs' included.
fn stuck(witness: &Witness) -> Option<(&Witness, &Thread)> {
    witness.threads.iter().find(|thread| thread.state == 'D').map(|thread| (witness, thread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_core::io::EscalationPhase;

    fn witness(pid: i32, role: Role, state: char, wchan: &str) -> Witness {
        let thread = Thread { tid: pid, state, wchan: Some(wchan.into()), stack: None };
        Witness {
            pid,
            role,
            comm: "exe".into(),
            command: String::new(),
            age_s: 30,
            cgroups: vec!["/sys/fs/cgroup/freezer/pod".into()],
            frozen: false,
            threads: vec![thread],
        }
    }

    fn report(processes: Vec<Witness>) -> Report {
        let mut report = Report::begin("ns", "box", 1);
        report.sign = "SIGKILL to c was acknowledged and did not end it".into();
        report.cause = CauseKind::KillWithoutExit.as_str().into();
        report.diagnostics = Diagnostics { processes, omitted: 0 };
        report
    }

    fn of(processes: Vec<Witness>) -> String {
        verdict(&report(processes))
    }

    /// Of a sandbox on which the host shows nothing, with these stacks.
    fn inside(stacks: &str, version: &str) -> Report {
        let mut report = report(vec![witness(7, Role::Sentry, 'S', "futex")]);
        (report.stacks.text, report.runsc_version) = (stacks.into(), version.into());
        report
    }

    const STUCK_STUB: &str = "systrap.(*sharedContext).sleepOnState(0x1)\nkernel.(*Kernel).WaitExited(0x1)";

    #[test]
    fn a_known_hang_is_named_with_its_issue_and_the_version_that_ran() {
        let said = verdict(&inside(STUCK_STUB, "release-20260714.0"));
        for words in ["gvisor#14201", "release-20260714.0 ran", "fixed in the first release after 20260831"] {
            assert!(said.contains(words), "{said:?} lacks {words:?}");
        }
        let mended = verdict(&inside(STUCK_STUB, "release-20261101.0"));
        assert!(!mended.contains("gvisor#") && mended.contains("(release-20261101.0)"), "{mended}");
        let healthy = verdict(&inside("kernel.(*Kernel).WaitExited(0x1)", "release-20260714.0"));
        assert!(!healthy.contains("gvisor#"), "{healthy}");
    }

    #[test]
    fn what_the_host_shows_comes_first_and_who_was_not_hung_shows_no_hang() {
        let mut stopped = inside(STUCK_STUB, "release-20260714.0");
        stopped.diagnostics.processes[0].threads[0].state = 'T';
        assert!(verdict(&stopped).contains("was stopped"));
        let mut other = inside(STUCK_STUB, "release-20260714.0");
        for cause in [CauseKind::Reaped, CauseKind::KillUnacknowledged] {
            other.cause = cause.as_str().into();
            assert!(!verdict(&other).contains("gvisor#"), "{cause:?}");
        }
        other.stacks.text += "\nboot.(*containerManager).Signal(0x1)";
        assert!(verdict(&other).contains("gvisor#"));
    }

    #[test]
    fn a_pause_is_told_by_the_tasks_that_it_stops() {
        let paused = inside("gvisor/pkg/sentry/kernel.(*Task).doStop(0x1)", "release-20260714.0");
        assert!(verdict(&paused).contains("1 of the guest's tasks were stopped inside it: it was paused"));
    }

    #[test]
    fn what_cannot_die_is_the_verdict_while_it_lives() {
        let mut report = inside("", "");
        report.phase = EscalationPhase::Unkillable.as_str().into();
        report.is_left(&["process: sentry 7, state D in request_wait_answer".into()]);
        assert!(verdict(&report).starts_with("the kernel does not let it die: process: sentry 7, state D"));
    }

    #[test]
    fn without_processes_the_sign_is_all_there_is() {
        assert_eq!(of(Vec::new()), "SIGKILL to c was acknowledged and did not end it");
        assert_eq!(verdict(&Report::default()), "no process was seen");
    }

    #[test]
    fn each_kind_of_wedge_has_its_verdict() {
        let sentry = |state, wchan| witness(7, Role::Sentry, state, wchan);
        let runsc = |command: &str| witness(8, Role::Runsc(command.into()), 'S', "pipe_read");
        let mut frozen = sentry('D', "refrigerator");
        frozen.frozen = true;
        for (processes, words) in [
            (vec![frozen], "frozen, by /sys/fs/cgroup/freezer/pod"),
            (vec![sentry('T', "do_signal_stop")], "sentry 7 was stopped"),
            (
                vec![sentry('S', "futex"), witness(9, Role::Stub, 'D', "request_wait_answer")],
                "waits for a FUSE server",
            ),
            (
                vec![sentry('S', "request_wait_answer")],
                "sentry 7 waited for a FUSE server, in request_wait_answer",
            ),
            (vec![sentry('D', "io_schedule")], "in the kernel in io_schedule"),
            (vec![sentry('S', "futex"), runsc("kill")], "`runsc kill` 8 had waited 30 s for it"),
            (vec![sentry('S', "futex"), runsc("wait")], "nothing on the host held the sentry 7"),
            (vec![runsc("delete")], "no sentry was left"),
        ] {
            let said = of(processes);
            assert!(said.contains(words), "{said:?} lacks {words:?}");
        }
    }
}
