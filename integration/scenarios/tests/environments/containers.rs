//! Kinds of containers: init, restartable init (sidecar), ephemeral, restarted, with an image for a volume.

use super::{Running, alike_and_ended, quick, state};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Host, Pod, PodContainer, SHORTLY, SOON, Transcript, container_config, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    runtime_v1::{
        ContainerConfig, LinuxContainerConfig, LinuxContainerSecurityContext, Mount, NamespaceMode,
        NamespaceOption,
    },
};

const SLEEP: &[&str] = &["sleep", "1000"];

fn await_exit(cri: &Cri, container: &PodContainer) -> Result<()> {
    eventually(SOON, "the container exits", || (state(cri, container).ok()? == 2).then_some(()))
}

/// What a container says when it is asked.
fn note_exec(
    cri: &Cri,
    container: &PodContainer,
    notes: &mut Transcript,
    what: &str,
    line: &str,
) -> Result<()> {
    let answer = cri.exec(container, &["sh", "-c", line], SOON)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    notes.note(what, format!("{} {:?} {:?}", answer.exit_code, said(&answer.stdout), said(&answer.stderr)));
    Ok(())
}

/// An init container fails, is run again and succeeds, as a kubelet has it.
fn initialise(cri: &Cri, pod: &Pod, notes: &mut Transcript) -> Result<()> {
    for (attempt, status) in [(0, "3"), (1, "0")] {
        let init = cri.create_container(pod, "init", attempt, &["sh", "-c", &format!("exit {status}")])?;
        cri.start_container(&init)?;
        await_exit(cri, &init)?;
        notes.note("init", format!("attempt {attempt} has state {}", state(cri, &init)?));
        cri.remove_container(&init, SOON)?;
    }
    Ok(())
}

#[test]
fn a_pod_stopped_while_its_init_container_runs() -> Result<()> {
    alike_and_ended(|_, cri, handler, notes| {
        let pod = cri.run_pod(handler, "in-init")?;
        initialise(cri, &pod, notes)?;
        let init = cri.run_container(&pod, "second-init", SLEEP)?;
        note_exec(cri, &init, notes, "second init", "echo well")?;
        Ok(Running::of(pod, [init]))
    })
}

#[test]
fn a_main_container_after_its_init_container() -> Result<()> {
    alike_and_ended(|_, cri, handler, notes| {
        let pod = cri.run_pod(handler, "after-init")?;
        initialise(cri, &pod, notes)?;
        let main = cri.run_container(&pod, "main", SLEEP)?;
        note_exec(cri, &main, notes, "main", "echo well")?;
        Ok(Running::of(pod, [main]))
    })
}

/// A sidecar starts before the other init containers, restarts beside the main container and is stopped after it.
#[test]
fn a_sidecar_comes_first_restarts_and_goes_last() -> Result<()> {
    alike_and_ended(|_, cri, handler, notes| {
        let pod = cri.run_pod(handler, "sidecar")?;
        let first = cri.run_container(&pod, "sidecar", SLEEP)?;
        initialise(cri, &pod, notes)?;
        let main = cri.run_container(&pod, "main", SLEEP)?;
        note_exec(cri, &first, notes, "sidecar beside main", "echo well")?;
        cri.stop_container(&first, 0, SOON)?;
        let again = cri.create_container(&pod, "sidecar", 1, SLEEP)?;
        cri.start_container(&again)?;
        cri.remove_container(&first, SOON)?;
        note_exec(cri, &main, notes, "main beside its sidecar's restart", "echo well")?;
        note_exec(cri, &again, notes, "sidecar again", "echo well")?;
        Ok(Running::of(pod, [main, again]))
    })
}

/// As `kubectl debug --target` has it: a container more in a pod that runs, in the other's process namespace.
fn debugger(main: &PodContainer) -> ContainerConfig {
    let pid = NamespaceMode::Target.into();
    let namespaces = NamespaceOption { pid, target_id: main.id.clone(), ..Default::default() };
    let context = LinuxContainerSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
    let linux = Some(LinuxContainerConfig { security_context: Some(context), ..Default::default() });
    ContainerConfig { linux, ..container_config("debugger", 0, SLEEP) }
}

