//! What a sandbox, or some of its containers, hold on the host. Taken down *before* anything is killed: runsc's
//! state files, which tell, may be gone right after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Member;
use crate::Scope;
use crate::processes::find;
use crate::resources::asked::Asked;
use crate::resources::cgroup;
use crate::resources::cgroup_path;
use crate::resources::hooks::Hooks;
use crate::resources::mounts::{self, Mount};
use crate::resources::state_file::{self, RunscState};
use crate::sys::procfs;

/// Everything that [`release`](crate::teardown::release::release) has to give back.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// The containers meant.
    pub(crate) members: Vec<Member>,
    /// Whether these are all that the sandbox has, so that what they share goes too.
    pub(crate) whole: bool,
    /// Cgroups that runsc made, deepest first.
    pub(crate) cgroups: Vec<PathBuf>,
    /// runsc's files: state, locks, control socket.
    pub(crate) files: Vec<PathBuf>,
    /// Where writes to overlaid mounts went.
    pub(crate) filestores: Vec<PathBuf>,
    /// Mounts that had to be detached: id and place.
    pub(crate) detached: Vec<(u64, PathBuf)>,
    /// What the engine wants run when they are deleted.
    pub(crate) hooks: Vec<Hooks>,
    /// A network namespace that somebody else made for the sandbox.
    pub(crate) network_namespace: Option<PathBuf>,
}

impl Resources {
    /// What these members hold now; with all of the scope's members, the whole sandbox.
    pub fn of(scope: &Scope, members: &[Member]) -> Self {
        let others: Vec<&Member> = scope.members.iter().filter(|member| !members.contains(member)).collect();
        let mut resources = Self { members: members.to_vec(), whole: others.is_empty(), ..Self::default() };
        let shared: BTreeSet<PathBuf> = others
            .iter()
            .filter_map(|member| scope.state_of(member))
            .flat_map(|state| state.filestore_folders().map(Path::to_owned).collect::<Vec<_>>())
            .collect();
        for member in members {
            resources.add(scope, member, &shared);
        }
        resources.order();
        resources
    }

    /// The mounts in the bundles that are in sight now.
    pub fn mounts(&self) -> Vec<Mount> {
        self.members.iter().flat_map(|member| mounts::below(&member.bundle.join("rootfs"))).collect()
    }

    /// Takes in the files of containers that nobody remembers, and the cgroups that their states name: a Create
    /// that the real shim gave up had come that far, or a `runsc` that came too late for a deleted container
    /// makes its lock file anew. Only for a whole sandbox, whose id ends the name.
    pub(crate) fn add_strays(&mut self, scope: &Scope) {
        let Some(sandbox) =
            scope.sandbox_id().filter(|id| self.whole && !id.is_empty() && scope.runsc_root.is_absolute())
        else {
            return;
        };
        for path in fs::read_dir(&scope.runsc_root).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(state_file::parse_name);
            let Some((id, _, kind)) = name.filter(|(_, of, _)| *of == sandbox) else { continue };
            if kind == "state"
                && let Ok(state) = RunscState::read(&scope.runsc_root, id, sandbox)
            {
                self.cgroups.extend(state.own_cgroups());
            }
            if let "state" | "lock" = kind {
                self.files.push(path);
            }
        }
        self.order();
    }

    /// Each once; cgroups the deepest first.
    fn order(&mut self) {
        self.cgroups.sort_by(|a, b| (b.components().count(), b).cmp(&(a.components().count(), a)));
        self.cgroups.dedup();
        self.files.sort();
        self.files.dedup();
    }

    /// The cgroups that runsc made, deepest first.
    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// runsc's files, whether or not they exist.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Where writes to overlaid mounts may have gone. On a volume that hangs even looking for one does.
    pub fn filestores(&self) -> &[PathBuf] {
        &self.filestores
    }

    /// The network namespace that a CNI plugin made for the sandbox, if the root container names one.
    pub fn network_namespace(&self) -> Option<&Path> {
        self.network_namespace.as_deref()
    }

    fn add(&mut self, scope: &Scope, member: &Member, shared: &BTreeSet<PathBuf>) {
        let Some(sandbox) = scope.sandbox_id().filter(|_| scope.runsc_root.is_absolute()) else { return };
        let (state, asked) = (scope.state_of(member), Asked::by(scope, member).unwrap_or_default());
        self.cgroups.extend(cgroups_named_for(scope, member, &asked, state.is_some()));
        if let Some(state) = state {
            self.add_recorded(scope, sandbox, &state, shared);
        }
        // Of the other containers the configuration names the sentry's, by a pid.
        if member.id == sandbox {
            self.network_namespace = asked.network_namespace;
        }
        let kinds = ["state", "lock"].into_iter();
        self.files
            .extend(kinds.flat_map(|kind| state_file::file(&scope.runsc_root, &member.id, sandbox, kind)));
        if self.whole {
            self.files.extend(state_file::socket_name(sandbox).map(|name| scope.runsc_root.join(name)));
        }
    }

    fn add_recorded(&mut self, scope: &Scope, sandbox: &str, state: &RunscState, shared: &BTreeSet<PathBuf>) {
        self.cgroups.extend(state.own_cgroups());
        let file = state_file::file(&scope.runsc_root, &state.id, sandbox, "state");
        self.hooks.extend(file.ok().and_then(|file| state.hooks(file)));
        if self.whole {
            self.cgroups.extend(state.sandbox_cgroups());
            self.files.extend(state.control_socket(&scope.runsc_root));
        }
        if let Ok(name) = state_file::filestore_name(sandbox) {
            let folders = state.filestore_folders().filter(|folder| !shared.contains(*folder));
            self.filestores.extend(folders.map(|folder| folder.join(&name)));
        }
    }
}

/// Removes the cgroups of a container that has been deleted, as far as they are empty: where `runsc delete` fails
/// midway it removes its state all the same, and nobody else knows of them.
pub fn sweep_cgroups(member: &Member) {
    let scope = Scope::default();
    for folder in configured_cgroups(&scope, member, &Asked::by(&scope, member).unwrap_or_default()) {
        // In use means not deleted, and gone is as it should be.
        let _ = fs::remove_dir(folder);
    }
}

/// A Create that was killed leaves the cgroup that runsc made and no state file to say so. The one that config.json
/// asked for, or (where no file tells) that the sandbox's processes are in, can be nobody else's if it is named for
/// this very container.
fn cgroups_named_for(scope: &Scope, member: &Member, asked: &Asked, recorded: bool) -> Vec<PathBuf> {
    // Also what is not there yet: a runsc create that is about to be killed may still be making them.
    let asked_for = configured_cgroups(scope, member, asked);
    if !asked_for.is_empty() || recorded {
        return asked_for;
    }
    let processes = find::at_once(scope);
    let inhabited: BTreeSet<PathBuf> =
        processes.iter().flat_map(|process| cgroup::of(process.identity.pid)).collect();
    inhabited.into_iter().filter(|folder| cgroup_path::is_named_for(folder, &member.id)).collect()
}

/// In every hierarchy, what config.json asked for and is named for this very container.
fn configured_cgroups(scope: &Scope, member: &Member, asked: &Asked) -> Vec<PathBuf> {
    let Some(path) = &asked.cgroups_path else { return Vec::new() };
    // What is no absolute path lies beside or below the cgroups of who ran runsc, as the guard does.
    let callers = [scope.guard, scope.real_shim].into_iter().flatten().map(|one| one.pid);
    let own = callers.chain(i32::try_from(std::process::id())).flat_map(procfs::cgroups);
    cgroup_path::folders(path, &own.collect::<Vec<_>>(), &member.id)
}
