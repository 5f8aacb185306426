//! The details for reading. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use runsc_guard_sandbox::processes::process::Role;

use super::details::{Details, Line};
use crate::paint::{self, heading, plain, size, span};
use crate::survey::model::{Guard, Sandbox, Waiting, Word};

/// Stubs shown; all of a sandbox look the same.
const STUBS: usize = 2;

/// Everything, in sections.
pub(crate) fn render(sandbox: &Sandbox, details: Option<&Details>) -> String {
    let mut text = String::new();
    head(&mut text, sandbox, details);
    containers(&mut text, sandbox);
    if let Some(word) = sandbox.found.guard.word() {
        waiting(&mut text, "Requests in flight", &word.requests, "answered in");
        waiting(&mut text, "Deadlines", &word.clocks, "sandbox ended in");
        events(&mut text, word);
    }
    match details {
        Some(details) => {
            processes(&mut text, sandbox, details);
            section(&mut text, "Cgroups", &cgroups(details));
            section(&mut text, "Mounts", &details.mounts);
            section(&mut text, "Network", &network(details));
            section(&mut text, "Files of runsc", &paths(&details.files));
            section(&mut text, "Reports", &paths(&details.reports));
            section(&mut text, "Flags of the sentry", &details.flags);
        }
        None => text += &paint::failure("\nprocesses, mounts and cgroups could not be read in time\n"),
    }
    text
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn head(text: &mut String, sandbox: &Sandbox, details: Option<&Details>) {
    let found = &sandbox.found;
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}{}", heading(&format!("{name:<11}")), value);
    };
    line("Sandbox", &format!("{} (namespace {})", found.id, found.namespace));
    if let Some(pod) = &found.pod {
        line("Pod", &plain(&format!("{}/{} (uid {})", pod.namespace, pod.name, pod.uid)));
    }
    line("State", &paint::state(sandbox.state));
    for sign in &sandbox.signs {
        line("", &plain(&format!("- {}", sign.line())));
    }
    line("Age", &sandbox.age_ms().map_or("-".to_owned(), |ms| span(Duration::from_millis(ms))));
    line("Guard", &guard(&found.guard));
    line(
        "gVisor",
        details.and_then(|details| details.version.as_deref()).unwrap_or("does not tell its version"),
    );
    line("Root", &found.runsc_root.display().to_string());
    line(
        "Processes",
        &format!("{}, {} in memory (sentry, gofers, shims)", found.pids, size(found.rss_bytes)),
    );
}

fn guard(guard: &Guard) -> String {
    match guard {
        Guard::None => "none: the unguarded shim".to_owned(),
        Guard::Dead => "dead".to_owned(),
        Guard::Unknown(why) => format!("cannot be told: {why}"),
        Guard::Silent(task, why) => format!("pid {}, {why}", task.identity.pid),
        Guard::Says(task, word) => {
            let answered = word.answered_ms_ago.map(|ms| span(Duration::from_millis(ms)));
            let answered = answered.map_or("never".to_owned(), |ago| format!("{ago} ago"));
            format!("pid {}, {}; the real shim last answered {answered}", task.identity.pid, word.stage)
        }
    }
}

fn containers(text: &mut String, sandbox: &Sandbox) {
    let word = sandbox.found.guard.word();
    let lines = sandbox.found.containers.iter().map(|one| {
        let told = word.and_then(|word| word.containers.iter().find(|told| told.id == one.id));
        let told = told.map(|told| {
            let exit = told.exit_status.map(|status| format!(" with {status}")).unwrap_or_default();
            format!("  {}{exit}, {} exec'd processes", told.status, told.execs)
        });
        format!("{}{}  bundle {}", one.id, told.unwrap_or_default(), one.bundle.display())
    });
    section(text, "Containers", &lines.collect::<Vec<_>>());
}

fn waiting(text: &mut String, name: &str, all: &[Waiting], until: &str) {
    let lines = all.iter().map(|one| {
        let due = one.due_in_ms.map(|ms| format!(", {until} {}", span(Duration::from_millis(ms))));
        let waited = span(Duration::from_millis(one.waited_ms));
        format!("{} of {}: {waited}{}", one.method, one.about, due.unwrap_or_default())
    });
    section(text, name, &lines.collect::<Vec<_>>());
}