#[test]
fn an_ephemeral_container_joins_later() -> Result<()> {
    alike_and_ended(|_, cri, handler, notes| {
        let pod = cri.run_pod(handler, "ephemeral")?;
        let main = cri.run_container(&pod, "main", SLEEP)?;
        let debugger = cri.create_container_of(&pod, debugger(&main))?;
        cri.start_container(&debugger)?;
        note_exec(cri, &debugger, notes, "what it sees", "ps | grep -c '[s]leep 1000'")?;
        note_exec(cri, &main, notes, "main", "echo well")?;
        Ok(Running::of(pod, [debugger, main]))
    })
}

/// The debugger comes because the pod is stuck: its Create is refused in time, and the pod ends all the same.
#[test]
fn an_ephemeral_container_for_a_wedged_pod_is_refused_in_time() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let (cri, before) = (host.cri()?, Resources::of(&host));
    let pod = cri.run_pod("guarded", "wedged")?;
    let main = cri.run_container(&pod, "main", SLEEP)?;
    Sandbox::of(&host, &pod.id)?.stop_sentry()?;
    let began = std::time::Instant::now();
    let refused = cri
        .create_container_of(&pod, debugger(&main))
        .and_then(|debugger| cri.start_container(&debugger))
        .expect_err("a stopped sentry has taken a container");
    println!("refused after {:?}: {refused:#}", began.elapsed());
    ensure!(began.elapsed() < SOON, "late: {:?}", began.elapsed());
    ensure!(format!("{refused:#}").contains("guard: "), "who says so? {refused:#}");
    Running::of(pod, [main]).end_wedged(&cri)?;
    assert_nothing_left(&host, &before, SOON)
}

/// A guarded pod that lives on with one container, while others come to it and go.
struct LivingPod {
    host: Host,
    cri: Cri,
    before: Resources,
    pod: Pod,
    stays: PodContainer,
    settled: Resources,
}

impl LivingPod {
    fn start(name: &str) -> Result<Self> {
        let host = Host::pair(quick("guarded"))?;
        let (cri, before) = (host.cri()?, Resources::of(&host));
        let pod = cri.run_pod("guarded", name)?;
        let stays = cri.run_container(&pod, "stays", SLEEP)?;
        let settled = Resources::of(&host);
        Ok(Self { host, cri, before, pod, stays, settled })
    }

    /// The last of a removed container to go is its bundle, and with it goes its place in the record.
    fn remove(&self, container: &PodContainer) -> Result<()> {
        self.cri.remove_container(container, SOON)?;
        eventually(SOON, "the bundle is gone", || {
            (!self.host.bundle("k8s.io", &container.id).exists()).then_some(())
        })
    }

    fn assert_nothing_more(&self) -> Result<()> {
        // A command that still looks at the pod ends by itself.
        assert_nothing_left(&self.host, &self.settled, SHORTLY).context("in the living pod")
    }

    fn end(self) -> Result<()> {
        let answer = self.cri.exec(&self.stays, &["echo", "well"], SOON)?;
        ensure!(answer.stdout == b"well\n", "{answer:?}");
        Running::of(self.pod, [self.stays]).end_stopped(&self.host, &self.cri)?;
        assert_nothing_left(&self.host, &self.before, SOON)
    }
}

