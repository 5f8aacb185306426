//! Every fail line of `doctor` is provoked here, each from a healthy node with one thing changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use runsc_guard_node::config::{Config, LogFormat};

use super::*;
use crate::commands::doctor::facts::{Cgroups, Handler, Kernel, Parts};
use crate::commands::doctor::finding::Level;
use crate::commands::doctor::fragment::fragment;
use crate::containerd::distribution::Distribution;
use crate::containerd::docker::Docker;
use crate::containerd::dump::Dump;
use crate::containerd::files::{self, Settings, Table};
use crate::containerd::process::{Containerd, Greeting, Process};
use crate::known;
use crate::survey::Unseen;
use crate::survey::model::tests::sandbox;
use crate::survey::model::{Sign, State};

const ALL: u64 = 0x1ff_ffff_ffff;

fn defined(name: &str) -> files::Handler {
    files::Handler {
        name: name.into(),
        file: "/etc/containerd/config.toml".into(),
        line: 0,
        version: 3,
        table: Table::CriRuntime,
        guarded: true,
        shim_path: None,
        type_url: Some("io.containerd.runsc.v1.options".into()),
        config_path: Some("/etc/containerd/runsc.toml".into()),
    }
}

fn parts() -> Parts {
    Parts {
        shim: Ok("/usr/bin/containerd-shim-runsc-v1".into()),
        runsc: Ok("/usr/bin/runsc".into()),
        trusted: true,
        version: Ok("runsc version release-20260817.0\nspec: 1.2.1\n".into()),
        built: None,
        missing: None,
    }
}

fn healthy() -> Facts {
    let handler = Handler {
        defined: defined("gvisor"),
        guard: Ok("/usr/bin/containerd-shim-runsc-guard-v2".into()),
        config: Ok(Config::default()),
        parts: parts(),
        mistakes: Vec::new(),
        platform: Some("systrap".into()),
        reports: Ok(()),
    };
    Facts {
        root: true,
        kernel: Kernel { pidfds: true, user_namespaces: Some(11_255), cgroups: Cgroups::V2, kvm: false },
        containerd: Containerd {
            address: "/run/containerd/containerd.sock".into(),
            greeting: Greeting::Answered,
            process: Some(Process {
                pid: 700,
                state: 'S',
                exe: "/usr/bin/containerd".into(),
                path: "/usr/bin".into(),
                capabilities: Some(ALL),
                version: Ok("containerd github.com/containerd/containerd/v2 2.4.2 abc\n".into()),
            }),
        },
        distribution: Distribution::Containerd,
        restart: "systemctl restart containerd".into(),
        settings_file: "/etc/containerd/config.toml".into(),
        settings: Ok(Some(Settings {
            version: 3,
            files: vec!["/etc/containerd/config.toml".into()],
            handlers: vec![defined("gvisor")],
            ..Settings::default()
        })),
        merged: None,
        memory: None,
        docker: None,
        handlers: vec![handler],
        unconfigured: None,
        sandboxes: Ok(vec![sandbox("one", State::Running), sandbox("two", State::Paused)]),
        unseen: None,
    }
}

fn settings(facts: &mut Facts) -> &mut Settings {
    facts.settings.as_mut().unwrap().as_mut().unwrap()
}

fn process(facts: &mut Facts) -> &mut Process {
    facts.containerd.process.as_mut().unwrap()
}

fn set_timeout(facts: &mut Facts, key: &str, value: &str) {
    settings(facts)
        .timeouts
        .insert(format!("io.containerd.timeout.{key}"), (value.into(), files::Place::default()));
}

/// No containerd to ask.
fn unreached(facts: &mut Facts, greeting: Greeting) {
    facts.containerd.greeting = greeting;
    facts.containerd.process = None;
}

/// Handlers as containerd's configuration and the look at each have them.
fn define(facts: &mut Facts, change: impl Fn(&mut files::Handler)) {
    change(&mut facts.handlers[0].defined);
    settings(facts).handlers.iter_mut().for_each(change);
}

