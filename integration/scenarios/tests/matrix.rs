//! The pairwise subset of the fault matrix: every pair of fault, request in flight and subject that can be.
//! `hack/matrix` runs all combinations and prints the table; what a cell is and checks stands in
//! [`faults::matrix`].

use anyhow::{Result, ensure};
use faults::matrix::{Report, lanes::Plan, table};
use harness::{Interrupt, Parts};

#[test]
fn every_pair_of_fault_and_request_ends_as_promised() -> Result<()> {
    let (parts, interrupt) = (Parts::pinned()?, Interrupt::default());
    let plan = Plan { parts: &parts, guarded: true, jobs: Plan::default_jobs(), interrupt: &interrupt };
    let reports = plan.run(&table::pairwise(), |report| println!("{report}"))?;
    let red: Vec<&Report> = reports.iter().filter(|report| !report.is_green()).collect();
    ensure!(red.is_empty(), "{} of {} are red; the first: {}", red.len(), reports.len(), red[0]);
    Ok(())
}
