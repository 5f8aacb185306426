//! From what happened to what lasted: pure.

use super::{
    kernel::{Happened, What},
    record::{ASKED, FORWARDED, RELAY, START},
};
use std::collections::{BTreeMap, BTreeSet};

/// Which row of the picture a span is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What the kubelet asked containerd for.
    Step,
    /// What containerd asked the shim that it knows.
    Asked,
    /// What the guard asked the real shim.
    Forwarded,
    /// A shim's `start` or `delete`.
    Shim,
    /// A guard or a real shim at work.
    Daemon,
    /// A runsc command.
    Runsc,
    /// Sentry and gofers.
    Sandbox,
    /// CNI's plugins.
    Network,
    Other,
}

/// Something with a beginning and an end, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) kind: Kind,
    pub(super) label: String,
    pub(super) begin: f64,
    pub(super) end: f64,
}

#[derive(Default)]
struct Process {
    began: f64,
    /// What it became by its last exec.
    became: Option<(Kind, String)>,
}

/// All spans between the first step's beginning and the last one's end, of steps, of requests and of what descends from
/// `roots`. What began before begins with the first step, what goes on ends with the last.
pub(super) fn spans(happened: &[Happened], roots: &BTreeSet<i32>) -> Vec<Span> {
    let step = |word: &str| {
        let word = word.to_owned();
        move |one: &&Happened| matches!(&one.what, What::Mark(words) if words.first() == Some(&word))
    };
    let first = happened.iter().find(step("begin")).map_or(0.0, |one| one.at);
    let last = happened.iter().rfind(step("end")).map_or(first, |one| one.at);
    let mut all = Vec::new();
    let mut family: BTreeMap<i32, Process> =
        roots.iter().map(|root| (*root, Process { began: first, became: None })).collect();
    let mut open: BTreeMap<String, Span> = BTreeMap::new();
    let process = |process: Process, end| {
        let (kind, label) = process.became?;
        Some(Span { kind, label, begin: process.began, end })
    };
    for Happened { at, what } in happened {
        match what {
            What::Fork { parent, child } => {
                if family.contains_key(parent) {
                    family.insert(*child, Process { began: *at, became: None });
                }
            }
            What::Exec { pid, file, args } => {
                if let Some(process) = family.get_mut(pid) {
                    process.became = Some(describe(file, args));
                }
            }
            What::Exit { pid } => all.extend(family.remove(pid).and_then(|gone| process(gone, *at))),
            What::Mark(words) => mark(&mut all, &mut open, *at, words),
        }
    }
    all.extend(family.into_values().filter_map(|living| process(living, last)));
    all.extend(open.into_values().map(|waiting| Span { end: last, ..waiting }));
    all.retain(|span| span.begin < last && span.end > first);
    for span in &mut all {
        span.begin = span.begin.max(first);
        span.end = span.end.min(last);
    }
    all.sort_by(|one, other| {
        (one.kind, one.begin).partial_cmp(&(other.kind, other.begin)).unwrap_or(std::cmp::Ordering::Equal)
    });
    all
}

/// `begin STEP`, `end STEP`, `asked CONNECTION STREAM ask METHOD`, `asked CONNECTION STREAM answer`.
fn mark(all: &mut Vec<Span>, open: &mut BTreeMap<String, Span>, at: f64, words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut begin = |key: String, kind, label: &str| {
        open.insert(key, Span { kind, label: label.to_owned(), begin: at, end: at });
    };
    let ended = match words[..] {
        ["begin", step] => return begin(step.to_owned(), Kind::Step, step),
        [ASKED, connection, stream, "ask", method] => {
            return begin(format!("{connection} {stream}"), Kind::Asked, method);
        }
        [FORWARDED, connection, stream, "ask", method] => {
            return begin(format!("{connection} {stream}"), Kind::Forwarded, method);
        }
        ["end", step] => open.remove(step),
        [_, connection, stream, "answer"] => open.remove(&format!("{connection} {stream}")),
        _ => None,
    };
    all.extend(ended.map(|span| Span { end: at, ..span }));
}

/// What a program is in the life of a pod.
fn describe(file: &str, args: &[String]) -> (Kind, String) {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let program = args.first().map_or_else(|| name(file), |arg| name(arg));
    let word = |wanted: &[&str]| args.iter().skip(1).find(|arg| wanted.contains(&arg.as_str())).cloned();
    if program.starts_with("containerd-shim-") {
        return match word(&["start", "delete"]) {
            Some(action) => (Kind::Shim, format!("{program} {action}")),
            None if args.iter().any(|arg| arg == "-info") => (Kind::Shim, format!("{program} -info")),
            None => (Kind::Daemon, program),
        };
    }
    if args.get(1).is_some_and(|arg| [START, RELAY].contains(&arg.as_str())) {
        return (Kind::Other, "recorder".to_owned());
    }
    match program.as_str() {
        "runsc" => {
            let command = args.iter().skip(1).find(|arg| !arg.starts_with('-'));
            (Kind::Runsc, command.cloned().unwrap_or(program))
        }
        "runsc-sandbox" | "runsc-gofer" => (Kind::Sandbox, program),
        "bridge" | "host-local" | "portmap" | "loopback" => (Kind::Network, program),
        _ => (Kind::Other, program),
    }
}

/// How long at least one of them was there.
pub(super) fn covered(mut spans: Vec<(f64, f64)>) -> f64 {
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut sum, mut until) = (0.0, f64::MIN);
    for (begin, end) in spans {
        sum += (end - begin.max(until)).max(0.0);
        until = until.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: f64, what: What) -> Happened {
        Happened { at, what }
    }

    fn marked(time: f64, text: &str) -> Happened {
        at(time, What::Mark(text.split(' ').map(str::to_owned).collect()))
    }

    #[test]
    fn processes_and_requests_become_spans() {
        let exec = |pid, args: &[&str]| What::Exec {
            pid,
            file: args[0].to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        let happened = [
            marked(1.0, "begin RunPodSandbox"),
            at(1.1, What::Fork { parent: 7, child: 8 }),
            at(1.2, exec(8, &["/bin/runsc", "--root=/r", "state", "x"])),
            // A stranger's.
            at(1.3, What::Fork { parent: 70, child: 80 }),
            at(1.4, exec(80, &["/bin/runsc", "state"])),
            marked(1.5, "asked 9/0 1 ask Create"),
            at(1.6, What::Exit { pid: 8 }),
            marked(1.7, "asked 9/0 1 answer"),
            marked(1.8, "asked 9/0 3 ask Wait"),
            marked(2.0, "end RunPodSandbox"),
        ];
        let found = spans(&happened, &BTreeSet::from([7]));
        let found: Vec<_> = found.iter().map(|s| (s.kind, s.label.as_str(), s.begin, s.end)).collect();
        assert_eq!(
            found,
            [
                (Kind::Step, "RunPodSandbox", 1.0, 2.0),
                (Kind::Asked, "Create", 1.5, 1.7),
                (Kind::Asked, "Wait", 1.8, 2.0),
                (Kind::Runsc, "state", 1.1, 1.6),
            ]
        );
    }

    #[test]
    fn what_overlaps_counts_once() {
        assert!((covered(vec![(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)]) - 4.0).abs() < 1e-9);
        assert!(covered(Vec::new()).abs() < 1e-9);
    }
}