fn stuck(facts: &mut Facts, state: State) {
    let mut one = sandbox("stuck", state);
    one.signs = vec![Sign { what: "sentry 11 stopped (state T)".into(), for_ms: None }];
    facts.sandboxes.as_mut().unwrap().push(one);
}

/// The findings of this level on a healthy node after `change`.
fn findings(level: Level, change: impl Fn(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts).into_iter().filter(|one| one.level == level).collect()
}

/// `change` makes one finding of this level more, which says `words` and has a remedy with `remedy`.
fn provokes(level: Level, change: impl Fn(&mut Facts), words: &str, remedy: &str) {
    let before: Vec<String> = findings(level, |_| {}).into_iter().map(|one| one.what).collect();
    let mut new = findings(level, change);
    new.retain(|one| !before.contains(&one.what));
    let [one] = new.as_slice() else { panic!("{words:?}: {new:#?}") };
    assert!(one.what.contains(words), "{:?} lacks {words:?}", one.what);
    let told = one.remedy.as_deref().unwrap_or_default();
    assert!(told.contains(remedy), "{told:?} lacks {remedy:?}");
}

fn fails(change: impl Fn(&mut Facts), words: &str, remedy: &str) {
    provokes(Level::Fail, change, words, remedy);
}

fn warns(change: impl Fn(&mut Facts), words: &str, remedy: &str) {
    provokes(Level::Warn, change, words, remedy);
}

#[test]
fn nothing_fails_on_a_healthy_node() {
    assert!(findings(Level::Fail, |_| {}).is_empty());
    // What every gVisor of today is known for.
    let warnings = findings(Level::Warn, |_| {});
    assert!(warnings.len() == 1 && warnings[0].about == "runsc", "{warnings:#?}");
    assert!(judge(&healthy()).iter().all(|one| (one.level == Level::Ok) == one.remedy.is_none()));
}

#[test]
fn the_kernel_must_have_what_the_guard_and_gvisor_need() {
    fails(|facts| facts.kernel.pidfds = false, "no pidfds", "Linux 5.3");
    fails(|facts| facts.kernel.user_namespaces = Some(0), "cannot start a sandbox", "sysctl -w");
    warns(|facts| facts.kernel.user_namespaces = None, "does not tell", "sysctl");
    warns(|facts| facts.kernel.cgroups = Cgroups::None, "nothing is mounted", "mount");
    warns(|facts| facts.root = false, "not run as root", "sudo");
    for cgroups in [Cgroups::V1, Cgroups::Hybrid] {
        assert!(findings(Level::Fail, |facts| facts.kernel.cgroups = cgroups).is_empty());
    }
}

#[test]
fn containerd_must_answer() {
    let silent = Greeting::Silent(Duration::from_millis(500));
    let stop = |facts: &mut Facts| {
        facts.containerd.greeting = Greeting::Silent(Duration::from_millis(500));
        process(facts).state = 'T';
    };
    fails(stop, "containerd 700 is stopped", "kill -CONT 700");
    fails(|facts| facts.containerd.greeting = silent.clone(), "within 500ms", "systemctl restart");
    fails(|facts| unreached(facts, silent.clone()), "has not answered", "systemctl restart");
    fails(|facts| unreached(facts, Greeting::Absent), "it does not run", "--address");
    fails(|facts| unreached(facts, Greeting::Refused), "it has ended", "systemctl start");
    let broken = Greeting::Broken("permission denied".into());
    fails(|facts| unreached(facts, broken.clone()), "permission denied", "as root");
}

