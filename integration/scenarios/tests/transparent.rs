//! While the sandbox answers, nobody can tell the guard from gVisor's shim: every scenario runs under both
//! handlers of one containerd, and the answers are the same (rule 2).

use anyhow::{Result, ensure};
use containerd_shim_protos::api;
use harness::{
    EventLog, Handler, Host, SOON, Shared, TaskClient, Transcript, alike, code, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_gone, assert_nothing_left},
    run,
};
use std::{
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

static HOST: Shared = Shared::new();

fn host() -> Result<Arc<Host>> {
    HOST.get(|| Host::pair(Handler::guarded("guarded")))
}

/// Under both handlers, with the same answers.
fn same(name: &str, scenario: impl Fn(&Host, &Handler, &str, &mut Transcript) -> Result<()>) -> Result<()> {
    alike(&*host()?, name, scenario)
}

fn status(host: &Host, id: &str) -> Result<String> {
    let tasks = host.ctr().tasks(SOON)?;
    let line = tasks.into_iter().find(|line| line.id == id);
    Ok(line.map_or("absent".to_owned(), |line| line.status))
}

fn await_status(host: &Host, id: &str, wanted: &str) -> Result<()> {
    eventually(SOON, wanted, || (status(host, id).ok()? == wanted).then_some(()))
}

#[test]
fn exec_answers_alike() -> Result<()> {
    same("exec", |host, handler, id, notes| {
        let ctr = host.ctr();
        ctr.start(handler, id, &["sleep", "1000"])?;
        for (what, command, stdin) in [
            ("output", &["echo", "hello"][..], &b""[..]),
            ("exit code", &["sh", "-c", "exit 3"], b""),
            ("errors", &["sh", "-c", "echo oops >&2; exit 1"], b""),
            ("stdin until it is closed", &["cat"], b"one\ntwo\n"),
            ("no such program", &["nothing-of-that-name"], b""),
            (
                "much output",
                &["sh", "-c", "dd if=/dev/zero bs=64k count=16 2>/dev/null | tr '\\0' x | wc -c"],
                b"",
            ),
        ] {
            notes.outcome(what, &ctr.exec(id, "e", command, stdin, SOON)?);
        }
        notes.outcome("two of one id", &{
            let mut first = ctr.command(&["task", "exec", "--exec-id", "twin", id, "sleep", "2"]).spawn()?;
            let client = TaskClient::connect(host, ctr.namespace(), id)?;
            let state =
                api::StateRequest { id: id.to_owned(), exec_id: "twin".to_owned(), ..Default::default() };
            eventually(SOON, "the first exec runs", || {
                let answer: api::StateResponse = client.call("State", &state, SOON).ok()?;
                (answer.status.value() == 2).then_some(())
            })?;
            let second = ctr.exec(id, "twin", &["true"], b"", SOON)?;
            first.wait()?;
            second
        });
        ctr.remove(id)?;
        assert_gone(host, id, SOON)
    })
}

#[test]
fn a_terminal_and_its_size_answer_alike() -> Result<()> {
    same("terminal", |host, handler, id, notes| {
        let ctr = host.ctr();
        ctr.start(handler, id, &["sleep", "1000"])?;
        let exec = format!(
            "{:?}",
            ctr.command(&[
                "task",
                "exec",
                "--tty",
                "--exec-id",
                "t",
                id,
                "sh",
                "-c",
                "sleep 0.3; stty size; exit 4"
            ])
        );
        // `script` gives ctr a terminal of its own; ctr passes that terminal's size on.
        let line = format!("stty rows 33 cols 77; exec {exec} 2>/dev/null");
        let outcome = run(
            Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]),
            b"",
            SOON,
        )?;
        notes.note("with a terminal", format!("{:?} {:?}", outcome.code(), outcome.stdout));
        ensure!(outcome.stdout.contains("33 77"), "the size did not arrive: {outcome:?}");
        ctr.remove(id)
    })
}

