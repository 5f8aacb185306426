//! State D: what no SIGKILL ends, as long as a file system does not answer. A FUSE mount that is the pod's alone
//! is ended with it; one that a neighbour has too is left, and the truth is told until the server answers.

use anyhow::{Context as _, Result, bail, ensure};
use containerd_shim_protos::api;
use harness::{
    Access, Asked, EventLog, Fuse, Handler, Host, LATER, NodeLink, Pod, PodContainer, TaskClient, code,
    eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
    promise::{DEADLINE, ESCALATION, HUNG, MARGIN, QUERY, subject},
    run,
};
use rustix::{mount::mount_bind, process::Signal};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// The fixture itself: without it nothing below would mean anything.
#[test]
fn who_waits_for_a_fuse_server_cannot_be_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("source"))?;
    std::fs::write(folder.path().join("source/file"), "well\n")?;
    let fuse = Fuse::serve(&folder.path().join("source"), &folder.path().join("mount"), Access::ReadOnly)?;
    let file = fuse.point().join("file");
    ensure!(std::fs::read_to_string(&file)? == "well\n");
    fuse.hang();
    let mut child = Command::new("cat").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    eventually(Duration::from_secs(5), "a request that is held", || (fuse.held() > 0).then_some(()))?;
    child.kill()?;
    let pid = i32::try_from(child.id())?;
    let state = eventually(Duration::from_secs(5), "state D", || {
        Process::read(pid).filter(|process| process.state == 'D')
    });
    let wchan = std::fs::read_to_string(format!("/proc/{pid}/wchan"))?;
    println!("SIGKILLed, and in {wchan}: {state:?}");
    let tried = child.try_wait()?;
    fuse.answer();
    let exit = child.wait()?;
    state.context("it did not stay in state D")?;
    ensure!(tried.is_none(), "it died while the server hung: {tried:?}");
    ensure!(!exit.success(), "{exit}");
    ensure!(fuse.is_connected());
    fuse.end()?;
    await_abort(&fuse)?;
    Ok(())
}

/// The fixture for what reads /proc (rule 8): a stub that holds its mmap_lock, and what only a sentry can end lives.
#[test]
fn a_stub_in_munmap_holds_its_command_line() -> Result<()> {
    let host = Host::with([Handler::unguarded("subject")])?;
    let fuse = faults::writable_volume(&host, "volumes/v".as_ref(), Access::WriteThrough)?;
    start(&host, "subject", &[&faults::writable_volume_flag(fuse.point())], &faults::uses_file("munmap"))?;
    let sandbox = Sandbox::of(&host, "subject")?;
    let stub = faults::hold_mmap_lock(&fuse, &sandbox)?;
    sandbox.sentry.signal(Signal::KILL)?;
    let holds = || faults::is_command_line_held(stub.pid);
    ensure!(Process::state(stub.pid) == Some('D') && holds(), "{stub} was freed by SIGKILL");
    fuse.answer();
    sandbox.sentry.wait_gone(LATER)
}

/// The kernel has told the server that its connection is no more.
fn await_abort(fuse: &Fuse) -> Result<()> {
    eventually(Duration::from_secs(5), "the connection is aborted", || (!fuse.is_connected()).then_some(()))
}

/// Threads of the sandbox by state and where in the kernel they wait. Of the sentry or of a stub: what a guest has mapped
/// from a file is read by the stub itself, when it touches the page. (Wait channel 0 is only passing by.)
fn waiting(sandbox: &Sandbox) -> impl Iterator<Item = (char, String)> {
    let pids = sandbox.stubs().into_iter().map(|stub| stub.pid).chain([sandbox.sentry.pid]);
    let threads = pids.flat_map(|pid| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        threads.into_iter().flatten().flatten()
    });
    threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let wchan = std::fs::read_to_string(thread.path().join("wchan")).ok()?;
        (wchan != "0").then_some((state, wchan))
    })
}

/// Where those wait that SIGKILL does not end.
fn stuck(sandbox: &Sandbox) -> Vec<String> {
    waiting(sandbox).filter(|(state, _)| *state == 'D').map(|(_, wchan)| wchan).collect()
}

