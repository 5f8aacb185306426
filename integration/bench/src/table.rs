//! What is printed for a person.

use std::fmt;
use tabled::{
    builder::Builder,
    settings::{Alignment, Padding, Style, object::Columns},
};

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
        let lines = std::iter::once(&self.head).chain(&self.rows);
        let mut table = Builder::from_iter(lines).build();
        table.with(Style::empty()).with(Padding::zero());
        table.modify(Columns::new(1..), Padding::new(2, 0, 0, 0));
        table.modify(Columns::new(1..), Alignment::right());
        writeln!(f, "{table}")?;
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
