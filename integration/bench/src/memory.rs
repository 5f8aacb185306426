//! What shims weigh while their pods idle, and what they do meanwhile.
//!
//! PSS shares what several processes map of one binary among them, which is what a node pays; RSS is what most people
//! look at; USS would come back if only this process went. The sides are weighed one after the other, so that none shares
//! pages with another.
//!
//! containerd's CRI asks Stats once a second per container, so a pod is idle but for that. A stand-alone container is
//! asked nothing: there nobody must wake up.

mod idle;
pub(crate) mod weight;

use crate::{
    budget,
    growth::Series,
    nodes::Side,
    section::{Section, Stage},
    stats::{median, median_interval},
    svg::{Mark, Panel},
    table::Table,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use weight::{Shims, Size, Weight};

/// A single pod is weighed so often: its ratio has an interval.
const ROUNDS: usize = 6;

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let mut all = Vec::new();
    let (containers, pods): (&[usize], &[usize]) =
        if stage.options.check { (&[1], &[1]) } else { (&[1, 3, 10], &[1, 5, 10]) };
    for &containers in containers {
        for &pods in pods {
            // A node's pods are an average of their own.
            let rounds = if pods == 1 { ROUNDS.min(stage.options.pairs) } else { 1 };
            for round in 0..if stage.options.check { 1 } else { rounds } {
                for node in stage.order(round, |_| true) {
                    let side = node.side.name();
                    stage.say(format_args!("weighing {pods} pods of {containers}, {side}, round {round}"));
                    all.push(Shims::weigh(stage, node, Size { pods, containers, round })?);
                }
            }
        }
    }
    let idle = idle::measure(stage)?;
    let binary_bytes = std::fs::metadata(&stage.host.parts().guard)?.len();
    let binary_kib = binary_bytes as f64 / 1024.0;
    let single = all.iter().find(|shims| shims.side == Side::Guarded).context("no guard was weighed")?;
    let [rss, uss, binary] = budget::of_guard(stage.options.judge());
    let mut findings = vec![
        budget::size("guard's RSS", single.guards.rss as f64, rss),
        budget::size("guard's binary", binary_kib, binary),
    ];
    if !stage.options.check {
        // Where it shares its pages with others: alone, what it maps of its binary is its own, too.
        let crowd = guarded(&all).max_by_key(|shims| shims.of.pods).unwrap_or(single);
        findings.push(budget::size("guard's USS", crowd.guards.uss as f64 / crowd.of.pods as f64, uss));
    }
    findings.extend(pss_findings(&all, stage.options.judge()));
    findings.extend(idle.finding());
    let mut table = table(&all);
    table.notes.push(format!("guard's binary: {:.2} MiB", binary_kib / 1024.0));
    Ok(Section {
        tables: vec![table, idle.table()],
        panels: vec![panel(&all)],
        json: json!({
            "shims": all.iter().map(Shims::json).collect::<Vec<_>>(),
            "idle": idle.json(),
            "guard_binary_bytes": binary_bytes,
        }),
        findings,
        series: series(&all),
    })
}

/// Those of `side` on as many pods of as many containers as `shims`, in the same round.
fn beside<'a>(all: &'a [Shims], shims: &Shims, side: Side) -> Option<&'a Shims> {
    all.iter().find(|other| other.side == side && other.of == shims.of)
}

/// Of every size once.
fn guarded(all: &[Shims]) -> impl Iterator<Item = &Shims> {
    all.iter().filter(|shims| shims.side == Side::Guarded && shims.of.round == 0)
}

/// Shims' PSS, guarded over `side`, round by round.
fn ratios(all: &[Shims], shims: &Shims, side: Side) -> Vec<f64> {
    let of_size = all.iter().filter(|other| other.side == Side::Guarded && other.of.same_size(shims.of));
    let ratio = |guarded: &Shims| {
        let other = beside(all, guarded, side)?;
        Some(guarded.per_pod(|weight| weight.pss) / other.per_pod(|weight| weight.pss))
    };
    of_size.filter_map(ratio).collect()
}

