//! What a sibling that nobody has asked to end pays for its neighbour's end: nothing, as long as the sentry answers.
//! The pods are containerd's, and what is slow, hangs or fails is one `runsc` command about one container.

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api;
use harness::{
    Cri, Handler, Host, LATER, Pod, PodContainer, TaskClient, code, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    write_script,
};
use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The namespace of CRI's tasks.
const CRI: &str = "k8s.io";
/// What one container's release may take after `delete_deadline`, and the request on its way.
const RELEASE: Duration = Duration::from_secs(3);

/// From SIGKILL to a deleted task: the exit on its way, `delete_deadline`, the release, and CRI's pause until it tries
/// again.
const LIMIT: Duration = Duration::from_secs(2 + 3 + 9);

/// A pod with a container that lives throughout, and one that is to be ended.
struct Scene {
    host: Host,
    before: Resources,
    cri: Cri,
    pod: Pod,
    stays: PodContainer,
    ends: PodContainer,
    sandbox: Sandbox,
}

impl Scene {
    /// `ends` runs this command; the handler has short deadlines, and `hard_limit` never strikes.
    fn new(name: &str, ends: &[&str], handler: impl Fn(Handler) -> Handler) -> Result<Self> {
        let base = Handler::quick("subject", "4s").guard("delete_deadline", "\"2s\"");
        let host = Host::with([handler(base)])?;
        let before = Resources::of(&host);
        let runsc = switched_runsc(&host, "runsc-switched")?;
        host.add_handler(&host.handler("subject")?.runsc(runsc))?;
        let cri = host.cri()?;
        let pod = cri.run_pod("subject", name)?;
        let stays = cri.run_container(&pod, "stays", &["sleep", "100000"])?;
        let ends = cri.run_container(&pod, "ends", ends)?;
        let sandbox = Sandbox::of(&host, &pod.id)?;
        Ok(Self { host, before, cri, pod, stays, ends, sandbox })
    }

    fn client(&self) -> Result<TaskClient> {
        TaskClient::connect(&self.host, CRI, &self.pod.id)
    }

    /// Nobody who was not asked to end has ended: the sentry is the same, and an exec in the sibling works.
    fn assert_sibling_lives(&self) -> Result<()> {
        self.sandbox.sentry.assert_spared()?;
        self.sandbox.real_shim.assert_spared()?;
        let answer = self.cri.exec(&self.stays, &["echo", "well"], LATER).context("exec in the sibling")?;
        ensure!(answer.stdout == b"well\n", "{answer:?}");
        let all = self.cri.containers(LATER)?;
        ensure!(all.contains(&(self.stays.id.clone(), 1)), "the sibling does not run: {all:?}");
        Ok(())
    }

    /// What a sibling must not be: gone within this time.
    fn assert_sibling_outlives(&self, time: Duration) -> Result<()> {
        let gone = self.sandbox.sentry.gone_within(time);
        ensure!(gone.is_err(), "the sandbox was ended");
        Ok(())
    }

    /// The pod ends as ever, and nothing is left.
    fn end(&self) -> Result<()> {
        self.cri.end_pod(&self.pod)?;
        assert_nothing_left(&self.host, &self.before, LATER)
    }
}

/// A runsc of which each subcommand can be told, by [`switch`], what to do about each container.
fn switched_runsc(host: &Host, name: &str) -> Result<std::path::PathBuf> {
    let (path, runsc) = (host.path().join(name), host.parts().runsc.display());
    let switches = host.path().join(SWITCHES);
    std::fs::create_dir_all(&switches)?;
    let script =
        SWITCHED.replace("SWITCHES", &switches.to_string_lossy()).replace("RUNSC", &runsc.to_string());
    write_script(&path, &script)?;
    Ok(path)
}

/// Where [`switch`] puts what it is told, below the host's folder.
const SWITCHES: &str = "switches";

