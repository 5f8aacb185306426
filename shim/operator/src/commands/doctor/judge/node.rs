//! The kernel, and what runs on it right now.

use crate::commands::doctor::facts::{Cgroups, Facts, Kernel};
use crate::commands::doctor::finding::Finding;
use crate::survey::model::{Sandbox, Sign, State};

pub(super) fn kernel(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.root {
        let what = "not run as root: much cannot be seen, and what is said below may be wrong";
        findings.push(Finding::warn("doctor", what, "sudo runsc-guard doctor"));
    }
    findings.extend(capable(&facts.kernel));
    findings.push(match facts.kernel.cgroups {
        Cgroups::V2 => Finding::ok("cgroups", "version 2"),
        Cgroups::V1 => Finding::ok("cgroups", "version 1; a frozen sandbox is thawed before it is killed"),
        Cgroups::Hybrid => {
            Finding::ok("cgroups", "version 1, and 2 beside it; a frozen sandbox is thawed before it is killed")
        }
        Cgroups::None => Finding::warn(
            "cgroups",
            "nothing is mounted at /sys/fs/cgroup: sandboxes have no limits and cannot be found by their cgroup",
            "mount -t cgroup2 none /sys/fs/cgroup, or leave it to the init system",
        ),
    });
    findings
}

/// What sandboxes and their end need of the kernel.
pub(super) fn capable(kernel: &Kernel) -> [Finding; 2] {
    let pidfds = if kernel.pidfds {
        Finding::ok("kernel", "has pidfds")
    } else {
        let what = "has no pidfds: the guard does not start, since it could kill a stranger";
        Finding::fail("kernel", what, "boot Linux 5.3 or later")
    };
    let user_namespaces = match kernel.user_namespaces {
        Some(0) => Finding::fail(
            "kernel",
            "user.max_user_namespaces is 0: gVisor cannot start a sandbox",
            "sysctl -w user.max_user_namespaces=11255, and the same into /etc/sysctl.d/ (Talos: \
             machine.sysctls)",
        ),
        Some(most) => Finding::ok("kernel", format!("allows {most} user namespaces")),
        None => Finding::warn(
            "kernel",
            "does not tell how many user namespaces it allows",
            "sysctl user.max_user_namespaces must be above 0 for gVisor",
        ),
    };
    [pidfds, user_namespaces]
}

pub(super) fn sandboxes(facts: &Facts) -> Vec<Finding> {
    const ABOUT: &str = "sandboxes";
    let sandboxes = match &facts.sandboxes {
        Ok(sandboxes) => sandboxes,
        Err(why) => {
            return vec![Finding::fail(ABOUT, format!("cannot be looked at: {why}"), "runsc-guard ls")];
        }
    };
    let mut findings: Vec<Finding> = sandboxes.iter().filter_map(sandbox).collect();
    if let Some(unseen) = &facts.unseen {
        findings.push(Finding::warn(ABOUT, &unseen.what, &unseen.remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, format!("{}, none stuck or orphaned", sandboxes.len())));
    }
    findings
}

fn sandbox(one: &Sandbox) -> Option<Finding> {
    let id = &one.found.id;
    let pod = one.found.pod.as_ref().map_or(String::new(), |_| format!(" of pod {}", one.pod_name()));
    let signs: Vec<String> = one.signs.iter().map(Sign::line).collect();
    let what = format!("{}: {id}{pod}: {}", one.state.word(), signs.join("; "));
    let end = format!("runsc-guard show {id}, then runsc-guard reap {id}");
    match one.state {
        State::Wedged | State::Orphaned => Some(Finding::fail("sandbox", what, end)),
        State::Unkillable => Some(Finding::fail(
            "sandbox",
            what,
            format!(
                "runsc-guard show {id} names what it waits for (a hung mount, a device): end that; it then goes \
                 by itself"
            ),
        )),
        // That it is well is not seen.
        State::Unknown => Some(Finding::warn("sandbox", what, "runsc-guard ls, as that says")),
        // Its guard lives and says nothing.
        State::Running if !signs.is_empty() => {
            Some(Finding::warn("sandbox", what, format!("runsc-guard show {id}; look again in a moment")))
        }
        _ => None,
    }
}