fn pss_findings(all: &[Shims], judge: budget::Judge) -> Vec<budget::Finding> {
    let finding = |shims: &Shims| {
        let limit = budget::pss(judge, shims.of.pods, shims.of.containers)?;
        let ratios = ratios(all, shims, Side::Unguarded);
        let what = format!("shims' PSS, {}", shims.name());
        let interval = median_interval(&ratios);
        if interval.is_some() {
            return Some(judge.ratio(&what, interval, limit));
        }
        let ratio = median(&ratios)?;
        let text = format!("{ratio:.3}, at most {limit:.2}");
        Some(budget::Finding { what, text, held: ratio <= limit })
    };
    guarded(all).filter_map(finding).collect()
}

/// Over pods of one container, and over the containers of one pod.
fn series(all: &[Shims]) -> Vec<Series> {
    let one = |side, over, chosen: fn(&Shims) -> bool, size: fn(&Shims) -> usize| {
        let of_side = all.iter().filter(|shims| shims.side == side && shims.of.round == 0 && chosen(shims));
        let point = |shims: &Shims| {
            let kib = shims.per_pod(|weight| weight.pss) * shims.of.pods as f64;
            (size(shims) as f64, kib / 1024.0)
        };
        Series { what: "shims' PSS, MiB".to_owned(), over, side, points: of_side.map(point).collect() }
    };
    let both = |side| {
        [
            one(side, "pods", |shims| shims.of.containers == 1, |shims| shims.of.pods),
            one(side, "containers", |shims| shims.of.pods == 1, |shims| shims.of.containers),
        ]
    };
    Side::ALL.into_iter().flat_map(both).collect()
}

fn table(all: &[Shims]) -> Table {
    let mut table = Table::new([
        "shims, MiB per pod",
        "unguarded PSS",
        "grouped PSS",
        "guarded PSS",
        "ratio",
        "over grouped",
        "guard PSS",
        "USS",
        "RSS",
        "threads",
        "fds",
        "real shim's",
        "fds",
    ]);
    for shims in guarded(all) {
        let pss = |side| beside(all, shims, side).map(|shims| shims.per_pod(|weight| weight.pss));
        let of_guard = |what: fn(Weight) -> u64| mib(what(shims.guards) as f64 / shims.of.pods as f64);
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), mib);
        let over = |side| {
            median(&ratios(all, shims, side)).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
        };
        let each = |count: u64| format!("{:.1}", count as f64 / shims.of.pods as f64);
        table.row([
            shims.name(),
            show(pss(Side::Unguarded)),
            show(pss(Side::Grouped)),
            show(pss(Side::Guarded)),
            over(Side::Unguarded),
            over(Side::Grouped),
            of_guard(|weight| weight.pss),
            of_guard(|weight| weight.uss),
            of_guard(|weight| weight.rss),
            each(shims.guards.threads),
            each(shims.guards.fds),
            each(shims.real_shims.threads),
            each(shims.real_shims.fds),
        ]);
    }
    table
}

fn mib(kib: f64) -> String {
    format!("{:.2}", kib / 1024.0)
}

fn panel(all: &[Shims]) -> Panel {
    let mark = |shims: &Shims| {
        let pss = |side| beside(all, shims, side).map(|shims| shims.per_pod(|weight| weight.pss) / 1024.0);
        Some(Mark {
            label: shims.name(),
            value: median(&ratios(all, shims, Side::Unguarded))?,
            interval: median_interval(&ratios(all, shims, Side::Unguarded)).map(|i| (i.lower, i.upper)),
            text: format!("{:.1} MiB, unguarded {:.1} MiB", pss(Side::Guarded)?, pss(Side::Unguarded)?),
        })
    };
    Panel {
        title: "shims' PSS per pod: guarded over unguarded".to_owned(),
        reference: Some(1.0),
        marks: guarded(all).filter_map(mark).collect(),
    }
}
