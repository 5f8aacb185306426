//! What containerd hardly ever asks for, and other callers may: with the guard and without, the answers are the same.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use containerd_shim_protos::api;
use harness::{Handler, Host, SOON, Shared, TaskClient, Transcript, alike, code};

static HOST: Shared = Shared::new();

fn host() -> Result<Arc<Host>> {
    HOST.get(|| Host::pair(Handler::guarded("guarded")))
}

/// In a running container, under both handlers, with the same answers.
fn same(name: &str, scenario: impl Fn(&TaskClient, &str, &mut Transcript) -> Result<()>) -> Result<()> {
    alike(&*host()?, name, |host, handler, id, notes| {
        let ctr = host.ctr();
        ctr.start(handler, id, &["sleep", "1000"])?;
        scenario(&TaskClient::connect(host, ctr.namespace(), id)?, id, notes)?;
        ctr.remove(id)
    })
}

/// State's answer of init, or of an exec.
fn state(client: &TaskClient, id: &str, exec: &str) -> Result<String> {
    let request = api::StateRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
    let answer: api::StateResponse = client.call("State", &request, SOON)?;
    Ok(format!("{:?} {} {}", answer.status.value(), answer.exit_status, answer.exited_at.seconds != 0))
}

/// Adds an exec and starts it; the code of a refusal.
fn start(client: &TaskClient, id: &str, exec: &str, args: &[&str]) -> Result<String> {
    client.add_exec(id, exec, args, SOON)?;
    let request = api::StartRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
    let answer = client.call::<_, api::StartResponse>("Start", &request, SOON);
    Ok(format!("{:?}", answer.as_ref().map_err(code).err()))
}

/// Wait's answer within that time. (Past it the guard says so, and gVisor's shim nothing.)
fn wait(client: &TaskClient, id: &str, exec: &str, time: Duration) -> String {
    let request = api::WaitRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..Default::default() };
    match client.call::<_, api::WaitResponse>("Wait", &request, time) {
        Ok(answer) => format!("{} {}", answer.exit_status, answer.exited_at.seconds > 0),
        Err(error) => match code(&error) {
            None | Some(ttrpc::Code::DEADLINE_EXCEEDED) => "no answer".to_owned(),
            Some(code) => format!("{code:?}"),
        },
    }
}

fn kill(client: &TaskClient, id: &str, signal: u32) -> String {
    let request = api::KillRequest { id: id.to_owned(), signal, ..Default::default() };
    match client.call::<_, api::Empty>("Kill", &request, SOON) {
        Ok(_) => "sent".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_exec_that_has_its_containers_name_ends_alone() -> Result<()> {
    same("namesake", |client, id, notes| {
        notes.note("Start", start(client, id, id, &["sh", "-c", "exit 5"])?);
        notes.note("Wait of the exec", wait(client, id, id, SOON));
        notes.note("Wait of init", wait(client, id, "", Duration::from_secs(1)));
        notes.note("State of init", state(client, id, "")?);
        let delete = api::DeleteRequest { id: id.to_owned(), exec_id: id.to_owned(), ..Default::default() };
        notes.note("Delete", client.call::<_, api::DeleteResponse>("Delete", &delete, SOON)?.exit_status);
        notes.note("another exec", client.exec(id, "e", &["sh", "-c", "exit 3"], SOON)?);
        notes.note("SIGKILL", kill(client, id, 9));
        notes.note("Wait of init, killed", wait(client, id, "", SOON));
        Ok(())
    })
}

#[test]
fn what_is_paused_takes_no_sigkill() -> Result<()> {
    same("paused", |client, id, notes| {
        let pause = api::PauseRequest { id: id.to_owned(), ..Default::default() };
        client.call::<_, api::Empty>("Pause", &pause, SOON)?;
        notes.note("SIGKILL", kill(client, id, 9).replace(id, "ID"));
        let resume = api::ResumeRequest { id: id.to_owned(), ..Default::default() };
        client.call::<_, api::Empty>("Resume", &resume, SOON)?;
        notes.note("Wait", wait(client, id, "", Duration::from_secs(1)));
        notes.note("State", state(client, id, "")?);
        Ok(())
    })
}

/// Nor are they sent again behind the caller's back: that would hold the container's lock.
#[test]
fn a_signal_that_is_none_is_refused_each_time() -> Result<()> {
    same("signals", |client, id, notes| {
        for round in ["first", "second"] {
            for signal in [0, 65, 100] {
                notes.note(&format!("{round} {signal}"), kill(client, id, signal));
            }
            notes.note("State", state(client, id, "")?);
        }
        Ok(())
    })
}

#[test]
fn an_exec_that_could_not_be_started_has_no_exit() -> Result<()> {
    same("unstarted", |client, id, notes| {
        notes.note("Start", start(client, id, "e", &["nothing-of-that-name"])?);
        for round in ["first", "second"] {
            notes.note(&format!("{round} State"), state(client, id, "e")?);
            notes.note(&format!("{round} Wait"), wait(client, id, "e", SOON));
        }
        Ok(())
    })
}

/// A caller in Go that gives a Wait up says nothing of it: all of them stay open until the exit.
#[test]
fn a_sigkill_gets_past_thousands_of_waits() -> Result<()> {
    same("waits", |client, id, notes| {
        let request = api::WaitRequest { id: id.to_owned(), ..Default::default() };
        for _ in 0..3000 {
            client.give_up("Wait", &request)?;
        }
        notes.note("SIGKILL", kill(client, id, 9));
        notes.note("Wait", wait(client, id, "", SOON));
        Ok(())
    })
}
