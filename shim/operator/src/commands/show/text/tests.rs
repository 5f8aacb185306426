use super::*;
use crate::commands::show::Shown;
use crate::commands::show::details::Network;
use crate::survey::model::State;
use crate::survey::model::tests::sandbox;
use runsc_guard_sandbox::sys::identity::Identity;

fn line(pid: i32, parent: i32, role: Role) -> Line {
    Line {
        identity: Identity { pid, start_time: 1 },
        parent,
        role,
        comm: "exe".into(),
        state: 'S',
        wchan: Some("futex_wait".into()),
        threads: 1,
        stuck: Vec::new(),
        age_ms: 61_000,
        container: None,
    }
}

fn details() -> Details {
    let mut processes =
        vec![line(10, 1, Role::RealShim), line(11, 10, Role::Sentry), line(12, 10, Role::Gofer)];
    processes.extend((20..30).map(|pid| line(pid, 11, Role::Stub)));
    processes[1].stuck = vec![(15, 'D', "request_wait_answer".into())];
    Details {
        processes,
        cgroups: BTreeMap::from([("/k8s/a".into(), vec!["cpu".into(), "memory".into()])]),
        own_cgroups: vec!["/sys/fs/cgroup/cpu/k8s/a".into()],
        mounts: vec!["/b/rootfs (overlay overlay)".into()],
        files: Vec::new(),
        network: Network { links: vec![("eth0".into(), 2048, 0)], ..Network::default() },
        version: Some("release-20260817.0".into()),
        flags: vec!["--platform=systrap".into()],
        reports: Vec::new(),
    }
}

#[test]
fn json_is_as_the_schema_says() {
    let (sandbox, details) = (sandbox("pod1", State::Running), details());
    for details in [Some(&details), None] {
        crate::schema::assert_valid("show", &Shown { sandbox: &sandbox, details });
    }
}

#[test]
fn the_tree_shows_who_descends_from_whom_and_counts_stubs() {
    let text = render(&sandbox("pod1", State::Running), Some(&details()));
    let text = anstream::adapter::strip_str(&text).to_string();
    let at = |needle: &str| text.lines().position(|line| line.starts_with(needle)).expect(needle);
    assert_eq!(
        at("    sentry 11 S 1m1s in futex_wait [thread 15 D in request_wait_answer]"),
        at("  real shim 10") + 1
    );
    assert_eq!(at("      stub 20"), at("    sentry 11") + 1);
    assert_eq!(at("      10 stubs in all"), at("      stub 21") + 1);
    assert!(at("    gofer 12") > at("      10 stubs in all"));
    for needle in [
        "release-20260817.0",
        "/k8s/a (cpu memory)",
        "link eth0: 2K received, 0K sent",
        "none: the unguarded shim",
    ] {
        assert!(text.contains(needle), "{needle} in\n{text}");
    }
    assert!(!text.contains("Reports"), "an empty section is left out");
}

#[test]
fn what_the_guard_says_has_sections_of_its_own() {
    let mut one = sandbox("pod1", State::Wedged);
    let kill = Waiting {
        method: "SIGKILL".into(),
        about: "c".into(),
        waited_ms: 3_000,
        due_in_ms: Some(7_000),
        ..Waiting::default()
    };
    let word = Word {
        stage: "serving".into(),
        clocks: vec![kill],
        last: vec![(1_500, "/tasks/start c".into())],
        ..Word::default()
    };
    one.found.guard = Guard::Says(one.found.real_shims[0].clone(), Box::new(word));
    let text = anstream::adapter::strip_str(&render(&one, None)).to_string();
    assert!(text.contains("SIGKILL of c: 3s, sandbox ended in 7s"), "{text}");
    assert!(text.contains("1s ago  /tasks/start c"), "{text}");
    assert!(text.contains("could not be read in time"), "{text}");
}
