//! The containerds that everything runs on, and the sides that are compared.
//!
//! Three sides: gVisor's shim as it comes (a shim per container), the same with `grouping` (one per pod), and the guard.
//! The first and the last share one containerd, so that they differ in nothing but the handler; grouping is decided by a
//! file in /etc, so the second has a containerd of its own, which sees one.

use anyhow::{Context as _, Result};
use harness::{Cri, Handler, Host, Interrupt, Parts};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

/// Which shim containerd talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Unguarded,
    Grouped,
    Guarded,
}

impl Side {
    pub(crate) const ALL: [Self; 3] = [Self::Unguarded, Self::Grouped, Self::Guarded];

    /// Also the handler's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unguarded => "unguarded",
            Self::Grouped => "grouped",
            Self::Guarded => "guarded",
        }
    }
}

/// Where the pods and containers of one side live.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) side: Side,
    pub(crate) host: &'a Host,
    pub(crate) cri: &'a Cri,
}

struct Containerd {
    host: Arc<Host>,
    cri: Cri,
}

/// All of them; ended by [`Nodes::end`].
pub(crate) struct Nodes {
    shared: Containerd,
    grouping: Option<Containerd>,
    /// Their own copies of the shims: pages of a file that other containerds on this machine run, too, would make a PSS
    /// look small.
    _binaries: TempDir,
}

impl Nodes {
    pub(crate) fn start(interrupt: &Interrupt, grouping: bool, programs: Parts) -> Result<Self> {
        let binaries = tempfile::tempdir()?;
        let parts = own_parts(binaries.path(), programs)?;
        let shared = Host::builder()
            .parts(parts.clone())
            .handler(Handler::unguarded(Side::Unguarded.name()))
            .handler(Handler::guarded(Side::Guarded.name()));
        let shared = Containerd::new(shared.start()?, interrupt)?;
        let grouping = match grouping {
            true => {
                let host = Host::builder()
                    .parts(parts)
                    .etc("containerd/runsc/config.toml", "grouping = true\n")
                    .handler(Handler::unguarded(Side::Grouped.name()));
                Some(Containerd::new(host.start()?, interrupt)?)
            }
            false => None,
        };
        Ok(Self { shared, grouping, _binaries: binaries })
    }

    /// Every side that there is.
    pub(crate) fn all(&self) -> Vec<Node<'_>> {
        let containerd = |side| match side {
            Side::Grouped => self.grouping.as_ref(),
            Side::Unguarded | Side::Guarded => Some(&self.shared),
        };
        let node = |side| {
            let Containerd { host, cri } = containerd(side)?;
            Some(Node { side, host, cri })
        };
        Side::ALL.into_iter().filter_map(node).collect()
    }

    /// Ends everything; fails if something would not go.
    pub(crate) fn end(self, interrupt: &Interrupt) -> Result<()> {
        let ended =
            [Some(self.shared), self.grouping].into_iter().flatten().map(|Containerd { host, .. }| {
                let ended = host.end();
                interrupt.forget(&host);
                ended
            });
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

impl Containerd {
    fn new(host: Host, interrupt: &Interrupt) -> Result<Self> {
        let host = Arc::new(host);
        interrupt.register(&host)?;
        Ok(Self { cri: host.cri()?, host })
    }
}

fn own_parts(folder: &Path, mut parts: Parts) -> Result<Parts> {
    for (part, name) in [
        (&mut parts.unguarded_shim, "unguarded/containerd-shim-runsc-v1"),
        (&mut parts.real_shim, "guarded/containerd-shim-runsc-v1"),
        (&mut parts.guard, "guarded/containerd-shim-runsc-guard-v2"),
    ] {
        let copy = folder.join(name);
        std::fs::create_dir_all(copy.with_file_name(""))?;
        std::fs::copy(&*part, &copy).with_context(|| format!("cannot copy {}", part.display()))?;
        *part = copy;
    }
    Ok(parts)
}
