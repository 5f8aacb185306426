//! How cost grows: the exponent of what was measured over the number of containers, pods or requests. 0 is flat, 1 is
//! proportional; a fixed part beside a proportional one gives something between.

use crate::{nodes::Side, stats::exponent, table::Table};
use serde_json::{Value, json};

/// One figure at several sizes.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// What it is, and its unit.
    pub(crate) what: String,
    /// What there is more and more of.
    pub(crate) over: &'static str,
    pub(crate) side: Side,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    fn exponent(&self) -> Option<f64> {
        exponent(&self.points)
    }
}

/// The sides beside each other.
pub(crate) fn table(all: &[Series]) -> Table {
    let mut table = Table::new(["growth", "over", "unguarded", "grouped", "guarded", "guarded figures"]);
    for series in all.iter().filter(|series| series.side == Side::Guarded) {
        let side = |side| {
            let same = |other: &&Series| {
                other.side == side && other.what == series.what && other.over == series.over
            };
            let exponent = all.iter().find(same).and_then(Series::exponent);
            exponent.map_or_else(|| "-".to_owned(), |exponent| format!("{exponent:.2}"))
        };
        let figures: Vec<String> =
            series.points.iter().map(|(size, figure)| format!("{size:.0}: {figure:.1}")).collect();
        table.row([
            series.what.clone(),
            series.over.to_owned(),
            side(Side::Unguarded),
            side(Side::Grouped),
            side(Side::Guarded),
            figures.join(", "),
        ]);
    }
    table.notes.push("exponents: 0 is flat, 1 is proportional".to_owned());
    table
}

pub(crate) fn json(all: &[Series]) -> Value {
    let one = |series: &Series| {
        json!({
            "what": series.what, "over": series.over, "side": series.side.name(), "points": series.points,
            "exponent": series.exponent(),
        })
    };
    json!(all.iter().map(one).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_one_figure_share_a_row() {
        let series = |side, slope: f64| Series {
            what: "start, ms".to_owned(),
            over: "containers",
            side,
            points: [1.0, 3.0, 10.0].map(|size: f64| (size, 7.0 * size.powf(slope))).into(),
        };
        let table = table(&[series(Side::Unguarded, 1.0), series(Side::Guarded, 0.5)]);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0][1..5], ["containers", "1.00", "-", "0.50"]);
    }
}