#[test]
fn containerds_version_and_capabilities_count() {
    let told = |told: &str| Ok(format!("containerd github.com/containerd/containerd {told} sha"));
    warns(|facts| process(facts).version = told("1.5.9"), "version 1.5", "1.6 or later");
    warns(|facts| process(facts).version = told("unknown"), "cannot be told from", "1.6");
    warns(|facts| process(facts).version = Ok("k3s version v1.30.1 x".into()), "cannot be told", "1.6");
    warns(|facts| process(facts).version = Err("killed".into()), "killed", "/usr/bin/containerd --version");
    warns(
        |facts| process(facts).version = told("v2.0.5"),
        "version v2.0.5 has bugs that leave shims behind and are mended upstream: no-shutdown, churn-leak",
        "containerd 2.2.0 or later",
    );
    warns(
        |facts| process(facts).version = told("2.1.6"),
        "version 2.1.6 has bugs",
        "containerd 2.2.0 or later",
    );
    let newer = findings(Level::Ok, |facts| process(facts).version = told("v2.9.1"));
    assert!(newer.iter().any(|one| one.what.contains("read 2026-09, yours is newer")), "{newer:#?}");
    for version in ["1.6.20~ds1", "1.7.35", "v2.3.7"] {
        assert_eq!(
            findings(Level::Warn, |facts| process(facts).version = told(version)).len(),
            1,
            "{version}"
        );
    }
    let without = |bit: u64| move |facts: &mut Facts| process(facts).capabilities = Some(ALL & !(1 << bit));
    fails(without(5), "CAP_KILL", "CapabilityBoundingSet");
    fails(without(21), "CAP_SYS_ADMIN", "CapabilityBoundingSet");
    warns(without(24), "CAP_SYS_RESOURCE: no oom_score_adj", "restrict_oom_score_adj = true");
    warns(without(19), "CAP_SYS_PTRACE", "CapabilityBoundingSet");
    warns(without(12), "CAP_NET_ADMIN", "CapabilityBoundingSet");
    warns(|facts| process(facts).capabilities = None, "cannot be read", "/proc/700/status");
}

#[test]
fn the_guards_handler_must_stand_where_containerd_reads_it() {
    let nothing = |facts: &mut Facts| {
        facts.handlers.clear();
        facts.unconfigured = Some(parts());
    };
    fails(
        |facts| {
            nothing(facts);
            facts.settings = Ok(None);
        },
        "no /etc/containerd/config.toml",
        "doctor --fix",
    );
    fails(|facts| facts.settings = Err("config.toml: line 3".into()), "line 3", "--containerd-config");
    fails(
        |facts| {
            nothing(facts);
            settings(facts).handlers.clear();
        },
        "no pod is guarded",
        "doctor --fix",
    );
    let old_table = |facts: &mut Facts| define(facts, |one| one.table = Table::GrpcCri);
    let found = findings(Level::Fail, old_table);
    assert!(found[0].what.contains("does not read in a file of version 3"), "{found:#?}");
    assert!(found[0].remedy.as_ref().unwrap().contains("io.containerd.cri.v1.runtime"), "{found:#?}");
    assert!(found[1].what.contains("no pod is guarded"), "{found:#?}");
    let unguarded = |facts: &mut Facts| {
        let plain = files::Handler { guarded: false, ..defined("runsc") };
        settings(facts).handlers.push(plain);
    };
    warns(unguarded, "runsc is gVisor's shim without the guard", "io.containerd.runsc-guard.v2");
}

#[test]
fn each_containerd_reads_its_own_tables() {
    let is_read = |version, table, major| files::Handler { version, table, ..defined("h") }.is_read(major);
    assert!(is_read(3, Table::CriRuntime, Some(2)) && is_read(2, Table::GrpcCri, Some(1)));
    assert!(
        is_read(2, Table::GrpcCri, Some(2)) && is_read(1, Table::Cri, Some(1)),
        "older files are migrated"
    );
    assert!(is_read(2, Table::CriRuntime, Some(2)), "it is already where migration would put it");
    assert!(!is_read(2, Table::CriRuntime, Some(1)) && !is_read(3, Table::GrpcCri, Some(2)));
    assert!(!is_read(2, Table::Cri, Some(2)));
}

