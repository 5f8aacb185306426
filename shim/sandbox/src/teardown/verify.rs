//! Step 5: nothing is left, or the list of what is; and step 4 with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use runsc_guard_core::policy::budgets;

use crate::Scope;
use crate::processes::find;
use crate::processes::process::{Process, Role};
use crate::resources::cgroup;
use crate::resources::held::Resources;
use crate::resources::hooks;
use crate::resources::inventory::Inventory;
use crate::teardown::hooks::run_hooks;
use crate::teardown::leftover::{Leftover, add_new};
use crate::teardown::observer::Observer;
use crate::teardown::release::{mounts_left, private_folder, release};
use crate::teardown::stuck::StuckProcess;

/// Gives back what these resources are, of a whole sandbox or of some of its containers, and proves that it is gone.
pub fn release_and_verify(
    scope: &Scope,
    resources: &mut Resources,
    deadline: Instant,
    observer: &dyn Observer,
) -> Vec<Leftover> {
    let inventory = observer.listens().then(|| Inventory::of(resources));
    let hooks = hooks::claim(&resources.hooks);
    let mut left = release(scope, resources, deadline);
    if !left.is_empty() {
        // What a busy node had no time for is done by now, or in another moment.
        left = release(scope, resources, Instant::now() + budgets::RELEASE);
    }
    if let Some(inventory) = inventory {
        observer.released(inventory.released(resources));
    }
    // A file that could not be released may lie where looking for it hangs, so `release` has the last word on those.
    left.retain(|leftover| matches!(leftover, Leftover::File(_)));
    add_new(&mut left, verify(scope, resources));
    left.extend(hooks.iter().flat_map(|hooks| run_hooks(hooks, observer)));
    left
}

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
