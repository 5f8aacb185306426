//! What the guard adds to one request.
//!
//! *Bare*: the same server, which answers at once, asked directly, through a relay that only copies bytes, and through
//! the guard, in turn. CloseIO stands for what the guard forwards, Connect for what it answers itself. *Real*: two
//! sandboxes, each asked where containerd would ask: gVisor's shim for the one, the guard for the other.
//!
//! The loop is closed: the next question waits for an answer. A stall is therefore counted once, and not for all the
//! callers that it would have kept waiting; the 99th percentile is that of an answer, not of a caller who comes at a
//! time of his own (coordinated omission).

mod affinity;
mod bare;
pub(crate) mod client;
pub(crate) mod cost;
mod effort;
mod exec;
mod figure;
mod real;
pub(crate) mod stand_in;

use crate::{
    budget::{self, Finding, Judge},
    section::{Section, Stage},
    svg::{Mark, Panel},
    table::Table,
};
use anyhow::Result;
use effort::Effort;
use figure::Figure;
use serde_json::json;

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let effort = Effort::of(stage.options.check);
    let mut figures = bare::measure(stage, &effort)?;
    if !stage.options.check {
        figures.extend(real::measure(stage, &effort)?);
    }
    Ok(Section {
        tables: vec![table(&figures)],
        panels: vec![panel(&figures)],
        json: json!(figures.iter().map(Figure::json).collect::<Vec<_>>()),
        findings: judge(&figures, stage.options.judge()),
        ..Section::default()
    })
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new([
        "latency, in us",
        "at once",
        "direct p50",
        "p99",
        "through p50",
        "p99",
        "added p50",
        "95 %",
        "added p99",
        "CPU",
        "switches",
    ]);
    for figure in figures {
        let [direct, through] =
            [&figure.direct, &figure.through].map(|way| [0.5, 0.99].map(|q| us(way.pooled(q))));
        let added = figure.added(0.5);
        let interval =
            added.interval.map_or_else(String::new, |(low, high)| format!("{} to {}", us(low), us(high)));
        let [direct_p50, direct_p99] = direct;
        let [through_p50, through_p99] = through;
        let (cpu, switches) = figure
            .cost
            .map_or_else(Default::default, |cost| (us(cost.cpu_seconds), format!("{:.1}", cost.switches)));
        table.row([
            format!("{}: {}", figure.server, figure.what),
            figure.in_flight.to_string(),
            direct_p50,
            direct_p99,
            through_p50,
            through_p99,
            us(added.value),
            interval,
            us(figure.added(0.99).value),
            cpu,
            switches,
        ]);
    }
    table.notes.push("CPU and voluntary context switches: the guard's, per request. Closed loop.".to_owned());
    table
}

/// Microseconds, as precise as they deserve.
fn us(seconds: f64) -> String {
    let us = seconds * 1e6;
    if us.abs() < 10.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

fn panel(figures: &[Figure]) -> Panel {
    let shown = |figure: &&Figure| figure.server != real::SERVER && figure.in_flight == 1;
    Panel {
        title: "Added to one request, µs".to_owned(),
        reference: None,
        marks: figures
            .iter()
            .filter(shown)
            .map(|figure| {
                let added = figure.added(0.5);
                Mark {
                    label: format!("{}: {}", figure.server, figure.what),
                    value: added.value * 1e6,
                    interval: added.interval.map(|(low, high)| (low * 1e6, high * 1e6)),
                    text: format!("{} (p99 {})", us(added.value), us(figure.added(0.99).value)),
                }
            })
            .collect(),
    }
}

/// In short the machine's speed and the scheduler's choices are taken out: on one core, a request through the guard is held
/// against one through a relay. A claim is for what the guard adds, and with 50 in flight for its ratio to a relay.
fn judge(figures: &[Figure], judge: Judge) -> Vec<Finding> {
    let find = |server: &str, what: &str, at_once: usize| {
        figures
            .iter()
            .find(|figure| figure.server == server && figure.what == what && figure.in_flight == at_once)
    };
    let over_relayed = |server, [what, relayed]: [&str; 2], at_once, limit| {
        let (guard, relay) = (find(server, what, at_once)?, find(server, relayed, at_once)?);
        let name = format!("{server}: {what}, over relayed, {at_once} at once");
        Some(judge.ratio(&name, guard.over(relay), limit))
    };
    let bare = [bare::FORWARDED, bare::RELAYED];
    if judge == Judge::Alarm {
        let limit = budget::FORWARDED_OVER_RELAYED;
        return over_relayed(bare::ONE_CORE, bare, 1, limit).into_iter().collect();
    }
    let added = |server, what, q, limit| find(server, what, 1).map(|figure| added(figure, q, limit));
    let crowd = budget::CROWD_OVER_RELAYED;
    [
        added(bare::SERVER, bare::FORWARDED, 0.5, budget::ADDED_P50),
        added(bare::SERVER, bare::FORWARDED, 0.99, budget::ADDED_P99),
        added(real::SERVER, real::FORWARDED, 0.5, budget::ADDED_REAL),
        added(real::SERVER, real::EXEC, 0.5, budget::ADDED_EXEC),
        added(real::SERVER, real::EXIT, 0.5, budget::ADDED_EXIT),
        over_relayed(bare::SERVER, bare, effort::CROWD, crowd),
        over_relayed(real::SERVER, [real::FORWARDED, real::RELAYED], effort::CROWD, crowd),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn added(figure: &Figure, q: f64, limit: f64) -> Finding {
    let added = figure.added(q);
    let end = added.interval.map_or(added.value, |(_, high)| high);
    Finding {
        what: format!("{}: {}, added, p{:.0}", figure.server, figure.what, q * 100.0),
        text: format!("{} us, upper end {}, at most {}", us(added.value), us(end), us(limit)),
        held: end <= limit,
    }
}
