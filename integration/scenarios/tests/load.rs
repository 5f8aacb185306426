//! The short form of `hack/load`: pods in waves, a crowd of wedged ones, and one that is polled.

use anyhow::{Context as _, Result, ensure};
use faults::load;

#[test]
fn pods_come_and_go_and_a_wedged_crowd_ends_with_nothing_left() -> Result<()> {
    let host = load::host()?;
    let (each, before, after) = load::waves(&host, 12, 6)?;
    println!("12 pods in waves of 6: {each:?} each; containerd {before}, then {after}");
    let crowd = load::crowd(&host, 8)?;
    println!("8 wedged pods: ended in {:?}; the largest guard {}", crowd.took, crowd.guard);
    Ok(())
}

#[test]
fn polling_a_stopped_sandbox_leaves_guard_and_real_shim_as_they_are() -> Result<()> {
    let host = load::host()?;
    let looks = load::poll(&host, "guarded", 200, 3000, 5)?;
    println!("{looks:#?}");
    let (first, last) = (looks.get(1).context("one look only")?, looks.last().context("no look")?);
    let (guard, later) = first.guard.zip(last.guard).context("no guard")?;
    ensure!(later.is_flat_since(guard, 1 << 10), "the guard grows: {guard}, then {later}");
    ensure!(last.real_shim.is_flat_since(first.real_shim, 8 << 10), "the real shim grows: {looks:#?}");
    ensure!(last.goroutines <= first.goroutines + 8, "goroutines pile up: {looks:#?}");
    Ok(())
}
