//! Nothing that hangs, and nothing that is missing, stands before a SIGKILL (rule 8): a stub that holds its mmap_lock,
//! so that nobody can read its command line, this pod's or a neighbour's; no thread to be had; no file descriptor.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Access, EventLog, Fuse, Handler, Host, LATER, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_gone, assert_nothing_left},
    process::Process,
    promise::{DEADLINE, ESCALATION, MARGIN, QUERY, subject},
    run,
};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// What `delete` may take: then containerd kills it.
const DELETE: Duration = Duration::from_secs(5);
/// What `ls` promises, whatever hangs.
const LISTED: Duration = Duration::from_secs(2);

/// A container of which a stub holds its mmap_lock, until the server answers.
fn start_held(host: &Host, id: &str) -> Result<(Arc<Fuse>, Sandbox)> {
    let fuse = faults::writable_volume(host, Path::new("volumes/v"), Access::WriteThrough)?;
    let ctr = host.ctr();
    let volume = faults::writable_volume_flag(fuse.point());
    let flags = ["--detach", "--null-io", &volume];
    let args = ctr.run_args(&host.handler("subject")?, &flags, id, &faults::uses_file("munmap"));
    run(&mut ctr.command(&args), b"", LATER)?.ok()?;
    let sandbox = Sandbox::of(host, id)?;
    let stub = faults::hold_mmap_lock(&fuse, &sandbox)?;
    println!("nobody can read the command line of {stub}");
    Ok((fuse, sandbox))
}

/// Whether a process is gone, or has been sent SIGKILL: it may have to wait for one of its own that cannot die.
fn is_struck(process: &Process) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap_or_default();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let pending = |name: &str| {
        line(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 1 << 8 != 0)
    };
    // The last thread of the first process of a pid namespace waits for all others there.
    !process.is_alive() || pending("SigPnd:") || pending("ShdPnd:") || line("Threads:") == Some("1")
}

fn await_strike(sandbox: &Sandbox, limit: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let signalled =
        eventually(limit + MARGIN, "the sentry is sent SIGKILL", || is_struck(&sandbox.sentry).then_some(()));
    let took = begun.elapsed();
    println!("SIGKILL after {took:?} of {limit:?}: {signalled:?}");
    signalled?;
    ensure!(took <= limit, "SIGKILL was sent after {took:?}");
    Ok(took)
}

/// The operator's command is held up by nobody.
fn assert_operator_sees(host: &Host, args: &[&str]) -> Result<()> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    let told = run(Command::new(program).args(["--namespace", host.tag()]).args(args), b"", LATER)?;
    println!("{args:?}: {:?} after {:?}\n{}", told.code(), told.took, told.stderr);
    ensure!(told.took <= LISTED || args[0] == "reap", "{args:?}: {:?}", told.took);
    ensure!(told.success() && (args[0] != "ls" || told.stdout.contains("held")), "{args:?}: {told:?}");
    Ok(())
}

/// Once the server answers, all becomes normal by itself.
fn clear_up(host: &Host, fuse: &Fuse, ids: &[&str], before: &Resources) -> Result<()> {
    fuse.answer();
    for id in ids {
        eventually(LATER, "the task can be deleted", || {
            let ctr = host.ctr();
            let gone = !ctr.tasks(LATER).ok()?.iter().any(|task| task.id == *id);
            (gone || ctr.force_delete_task(id, LATER).ok()?.success()).then_some(())
        })?;
        host.ctr().delete_container(id)?;
    }
    fuse.end()?;
    assert_nothing_left(host, before, LATER)
}

#[test]
fn a_held_mmap_lock_holds_up_neither_a_neighbours_delete_nor_the_operator() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let (ctr, handler) = (host.ctr(), host.handler("subject")?);
    ctr.start(&handler, "neighbour", &["sleep", "1000"])?;
    let neighbour = Sandbox::of(&host, "neighbour")?;
    let (fuse, held) = start_held(&host, "held")?;

    for args in [&["ls"][..], &["show", "held"], &["metrics"], &["reap", "--wedged", "--dry-run"]] {
        assert_operator_sees(&host, args)?;
    }

    // The neighbour's guard dies: its `delete` ends what is the neighbour's, and that alone.
    neighbour.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    let begun = Instant::now();
    neighbour.sentry.gone_within(DELETE)?;
    println!("the neighbour's sentry is gone after {:?}", begun.elapsed());
    assert_gone(&host, "neighbour", LATER)?;
    ensure!(!is_struck(&held.sentry), "another pod's delete has killed the sentry");
    clear_up(&host, &fuse, &["neighbour", "held"], &before)
}

#[test]
fn a_held_mmap_lock_does_not_hold_up_the_guard() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let (fuse, held) = start_held(&host, "held")?;
    let kill = thread::spawn({
        let ctr = host.ctr();
        move || ctr.kill("held", "SIGKILL", LATER)
    });
    await_strike(&held, QUERY + DEADLINE + ESCALATION)?;
    ensure!(held.guard.as_ref().is_some_and(Process::is_alive), "the guard has died");
    // The sentry is dying and waits for its stubs: still nobody is held up.
    assert_operator_sees(&host, &["ls"])?;
    assert_operator_sees(&host, &["show", "held"])?;
    kill.join().map_err(|_| anyhow::anyhow!("the kill"))??;
    clear_up(&host, &fuse, &["held"], &before)
}

