use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::commands::reap::until;

/// A shim of root's that says it serves `id` in the namespace `ns`, with a folder to work in.
struct Shim(Child);

impl Shim {
    fn start(program: &str, id: &str, folder: &Path) -> Self {
        let line = ["-c", "sleep 1000; :", "sh", "-namespace", "ns", "-id", id, "-address", "/a"];
        let child = Command::new("sh")
            .arg0(program)
            .args(line)
            .current_dir(folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let shim = Self(child);
        let argv = || bounded::command_line(shim.pid()).unwrap_or_default();
        assert!(until(std::time::Duration::from_secs(5), || argv().iter().any(|one| one == "-namespace")));
        shim
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn below(&self) -> i32 {
        let mut child = None;
        until(std::time::Duration::from_secs(5), || {
            child = procfs::children(self.pid()).unwrap().unwrap_or_default().first().copied();
            child.is_some()
        });
        child.unwrap()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.below().to_string()).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of the sandbox with this id and bundle, and these processes.
fn keepers_of(id: &str, bundle: &Path, below: &[i32]) -> (Vec<i32>, Vec<i32>) {
    let members = BTreeMap::from([(id.to_owned(), None)]);
    let draft = Draft { root: "/r/ns".into(), id: id.into(), members, ..Draft::default() };
    let containers = [Container { id: id.into(), bundle: bundle.to_owned() }];
    let table = Table::read(&BTreeSet::new(), |_| {}).unwrap();
    let keepers = Keepers::of(&draft, &table.above(below), &containers, (&Guard::None, None), &table);
    (keepers.proved.iter().map(|task| task.identity.pid).collect(), keepers.unplaced)
}

#[test]
fn a_shim_is_known_by_whom_it_is_above_and_by_the_bundle_that_it_works_in() {
    let folder = tempfile::tempdir().unwrap();
    let [bundle, other] = ["web", "other"].map(|name| folder.path().join(name));
    for path in [&bundle, &other] {
        fs::create_dir(path).unwrap();
        fs::write(path.join(SPEC), "{}").unwrap();
    }
    let own = Shim::start("containerd-shim-runsc-v1", "web", &bundle);
    let foreign = Shim::start("containerd-shim-runc-v2", "web", &other);
    let strangers = Shim::start("containerd-shim-runsc-v1", "else", &bundle);
    assert_eq!(keepers_of("web", &bundle, &[]), (vec![own.pid()], vec![]));
    assert_eq!(keepers_of("web", &other, &[]), (vec![foreign.pid()], vec![]));
    let mut above = vec![own.pid(), strangers.pid()];
    above.sort_unstable();
    assert_eq!(keepers_of("web", &bundle, &[strangers.below()]), (above, vec![]), "gVisor's own is above it");

    // containerd has forgotten it, or made a new one of the same name since.
    let removed = folder.path().join(".web");
    fs::rename(&bundle, &removed).unwrap();
    fs::remove_dir_all(&removed).unwrap();
    assert_eq!(keepers_of("web", &bundle, &[]), (vec![own.pid()], vec![]));
    assert_eq!(keepers_of("web", &other, &[]), (vec![foreign.pid()], vec![]));
    fs::create_dir(&bundle).unwrap();
    assert_eq!(keepers_of("web", &bundle, &[]), (vec![own.pid()], vec![]), "runsc has put a log there");
    fs::write(bundle.join(SPEC), "{}").unwrap();
    assert_eq!(keepers_of("web", &bundle, &[]), (vec![], vec![]));
}

#[test]
fn a_shim_that_works_out_of_sight_is_neither_this_sandboxs_nor_known_to_be_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("far");
    let script = "mount -t tmpfs none \"$1\" && mkdir \"$1/far\" && cd \"$1/far\" && \
                  exec bash -c 'exec -a containerd-shim-runsc-v1 sh -c \"sleep 1000; :\" sh -namespace ns -id far'";
    let apart = ["--mount", "--propagation", "private", "sh", "-c", script, "--"];
    let child = Command::new("unshare").args(apart).arg(folder.path()).spawn().unwrap();
    let shim = Shim(child);
    let argv = || bounded::command_line(shim.pid()).unwrap_or_default();
    assert!(until(std::time::Duration::from_secs(5), || argv().iter().any(|one| one == "-namespace")
        && argv().first().is_some_and(|one| one == "containerd-shim-runsc-v1")));
    fs::create_dir(&bundle).unwrap();
    assert_eq!(keepers_of("far", &bundle, &[]), (vec![], vec![shim.pid()]));
    let below = shim.below();
    assert_eq!(keepers_of("far", &bundle, &[below]), (vec![shim.pid()], vec![]));
}
