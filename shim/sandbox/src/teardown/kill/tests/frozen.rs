//! Of those that a freezer holds: the stand-in for what the kernel keeps.

use super::*;

/// A v1 cgroup that freezes.
struct Freezer(std::path::PathBuf);

impl Freezer {
    fn holding(name: &str, pids: &[i32]) -> Self {
        let folder =
            Path::new("/sys/fs/cgroup/freezer").join(format!("guard-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("needs root, and the hierarchy freezer of cgroup v1");
        for pid in pids {
            std::fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        std::fs::write(folder.join("freezer.state"), "FROZEN").unwrap();
        while std::fs::read_to_string(folder.join("freezer.state")).unwrap().trim() != "FROZEN" {
            std::thread::yield_now();
        }
        Self(folder)
    }

    fn thaw(&self) {
        std::fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
    }
}

/// Goes last in a test, once nobody is in it any more.
impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        assert!(cgroup::remove(&self.0, &BTreeSet::new(), Instant::now() + Duration::from_secs(2)));
    }
}

fn identities(left: &[StuckProcess]) -> Vec<Identity> {
    left.iter().map(|one| one.identity).collect()
}

#[test]
fn a_frozen_sandbox_is_thawed_and_dies() {
    let cast = sandbox("frozen");
    let pids = [cast.0[2].1.pid, cast.0[3].1.pid];
    let freezer = Freezer::holding("frozen", &pids);
    let start = Instant::now();
    assert_eq!(kill_sandbox(&scope("frozen"), &mut Signalled::new(), soon()).left, []);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(cast.alive()[2..4], [false, false]);
    drop((cast, freezer));
}

/// SIGKILL comes first: what is thawed before it runs on, and does what it was kept from.
#[test]
fn what_is_frozen_does_nothing_more_before_it_dies() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let file = folder.path().join(round.to_string());
        let busy = format!("while :; do echo; done >{}", file.display());
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", &format!("({busy}) & ({busy}) & read x")]).stdin(Stdio::piped());
        let mut guard = guard.spawn().unwrap();
        let identity = Identity::of(guard.id() as i32).unwrap();
        let scope = Scope { guard: Some(identity), ..scope("busy") };
        let written = || std::fs::metadata(&file).map_or(0, |meta| meta.len());
        while find(&scope).len() < 2 || written() == 0 {
            std::thread::yield_now();
        }
        let pids: Vec<i32> = find(&scope).iter().map(|process| process.identity.pid).collect();
        let freezer = Freezer::holding(&format!("busy{round}"), &pids);
        let before = written();
        assert_eq!(kill_all(&scope, &mut Signalled::new(), soon()).left, []);
        assert_eq!(written(), before, "round {round}");
        guard.kill().unwrap();
        guard.wait().unwrap();
        drop(freezer);
    }
}

#[test]
fn what_cannot_die_is_named_and_can_be_waited_for() {
    let (cast, stranger) = (sandbox("stuck"), Cast::new(&private_folder("stranger1"), &["stranger"]));
    // A stranger in the same frozen cgroup forbids to thaw it: the stand-in here for state D.
    let freezer = Freezer::holding("stuck", &[cast.0[2].1.pid, stranger.0[0].1.pid]);
    let start = Instant::now();
    let mut signalled = Signalled::new();
    let stuck = kill_sandbox(&scope("stuck"), &mut signalled, start + Duration::from_millis(250)).left;
    assert!(start.elapsed() >= Duration::from_millis(250) && start.elapsed() < Duration::from_secs(1));
    assert_eq!(stuck.len(), 1);
    let (one, sentry) = (&stuck[0], cast.0[2].1);
    assert_eq!((one.identity, &one.role, one.state), (sentry, &Role::Sentry, 'D'));
    assert!(!one.runs());
    assert_eq!(one.frozen.as_ref(), Some(&freezer.0));
    let text = one.to_string();
    assert!(text.starts_with(&format!("pid {} (sh, sentry) state D", sentry.pid)), "{text}");
    let waiting = await_death(&stuck);
    assert!(waiting.len() == 1 && !waiting[0].1.is_dead());
    // As one is that is dying: no look finds it by what proved it.
    let found_no_more = kill_all(&scope("elsewhere"), &mut signalled, Instant::now());
    assert_eq!(identities(&found_no_more.left), [sentry]);
    freezer.thaw();
    assert_eq!(kill_all(&scope("elsewhere"), &mut signalled, soon()).left, []);
    assert!(waiting[0].1.is_dead() && signalled.is_empty());
    assert!(stranger.alive()[0]);
    assert!(await_death(&stuck).is_empty() || await_death(&stuck)[0].1.is_dead());
    drop((cast, stranger, freezer));
}

/// The same of what a Create has begun: it is carried to the hunt for all of the sandbox, and named by no other Create.
#[test]
fn what_a_create_leaves_dying_is_found_by_the_next_step() {
    let (cast, stranger) = (sandbox("stuckcreate"), Cast::new(&private_folder("stranger2"), &["stranger"]));
    let freezer = Freezer::holding("create", &[cast.0[5].1.pid, stranger.0[0].1.pid]);
    let (scope, gofer) = (scope("stuckcreate"), cast.0[5].1);
    let sequence = Sequence::new(UnblockPolicy::NONE);
    let over = Instant::now() + Duration::from_millis(250);
    assert_eq!(identities(&sequence.kill_create(&scope, &scope.members[1], over)), [gofer]);
    let elsewhere = [self::scope("elsewhere")];
    assert_eq!(sequence.kill_create(&elsewhere[0], &elsewhere[0].members[0], Instant::now()), []);
    assert_eq!(identities(&sequence.kill_until(&elsewhere, Instant::now())), [gofer]);
    freezer.thaw();
    assert_eq!(sequence.kill_until(&elsewhere, soon()), []);
    assert!(stranger.alive()[0]);
    drop((cast, stranger, freezer));
}
