use super::*;
use crate::Member;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn named(written: Option<SystemTime>) -> Named {
    let pid = Identity::me().unwrap().pid;
    Named { pid, role: Role::Sentry, container: "c1".into(), written }
}

#[test]
fn a_file_names_whom_it_was_written_after() {
    let me = Identity::me().unwrap();
    let now = SystemTime::now();
    assert!(named(Some(now)).is(me));
    assert!(!named(Some(now - Duration::from_secs(100_000_000))).is(me), "the pid was somebody else's then");
    assert!(!named(None).is(me));
    assert!(!named(Some(now)).is(Identity { pid: 1, ..me }));
}

#[test]
fn who_has_given_up_its_capabilities_or_its_namespaces_is_not_root() {
    let vantage = Vantage::new();
    let me = Stat::of(std::process::id() as i32).unwrap();
    assert!(!vantage.is_contained(&me) && !vantage.is_of_roots_making(me.identity.pid));
    assert!(nix::unistd::geteuid().is_root(), "run as root: this starts who has given up what root has");
    assert!(vantage.is_root(me.identity.pid) && vantage.shares_files(me.identity.pid));
    let line = ["runsc-sandbox", "--root=/r/ns", "boot", "--bundle=/b/c1", "c1"].map(OsString::from);
    let scope =
        Scope { members: vec![Member::new("c1", "/b/c1")], runsc_root: "/r/ns".into(), ..Scope::default() };
    for (program, arguments) in [
        ("setpriv", &["--bounding-set=-all", "--inh-caps=-all", "sleep", "60"][..]),
        ("unshare", &["--user", "--map-root-user", "sleep", "60"]),
        ("unshare", &["--mount", "sleep", "60"]),
        ("unshare", &["--pid", "--fork", "--kill-child", "sleep", "60"]),
    ] {
        let mut child = Command::new(program).args(arguments).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let sleeps = || {
            let below = procfs::children(pid).ok().flatten().unwrap_or_default();
            let all = below.into_iter().chain([pid]).filter_map(|pid| Stat::of(pid).ok());
            all.into_iter().find(|stat| stat.comm == "sleep")
        };
        let stat = loop {
            if let Some(stat) = sleeps() {
                break stat;
            }
            std::thread::yield_now();
        };
        assert!(!Proof::of(&scope).holds(&stat, &line), "{program} {arguments:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(Proof::of(&scope).holds(&me, &line), "root says so");
}

#[test]
fn whoever_cannot_be_seen_is_proved_nothing_and_may_be_root() {
    let (me, nobody) = (std::process::id().cast_signed(), i32::MAX);
    let blind = Vantage { user: None, mount: None };
    assert!(!blind.is_root(me) && !blind.shares_files(me));
    assert!(blind.may_be_root(me) && !blind.may_be_root(nobody));
    assert!(Vantage::new().may_be_root(me) && !Vantage::new().may_be_root(nobody));
}

#[test]
fn runsc_is_found_on_the_path_if_it_is_roots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (ground, file) = (Ground::look(), folder.path().join("runsc"));
    fs::write(&file, "").unwrap();
    let path = std::env::join_paths(["/nowhere".as_ref(), folder.path()]).unwrap();
    let found = |binary: &str| -> Vec<PathBuf> {
        runsc(Path::new(binary), Some(&path), &ground).into_iter().map(|one| one.path).collect()
    };
    for name in ["runsc", &file.to_string_lossy()] {
        assert_eq!(found(name), std::slice::from_ref(&file), "{name}");
    }
    assert!(found("./runsc").is_empty() && found("other").is_empty());
    fs::create_dir(folder.path().join("gvisor-bin")).unwrap();
    let sentries = SENTRIES.map(|name| folder.path().join(name));
    for sentry in &sentries {
        fs::write(sentry, "").unwrap();
    }
    let from = |first: usize| [std::slice::from_ref(&file), &sentries[first..]].concat();
    assert_eq!(found("runsc"), from(0));
    fs::set_permissions(&sentries[0], fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(found("runsc"), from(1), "anybody may have written it");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(found("runsc").is_empty(), "anybody may have written it");
}
