//! How long after the deadline a wedged sandbox has ended: from the SIGKILL's being asked for to containerd's TaskExit,
//! as a subscriber hears it, less the deadline.

use crate::{
    budget::{self, Finding, Judge},
    growth::Series,
    latency::{client::Asker, cost::Cost},
    nodes::Side,
    section::{Section, Stage},
    stats::{median, median_interval},
    svg::{Mark, Panel},
    table::Table,
};
use anyhow::{Context as _, Result};
use containerd_shim_protos::api;
use harness::{
    Ctr, EventLog, Handler, Host, eventually,
    faults::{self, Sandbox},
    wire::{TASK, request},
};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// Short, so that the runs are; what comes after it does not depend on it.
const DEADLINE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(60);
const HANDLER: &str = "ending";
/// The fewest that have an interval.
const ROUNDS: usize = 6;
/// Of a check, which fails only where the best of them is late.
const CHECK_ROUNDS: usize = 2;
/// So many wedged at once, and how often.
const CROWDS: [(usize, usize); 3] = [(5, 2), (20, 3), (50, 1)];

/// Ways to wedge a stand-alone container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wedge {
    /// The sentry is stopped.
    Stopped,
    /// The freezer holds it; SIGKILL waits.
    Frozen,
    /// Nothing but the guard moves.
    AllStopped,
    /// It acknowledges a Kill, and nothing exits: `Kernel.WaitExited`.
    Paused,
}

const WEDGES: [Wedge; 4] = [Wedge::Stopped, Wedge::Frozen, Wedge::AllStopped, Wedge::Paused];

impl fmt::Display for Wedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "sentry stopped",
            Self::Frozen => "frozen",
            Self::AllStopped => "all but the guard stopped",
            Self::Paused => "acknowledged, no exit",
        })
    }
}

impl Wedge {
    fn wedge(self, host: &Host, ctr: &Ctr, id: &str) -> Result<()> {
        let sandbox = || Sandbox::of(host, id);
        match self {
            Self::Stopped => sandbox()?.stop_sentry(),
            Self::Frozen => sandbox()?.freeze(),
            Self::AllStopped => sandbox()?.stop_all_but_guard(),
            Self::Paused => faults::pause(host, ctr, id),
        }
    }
}

/// One sandbox's end.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Seconds beyond the deadline.
    late: f64,
    /// What the guard had spent by then since it was asked.
    cpu: f64,
}

/// The ends of one kind.
struct Figure {
    wedge: Wedge,
    at_once: usize,
    /// Round by round.
    ends: Vec<Vec<End>>,
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let deadline = format!("\"{}ms\"", DEADLINE.as_millis());
    stage.host.add_handler(&Handler::guarded(HANDLER).guard("kill_deadline", &deadline))?;
    let events = EventLog::start(&stage.host.ctr())?;
    let rounds = if stage.options.check { CHECK_ROUNDS } else { ROUNDS };
    let single = WEDGES.map(|wedge| (wedge, 1, rounds));
    let crowds = CROWDS.map(|(at_once, rounds)| (Wedge::Stopped, at_once, rounds));
    let crowds = crowds.into_iter().filter(|_| !stage.options.check);
    let mut figures = Vec::new();
    for (wedge, at_once, rounds) in single.into_iter().chain(crowds) {
        stage.say(format_args!("ending: {wedge}, {at_once} at once"));
        let ends = (0..rounds)
            .map(|round| end(stage, &events, wedge, at_once, round))
            .collect::<Result<Vec<_>>>()
            .with_context(|| wedge.to_string())?;
        figures.push(Figure { wedge, at_once, ends });
    }
    Ok(Section {
        tables: vec![table(&figures)],
        panels: vec![panel(&figures)],
        json: json!(figures.iter().map(Figure::json).collect::<Vec<_>>()),
        findings: figures.iter().filter_map(|figure| figure.finding(stage.options.judge())).collect(),
        series: vec![series(&figures)],
    })
}

