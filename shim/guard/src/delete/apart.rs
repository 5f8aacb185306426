//! The part of `delete` that may hang, in a process apart: a thread that hangs in the kernel would keep `delete` from
//! ending, and containerd waits for that and for its pipes.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runsc_guard_core::policy::DELETE_BINARY;

use super::reply::{Answer, MARGIN};
use crate::cli::Target;
use runsc_guard_node::bundle::Exit;
use runsc_guard_node::paths::Base;

/// [`finish`](super::finish) in a process of its own, which outlives this one if need be.
pub fn apart(base: &Base, target: &Target, deadline: Instant) -> Answer {
    let failed = |why: String| Answer {
        exit: Exit::killed(0),
        note: Some(format!("container {}: its sandbox could not be ended: {why}", target.id)),
    };
    match spawn_apart(target) {
        Ok(child) => hear(child, deadline).unwrap_or_else(|error| failed(error.to_string())),
        // None can be made, on a node out of pids say: then here.
        Err(_) => super::finish(base, target, deadline),
    }
}

fn spawn_apart(target: &Target) -> io::Result<Child> {
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()))
        .args(["-namespace", &target.namespace, "-address", &target.address, "-id", &target.id, "-bundle"])
        .arg(&target.bundle)
        .arg("finish")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn hear(mut child: Child, deadline: Instant) -> io::Result<Answer> {
    let left = deadline.saturating_duration_since(Instant::now());
    if let Some(mut stdin) = child.stdin.take() {
        write!(stdin, "{}", left.as_millis())?;
    }
    // Not until it ends: what hangs in it may keep it. It closes its end when it has answered.
    let mut answer = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut answer)?;
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// The other side: answers, and closes its end.
pub fn answer(answer: &Answer) -> io::Result<()> {
    io::stdout().write_all(&serde_json::to_vec(answer)?)?;
    io::stdout().flush()?;
    nix::unistd::dup2_stdout(File::open("/dev/null")?)?;
    Ok(())
}

/// The deadline that [`apart`] has told, in milliseconds from now.
pub fn told_deadline(begun: Instant, told: &[u8]) -> Instant {
    let left = std::str::from_utf8(told).ok().and_then(|text| text.trim().parse().ok());
    begun + left.map_or(DELETE_BINARY - MARGIN, Duration::from_millis)
}
