//! containerd: whether it answers, which version it is, what it may do.

use runsc_guard_sandbox::sys::procfs;

use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::containerd::distribution::Distribution;
use crate::containerd::process::{Greeting, Process, number, version_word};
use crate::known;
use crate::known::containerd::Version;
use crate::known::{bugs_of, is_newer};

const ABOUT: &str = "containerd";
/// The oldest that the guard was tried with.
const OLDEST: (u32, u32) = (1, 6);

pub(super) fn containerd(facts: &Facts) -> Vec<Finding> {
    let containerd = &facts.containerd;
    let mut findings = vec![reach(facts)];
    if let Some(process) = &containerd.process {
        findings.push(version(process));
        findings.extend(capabilities(process));
    }
    findings
}

fn reach(facts: &Facts) -> Finding {
    let (containerd, whose) = (&facts.containerd, whose(facts));
    let start = facts.restart.replacen(" restart ", " start ", 1);
    let start = format!("{start}, or name its socket with --address");
    let at = containerd.address.display();
    let pid = containerd.process.as_ref().map_or(String::new(), |process| format!(" {}", process.pid));
    let state = containerd.process.as_ref().map(|process| process.state);
    match (&containerd.greeting, state) {
        (Greeting::Answered, _) => Finding::ok(ABOUT, format!("{ABOUT}{pid}{whose} answers at {at}")),
        (Greeting::Silent(_), Some(state)) if procfs::is_stopped(state) => Finding::fail(
            ABOUT,
            format!("{ABOUT}{pid}{whose} is stopped (state T): no pod starts or ends"),
            format!("kill -CONT{pid}"),
        ),
        (Greeting::Silent(waited), _) => Finding::fail(
            ABOUT,
            format!("{ABOUT}{pid}{whose} takes connections at {at} and has not answered within {waited:?}"),
            format!("{}; sandboxes live on meanwhile", facts.restart),
        ),
        (Greeting::Absent, _) => Finding::fail(ABOUT, format!("no socket at {at}: it does not run"), start),
        (Greeting::Refused, _) => {
            Finding::fail(ABOUT, format!("no process listens at {at}: it has ended"), start)
        }
        (Greeting::Broken(why), _) => {
            Finding::fail(ABOUT, format!("{at}: {why}"), "name containerd's socket with --address, as root")
        }
    }
}

/// Whose it is, where that is not what it is mostly.
fn whose(facts: &Facts) -> String {
    let distribution = facts.distribution;
    if distribution == Distribution::Containerd {
        String::new()
    } else {
        format!(" of {}", distribution.name())
    }
}

fn version(process: &Process) -> Finding {
    let told = match &process.version {
        Ok(text) => text.trim(),
        Err(why) => {
            let remedy = format!("{} --version", process.exe.display());
            return Finding::warn(ABOUT, format!("its version cannot be told: {why}"), remedy);
        }
    };
    match number(told) {
        Some(version) if version < OLDEST => Finding::warn(
            ABOUT,
            format!("version {}.{}: older than all that the guard was tried with", version.0, version.1),
            "containerd 1.6 or later",
        ),
        Some(_) => known_bugs(version_word(told)),
        None => Finding::warn(
            ABOUT,
            format!("its version cannot be told from {told:?}"),
            "containerd 1.6 or later is needed",
        ),
    }
}

/// What is known of this version, and who has mended it. What is open in all is named, and is no reason to change.
fn known_bugs(word: &str) -> Finding {
    let Some(version) = Version::parse(word) else { return Finding::ok(ABOUT, format!("version {word}")) };
    let (open, mended): (Vec<_>, Vec<_>) = bugs_of(version).partition(|bug| bug.worth().is_none());
    let names = open.iter().map(|bug| bug.id.as_str()).collect::<Vec<_>>().join(", ");
    let age = if is_newer(version) {
        format!("; the table was read {}, yours is newer", known::read())
    } else {
        String::new()
    };
    let Some(fixed) = mended.iter().filter_map(|bug| bug.worth()).max() else {
        return Finding::ok(ABOUT, format!("version {word} (known: {names}{age})"));
    };
    let names = mended.iter().map(|bug| bug.id.as_str()).collect::<Vec<_>>().join(", ");
    let what =
        format!("version {word} has bugs that leave shims behind and are mended upstream: {names}{age}");
    Finding {
        bugs: mended,
        ..Finding::warn(ABOUT, what, format!("containerd {fixed} or later has none of those below"))
    }
}

/// Capabilities that the guard inherits from containerd: their number, their name, what follows where they are
/// missing, and whether sandboxes can be ended without.
const NEEDED: [(u32, &str, &str, bool); 5] = [
    (5, "CAP_KILL", "the guard cannot kill a sandbox's processes", true),
    (21, "CAP_SYS_ADMIN", "nothing can be mounted or unmounted", true),
    (19, "CAP_SYS_PTRACE", "who holds a mount, and where a sandbox hangs, cannot be seen", false),
    (12, "CAP_NET_ADMIN", "the links of a pod that cannot die are not taken from it", false),
    (
        24,
        "CAP_SYS_RESOURCE",
        "no oom_score_adj can be lowered: the kernel may kill guard and shim before others, and gVisor's own \
         start fails without the guard",
        false,
    ),
];

fn capabilities(process: &Process) -> Vec<Finding> {
    const ABOUT: &str = "capabilities";
    let Some(has) = process.capabilities else {
        let what = "containerd's cannot be read";
        return vec![Finding::warn(ABOUT, what, format!("grep CapEff /proc/{}/status", process.pid))];
    };
    let missing = NEEDED.iter().filter(|(number, ..)| has & (1 << number) == 0);
    let missing: Vec<Finding> =
        missing.map(|(_, name, follows, fatal)| lacks(name, follows, *fatal)).collect();
    if missing.is_empty() { vec![Finding::ok(ABOUT, "containerd has what the guard needs")] } else { missing }
}

fn lacks(name: &str, follows: &str, fatal: bool) -> Finding {
    let what = format!("containerd lacks {name}: {follows}");
    let mut remedy =
        "give it to containerd (CapabilityBoundingSet= of its unit, or the container that it runs in)"
            .to_owned();
    if name == "CAP_SYS_RESOURCE" {
        remedy += "; else restrict_oom_score_adj = true in containerd's CRI table";
    }
    if fatal {
        Finding::fail("capabilities", what, remedy)
    } else {
        Finding::warn("capabilities", what, remedy)
    }
}
