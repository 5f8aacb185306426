use super::*;
use clap::CommandFactory;

#[test]
fn the_definition_holds_together() {
    Args::command().debug_assert();
}

#[test]
fn reap_takes_ids_or_one_kind() {
    let ok = |line: &str| Args::try_parse_from(line.split(' ')).is_ok();
    assert!(ok("runsc-guard reap a b") && ok("runsc-guard reap --wedged -y -n x --dry-run"));
    for wrong in ["runsc-guard reap", "runsc-guard reap a --wedged", "runsc-guard reap --wedged --orphaned"] {
        assert!(!ok(wrong), "{wrong}");
    }
}

#[test]
fn doctor_takes_a_socket_in_both_forms_and_several_logs() {
    let doctor = |line: &str| match Args::try_parse_from(line.split(' ')).ok()?.command {
        Command::Doctor(doctor) => Some(doctor),
        _ => None,
    };
    let address = |line: &str| doctor(line).map(|doctor| doctor.address);
    assert_eq!(address("runsc-guard doctor"), Some(None), "wherever one listens");
    assert_eq!(
        address("runsc-guard doctor --address unix:///run/k3s/c.sock"),
        Some(Some("/run/k3s/c.sock".into()))
    );
    let logs = doctor("runsc-guard doctor --logs a --logs -").unwrap().logs;
    assert_eq!(logs, [PathBuf::from("a"), "-".into()]);
    assert!(doctor("runsc-guard doctor --logs a --fix").is_none());
    assert!(doctor("runsc-guard doctor --fix -o json").is_none(), "what is printed is TOML");
}

#[test]
fn watch_has_a_default_and_bounds() {
    let watch = |line: &str| match Args::try_parse_from(line.split(' ')).ok()?.command {
        Command::Ls(ls) => ls.watch,
        _ => None,
    };
    assert_eq!(watch("runsc-guard ls --watch"), Some(Duration::from_secs(2)));
    assert_eq!(watch("runsc-guard ls --watch=0.5"), Some(Duration::from_millis(500)));
    assert_eq!(watch("runsc-guard ls --watch=0"), None);
}
