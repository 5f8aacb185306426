//! The programs that the node has.

use anyhow::{Context as _, Result, ensure};
use harness::Parts;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// All that goes onto the node.
#[derive(Debug)]
pub(crate) struct Programs {
    node: Vec<PathBuf>,
    guard: [PathBuf; 2],
}

impl Programs {
    /// What `hack/cluster` has built.
    pub(crate) fn find() -> Result<Self> {
        let parts = Parts::pinned()?;
        let mut node = vec![parts.containerd, parts.ctr, parts.runsc, parts.unguarded_shim];
        for folder in harness::cluster_parts()? {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                node.push(entry?.path());
            }
        }
        let guard = [parts.guard.with_file_name("runsc-guard"), parts.guard];
        for program in &guard {
            ensure!(program.is_file(), "no {}: hack/build makes it", program.display());
        }
        Ok(Self { node, guard })
    }

    /// Puts those of the node into one folder, and the guard, which the node does not have yet, into another.
    pub(crate) fn place(&self, node: &Path, guard: &Path) -> Result<()> {
        self.node.iter().try_for_each(|program| copy(program, node))?;
        self.guard.iter().try_for_each(|program| copy(program, guard))
    }
}

/// By a link where that goes.
fn copy(program: &Path, folder: &Path) -> Result<()> {
    let to = folder.join(program.file_name().context("no name")?);
    fs::hard_link(program, &to)
        .or_else(|_| fs::copy(program, &to).map(drop))
        .with_context(|| to.display().to_string())
}