#[test]
fn a_held_mmap_lock_does_not_hold_up_the_delete_of_a_dead_guard() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let (fuse, held) = start_held(&host, "held")?;
    held.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    await_strike(&held, DELETE)?;
    clear_up(&host, &fuse, &["held"], &before)
}

/// What a `delete` could not end before it had to answer is not forgotten with the bundle.
#[test]
fn what_a_late_delete_leaves_goes_when_it_can() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let (fuse, held) = start_held(&host, "held")?;
    let bundle = host.bundle(host.tag(), "held");
    held.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    eventually(LATER, "containerd has forgotten it", || (!bundle.exists()).then_some(()))?;
    ensure!(!host.processes().is_empty(), "nothing was left: this tells nothing");
    fuse.answer();
    host.ctr().delete_container("held")?;
    fuse.end()?;
    assert_nothing_left(&host, &before, LATER)
}

/// A runsc whose `create` is stopped as soon as it has made the container's cgroups: before there is a state file.
fn stopped_create(host: &Host, cgroup: &Path) -> Result<PathBuf> {
    let (path, runsc, cgroup) =
        (host.path().join("runsc-stops"), host.parts().runsc.display(), cgroup.display());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*\" create \"*)\n{runsc} \"$@\" & pid=$!\nwhile [ ! -d '{cgroup}' ]; do :; done\n\
         kill -STOP $pid; wait $pid;;\nesac\nexec {runsc} \"$@\"\n"
    );
    harness::write_script(&path, &script)?;
    Ok(path)
}

/// The v1 cgroups of this process, in which its containerd, the guard and runsc are, too: what runsc is told to make
/// and is no absolute path lies below them.
fn own_cgroups() -> Result<Vec<PathBuf>> {
    let all = std::fs::read_to_string("/proc/self/cgroup")?;
    let folder = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let controller = controllers.trim_start_matches("name=");
        let root = Path::new("/sys/fs/cgroup").join(controller);
        (!controller.is_empty()).then(|| root.join(path.trim_start_matches('/')))
    };
    Ok(all.lines().filter_map(folder).collect())
}

#[test]
fn a_create_that_ends_early_leaves_no_cgroup_in_systemds_form() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let name = format!("{}.slice:cri-containerd:subject", host.tag());
    let own = own_cgroups()?;
    let made = || -> Vec<PathBuf> {
        own.iter().map(|own| own.join(&name)).filter(|folder| folder.exists()).collect()
    };
    let runsc = stopped_create(&host, &own.first().context("no v1 cgroups")?.join(&name))?;
    let handler = Handler::guarded("stops").guard("create_deadline", "\"3s\"").runsc(runsc);
    host.add_handler(&handler)?;
    let create = thread::spawn({
        let ctr = host.ctr();
        let flags = ["--detach", "--null-io", "--cgroup", &name];
        let args = ctr.run_args(&handler, &flags, "subject", &["sleep", "1000"]);
        move || run(&mut ctr.command(&args), b"", LATER)
    });
    let folders =
        eventually(LATER, "runsc has made cgroups", || Some(made()).filter(|made| !made.is_empty()));
    let outcome = create.join().map_err(|_| anyhow::anyhow!("the create"))??;
    println!("{folders:?}: {}", outcome.stderr);
    folders?;
    ensure!(!outcome.success() && outcome.stderr.contains("guard"), "{outcome:?}");
    let left = eventually(LATER, "the cgroups are gone", || made().is_empty().then_some(()));
    let still = made();
    still.iter().try_for_each(std::fs::remove_dir)?;
    left.with_context(|| format!("left: {still:?}"))?;
    let _ = host.ctr().delete_container("subject");
    assert_nothing_left(&host, &before, LATER)
}

#[test]
fn without_a_thread_to_be_had_the_sandbox_ends_on_time() -> Result<()> {
    let host = Host::with([subject()])?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let events = EventLog::start(&ctr)?;
    ctr.start(&host.handler("subject")?, "subject", &["sleep", "1000"])?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let guard = sandbox.guard.clone().context("no guard")?;
    let full = faults::Full::around(&guard)?;
    sandbox.stop_sentry()?;
    let kill = thread::spawn({
        let ctr = host.ctr();
        move || ctr.kill("subject", "SIGKILL", LATER)
    });
    await_strike(&sandbox, QUERY + DEADLINE + ESCALATION)?;
    kill.join().map_err(|_| anyhow::anyhow!("the kill"))??;
    ensure!(guard.is_alive(), "the guard has died");
    eventually(LATER, "the exit is published", || (events.exits("subject", "subject") > 0).then_some(()))?;
    drop(full);
    eventually(LATER, "the task is deleted", || {
        ctr.force_delete_task("subject", LATER).ok()?.success().then_some(())
    })?;
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, LATER)?;
    guard.wait_gone(LATER)?;
    let exits = events.exits("subject", "subject");
    ensure!(exits == 1, "{exits} exits were published");
    Ok(())
}
