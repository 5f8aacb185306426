//! A node with one thing wrong, fifty times: real files, real containerd, real runsc. `doctor` names that thing, with its
//! file, line and key where it has them, and what to do, and nothing else that it does not name on the healthy node.

use super::doctor;
use anyhow::{Context as _, Result, ensure};
use harness::{Handler, Host, Parts, SOON, Versions, eventually, write_script};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

const GUARD: &str = "containerd-shim-runsc-guard-v2";
const TABLE: &str = "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes";

/// Where a fault is made.
enum At {
    /// containerd's configuration: this text of it becomes that one; an empty one stands for the end of the file.
    Containerd(&'static str, &'static str),
    /// The file that ConfigPath names; an empty text stands for its beginning.
    Gvisor(&'static str, &'static str),
    /// A file that containerd's configuration imports.
    Import(&'static str),
    /// runsc: a stand-in that says this.
    Runsc(&'static str),
    /// Something else.
    Other(fn(&Node) -> Result<()>),
}

/// What is wrong, at which level it is told, and words of the finding and of its remedy. No words: it is right.
struct Fault(At, &'static str, &'static [&'static str], &'static str);

struct Node {
    host: Host,
    config: PathBuf,
    original: (String, String),
}

impl Node {
    fn new(parts: Parts) -> Result<Self> {
        let host = Host::builder().parts(parts).handler(Handler::guarded("h")).start()?;
        let original = (
            fs::read_to_string(host.config_file())?,
            fs::read_to_string(host.config_path(&host.handler("h")?))?,
        );
        // Not the file that runs: what is broken here would keep it from starting again.
        Ok(Self { config: host.path().join("case.toml"), original, host })
    }

    fn gvisors(&self) -> Result<PathBuf> {
        Ok(self.host.config_path(&self.host.handler("h")?))
    }

    fn reset(&self) -> Result<()> {
        fs::write(&self.config, &self.original.0)?;
        let gvisors = self.gvisors()?;
        drop(fs::remove_file(self.host.path().join("import.toml")));
        fs::write(&gvisors, &self.original.1)?;
        let guard = self.host.path().join("bin").join(GUARD);
        drop(fs::remove_file(&guard));
        Ok(symlink(&self.host.parts().guard, guard)?)
    }

    /// A line of `[guard]` or of another table in gVisor's file.
    fn gvisor(&self, from: &str, to: &str) -> Result<()> {
        change(&self.gvisors()?, from, to)
    }

    fn make(&self, at: &At) -> Result<()> {
        match at {
            At::Containerd(from, to) => {
                let (from, to) = (from.replace("TABLE", TABLE), to.replace("TABLE", TABLE));
                let text = fs::read_to_string(&self.config)?;
                ensure!(text.contains(&from), "no {from:?} in {text}");
                let text = if from.is_empty() { text + &to } else { text.replacen(&from, &to, 1) };
                Ok(fs::write(&self.config, text)?)
            }
            At::Gvisor(from, to) => self.gvisor(from, to),
            At::Import(text) => {
                fs::write(self.host.path().join("import.toml"), text)?;
                change(&self.config, "root =", "imports = [\"import.toml\"]\nroot =")
            }
            At::Runsc(says) => {
                let runsc = self.host.path().join("said-runsc");
                write_script(
                    &runsc,
                    &format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'runsc version {says}'\n"),
                )?;
                self.gvisor("", &format!("binary_name = {runsc:?}\n"))
            }
            At::Other(make) => make(self),
        }
    }

    /// What is told, but what is right; all of it: on a busy machine a look may be given up in the middle.
    fn told(&self) -> Result<BTreeSet<(String, String, String)>> {
        let late = |what: &str| what.contains("took too long") || what.contains("in time");
        let is_whole =
            |told: &BTreeSet<(String, String, String)>| !told.iter().any(|(_, what, _)| late(what));
        eventually(SOON, "a look at all of it", || self.look().ok().filter(is_whole))
    }

    fn look(&self) -> Result<BTreeSet<(String, String, String)>> {
        let outcome =
            doctor(&self.host, &["-o", "json", "--containerd-config", &self.config.to_string_lossy()])?;
        let all: Vec<Value> = serde_json::from_str(&outcome.stdout).context("not JSON")?;
        let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        let wrong = all.iter().filter(|one| one["level"] != "ok");
        Ok(wrong.map(|one| (text(one, "level"), text(one, "what"), text(one, "remedy"))).collect())
    }

    fn walk(&self, faults: &[Fault]) -> Result<()> {
        self.reset()?;
        let healthy = self.told()?;
        ensure!(healthy.iter().all(|(level, ..)| level != "fail"), "not healthy: {healthy:#?}");
        let mut wrong = Vec::new();
        for (number, Fault(at, level, words, remedy)) in faults.iter().enumerate() {
            self.reset()?;
            self.make(at)?;
            let told = self.told()?;
            let new: Vec<_> = told.difference(&healthy).collect();
            let fits = match new.as_slice() {
                [] => words.is_empty(),
                [(is, what, to_do)] => {
                    is == level
                        && !words.is_empty()
                        && words.iter().all(|word| what.contains(word))
                        && to_do.contains(remedy)
                }
                _ => false,
            };
            if !fits {
                wrong.push(format!("{number}: {level} {words:?} -> {remedy:?}, but: {new:#?}"));
            }
        }
        ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
        Ok(())
    }
}

fn change(file: &std::path::Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(from), "no {from:?} in {text}");
    Ok(fs::write(file, text.replacen(from, to, 1))?)
}

const CONTAINERDS: &[Fault] = &[
    Fault(At::Containerd("[grpc]", "[grpc"), "fail", &["case.toml", "line "], "mend the file"),
    Fault(
        At::Containerd("root =", "imports = [\"gone.toml\"]\nroot ="),
        "fail",
        &["gone.toml"],
        "mend the file",
    ),
    Fault(
        At::Containerd("version = 3", "version = 9"),
        "fail",
        &["does not take", "9"],
        "containerd config dump",
    ),
    Fault(
        At::Containerd("  restrict_oom_score_adj = true", "  restrict_oom_score_adj = \"yes\""),
        "fail",
        &["does not take"],
        "config dump",
    ),
    Fault(
        At::Containerd(
            "runtime_type = \"io.containerd.runsc-guard.v2\"",
            "runtime_type = \"io.containerd.runsc-guard.v1\"",
        ),
        "fail",
        &["no handler with the guard"],
        "doctor --fix",
    ),
    Fault(
        At::Containerd("", "TABLE.plain]\nruntime_type = \"io.containerd.runsc.v1\"\n"),
        "warn",
        &["plain is gVisor's shim without the guard"],
        "io.containerd.runsc-guard.v2",
    ),
    Fault(
        At::Containerd("", "TABLE.new]\nruntime_type = \"io.containerd.runsc-guard.v2\"\n"),
        "fail",
        &["case.toml:", "does not know new"],
        "systemctl restart containerd",
    ),
    Fault(At::Other(another_file), "fail", &["still has another ConfigPath for h"], "restart containerd"),
    Fault(
        At::Containerd("TypeUrl = \"io.containerd.runsc.v1.options\"", "TypeUrl = \"\""),
        "warn",
        &["TypeUrl"],
        "case.toml:",
    ),
    Fault(
        At::Containerd(
            "",
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.old]\nruntime_type = \"io.containerd.runsc-guard.v2\"\n",
        ),
        "fail",
        &["case.toml:", "old stands in", "does not read"],
        "io.containerd.cri.v1.runtime",
    ),
    Fault(
        At::Containerd("", "TABLE.h]\nruntime_type = \"x\"\n"),
        "fail",
        &["case.toml", "line "],
        "mend the file",
    ),
    Fault(
        At::Containerd("root =", "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\nroot ="),
        "fail",
        &["case.toml:2", "disabled_plugins", "no pod runs here"],
        "take CRI out",
    ),
    Fault(
        At::Containerd("", "[timeouts]\n\"io.containerd.timeout.task.state\" = \"500ms\"\n"),
        "fail",
        &["query_deadline of handler h is 1s"],
        "query_deadline = \"300ms\"",
    ),
    Fault(
        At::Containerd("", "[timeouts]\n\"io.containerd.timeout.task.state\" = \".5s\"\n"),
        "fail",
        &["query_deadline of handler h is 1s", "500ms"],
        "query_deadline",
    ),
    Fault(At::Containerd("", "[timeouts]\n\"io.containerd.timeout.task.state\" = \"+5s\"\n"), "ok", &[], ""),
    Fault(
        At::Containerd("", "[timeouts]\n\"io.containerd.timeout.task.state\" = \"1h0m.5s\"\n"),
        "ok",
        &[],
        "",
    ),
    Fault(
        At::Containerd("", "[timeouts]\n\"io.containerd.timeout.shim.cleanup\" = \"3s\"\n"),
        "fail",
        &["the guard's `delete` may take 4s"],
        "\"5s\" under [timeouts]",
    ),
    Fault(
        At::Containerd("", "[timeouts]\n\n\"io.containerd.timeout.shim.shutdown\" = \"1 day\"\n"),
        "fail",
        &["case.toml:", "\"1 day\"", "no duration"],
        "for example \"5s\"",
    ),
    Fault(
        At::Import("version = 3\n[timeouts]\n\"io.containerd.timeout.task.state\" = \"5 s\"\n"),
        "fail",
        &["import.toml:3", "no duration"],
        "import.toml:3",
    ),
    Fault(
        At::Import("version = 3\n[plugins.\"io.containerd.cri.v1.runtime\"]\n  enable_selinux = false\n"),
        "ok",
        &[],
        "",
    ),
    Fault(At::Import("version = 3\n[plugins\n"), "fail", &["import.toml", "line 2"], "mend the file"),
];

const GVISORS: &[Fault] = &[
    Fault(
        At::Gvisor("[guard]\n", "[guard]\nkil_deadline = \"2s\"\n"),
        "fail",
        &["[guard] kil_deadline: no such key"],
        "mend that line",
    ),
    Fault(
        At::Gvisor("[guard]\n", "[guard]\nkill_deadline = \"0s\"\n"),
        "fail",
        &["kill_deadline"],
        "mend that line",
    ),
    Fault(At::Gvisor("[guard]\n", "[guard\n"), "fail", &["not TOML"], "mend that line"),
    Fault(
        At::Gvisor("root = \"", "root = \"relative"),
        "fail",
        &[":1", "root", "an absolute path"],
        "mend that line",
    ),
    Fault(
        At::Gvisor("[guard]\n", "[guard]\nquery_deadline = \"3s\"\n"),
        "fail",
        &["query_deadline = \"3s\": not accepted", "1s 800ms"],
        "mend that line",
    ),
    Fault(
        At::Gvisor("report_dir = ", "report_dir = \"/proc/1/reports\" #"),
        "fail",
        &["reports cannot be written"],
        "report_dir under [guard]",
    ),
    Fault(
        At::Gvisor("shim = ", "shim = \"/nowhere/shim\" #"),
        "fail",
        &["gVisor's shim is not found"],
        "shim =",
    ),
    Fault(
        At::Gvisor("", "binary_name = \"no-such-runsc\"\n"),
        "fail",
        &["not found", "no-such-runsc"],
        "binary_name",
    ),
    Fault(
        At::Gvisor("", "debug = true\n"),
        "warn",
        &[":1: debug", "no effect"],
        "below [runsc_config], in quotes: debug = \"true\"",
    ),
    Fault(
        At::Gvisor("", "platform = \"kvm\"\n"),
        "warn",
        &[":1: platform", "no effect"],
        "below [runsc_config]",
    ),
    Fault(
        At::Gvisor("", "kill_deadline = \"2s\"\n"),
        "warn",
        &[":1: kill_deadline", "no effect"],
        "below [guard]",
    ),
    Fault(At::Gvisor("", "nonsense = 1\n"), "warn", &[":1: nonsense", "no effect"], "take it out"),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc-config]\n"),
        "warn",
        &["runsc-config", "no effect"],
        "[runsc_config], gVisor's",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\ndebug = true\n"),
        "fail",
        &[":3: [runsc_config] debug", "a text"],
        "debug = \"true\"",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\ndebug = \"yes\"\n"),
        "fail",
        &["[runsc_config] debug", "\"yes\""],
        "\"true\"",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nno-such-flag = \"1\"\n"),
        "fail",
        &["no-such-flag", "no such flag"],
        "runsc flags",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nhost_uds = \"all\"\n"),
        "fail",
        &["host_uds", "no such flag"],
        "called host-uds",
    ),
    Fault(At::Gvisor("[runsc_config]\n", "[runsc_config]\nhost-uds = \"all\"\n"), "ok", &[], ""),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nhost-uds = \"some\"\n"),
        "fail",
        &["host-uds", "invalid value"],
        "runsc flags",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nfdlimit = \"many\"\n"),
        "fail",
        &["fdlimit", "many"],
        "whole numbers",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nkill_deadline = \"2s\"\n"),
        "fail",
        &["[runsc_config] kill_deadline", "no flag"],
        "[guard]",
    ),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nlog_path = \"/tmp/x\"\n"),
        "fail",
        &["[runsc_config] log_path", "no flag"],
        "top of the file",
    ),
    Fault(
        At::Gvisor("platform = \"systrap\"", "platform = \"kvm \""),
        "fail",
        &["[runsc_config] platform", "a blank"],
        "platform = \"kvm\"",
    ),
    Fault(
        At::Gvisor("platform = \"systrap\"", "platform = \"gvm\""),
        "fail",
        &["[runsc_config] platform", "gvm"],
        "systrap",
    ),
    Fault(At::Gvisor("platform = \"systrap\"", "platform = \"ptrace\""), "warn", &["ptrace"], "systrap"),
    Fault(
        At::Gvisor("[runsc_config]\n", "[runsc_config]\nroot = \"/run/elsewhere\"\n"),
        "warn",
        &[":3: [runsc_config] root", "wins over root"],
        "top of the file",
    ),
    Fault(
        At::Gvisor("", "log_path = \"/var/log/%ID%/shim.log\"\n"),
        "warn",
        &[":1: log_path", "never closes it"],
        "take it out",
    ),
    Fault(At::Gvisor("", "log_level = \"loud\"\n"), "fail", &[":1: log_level", "loud"], "debug"),
    Fault(At::Gvisor("", "io_uid = \"0\"\n"), "fail", &[":1: io_uid", "a whole number"], "whole number"),
    Fault(At::Runsc("VERSION_MISSING"), "warn", &["does not tell its release"], "gvisor.dev"),
    Fault(
        At::Runsc("release-20240101.0"),
        "warn",
        &["release-20240101.0, is known to hang"],
        "install release-",
    ),
    Fault(At::Runsc("release-20261001.0"), "warn", &["gvisor-bin is missing"], "gvisor-bin/ included"),
    Fault(
        At::Runsc("release-20260714.0"),
        "warn",
        &["release-20260714.0, is known to hang"],
        "none was released yet",
    ),
    Fault(At::Other(strangers_runsc), "warn", &["can be replaced by others than root"], "chmod go-w"),
    Fault(
        At::Other(|node| Ok(fs::remove_file(node.gvisors()?)?)),
        "fail",
        &["no pod starts", "no such file"],
        "mend that line or file",
    ),
    Fault(
        At::Other(|node| Ok(fs::remove_file(node.host.path().join("bin").join(GUARD))?)),
        "fail",
        &["does not find the guard"],
        "mode 0755",
    ),
    Fault(At::Other(plain_guard), "fail", &["does not find the guard"], "mode 0755"),
];

