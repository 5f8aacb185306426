//! Never the wrong process (rule 1): files that name strangers, forged on purpose, and pids that were given to
//! strangers since. Whatever stands in them, only the container's own sandbox ends.

use anyhow::{Context as _, Result, ensure};
use bystanders::{Bystanders, Stranger};
use harness::{
    Handler, Host, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Holdings, assert_nothing_left},
    process::Process,
};
use operator::operator;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

mod bystanders;
mod impostors;
mod operator;

/// A forger's tools.
struct Forger<'a> {
    host: &'a Host,
    bystanders: &'a Bystanders,
}

impl Forger<'_> {
    fn bundle(&self, id: &str) -> PathBuf {
        self.host.bundle(self.host.ctr().namespace(), id)
    }

    fn state(&self, container: &str, sandbox: &str) -> PathBuf {
        self.host.runsc_root(self.host.ctr().namespace()).join(format!("{container}_sandbox:{sandbox}.state"))
    }

    fn edit(&self, file: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut value = serde_json::from_slice(&std::fs::read(file)?).context("no JSON")?;
        change(&mut value);
        Ok(std::fs::write(file, serde_json::to_vec(&value)?)?)
    }

    fn edit_record(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.edit(&self.bundle("subject").join("runsc-guard.json"), change)
    }

    fn edit_state(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.edit(&self.state("subject", "subject"), change)
    }

    /// Everybody whom a pid can be made to name: the first process of the machine, this one, and the bystanders.
    fn victims(&self) -> Vec<Process> {
        let special = [1, std::process::id().cast_signed()].into_iter().filter_map(Process::read);
        special.chain(self.bystanders.processes().into_iter().cloned()).collect()
    }
}

fn identity(process: &Process) -> Value {
    json!({"pid": process.pid, "start_time": process.started})
}

/// One way to forge, by its name.
type Forgery<'a> = (String, Box<dyn Fn(&Forger) -> Result<()> + 'a>);

fn forgeries<'a>(victims: &'a [Process], neighbours_record: &'a Value) -> Vec<Forgery<'a>> {
    let mut all: Vec<Forgery> = Vec::new();
    for victim in victims {
        let name = format!("pid {} ({})", victim.pid, victim.comm);
        all.push((
            format!("{name} as guard, real shim and sentry"),
            Box::new(move |forger| {
                forger.edit_record(|record| {
                    record["guard"] = identity(victim);
                    record["real_shim"] = identity(victim);
                    record["members"][0]["pid"] = victim.pid.into();
                })?;
                forger.edit_state(|state| {
                    state["sandbox"]["pid"] = victim.pid.into();
                    state["goferPid"] = victim.pid.into();
                })
            }),
        ));
    }
    all.push((
        "another's container and bundle as members".into(),
        Box::new(|forger| {
            let member =
                |id: &str, bundle: PathBuf| json!({"id": id, "bundle": bundle, "pid": 0, "released": false});
            forger.edit_record(|record| {
                record["members"] = json!([
                    member("subject", forger.bundle("neighbour")),
                    member("neighbour", forger.bundle("neighbour")),
                    member("bare", forger.bundle("bare")),
                    member("../neighbour", forger.bundle("neighbour")),
                    member("x", "/".into()),
                ]);
            })
        }),
    ));
    all.push((
        "another's record, whole".into(),
        Box::new(|forger| forger.edit_record(|record| record.clone_from(neighbours_record))),
    ));
    all.push((
        "another's folder, socket and runsc root".into(),
        Box::new(|forger| {
            forger.edit_record(|record| {
                for field in ["folder", "socket"] {
                    record[field] = neighbours_record[field].clone();
                }
                record["runsc_root"] = json!(forger.host.runsc_root("k8s.io"));
            })
        }),
    ));
    all.push((
        "another's cgroup and bundle in runsc's state".into(),
        Box::new(|forger| {
            let others: Value =
                serde_json::from_slice(&std::fs::read(forger.state("neighbour", "neighbour"))?)?;
            forger.edit_state(|state| {
                state["bundleDir"] = others["bundleDir"].clone();
                state["spec"] = others["spec"].clone();
                state["sandbox"]["cgroup"] = others["sandbox"]["cgroup"].clone();
                state["compatCgroup"] = others["sandbox"]["cgroup"].clone();
                state["sandbox"]["controlSocketPath"] = others["sandbox"]["controlSocketPath"].clone();
            })
        }),
    ));
    all.push((
        "the root cgroup in runsc's state".into(),
        Box::new(|forger| {
            forger.edit_state(|state| {
                for name in ["/", "", "..", "/.."] {
                    let cgroup = &mut state["sandbox"]["cgroup"]["cgroupv1"];
                    cgroup["name"] = name.into();
                    cgroup["own"] = json!({"memory": true, "freezer": true, "cpu": true, "pids": true});
                }
            })
        }),
    ));
    all.push((
        "another's containers as members in runsc's state".into(),
        Box::new(|forger| {
            for id in ["neighbour", "bare"] {
                let state = std::fs::read(forger.state(id, id))?;
                let mut state: Value = serde_json::from_slice(&state)?;
                state["sandbox"]["id"] = "subject".into();
                std::fs::write(forger.state(id, "subject"), serde_json::to_vec(&state)?)?;
            }
            Ok(())
        }),
    ));
    all
}

