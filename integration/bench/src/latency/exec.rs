//! A command in a container, from its announcement to its exit, and how long after the exit the waiting caller knows.

use super::client::{Asker, Reply};
use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::{
    api,
    protobuf::{Message as _, well_known_types::any::Any},
};
use harness::wire::{TASK, request};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of one command.
pub(crate) struct Exec {
    /// From Exec's being sent to Wait's answer.
    pub(crate) whole: f64,
    /// From the exit, by the time that the answer itself names, to the answer.
    pub(crate) told: f64,
}

const PROCESS: &str =
    r#"{"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}"#;

/// Runs `true`: Exec, Wait, Start, and the end of it, as containerd does.
pub(crate) fn run(asker: &mut Asker, id: &str, exec: &str) -> Result<Exec> {
    let (id, exec) = (id.to_owned(), exec.to_owned());
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: PROCESS.into(),
        ..Any::default()
    };
    let announce = api::ExecProcessRequest {
        id: id.clone(),
        exec_id: exec.clone(),
        spec: Some(spec).into(),
        ..Default::default()
    };
    let wait = api::WaitRequest { id: id.clone(), exec_id: exec.clone(), ..Default::default() };
    let start = api::StartRequest { id: id.clone(), exec_id: exec.clone(), ..Default::default() };
    let delete = api::DeleteRequest { id, exec_id: exec, ..Default::default() };
    let [mut announce, mut wait, mut start, mut delete] = [
        request(0, TASK, "Exec", &announce)?,
        request(0, TASK, "Wait", &wait)?,
        request(0, TASK, "Start", &start)?,
        request(0, TASK, "Delete", &delete)?,
    ];
    let (_, began) = asker.send(&mut announce)?;
    asker.receive()?.0.payload().context("Exec")?;
    let (waiting, _) = asker.send(&mut wait)?;
    asker.send(&mut start)?;
    // Either may come first: a short command ends before its start is acknowledged.
    let mut ended = None;
    for _ in 0..2 {
        let (reply, came) = asker.receive().context("Start and Wait")?;
        reply.payload()?;
        if reply.stream == waiting {
            ended = Some((reply, came, SystemTime::now()));
        }
    }
    let (reply, came, clock) = ended.context("Wait was not answered")?;
    let told = since_exit(&reply, clock)?;
    asker.send(&mut delete)?;
    asker.receive()?.0.payload().context("Delete")?;
    Ok(Exec { whole: (came - began).as_secs_f64(), told })
}

fn since_exit(reply: &Reply, now: SystemTime) -> Result<f64> {
    let answer = api::WaitResponse::parse_from_bytes(&reply.payload()?)?;
    ensure!(answer.exit_status == 0, "status {}", answer.exit_status);
    let at = answer.exited_at.as_ref().context("no time of exit")?;
    let exited = at.seconds as f64 + f64::from(at.nanos) / 1e9;
    Ok(now.duration_since(UNIX_EPOCH)?.as_secs_f64() - exited)
}
