use super::*;
use crate::Member;

fn argv(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn scope() -> Scope {
    Scope {
        members: vec![Member::new("root1", "/run/b/root1"), Member::new("sub1", "/run/b/sub1")],
        runsc_root: "/run/runsc/ns".into(),
        folder: Path::new("/run/guard").join(guard_name("/c.sock", "ns", "root1")),
        ..Scope::default()
    }
}

#[test]
fn guard_and_real_shim_are_known_by_flags_that_hash_to_the_folder() {
    let folder = scope().folder;
    for line in [
        "/x/containerd-shim-runsc-v1 -namespace ns -address /c.sock -id root1",
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -id root1 -address /c.sock -debug",
    ] {
        assert!(serves(&argv(line), &folder), "{line}");
        assert!(!guards_another(&argv(line), &folder), "{line}");
        assert!(!serves(&argv(line), Path::new("/run/guard/other")), "{line}");
    }
    for line in [
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -id root2 -address /c.sock",
        "/x/containerd-shim-runsc-guard-v2 -namespace ns2 -id root1 -address /c.sock",
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -id root1 -address /d.sock",
    ] {
        assert!(guards_another(&argv(line), &folder) && !serves(&argv(line), &folder), "{line}");
    }
    for line in [
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -address /c.sock -publish-binary c -id root1 start",
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -address /c.sock -id root1 -bundle /b delete",
        "/x/containerd-shim-runsc-guard-v2 -namespace ns -id root1 -address",
        "/x/containerd-shim-runsc-v1",
    ] {
        assert!(!serves(&argv(line), &folder) && !guards_another(&argv(line), &folder), "{line}");
    }
}

#[test]
fn roles_come_from_the_command_line() {
    for (line, role) in [
        ("runsc-sandbox --root=/run/runsc/ns boot --bundle=/run/b/root1 root1", Role::Sentry),
        (
            "/x/gvisor-bin/gvisor-sentry-prewarmer /x/gvisor-bin/gvisor_sentry runsc-sandbox --root=/run/runsc/ns boot \
             --bundle=/run/b/root1 root1",
            Role::Sentry,
        ),
        ("/x/gvisor-bin/gvisor-sentry-prewarmer /x/gvisor-bin/gvisor_sentry", Role::Other),
        ("/x/runsc-gofer --root=/run/runsc/ns gofer --bundle /run/b/sub1 sub1", Role::Gofer),
        ("runsc-exec --root=/run/runsc/ns exec sub1", Role::Exec),
        ("/shim -namespace ns -address /c.sock -id root1", Role::RealShim),
        ("runsc --root=/run/runsc/ns --log=/l --log-format=json wait sub1", Role::Runsc("wait".into())),
        ("/bin/sh /opt/wrapper --root=/run/runsc/ns kill sub1 9", Role::Runsc("kill".into())),
        ("sleep 1000000", Role::Other),
    ] {
        assert_eq!(Role::of(&argv(line), &scope(), None), role, "{line}");
    }
    assert_eq!(Role::of(&[], &scope(), Some(&Role::Sentry)), Role::Stub);
    assert_eq!(Role::of(&[], &scope(), None), Role::Other);
}

#[test]
fn a_claim_names_root_container_and_bundle() {
    let claim = |line: &str| Claim::of(&argv(line));
    let sentry = claim("runsc-sandbox --root=/r/ns --log=/l boot --bundle=/b/c1 --pidns=true c1").unwrap();
    assert_eq!((sentry.role, sentry.root, sentry.container), (Role::Sentry, "/r/ns".into(), "c1".into()));
    assert_eq!(sentry.bundle, Some("/b/c1".into()));
    let prewarmer = claim(
        "/x/gvisor-sentry-prewarmer /x/gvisor_sentry runsc-sandbox --root=/r/ns boot --bundle=/b/c1 c1",
    );
    assert_eq!(prewarmer.map(|claim| (claim.role, claim.container)), Some((Role::Sentry, "c1".into())));
    let kill = claim("/usr/bin/runsc --root=/r/ns kill --all c2 9").unwrap();
    assert_eq!((kill.role, kill.container), (Role::Runsc("kill".into()), "c2".into()));
    for line in ["sleep 1", "runsc --root=relative state c1", "runsc state c1", "/shim -namespace ns -id c1"]
    {
        assert_eq!(claim(line), None, "{line}");
    }
}

#[test]
fn a_command_line_names_by_bundle_or_by_root_and_whole_id() {
    for line in [
        "runsc-sandbox --root=/elsewhere boot --bundle=/run/b/root1 x",
        "runsc-gofer --root=/run/runsc/ns gofer --bundle /elsewhere sub1",
        "/x/gvisor-sentry-prewarmer /x/gvisor_sentry runsc-sandbox --root=/run/runsc/ns boot --bundle=/b root1",
        "/usr/bin/runsc --root=/run/runsc/ns kill --all sub1 9",
    ] {
        assert!(claims(&argv(line), &scope()), "{line}");
    }
    for line in [
        "runsc-sandbox --root=/run/runsc/ns boot --bundle=/run/b/root12 root12",
        "runsc-sandbox --root=/run/runsc/ns2 boot root1",
        "runsc --root=/run/runsc/ns kill other 9",
        "runsc --root=/run/runsc/ns state root",
        "sh -c runsc --root=/run/runsc/ns state root1",
        "/shim -namespace ns -address /c.sock -id root1",
        "/x/gvisor-sentry-prewarmer /x/gvisor_sentry runsc-sandbox --root=/run/runsc/ns2 boot root1",
        "/x/gvisor-sentry-prewarmer /x/gvisor_sentry sh --root=/run/runsc/ns boot root1",
        "/x/some-prewarmer /x/gvisor_sentry runsc-sandbox --root=/run/runsc/ns boot root1",
        "runsc",
    ] {
        assert!(!claims(&argv(line), &scope()), "{line}");
    }
    assert!(!claims(&[], &scope()));
}

#[test]
fn an_empty_scope_is_named_by_nothing() {
    let member = Member::new("", "");
    let empty = Scope { members: vec![member], ..Scope::default() };
    for line in ["runsc --root= state ", "runsc-sandbox --bundle= ", "runsc"] {
        assert!(!claims(&argv(line), &empty), "{line}");
    }
}
