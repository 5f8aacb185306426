//! Step 5: nothing is left, or the list of what is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::Scope;
use crate::processes::find;
use crate::processes::process::{Process, Role};
use crate::resources::cgroup;
use crate::resources::held::Resources;
use crate::teardown::leftover::Leftover;
use crate::teardown::release::{mounts_left, private_folder};
use crate::teardown::stuck::StuckProcess;

/// What is left of these resources and of the processes behind them. A real shim that still serves is no
/// leftover, and neither is its `runsc wait` or the clean-up that it runs: see [`StuckProcess::role`].
pub fn verify(scope: &Scope, resources: &Resources) -> Vec<Leftover> {
    let found = find::find(scope);
    let ours: BTreeSet<i32> = found.iter().map(|process| process.identity.pid).collect();
    let processes = found.iter().filter(|process| concerns(process, resources)).map(StuckProcess::of);
    let mut left: Vec<Leftover> = processes.map(Leftover::Process).collect();
    left.extend(mounts_left(resources));
    // A parent that runsc made and that has become somebody else's is theirs.
    let cgroups = resources.cgroups.iter().filter(|folder| folder.exists() && !cgroup::in_use(folder, &ours));
    left.extend(cgroups.cloned().map(Leftover::Cgroup));
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    let files = resources.files.iter().map(PathBuf::as_path).filter(is_there);
    left.extend(files.map(|path| Leftover::File(path.to_owned())));
    // It stays on purpose while anything else does.
    let folder = private_folder(scope, resources).filter(|_| left.is_empty()).filter(is_there);
    left.extend(folder.map(|path| Leftover::File(path.to_owned())));
    left
}

fn concerns(process: &Process, resources: &Resources) -> bool {
    match process.role {
        Role::RealShim | Role::Runsc(_) => false,
        _ if resources.whole => true,
        _ => resources.members.iter().any(|member| {
            process.container().is_some_and(|id| id == member.id.as_str())
                || process.bundle() == Some(&member.bundle)
        }),
    }
}
