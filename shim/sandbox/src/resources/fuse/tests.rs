use std::fs;

use super::*;
use crate::Member;
use crate::sys::identity::Stat;

fn mount(kind: &str, device: &str, point: &str) -> Mount {
    let (point, source) = (point.into(), "s".to_owned());
    Mount { id: 1, device: device.to_owned(), point, kind: kind.to_owned(), source }
}

#[test]
fn only_fuse_has_connections_and_a_block_device_is_no_minor_alone() {
    assert_eq!(connection(&mount("fuse", "0:45", "/a")), Some(45));
    assert_eq!(connection(&mount("fuse.sshfs", "0:46", "/a")), Some(46));
    for other in
        [mount("fuseblk", "8:1", "/a"), mount("overlay", "0:47", "/a"), mount("virtiofs", "0:48", "/a")]
    {
        assert_eq!(connection(&other), None);
    }
}

#[test]
fn a_mount_is_the_pods_own_below_its_bundles_and_its_folder_only() {
    let bundle = tempfile::tempdir().unwrap();
    let config = r#"{"annotations": {"io.kubernetes.cri.sandbox-uid": "uid-1"}}"#;
    fs::write(bundle.path().join("config.json"), config).unwrap();
    let member = Member::new("a", bundle.path());
    let places = Places::of(&Scope { members: vec![member], ..Scope::default() });
    assert!(places.hold(&bundle.path().join("rootfs")));
    assert!(places.hold(Path::new("/var/lib/kubelet/pods/uid-1/volumes/v/mount")));
    for other in ["/var/lib/kubelet/pods/uid-12/volumes/v", "/uid-1", "/var/lib/lxcfs", "/", "/pods/x/uid-1"]
    {
        assert!(!places.hold(Path::new(other)), "{other}");
    }
}

/// A uid becomes part of a path: nothing that could be more than a name is taken.
#[test]
fn a_pod_without_a_plain_uid_has_no_folder() {
    for uid in ["", "..", "a/b", "."] {
        let bundle = tempfile::tempdir().unwrap();
        let config = format!(r#"{{"annotations": {{"io.kubernetes.cri.sandbox-uid": "{uid}"}}}}"#);
        fs::write(bundle.path().join("config.json"), config).unwrap();
        assert_eq!(pod_uid(bundle.path()), None, "{uid}");
    }
}

#[test]
fn one_foreign_mount_spares_the_connection() {
    let places = Places { bundles: vec!["/b/a".into()], pods: vec!["pods/u".into()] };
    let own = Table { own: true, mounts: vec![mount("fuse", "0:45", "/anywhere")] };
    let hosts = |point: &str| Table { own: false, mounts: vec![mount("fuse", "0:45", point)] };
    assert!(own.is_ours(45, &places) && hosts("/k/pods/u/v").is_ours(45, &places));
    assert!(hosts("/b/a/rootfs").is_ours(45, &places) && hosts("/srv").is_ours(46, &places));
    assert!(!hosts("/srv").is_ours(45, &places));
    assert_eq!(own.certain(&places).count(), 1);
    assert_eq!(hosts("/k/pods/u/v").certain(&places).count(), 0);
}

#[test]
fn this_process_and_its_mounts_are_somebody() {
    let tables = Table::all(&Scope::default(), &[]).unwrap();
    assert!(!tables.is_empty() && tables.iter().all(|table| !table.own));
    // The kernel's list can be opened, and does not appear in the mount table.
    let in_sight = || {
        let all = mounts::seen_by("self").unwrap();
        all.into_iter().filter(|mount| mount.kind == "fusectl").collect::<Vec<_>>()
    };
    let before = in_sight();
    let control = Fusectl::open();
    assert_eq!(in_sight(), before);
    assert!(control.is_ok_and(|control| !control.is_waiting(u32::MAX)));
}

/// A thread that waits, is woken and waits again is told from one that waits on.
#[test]
fn who_is_woken_has_given_its_processor_away_once_more() {
    let (wake, woken) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel();
    let waits = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        woken.into_iter().for_each(drop);
    });
    let thread = told.recv().unwrap();
    let asleep = || while Stat::of(thread).unwrap().state != 'S' {};
    asleep();
    let before = procfs::switches(thread).unwrap();
    assert_eq!(procfs::switches(thread), Some(before));
    wake.send(()).unwrap();
    while procfs::switches(thread) == Some(before) {}
    drop(wake);
    waits.join().unwrap();
    assert_eq!(procfs::switches(thread), None);
}