#[test]
fn signals_and_exits_answer_alike() -> Result<()> {
    same("signals", |host, handler, id, notes| {
        let ctr = host.ctr();
        let script =
            "trap 'touch /usr1' USR1; trap 'exit 7' TERM; touch /ready; while :; do sleep 0.02; done";
        for signal in ["SIGTERM", "SIGHUP", "SIGKILL"] {
            ctr.start(handler, id, &["sh", "-c", script])?;
            for (file, before) in [("/ready", None), ("/usr1", Some("SIGUSR1"))] {
                if let Some(before) = before {
                    notes.outcome(before, &ctr.kill(id, before, SOON)?);
                }
                eventually(SOON, file, || {
                    let there = ctr.exec(id, "look", &["ls", file], b"", SOON).ok()?;
                    there.success().then_some(())
                })?;
            }
            notes.outcome("delete while it runs", &ctr.delete_task(id, SOON)?);
            notes.outcome(signal, &ctr.kill(id, signal, SOON)?);
            await_status(host, id, "STOPPED")?;
            let client = TaskClient::connect(host, ctr.namespace(), id)?;
            // The real shim's State says STOPPED a moment before it knows the status: Wait comes with it.
            let wait = api::WaitRequest { id: id.to_owned(), ..Default::default() };
            let _: api::WaitResponse = client.call("Wait", &wait, SOON)?;
            let state = api::StateRequest { id: id.to_owned(), ..Default::default() };
            let answer: api::StateResponse = client.call("State", &state, SOON)?;
            notes.note("exit status", answer.exit_status);
            notes.outcome("kill after the end", &ctr.kill(id, "SIGKILL", SOON)?);
            notes.outcome("exec after the end", &ctr.exec(id, "late", &["true"], b"", SOON)?);
            notes.outcome("delete", &ctr.delete_task(id, SOON)?);
            notes.outcome("delete again", &ctr.delete_task(id, SOON)?);
            ctr.delete_container(id)?;
            assert_gone(host, id, SOON)?;
        }
        Ok(())
    })
}

#[test]
fn pause_pids_stats_and_state_answer_alike() -> Result<()> {
    same("state", |host, handler, id, notes| {
        let ctr = host.ctr();
        ctr.start(handler, id, &["sleep", "1000"])?;
        let sentry = Sandbox::of(host, id)?.sentry.pid;
        notes.rename(&sentry.to_string(), "SENTRY");
        notes.outcome("pids", &ctr.call(&["task", "ps", id], SOON)?);
        notes.outcome("start again", &ctr.call(&["task", "start", id], SOON)?);
        notes.outcome("pause", &ctr.call(&["task", "pause", id], SOON)?);
        await_status(host, id, "PAUSED")?;
        notes.outcome("pause again", &ctr.call(&["task", "pause", id], SOON)?);
        notes.outcome("resume", &ctr.call(&["task", "resume", id], SOON)?);
        await_status(host, id, "RUNNING")?;
        notes.outcome("resume again", &ctr.call(&["task", "resume", id], SOON)?);
        let stats = ctr.call(&["task", "metrics", id], SOON)?.ok()?;
        let names: Vec<&str> = stats.lines().filter_map(|line| line.split_whitespace().next()).collect();
        notes.note("names of the metrics", format!("{names:?}"));
        ctr.remove(id)
    })
}

