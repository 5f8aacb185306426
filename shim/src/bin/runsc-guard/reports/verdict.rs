//! What evidence says in one line. Pure, and it says no more than the evidence does.

use shim::sandbox::evidence::{Evidence, Thread, Witness};
use shim::sandbox::process::Role;

/// Wait channels of file systems that others serve.
const SERVED: [(&str, &str); 7] = [
    ("fuse", "a FUSE server"),
    ("request_wait_answer", "a FUSE server"),
    ("nfs", "an NFS server"),
    ("rpc_", "an NFS server"),
    ("cifs", "an SMB server"),
    ("p9_", "a 9P server"),
    ("ceph", "Ceph"),
];

/// The verdict.
pub(crate) fn verdict(evidence: &Evidence) -> String {
    let of = |wanted: fn(&Role) -> bool| evidence.processes.iter().filter(move |one| wanted(&one.role));
    if let Some(frozen) = evidence.processes.iter().find(|one| one.frozen) {
        let folder = frozen.cgroups.first().map(|folder| folder.display().to_string()).unwrap_or_default();
        return format!("{} {} was frozen, by {folder} or above", frozen.role, frozen.pid);
    }
    let kernel = of(|role| matches!(role, Role::Sentry | Role::Gofer | Role::RealShim));
    if let Some(stopped) = kernel.clone().find(|one| one.threads.iter().any(|thread| thread.state == 'T')) {
        return format!("{} {} was stopped: somebody sent it SIGSTOP", stopped.role, stopped.pid);
    }
    if let Some((witness, thread)) = evidence.processes.iter().find_map(stuck) {
        let wchan = thread.wchan.as_deref().unwrap_or("an unknown place");
        let server = SERVED.iter().find(|(part, _)| wchan.contains(part));
        let server = server.map(|(_, server)| format!(": it waits for {server}")).unwrap_or_default();
        return format!("{} {} hung in the kernel in {wchan}{server}", witness.role, witness.pid);
    }
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

    fn of(processes: Vec<Witness>) -> String {
        verdict(&Evidence { processes, omitted: 0 })
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
