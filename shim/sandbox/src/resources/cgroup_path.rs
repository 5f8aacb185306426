//! Where runsc makes the cgroups that an OCI spec asks for, where no state file of its own tells
//! (`runsc/cgroup/cgroup.go`, `new`; `runsc/cgroup/systemd.go`). `linux.cgroupsPath` has two forms:
//!
//! - a path. One that is not absolute lies below the cgroups of the runsc that made it, on a pure v2 host beside its own.
//! - `SLICE:PREFIX:NAME`, systemd's. On v2 systemd makes the scope `PREFIX-NAME.scope` in the slice, whose own name
//!   says where it lies; with v1 controllers runsc takes the three for the name of one folder, like any path.
//!
//! Only a folder that is named for the container itself is given: what lies above, a pod's, is everybody's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::resources::cgroup;

/// The slice of who names none.
const SYSTEM: &str = "system.slice";
/// What engines put before an id. Any prefix would not do: an id may hold a `-`, and another one end with it.
const PREFIXES: [&str; 4] = ["cri-containerd", "docker", "nerdctl", "runsc"];

/// The folders in every hierarchy of what `path` asks for, as far as they are named for the container `id`. `own` is what
/// `/proc/<pid>/cgroup` says of those who may have run runsc.
pub(crate) fn folders(path: &Path, own: &[(String, PathBuf)], id: &str) -> Vec<PathBuf> {
    let (unit, unified) = (path.to_str().and_then(Unit::parse), cgroup::unified());
    let mut folders = Vec::new();
    if path.file_name() == Some(OsStr::new(id)) || unit.as_ref().is_some_and(|unit| unit.name == id) {
        folders.extend(at(path, own));
    }
    if let Some(unit) = unit.filter(|unit| unit.name == id) {
        folders.extend(at(Path::new(&unit.whole()), own));
        folders.extend(unified.and_then(|mountpoint| cgroup::v2(mountpoint, &unit.scope()?)));
    }
    folders.sort();
    folders.dedup();
    folders
}

/// What a path stands for in every hierarchy.
fn at(path: &Path, own: &[(String, PathBuf)]) -> Vec<PathBuf> {
    if path.is_absolute() {
        let v1 = cgroup::CONTROLLERS.iter().filter_map(|controller| cgroup::v1(controller, path));
        return v1.chain(cgroup::unified().and_then(|mountpoint| cgroup::v2(mountpoint, path))).collect();
    }
    let below = own.iter().filter_map(|(controllers, own)| {
        let parent = if controllers.is_empty() { own.parent()? } else { own };
        Some(cgroup::folders((controllers.clone(), parent.join(path))))
    });
    below.flatten().collect()
}

/// Whether a cgroup is named for this very container, in any of the forms.
pub(crate) fn is_named_for(folder: &Path, id: &str) -> bool {
    let named = |name: &str| {
        name == id || Unit::parse(name).is_some_and(|unit| unit.name == id) || by_scope(name) == Some(id)
    };
    !id.is_empty() && folder.file_name().and_then(OsStr::to_str).is_some_and(named)
}

/// The id that systemd's name of a container's scope ends with.
fn by_scope(name: &str) -> Option<&str> {
    let unit = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    unit.strip_prefix('-')?.strip_suffix(".scope")
}

/// A path in systemd's form.
struct Unit<'a> {
    slice: &'a str,
    prefix: &'a str,
    name: &'a str,
}

