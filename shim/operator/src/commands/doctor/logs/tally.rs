//! All lines of all texts to what is known of each pod. Pure, and no larger for a larger log.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};

use super::cause::Cause;
use super::fact::Fact;
use super::names::{Name, names};
use super::record::{Form, Record, Speaker};
use super::signs::{Sign, another_runtime, is_deadline, is_enough, sign, times_seen};
use super::subjects::{Place, Subjects};
use super::time::{Clock, Stamp};
use crate::known::{self, Hang};

/// More lines that tell something are counted and not looked at.
const MOST_FACTS: usize = 100_000;

/// dockerd's words, by which it is known where no envelope names it: its text is logrus' as well.
const DOCKERS: [&str; 3] = ["failed to exit within", "did not receive an exit event", "Handler for "];

/// How any program of Go's ends, at the beginning of a line.
const DIES: [&str; 6] = ["panic: ", "panic(", "fatal error: ", "[signal SIG", "SIGSEGV: ", "SIGBUS: "];
/// A stack of gVisor's names it so near to the words with which its program has ended.
const STACK: u64 = 100;
/// The sandbox's own part of it: others use gVisor's network stack as a library.
const GVISORS: [&str; 2] = ["/gvisor/pkg/sentry/", "/gvisor/runsc/"];
/// Shims of Kata's and of Windows' pods, in their own lines.
const OTHERS: [&str; 3] = ["source=virtcontainers", "containerd-kata-shim", "hcsshim"];

/// Lines about one failed stop are no further apart: milliseconds.
const MOMENT: i64 = 100;
/// More pods and sandboxes are not compared.
const MOST_PAIRS: usize = 1 << 20;

/// What was read so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    /// How many of whom.
    pub(super) speakers: BTreeMap<Speaker, u64>,
    pub(super) names_gvisor: bool,
    /// Lines that end as a pager ends them, in the middle of a quotation.
    pub(super) cut: u64,
    /// Lines that tell something, and were too many.
    pub(super) untold: u64,
    facts: Vec<Fact>,
    seen: HashSet<u64>,
    subjects: Subjects,
    /// Which names a runtime was told of.
    runtimes: HashMap<Place, Runtimes>,
    sources: Vec<Source>,
    /// The crash of some program, as which it is known, and in which line.
    crash: Option<(Option<&'static Hang>, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Runtimes {
    other: bool,
    runsc: bool,
}

/// One text, and whether its newest line comes first.
#[derive(Default)]
struct Source {
    last: Option<Stamp>,
    ups: u64,
    downs: u64,
}

/// What all lines tell of one pod.
#[derive(Debug, Default)]
pub(super) struct Subject<'a> {
    /// None of a line that names nobody.
    pub(super) names: Vec<&'a Name>,
    pub(super) facts: Vec<&'a Fact>,
    /// Its runtime is runc or another one that is not gVisor's, as far as is told.
    pub(super) is_others: bool,
    /// Some line of all, whomever it is about, names gVisor.
    pub(super) names_gvisor: bool,
    /// Where the text's newest line comes first.
    pub(super) descending: Vec<bool>,
}

impl Tally {
    /// A new text begins.
    pub(super) fn begin(&mut self) {
        self.sources.push(Source::default());
        self.crash = None;
    }

    /// One more message.
    pub(super) fn take(&mut self, record: Record) {
        self.lines += 1;
        let is_dockers = DOCKERS.iter().any(|words| record.text.contains(words));
        let speaker = if is_dockers { Some(Speaker::Docker) } else { record.speaker };
        let record = &Record { speaker, ..record };
        let text = record.text.as_str();
        let is_others = record.speaker == Some(Speaker::Other);
        let sign = self.crash(record).or_else(|| if is_others { None } else { sign(text) });
        let is_known = record.form != Form::Plain || record.speaker.is_some() || sign.is_some();
        if is_known {
            *self.speakers.entry(record.speaker.unwrap_or(Speaker::Kubelet)).or_default() += 1;
        }
        self.names_gvisor |= text.contains("runsc") || text.contains("gvisor");
        self.cut += u64::from(text.ends_with('>') && text.matches('"').count() % 2 == 1);
        self.order(record);
        // A line of nobody's business is not worth looking for names, and most have none.
        if !is_known || record.speaker == Some(Speaker::Other) {
            return;
        }
        let names = names(text);
        let id = names.iter().find(|name| matches!(name, Name::Id(_))).cloned();
        let place = self.subjects.join(names);
        self.runtime(text, place);
        if let Some(sign) = sign {
            let id = id.and_then(|id| self.subjects.join(vec![id]));
            self.keep(record, sign, place, id);
        }
    }