/// Anybody could put another one there.
fn strangers_runsc(node: &Node) -> Result<()> {
    let folder = node.host.path().join("open");
    fs::create_dir_all(&folder)?;
    fs::copy(&node.host.parts().runsc, folder.join("runsc"))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    node.gvisor("", &format!("binary_name = {:?}\n", folder.join("runsc")))
}

/// A file that is right, and not the one that the running containerd has.
fn another_file(node: &Node) -> Result<()> {
    let other = node.host.path().join("other.toml");
    fs::copy(node.gvisors()?, &other)?;
    change(&node.config, "ConfigPath = ", &format!("ConfigPath = {other:?} #"))
}

/// A guard that nobody may run.
fn plain_guard(node: &Node) -> Result<()> {
    let guard = node.host.path().join("bin").join(GUARD);
    fs::remove_file(&guard)?;
    fs::write(&guard, "")?;
    Ok(fs::set_permissions(&guard, fs::Permissions::from_mode(0o644))?)
}

#[test]
fn each_fault_is_named_and_nothing_else() -> Result<()> {
    let node = Node::new(Parts::pinned()?)?;
    node.walk(CONTAINERDS)?;
    node.walk(GVISORS)
}

/// containerd 1 puts an imported file's table in the place of the one that it has.
#[test]
fn files_are_merged_as_containerd_1_merges_them() -> Result<()> {
    let node =
        Node::new(Parts::of(Versions { containerd: "1.7.35".to_owned(), gvisor: "2026-09".to_owned() })?)?;
    node.walk(&[
        Fault(At::Import("version = 2\n[plugins.\"io.containerd.nri.v1.nri\"]\n  disable = true\n"), "ok", &[], ""),
        Fault(
            At::Containerd("", "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.new]\nruntime_type = \"io.containerd.runsc-guard.v2\"\n"),
            "fail",
            &["case.toml:", "new stands in", "does not read"],
            "io.containerd.grpc.v1.cri",
        ),
    ])?;
    node.reset()?;
    node.make(&At::Import(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  enable_selinux = false\n",
    ))?;
    let told = node.told()?;
    let has = |words: &str| told.iter().any(|(level, what, _)| level == "fail" && what.contains(words));
    ensure!(has("containerd 1 forgets h, since") && has("no handler with the guard"), "{told:#?}");
    Ok(())
}
