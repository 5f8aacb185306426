//! What a section has found, in every form in which it is told: tables for a person, JSON for a program, panels for
//! the picture, findings for the budgets.

use crate::{
    budget::Finding,
    growth::Series,
    nodes::{Node, Side},
    options::Options,
    svg::Panel,
    table::Table,
};
use harness::{Host, Interrupt, Random};
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
    /// What repeats the orders of the rounds.
    pub(crate) seed: u64,
}

impl Stage<'_> {
    /// One line of progress.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        eprintln!("{:5.0} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// The guarded and the unguarded node, in the order of this round.
    pub(crate) fn pair(&self, round: usize) -> Vec<&Node<'_>> {
        self.order(round, |side| side != Side::Grouped)
    }

    /// These nodes in a random order, another one each round: no side always finds what another has warmed, and nothing
    /// that comes and goes on the machine keeps step with the sides.
    pub(crate) fn order(&self, round: usize, wanted: impl Fn(Side) -> bool) -> Vec<&Node<'_>> {
        let mut nodes: Vec<&Node<'_>> = self.nodes.iter().filter(|node| wanted(node.side)).collect();
        Random::new(self.seed.wrapping_add(round as u64)).shuffle(&mut nodes);
        nodes
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