    /// Any program of Go's ends with the same words: the stack below them tells whose they were.
    fn crash(&mut self, record: &Record) -> Option<Sign> {
        let (text, hang) = (record.text.trim_start(), known::crash_in(&record.text));
        self.crash.take_if(|(_, line)| self.lines - *line > STACK);
        if hang.is_some() || DIES.iter().any(|words| text.starts_with(words)) {
            self.crash = Some((hang.or(self.crash.and_then(|(hang, _)| hang)), self.lines));
        }
        let is_gvisors = |(hang, _): &mut (Option<_>, u64)| {
            hang.is_some() && record.speaker == Some(Speaker::Gvisor)
                || GVISORS.iter().any(|words| text.contains(words))
        };
        let (hang, _) = self.crash.take_if(is_gvisors)?;
        Some(hang.map_or(Sign::Failed(Cause::Crash), |hang| Sign::Hang(hang, Cause::Crash)))
    }

    fn runtime(&mut self, text: &str, place: Option<Place>) {
        let Some(place) = place else { return };
        let other = text.contains("io.containerd.runc.v") || is_of_another_runtime(text);
        let runsc = text.contains("io.containerd.runsc");
        if other || runsc {
            let told = self.runtimes.entry(place).or_default();
            *told = Runtimes { other: told.other | other, runsc: told.runsc | runsc };
        }
    }

    fn order(&mut self, record: &Record) {
        let (Some(source), Some(now)) = (self.sources.last_mut(), record.when()) else { return };
        if let Some(last) = source.last.replace(now.clone()).filter(|last| last.clock == now.clock) {
            source.ups += u64::from(last.millis < now.millis);
            source.downs += u64::from(last.millis > now.millis);
        }
    }

    fn keep(&mut self, record: &Record, sign: Sign, place: Option<Place>, id: Option<Place>) {
        let mut hasher = DefaultHasher::new();
        record.text.hash(&mut hasher);
        let hash = hasher.finish();
        // Two collectors may tell of the same line: a message with a time of its own is written once.
        if let Some(time) = &record.time {
            (time.clock, time.millis).hash(&mut hasher);
            if self.seen.len() < MOST_FACTS && !self.seen.insert(hasher.finish()) {
                return;
            }
        }
        if self.facts.len() >= MOST_FACTS {
            self.untold += 1;
            return;
        }
        let is_enough = is_enough(&sign, &record.text);
        self.facts.push(Fact {
            place,
            id,
            speaker: record.speaker,
            times: [Fact::time(record.time.as_ref()), Fact::time(record.sent.as_ref())],
            words: record.when().map(|stamp| stamp.words.chars().take(40).collect::<String>().into()),
            weight: times_seen(&record.text),
            is_deadline: is_deadline(&record.text),
            is_enough,
            source: u32::try_from(self.sources.len()).unwrap_or(u32::MAX),
            line: self.lines,
            hash,
            sign,
        });
    }

    /// What is known of each pod; lines that name nobody are told apart by their cause alone.
    pub(super) fn subjects(&self) -> Vec<Subject<'_>> {
        let mut members = self.subjects.members();
        let descending: Vec<bool> = self.sources.iter().map(|source| source.downs > source.ups).collect();
        let mut runtimes: HashMap<Place, Runtimes> = HashMap::new();
        for (place, told) in &self.runtimes {
            let all = runtimes.entry(self.subjects.root(*place)).or_default();
            (all.other, all.runsc) = (all.other | told.other, all.runsc | told.runsc);
        }
        let mut by_place: BTreeMap<(Option<Place>, Option<Cause>), Vec<&Fact>> = BTreeMap::new();
        for fact in &self.facts {
            // What is the node's is nobody's, whichever pod the line names.
            let is_nobodys = fact.cause().is_some_and(Cause::is_of_the_node);
            let place = fact.place.filter(|_| !is_nobodys).map(|place| self.subjects.root(place));
            let cause = if place.is_none() { fact.cause() } else { None };
            by_place.entry((place, cause)).or_default().push(fact);
        }
        let mut all = Vec::new();
        for ((place, _), facts) in by_place {
            let told = place.and_then(|place| runtimes.get(&place)).copied().unwrap_or_default();
            let names = place.and_then(|place| members.remove(&place)).unwrap_or_default();
            let is_others = told.other && !told.runsc;
            let names_gvisor = self.names_gvisor;
            all.push(Subject { names, facts, is_others, names_gvisor, descending: descending.clone() });
        }
        of_one_moment(&mut all);
        of_one_pod(&mut all);
        all
    }
}

