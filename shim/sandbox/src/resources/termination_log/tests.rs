use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const POD: &str = "2f0e7a52-1f2c-4c63-9a55-0d4a3c1f7b11";
const MESSAGE: &str = "it was ended";

fn config(sources: &[&str], annotations: &[(&str, &str)]) -> Vec<u8> {
    let mounts: Vec<_> = sources.iter().map(|source| serde_json::json!({ "source": source })).collect();
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::json!({ "annotations": annotations, "mounts": mounts }).to_string().into_bytes()
}

fn found(source: &str) -> bool {
    place(&config(&["proc", "/etc/x", source], &[(UID, POD), (NAME, "web")])).is_some()
}

#[test]
fn only_the_kubelets_own_path_of_that_very_container_is_one() {
    let good = format!("/var/lib/kubelet/pods/{POD}/containers/web/0a1b2c3d");
    assert!(found(&good) && found(&good.replace("/var/lib/kubelet", "/mnt/k")));
    let expected =
        Place { pod: Path::new("/var/lib/kubelet/pods").join(POD), below: "containers/web/0a1b2c3d".into() };
    assert_eq!(place(&config(&[&good], &[(UID, POD), (NAME, "web")])), Some(expected));
    for (from, to) in [
        (POD, "another-uid"),
        ("/web/", "/webb/"),
        ("/web/", "/./web/"),
        ("/web/", "//web/"),
        ("/web/", "/x/../web/"),
        ("0a1b2c3d", "0a1b2c3"),
        ("0a1b2c3d", "0A1b2c3d"),
        ("0a1b2c3d", "0a1b2c3d/"),
        ("0a1b2c3d", "0a1b2c3d/x"),
        ("/pods/", "/pod/"),
        ("/containers/", "/volumes/"),
        ("/var", "var"),
    ] {
        assert!(!found(&good.replace(from, to)), "{from} {to}");
    }
    let twice = [&*good, &good.replace("0a1b2c3d", "ffffffff")];
    assert_eq!(place(&config(&twice, &[(UID, POD), (NAME, "web")])), None, "which?");
    for annotations in
        [&[][..], &[(UID, POD)], &[(NAME, "web")], &[(UID, ".."), (NAME, "web")], &[(UID, ""), (NAME, "")]]
    {
        assert_eq!(place(&config(&[&good], annotations)), None, "{annotations:?}");
    }
    for nonsense in [&b""[..], b"{}", b"null", br#"{"annotations":null,"mounts":null}"#] {
        assert_eq!(place(nonsense), None);
    }
}

/// A bundle, and the pod's folder with the file.
fn laid_out() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods").join(POD).join("containers/web/0a1b2c3d");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "").unwrap();
    let config = config(&[file.to_str().unwrap()], &[(UID, POD), (NAME, "web")]);
    fs::write(folder.path().join("config.json"), config).unwrap();
    (folder, file)
}

#[test]
fn a_line_is_written_once_and_never_over_what_is_there() {
    let (bundle, file) = laid_out();
    assert!(write(bundle.path(), MESSAGE).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), MESSAGE);
    assert!(!write(bundle.path(), "again").unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), MESSAGE);
    fs::write(&file, "").unwrap();
    assert!(write(bundle.path(), &"ä".repeat(LIMIT)).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), "ä".repeat(LIMIT / 2));
}

#[test]
fn what_was_planted_is_not_written_to() {
    let (bundle, file) = laid_out();
    let outside = bundle.path().join("outside");
    fs::write(&outside, "").unwrap();
    let plants: [&dyn Fn(&Path); 4] = [
        &|file| symlink(&outside, file).unwrap(),
        &|file| fs::hard_link(&outside, file).unwrap(),
        &|file| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        &|file| fs::create_dir(file).unwrap(),
    ];
    for plant in plants {
        let _ = fs::remove_file(&file);
        plant(&file);
        assert!(!write(bundle.path(), MESSAGE).unwrap_or_default());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "");
    }
    fs::remove_dir(&file).unwrap();
    // A link on the way leads out as well.
    let elsewhere = bundle.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("0a1b2c3d"), "").unwrap();
    fs::remove_dir(file.parent().unwrap()).unwrap();
    symlink(&elsewhere, file.parent().unwrap()).unwrap();
    assert!(!write(bundle.path(), MESSAGE).unwrap_or_default());
    assert_eq!(fs::read_to_string(elsewhere.join("0a1b2c3d")).unwrap(), "");
    // Of somebody else.
    let (bundle, file) = laid_out();
    std::os::unix::fs::chown(&file, Some(1000), None).unwrap();
    assert!(!write(bundle.path(), MESSAGE).unwrap());
    assert!(write(Path::new("/nowhere"), MESSAGE).is_err());
}