#[test]
fn the_task_api_answers_alike_to_the_last_status_code() -> Result<()> {
    same("codes", |host, handler, id, notes| {
        let ctr = host.ctr();
        ctr.start(handler, id, &["sleep", "1000"])?;
        let sandbox = Sandbox::of(host, id)?;
        notes.rename(&sandbox.sentry.pid.to_string(), "SENTRY");
        let client = TaskClient::connect(host, ctr.namespace(), id)?;
        let absent = "absent".to_owned();
        let state = api::StateRequest { id: id.to_owned(), ..Default::default() };
        let answer: api::StateResponse = client.call("State", &state, SOON)?;
        notes.note("State", format!("{} {:?} {}", answer.pid, answer.status, answer.exit_status));
        ask::<_, api::StateResponse>(
            notes,
            &client,
            "State",
            &api::StateRequest { id: id.to_owned(), exec_id: absent.clone(), ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "Kill",
            &api::KillRequest { id: id.to_owned(), exec_id: absent.clone(), signal: 9, ..Default::default() },
        );
        ask::<_, api::DeleteResponse>(
            notes,
            &client,
            "Delete",
            &api::DeleteRequest { id: id.to_owned(), exec_id: absent.clone(), ..Default::default() },
        );
        ask::<_, api::DeleteResponse>(
            notes,
            &client,
            "Delete",
            &api::DeleteRequest { id: id.to_owned(), ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "Start",
            &api::StartRequest { id: id.to_owned(), exec_id: absent.clone(), ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "ResizePty",
            &api::ResizePtyRequest { id: id.to_owned(), width: 80, height: 24, ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "CloseIO",
            &api::CloseIORequest { id: id.to_owned(), stdin: true, ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "Checkpoint",
            &api::CheckpointTaskRequest { id: id.to_owned(), ..Default::default() },
        );
        ask::<_, api::Empty>(
            notes,
            &client,
            "Update",
            &api::UpdateTaskRequest { id: id.to_owned(), ..Default::default() },
        );
        // Go and Rust word this differently; no caller asks for it.
        let unknown = client.call::<_, api::Empty>("NoSuchMethod", &api::Empty::new(), SOON);
        notes.note("NoSuchMethod", format!("{:?}", unknown.as_ref().map_err(code).err()));
        let connect = api::ConnectRequest { id: id.to_owned(), ..Default::default() };
        let answer: api::ConnectResponse = client.call("Connect", &connect, SOON)?;
        notes.note("Connect", answer.task_pid);
        let kill = api::KillRequest { id: id.to_owned(), signal: 9, all: true, ..Default::default() };
        client.call::<_, api::Empty>("Kill", &kill, SOON)?;
        let wait = api::WaitRequest { id: id.to_owned(), ..Default::default() };
        let answer: api::WaitResponse = client.call("Wait", &wait, SOON)?;
        notes.note("Wait", answer.exit_status);
        let answer: api::StateResponse = client.call("State", &state, SOON)?;
        notes.note(
            "State after the end",
            format!("{:?} {} {}", answer.status, answer.exit_status, answer.exited_at.is_some()),
        );
        ask::<_, api::PidsResponse>(
            notes,
            &client,
            "Pids",
            &api::PidsRequest { id: id.to_owned(), ..Default::default() },
        );
        ask::<_, api::StatsResponse>(
            notes,
            &client,
            "Stats",
            &api::StatsRequest { id: id.to_owned(), ..Default::default() },
        );
        ctr.delete_task(id, SOON)?;
        ctr.delete_container(id)
    })
}

/// Notes the code and message of a refusal, or that there was none.
fn ask<Q: protobuf::Message, A: protobuf::Message>(
    notes: &mut Transcript,
    client: &TaskClient,
    method: &str,
    request: &Q,
) {
    match client.call::<Q, A>(method, request, SOON) {
        Ok(_) => notes.note(method, "ok"),
        Err(ttrpc::Error::RpcStatus(status)) => {
            notes.note(method, format!("{:?} {}", status.code(), status.message()))
        }
        Err(error) => notes.note(method, format!("{:?} {error}", code(&error))),
    }
}

#[test]
fn events_come_alike_and_in_order() -> Result<()> {
    same("events", |host, handler, id, notes| {
        let ctr = host.ctr();
        let events = EventLog::start(&ctr)?;
        ctr.start(handler, id, &["sleep", "1000"])?;
        // gVisor's shim may publish the exit of a short exec before its start: this one ends when it is told to.
        let mut exec = ctr
            .command(&["task", "exec", "--exec-id", "e", id, "sh", "-c", "read line; exit 5"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        eventually(SOON, "the exec's start is published", || {
            events.of_task(id).iter().any(|event| event.topic == "/tasks/exec-started").then_some(())
        })?;
        drop(exec.stdin.take());
        eventually(SOON, "the exec's exit is published", || (events.exits(id, "e") > 0).then_some(()))?;
        ensure!(exec.wait()?.code() == Some(5), "the exec's own status");
        ctr.call(&["task", "pause", id], SOON)?.ok()?;
        ctr.call(&["task", "resume", id], SOON)?.ok()?;
        ctr.remove(id)?;
        eventually(SOON, "the exit is published", || (events.exits(id, id) > 0).then_some(()))?;
        assert_gone(host, id, SOON)?;
        for event in events.of_task(id) {
            notes.note(
                &event.topic,
                format!("{} {} {}", event.text("id"), event.text("exec_id"), event.number("exit_status")),
            );
        }
        Ok(())
    })
}

#[test]
fn what_the_shim_says_of_itself_is_the_same() -> Result<()> {
    let host = host()?;
    let info = |shim: &str| {
        let path = format!("{}:{}", host.path().join("bin").display(), std::env::var("PATH")?);
        run(Command::new(host.path().join("bin").join(shim)).arg("-info").env("PATH", path), b"", SOON)?.ok()
    };
    let (unguarded, guarded) = (info("containerd-shim-runsc-v1")?, info("containerd-shim-runsc-guard-v2")?);
    // gVisor lists its capabilities in the random order of a Go map.
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split([',', '[', ']']).map(str::to_owned).collect();
        words.sort();
        words
    };
    ensure!(sorted(&unguarded) == sorted(&guarded), "{unguarded:?}\n{guarded:?}");
    Ok(())
}

#[test]
fn a_pod_of_three_with_a_restart_answers_alike() -> Result<()> {
    same("three", |host, handler, name, notes| {
        let cri = host.cri()?;
        let handler = if handler.is_guarded() { "guarded" } else { "unguarded" };
        let pod = cri.run_pod(handler, name)?;
        notes.rename(&pod.id, "POD");
        let state = |id: &str| -> Result<i32> {
            let all = cri.containers(SOON)?;
            Ok(all.iter().find(|(other, _)| other == id).map_or(-1, |(_, state)| *state))
        };
        let stays = cri.run_container(&pod, "stays", &["sleep", "1000"])?;
        let ends = cri.run_container(&pod, "ends", &["sh", "-c", "sleep 0.2; exit 3"])?;
        let third = cri.run_container(&pod, "third", &["sleep", "1000"])?;
        eventually(SOON, "the second ends", || (state(&ends.id).ok()? == 2).then_some(()))?;
        let restarted = cri.create_container(&pod, "ends", 1, &["sleep", "1000"])?;
        cri.start_container(&restarted)?;
        cri.remove_container(&ends, SOON)?;
        for (what, container) in [("stays", &stays), ("restarted", &restarted), ("third", &third)] {
            let answer = cri.exec(container, &["echo", what], SOON)?;
            notes.note(
                what,
                format!("{} {:?} state {}", answer.exit_code, answer.stdout, state(&container.id)?),
            );
        }
        cri.update(&stays, 512, SOON)?;
        cri.stop_container(&restarted, 0, SOON)?;
        notes.note("restarted, stopped", state(&restarted.id)?);
        cri.remove_container(&restarted, SOON)?;
        notes.note("restarted, removed", state(&restarted.id)?);
        let answer = cri.exec(&stays, &["sh", "-c", "echo still; exit 9"], SOON)?;
        notes.note("stays", format!("{} {:?}", answer.exit_code, answer.stdout));
        notes.note("third", state(&third.id)?);
        cri.end_pod(&pod)?;
        notes.note("pods of that id", cri.pods(SOON)?.iter().filter(|(id, _)| *id == pod.id).count());
        // CRI asks for Stats all the time: a `runsc events` that comes after `runsc delete` makes its lock file anew, and
        // gVisor's own shim leaves that.
        if handler == "unguarded" { Ok(()) } else { assert_gone(host, &pod.id, SOON) }
    })
}

#[test]
fn twenty_pods_at_once_run_and_leave_nothing() -> Result<()> {
    for handler in [Handler::unguarded("twenty"), Handler::guarded("twenty")] {
        let host = Host::with([handler.clone()])?;
        let before = Resources::of(&host);
        let began = std::time::Instant::now();
        thread::scope(|scope| {
            let pods: Vec<_> = (0..20)
                .map(|number| {
                    let host = &host;
                    scope.spawn(move || {
                        let cri = host.cri()?;
                        let pod = cri.run_pod("twenty", &format!("p{number}"))?;
                        let container = cri.run_container(&pod, "c", &["sleep", "1000"])?;
                        // containerd gives the State before an exec 2 s, whatever the caller gives the exec.
                        eventually(SOON * 3, "an exec in each pod", || {
                            let answer = cri.exec(&container, &["echo", "well"], SOON).ok()?;
                            (answer.stdout == b"well\n").then_some(())
                        })?;
                        cri.end_pod(&pod)
                    })
                })
                .collect();
            pods.into_iter().try_for_each(|pod| pod.join().map_err(|_| anyhow::anyhow!("a pod panicked"))?)
        })?;
        println!("20 pods, guarded {}: {:?}", handler.is_guarded(), began.elapsed());
        // See above: gVisor's own shim may leave a lock file.
        if handler.is_guarded() {
            assert_nothing_left(&host, &before, SOON)?;
        }
    }
    Ok(())
}
