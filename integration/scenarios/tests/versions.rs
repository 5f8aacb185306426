//! Other versions of containerd and gVisor, in short; `hack/matrix --versions` runs every pair.

use anyhow::{Context as _, Result, ensure};
use faults::matrix::{Cell, Fault, Report, lanes::Plan, versions};
use harness::{Interrupt, Parts, Versions};

fn as_promised(containerd: &str, gvisor: &str, wanted: impl Fn(&Cell) -> bool) -> Result<()> {
    let all = Versions::all()?;
    let versions = all.into_iter().find(|one| one.containerd == containerd && one.gvisor == gvisor);
    let (parts, interrupt) = (Parts::of(versions.context("not pinned")?)?, Interrupt::default());
    let plan = Plan { parts: &parts, guarded: true, jobs: 2, interrupt: &interrupt };
    let cells: Vec<Cell> = versions::cells().into_iter().filter(wanted).collect();
    let reports = plan.run(&cells, |report| println!("{} x {report}", parts.versions))?;
    let red: Vec<&Report> = reports.iter().filter(|report| !report.is_green()).collect();
    ensure!(red.is_empty(), "{}: {} of {} are red: {red:#?}", parts.versions, red.len(), reports.len());
    Ok(())
}

/// What the other files have of this version is not repeated.
#[test]
fn containerd_2_4() -> Result<()> {
    let elsewhere = |fault| matches!(fault, Fault::Stopped(_) | Fault::Killed(_) | Fault::CreateStuck);
    as_promised("2.4.2", "2026-09", move |cell| !elsewhere(cell.fault))
}

#[test]
fn containerd_1_7() -> Result<()> {
    as_promised("1.7.35", "2026-09", |_| true)
}

#[test]
fn gvisor_before_2026() -> Result<()> {
    as_promised("2.4.2", "2025-05", |cell| matches!(cell.fault, Fault::None | Fault::Stopped(_)))
}