#[test]
fn what_a_handler_names_must_be_there() {
    let gone = || Err("not on PATH /usr/bin".to_owned());
    fails(|facts| facts.handlers[0].guard = gone(), "does not find the guard", "mode 0755");
    fails(
        |facts| facts.handlers[0].config = Err("/x.toml:3: [guard] kil_deadline: no such key".into()),
        "no pod starts: /x.toml:3",
        "mend that line",
    );
    fails(
        |facts| facts.handlers[0].reports = Err("/var: Read-only file system".into()),
        "Read-only",
        "report_dir",
    );
    fails(|facts| facts.handlers[0].parts.shim = gone(), "gVisor's shim is not found", "shim = ");
    fails(
        |facts| facts.handlers[0].platform = Some("kvm".into()),
        "no /dev/kvm",
        "systrap\" under [runsc_config] in /etc/containerd/runsc.toml",
    );
    warns(|facts| facts.handlers[0].platform = Some("ptrace".into()), "ptrace", "systrap");
    warns(|facts| define(facts, |one| one.type_url = None), "TypeUrl", "io.containerd.runsc.v1.options");
    let on_kvm = |facts: &mut Facts| {
        facts.kernel.kvm = true;
        facts.handlers[0].platform = Some("kvm".into());
    };
    assert!(findings(Level::Fail, on_kvm).is_empty());
    let by_default = |facts: &mut Facts| {
        define(facts, |one| (one.config_path, one.type_url) = (None, None));
        facts.handlers[0].platform = None;
    };
    assert!(findings(Level::Fail, by_default).is_empty() && findings(Level::Warn, by_default).len() == 1);
}

#[test]
fn no_deadline_may_be_longer_than_its_caller_waits() {
    let timeout =
        |key: &'static str, value: &'static str| move |facts: &mut Facts| set_timeout(facts, key, value);
    fails(
        timeout("task.state", "1s"),
        "query_deadline of handler gvisor is 1s",
        "query_deadline = \"800ms\"",
    );
    fails(timeout("metrics.shimstats", "1600ms"), "stats_deadline", "\"1s 700ms\" or more under [timeouts]");
    fails(timeout("shim.shutdown", "2100ms"), "shutdown_deadline", "io.containerd.timeout.shim.shutdown");
    fails(timeout("shim.cleanup", "3s"), "the guard's `delete` may take 4s", "\"5s\" under [timeouts]");
    fails(timeout("shim.cleanup", "soon"), "no duration", "for example \"5s\"");
    // The remedy names what there is to change.
    fails(timeout("task.state", "0s"), "gives up after 0s", "\"1s 200ms\" or more");
    let long_delete = |facts: &mut Facts| {
        facts.handlers[0].config.as_mut().unwrap().policy.delete_deadline = Duration::from_secs(5);
    };
    fails(long_delete, "delete_deadline of handler gvisor is 5s", "delete_deadline = \"4s 800ms\" or less");
    for value in ["1200ms", "2s", "1m"] {
        assert!(findings(Level::Fail, timeout("task.state", value)).is_empty(), "{value}");
    }
}

#[test]
fn one_journal_should_have_one_format() {
    let set = |facts: &mut Facts, containerds: &str, guards| {
        let handler = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.gvisor]";
        let text = format!("version = 3\n[debug]\nformat = \"{containerds}\"\n{handler}");
        facts.merged = Some(Ok(Dump::read(&text).unwrap()));
        facts.handlers[0].config.as_mut().unwrap().log_format = guards;
    };
    let json = |facts: &mut Facts| set(facts, "json", LogFormat::Logfmt);
    warns(
        json,
        "as logfmt, and containerd as JSON",
        "log_format = \"json\" under [guard] in /etc/containerd/runsc.toml",
    );
    warns(
        |facts| set(facts, "text", LogFormat::Json),
        "as JSON, and containerd as logfmt",
        "format = \"json\" under [debug]",
    );
    warns(|facts| set(facts, "", LogFormat::Json), "one journal has both", "log_format = \"logfmt\"");
    for (containerds, guards) in
        [("json", LogFormat::Json), ("text", LogFormat::Logfmt), ("", LogFormat::Logfmt)]
    {
        assert_eq!(findings(Level::Warn, |facts| set(facts, containerds, guards)).len(), 1, "{containerds}");
    }
    let unguarded = |facts: &mut Facts| {
        json(facts);
        facts.handlers[0].defined.guarded = false;
    };
    assert!(findings(Level::Warn, unguarded).iter().all(|one| one.about != "log"));
}

