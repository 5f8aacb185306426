//! What all of it comes to: findings with their causes and remedies. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cause::Cause;
use super::judge::{Judged, State, judge};
use super::pod::{Pod, display, handle};
use super::record::Speaker;
use super::signs::Sign;
use super::tally::Tally;
use crate::commands::doctor::finding::{Finding, Level};
use crate::known::Hang;

const ABOUT: &str = "logs";
/// So many pods are named in a finding.
const NAMED: usize = 3;
/// So many shims that were left behind, once each, are a leak.
const LEAK: usize = 3;
/// Where less of a text than one line in so many was understood, it says little that nothing was found.
const UNDERSTOOD: u64 = 10;

/// What is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The worst of the findings.
    pub(crate) verdict: Finding,
    /// All, the worst first.
    pub(crate) findings: Vec<Finding>,
    /// Messages read.
    pub(crate) lines: u64,
    /// Of those, lines of programs that know about pods, and of which.
    pub(crate) understood: BTreeMap<&'static str, u64>,
    /// The pods, the worst first.
    pub(crate) subjects: Vec<Pod>,
    /// Lines that tell of a pod and were too many.
    pub(crate) untold: u64,
}

/// What could not be read, and why.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) lines: u64,
}

/// Judges every pod, and says what follows.
pub(super) fn report(tally: &Tally, unread: &[Unread]) -> Report {
    let mut judged: Vec<Judged<'_>> = tally.subjects().into_iter().map(judge).collect();
    judged.retain(|one| one.state != State::Well);
    // A line that names nobody is of those that are named, more likely than not.
    let is_named = judged.iter().any(|one| !one.names.is_empty() && one.state <= State::Excused);
    let is_hint = |one: &Judged<'_>| one.names.is_empty() && one.cause.is_stuck() && one.tries < 2;
    judged.retain(|one| !(is_named && is_hint(one)));
    judged.sort_by_key(|one| (one.state, std::cmp::Reverse(one.tries)));
    leaks(&mut judged);
    let mut findings: Vec<Finding> = unread.iter().map(unreadable).collect();
    findings.extend(of_pods(&judged, tally));
    if findings.is_empty() || judged.is_empty() {
        findings.push(nothing(tally));
    }
    findings.sort_by_key(|one| std::cmp::Reverse(one.level));
    let understood = tally.speakers.iter().filter(|(one, _)| **one != Speaker::Other);
    Report {
        verdict: findings[0].clone(),
        findings,
        lines: tally.lines,
        understood: understood.map(|(speaker, count)| (speaker.word(), *count)).collect(),
        subjects: judged.iter().map(Pod::of).collect(),
        untold: tally.untold,
    }
}