fn events(text: &mut String, word: &Word) {
    let lines =
        word.last.iter().map(|(ms, what)| format!("{:>7} ago  {what}", span(Duration::from_millis(*ms))));
    section(text, "Last events", &lines.collect::<Vec<_>>());
}

fn cgroups(details: &Details) -> Vec<String> {
    let of_sentry = details
        .cgroups
        .iter()
        .map(|(path, controllers)| format!("{} ({})", path.display(), controllers.join(" ")));
    let own = details.own_cgroups.iter().map(|path| format!("made by runsc: {}", path.display()));
    of_sentry.chain(own).collect()
}

fn network(details: &Details) -> Vec<String> {
    let network = &details.network;
    let namespace = network.namespace.as_ref().map(|path| format!("namespace {}", path.display()));
    let inode = network.inode.as_ref().map(|inode| format!("the sentry is in {inode}"));
    let links = network.links.iter().map(|(name, received, sent)| {
        format!("link {name}: {} received, {} sent", size(*received), size(*sent))
    });
    namespace.into_iter().chain(inode).chain(links).collect()
}

fn section(text: &mut String, name: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", heading(name));
    for line in lines {
        let _ = writeln!(text, "  {}", plain(line));
    }
}

/// As a tree: whoever has no parent here is a root.
fn processes(text: &mut String, sandbox: &Sandbox, details: &Details) {
    let _ = writeln!(text, "\n{}", heading("Processes"));
    let guard = sandbox.found.guard.task();
    let mut depth = 0;
    if let Some(guard) = guard {
        let _ = writeln!(
            text,
            "  guard {} {} {}",
            guard.identity.pid,
            guard.state,
            span(Duration::from_millis(guard.age_ms))
        );
        depth = 1;
    }
    let known: BTreeSet<i32> = details.processes.iter().map(|line| line.identity.pid).collect();
    let mut children: BTreeMap<Option<i32>, Vec<&Line>> = BTreeMap::new();
    for line in &details.processes {
        children.entry(Some(line.parent).filter(|parent| known.contains(parent))).or_default().push(line);
    }
    branch(text, &children, None, depth);
}

fn branch(text: &mut String, children: &BTreeMap<Option<i32>, Vec<&Line>>, of: Option<i32>, depth: usize) {
    let below: &[&Line] = children.get(&of).map_or(&[], Vec::as_slice);
    let mut stubs = 0;
    for line in below {
        stubs += usize::from(line.role == Role::Stub);
        if line.role == Role::Stub && stubs > STUBS && line.stuck.is_empty() {
            continue;
        }
        let _ = writeln!(text, "  {}{}", "  ".repeat(depth), plain(&process(line)));
        branch(text, children, Some(line.identity.pid), depth + 1);
    }
    if stubs > STUBS {
        let _ = writeln!(text, "  {}{}", "  ".repeat(depth), paint::faint(&format!("{stubs} stubs in all")));
    }
}

fn process(line: &Line) -> String {
    let age = span(Duration::from_millis(line.age_ms));
    let mut text = format!("{} {} {} {age}", line.role, line.identity.pid, line.state);
    if let Some(wchan) = &line.wchan {
        let _ = write!(text, " in {wchan}");
    }
    if line.threads > 1 {
        let _ = write!(text, ", {} threads", line.threads);
    }
    if let Some(container) = line.container.as_ref().filter(|_| line.role != Role::RealShim) {
        let _ = write!(text, ", of {container}");
    }
    let stuck: Vec<String> = line
        .stuck
        .iter()
        .filter(|(id, ..)| *id != line.identity.pid)
        .take(4)
        .map(|(id, state, wchan)| format!("thread {id} {state} in {wchan}"))
        .collect();
    if !stuck.is_empty() {
        let _ = write!(text, " [{}]", stuck.join("; "));
    }
    text
}

#[cfg(test)]
mod tests;
