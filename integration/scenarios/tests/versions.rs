//! Other versions of containerd and gVisor, in short; `hack/versions` runs every pair.

use anyhow::{Result, ensure};
use faults::matrix::{
    Cell, Fault, Subject,
    lanes::Plan,
    versions::{self, Beside, Line},
};
use harness::{Interrupt, Parts, Versions};

fn as_promised(
    containerd: &str,
    gvisor: &str,
    beside: &[Beside],
    wanted: impl Fn(&Cell) -> bool,
) -> Result<()> {
    let (parts, interrupt) = (Parts::of(Versions::named(containerd, gvisor)?)?, Interrupt::default());
    let plan = Plan { parts: &parts, guarded: true, jobs: 2, interrupt: &interrupt };
    let cells: Vec<Cell> = versions::cells().into_iter().filter(wanted).collect();
    let lines = versions::run(&plan, &cells, beside, |line| println!("{} x {line:?}", parts.versions))?;
    let red: Vec<&Line> = lines.iter().filter(|line| !line.green).collect();
    ensure!(red.is_empty(), "{}: {} of {} are red: {red:#?}", parts.versions, red.len(), lines.len());
    Ok(())
}

/// What the other files have of this version is not repeated.
#[test]
fn containerd_2_4() -> Result<()> {
    let elsewhere = |fault| matches!(fault, Fault::Stopped(_) | Fault::Killed(_) | Fault::CreateStuck);
    as_promised("2.4.2", "2026-09", &[], move |cell| !elsewhere(cell.fault))
}

#[test]
fn containerd_1_7() -> Result<()> {
    as_promised("1.7.35", "2026-09", &[], |_| true)
}

#[test]
fn gvisor_before_2026() -> Result<()> {
    as_promised("2.4.2", "2025-05", &[], |cell| matches!(cell.fault, Fault::None | Fault::Stopped(_)))
}

/// The sentry is a program of its own, and the prewarmer becomes it.
#[test]
fn gvisor_as_released() -> Result<()> {
    as_promised("2.4.2", "2026-09-released", &[Beside::Stats], |cell| cell.subject == Subject::Pod)
}
