//! One cell, from the start of its subject to the proof that nothing is left of it.

use super::{
    Bench, Cell, Exits, Fault, checks,
    gate::Shut,
    inject::{self, Held},
    victim::Victim,
};
use anyhow::{Context as _, Result, ensure};
use harness::{EventLog, faults::Sandbox, process::Process};
use std::{
    collections::BTreeSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a request may take to come to the gate on a busy machine.
const TO_THE_GATE: Duration = Duration::from_secs(30);
/// Between two tries of who asks for the end.
const RETRY: Duration = Duration::from_millis(100);
/// So much of what is left is named.
const SHOWN: usize = 4;
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
    /// What is not as it must be, and nothing excuses.
    pub wrong: Vec<String>,
    /// What a machine that is too busy would explain: what is healthy has deadlines of two seconds, too, and so
    /// what is to be hurt may be gone before it could be.
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
        wrong: Vec::new(),
        slow: Vec::new(),
        beside_others: Vec::new(),
    };
    if let Err(error) = attempt(bench, cell, name, &mut report) {
        report.slow.push(format!("{error:#}"));
    }
    if let Err(error) = bench.neighbour().assert_alive() {
        report.wrong.push(format!("{error:#}"));
    }
    report
}

fn attempt(bench: &Bench, cell: Cell, name: &str, report: &mut Report) -> Result<()> {
    let mut events = vec![EventLog::start(&bench.host().ctr())?];
    let victim = Victim::bring_up(bench, cell, name).context("bringing it up")?;
    let hashes = hurt_and_end(&victim, cell, &mut events, report)?;
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
        let reports = checks::reports(&victim);
        let told = reports.iter().map(|sign| format!("nothing hangs, and yet the guard reports: {sign}"));
        // What is held at the gate has a deadline of its own, which may pass before containerd has ended.
        let late = cell.fault != Fault::None && cell.gate().is_some();
        (if late { &mut report.slow } else { &mut report.wrong }).extend(told);
    }
    let (exits, wrong) = checks::exits(&cell, &events, &victim.ids());
    report.exits = exits;
    report.wrong.extend(wrong);
    drop(events);
    if !report.is_green() {
        return Ok(());
    }
    bench.gate().clear()?;
    victim.again().context("its id is not usable again")?;
    let left = checks::residue(bench, &hashes);
    ensure!(left.is_empty(), "left of the second one: {left}");
    Ok(())
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
        let mut held: Held = Vec::new();
        if cell.is_injected_first() {
            held = inject::inject(&cell, victim, scope)?;
        }
        let limit = TO_THE_GATE + cell.limit();
        let request = scope.spawn(move || victim.ask(limit));
        match &shut {
            Some(shut) => shut.await_reached(TO_THE_GATE)?,
            // Where the sandbox is still being made, it is there before anything else happens.
            None => drop(Sandbox::await_of(bench.host(), victim.sandbox())?),
        }
        let hashes = checks::hashes(victim);
        let (guard, real_shim) = (inject::guard(victim), inject::real_shim(victim));
        let weighing = scope.spawn({
            let over = &over;
            move || weigh(guard, real_shim, over)
        });
        if !cell.is_injected_first() {
            held = inject::inject(&cell, victim, scope)?;
        }
        if cell.fault.takes_containerd() {
            events.push(EventLog::start(&bench.host().ctr())?);
        }
        let opened = shut.filter(|_| !cell.is_itself_stuck()).map(Shut::open).transpose()?;
        let (ended, waited, last) = end(victim, cell.limit());
        drop(weighed);
        (report.ended, report.waited) = (ended, waited);
        report.weight = weighing.join().unwrap_or_default();
        if ended.is_none() {
            report.wrong.push(last);
        }
        drop((held, opened));
        // What it answers is not promised; that it is answered is: the scope waits for it.
        drop(request);
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
