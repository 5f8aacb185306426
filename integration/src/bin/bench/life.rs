//! A sandbox's life, timed from outside: as a kubelet (a pod with one container) and as `ctr` (a stand-alone
//! container). Both sides share one containerd, so that each pair differs in nothing but the handler.

use crate::{
    budget,
    section::{Section, Stage, Table},
    stats::{self, median, median_interval},
    svg::{Mark, Panel},
};
use anyhow::{Context as _, Result};
use integration::{Cri, Ctr, Handler, Host, Parts};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What is timed, in the order in which it happens. The stand-alone figures hold `ctr` itself, a process per
/// call, which is the same on both sides and so draws their ratio towards 1.
const STEPS: [&str; 8] = [
    "pod start",
    "pod exec",
    "pod stop",
    "pod remove",
    "container start",
    "container exec",
    "container stop",
    "pod whole life",
];

/// The steps that have a budget.
const BUDGETED: [&str; 3] = ["pod start", "pod exec", "pod stop"];

/// How long a step may take before the machine, not the shim, is the finding.
const LIMIT: Duration = Duration::from_secs(60);

/// The intervals of what has a budget are looked at after every so many pairs: seldom enough that stopping at the first
/// narrow one does not favour luck.
const BATCH: usize = 10;
/// Half the width of an interval that is narrow enough, as a share of its median.
const NARROW: f64 = 0.02;

/// With or without the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Unguarded,
    Guarded,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Unguarded, Self::Guarded];

    /// Also the handler's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::Guarded => "guarded",
        }
    }
}

/// A containerd with a handler for each side, and the folder with its own copies of the shims, which must live as
/// long: pages of a file that other containerds on this machine run, too, would make a PSS look small.
pub(crate) fn host() -> Result<(Host, TempDir)> {
    let mut parts = Parts::pinned()?;
    let folder = tempfile::tempdir()?;
    for (part, name) in [
        (&mut parts.unguarded_shim, "unguarded/containerd-shim-runsc-v1"),
        (&mut parts.real_shim, "guarded/containerd-shim-runsc-v1"),
        (&mut parts.guard, "guarded/containerd-shim-runsc-guard-v2"),
    ] {
        let copy = folder.path().join(name);
        std::fs::create_dir_all(copy.with_file_name(""))?;
        std::fs::copy(&*part, &copy).with_context(|| format!("cannot copy {}", part.display()))?;
        *part = copy;
    }
    let host = Host::builder()
        .parts(parts)
        .handler(Handler::unguarded(Side::Unguarded.name()))
        .handler(Handler::guarded(Side::Guarded.name()))
        .start()?;
    Ok((host, folder))
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    // The first of each kind finds cold caches, which is not the handler's doing.
    Pairs::default().add(stage.host, stage.cri).context("warming up")?;
    let mut pairs = Pairs::default();
    while pairs.len() < stage.options.pairs {
        let batch = BATCH.min(stage.options.pairs - pairs.len());
        for _ in 0..batch {
            pairs.add(stage.host, stage.cri)?;
        }
        stage.say(format_args!("{} pairs: {}", pairs.len(), pairs.so_far()));
        let narrow = |step: &&str| {
            stats::median_interval(&pairs.ratios(step)).is_some_and(|interval| interval.within(NARROW))
        };
        if BUDGETED.iter().all(narrow) {
            break;
        }
    }
    let judge = stage.options.judge();
    let finding = |step: &&str| judge.ratio(step, median_interval(&pairs.ratios(step)), budget::RATIO);
    Ok(Section {
        tables: vec![pairs.table()],
        panels: vec![pairs.panel()],
        json: pairs.json(),
        findings: BUDGETED.iter().map(finding).collect(),
    })
}

/// Seconds by step.
type Times = BTreeMap<&'static str, f64>;

/// The pairs so far.
#[derive(Default)]
struct Pairs {
    unguarded: Vec<Times>,
    guarded: Vec<Times>,
}

