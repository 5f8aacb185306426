//! Stopped sandboxes that are asked forever, guarded and unguarded side by side: State and Stats in turn, some by a caller
//! with containerd's own timeout, some by one without any, and some by nobody, to tell what time does by itself. What must
//! stay flat is the memory of both shims.

use crate::{
    budget::{self, Finding},
    growth::Series,
    nodes::{Node, Side},
    section::{Section, Stage},
    table::Table,
};
use anyhow::{Context as _, Result, anyhow};
use containerd_shim_protos::api;
use harness::{
    Figures, eventually,
    faults::Sandbox,
    process::Process,
    wire::{Wire, timed},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Who asks, and with which timeout: as containerd does, forever (0 on the wire), nobody.
const CALLERS: [(&str, Option<Duration>); 3] =
    [("2 s", Some(Duration::from_secs(2))), ("no timeout", Some(Duration::ZERO)), ("not asked", None)];
/// Requests a second on each side: CRI asks one or two.
const RATE: u32 = 200;
/// How long containerd may take to find out that a shim is gone.
const END: Duration = Duration::from_secs(60);
/// After so many all that is used has been used once.
const WARM: usize = 1000;

/// What a process took up after so many requests.
#[derive(Clone, Copy, Debug)]
struct Look {
    requests: usize,
    figures: Figures,
}

/// One program of one side.
struct Curve {
    side: Side,
    callers: &'static str,
    asked: bool,
    program: &'static str,
    looks: Vec<Look>,
}

fn rss(figures: &Figures) -> u64 {
    figures.rss_kib
}

fn own(figures: &Figures) -> u64 {
    figures.own_kib
}

impl Curve {
    /// How this has grown after it was warm, as a share.
    fn growth(&self, of: fn(&Figures) -> u64) -> Option<f64> {
        let at = |look: &Look| of(&look.figures) as f64;
        let warm = self.looks.iter().find(|look| look.requests >= WARM)?;
        Some(at(self.looks.last()?) / at(warm) - 1.0)
    }

    fn name(&self) -> String {
        format!("{} {}, {}", self.side.name(), self.program, self.callers)
    }

    fn series(&self) -> Series {
        let point = |look: &Look| (look.requests as f64, look.figures.rss_kib as f64 / 1024.0);
        Series {
            what: format!("{}'s RSS, MiB, {}", self.program, self.callers),
            over: "requests",
            side: self.side,
            points: self.looks.iter().filter(|look| look.requests >= WARM).map(point).collect(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "side": self.side.name(), "callers": self.callers, "program": self.program,
            "growth": self.growth(rss), "own_growth": self.growth(own),
            "looks": self.looks.iter().map(|look| json!({
                "requests": look.requests, "rss_kib": look.figures.rss_kib, "own_kib": look.figures.own_kib,
                "threads": look.figures.threads, "fds": look.figures.fds,
            })).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let both: Vec<&Node<'_>> = stage.nodes.iter().filter(|node| node.side != Side::Grouped).collect();
    let minutes = stage.options.requests as f64 / f64::from(RATE) / 60.0;
    stage.say(format_args!("soak: {} requests on both sides, {minutes:.1} minutes", stage.options.requests));
    let curves = thread::scope(|scope| -> Result<Vec<Curve>> {
        let each = both.iter().flat_map(|node| CALLERS.map(|callers| (node, callers)));
        let sides: Vec<_> =
            each.map(|(node, callers)| scope.spawn(move || ask(stage, node, callers))).collect();
        let curves = sides.into_iter().map(|side| side.join().map_err(|_| anyhow!("a side panicked"))?);
        Ok(curves.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })?;
    Ok(Section {
        tables: vec![table(&curves)],
        json: json!(curves.iter().map(Curve::json).collect::<Vec<_>>()),
        findings: curves.iter().filter_map(finding).collect(),
        series: curves.iter().map(Curve::series).collect(),
        ..Section::default()
    })
}

/// After which numbers of requests to look: 1, 2 and 5 times the powers of ten, and at the end.
fn looks(requests: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(100_usize), |power| power.checked_mul(10));
    let mut looks: Vec<usize> =
        powers.flat_map(|power| [power, 2 * power, 5 * power]).take_while(|look| *look < requests).collect();
    looks.push(requests);
    looks
}

fn ask(
    stage: &Stage<'_>,
    node: &Node<'_>,
    (callers, timeout): (&'static str, Option<Duration>),
) -> Result<Vec<Curve>> {
    let (host, ctr) = (node.host, node.host.ctr());
    let id = format!("soak-{}-{}", node.side.name(), callers.replace(' ', "-"));
    ctr.start(&host.handler(node.side.name())?, &id, &["sleep", "100000"])?;
    let sandbox = Sandbox::of(host, &id)?;
    sandbox.stop_sentry()?;
    let mut sender = Wire::connect(host, ctr.namespace(), &id)?;
    let mut receiver = Wire { stream: sender.stream.try_clone()? };
    // An unguarded State may never be answered at all.
    receiver.stream.set_read_timeout(None)?;
    let answers = thread::spawn(move || while receiver.reply().is_ok() {});
    let mut programs: Vec<(&'static str, Process)> = vec![("real shim", sandbox.real_shim.clone())];
    programs.extend(sandbox.guard.clone().map(|guard| ("guard", guard)));
    let mut curves: Vec<Curve> = programs
        .iter()
        .map(|(program, _)| Curve {
            side: node.side,
            callers,
            asked: timeout.is_some(),
            program,
            looks: Vec::new(),
        })
        .collect();
    let state = api::StateRequest { id: id.clone(), ..Default::default() };
    let stats = api::StatsRequest { id: id.clone(), ..Default::default() };
    let mut due = looks(stage.options.requests).into_iter().peekable();
    let began = Instant::now();
    for number in 0..stage.options.requests {
        let at = began + Duration::from_secs_f64(number as f64 / f64::from(RATE));
        stage.interrupt.pause(at.saturating_duration_since(Instant::now()))?;
        let stream = u32::try_from(number)? * 2 + 1;
        if let Some(timeout) = timeout {
            let frame = match number % 2 {
                0 => timed(stream, "State", &state, timeout)?,
                _ => timed(stream, "Stats", &stats, timeout)?,
            };
            sender.send(&frame)?;
        }
        let requests = number + 1;
        if due.next_if_eq(&requests).is_some() {
            for (curve, (_, process)) in curves.iter_mut().zip(&programs) {
                curve.looks.push(Look { requests, figures: Figures::of(process)? });
            }
        }
    }
    sender.stream.shutdown(std::net::Shutdown::Both)?;
    answers.join().map_err(|_| anyhow!("the receiver panicked"))?;
    if sandbox.guard.is_some() {
        ctr.remove(&id).with_context(|| format!("{id} after the soak"))?;
        return Ok(curves);
    }
    // The unguarded one would stay forever, and so would its shim, which has not answered yet.
    sandbox.sentry.signal(Signal::KILL)?;
    sandbox.real_shim.signal(Signal::KILL)?;
    // containerd may have found out by itself that the task is gone.
    let removed = || {
        let _ = ctr.force_delete_task(&id, END);
        ctr.delete_container(&id).ok()
    };
    eventually(END, &format!("{id} is removed after the soak"), removed)?;
    Ok(curves)
}

/// Of the guarded that are asked: by the others these can be judged.
fn finding(curve: &Curve) -> Option<Finding> {
    let judged = curve.side == Side::Guarded && curve.asked;
    let growth = curve.growth(rss).filter(|_| judged)?;
    Some(Finding {
        what: format!("soak: {}", curve.name()),
        text: format!("{:+.1} %, at most {:.0} %", growth * 1e2, budget::SOAK * 1e2),
        held: growth <= budget::SOAK,
    })
}

fn table(curves: &[Curve]) -> Table {
    let looks = curves.first().map(|curve| curve.looks.iter()).into_iter().flatten();
    let mut table = Table::new(["soak: RSS in MiB after so many requests"]);
    table.head.extend(looks.map(|look| look.requests.to_string()));
    table.head.extend([format!("since {WARM}"), "of its own".to_owned()]);
    for curve in curves {
        let rss = curve.looks.iter().map(|look| format!("{:.2}", look.figures.rss_kib as f64 / 1024.0));
        let growth = [self::rss, own]
            .map(|of| curve.growth(of).map_or_else(String::new, |growth| format!("{:+.1} %", growth * 1e2)));
        table.row(std::iter::once(curve.name()).chain(rss).chain(growth));
    }
    table
        .notes
        .push("of its own: without its program's file, whose pages come when they are used first".into());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_evenly_spread_over_the_powers_and_end_at_the_end() {
        assert_eq!(looks(3000), [100, 200, 500, 1000, 2000, 3000]);
        assert_eq!(looks(100), [100]);
    }

    #[test]
    fn growth_counts_from_when_it_was_warm() {
        let look =
            |(requests, rss_kib)| Look { requests, figures: Figures { rss_kib, ..Figures::default() } };
        let looks = [(100, 500), (1000, 1000), (5000, 1100)].map(look).into();
        let growth =
            Curve { side: Side::Guarded, callers: "2 s", asked: true, program: "guard", looks }.growth(rss);
        assert!(growth.is_some_and(|growth| (growth - 0.1).abs() < 1e-9));
    }
}
