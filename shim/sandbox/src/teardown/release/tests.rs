use std::os::unix::net::UnixListener;
use std::process::Command;

use super::*;
use crate::Member;
use crate::resources::asked;
use crate::sys::identity::Identity;
use crate::teardown::verify::verify;
use crate::teardown::{sequence, verify};

/// A sandbox `s1` with a second container `c2`, as runsc leaves it when its sentry is killed, beside a
/// neighbour that must stay.
struct Left {
    folder: tempfile::TempDir,
    scope: Scope,
}

impl Left {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let member = |id: &str| Member::new(id, at(id));
        let scope = Scope {
            members: vec![member("s1"), member("c2")],
            runsc_root: at("runsc"),
            folder: at("guard"),
            ..Scope::default()
        };
        for name in ["runsc", "guard", "s1/rootfs", "c2/rootfs", "data"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::set_permissions(at("guard"), fs::Permissions::from_mode(0o700)).unwrap();
        drop(UnixListener::bind(at("guard/shim.sock")).unwrap());
        drop(UnixListener::bind(at("runsc/runsc-s1.sock")).unwrap());
        let left = Self { folder, scope };
        left.write_state("s1", r#"{"cgroupunknown":null}"#);
        left.write_state("c2", r#"{"cgroupunknown":null}"#);
        for name in ["null-netns", "s12_sandbox:s12.state", "s12_sandbox:s12.lock", "runsc-s12.sock"] {
            fs::write(left.at("runsc").join(name), "").unwrap();
        }
        left
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_state(&self, id: &str, cgroup: &str) {
        let (rootfs, data) = (self.at(id).join("rootfs"), self.at("data"));
        let text = format!(
            r#"{{"id":"{id}","sandbox":{{"id":"s1","pid":1,"controlSocketPath":"/etc/passwd","cgroup":{cgroup}}},
            "goferPid":{},"compatCgroup":null,
            "spec":{{"root":{{"path":{rootfs:?}}},"mounts":[{{"source":{data:?}}},{{"source":"/nonexistent"}}]}}}}"#,
            std::process::id(),
        );
        fs::write(self.at("runsc").join(format!("{id}_sandbox:s1.state")), text).unwrap();
        fs::write(self.at("runsc").join(format!("{id}_sandbox:s1.lock")), "").unwrap();
        fs::write(rootfs.join(".gvisor.filestore.s1"), "").unwrap();
        fs::write(data.join(".gvisor.filestore.s1"), "").unwrap();
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(folder)).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What a test of cgroups cannot do without.
const NEEDS: &str = "needs root, and the hierarchies cpu and pids of cgroup v1";

const NEIGHBOURS: [&str; 4] =
    ["null-netns", "runsc-s12.sock", "s12_sandbox:s12.lock", "s12_sandbox:s12.state"];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[test]
fn all_of_a_sandbox_goes_and_all_of_its_neighbour_stays() {
    let left = Left::new();
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    // Two states, two locks, the control socket; the private folder is needed as long as these are there.
    assert_eq!(verify(&left.scope, &resources).len(), 5);
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert_eq!(verify(&left.scope, &resources), []);
    assert_eq!(left.names("runsc"), NEIGHBOURS);
    assert!(
        left.names("data").is_empty() && left.names("s1/rootfs").is_empty() && !left.at("guard").exists()
    );
    // Again, and from a fresh look: nothing to do.
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert_eq!(release(&left.scope, &mut Resources::of(&left.scope, &left.scope.members), soon()), []);
}

#[test]
fn one_container_leaves_what_it_shares() {
    let left = Left::new();
    let mut resources = Resources::of(&left.scope, &left.scope.members[1..]);
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    let runsc = left.names("runsc");
    assert!(runsc.contains(&"s1_sandbox:s1.state".into()) && runsc.contains(&"runsc-s1.sock".into()));
    assert!(!runsc.contains(&"c2_sandbox:s1.state".into()));
    assert_eq!(left.names("data"), [".gvisor.filestore.s1"]);
    assert!(left.names("c2/rootfs").is_empty() && left.names("s1/rootfs").len() == 1);
    assert!(left.at("guard").exists());
}

#[test]
fn only_a_regular_file_of_the_exact_name_is_a_filestore() {
    let left = Left::new();
    let (store, target) = (left.at("data/.gvisor.filestore.s1"), left.at("target"));
    fs::write(&target, "").unwrap();
    fs::remove_file(&store).unwrap();
    std::os::unix::fs::symlink(&target, &store).unwrap();
    fs::write(left.at("data/.gvisor.filestore.s12"), "").unwrap();
    let rootfs = left.at("s1/rootfs");
    fs::remove_dir_all(&rootfs).unwrap();
    fs::create_dir(left.at("elsewhere")).unwrap();
    fs::write(left.at("elsewhere/.gvisor.filestore.s1"), "").unwrap();
    std::os::unix::fs::symlink(left.at("elsewhere"), &rootfs).unwrap();
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert!(target.exists() && left.at("data/.gvisor.filestore.s12").exists());
    assert!(left.at("elsewhere/.gvisor.filestore.s1").exists());
}

#[test]
fn a_folder_that_is_not_certainly_ours_stays() {
    let mut left = Left::new();
    fs::set_permissions(left.at("guard"), fs::Permissions::from_mode(0o755)).unwrap();
    let release = |left: &Left| {
        let mut resources = Resources::of(&left.scope, &left.scope.members);
        super::release(&left.scope, &mut resources, soon())
    };
    assert_eq!(release(&left), [Leftover::File(left.at("guard"))]);
    assert!(left.at("guard/shim.sock").exists());
    fs::set_permissions(left.at("guard"), fs::Permissions::from_mode(0o700)).unwrap();
    left.scope.real_shim = Identity::me().ok();
    assert_eq!(release(&left), []);
    assert!(left.at("guard").exists(), "the real shim still serves there");
    left.scope.guard = left.scope.real_shim.take();
    assert_eq!(release(&left), []);
    assert!(left.at("guard").exists(), "the guard removes it at its own end");
    left.scope.guard = None;
    left.scope.folder = PathBuf::new();
    assert_eq!(release(&left), []);
}

#[test]
fn cgroups_that_runsc_made_are_removed_and_a_strangers_left() {
    let name = format!("guard-test-release-{}", std::process::id());
    let (own, shared) = (format!("/sys/fs/cgroup/cpu/{name}"), format!("/sys/fs/cgroup/pids/{name}"));
    fs::create_dir(&own).and_then(|()| fs::create_dir(&shared)).expect(NEEDS);
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(format!("{shared}/cgroup.procs"), stranger.id().to_string()).unwrap();
    let left = Left::new();
    left.write_state(
        "s1",
        &format!(r#"{{"cgroupv1":{{"name":"/{name}","own":{{"cpu":true,"pids":true}}}}}}"#),
    );
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    let start = Instant::now();
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert_eq!(verify(&left.scope, &resources), []);
    assert!(!Path::new(&own).exists() && Path::new(&shared).exists());
    assert!(start.elapsed() < Duration::from_millis(500), "does not wait for a stranger");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(cgroup::remove(Path::new(&shared), &BTreeSet::new(), soon()) && !Path::new(&shared).exists());
}

#[test]
fn a_killed_create_leaves_a_cgroup_that_only_its_configuration_knows() {
    let left = Left::new();
    fs::remove_file(left.at("runsc/s1_sandbox:s1.state")).unwrap();
    for (id, removed) in [("s1", true), ("other", false)] {
        let group = format!("guard-test-config-{}-{id}", std::process::id());
        let leaf = Path::new("/sys/fs/cgroup/cpu").join(&group).join(id);
        fs::create_dir_all(&leaf).expect(NEEDS);
        let config = format!(r#"{{"linux":{{"cgroupsPath":"/{group}/{id}"}}}}"#);
        fs::write(left.at("s1/config.json"), config).unwrap();
        let mut resources = Resources::of(&left.scope, &left.scope.members);
        assert_eq!(release(&left.scope, &mut resources, soon()), []);
        assert_eq!(!leaf.exists(), removed, "{id}");
        let _ = fs::remove_dir(&leaf);
        fs::remove_dir(leaf.parent().unwrap()).unwrap();
    }
}

/// containerd removes the bundle of a Create that has failed while others clear up after it.
#[test]
fn a_killed_create_leaves_a_cgroup_that_is_known_without_its_bundle() {
    let left = Left::new();
    fs::remove_file(left.at("runsc/s1_sandbox:s1.state")).unwrap();
    let group = format!("guard-test-asked-{}", std::process::id());
    let leaf = Path::new("/sys/fs/cgroup/cpu").join(&group).join("s1");
    fs::create_dir_all(&leaf).expect(NEEDS);
    let config = format!(
        r#"{{"linux":{{"cgroupsPath":"/{group}/s1","namespaces":[{{"type":"network","path":"/run/netns/n"}}]}}}}"#
    );
    fs::write(left.at("s1/config.json"), config).unwrap();
    asked::keep(&left.scope.folder, &left.scope.members[0]).unwrap();
    fs::remove_dir_all(left.at("s1")).unwrap();
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    assert_eq!(resources.network_namespace(), Some(Path::new("/run/netns/n")));
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert!(!leaf.exists());
    fs::remove_dir(leaf.parent().unwrap()).unwrap();
}

/// `runsc delete` fails midway, removes its state and leaves its cgroups.
#[test]
fn a_deleted_container_leaves_no_empty_cgroup_of_its_name() {
    let left = Left::new();
    let member = left.scope.members[1].clone();
    for (id, removed) in [("c2", true), ("other", false)] {
        let group = format!("guard-test-swept-{}-{id}", std::process::id());
        let leaf = Path::new("/sys/fs/cgroup/cpu").join(&group).join(id);
        fs::create_dir_all(&leaf).expect(NEEDS);
        let config = format!(r#"{{"linux":{{"cgroupsPath":"/{group}/{id}"}}}}"#);
        fs::write(left.at("c2/config.json"), config).unwrap();
        crate::resources::held::sweep_cgroups(&member);
        assert_eq!(!leaf.exists(), removed, "{id}");
        let _ = fs::remove_dir(&leaf);
        fs::remove_dir(leaf.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_mount_that_somebody_holds_is_a_leftover_until_it_is_let_go() {
    let left = Left::new();
    let tmpfs = mounts::tests::Tmpfs::new(&left.at("c2/rootfs"));
    let file = fs::File::create(left.at("c2/rootfs/held")).unwrap();
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    let leftover = release(&left.scope, &mut resources, soon());
    let me = Identity::me().unwrap();
    let held = |leftover: &Leftover| matches!(leftover, Leftover::DetachedMount { holders, .. } if holders.contains(&me));
    assert!(leftover.len() == 1 && held(&leftover[0]), "{leftover:?}");
    assert_eq!(verify(&left.scope, &resources), leftover);
    drop(file);
    // A child that another test has just begun may still have a copy of the file.
    let until = soon();
    while Instant::now() < until && verify(&left.scope, &resources).iter().any(held) {
        thread::sleep(Duration::from_millis(5));
    }
    // Kept for whoever tries again.
    assert_eq!(verify(&left.scope, &resources), [Leftover::File(left.at("guard"))]);
    assert_eq!(release(&left.scope, &mut resources, soon()), []);
    assert_eq!(verify(&left.scope, &resources), []);
    drop(tmpfs);
}

/// A `runsc` that comes too late for a deleted container makes its lock file anew, and no member is left to
/// name it.
#[test]
fn strays_of_the_sandbox_go_with_the_whole_and_only_then() {
    let left = Left::new();
    let stray = left.at("runsc").join("gone_sandbox:s1.lock");
    fs::write(&stray, "").unwrap();
    let nobodys = left.at("runsc").join("gone_sandbox:s12_sandbox:s1.lock");
    fs::write(&nobodys, "").unwrap();
    let member = left.scope.members[1].clone();
    let mut part = Resources::of(&left.scope, &[member]);
    assert_eq!(super::release(&left.scope, &mut part, Instant::now() + Duration::from_secs(2)), []);
    assert!(stray.exists(), "one container is not the sandbox");
    let mut whole = Resources::of(&left.scope, &left.scope.members);
    assert_eq!(super::release(&left.scope, &mut whole, Instant::now() + Duration::from_secs(2)), []);
    assert!(!stray.exists());
    assert!(left.at("runsc").join("s12_sandbox:s12.lock").exists(), "a neighbour's file");
    assert!(nobodys.exists(), "runsc has written no such name");
}

/// A Create that the real shim gave up may have come as far as a cgroup, and no member is left to name it.
#[test]
fn the_cgroups_of_strays_go_with_the_whole() {
    let left = Left::new();
    let state = r#"{"id":"gone","sandbox":{"id":"s1"},
        "compatCgroup":{"cgroupv1":{"name":"/none/gone","own":{"cpu":true,"memory":false}}}}"#;
    fs::write(left.at("runsc").join("gone_sandbox:s1.state"), state).unwrap();
    let mut whole = Resources::of(&left.scope, &left.scope.members);
    assert_eq!(whole.cgroups, [] as [PathBuf; 0]);
    whole.add_strays(&left.scope);
    assert_eq!(whole.cgroups, [PathBuf::from("/sys/fs/cgroup/cpu/none/gone")]);
}

#[test]
fn what_a_busy_node_had_no_time_for_is_released_all_the_same() {
    let left = Left::new();
    let mut resources = Resources::of(&left.scope, &left.scope.members);
    let over = Instant::now() - Duration::from_millis(1);
    assert_eq!(verify::release_and_verify(&left.scope, &mut resources, over, &sequence::Nobody), []);
}