/// containerd has run `delete` and given up the task.
fn forgotten(host: &Host) -> Result<()> {
    let ctr = host.ctr();
    let bundle = host.bundle(ctr.namespace(), "subject");
    eventually(SOON, "the bundle is gone", || (!bundle.exists()).then_some(()))?;
    eventually(SOON, "the container can be deleted", || ctr.delete_container("subject").ok())
}

/// How the container of the forged files ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its guard is killed: `delete` reads the files.
    GuardKilled,
    /// Its sentry is stopped, and the guard that lives escalates.
    Escalation,
}

fn forged(end: End) -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    let ctr = host.ctr();
    let bystanders = Bystanders::start(&host)?;
    let forger = Forger { host: &host, bystanders: &bystanders };
    let victims = forger.victims();
    let record =
        serde_json::from_slice(&std::fs::read(forger.bundle("neighbour").join("runsc-guard.json"))?)?;
    for (name, forge) in forgeries(&victims, &record) {
        let before = Holdings::of(&host);
        ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
        let sandbox = Sandbox::of(&host, "subject")?;
        if matches!(end, End::Escalation) {
            sandbox.stop_sentry()?;
        }
        forge(&forger).with_context(|| name.clone())?;
        match end {
            End::GuardKilled => sandbox.guard.as_ref().context("no guard")?.signal(Signal::KILL)?,
            End::Escalation => drop(ctr.force_delete_task("subject", SOON)?),
        }
        eventually(SOON, "the sandbox has ended", || (!sandbox.sentry.is_alive()).then_some(()))
            .with_context(|| name.clone())?;
        forgotten(&host).with_context(|| name.clone())?;
        bystanders.assert_alive(&host).with_context(|| name.clone())?;
        // What the forger made is the forger's to remove.
        for id in ["neighbour", "bare"] {
            let _ = std::fs::remove_file(forger.state(id, "subject"));
        }
        assert_nothing_left(&host, &before, SOON).with_context(|| name.clone())?;
        println!("{end:?}: {name}: everybody lives");
    }
    bystanders.assert_well(&host)
}

#[test]
fn files_forged_before_a_delete_end_nobody_else() -> Result<()> {
    forged(End::GuardKilled)
}

#[test]
fn files_forged_before_an_escalation_end_nobody_else() -> Result<()> {
    forged(End::Escalation)
}

