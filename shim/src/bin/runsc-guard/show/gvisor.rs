//! Which gVisor a sandbox runs.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::threads::apart;

/// What this runsc says to `--version`; none if it says nothing in time.
pub(crate) fn version(runsc: &Path, limit: Duration) -> Option<String> {
    let said = output(Command::new(runsc).arg("--version"), limit)?;
    let line = said.lines().next()?.trim();
    Some(line.strip_prefix("runsc version ").unwrap_or(line).to_owned())
}

fn output(command: &mut Command, limit: Duration) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (done, result) = mpsc::channel();
    apart(move || {
        let mut text = String::new();
        // What cannot be read is no version.
        let _ = stdout.take(4096).read_to_string(&mut text);
        let _ = done.send(text);
    });
    let text = result.recv_timeout(limit).ok();
    // Ours and not yet waited for, so its pid is certain; one that does not die of this is left behind.
    let _ = child.kill();
    apart(move || drop(child.wait()));
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_program_that_does_not_end_is_given_up() {
        let begun = Instant::now();
        assert_eq!(output(Command::new("sleep").arg("60"), Duration::from_millis(100)), None);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(output(Command::new("echo").arg("x"), Duration::from_secs(20)).as_deref(), Some("x\n"));
        assert_eq!(output(&mut Command::new("/nowhere"), Duration::from_secs(1)), None);
    }
}
