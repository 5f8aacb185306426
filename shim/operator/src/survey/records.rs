//! runsc's state files, in folders that nobody but root can have made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runsc_guard_node::bundle;
use runsc_guard_sandbox::processes::proof::Named;
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::kernel::FileId;

use super::guards::Known;
use super::sight::{self, Blind};
use crate::args::Scope;

/// Where runsc's files are unless the real shim is told otherwise.
const DEFAULT_ROOT: &str = "/run/containerd/runsc";

/// What was read of them.
#[derive(Debug)]
pub(crate) struct Records {
    ground: Ground,
    /// By folder, without links: container, sandbox, and whom the file names.
    roots: BTreeMap<PathBuf, Vec<(String, String, Vec<Named>)>>,
    /// The same folder may have several names.
    ids: Vec<(FileId, PathBuf)>,
    /// Where each name leads.
    places: BTreeMap<PathBuf, Option<PathBuf>>,
}

impl Records {
    /// None read yet.
    pub(crate) fn new(ground: Ground) -> Self {
        Self { ground, roots: BTreeMap::new(), ids: Vec::new(), places: BTreeMap::new() }
    }

    /// Reads every folder that root has told of: the usual one, guards' and the operator's.
    pub(crate) fn read_known(&mut self, scope: &Scope, guards: &[Known]) -> Result<(), Blind> {
        let default = self.ground.resolve(Path::new(DEFAULT_ROOT)).map(|trusted| trusted.path);
        let default = default.map(|root| sight::entries(&root)).transpose()?.into_iter().flatten();
        let guarded = guards.iter().map(|guard| guard.params.runsc_root());
        let all = default.chain(guarded).chain(scope.runsc_root.iter().cloned());
        for root in all.collect::<BTreeSet<_>>() {
            self.read(&root);
        }
        Ok(())
    }

    /// Reads a folder, unless it was read already; where it really is, or none if it is not root's alone.
    pub(crate) fn read(&mut self, root: &Path) -> Option<PathBuf> {
        if let Some(known) = self.places.get(root) {
            return known.clone();
        }
        let place = self.ground.resolve(root).map(|trusted| {
            match self.ids.iter().find(|(id, _)| id.is_same(&trusted.id)) {
                Some((_, first)) => first.clone(),
                None => {
                    self.ids.push((trusted.id, trusted.path.clone()));
                    self.roots.insert(trusted.path.clone(), states(&trusted.path));
                    trusted.path
                }
            }
        });
        self.places.insert(root.to_owned(), place.clone());
        place
    }

    /// Where a folder that was read really is; one that is not there (yet) is where it is said to be.
    pub(crate) fn place(&self, root: &Path) -> PathBuf {
        self.places.get(root).cloned().flatten().unwrap_or_else(|| root.to_owned())
    }

    /// The bundle that a command line names, if it can be this container's: root's alone, and named by it.
    pub(crate) fn bundle(&self, named: &Path, container: &str) -> Option<PathBuf> {
        let is_named_by_it = named.file_name().is_some_and(|name| name == container);
        self.ground.resolve(named).filter(|_| is_named_by_it).map(|trusted| trusted.path)
    }

    /// Folder, container and sandbox of every state file.
    pub(crate) fn containers(&self) -> impl Iterator<Item = (&Path, &str, &str)> {
        self.roots.iter().flat_map(|(root, states)| {
            states
                .iter()
                .map(|(container, sandbox, _)| (root.as_path(), container.as_str(), sandbox.as_str()))
        })
    }

    /// Whom they name, with folder and sandbox.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&Path, &str, &Named)> {
        self.roots.iter().flat_map(|(root, states)| {
            states.iter().flat_map(move |(_, sandbox, named)| {
                named.iter().map(move |one| (root.as_path(), sandbox.as_str(), one))
            })
        })
    }

    /// Their pids.
    pub(crate) fn pids(&self) -> BTreeSet<i32> {
        self.named().map(|(.., named)| named.pid).collect()
    }
}

fn states(root: &Path) -> Vec<(String, String, Vec<Named>)> {
    let names = bundle::state_names(root).into_iter();
    names
        .map(|(container, sandbox)| {
            let named = Named::in_state(root, &container, &sandbox);
            (container, sandbox, named)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn one_folder_under_two_names_is_read_once_and_one_that_others_may_write_never() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, mode) in [("runsc", 0o711), ("open", 0o777)] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("c1_sandbox:s1.state"), "{}").unwrap();
            fs::set_permissions(at(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("runsc", at("link")).unwrap();
        let mut records = Records::new(Ground::look());
        assert_eq!(records.read(&at("runsc")), Some(at("runsc")));
        assert_eq!(records.read(&at("link")), Some(at("runsc")));
        assert_eq!(records.read(&at("open")), None);
        assert_eq!(records.read(Path::new("/proc/self/root/run")), None);
        let root = at("runsc");
        assert_eq!(records.containers().collect::<Vec<_>>(), [(root.as_path(), "c1", "s1")]);
        assert_eq!(records.place(&at("link")), root);
        assert_eq!(records.bundle(&root, "other"), None);
        assert_eq!(records.bundle(&root, "runsc"), Some(root));
    }
}
