//! What would be done to a sandbox, exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use runsc_guard_sandbox::processes::process::{Claim, Process, Role};
use runsc_guard_sandbox::sys::identity::Identity;

use crate::paint::{self, heading, plain};
use crate::survey::model::{Guard, Sandbox, Sign, State, Task};
use crate::survey::scope::{namespace_of, processes, resources, sockets};

/// By whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Its guard does it.
    Guard,
    /// Its guard is dead or as good as dead: all that it kept is ended here, and the guard.
    InGuardsPlace,
    /// It has none. The real shims stay, if they can go on: they report the exits.
    Unguarded {
        /// Whether they can.
        shims_stay: bool,
    },
    /// There is nothing to be done, and why.
    Nothing(String),
    /// It must not be done, and why.
    Refused(String),
}

/// The plan for one sandbox.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Which.
    pub(crate) sandbox: Sandbox,
    /// By whom.
    pub(crate) how: How,
    processes: Vec<Process>,
    cgroups: Vec<String>,
    mounts: Vec<String>,
    files: Vec<String>,
}

impl Plan {
    /// Looks at what there is to end and release.
    pub(crate) fn of(sandbox: Sandbox) -> Self {
        let found = &sandbox.found;
        let (processes, resources) = (processes(found), resources(found));
        let home = namespace_of(found).unwrap_or_default();
        let mounts = found.containers.iter().flat_map(|one| home.mounts_below(&one.bundle.join("rootfs")));

        let there = |path: &&PathBuf| path.symlink_metadata().is_ok();
        let cgroups: BTreeSet<_> = resources.cgroups().iter().filter(|path| path.exists()).collect();
        let sockets = sockets(found);
        let files = resources.files().iter().chain(&sockets).filter(there);
        // Not looked for: their volume may hang, and who looks would with it.
        let filestores: BTreeSet<_> = resources.filestores().iter().collect();
        let filestores = filestores.into_iter().map(|path| format!("{} (if there)", path.display()));
        Self {
            how: how(&sandbox, &processes),
            mounts: mounts.map(|mount| format!("{} ({})", mount.point.display(), mount.kind)).collect(),
            cgroups: cgroups.iter().map(|path| path.display().to_string()).collect(),
            files: files.map(|path| path.display().to_string()).chain(filestores).collect(),
            processes,
            sandbox,
        }
    }

    /// Whether this very process was seen.
    pub(crate) fn names(&self, process: Identity) -> bool {
        self.processes.iter().any(|one| one.identity == process)
    }

    /// Whether there is something to do that may be done.
    pub(crate) fn acts(&self) -> bool {
        !matches!(self.how, How::Nothing(_) | How::Refused(_))
    }
}

fn how(sandbox: &Sandbox, processes: &[Process]) -> How {
    let found = &sandbox.found;
    if let Some(pid) = found.unplaced.first() {
        return How::Refused(format!(
            "the shim {pid} says that it keeps it, and works where its files are not seen from here; look from there: \
             runsc-guard --host={pid} ls"
        ));
    }
    // What a guest that has broken out starts below its own sentry may say anything.
    let own = found.sentry.as_ref().map(|sentry| sentry.identity.pid);
    let parents: BTreeMap<i32, i32> =
        processes.iter().map(|process| (process.identity.pid, process.parent)).collect();
    let is_within = |process: &Process| {
        let up = std::iter::successors(Some(process.identity.pid), |pid| parents.get(pid).copied());
        up.skip(1).take(parents.len()).any(|pid| Some(pid) == own)
    };
    let stranger = |process: &Process| {
        let claim =
            Claim::of(&process.argv).filter(|claim| claim.role == Role::Sentry && !is_within(process))?;
        (claim.container != found.id).then_some((process.identity.pid, claim.container))
    };
    if let Some((pid, id)) = processes.iter().find_map(stranger) {
        return How::Refused(format!(
            "the sentry {pid} of another sandbox, {id}, is below the same shim or guard"
        ));
    }
    match &found.guard {
        Guard::Says(..) if sandbox.state == State::Ended => How::Nothing(
            "ended already; its guard keeps the exit statuses until containerd collects them".to_owned(),
        ),
        Guard::Says(..) => How::Guard,
        // One that is only slow may still hear.
        Guard::Silent(task, _) if !task.is_held() => How::Guard,
        Guard::Silent(..) | Guard::Dead => How::InGuardsPlace,
        Guard::Unknown(why) => How::Refused(format!("whether anybody keeps it cannot be told: {why}")),
        Guard::None if sandbox.state == State::Ended => {
            How::Nothing("ended already; its real shim keeps the exit for containerd to collect".to_owned())
        }
        Guard::None => {
            let can_go_on = |shim: &Task| !shim.is_held();
            let shims_stay = !found.real_shims.is_empty() && found.real_shims.iter().all(can_go_on);
            How::Unguarded { shims_stay }
        }
    }
}

