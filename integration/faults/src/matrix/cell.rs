//! One cell, from the start of its subject to the proof that nothing is left of it.

use super::{
    Bench, Cell, Exits, Fault,
    bite::Sign,
    checks,
    gate::{Shut, TO_THE_GATE},
    inject::{self, Held},
    victim::Victim,
};
use anyhow::Result;
use harness::{EventLog, Late, faults::Sandbox, process::Process};
use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Between two tries of who asks for the end.
const RETRY: Duration = Duration::from_millis(100);
/// So much of what is left is named.
const SHOWN: usize = 4;
/// How often it is looked whether the fault is felt.
const FEEL: Duration = Duration::from_millis(50);
/// How often memory is looked at.
const WEIGH: Duration = Duration::from_millis(200);

/// The most memory that was seen, in KiB resident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// The guard.
    pub guard: u64,
    /// The real shim.
    pub real_shim: u64,
}

/// What came of a cell.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which.
    pub cell: Cell,
    /// From the first time that the end was asked for to containerd's yes; `None` if it did not come.
    pub ended: Option<Duration>,
    /// What it may have taken.
    pub promised: Duration,
    /// How long it was waited for.
    pub waited: Duration,
    /// What was left.
    pub residue: Vec<String>,
    /// What subscribers were told.
    pub exits: Exits,
    /// What guard and real shim weighed.
    pub weight: Weight,
    /// The fault was felt by somebody. One that was not proves nothing.
    pub bit: bool,
    /// What is not as it must be, and nothing excuses.
    pub wrong: Vec<String>,
    /// What took too long, and may have for want of a processor. (What is healthy has deadlines of two seconds, too,
    /// and so what is to be hurt may be gone before it could be.) What failed sooner is wrong.
    pub slow: Vec<String>,
    /// It ran again alone, because it had been too slow beside others; this is what was slow.
    pub beside_others: Vec<String>,
}

impl Report {
    /// As promised.
    pub fn is_green(&self) -> bool {
        self.wrong.is_empty() && self.slow.is_empty()
    }

    /// Nothing is wrong that a busy machine would not explain.
    pub fn is_only_slow(&self) -> bool {
        self.wrong.is_empty() && !self.slow.is_empty()
    }

    /// In how long, and what there is to be said of that.
    pub fn ending(&self) -> String {
        let red = if self.is_green() { "" } else { " **RED**" };
        let beside = if self.beside_others.is_empty() { "" } else { " (alone)" };
        let felt = if self.bit { "" } else { " (not felt)" };
        match self.ended {
            Some(ended) => format!("{:.1} s{beside}{felt}{red}", ended.as_secs_f64()),
            None => format!("not after {:.0} s{red}", self.waited.as_secs_f64()),
        }
    }

    /// What a step answers, if it works. If not, it was slow where nothing but time has passed, or as much of it as a
    /// deadline takes; and else it is wrong.
    fn step<T>(&mut self, what: &str, began: Instant, answer: Result<T>) -> Option<T> {
        let error = match answer {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let is_late = began.elapsed() >= self.cell.deadlines.shortest();
        let is_time = is_late || error.chain().any(|cause| cause.is::<Late>());
        (if is_time { &mut self.slow } else { &mut self.wrong }).push(format!("{what}: {error:#}"));
        None
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Some(ended) => write!(f, "{}: ended in {:.1} s", self.cell, ended.as_secs_f64())?,
            None => write!(f, "{}: not ended after {:.1} s", self.cell, self.waited.as_secs_f64())?,
        }
        self.wrong.iter().chain(&self.slow).try_for_each(|wrong| write!(f, "\n        {wrong}"))
    }
}

/// Runs one cell; `name` must be new on this host, and no prefix of another.
pub fn run(bench: &Bench, cell: Cell, name: &str) -> Report {
    let promised = cell.deadlines.promise(cell.fault, cell.subject);
    let mut report = Report {
        cell,
        ended: None,
        promised,
        waited: Duration::ZERO,
        residue: Vec::new(),
        exits: Exits::default(),
        weight: Weight::default(),
        bit: false,
        wrong: Vec::new(),
        slow: Vec::new(),
        beside_others: Vec::new(),
    };
    attempt(bench, cell, name, &mut report);
    if let Err(error) = bench.neighbour().assert_alive() {
        report.wrong.push(format!("{error:#}"));
    }
    report
}