/// One container of a living pod exits, is removed and comes again with another id, many times over: what the guard
/// keeps of them does not grow.
#[test]
fn restarts_in_a_living_pod_leave_nothing_behind_in_the_guard() -> Result<()> {
    const WARM: u32 = 4;
    const ROUNDS: u32 = 16;
    let living = LivingPod::start("restarts")?;
    let LivingPod { host, cri, pod, .. } = &living;
    let guard = Sandbox::of(host, &pod.id)?.guard.context("no guard")?;
    let kept = || -> Result<(u64, u64, u64)> {
        let record = host.bundle("k8s.io", &pod.id).join("runsc-guard.json").metadata()?.len();
        let open = std::fs::read_dir(format!("/proc/{}/fd", guard.pid))?.count() as u64;
        Ok((record, open, guard.status_number("VmRSS").context("no guard")?))
    };
    let mut warm = None;
    for attempt in 0..ROUNDS {
        let restarted = cri.create_container(pod, "restarted", attempt, &["sh", "-c", "exit 1"])?;
        cri.start_container(&restarted)?;
        await_exit(cri, &restarted)?;
        living.remove(&restarted)?;
        if attempt + 1 == WARM {
            warm = Some(kept()?);
        }
    }
    let ((record, open, rss), now) = (warm.context("never warm")?, kept()?);
    println!(
        "record, descriptors, KiB: after {WARM} restarts {:?}, after {ROUNDS} {now:?}",
        (record, open, rss)
    );
    ensure!(now.0 <= record && now.1 <= open, "it grows: {now:?}");
    ensure!(now.2 <= rss + 64, "it grows by {} KiB", now.2 - rss);
    living.assert_nothing_more()?;
    living.end()
}

/// Containers of a living pod that fail to start: one whose program is missing, one whose mounts fail (gVisor's own shim
/// leaves the cgroups of that one).
#[test]
fn a_container_that_fails_to_start_leaves_nothing_in_a_living_pod() -> Result<()> {
    let living = LivingPod::start("fails")?;
    let absent = container_config("absent", 0, &["/no/such/program"]);
    let file_over_folder = Mount {
        host_path: "/etc/hostname".to_owned(),
        container_path: "/bin".to_owned(),
        ..Default::default()
    };
    let unmountable =
        ContainerConfig { mounts: vec![file_over_folder], ..container_config("unmountable", 0, SLEEP) };
    for config in [absent, unmountable] {
        let container = living.cri.create_container_of(&living.pod, config)?;
        let refused = living.cri.start_container(&container).err().context("it was started")?;
        println!("{refused:#}");
        living.remove(&container)?;
        living.assert_nothing_more()?;
    }
    living.end()
}

#[test]
fn an_image_is_a_volume_and_goes_with_the_pod() -> Result<()> {
    alike_and_ended(|host, cri, handler, notes| {
        let pod = cri.run_pod(handler, "image-volume")?;
        let plain = container_config("c", 0, SLEEP);
        let volume = Mount {
            image: plain.image.clone(),
            container_path: "/volume".to_owned(),
            readonly: true,
            ..Default::default()
        };
        let container = cri.create_container_of(&pod, ContainerConfig { mounts: vec![volume], ..plain })?;
        cri.start_container(&container)?;
        note_exec(
            cri,
            &container,
            notes,
            "the image",
            "ls /volume; cat /volume/etc/passwd; touch /volume/x",
        )?;
        let mounted = Resources::of(host).mounts;
        let is_volume = |path: &std::path::PathBuf| path.to_string_lossy().contains("image-volumes");
        ensure!(mounted.iter().any(is_volume), "{mounted:?}");
        Ok(Running::of(pod, [container]))
    })
}

/// gVisor's shim does not checkpoint; who asks is told so, and the task runs on.
#[test]
fn a_checkpoint_is_refused_alike_and_the_task_runs_on() -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let (ctr, before) = (host.ctr(), Resources::of(&host));
    let told = |handler: &str| -> Result<Transcript> {
        let mut notes = Transcript::default();
        ctr.start(&host.handler(handler)?, "subject", SLEEP)?;
        for what in
            [&["task", "checkpoint", "subject"][..], &["container", "checkpoint", "--task", "subject", "c:1"]]
        {
            notes.outcome(what[0], &ctr.call(what, SOON)?);
        }
        notes.outcome("exec", &ctr.exec("subject", "e", &["echo", "well"], b"", SOON)?);
        ctr.remove("subject")?;
        Ok(notes)
    };
    let unguarded = told("unguarded")?;
    println!("{unguarded}");
    ensure!(unguarded.to_string().matches("not implemented").count() == 2, "{unguarded}");
    unguarded.assert_same(&told("guarded")?)?;
    assert_nothing_left(&host, &before, SOON)
}
