//! Bad configuration is a clear error at `start` (rule 6).

use std::time::Duration;

use runsc_guard_core::policy::{Policy, Watchdog};

use super::*;

const FILE: &str = "/etc/containerd/runsc.toml";

fn read(text: &str) -> Result<Config, String> {
    parse(Path::new(FILE), text).map_err(|error| error.to_string())
}

/// The error for `text`, which must be one line and begin with the file and this line.
fn refused(text: &str, line: usize) -> String {
    let error = read(text).unwrap_err();
    assert!(!error.contains('\n'), "{error:?}");
    let place = format!("{FILE}:{line}: ");
    error.strip_prefix(&place).unwrap_or_else(|| panic!("{error:?} not at {place}")).to_owned()
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(load(None).unwrap(), Config::default());
    assert_eq!(read("").unwrap(), Config::default());
    assert_eq!(read("[guard]\n").unwrap(), Config::default());
}

#[test]
fn every_key() {
    let text = r#"
        root = "/var/run/runsc"
        binary_name = "runsc-debug"
        log_level = "debug"
        unknown_to_all = [1, 2]
        [runsc_config]
        platform = "systrap"
        [guard]
        shim = "/opt/shim"
        create_deadline = "1m 30s"
        start_deadline = "2m"
        exec_deadline = "20s"
        query_deadline = "900ms"
        stats_deadline = "1s"
        signal_deadline = "3s"
        kill_deadline = "4s"
        hard_limit = "0s"
        delete_deadline = "3s"
        shutdown_deadline = "2500ms"
        release_network = false
        abort_fuse = false
        report_dir = "/srv/reports"
        watchdog = "kill"
        watchdog_after = "2m"
        stats = "shim"
        log_format = "json"
        allow_annotations = true
    "#;
    let seconds = Duration::from_secs;
    let expected = Config {
        policy: Policy {
            create_deadline: seconds(90),
            start_deadline: seconds(120),
            exec_deadline: seconds(20),
            query_deadline: Duration::from_millis(900),
            stats_deadline: seconds(1),
            signal_deadline: seconds(3),
            kill_deadline: seconds(4),
            hard_limit: None,
            delete_deadline: seconds(3),
            shutdown_deadline: Duration::from_millis(2500),
            watchdog: Watchdog::Kill,
            watchdog_after: seconds(120),
        },
        shim: "/opt/shim".into(),
        report_dir: "/srv/reports".into(),
        release_network: false,
        abort_fuse: false,
        stats: StatsWay::Shim,
        log_format: LogFormat::Json,
        allow_annotations: true,
        runsc_root: "/var/run/runsc".into(),
        runsc_flag_root: None,
        runsc_flag_override: false,
        runsc_binary: "runsc-debug".into(),
    };
    let config = read(text).unwrap();
    assert_eq!(config, expected);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), expected);
    // As a guard of another version may have kept it.
    let other = json.replace("\"watchdog\"", "\"unheard_of\"").replace("\"shim\":", "\"unheard_of_too\":");
    let read: Config = serde_json::from_str(&other).unwrap();
    assert_eq!((read.policy.watchdog, read.shim), (Watchdog::Report, Config::default().shim));
    for key in keys::names() {
        assert!(text.contains(&format!("{key} = ")), "{key} is not tried");
    }
}

#[test]
fn the_defaults_are_within_their_own_bounds() {
    let policy = Policy::default();
    let text = format!(
        "[guard]\nquery_deadline='{:?}'\nstats_deadline='{:?}'\ndelete_deadline='{:?}'\n\
         shutdown_deadline='{:?}'\nkill_deadline='{:?}'\nhard_limit='5m'",
        policy.query_deadline,
        Duration::from_secs(1),
        Duration::from_secs(2),
        policy.shutdown_deadline,
        policy.kill_deadline,
    );
    read(&text).unwrap();
    bounds::fit_together(&mut Policy::default(), |_| true).unwrap();
}

