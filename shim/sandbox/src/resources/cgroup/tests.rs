use std::process::{Child, Command};

use super::*;
use crate::diagnostics::pulse::Pulse;
use crate::sys::identity::Identity;

/// A cgroup of our own, removed with the test. The hierarchy is one that this machine has.
struct Group(PathBuf);

impl Group {
    fn new(root: &str, name: &str) -> Self {
        let folder = Path::new(root).join(format!("guard-test-{name}-{}", std::process::id()));
        fs::create_dir(&folder).expect("needs root, to make cgroups");
        Self(folder)
    }

    fn add(&self, child: &Child) {
        fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }

    fn freeze(&self) {
        let state = self.0.join("freezer.state");
        if state.exists() {
            fs::write(state, "FROZEN")
        } else {
            fs::write(self.0.join("cgroup.freeze"), "1")
        }
        .unwrap();
        while !is_frozen(&self.0) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = thaw_one(&self.0);
        assert!(remove(&self.0, &BTreeSet::new(), Instant::now() + Duration::from_secs(2)));
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// One in each hierarchy that this machine has and that freezes.
fn each_hierarchy(name: &str) -> Vec<Group> {
    let roots = ["/sys/fs/cgroup/freezer", HYBRID, ROOT];
    let usable = roots.iter().filter(|root| Path::new(root).join("cgroup.procs").exists());
    let groups: Vec<Group> = usable.map(|root| Group::new(root, name)).collect();
    assert!(!groups.is_empty(), "needs a cgroup hierarchy that freezes");
    groups
}

#[test]
fn who_is_frozen_cannot_answer() {
    for group in each_hierarchy("pulse") {
        let child = sleeper();
        let identity = Identity::of(child.id() as i32).unwrap();
        group.add(&child);
        assert!(!Pulse::of(identity).unwrap().is_held());
        group.freeze();
        let frozen = Pulse::of(identity).unwrap();
        assert!(frozen.is_held() && !frozen.explains(&frozen), "{}", group.0.display());
        thaw_one(&group.0).unwrap();
        end(child);
    }
}

#[test]
fn thaws_what_holds_only_the_sandbox() {
    for group in each_hierarchy("thaw") {
        let child = sleeper();
        let pids = BTreeSet::from([child.id() as i32]);
        group.add(&child);
        group.freeze();
        assert_eq!(thaw(&pids, &BTreeSet::new()), std::slice::from_ref(&group.0));
        assert!(!is_frozen(&group.0));
        assert!(thaw(&pids, &BTreeSet::new()).is_empty());
        end(child);
    }
}

#[test]
fn a_strangers_freeze_is_left_alone_unless_runsc_made_the_cgroup() {
    for group in each_hierarchy("shared") {
        let (child, stranger) = (sleeper(), sleeper());
        let pids = BTreeSet::from([child.id() as i32]);
        group.add(&child);
        group.add(&stranger);
        group.freeze();
        assert!(thaw(&pids, &BTreeSet::new()).is_empty());
        assert!(is_frozen(&group.0));
        let own = BTreeSet::from([group.0.clone()]);
        assert_eq!(thaw(&pids, &own), std::slice::from_ref(&group.0));
        end(child);
        end(stranger);
    }
}

#[test]
fn a_frozen_parent_is_found() {
    for group in each_hierarchy("parent") {
        let leaf = Group(group.0.join("leaf"));
        fs::create_dir(&leaf.0).unwrap();
        let child = sleeper();
        leaf.add(&child);
        group.freeze();
        while !is_frozen(&leaf.0) {
            std::thread::yield_now();
        }
        assert_eq!(
            thaw(&BTreeSet::from([child.id() as i32]), &BTreeSet::new()),
            std::slice::from_ref(&group.0)
        );
        end(child);
        drop(leaf);
    }
}

/// Rule 1: the whole of a v2 cgroup is killed only if runsc made it and everybody in it is to die.
#[test]
fn a_cgroup_is_killed_only_with_nobody_else_in_it() {
    let v2 = unified().expect("this machine has no v2 hierarchy");
    let group = Group::new(&v2.to_string_lossy(), "kill");
    let (mut child, stranger) = (sleeper(), sleeper());
    group.add(&child);
    group.add(&stranger);
    let doomed = BTreeSet::from([child.id() as i32]);
    let own = BTreeSet::from([group.0.clone()]);
    assert!(kill(&doomed, &own).is_empty());
    fs::write(v2.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    assert!(kill(&doomed, &BTreeSet::new()).is_empty());
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(kill(&doomed, &own), std::slice::from_ref(&group.0));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    end(stranger);
}

/// runsc lists a parent that was missing as its own. Another engine may start a container beside meanwhile.
#[test]
fn a_parent_that_others_may_join_is_not_killed_as_a_whole() {
    let v2 = unified().expect("this machine has no v2 hierarchy");
    let parent = Group::new(&v2.to_string_lossy(), "kill-parent");
    let leaf = Group(parent.0.join("leaf"));
    fs::create_dir(&leaf.0).unwrap();
    let mut child = sleeper();
    leaf.add(&child);
    let own = BTreeSet::from([parent.0.clone(), leaf.0.clone()]);
    assert_eq!(kill(&BTreeSet::from([child.id() as i32]), &own), std::slice::from_ref(&leaf.0));
    child.wait().unwrap();
    drop(leaf);
}

#[test]
fn a_cgroup_in_use_is_left_and_one_of_our_dying_is_waited_for() {
    for group in each_hierarchy("remove") {
        let child = sleeper();
        group.add(&child);
        let ours = BTreeSet::from([child.id() as i32]);
        let soon = || Instant::now() + Duration::from_millis(50);
        assert!(remove(&group.0, &BTreeSet::new(), soon()) && group.0.exists());
        assert!(!remove(&group.0, &ours, soon()));
        end(child);
        assert!(remove(&group.0, &ours, soon()) && !group.0.exists());
    }
}

#[test]
fn paths_stay_strictly_below_their_hierarchy() {
    assert_eq!(v1("cpu", Path::new("/a/b")), Some("/sys/fs/cgroup/cpu/a/b".into()));
    for (controller, path) in
        [("cpu", "/"), ("cpu", ""), ("cpu", "."), ("cpu", "/a/../b"), ("etc", "/a"), ("", "/a")]
    {
        assert_eq!(v1(controller, Path::new(path)), None, "{controller} {path}");
    }
    assert_eq!(v2(Path::new(ROOT), Path::new("a")), Some("/sys/fs/cgroup/a".into()));
    assert_eq!(v2(Path::new("/tmp"), Path::new("a")), None);
}

#[test]
fn what_limits_processor_time_is_known_in_each_hierarchy() {
    let roots = ["/sys/fs/cgroup/cpu", HYBRID, ROOT];
    let usable = roots.iter().filter(|root| Path::new(root).join("cgroup.procs").exists());
    let groups: Vec<Group> = usable.map(|root| Group::new(root, "limits")).collect();
    assert!(!groups.is_empty(), "needs a cgroup hierarchy");
    let child = sleeper();
    groups.iter().for_each(|group| group.add(&child));
    let mut limiting = limiting(child.id().cast_signed());
    limiting.sort();
    let mut folders: Vec<&PathBuf> = groups.iter().map(|group| &group.0).collect();
    folders.sort();
    assert!(limiting.iter().eq(folders), "{limiting:?}");
    end(child);
}
