//! What came of one trial, as a line of the table's file.

use crate::matrix::Report;

/// What came of one trial: a column of the table has one or two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of which column.
    pub column: String,
    /// As promised.
    pub green: bool,
    /// What stands in the table.
    pub text: String,
    /// What was wrong, in one line.
    pub why: String,
}

impl Line {
    pub(super) fn of(report: &Report) -> Self {
        let all = report.wrong.iter().chain(&report.slow);
        Self {
            column: report.cell.fault.to_string(),
            green: report.is_green(),
            text: report.ending(),
            why: flat(&all.map(String::as_str).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// In one line of a file whose fields are apart by tabs.
pub(super) fn flat(text: &str) -> String {
    text.split(|letter: char| letter.is_control()).map(str::trim).collect::<Vec<_>>().join(" ")
}