#[test]
fn runsc_must_be_there_and_its_hangs_are_named() {
    let parts = |facts: &mut Facts, change: fn(&mut Parts)| change(&mut facts.handlers[0].parts);
    fails(
        |facts| parts(facts, |parts| parts.runsc = Err("not on PATH".into())),
        "not found: not on PATH",
        "binary_name",
    );
    fails(
        |facts| parts(facts, |parts| parts.version = Err("did not return in time".into())),
        "did not return in time",
        "/usr/bin/runsc --version",
    );
    warns(
        |facts| parts(facts, |parts| parts.version = Ok("runsc version VERSION_MISSING\nspec: 1\n".into())),
        "does not tell its release (\"VERSION_MISSING\")",
        "https://gvisor.dev",
    );
    let old = |facts: &mut Facts| {
        parts(facts, |parts| parts.version = Ok("runsc version release-20260629.0\n".into()));
    };
    warns(old, "release-20260629.0, is known to hang", "install release-20260706.0 or, better, the newest");
    let built =
        |day: &str| crate::gvisor::Built { release: known::Release::of_day(day).unwrap(), by: "rpm".into() };
    let missing = |facts: &mut Facts, day: &str| {
        let parts = &mut facts.handlers[0].parts;
        (parts.version, parts.built) = (Ok("runsc version VERSION_MISSING\n".into()), Some(built(day)));
    };
    warns(|facts| missing(facts, "20250707"), "release-20250707.0 by rpm, is known to hang", "the newest");
    let newest = |facts: &mut Facts| missing(facts, "20261001");
    assert!(findings(Level::Warn, newest).is_empty());
    let told = findings(Level::Ok, newest).into_iter().find(|one| one.about == "runsc").unwrap().what;
    assert!(
        told.contains("the table was read 2026-09, yours is newer") && told.contains("tcp-connect"),
        "{told}"
    );
    warns(
        |facts| parts(facts, |parts| (parts.trusted, parts.version) = (false, Err("not run".into()))),
        "can be replaced by others than root",
        "chmod go-w /usr/bin/runsc",
    );
    warns(
        |facts| parts(facts, |parts| parts.missing = Some("/usr/bin/gvisor-bin".into())),
        "/usr/bin/gvisor-bin is missing",
        "gvisor-bin/ included",
    );
    let hangs = |change: fn(&mut Facts)| findings(Level::Warn, change).remove(0).hangs;
    assert_eq!(hangs(|_| {}).first().map(|hang| hang.id.as_str()), Some("cgroup2fs-cycle"));
    let newest = findings(Level::Warn, |_| {}).remove(0);
    assert!(newest.remedy.unwrap().contains("none was released yet in 2026-09"));
}

#[test]
fn without_a_handler_gvisors_programs_are_still_looked_for() {
    let bare = |facts: &mut Facts, parts: Parts| {
        facts.handlers.clear();
        facts.unconfigured = Some(parts);
    };
    fails(
        |facts| bare(facts, Parts { shim: Err("not on PATH".into()), ..parts() }),
        "gVisor's shim is not found",
        "install containerd-shim-runsc-v1",
    );
    fails(
        |facts| bare(facts, Parts { runsc: Err("not on PATH".into()), ..parts() }),
        "not found: not on PATH",
        "install runsc",
    );
}

#[test]
fn what_is_stuck_right_now_is_named() {
    fails(|facts| stuck(facts, State::Wedged), "wedged: stuck: sentry 11 stopped", "runsc-guard reap stuck");
    fails(|facts| stuck(facts, State::Orphaned), "orphaned: stuck", "runsc-guard reap stuck");
    fails(|facts| stuck(facts, State::Unkillable), "unkillable: stuck", "names what it waits for");
    warns(|facts| stuck(facts, State::Running), "running: stuck", "runsc-guard show stuck");
    fails(|facts| facts.sandboxes = Err("came to a stand".into()), "came to a stand", "runsc-guard ls");
    let unseen =
        || Unseen { what: "mounts of their own: pid 7".into(), remedy: "runsc-guard --host=7 ls".into() };
    warns(|facts| facts.unseen = Some(unseen()), "mounts of their own: pid 7", "runsc-guard --host=7 ls");
}

