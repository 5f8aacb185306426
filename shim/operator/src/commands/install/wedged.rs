//! Wedged sandboxes without a guard, on the node that is to get one: they are why it is installed, and while one is there
//! containerd does not end when it is told to. Under systemd that takes 90 s, and the node is not ready meanwhile (a
//! healthy containerd is back within a second). So they are ended first, or named before anything is changed.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use runsc_guard_node::config;

use super::hand::Hand;
use super::site::Site;
use crate::args::Scope;
use crate::commands::reap;
use crate::containerd::BUNDLES;
use crate::survey::model::{Guard, Sandbox, State};
use crate::survey::survey;

/// Nothing keeps the containerd whose state is in `state` from being restarted. Reports go where those of the guard go
/// that has this file.
pub(super) fn clear_the_way(hand: Hand, root: &Path, site: &Site, state: &Path, guards: &Path) -> Result<()> {
    let wedged = unguarded(state)?;
    // Whoever restarts it himself is told by `ls` and `doctor`.
    if wedged.is_empty() || !(site.restarts || site.reap) {
        return Ok(());
    }
    let names = wedged.iter().map(line).collect::<String>();
    if hand.dry_run {
        let would =
            if site.reap { "would be ended first" } else { "are in the way of a restart: --reap ends them" };
        hand.say("wedged", &format!("sandboxes without a guard {would}:{names}"));
        return Ok(());
    }
    if !site.reap {
        bail!(
            "containerd would not end when it is restarted, and this node would not be ready until it is killed (90 s \
             under systemd): these sandboxes are wedged and have no guard:{names}\nNothing was changed. End them first: \
             `runsc-guard reap --wedged`, or with this command and --reap (in the chart node.reap=true)"
        );
    }
    ensure!(
        root == Path::new("/"),
        "--reap with --root cannot unmount for containerd: `runsc-guard --host reap --wedged --yes` first, in a privileged pod"
    );
    reap::end_these(wedged, &config::load(Some(guards)).unwrap_or_default().report_dir);
    let left = unguarded(state)?.iter().map(line).collect::<String>();
    ensure!(left.is_empty(), "these could not be ended, and containerd was not restarted:{left}");
    Ok(())
}

/// Those of that containerd.
fn unguarded(state: &Path) -> Result<Vec<Sandbox>> {
    let bundles = state.join(BUNDLES);
    let mut seen = survey(&Scope { namespace: None, runsc_root: Vec::new() })?.sandboxes;
    seen.retain(|one| is_in_the_way(one, &bundles));
    Ok(seen)
}

/// One that nothing can end does not keep containerd from being restarted forever: nobody can do anything about it.
fn is_in_the_way(one: &Sandbox, bundles: &Path) -> bool {
    one.state == State::Wedged
        && one.found.guard == Guard::None
        && one.found.containers.iter().any(|container| container.bundle.starts_with(bundles))
}

fn line(one: &Sandbox) -> String {
    let signs: Vec<&str> = one.signs.iter().map(|sign| sign.what.as_str()).collect();
    format!("\n  {}/{} (pod {}): {}", one.found.namespace, one.found.id, one.pod_name(), signs.join("; "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::survey::model::tests::sandbox;

    #[test]
    fn only_wedged_ones_of_this_containerd_that_nobody_guards_are_in_the_way() {
        let bundles = Path::new("/run/containerd/io.containerd.runtime.v2.task");
        let of = |state, bundle: &str, guard| {
            let mut one = sandbox("a", state);
            one.found.containers[0].bundle = PathBuf::from(bundle);
            one.found.guard = guard;
            is_in_the_way(&one, bundles)
        };
        let here = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/a";
        assert!(of(State::Wedged, here, Guard::None));
        assert!(!of(State::Wedged, here, Guard::Dead), "containerd's `delete` ends it");
        assert!(!of(
            State::Wedged,
            "/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/a",
            Guard::None
        ));
        for state in [State::Running, State::Unkillable, State::Orphaned] {
            assert!(!of(state, here, Guard::None), "{state:?}");
        }
    }
}
