//! What was timed on each side, round by round, and how the guarded side compares.

use crate::{
    growth::Series,
    nodes::{Node, Side},
    section::Stage,
    stats::{Interval, median, median_interval, quantile},
    subject::Times,
    svg::{Mark, Panel},
    table::Table,
};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The order in which steps are shown.
const STEPS: [&str; 5] = ["start", "exec", "stop", "remove", "whole life"];

/// So many rounds have all three sides; with grouping nothing has a budget, and what has may need ten times as many.
const GROUPED: usize = 20;

/// Round by round, what each side took.
#[derive(Default)]
pub(crate) struct Rounds(Vec<BTreeMap<Side, Times>>);

impl Rounds {
    /// One more round.
    pub(crate) fn add(
        &mut self,
        stage: &Stage<'_>,
        mut live: impl FnMut(&Node<'_>) -> Result<Times>,
    ) -> Result<()> {
        let number = self.0.len();
        let mut round = BTreeMap::new();
        for node in stage.order(number, |side| side != Side::Grouped || number < GROUPED) {
            let times = live(node).with_context(|| format!("{}, round {number}", node.side.name()))?;
            round.insert(node.side, times);
        }
        self.0.push(round);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The seconds that `step` took on `side`.
    fn seconds(&self, side: Side, step: &str) -> Vec<f64> {
        self.0.iter().filter_map(|round| round.get(&side)?.get(step).copied()).collect()
    }

    /// Guarded over `side`, round by round.
    fn ratios(&self, side: Side, step: &str) -> Vec<f64> {
        let ratio = |round: &BTreeMap<Side, Times>| {
            Some(round.get(&Side::Guarded)?.get(step)? / round.get(&side)?.get(step)?)
        };
        self.0.iter().filter_map(ratio).collect()
    }

    /// Guarded over unguarded.
    pub(crate) fn ratio(&self, step: &str) -> Option<Interval> {
        median_interval(&self.ratios(Side::Unguarded, step))
    }

    /// For a line of progress.
    pub(crate) fn so_far(&self, budgets: &[(&'static str, f64)]) -> String {
        let step = |(step, _): &(&str, f64)| match self.ratio(step) {
            Some(i) => format!("{step} {:.3} ({:.3} to {:.3})", i.median, i.lower, i.upper),
            None => format!("{step} ?"),
        };
        budgets.iter().map(step).collect::<Vec<_>>().join(", ")
    }

    /// The steps that were timed on both sides.
    fn steps(&self) -> impl Iterator<Item = &'static str> {
        STEPS.into_iter().filter(|step| !self.ratios(Side::Unguarded, step).is_empty())
    }

    pub(crate) fn table(&self, name: &str) -> Table {
        let mut table = Table::new([
            format!("{name}, {} rounds, ms", self.len()).as_str(),
            "unguarded",
            "p99",
            "grouped",
            "guarded",
            "p99",
            "ratio",
            "95 %",
            "over grouped",
        ]);
        for step in self.steps() {
            let ms = |side, share| {
                let value = quantile(&self.seconds(side, step), share);
                value.map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3))
            };
            let over = |side| {
                median(&self.ratios(side, step)).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
            };
            let interval = self
                .ratio(step)
                .map_or_else(|| "too few".to_owned(), |i| format!("{:.3} to {:.3}", i.lower, i.upper));
            table.row([
                step.to_owned(),
                ms(Side::Unguarded, 0.5),
                ms(Side::Unguarded, 0.99),
                ms(Side::Grouped, 0.5),
                ms(Side::Guarded, 0.5),
                ms(Side::Guarded, 0.99),
                over(Side::Unguarded),
                interval,
                over(Side::Grouped),
            ]);
        }
        table
    }

    pub(crate) fn panel(&self, name: &str) -> Panel {
        let mark = |step: &str| {
            let ms = |side| median(&self.seconds(side, step)).unwrap_or_default() * 1e3;
            Some(Mark {
                label: step.to_owned(),
                value: median(&self.ratios(Side::Unguarded, step))?,
                interval: self.ratio(step).map(|i| (i.lower, i.upper)),
                text: format!("{:.0} ms, unguarded {:.0} ms", ms(Side::Guarded), ms(Side::Unguarded)),
            })
        };
        Panel {
            title: format!("{name}: guarded over unguarded"),
            reference: Some(1.0),
            marks: self.steps().filter_map(mark).collect(),
        }
    }

    /// Each round's seconds included.
    pub(crate) fn json(&self) -> Value {
        let steps = self.steps().map(|step| {
            let mut of_step: Map<String, Value> = Side::ALL
                .into_iter()
                .map(|side| (side, self.seconds(side, step)))
                .filter(|(_, seconds)| !seconds.is_empty())
                .map(|(side, seconds)| {
                    let p99 = quantile(&seconds, 0.99);
                    (
                        side.name().to_owned(),
                        json!({ "median_s": median(&seconds), "p99_s": p99, "all_s": seconds }),
                    )
                })
                .collect();
            for (name, side) in [("ratio", Side::Unguarded), ("ratio_to_grouped", Side::Grouped)] {
                let ratios = self.ratios(side, step);
                if !ratios.is_empty() {
                    let interval = median_interval(&ratios).map(|i| json!([i.lower, i.upper]));
                    let ratio = json!({
                        "median": median(&ratios), "p99": quantile(&ratios, 0.99), "interval_95": interval,
                    });
                    of_step.insert(name.to_owned(), ratio);
                }
            }
            (step.to_owned(), Value::Object(of_step))
        });
        json!({
            "rounds": self.len(),
            "method": "median of the rounds' ratios, binomial interval of order statistics",
            "steps": steps.collect::<Map<_, _>>(),
        })
    }
}

/// What starting and stopping took at several sizes.
pub(crate) fn series(over: &'static str, sizes: &[(usize, Rounds)]) -> Vec<Series> {
    let one = |side, step: &str| {
        let point = |(size, rounds): &(usize, Rounds)| {
            Some((*size as f64, median(&rounds.seconds(side, step))? * 1e3))
        };
        let points: Vec<_> = sizes.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Series { what: format!("{step}, ms"), over, side, points })
    };
    ["start", "stop"]
        .iter()
        .flat_map(|step| Side::ALL.into_iter().filter_map(move |side| one(side, step)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(all: &[[f64; 2]]) -> Rounds {
        let round = |[unguarded, guarded]: &[f64; 2]| {
            BTreeMap::from([
                (Side::Unguarded, Times::from([("start", *unguarded)])),
                (Side::Guarded, Times::from([("start", *guarded)])),
            ])
        };
        Rounds(all.iter().map(round).collect())
    }

    #[test]
    fn ratios_are_of_one_round() {
        let rounds = rounds(&[[1.0, 0.5], [100.0, 90.0], [10.0, 8.0]]);
        assert_eq!(rounds.ratios(Side::Unguarded, "start"), [0.5, 0.9, 0.8]);
        assert_eq!(rounds.ratios(Side::Grouped, "start"), [0.0; 0]);
        assert_eq!(rounds.ratio("start"), None);
        let table = rounds.table("pod").to_string();
        assert!(table.contains("10000.0") && table.contains("0.800") && !table.contains("stop"), "{table}");
    }
}