#[test]
fn the_fragment_is_right_for_what_is_there() {
    let text = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        let text = fragment(&facts);
        toml::from_str::<toml::Table>(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        text
    };
    let own = text(|_| {});
    assert!(
        own.starts_with("# /etc/containerd/config.toml: gvisor has the guard, nothing to add.\n"),
        "{own}"
    );
    assert!(!own.contains("[plugins") && own.ends_with("[guard]\n"), "{own}");
    let unguarded = |facts: &mut Facts| define(facts, |one| one.guarded = false);
    let misplaced = text(|facts| {
        define(facts, |one| (one.name, one.table) = ("my.runsc".into(), Table::GrpcCri));
    });
    assert!(misplaced.contains(r#".v1.runtime".containerd.runtimes."my.runsc"]"#), "{misplaced}");
    let own = text(unguarded);
    assert!(
        own.contains(r#"[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc-guard]"#),
        "{own}"
    );
    assert!(
        own.contains("ConfigPath = \"/etc/containerd/runsc.toml\"") && !own.contains("version ="),
        "{own}"
    );
    assert!(own.ends_with("[guard]\n"), "{own}");
    let bare = |facts: &mut Facts, containerd: &str| {
        facts.settings = Ok(None);
        facts.handlers.clear();
        facts.unconfigured = Some(Parts { shim: Err("not on PATH".into()), ..parts() });
        process(facts).version = Ok(format!("containerd github.com/containerd/containerd {containerd} sha"));
    };
    let mut facts = healthy();
    bare(&mut facts, "1.7.35");
    let old = fragment(&facts);
    for runtime in ["runc", "runsc-guard"] {
        let table = format!("\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{runtime}]\n");
        assert!(old.contains("version = 2\n") && old.contains(&table), "{old}");
    }
    assert!(old.contains("[guard]\nshim = \"/path/to/"), "{old}");
    bare(&mut facts, "2.1.0");
    assert!(fragment(&facts).contains("version = 3\n[plugins.\"io.containerd.cri.v1.runtime\""));
    // A file that is there and names no handler.
    let version_2 = |version, containerd: &str, names_handlers| {
        let mut facts = healthy();
        bare(&mut facts, containerd);
        let there = Settings { version, names_handlers, ..Settings::default() };
        facts.settings = Ok(Some(there));
        fragment(&facts)
    };
    let first = version_2(2, "1.7.35", false);
    assert!(first.contains("cri\".containerd.runtimes.runc]") && !first.contains("version ="), "{first}");
    for text in [version_2(2, "1.7.35", true), version_2(2, "2.4.2", false)] {
        assert!(text.contains("io.containerd.grpc.v1.cri") && !text.contains("runtimes.runc]"), "{text}");
    }
    let none = version_2(0, "1.7.35", false);
    assert!(none.contains("\n# First, put `version = 2`") && none.contains("runtimes.runc]"), "{none}");
    let talos = text(|facts| {
        facts.settings_file = PathBuf::from("/etc/cri/containerd.toml");
        facts.handlers.clear();
    });
    assert!(talos.contains("/etc/cri/conf.d/20-customization.part"), "{talos}");
    assert!(talos.contains("ConfigPath = \"/etc/cri/conf.d/runsc-guard.toml\""), "{talos}");
}

#[test]
fn what_containerd_reads_and_has_must_be_what_stands_there() {
    let refused = |facts: &mut Facts| facts.merged = Some(Err("expected version 3".into()));
    fails(refused, "does not take /etc/containerd/config.toml", "config dump");
    let nothing = |facts: &mut Facts| facts.merged = Some(Ok(Dump::read("version = 3").unwrap()));
    fails(nothing, "containerd makes nothing of it", "another file's table");
    let before = |facts: &mut Facts| {
        facts.restart = "snap restart microk8s.daemon-containerd".into();
        facts.memory = Some(Ok(BTreeMap::new()));
    };
    fails(before, "does not know gvisor: it was started before", "snap restart microk8s.daemon-containerd");
    let no_cri = |facts: &mut Facts| facts.memory = Some(Err("it has no CRI".into()));
    fails(no_cri, "CRI does not say which handlers it has: it has no CRI", "containerd's log");
    let lost =
        |facts: &mut Facts| settings(facts).lost.push((defined("other"), "/etc/containerd/b.toml".into()));
    fails(
        lost,
        "containerd 1 forgets other, since /etc/containerd/b.toml",
        "move other to /etc/containerd/b.toml",
    );
}

fn without_cri(facts: &mut Facts) {
    let place = files::Place { file: "/etc/containerd/config.toml".into(), line: 3 };
    settings(facts).disabled.push(("cri".into(), place));
}

#[test]
fn a_node_without_cri_has_dockers_containers_or_nothing() {
    fails(without_cri, "/etc/containerd/config.toml:3: disabled_plugins switches CRI off", "take CRI out");
    let docker = |handlers: Vec<files::Handler>, wrapped: &[&str]| {
        let wrapped = wrapped.iter().map(|name| (*name).to_owned()).collect();
        Some(Ok(Docker { handlers, wrapped }))
    };
    let dockers = |name: &str| files::Handler { table: Table::Docker, ..defined(name) };
    let well = |facts: &mut Facts| {
        without_cri(facts);
        facts.docker = docker(vec![dockers("gvisor")], &[]);
    };
    assert!(findings(Level::Fail, well).is_empty());
    let told = |facts: &mut Facts| {
        without_cri(facts);
        facts.docker = docker(vec![], &[]);
    };
    warns(
        told,
        "daemon.json has no runtime with the guard",
        "docker run --runtime io.containerd.runsc-guard.v2",
    );
    let wrapped = |facts: &mut Facts| {
        well(facts);
        facts.docker = docker(vec![dockers("gvisor")], &["runsc"]);
    };
    warns(
        wrapped,
        "runsc is runsc under runc's shim",
        "\"runtimeType\": \"io.containerd.runsc-guard.v2\" for runsc",
    );
    let broken = |facts: &mut Facts| {
        without_cri(facts);
        facts.docker = Some(Err("/etc/docker/daemon.json: line 2".into()));
    };
    fails(broken, "daemon.json: line 2", "Docker does not start");
    let mut facts = healthy();
    well(&mut facts);
    let text = fragment(&facts);
    let json = text.split_once('\n').and_then(|(_, rest)| rest.split_once("\n\n")).unwrap().0;
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["runtimes"]["runsc-guard"]["runtimeType"], "io.containerd.runsc-guard.v2");
}

#[test]
fn a_distribution_is_told_in_its_own_words() {
    let snap = |facts: &mut Facts| {
        facts.distribution = Distribution::Microk8s;
        facts.restart = "snap restart microk8s.daemon-containerd".into();
    };
    let gone = |facts: &mut Facts| {
        snap(facts);
        unreached(facts, Greeting::Refused);
    };
    fails(gone, "it has ended", "snap start microk8s.daemon-containerd, or name its socket");
    let plain = |facts: &mut Facts| {
        snap(facts);
        let file = "/var/snap/microk8s/current/args/containerd.toml";
        facts.settings_file = file.into();
        let plain = files::Handler { guarded: false, file: file.into(), ..defined("runsc") };
        settings(facts).handlers.push(plain);
    };
    warns(plain, "runsc is gVisor's shim without the guard", "args/containerd-template.toml, of which");
    let by_path = |facts: &mut Facts| {
        plain(facts);
        settings(facts).handlers[1].shim_path = Some("/opt/containerd-shim-runsc-v1".into());
    };
    warns(by_path, "runsc is gVisor's shim without the guard", "without a runtime_path, which would win");
}
