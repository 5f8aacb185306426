//! What a section has found, in every form in which it is told: tables for a person, JSON for a program, panels for
//! the picture, findings for the budgets.

use crate::{budget::Finding, growth::Series, nodes::Node, options::Options, svg::Panel};
use harness::{Host, Interrupt};
use serde_json::Value;
use std::{fmt, time::Instant};

/// What every section works with.
pub(crate) struct Stage<'a> {
    /// Of each side that there is.
    pub(crate) nodes: Vec<Node<'a>>,
    /// That of the guarded side, and of the unguarded one.
    pub(crate) host: &'a Host,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) options: &'a Options,
    pub(crate) began: Instant,
}

impl Stage<'_> {
    /// One line of progress.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        eprintln!("{:5.0} s  {text}", self.began.elapsed().as_secs_f64());
    }
}

/// Everything that one section tells.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) tables: Vec<Table>,
    pub(crate) panels: Vec<Panel>,
    pub(crate) json: Value,
    pub(crate) findings: Vec<Finding>,
    /// What was measured at several sizes.
    pub(crate) series: Vec<Series>,
}

/// Aligned columns: the first to the left, the others to the right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What a reader must know, below.
    pub(crate) notes: Vec<String>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for line in lines() {
            for (column, cell) in line.iter().enumerate() {
                let width = width(column);
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let mut table = Table::new(["life", "ms"]);
        table.row(["pod start", "373.2"]);
        table.notes.push("busy".to_owned());
        assert_eq!(table.to_string(), "life          ms\npod start  373.2\n  busy\n");
    }
}