impl<'a> Unit<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.split(':');
        let unit = Self { slice: parts.next()?, prefix: parts.next()?, name: parts.next()? };
        parts.next().is_none().then_some(unit)
    }

    fn slice(&self) -> &str {
        if self.slice.is_empty() { SYSTEM } else { self.slice }
    }

    /// As runsc completes it.
    fn whole(&self) -> String {
        format!("{}:{}:{}", self.slice(), self.prefix, self.name)
    }

    /// `a-b.slice` lies in `a.slice`, and `-.slice` is the root.
    fn scope(&self) -> Option<PathBuf> {
        let name = self.slice().strip_suffix(".slice").filter(|name| !name.is_empty())?;
        let mut path = PathBuf::from("/");
        if name != "-" {
            if name.contains('/') || name.split('-').any(str::is_empty) {
                return None;
            }
            let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
            path.extend(ends.map(|end| format!("{}.slice", &name[..end])));
        }
        Some(path.join(format!("{}-{}.scope", self.prefix, self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(path: &str) -> Option<PathBuf> {
        Unit::parse(path)?.scope()
    }

    #[test]
    fn a_slice_says_where_it_lies_and_the_scope_lies_in_it() {
        for (path, at) in [
            (
                "kubepods-besteffort-pod1_2.slice:cri-containerd:c1",
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-c1.scope",
            ),
            ("system.slice:docker:c1", "/system.slice/docker-c1.scope"),
            (":runsc:c1", "/system.slice/runsc-c1.scope"),
            ("-.slice::c1", "/-c1.scope"),
        ] {
            assert_eq!(scope(path), Some(at.into()), "{path}");
        }
        for path in ["a:b", "a.slice:b:c:d", "noslice:b:c", ".slice:b:c", "a--b.slice:p:c", "../x.slice:p:c"]
        {
            assert_eq!(scope(path), None, "{path}");
        }
    }

    #[test]
    fn only_what_is_named_for_the_container_is_given() {
        for name in ["c1", "cri-containerd-c1.scope", "x.slice:cri-containerd:c1"] {
            assert!(is_named_for(&Path::new("/sys/fs/cgroup/cpu/p").join(name), "c1"), "{name}");
        }
        for name in [
            "c12",
            "xc1",
            "c1.scope",
            "docker-xc1.scope",
            "docker-x-c1.scope",
            "x.slice:p:c12",
            "c1:p:x",
            "pod",
        ] {
            assert!(!is_named_for(&Path::new("/sys/fs/cgroup/cpu/p").join(name), "c1"), "{name}");
        }
        assert!(!is_named_for(Path::new("/sys/fs/cgroup/cpu/x.scope"), ""));
        assert!(folders(Path::new("/pods/pod1"), &[], "c1").is_empty());
    }

    #[test]
    fn what_is_not_absolute_lies_below_the_cgroups_of_who_made_it() {
        let own = [("pids".to_owned(), PathBuf::from("/guards")), ("cpu,cpuacct".to_owned(), "/".into())];
        let in_pids = |path: &str| folders(Path::new(path), &own, "c1");
        let root = Path::new("/sys/fs/cgroup");
        let expected = |name: &str| {
            let mut all = vec![
                root.join("cpu").join(name),
                root.join("cpuacct").join(name),
                root.join("pids/guards").join(name),
            ];
            all.sort();
            all
        };
        let v1 = |found: Vec<PathBuf>| -> Vec<PathBuf> {
            found.into_iter().filter(|folder| !folder.to_string_lossy().ends_with(".scope")).collect()
        };
        assert_eq!(in_pids("a/c1"), expected("a/c1"));
        assert_eq!(v1(in_pids("k.slice:cri-containerd:c1")), expected("k.slice:cri-containerd:c1"));
        assert!(v1(in_pids(":runsc:c1")).contains(&root.join("cpu/system.slice:runsc:c1")));
        // Nothing leads out of a hierarchy, and no hierarchy's root is anybody's.
        assert!(in_pids("../c1").is_empty() && in_pids("../../c1").is_empty());
    }

    #[test]
    fn an_absolute_path_lies_in_every_hierarchy() {
        let found = folders(Path::new("/a/c1"), &[("pids".to_owned(), "/guards".into())], "c1");
        assert!(
            cgroup::CONTROLLERS
                .iter()
                .all(|one| found.contains(&Path::new("/sys/fs/cgroup").join(one).join("a/c1")))
        );
        assert!(found.iter().all(|folder| !folder.to_string_lossy().contains("guards")));
    }
}