/// The script of [`switched_runsc`]. What sleeps has none of the real shim's pipes: it would keep them open after the
/// real shim has killed the shell.
const SWITCHED: &str = r#"#!/bin/sh
for command; do case $command in -*) ;; *) break ;; esac; done
for id in '' "$@"; do
    case $id in */*) continue ;; esac
    file="SWITCHES/$command@$id"
    [ -e "$file" ] || continue
    read -r what seconds <"$file"
    if [ "$what" = alternate ]; then
        if [ -e "$file.odd" ]; then rm -f "$file.odd"; what=fail; else : >"$file.odd"; what=hang; fi
    fi
    case $what in
    hang) exec sleep 1000000 ;;
    sleep) sleep "$seconds" </dev/null >/dev/null 2>&1 ;;
    fail) [ -z "$seconds" ] || sleep "$seconds" </dev/null >/dev/null 2>&1
        echo "runsc $command was told to fail" >&2; exit 1 ;;
    esac
done
exec RUNSC "$@"
"#;

/// Has `runsc SUBCOMMAND` of this container ("" for any) do this from now on, under [`switched_runsc`]: `hang`, `fail`,
/// `fail N` after so many seconds, `alternate` between the two, `sleep N` and then work; `work` as ever.
fn switch(host: &Host, subcommand: &str, id: &str, what: &str) -> Result<()> {
    let file = host.path().join(SWITCHES).join(format!("{subcommand}@{id}"));
    if what == "work" {
        return std::fs::remove_file(&file).with_context(|| file.display().to_string());
    }
    std::fs::write(&file, format!("{what}\n")).with_context(|| file.display().to_string())
}

fn kill(container: &PodContainer, exec: &str) -> api::KillRequest {
    api::KillRequest { id: container.id.clone(), exec_id: exec.to_owned(), signal: 9, ..Default::default() }
}

/// SIGKILL to an exec'd process that has no effect: refused, and its container runs on.
#[test]
fn an_execs_sigkill_costs_its_container_nothing() -> Result<()> {
    let scene = Scene::new("exec", &["sleep", "100000"], |handler| handler.guard("hard_limit", "\"5s\""))?;
    let client = scene.client()?;
    let ctr = scene.host.ctr().in_namespace(CRI);
    thread::scope(|scope| {
        let exec = scope.spawn(|| ctr.exec(&scene.stays.id, "probe", &["sleep", "100000"], b"", 3 * LATER));
        let state =
            api::StateRequest { id: scene.stays.id.clone(), exec_id: "probe".into(), ..Default::default() };
        eventually(LATER, "the exec runs", || {
            let state = client.call::<_, api::StateResponse>("State", &state, LATER).ok()?;
            (state.pid() != 0 && state.status() == api::Status::RUNNING).then_some(())
        })?;
        switch(&scene.host, "kill", &scene.stays.id, "hang")?;
        let began = Instant::now();
        let answer = client.call::<_, api::Empty>("Kill", &kill(&scene.stays, "probe"), LATER);
        let error = answer.err().context("the Kill of an exec was answered")?;
        println!("Kill of the exec after {:?}: {error}", began.elapsed());
        ensure!(code(&error) == Some(ttrpc::Code::DEADLINE_EXCEEDED), "{error}");
        ensure!(error.to_string().contains("ends with it"), "{error}");
        // Past hard_limit, with all that the escalation takes.
        scene.assert_sibling_outlives(Duration::from_secs(9).saturating_sub(began.elapsed()))?;
        scene.assert_sibling_lives()?;
        switch(&scene.host, "kill", &scene.stays.id, "work")?;
        scene.end()?;
        let exec = exec.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        ensure!(!exec.timed_out(), "the exec did not end with its container");
        Ok(())
    })
}

/// A slow disk for some seconds: `runsc state` takes 0.7 s, `runsc delete` 3 s. And one on which `runsc delete` hangs.
#[test]
fn delete_of_an_exited_member_on_a_slow_disk_costs_nothing() -> Result<()> {
    for delete in ["sleep 3", "hang"] {
        let scene =
            Scene::new("slow", &["sleep", "100000"], |handler| handler.guard("hard_limit", "\"4s\""))?;
        switch(&scene.host, "state", "", "sleep 0.7")?;
        switch(&scene.host, "delete", &scene.ends.id, delete)?;
        released_alone(&scene, LIMIT)?;
        switch(&scene.host, "state", "", "work")?;
        switch(&scene.host, "delete", &scene.ends.id, "work")?;
        scene.end()?;
    }
    Ok(())
}

/// `ends` is killed and exits, containerd deletes its task within `limit`, and nobody else pays.
fn released_alone(scene: &Scene, limit: Duration) -> Result<()> {
    let client = scene.client()?;
    let began = Instant::now();
    client.call::<_, api::Empty>("Kill", &kill(&scene.ends, ""), LATER).context("SIGKILL")?;
    eventually(limit, "its task is deleted", || {
        let state = api::StateRequest { id: scene.ends.id.clone(), ..Default::default() };
        let answer = client.call::<_, api::StateResponse>("State", &state, LATER);
        answer.is_err_and(|error| code(&error) == Some(ttrpc::Code::NOT_FOUND)).then_some(())
    })?;
    println!("its task was deleted after {:?}", began.elapsed());
    eventually(LATER, "containerd knows that it has ended", || {
        scene.cri.containers(LATER).ok()?.contains(&(scene.ends.id.clone(), 2)).then_some(())
    })?;
    // Past hard_limit, with all that the escalation takes.
    scene.assert_sibling_outlives(Duration::from_secs(9).saturating_sub(began.elapsed()))?;
    scene.assert_sibling_lives()?;
    let rootfs = scene.host.bundle(CRI, &scene.ends.id).join("rootfs");
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    ensure!(!mounts.contains(&*rootfs.to_string_lossy()), "its rootfs is still mounted");
    Ok(())
}

/// A host process with its working folder in the rootfs: each Delete says EBUSY after 2.55 s, and `runsc delete` that
/// fails each time, at once.
#[test]
fn a_delete_that_is_answered_with_errors_ends_with_its_container() -> Result<()> {
    let scene = Scene::new("busy", &["sleep", "100000"], |handler| handler.guard("hard_limit", "\"4s\""))?;
    let rootfs = scene.host.bundle(CRI, &scene.ends.id).join("rootfs");
    let holder = Holder(Command::new("sleep").arg("1000").current_dir(&rootfs).stdin(Stdio::null()).spawn()?);
    released_alone(&scene, LIMIT)?;
    let held = format!("held by pid {}", holder.0.id());
    eventually(LATER, "the host process is named in the log", || {
        let log = scene.host.log();
        let mut lines = log.lines().filter(|line| line.contains("released this container by itself"));
        lines.any(|line| line.contains(&held)).then_some(())
    })?;
    drop(holder);

    let second = scene.cri.run_container(&scene.pod, "second", &["sleep", "100000"])?;
    switch(&scene.host, "delete", &second.id, "fail")?;
    let scene = Scene { ends: second, ..scene };
    released_alone(&scene, LIMIT)?;
    switch(&scene.host, "delete", &scene.ends.id, "work")?;
    scene.end()
}

/// Ends with the value.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container that was created and never started, whose Delete hangs. Made as containerd would make it, by a request
/// to the shim: its clients start what they create.
#[test]
fn a_member_that_never_started_is_deleted_alone() -> Result<()> {
    let scene =
        Scene::new("unstarted", &["sleep", "100000"], |handler| handler.guard("hard_limit", "\"4s\""))?;
    let client = scene.client()?;
    let late = "never-started";
    let create = create_request(&scene, late)?;
    client.call::<_, api::CreateTaskResponse>("Create", &create, LATER).context("Create")?;
    switch(&scene.host, "kill", late, "hang")?;
    switch(&scene.host, "delete", late, "hang")?;
    let began = Instant::now();
    let delete = api::DeleteRequest { id: late.to_owned(), ..Default::default() };
    let answer = client.call::<_, api::DeleteResponse>("Delete", &delete, LATER);
    println!("Delete after {:?}: {answer:?}", began.elapsed());
    ensure!(answer.context("Delete")?.exit_status() == 137);
    ensure!(began.elapsed() <= Duration::from_secs(2) + RELEASE, "late: {:?}", began.elapsed());
    let left: Vec<_> = Resources::of(&scene.host).naming(late).runsc.into_iter().collect();
    ensure!(left.is_empty(), "left: {left:?}");
    scene.assert_sibling_outlives(Duration::from_secs(8).saturating_sub(began.elapsed()))?;
    scene.assert_sibling_lives()?;
    scene.end()
}

/// What containerd would ask for, with the configuration of `ends` under another id.
fn create_request(scene: &Scene, id: &str) -> Result<api::CreateTaskRequest> {
    let bundle = scene.host.path().join("bundles-of-its-own").join(id);
    std::fs::create_dir_all(bundle.join("rootfs/bin"))?;
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", bundle.join("rootfs/bin/sleep"))?;
    let config = std::fs::read_to_string(scene.host.bundle(CRI, &scene.ends.id).join("config.json"))?;
    std::fs::write(bundle.join("config.json"), config.replace(&scene.ends.id, id))?;
    // runtimeoptions.v1.Options: 1 the type of what the file has, 2 the file.
    let file = scene.host.config_path(&scene.host.handler("subject")?).to_string_lossy().into_owned();
    let mut value = Vec::new();
    for (tag, text) in [(0x0a, "io.containerd.runsc.v1.options"), (0x12, file.as_str())] {
        value.extend([tag, u8::try_from(text.len())?]);
        value.extend(text.as_bytes());
    }
    let options = protobuf::well_known_types::any::Any {
        type_url: "runtimeoptions.v1.Options".to_owned(),
        value,
        ..Default::default()
    };
    let mut request = api::CreateTaskRequest { id: id.to_owned(), ..Default::default() };
    request.bundle = bundle.to_string_lossy().into_owned();
    request.options = protobuf::MessageField::some(options);
    Ok(request)
}

/// One `runsc kill` takes 15 s, while `runsc state` answers at once throughout.
#[test]
fn an_unacknowledged_sigkill_is_not_silence() -> Result<()> {
    let scene =
        Scene::new("slow-kill", &["sleep", "100000"], |handler| handler.guard("hard_limit", "\"0s\""))?;
    switch(&scene.host, "kill", &scene.ends.id, "sleep 15")?;
    let began = Instant::now();
    let client = scene.client()?;
    let answer = client.call::<_, api::Empty>("Kill", &kill(&scene.ends, ""), LATER);
    println!("Kill after {:?}: {answer:?}", began.elapsed());
    scene.assert_sibling_outlives(Duration::from_secs(10).saturating_sub(began.elapsed()))?;
    scene.assert_sibling_lives()?;
    eventually(LATER, "the SIGKILL has its effect", || {
        let all = scene.cri.containers(LATER).ok()?;
        all.contains(&(scene.ends.id.clone(), 2)).then_some(())
    })?;
    println!("it ended after {:?}", began.elapsed());
    scene.assert_sibling_lives()?;
    scene.end()
}

/// A Create that never returns is ended, and what it began: nothing else of the pod.
#[test]
fn a_create_that_hangs_costs_its_siblings_nothing() -> Result<()> {
    let scene =
        Scene::new("create", &["sleep", "100000"], |handler| handler.guard("create_deadline", "\"2s\""))?;
    switch(&scene.host, "create", "", "hang")?;
    let began = Instant::now();
    let third = scene.cri.create_container(&scene.pod, "hangs", 0, &["sleep", "100000"])?;
    let refused = scene.cri.start_container_within(&third, LATER);
    println!("refused after {:?}: {refused:?}", began.elapsed());
    ensure!(refused.is_err() && began.elapsed() < LATER, "{refused:?} after {:?}", began.elapsed());
    switch(&scene.host, "create", "", "work")?;
    scene.assert_sibling_lives()?;
    scene.end()
}