/// The unguarded side of them all: not ended when asked, and not when somebody kills the sentry by hand.
fn wedges_unguarded(ask: impl Fn(Duration) -> bool, sandbox: &Sandbox) -> Result<()> {
    let began = Instant::now();
    let limit = QUERY + DEADLINE + ESCALATION + MARGIN;
    while let Some(left) = limit.checked_sub(began.elapsed()) {
        ensure!(!ask(left), "it does not wedge the unguarded shim: ended after {:?}", began.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    sandbox.sentry.signal(Signal::KILL)?;
    let waits = eventually(Duration::from_secs(5), "state D", || {
        Some(stuck(sandbox)).filter(|channels| !channels.is_empty())
    })?;
    println!("unguarded: not ended within {limit:?}; SIGKILLed, its threads are in {waits:?}");
    Ok(())
}

fn start(host: &Host, handler: &str, flags: &[&str], command: &[&str]) -> Result<()> {
    start_as(host, handler, "subject", flags, command)
}

fn start_as(host: &Host, handler: &str, id: &str, flags: &[&str], command: &[&str]) -> Result<()> {
    let ctr = host.ctr();
    let flags = [&["--detach", "--null-io"], flags].concat();
    let args = ctr.run_args(&host.handler(handler)?, &flags, id, command);
    run(&mut ctr.command(&args), b"", LATER)?.ok().map(drop)
}

/// A stand-alone container with a FUSE volume.
fn start_on_volume(host: &Host, handler: &str) -> Result<Arc<Fuse>> {
    let fuse = faults::fuse_volume(host, "volumes/v".as_ref())?;
    start(host, handler, &[&faults::volume_flag(fuse.point())], faults::READS_VOLUME)?;
    Ok(fuse)
}

/// A stand-alone container whose rootfs is on FUSE.
fn start_on_rootfs(host: &Host, handler: &str) -> Result<Arc<Fuse>> {
    let fuse = faults::fuse_rootfs(host, "rootfs".as_ref())?;
    let ctr = host.ctr();
    let mut args = ctr.run_args(
        &host.handler(handler)?,
        &["--detach", "--null-io", "--env=PATH=/bin", "--rootfs"],
        "subject",
        faults::READS_ROOTFS,
    );
    let image = args.iter_mut().rfind(|arg| arg.starts_with("localhost/")).context("no image")?;
    *image = fuse.point().to_string_lossy().into_owned();
    run(&mut ctr.command(&args), b"", LATER)?.ok()?;
    eventually(LATER, "its program is read", || {
        ctr.exec("subject", "look", faults::HAS_READ, b"", LATER)
            .is_ok_and(|look| look.success())
            .then_some(())
    })?;
    Ok(fuse)
}

type Start = fn(&Host, &str) -> Result<Arc<Fuse>>;

fn on_memory(handler: Handler) -> Handler {
    handler.runsc_flag("overlay2", "root:memory")
}

fn unguarded_container(start: Start) -> Result<()> {
    let host = Host::builder().handler(on_memory(Handler::unguarded("subject"))).start()?;
    let fuse = start(&host, "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    faults::hang_fuse(&fuse)?;
    wedges_unguarded(
        |left| host.ctr().force_delete_task("subject", left).is_ok_and(|outcome| outcome.success()),
        &sandbox,
    )
}

/// Nobody but the sandbox has it any more: the guard ends the connection and with it the wait, in time.
fn exclusive_container(start: Start) -> Result<()> {
    let host = Host::builder().handler(on_memory(subject())).start()?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let fuse = start(&host, "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    fuse.detach()?;
    faults::hang_fuse(&fuse)?;
    let began = Instant::now();
    let limit = QUERY + DEADLINE + ESCALATION + HUNG;
    let mut ended = None;
    while ended.is_none() && began.elapsed() < limit + MARGIN {
        let done = ctr.force_delete_task("subject", limit + MARGIN)?.success();
        ended = done.then(|| began.elapsed());
    }
    println!("exclusive: ended in {ended:?} (deadline {DEADLINE:?})");
    let ended = ended.context("the guard did not end it")?;
    ensure!(ended <= limit, "the guard was late: {ended:?}");
    await_abort(&fuse)?;
    ensure!(stuck(&sandbox).is_empty(), "the sentry lives on");
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, LATER)
}

#[test]
fn a_hung_volume_wedges_the_unguarded_shim() -> Result<()> {
    unguarded_container(start_on_volume)
}

#[test]
fn a_hung_rootfs_wedges_the_unguarded_shim() -> Result<()> {
    unguarded_container(start_on_rootfs)
}

#[test]
fn a_volume_that_only_the_container_has_is_ended_with_it() -> Result<()> {
    exclusive_container(start_on_volume)
}

#[test]
fn a_rootfs_that_only_the_container_has_is_ended_with_it() -> Result<()> {
    exclusive_container(start_on_rootfs)
}

/// The same where the guard is dead: `delete` knows what the guard was told, and ends the wait.
#[test]
fn a_dead_guards_delete_ends_a_volume_that_was_its_alone() -> Result<()> {
    let host = Host::with([subject()])?;
    let (ctr, before) = (host.ctr(), Resources::of(&host));
    let fuse = start_on_volume(&host, "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    fuse.detach()?;
    faults::hang_fuse(&fuse)?;
    sandbox.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    let killed = Instant::now();
    sandbox.sentry.gone_within(QUERY + ESCALATION + HUNG + LATER)?;
    println!("the sentry is gone after {:?}", killed.elapsed());
    await_abort(&fuse)?;
    eventually(LATER, "containerd lets go of it", || {
        let _ = ctr.force_delete_task("subject", LATER);
        ctr.delete_container("subject").ok()
    })?;
    assert_nothing_left(&host, &before, LATER)
}

/// What the guard answers while something is unkillable; `left` are words that its refusals must hold.
fn assert_truthful(host: &Host, namespace: &str, id: &str, left: &[&str]) -> Result<()> {
    let client = TaskClient::connect(host, namespace, id)?;
    let id = id.to_owned();
    let state: api::StateResponse =
        client.call("State", &api::StateRequest { id: id.clone(), ..Default::default() }, LATER)?;
    ensure!(state.status.value() == 2, "State is {:?}", state.status);
    let refused = |method: &str, answer: Result<(), ttrpc::Error>| -> Result<()> {
        let Err(error) = answer else { bail!("{method} was answered with success") };
        ensure!(code(&error) == Some(ttrpc::Code::FAILED_PRECONDITION), "{method}: {error}");
        let text = error.to_string();
        println!("{method}: {text}");
        left.iter().try_for_each(|word| {
            ensure!(text.contains(word), "{method} does not name {word}: {text}");
            Ok(())
        })
    };
    let kill = api::KillRequest { id: id.clone(), signal: 9, ..Default::default() };
    refused("Kill", client.call::<_, api::Empty>("Kill", &kill, LATER).map(drop))?;
    let delete = api::DeleteRequest { id: id.clone(), ..Default::default() };
    refused("Delete", client.call::<_, api::DeleteResponse>("Delete", &delete, LATER).map(drop))?;
    let shutdown = api::ShutdownRequest { id: id.clone(), ..Default::default() };
    refused("Shutdown", client.call::<_, api::Empty>("Shutdown", &shutdown, LATER).map(drop))?;
    let wait = api::WaitRequest { id, ..Default::default() };
    let answer = client.call::<_, api::WaitResponse>("Wait", &wait, Duration::from_secs(1));
    ensure!(answer.is_err(), "Wait was answered: {answer:?}");
    Ok(())
}

/// Waits until the guard says that it cannot kill what it should.
fn await_unkillable(host: &Host, id: &str) -> Result<()> {
    eventually(DEADLINE + ESCALATION + LATER, "the guard says that it is unkillable", || {
        let log = host.log();
        log.lines().any(|line| line.contains("the kernel keeps alive") && line.contains(id)).then_some(())
    })
}

/// `delete` for a container whose guard lives and can do nothing: an answer in containerd's time that says why.
fn assert_delete_names(host: &Host, namespace: &str, id: &str, word: &str) -> Result<()> {
    let bundle = host.bundle(namespace, id);
    let mut command = Command::new(&host.parts().guard);
    command.args(["-namespace", namespace, "-id", id, "-bundle"]).arg(&bundle);
    command.arg("-address").arg(host.socket()).args(["-publish-binary", "/bin/true", "delete"]);
    let outcome = run(command.current_dir(&bundle), b"", LATER)?;
    println!("delete: {outcome:?}");
    ensure!(outcome.took < Duration::from_secs(5), "delete took {:?}", outcome.took);
    ensure!(outcome.stderr.contains(word), "delete does not name {word}: {}", outcome.stderr);
    Ok(())
}

/// The truth until the end, then the end: a stand-alone container, the operator forbids the abort.
#[test]
fn what_cannot_die_is_named_until_it_can() -> Result<()> {
    let host = Host::with([subject().guard("abort_fuse", "false")])?;
    let ctr = host.ctr();
    let before = Resources::of(&host);
    let events = EventLog::start(&ctr)?;
    let fuse = start_on_volume(&host, "subject")?;
    let sandbox = Sandbox::of(&host, "subject")?;
    fuse.detach()?;
    faults::hang_fuse(&fuse)?;
    ctr.kill("subject", "SIGKILL", QUERY + DEADLINE + ESCALATION + MARGIN)?;
    await_unkillable(&host, "subject")?;
    let pid = format!("pid {}", sandbox.sentry.pid);
    assert_truthful(&host, ctr.namespace(), "subject", &[&pid, "state D", "request_wait_answer", "fuse"])?;
    let tasks = ctr.tasks(LATER)?;
    ensure!(tasks.first().is_some_and(|task| task.status == "RUNNING"), "{tasks:?}");
    assert_delete_names(&host, ctr.namespace(), "subject", &pid)?;
    ensure!(fuse.is_connected(), "aborted although forbidden");
    ensure!(events.exits("subject", "subject") == 0, "an exit was claimed");
    ensure!(!stuck(&sandbox).is_empty(), "the sentry is gone");
    fuse.end()?;
    eventually(LATER, "the exit is published", || (events.exits("subject", "subject") > 0).then_some(()))?;
    // `delete` has asked for its end, too: the guard may be gone by itself, and containerd then publishes the same
    // once more (rule 3).
    let exits = events.of_task("subject").into_iter().filter(|event| event.topic == "/tasks/exit");
    let exits: Vec<_> = exits.collect();
    let same = exits.iter().all(|exit| exit.number("exit_status") == 137 && exit.body == exits[0].body);
    ensure!(same && exits.len() <= 2, "{exits:?}");
    let deleted = ctr.delete_task("subject", LATER)?;
    println!("task delete: {deleted:?}");
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, LATER)
}

/// A pod with one container that reads its volume at `point`.
fn pod_on_volume(host: &Host, name: &str, point: &Path) -> Result<(Pod, PodContainer)> {
    let cri = host.cri()?;
    let pod = cri.run_pod(name, name)?;
    let volumes = [(point, faults::VOLUME)];
    let container = cri.create_container_with(&pod, "c", 0, faults::READS_VOLUME, &volumes)?;
    cri.start_container(&container)?;
    Ok((pod, container))
}

fn stop_pod_within(host: &Host, pod: &Pod, limit: Duration) -> Result<Option<Duration>> {
    let cri = host.cri()?;
    let began = Instant::now();
    while let Some(left) = limit.checked_sub(began.elapsed()) {
        if cri.stop_pod(pod, left).is_ok() {
            return Ok(Some(began.elapsed()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

#[test]
fn a_pod_with_a_hung_volume_wedges_the_unguarded_shim() -> Result<()> {
    let host = Host::with([Handler::unguarded("subject")])?;
    let cri = host.cri()?;
    let fuse = faults::fuse_volume(&host, &cri.volume("subject", "v"))?;
    let (pod, _) = pod_on_volume(&host, "subject", fuse.point())?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    faults::hang_fuse(&fuse)?;
    wedges_unguarded(|left| cri.stop_pod(&pod, left).is_ok(), &sandbox)
}

/// A volume in the pod's own folder, as a kubelet mounts it, is the pod's alone.
#[test]
fn a_pods_own_volume_is_ended_with_the_pod() -> Result<()> {
    let host = Host::with([subject()])?;
    let cri = host.cri()?;
    let fuse = faults::fuse_volume(&host, &cri.volume("subject", "v"))?;
    let before = Resources::of(&host);
    let (pod, _) = pod_on_volume(&host, "subject", fuse.point())?;
    faults::hang_fuse(&fuse)?;
    let limit = QUERY + DEADLINE + ESCALATION + HUNG;
    let ended = stop_pod_within(&host, &pod, limit + MARGIN)?;
    println!("pod's own volume: ended in {ended:?} (deadline {DEADLINE:?})");
    let ended = ended.context("the guard did not end it")?;
    ensure!(ended <= limit, "the guard was late: {ended:?}");
    // Told of an exit before, containerd would have tried Delete in vain, and again after ever longer pauses.
    ensure!(!host.log().contains("failed to delete task"), "{}", host.log());
    await_abort(&fuse)?;
    cri.remove_pod(&pod, LATER)?;
    fuse.end()?;
    assert_nothing_left(&host, &before, LATER)
}

/// Links at the host's end of the pods' bridge.
fn bridge_ports(host: &Host) -> Vec<String> {
    let folder = format!("/sys/class/net/{}br/brif", host.tag());
    let ports = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = ports.map(|port| port.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The neighbour has the mount, too: it is left alone. The pod loses its network, not its truth.
fn shared_mount(
    handlers: [Handler; 2],
    mount: fn(&Host) -> Result<Arc<Fuse>>,
    run_pod: fn(&Host, &str, &Fuse) -> Result<(Pod, PodContainer)>,
) -> Result<()> {
    let [subject, neighbour] = handlers;
    let host = Host::builder().handler(subject).handler(neighbour).start()?;
    let cri = host.cri()?;
    let fuse = mount(&host)?;
    let (neighbour, neighbours) = run_pod(&host, "neighbour", &fuse)?;
    let ports = bridge_ports(&host);
    ensure!(ports.len() == 1, "{ports:?}");
    let before = Resources::of(&host);
    let (pod, container) = run_pod(&host, "subject", &fuse)?;
    ensure!(bridge_ports(&host).len() == 2, "{:?}", bridge_ports(&host));
    let sandbox = Sandbox::of(&host, &pod.id)?;
    let spared = Sandbox::of(&host, &neighbour.id)?;
    faults::hang_fuse(&fuse)?;
    // Whoever came first may have been the neighbour.
    eventually(LATER, "the subject waits for the server", || {
        waiting(&sandbox).find(|(_, wchan)| wchan == "request_wait_answer")
    })?;
    let stopped = stop_pod_within(&host, &pod, QUERY + DEADLINE + ESCALATION + MARGIN)?;
    ensure!(stopped.is_none(), "stopped in {stopped:?} although it cannot die");
    await_unkillable(&host, &pod.id)?;
    ensure!(!stuck(&sandbox).is_empty(), "the sentry is gone");
    for id in [&pod.id, &container.id] {
        assert_truthful(&host, "k8s.io", id, &["state D", "request_wait_answer"])?;
    }
    // Its end of the pair is gone, and with it the other one, in the pod.
    eventually(LATER, "the pod has no network", || (bridge_ports(&host) == ports).then_some(()))?;
    // No mount table shows what lies below an overlay, so nobody judges that.
    if host.log().contains("waiting for mount") {
        eventually(HUNG + LATER, "the guard has judged the server", || {
            host.log().contains("does not answer and is not this pod's alone: left as it is").then_some(())
        })?;
    }
    ensure!(fuse.is_connected(), "the neighbour's mount was aborted");
    spared.sentry.assert_spared()?;
    spared.real_shim.assert_spared()?;
    fuse.answer();
    let ended = stop_pod_within(&host, &pod, LATER)?.context("it does not end although it can die")?;
    println!("shared: ended {ended:?} after the server answered");
    cri.remove_pod(&pod, LATER)?;
    assert_nothing_left(&host, &before, LATER)?;
    ensure!(bridge_ports(&host) == ports, "the neighbour's network was touched");
    let answer = cri.exec(&neighbours, &["echo", "well"], LATER)?;
    ensure!(answer.stdout == b"well\n", "the neighbour answers {answer:?}");
    cri.end_pod(&neighbour)
}

#[test]
fn a_volume_that_a_neighbour_has_too_is_left_alone() -> Result<()> {
    shared_mount(
        [subject(), Handler::guarded("neighbour")],
        |host| faults::fuse_volume(host, "volumes/shared".as_ref()),
        |host, name, fuse| pod_on_volume(host, name, fuse.point()),
    )
}

/// The image's one layer is served by FUSE, below every pod's overlay: no mount table shows that.
fn layer_on_fuse(host: &Host) -> Result<Arc<Fuse>> {
    let snapshots = host.path().join("d/io.containerd.snapshotter.v1.overlayfs/snapshots");
    let layers = std::fs::read_dir(&snapshots).with_context(|| snapshots.display().to_string())?;
    // Two containerd namespaces have the image, each in a layer of its own.
    let layers = layers.flatten().map(|entry| entry.path().join("fs"));
    let layers: Vec<_> = layers.filter(|path| path.join("bin/busybox").exists()).collect();
    let (first, others) = layers.split_first().context("no layer")?;
    let copy = host.path().join("layer");
    run(Command::new("cp").arg("-a").arg(first).arg(&copy), b"", LATER)?.ok()?;
    let fuse = host.fuse(&copy, first, Access::ReadOnly)?;
    others.iter().try_for_each(|layer| mount_bind(first, layer))?;
    Ok(fuse)
}

#[test]
fn an_image_that_every_pod_has_is_left_alone() -> Result<()> {
    shared_mount(
        [on_memory(subject()), on_memory(Handler::guarded("neighbour"))],
        layer_on_fuse,
        |host, name, _| {
            let cri = host.cri()?;
            let pod = cri.run_pod(name, name)?;
            // Only the subject is to wait for the server.
            if name != "subject" {
                let container = cri.run_container(&pod, "c", &["sleep", "100000"])?;
                return Ok((pod, container));
            }
            let container = cri.run_container(&pod, "c", faults::READS_ROOTFS)?;
            let has_read =
                || cri.exec(&container, faults::HAS_READ, LATER).is_ok_and(|look| look.exit_code == 0);
            eventually(LATER, "its program is read", || has_read().then_some(()))?;
            Ok((pod, container))
        },
    )
}

#[test]
fn a_pod_on_the_nodes_network_costs_the_node_no_link() -> Result<()> {
    let host = Host::with([subject().guard("abort_fuse", "false")])?;
    let cri = host.cri()?;
    let fuse = faults::fuse_volume(&host, &cri.volume("subject", "v"))?;
    let before = Resources::of(&host);
    let pod = cri.run_pod_on_host_network("subject", "subject")?;
    let volumes = [(fuse.point(), faults::VOLUME)];
    let container = cri.create_container_with(&pod, "c", 0, faults::READS_VOLUME, &volumes)?;
    cri.start_container(&container)?;
    let link = NodeLink::new()?;
    faults::hang_fuse(&fuse)?;
    stop_pod_within(&host, &pod, QUERY + DEADLINE + ESCALATION + MARGIN)?;
    await_unkillable(&host, &pod.id)?;
    // After the network, mounts are taken: when those are gone, what could happen to the network has happened.
    let bundle = host.bundle("k8s.io", &pod.id).to_string_lossy().into_owned();
    eventually(LATER, "its mounts are taken", || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        (!table.contains(&bundle)).then_some(())
    })?;
    link.assert_untouched()?;
    fuse.end()?;
    stop_pod_within(&host, &pod, LATER)?.context("it does not end although it can die")?;
    cri.remove_pod(&pod, LATER)?;
    assert_nothing_left(&host, &before, LATER)
}

/// A container that writes to a volume which only it has.
struct Writer {
    id: &'static str,
    fuse: Arc<Fuse>,
}

impl Writer {
    fn start(host: &Host, id: &'static str, access: Access, verb: &str) -> Result<Self> {
        let fuse = faults::writable_volume(host, &Path::new("volumes").join(id), access)?;
        let flag = faults::writable_volume_flag(fuse.point());
        start_as(host, "subject", id, &[&flag], &faults::uses_file(verb))?;
        fuse.detach()?;
        Ok(Self { id, fuse })
    }

    /// What is done once is done.
    fn await_done(&self) -> Result<()> {
        let mark = self.fuse.source().join("file.done");
        eventually(LATER, "the guest has stored", || mark.exists().then_some(()))
    }

    /// SIGKILL, and then the truth until the end: that it cannot be killed, and for which mount it waits.
    fn kill_in_vain(&self, host: &Host) -> Result<()> {
        let ctr = host.ctr();
        ctr.kill(self.id, "SIGKILL", QUERY + DEADLINE + ESCALATION + MARGIN)?;
        await_unkillable(host, self.id)?;
        let client = TaskClient::connect(host, ctr.namespace(), self.id)?;
        let kill = api::KillRequest { id: self.id.to_owned(), signal: 9, ..Default::default() };
        let Err(error) = client.call::<_, api::Empty>("Kill", &kill, LATER) else {
            bail!("{}: Kill was answered with success", self.id);
        };
        let text = error.to_string();
        println!("{}: {text}", self.id);
        let named = ["state D", "waiting for mount", "(fuse"].iter().all(|word| text.contains(word));
        ensure!(named, "{}: no mount named: {text}", self.id);
        Ok(())
    }

    fn await_end(&self, host: &Host, limit: Duration) -> Result<()> {
        let ctr = host.ctr();
        let gone = eventually(limit, "it ends", || {
            ctr.force_delete_task(self.id, LATER).ok()?.success().then_some(())
        });
        gone.with_context(|| self.id)?;
        ctr.delete_container(self.id)
    }
}

/// Whoever waits for pages to be written back, or for a request, cannot be killed, wherever in the kernel that is.
#[test]
fn who_writes_to_a_volume_that_hangs_is_ended_with_it() -> Result<()> {
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let cases = [
        ("fsync-cached", Access::Writeback, "fsync", Asked::Write),
        ("synced", Access::WriteThrough, "fsync", Asked::Fsync),
        ("msync", Access::WriteThrough, "msync", Asked::Write),
        ("munmap", Access::WriteThrough, "munmap", Asked::Write),
        ("exit-mapped", Access::WriteThrough, "store-once", Asked::Write),
        ("exit-cached", Access::Writeback, "store-once", Asked::Write),
    ];
    let writers = cases.map(|(id, access, verb, asked)| -> Result<Writer> {
        let writer = Writer::start(&host, id, access, verb)?;
        if verb == "store-once" {
            writer.await_done()?;
        }
        writer.fuse.hang_in(&[asked]);
        Ok(writer)
    });
    let writers: Vec<Writer> = writers.into_iter().collect::<Result<_>>()?;
    let end = |writer: &Writer| -> Result<()> {
        let began = Instant::now();
        writer.kill_in_vain(&host)?;
        ensure!(writer.fuse.is_connected(), "{}: aborted too soon", writer.id);
        writer.await_end(&host, HUNG + LATER)?;
        println!("{}: ended after {:?}", writer.id, began.elapsed());
        ensure!(began.elapsed() >= Duration::from_secs(10), "{}: aborted too soon", writer.id);
        await_abort(&writer.fuse)
    };
    let ended = thread::scope(|threads| {
        let all: Vec<_> = writers.iter().map(|writer| threads.spawn(|| end(writer))).collect();
        all.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("it panicked"))?).collect::<Vec<_>>()
    });
    ended.into_iter().collect::<Result<()>>()?;
    assert_nothing_left(&host, &before, LATER)
}

/// A server that takes four seconds for each write is no hung one: all that a `kill -9` would have let out is let out,
/// and then the sandbox ends by itself.
#[test]
fn who_writes_to_a_slow_volume_loses_nothing() -> Result<()> {
    const WORK: Duration = Duration::from_secs(4);
    let host = Host::with([subject()])?;
    let before = Resources::of(&host);
    let writes = Writer::start(&host, "writes", Access::WriteThrough, "write")?;
    let stores = Writer::start(&host, "stores", Access::Writeback, "store-apart")?;
    stores.await_done()?;
    for writer in [&writes, &stores] {
        writer.fuse.slow_down(Asked::Write, WORK);
    }
    let end = |writer: &Writer| {
        host.ctr().kill(writer.id, "SIGKILL", QUERY + DEADLINE + ESCALATION + MARGIN)?;
        writer.await_end(&host, WORK * 8 + LATER)
    };
    thread::scope(|threads| {
        let one = threads.spawn(|| end(&writes));
        end(&stores)?;
        one.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    })?;
    for writer in [&writes, &stores] {
        println!("{}: {} answered late", writer.id, writer.fuse.answered_late());
        ensure!(!host.log().contains("connection aborted"), "aborted");
    }
    let file = std::fs::read(stores.fuse.source().join("file"))?;
    let stored = file.chunks(4096).step_by(2).all(|page| page.iter().all(|byte| *byte == b'x'));
    ensure!(stored && stores.fuse.answered_late() >= 4, "what was stored is lost");
    assert_nothing_left(&host, &before, LATER)
}