/// One shim that was left behind may be chance.
fn leaks(judged: &mut [Judged<'_>]) {
    for cause in [Cause::Leaked, Cause::LoadShim, Cause::DeadShim] {
        let is_one =
            |one: &&mut Judged<'_>| one.cause == cause && matches!(one.state, State::Once | State::Stuck);
        if judged.iter_mut().filter(is_one).count() >= LEAK {
            judged.iter_mut().filter(is_one).for_each(|one| one.state = State::Stuck);
        }
    }
}

/// A finding for each state and cause.
fn of_pods(judged: &[Judged<'_>], tally: &Tally) -> Vec<Finding> {
    let mut groups: BTreeMap<(State, Cause), Vec<&Judged<'_>>> = BTreeMap::new();
    for one in judged {
        // Whoever tells of a silent sandbox, it is one illness.
        let cause = if one.cause.is_stuck() { Cause::Unsaid } else { one.cause };
        let cause = if matches!(one.state, State::Guarded | State::Slow | State::GuardWaits) {
            Cause::Unsaid
        } else {
            cause
        };
        groups.entry((one.state, cause)).or_default().push(one);
    }
    groups.into_iter().map(|((state, cause), all)| finding(state, cause, &all, tally)).collect()
}

fn finding(state: State, cause: Cause, all: &[&Judged<'_>], tally: &Tally) -> Finding {
    let who = who(all);
    let count = all.len();
    let handle = all.iter().find_map(|one| handle(one)).unwrap_or("ID");
    let finding = match state {
        State::Stuck if cause == Cause::Unsaid => {
            let what = format!(
                "this node has the problem: {count} of its pods or containers {}: {who}",
                cause.what()
            );
            let is_dockers =
                all.iter().any(|one| one.facts.iter().any(|fact| fact.speaker == Some(Speaker::Docker)));
            let docker =
                if is_dockers { "; Docker's are in the namespace moby (runsc-guard ls -n moby)" } else { "" };
            Finding::fail(ABOUT, what, format!("{}{docker}{}", cause.remedy(handle), doubt(tally)))
        }
        State::Stuck => {
            let what = format!("this node has the problem: {}: {who}", cause.what());
            // Nobody else says so.
            let doubt = if cause == Cause::Known { "" } else { doubt(tally) };
            Finding::fail(ABOUT, what, format!("{}{doubt}", cause.remedy(handle)))
        }
        State::Once if cause == Cause::Unsaid => {
            let what = match all.iter().all(|one| one.names.is_empty()) {
                true => format!("signs of pods that did not end, in lines that name none: {who}"),
                false => {
                    format!("signs of a pod that did not end, and of none twice, at least 30s apart: {who}")
                }
            };
            Finding::warn(ABOUT, what, "read a log of several hours; runsc-guard ls shows the present state")
        }
        State::Once => Finding::warn(ABOUT, format!("{}: {who}", cause.what()), cause.remedy(handle)),
        State::Excused => Finding::warn(ABOUT, format!("{}: {who}", cause.what()), cause.remedy(handle)),
        State::Slow => Finding::warn(
            ABOUT,
            format!("slow and not stuck: the end of {count} took several tries, and has succeeded: {who}"),
            "runsc-guard reports tells whether the guard had to help; else look after the node's load",
        ),
        State::GuardWaits => Finding::warn(
            ABOUT,
            format!("the guard's deadline runs for {count}, and no line tells how that ended: {who}"),
            "runsc-guard reports, or the log of a minute later",
        ),
        State::Guarded | State::Well => {
            Finding::ok(ABOUT, format!("the guard has ended {count}; none of them is stuck: {who}"))
        }
    };
    Finding { hangs: hangs(all), ..finding }
}

/// Lines of a log do not always tell which runtime a pod has.
fn doubt(tally: &Tally) -> &'static str {
    if tally.names_gvisor { "" } else { "; no line names runsc, so see that they are gVisor's" }
}

/// The first of them, with their tries.
fn who(all: &[&Judged<'_>]) -> String {
    let named = all.iter().take(NAMED).map(|one| {
        let ids = match (display(one), handle(one)) {
            (name, Some(id)) if name != id => format!("{name} ({id})"),
            (name, _) => name,
        };
        let tries = if one.tries == 1 { "1 try".to_owned() } else { format!("{} tries", one.tries) };
        format!("{ids}, {tries}")
    });
    let more = all.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    named.collect::<Vec<_>>().join("; ") + &more
}

fn hangs(all: &[&Judged<'_>]) -> Vec<&'static Hang> {
    let mut hangs: Vec<&'static Hang> = Vec::new();
    for fact in all.iter().flat_map(|one| &one.facts) {
        if let Sign::Hang(hang, _) = fact.sign
            && hangs.iter().all(|one| one.id != hang.id)
        {
            hangs.push(hang);
        }
    }
    hangs
}

fn unreadable(unread: &Unread) -> Finding {
    let after = if unread.lines == 0 {
        String::new()
    } else {
        format!(" (after {} lines, which were read)", unread.lines)
    };
    let what = format!("{} cannot be read{after}: {}", unread.name, unread.error);
    Finding::fail(ABOUT, what, "what it would tell is not known; give it again as text, whole")
}

/// Nothing was found: is that good news?
fn nothing(tally: &Tally) -> Finding {
    const GIVE: &str = "journalctl -u kubelet -u containerd, talosctl logs kubelet and cri, \
                        /var/lib/rancher/k3s/agent/containerd/containerd.log, or a collector's export of them";
    let ours: u64 =
        tally.speakers.iter().filter(|(one, _)| **one != Speaker::Other).map(|(_, count)| count).sum();
    let lines = tally.lines;
    if lines == 0 {
        return Finding::fail(ABOUT, "there is no line in it, so nothing can be said", GIVE);
    }
    if ours == 0 {
        let what = format!(
            "none of {lines} lines was understood as one of kubelet, containerd, dockerd, CRI-O, systemd or the \
             kernel, so nothing can be said"
        );
        return Finding::fail(ABOUT, what, GIVE);
    }
    let of_whom: Vec<String> = tally
        .speakers
        .iter()
        .filter(|(one, _)| **one != Speaker::Other)
        .map(|(one, count)| format!("{} {count}", one.word()))
        .collect();
    let what = format!("nothing of this problem in {lines} lines ({})", of_whom.join(", "));
    if tally.cut > 0 {
        let what = format!("{what}, but {} lines are cut, as a pager does it", tally.cut);
        return Finding::warn(ABOUT, what, "journalctl --no-pager, into a file or a pipe, has them whole");
    }
    let others = tally.speakers.get(&Speaker::Other).copied().unwrap_or(0);
    if ours * UNDERSTOOD < lines.saturating_sub(others) {
        return Finding::warn(ABOUT, format!("{what}, and most lines were not understood"), GIVE);
    }
    Finding::ok(ABOUT, what)
}

impl Report {
    /// The levels of all findings.
    pub(super) fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        self.findings.iter().map(|one| one.level)
    }
}

#[cfg(test)]
mod tests;