#[test]
fn gvisors_own_mistakes_are_gvisors_business() {
    let config = read("root = 3\nbinary_name = \"\"\nrunsc_config = \"x\"").unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn where_runsc_works_is_told_by_its_last_flag() {
    let root = |text: &str| read(text).unwrap().runsc_root_of("ns");
    assert_eq!(root(""), Path::new("/run/containerd/runsc/ns"));
    assert_eq!(root("root = \"/a\""), Path::new("/a/ns"));
    for flag in [
        "root = \"/a\"\n[runsc_config]\nroot = \"/b\"",
        "runsc_config.root = \"/b\"",
        "runsc_config = { \"root\" = \"/b\", debug = \"true\" }",
        "[Runsc_Config]\nroot = '/b'",
        "[runsc_config]\n\"root=/b\" = \"\"",
    ] {
        let whole = root(flag);
        assert!(whole == Path::new("/b") || whole == Path::new("/b="), "{flag}: {}", whole.display());
    }
    // Other flags than that, which runsc refuses or which lead nowhere.
    for flag in ["Root", "-root", "debug-log", "shared-root"] {
        assert_eq!(root(&format!("root = \"/a\"\n[runsc_config]\n{flag} = \"/b\"")), Path::new("/a/ns"));
    }
    let capitals = read("ROOT = \"/a\"\nBinary_Name = \"runsc-2\"").unwrap();
    assert_eq!((capitals.runsc_root, capitals.runsc_binary.as_str()), ("/a".into(), "runsc-2"));
    for (said, overrides) in [("true", true), ("1", true), ("T", true), ("false", false), ("yes", false)] {
        let config = read(&format!("[runsc_config]\nallow-flag-override = \"{said}\"")).unwrap();
        assert_eq!(config.runsc_flag_override, overrides, "{said}");
    }
    let json = serde_json::to_string(&read("runsc_config.root = \"/b\"").unwrap()).unwrap();
    let again: Config = serde_json::from_str(&json).unwrap();
    assert_eq!(again.runsc_root_of("ns"), Path::new("/b"));
}

#[test]
fn where_the_guard_could_not_find_runscs_files_nothing_starts() {
    let could_not = |text: &str, line, key: &str, accepted: &str| {
        let error = refused(text, line);
        assert!(error.starts_with(&format!("{key} = ")), "{error}");
        assert!(
            error.ends_with(&format!("could not find what gVisor makes; accepted: {accepted}")),
            "{error}"
        );
    };
    let path = "an absolute path";
    could_not("\nroot = \"run/runsc\"", 2, "root", path);
    could_not("[runsc_config]\nplatform = \"kvm\"\nroot = \"\"", 3, "[runsc_config] root", path);
    could_not("runsc_config.root = \"./r\"", 1, "[runsc_config] root", path);
    could_not("[runsc_config]\nshared-root = \"r\"", 2, "[runsc_config] shared-root", path);
    could_not("binary_name = \"bin/runsc\"", 1, "binary_name", "a name on PATH, or an absolute path");
    refused("root = \"/a\"\nROOT = \"/b\"", 1);
    refused("[runsc_config]\nroot = \"/a\"\n[RUNSC_CONFIG]\nroot = \"/b\"", 1);
    read("binary_name = \"/opt/runsc\"\nroot = \"/r\"\n[runsc_config]\nshared-root = \"\"").unwrap();
}

#[test]
fn unknown_key() {
    let error = refused("root = \"/x\"\n\n[guard]\nkill_deadlin = \"4s\"\n", 4);
    assert!(error.starts_with("[guard] kill_deadlin: no such key; accepted: shim, create_"), "{error}");
    let error = refused("[guard.kill]\ndeadline = \"4s\"\n", 1);
    assert!(error.starts_with("[guard] kill: no such key"), "{error}");
    refused("guard.nope = 1", 1);
}

#[test]
fn wrong_type() {
    assert_eq!(
        refused("[guard]\nkill_deadline = 10", 2),
        "[guard] kill_deadline = 10: not accepted; accepted: a duration from \"100ms\" to \"1h\", \
         as a string such as \"1500ms\" or \"10s\""
    );
    assert_eq!(
        refused("[guard]\nabort_fuse = \"yes\"", 2),
        "[guard] abort_fuse = \"yes\": not accepted; accepted: true or false"
    );
    assert_eq!(refused("\nguard = 1", 2), "[guard] guard = 1: not accepted; accepted: a table");
    let error = refused("[guard]\nshim = [\n 1,\n 2]", 2);
    assert!(error.starts_with("[guard] shim = [  1,  2]: not accepted"), "{error}");
}

#[test]
fn wrong_unit() {
    for value in ["10", "10 parsecs", "", "-1s", "s"] {
        let error = refused(&format!("[guard]\n# why\nkill_deadline = \"{value}\""), 3);
        assert!(error.starts_with(&format!("[guard] kill_deadline = \"{value}\": not accepted")));
    }
}

#[test]
fn out_of_bounds() {
    for (key, value, accepted) in [
        ("query_deadline", "2s", "from \"100ms\" to \"1s 800ms\""),
        ("stats_deadline", "1801ms", "from \"100ms\" to \"1s 800ms\""),
        ("shutdown_deadline", "3s", "from \"100ms\" to \"2s 800ms\""),
        ("delete_deadline", "10s", "from \"100ms\" to \"5s 400ms\""),
        ("kill_deadline", "0s", "from \"100ms\" to \"1h\""),
        ("create_deadline", "1day", "from \"100ms\" to \"1h\""),
        ("watchdog_after", "10ms", "from \"1s\" to \"1day\""),
        ("hard_limit", "1ms", "or \"0s\" for never"),
        ("kill_deadline", "18446744073709551615s 1000ms", "from \"100ms\" to \"1h\""),
        ("hard_limit", "18446744073709551615s 999ms 1ms", "or \"0s\" for never"),
        ("report_dir", "reports", "an absolute path, as a string"),
        ("shim", "bin/shim", "the name of a program on PATH or an absolute path"),
        ("watchdog", "on", "\"off\", \"report\" or \"kill\""),
        ("stats", "runsc", "\"direct\" or \"shim\""),
        ("log_format", "text", "\"logfmt\" or \"json\""),
    ] {
        let error = refused(&format!("[guard]\n{key} = '{value}'"), 2);
        assert!(error.starts_with(&format!("[guard] {key} = '{value}': not accepted; ")), "{error}");
        assert!(error.contains(accepted), "{error}");
    }
}

#[test]
fn what_fits_alone_but_not_together() {
    assert_eq!(
        refused("[guard]\ndelete_deadline = '4s'", 2),
        "[guard] delete_deadline = '4s': not accepted; accepted: at most \"3s 500ms\" where \
         shutdown_deadline is \"2s\", so that one exit is handled within the 10s that CRI gives it"
    );
    read("[guard]\ndelete_deadline = '4s'\nshutdown_deadline = '1s'").unwrap();
    let error = refused("[guard]\nkill_deadline = '10s'\nhard_limit = '5s'", 3);
    assert!(error.ends_with("accepted: at least kill_deadline, which is \"10s\""), "{error}");
    let longer = read("[guard]\nkill_deadline = '6m'").unwrap();
    assert_eq!(longer.policy.hard_limit, Some(Duration::from_secs(6 * 60)));
}

#[test]
fn the_first_mistake_is_told() {
    assert!(refused("[guard]\nwatchdog = 1\nabort_fuse = 1", 2).contains("watchdog"));
}

#[test]
fn not_toml() {
    assert!(refused("a = 1\n[guard\n", 2).starts_with("not TOML: "));
    assert!(refused("[guard]\nshim = 'a'\nshim = 'b'", 3).starts_with("not TOML: "));
}

#[test]
fn files_that_give_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let say = |path: &Path| load(Some(path)).unwrap_err().to_string();
    let absent = dir.path().join("absent.toml");
    let expected = format!(
        "{}: no such file; it is the file that ConfigPath names for this runtime handler",
        absent.display()
    );
    assert_eq!(say(&absent), expected);
    assert!(say(dir.path()).contains(": is a directory, not a regular file"));
    let fifo = dir.path().join("fifo.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(say(&fifo).contains("fifo.toml: is a FIFO, not a regular file"));
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"a = 1\nb = \"\xff\"").unwrap();
    assert_eq!(say(&binary), format!("{}:2: not UTF-8, which TOML must be", binary.display()));
    let large = dir.path().join("large.toml");
    std::fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
    assert!(say(&large).contains("is larger than 1048576 bytes"));
    assert_eq!(say(Path::new("runsc.toml")), "runsc.toml: ConfigPath must be an absolute path");
}

#[test]
fn a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runsc.toml");
    std::fs::write(&path, "[guard]\nkill_deadline = '4s'").unwrap();
    assert_eq!(load(Some(&path)).unwrap().policy.kill_deadline, Duration::from_secs(4));
}

#[test]
fn long_values_are_shortened() {
    let error = refused(&format!("[guard]\nwatchdog = '{}'", "x".repeat(9000)), 2);
    assert!(error.len() < 200, "{error}");
}