/// Wedges so many, kills them at once and waits for what containerd tells.
fn end(stage: &Stage<'_>, events: &EventLog, wedge: Wedge, at_once: usize, round: usize) -> Result<Vec<End>> {
    let (host, ctr) = (stage.host, stage.host.ctr());
    let handler = host.handler(HANDLER)?;
    let ids: Vec<String> =
        (0..at_once).map(|number| format!("end-{wedge:?}-{at_once}-{round}-{number}")).collect();
    let mut victims = Vec::new();
    for id in &ids {
        ctr.start(&handler, id, &["sleep", "100000"])?;
        wedge.wedge(host, &ctr, id)?;
        let guard = faults::guard(host, id).context("no guard")?;
        let kill = api::KillRequest { id: id.clone(), signal: 9, all: true, ..Default::default() };
        let asker = Asker::connect(&host.shim_socket(ctr.namespace(), id)?)?;
        victims.push((id, asker, request(0, TASK, "Kill", &kill)?, Cost::so_far(&guard)?, guard));
    }
    let mut asked = Vec::new();
    for (_, asker, kill, _, _) in &mut victims {
        asked.push(asker.send(kill)?.1);
    }
    let mut ends = Vec::new();
    for ((id, _, _, before, guard), asked) in victims.iter().zip(asked) {
        let exited = eventually(LIMIT, "TaskExit", || events.exited_at(id))?;
        let cpu = Cost::so_far(guard)?.since(*before, 1).cpu_seconds;
        ends.push(End { late: (exited - asked).as_secs_f64() - DEADLINE.as_secs_f64(), cpu });
    }
    drop(victims);
    ids.iter().try_for_each(|id| ctr.remove(id))?;
    Ok(ends)
}

impl Figure {
    fn all(&self) -> impl Iterator<Item = End> {
        self.ends.iter().flatten().copied()
    }

    /// Of each round, the last.
    fn last(&self) -> Vec<f64> {
        let last = |ends: &Vec<End>| ends.iter().map(|end| end.late).fold(f64::MIN, f64::max);
        self.ends.iter().map(last).collect()
    }

    /// A claim is for the worst of all rounds; an alarm takes the best of them.
    fn finding(&self, judge: Judge) -> Option<Finding> {
        let limit = budget::late(judge, self.at_once)?;
        let last = self.last().into_iter();
        let late = match judge {
            Judge::Claim => last.fold(f64::MIN, f64::max),
            Judge::Alarm => last.fold(f64::MAX, f64::min),
        };
        Some(Finding {
            what: format!("end: {}, {} at once", self.wedge, self.at_once),
            text: format!("deadline + {:.0} ms, at most + {:.0} ms", late * 1e3, limit * 1e3),
            held: late <= limit,
        })
    }

    fn json(&self) -> Value {
        json!({
            "wedge": self.wedge.to_string(), "at_once": self.at_once, "deadline_s": DEADLINE.as_secs_f64(),
            "late_s": self.ends.iter().map(|ends| ends.iter().map(|end| end.late).collect::<Vec<_>>())
                .collect::<Vec<_>>(),
            "guard_cpu_s": self.all().map(|end| end.cpu).collect::<Vec<_>>(),
        })
    }
}

/// From the request to the last exit of so many.
fn series(figures: &[Figure]) -> Series {
    let stopped = figures.iter().filter(|figure| figure.wedge == Wedge::Stopped);
    let point = |figure: &Figure| Some((figure.at_once as f64, median(&figure.last())? * 1e3));
    Series {
        what: "last exit beyond the deadline, ms".to_owned(),
        over: "wedged at once",
        side: Side::Guarded,
        points: stopped.filter_map(point).collect(),
    }
}

fn table(figures: &[Figure]) -> Table {
    let mut table =
        Table::new(["end, ms beyond the deadline", "at once", "rounds", "median", "last", "guard's CPU, ms"]);
    for figure in figures {
        let ms = |seconds: &[f64]| format!("{:.0}", median(seconds).unwrap_or_default() * 1e3);
        let [late, cpu] = [|end: End| end.late, |end: End| end.cpu]
            .map(|what| ms(&figure.all().map(what).collect::<Vec<_>>()));
        table.row([
            figure.wedge.to_string(),
            figure.at_once.to_string(),
            figure.ends.len().to_string(),
            late,
            ms(&figure.last()),
            cpu,
        ]);
    }
    table.notes.push(
        "from the SIGKILL's being asked for to containerd's TaskExit; last: median of the rounds".into(),
    );
    table
}

fn panel(figures: &[Figure]) -> Panel {
    let mark = |figure: &Figure| {
        let last = figure.last();
        let interval = median_interval(&last).map(|i| (i.lower * 1e3, i.upper * 1e3));
        let value = median(&last).unwrap_or_default() * 1e3;
        let label = match figure.at_once {
            1 => figure.wedge.to_string(),
            many => format!("{}, last of {many}", figure.wedge),
        };
        Mark { label, value, interval, text: format!("{value:.0} ms") }
    };
    Panel {
        title: "TaskExit beyond the deadline, ms".to_owned(),
        reference: None,
        marks: figures.iter().map(mark).collect(),
    }
}