impl Pairs {
    /// Runs one more pair; who begins alternates, so that neither side always finds what the other has warmed.
    fn add(&mut self, host: &Host, cri: &Cri) -> Result<()> {
        let number = self.len();
        let [first, second] = if number.is_multiple_of(2) {
            [Side::Unguarded, Side::Guarded]
        } else {
            [Side::Guarded, Side::Unguarded]
        };
        for side in [first, second] {
            let times =
                live(host, cri, side, number).with_context(|| format!("{} pair {number}", side.name()))?;
            match side {
                Side::Unguarded => self.unguarded.push(times),
                Side::Guarded => self.guarded.push(times),
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.unguarded.len().min(self.guarded.len())
    }

    /// The seconds that `step` took on `side`.
    fn seconds(&self, side: Side, step: &str) -> Vec<f64> {
        let all = match side {
            Side::Unguarded => &self.unguarded,
            Side::Guarded => &self.guarded,
        };
        all.iter().filter_map(|times| times.get(step).copied()).collect()
    }

    /// Guarded to unguarded, pair by pair.
    fn ratios(&self, step: &str) -> Vec<f64> {
        self.seconds(Side::Guarded, step)
            .iter()
            .zip(self.seconds(Side::Unguarded, step))
            .map(|(guarded, unguarded)| guarded / unguarded)
            .collect()
    }

    fn so_far(&self) -> String {
        let step = |step: &&str| match median_interval(&self.ratios(step)) {
            Some(i) => format!("{step} {:.3} ({:.3} to {:.3})", i.median, i.lower, i.upper),
            None => format!("{step} ?"),
        };
        BUDGETED.iter().map(step).collect::<Vec<_>>().join(", ")
    }

    fn table(&self) -> Table {
        let head = format!("life, {} pairs", self.len());
        let mut table = Table::new([head.as_str(), "unguarded", "guarded", "ratio", "95 %"]);
        for step in STEPS {
            let ms = |side| format!("{:.1} ms", median(&self.seconds(side, step)).unwrap_or_default() * 1e3);
            let ratios = self.ratios(step);
            let interval = median_interval(&ratios)
                .map_or_else(|| "too few pairs".to_owned(), |i| format!("{:.3} to {:.3}", i.lower, i.upper));
            let ratio = format!("{:.3}", median(&ratios).unwrap_or_default());
            table.row([step.to_owned(), ms(Side::Unguarded), ms(Side::Guarded), ratio, interval]);
        }
        table
    }

    fn panel(&self) -> Panel {
        let mark = |step: &str| {
            let ratios = self.ratios(step);
            let ms = |side| median(&self.seconds(side, step)).unwrap_or_default() * 1e3;
            Some(Mark {
                label: step.to_owned(),
                value: median(&ratios)?,
                interval: median_interval(&ratios).map(|i| (i.lower, i.upper)),
                text: format!("{:.0} ms, unguarded {:.0} ms", ms(Side::Guarded), ms(Side::Unguarded)),
            })
        };
        Panel {
            title: "Guarded over unguarded".to_owned(),
            reference: Some(1.0),
            marks: STEPS.into_iter().filter_map(mark).collect(),
        }
    }

    /// Each pair's seconds included.
    fn json(&self) -> Value {
        let steps = STEPS.map(|step| {
            let ratios = self.ratios(step);
            let interval = median_interval(&ratios).map(|i| json!([i.lower, i.upper]));
            let sides = Side::BOTH.map(|side| {
                let seconds = self.seconds(side, step);
                (side.name().to_owned(), json!({ "median_s": median(&seconds), "all_s": seconds }))
            });
            let mut of_step = Map::from_iter(sides);
            of_step.insert("ratio".to_owned(), json!({ "median": median(&ratios), "interval_95": interval }));
            (step.to_owned(), Value::Object(of_step))
        });
        json!({
            "pairs": self.len(),
            "method": "median of the pairs' ratios, binomial interval of order statistics",
            "steps": Map::from_iter(steps),
        })
    }
}

fn live(host: &Host, cri: &Cri, side: Side, number: usize) -> Result<Times> {
    let mut times = Times::new();
    pod(cri, side, number, &mut times).context("pod")?;
    container(host, &host.ctr(), side, number, &mut times).context("container")?;
    let whole =
        ["pod start", "pod exec", "pod stop", "pod remove"].iter().filter_map(|step| times.get(step)).sum();
    times.insert("pod whole life", whole);
    Ok(times)
}

fn pod(cri: &Cri, side: Side, number: usize, times: &mut Times) -> Result<()> {
    let (pod, container) = timed(times, "pod start", || {
        let pod = cri.run_pod(side.name(), &format!("{}-{number}", side.name()))?;
        let container = cri.run_container(&pod, "main", &["sleep", "100000"])?;
        Ok((pod, container))
    })?;
    timed(times, "pod exec", || Ok(cri.exec(&container, &["true"], LIMIT)?))?;
    timed(times, "pod stop", || Ok(cri.stop_pod(&pod, LIMIT)?))?;
    timed(times, "pod remove", || cri.remove_pod(&pod, LIMIT))
}

fn container(host: &Host, ctr: &Ctr, side: Side, number: usize, times: &mut Times) -> Result<()> {
    let id = format!("{}-{number}", side.name());
    let handler = host.handler(side.name())?;
    timed(times, "container start", || ctr.start(host, &handler, &id, &["sleep", "100000"]))?;
    timed(times, "container exec", || ctr.exec(&id, "x", &["true"], b"", LIMIT)?.ok())?;
    timed(times, "container stop", || ctr.force_delete_task(&id, LIMIT)?.ok())?;
    ctr.delete_container(&id)
}

fn timed<T>(times: &mut Times, step: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let done = work().context(step)?;
    times.insert(step, began.elapsed().as_secs_f64());
    Ok(done)
}