/// For reading.
pub(crate) fn render(plan: &Plan) -> String {
    let found = &plan.sandbox.found;
    let signs: Vec<String> = plan.sandbox.signs.iter().map(Sign::line).collect();
    let heading = format!(
        "{} ({}, pod {}): {} {}",
        heading(&found.id),
        found.namespace,
        plain(&plan.sandbox.pod_name()),
        paint::state(plan.sandbox.state),
        paint::faint(&plain(&signs.join("; ")))
    );
    let pid = |task: Option<&Task>| task.map_or("?".to_owned(), |task| task.identity.pid.to_string());
    let what = match &plan.how {
        How::Guard => format!("its guard {} is asked to end it; that one:", pid(found.guard.task())),
        How::InGuardsPlace => match found.guard.task() {
            Some(guard) => format!("in place of its guard {}, which is killed too:", guard.identity.pid),
            None => "in place of its dead guard:".to_owned(),
        },
        How::Unguarded { shims_stay: true } => {
            "unguarded; its real shims stay to report the exits, and are killed only if they do not:"
                .to_owned()
        }
        How::Unguarded { shims_stay: false } => "unguarded, and no real shim can go on:".to_owned(),
        How::Nothing(why) => format!("nothing is done: {why}"),
        How::Refused(why) => paint::failure(&format!("refused: {why}")),
    };
    let mut lines = vec![heading, format!("  {what}")];
    if plan.acts() {
        lines.extend(killed(plan).iter().map(|line| format!("  SIGKILL   {}", plain(line))));
        if plan.how == (How::Unguarded { shims_stay: true }) {
            lines.push("  released by the real shims, or here if they are killed:".to_owned());
        }
        for (verb, all) in [("unmount", &plan.mounts), ("rmdir", &plan.cgroups), ("remove", &plan.files)] {
            lines.extend(all.iter().map(|path| format!("  {verb:<9} {}", plain(path))));
        }
    }
    lines.join("\n")
}

/// A line for each process; stubs in one, as they die with their sentry.
fn killed(plan: &Plan) -> Vec<String> {
    let stays = |role: &Role| {
        plan.how == How::Unguarded { shims_stay: true }
            && (*role == Role::RealShim || *role == Role::Runsc("wait".to_owned()))
    };
    let doomed = plan.processes.iter().filter(|process| !stays(&process.role));
    let (stubs, others): (Vec<&Process>, Vec<&Process>) =
        doomed.partition(|process| process.role == Role::Stub);
    let others = others
        .iter()
        .map(|process| format!("{} {} (state {})", process.role, process.identity.pid, process.state));
    let stubs = (!stubs.is_empty()).then(|| format!("{} stubs of the sentry", stubs.len()));
    others.chain(stubs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::Word;
    use crate::survey::model::tests::sandbox;

    fn process(pid: i32, role: Role, line: &str) -> Process {
        Process {
            identity: Identity { pid, start_time: 1 },
            parent: 1,
            comm: "exe".into(),
            state: 'T',
            role,
            argv: line.split(' ').map(Into::into).collect(),
        }
    }

    fn plan(sandbox: Sandbox) -> Plan {
        let processes = vec![
            process(10, Role::RealShim, "shim"),
            process(11, Role::Sentry, "runsc-sandbox --root=/r/ns boot --bundle=/b pod1"),
            process(13, Role::Runsc("wait".into()), "runsc --root=/r/ns wait pod1"),
            process(14, Role::Stub, ""),
            process(15, Role::Stub, ""),
        ];
        let how = how(&sandbox, &processes);
        let files = vec!["/r/ns/pod1.state".into()];
        Plan {
            sandbox,
            how,
            processes,
            cgroups: Vec::new(),
            mounts: vec!["/b/rootfs (overlay)".into()],
            files,
        }
    }

    #[test]
    fn an_unguarded_sandbox_is_ended_below_its_shim() {
        let plan = plan(sandbox("pod1", State::Wedged));
        assert_eq!(plan.how, How::Unguarded { shims_stay: true });
        let text = anstream::adapter::strip_str(&render(&plan)).to_string();
        for line in [
            "  SIGKILL   sentry 11 (state T)",
            "  SIGKILL   2 stubs of the sentry",
            "  released by the real shims, or here",
            "  unmount   /b/rootfs (overlay)",
            "  remove    /r/ns/pod1.state",
        ] {
            assert!(text.lines().any(|one| one.starts_with(line)), "{line} in\n{text}");
        }
        assert!(!text.contains("real shim 10") && !text.contains("runsc wait"), "{text}");
    }

    #[test]
    fn a_shim_that_cannot_go_on_is_ended_too() {
        let mut one = sandbox("pod1", State::Wedged);
        one.found.real_shims[0].state = 'T';
        let plan = plan(one);
        assert_eq!(plan.how, How::Unguarded { shims_stay: false });
        assert!(render(&plan).contains("SIGKILL   real shim 10"));
    }

    #[test]
    fn a_guard_that_can_hear_does_it_and_one_that_cannot_is_replaced() {
        let with = |guard: Guard, state| {
            let mut one = sandbox("pod1", state);
            one.found.guard = guard;
            plan(one).how
        };
        let task = sandbox("x", State::Running).found.real_shims[0].clone();
        let stopped = Task { state: 'T', ..task.clone() };
        let says = Guard::Says(task.clone(), Box::<Word>::default());
        assert_eq!(with(says.clone(), State::Wedged), How::Guard);
        assert!(matches!(with(says, State::Ended), How::Nothing(_)));
        assert_eq!(with(Guard::Silent(task, String::new()), State::Running), How::Guard);
        assert_eq!(with(Guard::Silent(stopped, String::new()), State::Wedged), How::InGuardsPlace);
        assert_eq!(with(Guard::Dead, State::Orphaned), How::InGuardsPlace);
        assert!(matches!(with(Guard::Unknown("x".into()), State::Unknown), How::Refused(_)));
    }

    #[test]
    fn what_a_shim_out_of_sight_may_keep_is_not_touched() {
        let mut one = sandbox("pod1", State::Orphaned);
        (one.found.real_shims, one.found.unplaced) = (Vec::new(), vec![99]);
        assert!(matches!(plan(one).how, How::Refused(why) if why.contains("--host=99")));
    }

    #[test]
    fn a_shim_that_serves_another_sandbox_is_not_touched() {
        let one = sandbox("pod2", State::Wedged);
        let plan = plan(one);
        assert!(matches!(&plan.how, How::Refused(why) if why.contains("pod1")), "{:?}", plan.how);
        assert!(!plan.acts());
    }
}
