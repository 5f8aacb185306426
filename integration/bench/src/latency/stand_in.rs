//! What stands in for the real shim in one figure, and in nothing else: a server that answers at once, so that what is
//! left of a request's time is the way. And the least that any process between two others can do: a relay that copies
//! the bytes and thinks nothing of them.
//!
//! Both are this program, started anew with their listening socket as stdin. The guard hands the real shim its socket as
//! descriptor 3, hence the two lines of shell.

use anyhow::{Context as _, Result};
use containerd_shim_protos::{api, protobuf::Message as _};
use harness::{process::Process, wire::frame};
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

/// First arguments of this program that make it one of them.
pub(crate) const SHIM: &str = "bare-shim";
pub(crate) const RELAY: &str = "bare-relay";

/// Writes the program that the guard is to take for the real shim.
pub(super) fn write_shim(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(SHIM);
    let me = std::env::current_exe()?;
    harness::write_script(&path, &format!("#!/bin/sh\nexec '{}' {SHIM} <&3 3<&-\n", me.display()))?;
    Ok(path)
}

/// A running relay; it ends with this.
pub(crate) struct Relay(Child);

impl Relay {
    /// Listens on `socket`, and each connection leads to `target`.
    pub(crate) fn start(socket: &Path, target: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(RELAY).arg(target).stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot start the relay")?))
    }
}

impl Relay {
    /// As others see it.
    pub(crate) fn process(&self) -> Result<Process> {
        Process::read(self.0.id().cast_signed()).context("the relay has ended")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Our own unreaped child; it may have ended with its connection.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listener() -> Result<UnixListener> {
    Ok(UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?))
}

/// What the relay does.
pub(crate) fn relay(target: &Path) -> Result<()> {
    for caller in listener()?.incoming() {
        let (caller, server) = (caller?, UnixStream::connect(target)?);
        let (back_from, back_to) = (server.try_clone()?, caller.try_clone()?);
        thread::spawn(move || copy(back_from, back_to));
        thread::spawn(move || copy(caller, server));
    }
    Ok(())
}

/// When the one side has gone, the other hears so.
fn copy(mut from: UnixStream, mut to: UnixStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

/// What the bare shim does.
pub(crate) fn serve() -> Result<()> {
    for stream in listener()?.incoming() {
        let stream = stream?;
        thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

fn answer_all(mut stream: UnixStream) -> Result<()> {
    let pid = std::process::id();
    let create = answer(&api::CreateTaskResponse { pid, ..Default::default() })?;
    let start = answer(&api::StartResponse { pid, ..Default::default() })?;
    let connect = answer(&api::ConnectResponse { shim_pid: pid, task_pid: pid, ..Default::default() })?;
    let nothing = answer(&api::Empty::default())?;
    let mut header = [0; 10];
    let mut body = Vec::new();
    loop {
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[byte]));
        body.resize(length as usize, 0);
        stream.read_exact(&mut body)?;
        let frame = match method(&body) {
            b"Create" => &create,
            b"Start" => &start,
            b"Connect" => &connect,
            // Nothing ever exits here.
            b"Wait" => continue,
            _ => &nothing,
        };
        let mut frame = frame.clone();
        frame[4..8].copy_from_slice(&header[4..8]);
        stream.write_all(&frame)?;
    }
}

fn answer(message: &impl containerd_shim_protos::protobuf::Message) -> Result<Vec<u8>> {
    let response = ttrpc::Response { payload: message.write_to_bytes()?, ..Default::default() };
    let body = response.write_to_bytes()?;
    Ok(frame(2, 0, u32::try_from(body.len())?, &body))
}

/// The second field of a request. Both names are shorter than 128 bytes, and every encoder writes fields in order.
fn method(body: &[u8]) -> &[u8] {
    let field = |at: usize| {
        let length = usize::from(*body.get(at + 1)?);
        body.get(at + 2..at + 2 + length)
    };
    field(0).and_then(|service| field(2 + service.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_is_the_second_name() -> Result<()> {
        let request = ttrpc::Request {
            service: "containerd.task.v2.Task".to_owned(),
            method: "CloseIO".to_owned(),
            payload: vec![7; 300],
            ..Default::default()
        };
        assert_eq!(method(&request.write_to_bytes()?), b"CloseIO");
        assert_eq!(method(b"\x0a"), b"");
        Ok(())
    }
}
