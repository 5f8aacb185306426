//! The same figures for a person and for a program.

use crate::{
    Measured,
    budget::Finding,
    life::{STEPS, Side},
    memory::{Shims, Weight},
    stats::{median, median_interval},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Aligned columns. (Writing to a String cannot fail.)
pub(crate) fn table(measured: &Measured, findings: &[Finding]) -> String {
    let mut text = String::new();
    life(&mut text, measured);
    weights(&mut text, measured);
    let _ = writeln!(text, "\n{:<24}", "budgets");
    for finding in findings {
        let verdict = if finding.held { "held" } else { "NOT HELD" };
        let _ = writeln!(text, "{:<24}{:<36}{verdict}", finding.what, finding.text);
    }
    text
}

fn life(text: &mut String, measured: &Measured) {
    let head = format!("life, {} pairs", measured.pairs.len());
    let _ = writeln!(text, "{head:<20}{:>12}{:>12}{:>9}   95 % interval", "unguarded", "guarded", "ratio");
    for step in STEPS {
        let ms = |side| median(&measured.pairs.seconds(side, step)).unwrap_or_default() * 1e3;
        let (unguarded, guarded) = (ms(Side::Unguarded), ms(Side::Guarded));
        let _ = write!(text, "{step:<20}{unguarded:>9.1} ms{guarded:>9.1} ms");
        let ratios = measured.pairs.ratios(step);
        let _ = match median_interval(&ratios) {
            Some(i) => writeln!(text, "{:>9.3}   {:.3} to {:.3}", i.median, i.lower, i.upper),
            None => writeln!(text, "{:>9.3}   too few pairs", median(&ratios).unwrap_or_default()),
        };
    }
}

fn weights(text: &mut String, measured: &Measured) {
    let _ = writeln!(
        text,
        "\n{:<20}{:>12}{:>12}{:>9}   of which guard",
        "shims, per pod", "unguarded", "guarded", "ratio"
    );
    for (name, what) in WEIGHTS {
        for (unguarded, guarded) in sides(&measured.shims) {
            let mib = |shims: &Shims| shims.per_pod(what) / 1024.0;
            let row = format!("{name}, {}", pods(guarded.pods));
            let _ = writeln!(
                text,
                "{row:<20}{:>8.2} MiB{:>8.2} MiB{:>9.3}   {:.2} MiB",
                mib(unguarded),
                mib(guarded),
                mib(guarded) / mib(unguarded),
                what(guarded.guards) as f64 / guarded.pods as f64 / 1024.0
            );
        }
    }
    let idle = &measured.idle;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let _ = writeln!(
        text,
        "\nguard beside a running pod: RSS {:.2} MiB, PSS {:.2}, USS {:.2}, {} threads, {} fds; binary {:.2} MiB",
        mib(idle.weight.rss),
        mib(idle.weight.pss),
        mib(idle.weight.uss),
        idle.threads,
        idle.fds,
        mib(measured.binary_bytes) / 1024.0
    );
}

/// A column of [`Weight`].
type Column = (&'static str, fn(Weight) -> u64);

const WEIGHTS: [Column; 2] = [("PSS", |weight| weight.pss), ("RSS", |weight| weight.rss)];

fn pods(number: usize) -> String {
    if number == 1 { "1 pod".to_owned() } else { format!("{number} pods") }
}

/// Unguarded and guarded of the same number of pods.
fn sides(shims: &[Shims]) -> impl Iterator<Item = (&Shims, &Shims)> {
    let of = |side| shims.iter().filter(move |shims| shims.side == side);
    of(Side::Unguarded).zip(of(Side::Guarded))
}

/// Everything, each pair's seconds included.
pub(crate) fn json(measured: &Measured, findings: &[Finding]) -> Value {
    let steps = STEPS.map(|step| {
        let ratios = measured.pairs.ratios(step);
        let interval = median_interval(&ratios).map(|i| json!([i.lower, i.upper]));
        let sides = Side::BOTH.map(|side| {
            let seconds = measured.pairs.seconds(side, step);
            (side.name().to_owned(), json!({ "median_s": median(&seconds), "all_s": seconds }))
        });
        let mut of_step = serde_json::Map::from_iter(sides);
        of_step.insert("ratio".to_owned(), json!({ "median": median(&ratios), "interval_95": interval }));
        (step.to_owned(), Value::Object(of_step))
    });
    let weight =
        |weight: Weight| json!({ "rss_kib": weight.rss, "pss_kib": weight.pss, "uss_kib": weight.uss });
    json!({
        "pairs": measured.pairs.len(),
        "took_s": measured.seconds,
        "method": "median of the pairs' ratios, binomial interval of order statistics",
        "life": serde_json::Map::from_iter(steps),
        "shims": measured.shims.iter().map(|shims| json!({
            "side": shims.side.name(),
            "pods": shims.pods,
            "guards": weight(shims.guards),
            "real_shims": weight(shims.real_shims),
        })).collect::<Vec<_>>(),
        "guard": {
            "weight": weight(measured.idle.weight),
            "threads": measured.idle.threads,
            "fds": measured.idle.fds,
            "binary_bytes": measured.binary_bytes,
        },
        "budgets": findings.iter().map(|finding| json!({
            "what": finding.what, "figure": finding.text, "held": finding.held,
        })).collect::<Vec<_>>(),
    })
}