/// In a pid namespace of its own, a test can choose which pid comes next. The rest of such a test runs there, as a
/// program of its own; the shell reaps what the sandboxes leave to the first process.
fn in_a_pid_namespace() -> Result<bool> {
    if std::env::var_os("RUNSC_GUARD_IN_PIDNS").is_some() {
        return Ok(true);
    }
    // A test runs in a thread of its name.
    let test = std::thread::current().name().context("no test")?.to_owned();
    let run = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "\"$@\" & wait $!", "sh"])
        .arg(std::env::current_exe()?)
        .args(["--exact", &test, "--nocapture"])
        .env("RUNSC_GUARD_IN_PIDNS", "1")
        .output()
        .context("unshare (util-linux)")?;
    let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    // Shown as what it is: the words of another run.
    said.lines().for_each(|line| println!("  | {line}"));
    ensure!(
        run.status.success() && said.contains("1 passed; 0 failed"),
        "in a pid namespace: {}",
        run.status
    );
    Ok(false)
}

/// The stored pids of guard, real shim, sentry and gofer belong to strangers when `delete` comes, some of them in the
/// sandbox's own cgroup.
fn pids_reused(host: &Host, sentry_lives: bool) -> Result<()> {
    let ctr = host.ctr();
    let before = Holdings::of(host);
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(host, "subject")?;
    let guard = sandbox.guard.clone().context("no guard")?;
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    let mut doomed = vec![guard];
    if sentry_lives {
        doomed.push(sandbox.real_shim.clone());
    } else {
        doomed.extend(sandbox.all_but_guard());
    }
    for process in &doomed {
        // A stub may have died with its sentry.
        let _ = process.signal(Signal::KILL);
    }
    // The dying guard's and real shim's other children go by themselves.
    let pids: Vec<i32> = doomed.iter().map(|process| process.pid).collect();
    eventually(SOON, "all are gone and reaped", || {
        pids.iter().all(|pid| Process::read(*pid).is_none()).then_some(())
    })?;
    let strangers = pids.iter().map(|pid| Stranger::with_pid(*pid)).collect::<Result<Vec<_>>>()?;
    let cgroup = Path::new("/sys/fs/cgroup/memory").join(host.tag()).join("subject");
    if let (false, Some(last)) = (sentry_lives, strangers.last()) {
        std::fs::write(cgroup.join("cgroup.procs"), last.process.pid.to_string())
            .with_context(|| cgroup.display().to_string())?;
    }
    // Nor does the operator's command take them for what had their pids.
    for args in
        [&["ls", "-o", "json"][..], &["reap", "--orphaned", "--dry-run"], &["reap", "--wedged", "--yes"]]
    {
        let told = operator(host, args)?;
        let numbers = |text: &str| -> Vec<i32> {
            text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
        };
        let named = numbers(&told.stdout);
        for stranger in &strangers {
            let pid = stranger.process.pid;
            ensure!(!named.contains(&pid) && stranger.process.is_alive(), "{args:?} names {pid}: {told:?}");
        }
    }
    containerd.signal(Signal::CONT)?;
    forgotten(host)?;
    for stranger in &strangers {
        stranger.process.assert_spared()?;
    }
    ensure!(!sandbox.sentry.is_alive(), "the sandbox lives on");
    println!("{} pids reused (sentry alive: {sentry_lives}), all strangers live", strangers.len());
    drop(strangers);
    // The stranger was let alone, and so was the cgroup that it was in.
    let _ = std::fs::remove_dir(&cgroup);
    assert_nothing_left(host, &before, SOON)
}

#[test]
fn stored_pids_that_belong_to_strangers_by_now() -> Result<()> {
    if !in_a_pid_namespace()? {
        return Ok(());
    }
    // Where the kernel has a limit per namespace (6.14), everything else is reused soon, too.
    let _ = std::fs::write("/proc/sys/kernel/pid_max", "2000");
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    for round in 0..6 {
        pids_reused(&host, round % 2 == 1)?;
    }
    Ok(())
}