/// Of kubelet's lines for one failed stop the first name the sandbox and the others its pod: those of the same moments,
/// each time, are the same pod's, where no other pod's are.
fn of_one_moment(all: &mut Vec<Subject<'_>>) {
    let failures = |one: &Subject<'_>| -> Vec<(Clock, i64)> {
        let failures = one.facts.iter().filter(|fact| fact.failure().is_some());
        failures.filter_map(|fact| fact.times[0]).collect()
    };
    let is_kubelets = |one: &Subject<'_>, has: fn(&Name) -> bool| {
        !one.names.is_empty()
            && one.names.iter().all(|name| has(name))
            && one.facts.iter().all(is_kubelets_or_asked)
    };
    let of = |all: &[Subject<'_>], has: fn(&Name) -> bool| -> Vec<(usize, Vec<(Clock, i64)>)> {
        let fitting = all.iter().enumerate().filter(|(_, one)| is_kubelets(one, has));
        fitting.map(|(at, one)| (at, failures(one))).filter(|(_, times)| !times.is_empty()).collect()
    };
    let sandboxes = of(all, |name| matches!(name, Name::Id(_)));
    let pods = of(all, |name| matches!(name, Name::Uid(_) | Name::Pod(_)));
    if sandboxes.len() * pods.len() > MOST_PAIRS {
        return;
    }
    let near =
        |one: &(Clock, i64), other: &(Clock, i64)| one.0 == other.0 && (one.1 - other.1).abs() <= MOMENT;
    let within = |these: &[(Clock, i64)], those: &[(Clock, i64)]| {
        these.iter().all(|one| those.iter().any(|other| near(one, other)))
    };
    let is_same = |one: &[(Clock, i64)], other: &[(Clock, i64)]| within(one, other) && within(other, one);
    let mut joined = Vec::new();
    for (pod, times) in &pods {
        let mut fitting = sandboxes.iter().filter(|(_, others)| is_same(times, others));
        if let (Some((sandbox, others)), None) = (fitting.next(), fitting.next())
            && pods.iter().filter(|(_, times)| is_same(times, others)).nth(1).is_none()
        {
            joined.push((*pod, *sandbox));
        }
    }
    for (pod, sandbox) in &joined {
        let pod = std::mem::take(&mut all[*pod]);
        all[*sandbox].names.extend(pod.names);
        all[*sandbox].facts.extend(pod.facts);
        all[*sandbox].is_others |= pod.is_others;
    }
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        joined.iter().all(|(pod, _)| *pod != at - 1)
    });
}

/// What an engine was merely asked tells nothing of its own.
fn is_kubelets_or_asked(fact: &&Fact) -> bool {
    fact.speaker == Some(Speaker::Kubelet) || matches!(fact.sign, Sign::Asked)
}

/// kubelet often names a pod, and an engine its sandbox, and no line has both: where each tells of one alone, it is
/// the same.
fn of_one_pod(all: &mut Vec<Subject<'_>>) {
    let by_kubelet = is_kubelets_or_asked;
    let is_pods = |one: &Subject<'_>| {
        one.facts.iter().all(by_kubelet)
            && one.names.iter().all(|name| matches!(name, Name::Uid(_) | Name::Pod(_)))
    };
    let is_engines = |one: &Subject<'_>| {
        !one.facts.iter().all(by_kubelet) && one.names.iter().all(|name| matches!(name, Name::Id(_)))
    };
    let only = |all: &[Subject<'_>], fits: &dyn Fn(&Subject<'_>) -> bool| {
        let is_one = |one: &Subject<'_>| !one.names.is_empty() && one.tells_of_an_end() && fits(one);
        let mut found = all.iter().enumerate().filter(|(_, one)| is_one(one)).map(|(at, _)| at);
        found.next().filter(|_| found.next().is_none())
    };
    if let (Some(pods), Some(engines)) = (only(all, &is_pods), only(all, &is_engines)) {
        let pod = std::mem::take(&mut all[pods]);
        let engine = &mut all[engines];
        engine.names.extend(pod.names);
        engine.facts.extend(pod.facts);
        all.remove(pods);
    }
}

impl Subject<'_> {
    /// A failure, or the guard at work.
    fn tells_of_an_end(&self) -> bool {
        self.facts
            .iter()
            .any(|fact| fact.failure().is_some() || matches!(fact.sign, Sign::GuardEnds | Sign::GuardWaits))
    }
}

/// `runtime=io.containerd.kata.v2`, for paths and plugins are called alike; `containerd-shim-kata-v2` and what only such
/// a shim writes; or a program in runsc's place has failed.
fn is_of_another_runtime(text: &str) -> bool {
    let after = |words| text.split(words).skip(1).map(|told: &str| told.trim_start_matches('"'));
    let is_shim = |name: &str| {
        let end = name.find(|one: char| !one.is_ascii_alphanumeric() && one != '-').unwrap_or(name.len());
        let kind = name[..end].rsplit_once("-v").map(|(kind, _)| kind);
        kind.is_some_and(|kind| !kind.starts_with("runsc"))
    };
    another_runtime(text).is_some()
        || after("runtime=")
            .any(|told| told.strip_prefix("io.containerd.").is_some_and(|name| !name.starts_with("runsc")))
        || OTHERS.iter().any(|words| text.contains(words))
        || after("containerd-shim-").any(is_shim)
}
