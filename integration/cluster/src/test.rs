//! End to end: what is typed is what the page says, on a node that has gVisor, and the problem, and no guard.
//!
//! The parts are run one after the other, and each leaves its cluster as the next one expects it.

mod install;
mod life;
mod typed;
mod values;

use crate::cluster::{Cluster, Layout};
use anyhow::{Context as _, Result};
use std::{process::ExitCode, time::Instant};

/// One part: its name, whether the short form has it, and what it does.
type Part = (&'static str, bool, fn(&Cluster) -> Result<()>);

/// In this order, all of a layout on one cluster.
const PARTS: &[(Layout, &[Part])] = &[(Layout::Usual, USUAL), (Layout::K3s, K3S)];

const USUAL: &[Part] = &[
    (
        "install: on a node that hangs, which is left as it is until the pod is reaped",
        true,
        install::on_a_node_that_hangs,
    ),
    ("install: what the page says to verify", true, install::verified),
    ("install: helm test, on a handler that works and on one that does not", true, install::drilled),
    ("life: a hung pod is deleted, and kubectl tells why", true, life::a_hung_pod_is_deleted_and_told_of),
    ("life: a pod that was ended and comes back says why", false, life::a_pod_that_comes_back_says_why),
    ("life: upgrade and rollback under a running pod", false, life::upgrade_and_rollback),
    ("values: monitors and the network policy of the metrics", false, values::monitors_and_network_policy),
    ("values: with events off again nobody has access, and nothing is told", false, values::events_off),
    ("life: drain with hung pods", false, life::drain),
    ("life: containerd and kubelet are killed while a pod hangs", false, life::killed_in_the_middle),
    ("life: a pod that SIGKILL cannot end marks the node until it ends", false, life::a_pod_that_cannot_end),
    ("values: the label, the class that asks for it, the startup taint", false, values::ready),
    ("install: the old class becomes the guarded one, and back", false, install::the_class_that_was_there),
    ("install: installers that are killed", false, install::interrupted),
    ("uninstall: waits for a guarded pod, and leaves the node as it was", true, install::uninstalled),
    ("install: once more, on a node that hangs, with node.reap=true", false, install::with_reap),
    ("install: once more, on a healthy node, and off again", false, install::once_more),
];

const K3S: &[Part] = &[("install: node.distribution=k3s, from install to uninstall", false, values::k3s)];

/// Which of them.
pub(crate) enum Choice {
    /// The short form.
    Short,
    /// All but those whose names contain this.
    Without(Option<String>),
}

impl Choice {
    pub(crate) fn of(short: bool, skip: Option<String>) -> Self {
        if short { Self::Short } else { Self::Without(skip) }
    }

    fn has(&self, part: &Part) -> bool {
        match self {
            Self::Short => part.1,
            Self::Without(word) => word.as_ref().is_none_or(|word| !part.0.contains(word.as_str())),
        }
    }
}

/// Runs them, each layout's on a cluster of its own; the first that fails is the last.
pub(crate) fn run(start: impl Fn(Layout) -> Result<Cluster>, choice: &Choice) -> Result<ExitCode> {
    let (began, mut passed) = (Instant::now(), 0);
    for (layout, parts) in PARTS {
        let chosen: Vec<_> = parts.iter().filter(|part| choice.has(part)).collect();
        let cluster = if chosen.is_empty() { continue } else { start(*layout)? };
        for (name, _, part) in chosen {
            let since = Instant::now();
            println!("== {name}");
            part(&cluster).with_context(|| format!("failed: {name}"))?;
            println!("   passed in {:.1} s", since.elapsed().as_secs_f64());
            passed += 1;
        }
    }
    if let Choice::Without(None) = choice {
        typed::ensure_whole_page()?;
        println!("every command of the page was typed");
    }
    println!("all {passed} passed in {:.1} s", began.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