/// As far as it comes: `None` where it comes no further.
fn attempt(bench: &Bench, cell: Cell, name: &str, report: &mut Report) -> Option<()> {
    let began = Instant::now();
    let events = report.step("listening", began, EventLog::start(&bench.host().ctr()))?;
    let mut events = vec![events];
    let began = Instant::now();
    let victim = report.step("bringing it up", began, Victim::bring_up(bench, cell, name))?;
    let began = Instant::now();
    let hurt = hurt_and_end(&victim, cell, &mut events, report);
    let hashes = report.step("hurting it", began, hurt)?;
    if bench.is_guarded() && report.ended.is_some() {
        report.wrong.extend(victim.unanswered());
    }
    if let Some(ended) = report.ended {
        if ended > report.promised {
            report.slow.push(format!("late: {ended:.1?} instead of {:.1?}", report.promised));
        }
        if let Err(error) = victim.forget() {
            report.wrong.push(format!("{error:#}"));
        }
    } else {
        report.wrong.push(format!("not ended after {:.1?}", report.waited));
    }
    let left = checks::residue(bench, &hashes);
    report.residue = left.to_string().lines().map(str::to_owned).collect();
    if !left.is_empty() {
        let more = report.residue.len().saturating_sub(SHOWN);
        let shown = &report.residue[..report.residue.len() - more];
        report.wrong.push(format!("left: {}, and {more} more", shown.join("; ")));
    }
    if cell.fault.is_no_hang() {
        // What is held at the gate may have had all of its deadline before containerd has ended: that has hung.
        let is_held = cell.fault != Fault::None && cell.gate().is_some();
        let has_hung = |waited| is_held && waited >= cell.deadlines.shortest();
        let reports = checks::reports(&victim).into_iter().filter(|(_, waited)| !has_hung(*waited));
        report
            .wrong
            .extend(reports.map(|(sign, _)| format!("nothing hangs, and yet the guard reports: {sign}")));
    }
    let (exits, wrong) = checks::exits(&cell, &events, &victim.ids());
    report.exits = exits;
    report.wrong.extend(wrong);
    drop(events);
    if !report.is_green() {
        return None;
    }
    let began = Instant::now();
    let again = bench.gate().clear().and_then(|()| victim.again());
    report.step("its id is not usable again", began, again)?;
    let left = checks::residue(bench, &hashes);
    if !left.is_empty() {
        report.wrong.push(format!("left of the second one: {left}"));
    }
    Some(())
}

/// The request, the fault, the end.
fn hurt_and_end(
    victim: &Victim<'_>,
    cell: Cell,
    events: &mut Vec<EventLog>,
    report: &mut Report,
) -> Result<BTreeSet<String>> {
    let (bench, over) = (victim.bench(), AtomicBool::new(false));
    thread::scope(|scope| {
        // Dropped on every way out: the scope waits for who weighs.
        let weighed = Raise(&over);
        let shut = cell.gate().map(|(place, command)| bench.gate().shut(place, command)).transpose()?;
        // Who serves it, while it is certain to be there.
        let is_there = !cell.request.makes_the_container() && !cell.is_never_made();
        let who = || (checks::hashes(victim), inject::guard(victim), inject::real_shim(victim));
        let known = is_there.then(who);
        let mut injected: Option<(Held, Sign)> = None;
        if cell.is_injected_first() {
            injected = Some(inject::inject(&cell, victim, scope)?);
        }
        let limit = TO_THE_GATE + cell.limit();
        // What it answers is not promised; that it is answered is.
        scope.spawn(move || victim.asked("the request in flight", limit, || victim.ask(limit)));
        match &shut {
            Some(shut) => shut.await_reached(TO_THE_GATE)?,
            None if is_there => {}
            // It is still being made, and there before anything else happens.
            None => drop(Sandbox::await_of(bench.host(), victim.sandbox())?),
        }
        let (hashes, guard, real_shim) = known.unwrap_or_else(who);
        let weighing = scope.spawn({
            let over = &over;
            move || weigh(guard, real_shim, over)
        });
        let (held, sign) = match injected {
            Some(injected) => injected,
            None => inject::inject(&cell, victim, scope)?,
        };
        if cell.fault.takes_containerd() {
            events.push(EventLog::start(&bench.host().ctr())?);
        }
        let opened = shut.filter(|_| !cell.is_itself_stuck()).map(Shut::open).transpose()?;
        let feeling = scope.spawn({
            let over = &over;
            move || feel(&sign, bench, over)
        });
        let (ended, waited, last) = end(victim, cell.patience(bench.is_guarded()));
        drop(weighed);
        report.bit = feeling.join().unwrap_or_default();
        (report.ended, report.waited) = (ended, waited);
        report.weight = weighing.join().unwrap_or_default();
        if ended.is_none() {
            report.wrong.push(last);
        }
        drop((held, opened));
        Ok(hashes)
    })
}

/// Says that it is over when it is dropped.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Asks for the end until it comes.
fn end(victim: &Victim<'_>, limit: Duration) -> (Option<Duration>, Duration, String) {
    let began = Instant::now();
    let mut last = String::new();
    while let Some(left) = limit.checked_sub(began.elapsed()) {
        match victim.ask_end(left) {
            Ok(()) => return (Some(began.elapsed()), began.elapsed(), String::new()),
            Err(why) => last = why,
        }
        thread::sleep(RETRY);
    }
    (None, began.elapsed(), last)
}

/// Whether the fault is felt at any moment until it is over.
fn feel(sign: &Sign, bench: &Bench, over: &AtomicBool) -> bool {
    loop {
        let last = over.load(Ordering::Acquire);
        if sign.is_there(bench.host(), bench.gate()) {
            return true;
        }
        if last {
            return false;
        }
        thread::sleep(FEEL);
    }
}

/// The highest resident size of guard and real shim until it is over.
fn weigh(guard: Option<Process>, real_shim: Option<Process>, over: &AtomicBool) -> Weight {
    let mut weight = Weight::default();
    let peak = |process: &Process| match process.is_alive() {
        true => process.status_number("VmHWM").unwrap_or_default(),
        false => 0,
    };
    loop {
        weight.guard = weight.guard.max(guard.as_ref().map_or(0, peak));
        weight.real_shim = weight.real_shim.max(real_shim.as_ref().map_or(0, peak));
        if over.load(Ordering::Acquire) {
            return weight;
        }
        thread::sleep(WEIGH);
    }
}
