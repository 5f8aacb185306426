//! What a sandbox held, to tell afterwards what of it was released.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::resources::held::Resources;

/// Names kept of what was released.
const NAMES: usize = 64;

/// What was released of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// `mounts`, `cgroups`, `files`.
    pub kind: String,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl Released {
    /// All of `kind` that have these names.
    pub fn new(kind: &str, all: impl Iterator<Item = String>) -> Self {
        let all: Vec<String> = all.collect();
        Self { kind: kind.to_owned(), count: all.len(), names: all.into_iter().take(NAMES).collect() }
    }
}

/// What of a sandbox's resources was there at one moment. Filestores are not looked for: their volume may hang, and who
/// looks would with it.
#[derive(Debug)]
pub struct Inventory {
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Inventory {
    /// What is there now.
    pub fn of(resources: &Resources) -> Self {
        let is_there = |path: &&PathBuf| path.symlink_metadata().is_ok();
        Self {
            mounts: mounts(resources),
            cgroups: resources.cgroups().iter().filter(is_there).cloned().collect(),
            files: resources.files().iter().filter(is_there).cloned().collect(),
        }
    }

    /// What of it is gone by now.
    pub fn released(self, resources: &Resources) -> Vec<Released> {
        let left = Self::of(resources);
        let gone = |before: Vec<PathBuf>, left: &[PathBuf]| {
            let gone = before.into_iter().filter(|path| !left.contains(path));
            gone.map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        let mounts = self.mounts.into_iter().filter(|mount| !left.mounts.contains(mount));
        let all = [
            Released::new("mounts", mounts),
            Released::new("cgroups", gone(self.cgroups, &left.cgroups).into_iter()),
            Released::new("files", gone(self.files, &left.files).into_iter()),
        ];
        all.into_iter().filter(|one| one.count > 0).collect()
    }
}

fn mounts(resources: &Resources) -> Vec<String> {
    let seen = resources.mounts();
    seen.iter().map(|mount| format!("{} ({} {})", mount.point.display(), mount.kind, mount.source)).collect()
}
