//! Never the wrong process (rule 1): files that name strangers, forged on purpose, and pids that were given to
//! strangers since. Whatever stands in them, only the container's own sandbox ends.

use anyhow::{Context as _, Result, ensure};
use bystanders::{Bystanders, Stranger};
use forgeries::{Forger, Forgery, Pool, forgeries};
use harness::{
    Handler, Host, Random, SOON, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
    seed,
};
use operator::operator;
use rustix::process::Signal;
use std::{path::Path, process::Command, thread};

mod bystanders;
mod forgeries;
mod impostors;
mod operator;

/// So many containers are forged at a time.
const AT_ONCE: usize = 6;
/// So many forgeries that every run draws anew, beside those that every run has.
const RANDOM: usize = 12;

/// containerd has run `delete` and given up the task.
fn forgotten(host: &Host, id: &str) -> Result<()> {
    let ctr = host.ctr();
    let bundle = host.bundle(ctr.namespace(), id);
    eventually(SOON, "the bundle is gone", || (!bundle.exists()).then_some(()))?;
    eventually(SOON, "the container can be deleted", || ctr.delete_container(id).ok())
}

/// How the container of the forged files ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its guard is killed: `delete` reads the files.
    GuardKilled,
    /// Its sentry is stopped, and the guard that lives escalates.
    Escalation,
}

/// One container whose files are forged, from its start to its end.
fn forged_one(forger: &Forger<'_>, forgery: &Forgery<'_>, end: End) -> Result<()> {
    let (host, ctr) = (forger.host, forger.host.ctr());
    ctr.start(&host.handler("guarded")?, &forger.id, &["sleep", "1000"])?;
    let sandbox = Sandbox::of(host, &forger.id)?;
    if matches!(end, End::Escalation) {
        sandbox.stop_sentry()?;
    }
    (forgery.how)(forger)?;
    match end {
        End::GuardKilled => sandbox.guard.as_ref().context("no guard")?.signal(Signal::KILL)?,
        // As a kubelet does: until it works.
        End::Escalation => eventually(2 * SOON, "its task is deleted", || {
            let answer = ctr.force_delete_task(&forger.id, SOON).ok()?;
            (answer.success() || answer.stderr.contains("not found")).then_some(())
        })?,
    }
    eventually(SOON, "the sandbox has ended", || (!sandbox.sentry.is_alive()).then_some(()))?;
    forgotten(host, &forger.id)
}

fn forged(end: End) -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    let bystanders = Bystanders::start(&host)?;
    let forger = |id: String| Forger { host: &host, bystanders: &bystanders, id };
    let victims = forger(String::new()).victims();
    let mut random = Random::new(seed());
    let pool = Pool::of(&forger("neighbour".to_owned()), &victims)?;
    let mut all = forgeries(&victims, &pool);
    all.extend(pool.random(&mut random, RANDOM));
    for (round, several) in all.chunks(AT_ONCE).enumerate() {
        let before = Resources::of(&host);
        thread::scope(|scope| {
            let one = |(at, forgery)| {
                let forger = forger(format!("subject-{round}-{at}"));
                scope.spawn(move || {
                    forged_one(&forger, forgery, end).with_context(|| forgery.name.clone())?;
                    // What the forger made is the forger's to remove.
                    forger.clear_up();
                    println!("{end:?}: {}", forgery.name);
                    anyhow::Ok(())
                })
            };
            let threads: Vec<_> = several.iter().enumerate().map(one).collect();
            threads.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("panicked"))?)
        })?;
        let names = || several.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join("; ");
        bystanders.assert_alive(&host).with_context(names)?;
        pool.assert_untouched().with_context(names)?;
        if several.iter().all(|one| one.leaves_nothing) {
            assert_nothing_left(&host, &before, SOON).with_context(names)?;
        }
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
    let before = Resources::of(host);
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
    forgotten(host, "subject")?;
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
