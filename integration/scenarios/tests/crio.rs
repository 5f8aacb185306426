//! CRI-O, which runs a shim without containerd: it takes no events, never runs `delete`, and has nothing that could be
//! asked. The guard owes it the same promise, and must not stay when CRI-O has done with it.

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::api::Status;
use harness::{
    Crio, CrioContainer, Handler, Host, Page, SHORTLY, SOON, code,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left, assert_nothing_left_within},
    promise, run,
};
use serde_json::Value;
use std::{process::Command, time::Duration};

/// `container_create_timeout`, by default.
const CREATE: Duration = Duration::from_secs(240);
const KILL_DEADLINE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(1);

fn host() -> Result<Host> {
    Host::builder().without_containerd().start()
}

fn quick() -> Handler {
    Handler::quick("crio", "2s")
}

fn operator(host: &Host, args: &[&str]) -> Result<String> {
    let operator = host.parts().guard.with_file_name("runsc-guard");
    run(Command::new(operator).args(["-n", "default"]).args(args), b"", SOON)?.ok()
}

/// What the operator's command says of a sandbox.
fn seen(host: &Host, id: &str) -> Result<Value> {
    let all: Vec<Value> = serde_json::from_str(&operator(host, &["ls", "-o", "json"])?)?;
    all.into_iter().find(|one| one["id"] == id).with_context(|| format!("{id} is not there"))
}

/// Nobody takes events, and none wait for anybody.
fn no_event_waits(host: &Host) -> Result<()> {
    let told = operator(host, &["metrics"])?;
    let queued = told.lines().find_map(|line| line.strip_prefix("runsc_guard_events_queued"));
    let number = queued.and_then(|rest| rest.rsplit(' ').next()).with_context(|| told.clone())?;
    ensure!(number == "0", "{number} events wait");
    Ok(())
}

fn is_running(container: &CrioContainer) -> Result<()> {
    let state = container.state(SHORTLY)?;
    ensure!(state.status.enum_value() == Ok(Status::RUNNING) && state.pid > 0, "{state:?}");
    Ok(())
}

/// Stopped by SIGTERM and deleted, as CRI-O does it.
fn ends(container: CrioContainer) -> Result<()> {
    let exit = container.stop(SOON, SOON)?;
    ensure!(exit == 143, "status {exit}");
    let state = container.state(SHORTLY)?;
    ensure!(state.status.enum_value() == Ok(Status::STOPPED) && state.exit_status == exit, "{state:?}");
    container.delete(SOON)??;
    Ok(())
}

#[test]
fn a_pod_lives_outlives_crio_and_ends() -> Result<()> {
    let (host, before) = (host()?, Resources::default());
    let crio = Crio::start(&host, &quick())?;
    let pod = crio.pod("pod")?.runs()?;
    let main = crio.member(&pod, "main", &["sleep", "1000000"])?.runs()?;
    ensure!(pod.address == main.address, "two guards: {} and {}", pod.address, main.address);
    for number in 0..20 {
        ensure!(main.exec(&format!("e{number}"), &["true"])? == 0);
    }
    [&pod, &main].into_iter().try_for_each(is_running)?;
    let pods = seen(&host, &pod.id)?;
    ensure!(pods["pod"]["name"] == "crios-pod" && pods["guard"]["says"][1]["stage"] == "serving", "{pods:#}");
    no_event_waits(&host)?;
    // gVisor's runsc knows no signal 0: the guard passes its refusal on, and takes it for nothing else.
    let alive = main.kill(0, SHORTLY)?;
    println!("Kill with signal 0: {alive:?}");
    is_running(&main)?;

    let (guard, names) = (Sandbox::of(&host, &pod.id)?.guard.context("no guard")?, [&pod, &main].map(name));
    drop((pod, main));
    crio.dies()?;
    let crio = Crio::start(&host, &quick())?;
    let [pod, main] = names.map(|(id, bundle)| CrioContainer::found_again(&id, &bundle));
    let (pod, main) = (pod?, main?);
    [&pod, &main].into_iter().try_for_each(is_running)?;
    ends(main)?;
    is_running(&pod)?;
    ends(pod)?;
    ensure!(guard.wait_gone(SHORTLY).is_ok(), "the guard lingers: {guard}");
    crio.dies()?;
    assert_nothing_left(&host, &before, SHORTLY)
}

fn name(container: &CrioContainer) -> (String, std::path::PathBuf) {
    (container.id.clone(), container.bundle.clone())
}

#[test]
fn a_stopped_sentry_ends_on_time() -> Result<()> {
    let (host, before) = (host()?, Resources::default());
    let crio = Crio::start(&host, &quick())?;
    let pod = crio.pod("pod")?.runs()?;
    let main = crio.member(&pod, "main", &["sleep", "1000000"])?.runs()?;
    Sandbox::of(&host, &pod.id)?.stop_sentry()?;
    // Liveness and status are answered meanwhile.
    main.kill(0, SHORTLY)?.ok();
    is_running(&main)?;
    let exit = main.stop(GRACE, KILL_DEADLINE + promise::ESCALATION + SHORTLY)?;
    ensure!(exit == 137, "status {exit}");
    main.delete(SHORTLY)??;
    pod.stop(GRACE, SHORTLY)?;
    pod.delete(SHORTLY)??;
    crio.dies()?;
    assert_nothing_left_within(&host, &before, SHORTLY)
}

#[test]
fn a_create_that_hangs_is_over_by_its_deadline_or_crios() -> Result<()> {
    let (host, nothing) = (host()?, Resources::default());
    let runsc = faults::hanging_runsc(&host, "runsc-hangs", "create", "")?;
    let deadline = Duration::from_secs(3);
    let crio = Crio::start(&host, &quick().runsc(runsc).guard("create_deadline", "\"3s\""))?;
    let before = Resources::of(&host);

    let stuck = crio.pod("stuck")?;
    let refused = stuck.create(CREATE).err().context("it was created")?;
    println!("by the guard's deadline: {refused}");
    ensure!(code(&refused) == Some(ttrpc::Code::DEADLINE_EXCEEDED), "{refused:?}");
    println!("then Delete: {:?}", stuck.delete(SHORTLY)?);
    assert_nothing_left(&host, &before, SHORTLY)?;

    // CRI-O's is the shorter one, and its Delete and Shutdown come while Create is on its way.
    let late = crio.pod("late")?;
    ensure!(late.create(Duration::from_secs(1)).is_err(), "it was created");
    println!("Delete during Create: {:?}", late.delete(SHORTLY)?);
    crio.dies()?;
    assert_nothing_left_within(&host, &nothing, deadline + promise::ESCALATION + SHORTLY)
}

#[test]
fn a_file_that_only_create_names_is_refused_with_its_remedy() -> Result<()> {
    let (host, before) = (host()?, Resources::default());
    let page = Page::read("hack/docs/crio.md")?.block("Install", "[crio.runtime")?;
    ensure!(page.contains("runtime_config_path = \"/etc/crio/runsc-guard.toml\"\n"), "{page}");
    let crio = Crio::start(&host, &quick())?;
    for (name, file) in [("other", Some("/etc/crio/other.toml")), ("none", None)] {
        let pod = crio.sandbox(name, file)?;
        let refused = pod.create(CREATE).err().context("it was created")?.to_string();
        println!("{refused}");
        ensure!(refused.contains("/etc/crio/runsc-guard.toml"), "{refused}");
        // It was never there; its guard leaves all the same.
        println!("then Delete: {:?}", pod.delete(SHORTLY)?);
    }
    crio.dies()?;
    assert_nothing_left(&host, &before, SHORTLY)
}
