//! A recorder between two that speak ttrpc: it passes the bytes on as they come and marks each frame in the kernel's
//! trace buffer. It gets there by wrapping the two programs that say, or are told, where the socket is.

use super::kernel::MARK;
use anyhow::{Context as _, Result, bail};
use containerd_shim_protos::{bootstrap_api::BootstrapResult, protobuf::Message as _};
use harness::eventually;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// First arguments of this program that make it a part of a recorder.
pub(crate) const START: &str = "trace-start";
pub(crate) const RELAY: &str = "trace-relay";
/// Marks of what containerd asks the shim that it knows, and of what the guard passes on.
pub(super) const ASKED: &str = "asked";
pub(super) const FORWARDED: &str = "forwarded";

/// Where wrappers lie and marks go.
pub(super) struct Recorder {
    folder: PathBuf,
    marker: PathBuf,
    me: PathBuf,
}

impl Recorder {
    pub(super) fn new(folder: &Path, marker: PathBuf) -> Result<Self> {
        Ok(Self { folder: folder.to_owned(), marker, me: std::env::current_exe()? })
    }

    /// `program`, but what its `start` answers leads through a recorder.
    pub(super) fn around_start(&self, program: &Path) -> Result<PathBuf> {
        let (me, folder, marker) = (self.me.display(), self.folder.display(), self.marker.display());
        let program_is = program.display();
        let wrap = format!("exec '{me}' {START} '{folder}' '{marker}' '{program_is}' \"$@\"");
        let script =
            format!("for last; do :; done\n[ \"$last\" = start ] && {wrap}\nexec '{program_is}' \"$@\"\n");
        self.write(program, "start", &script)
    }

    /// The real shim as the guard starts it: its socket is descriptor 3. A recorder takes that, and the shim, still the
    /// guard's own child, listens elsewhere.
    pub(super) fn around_real_shim(&self, program: &Path) -> Result<PathBuf> {
        let (me, folder, marker) = (self.me.display(), self.folder.display(), self.marker.display());
        let script = format!(
            "back='{folder}'/$$.sock\n'{me}' {RELAY} {FORWARDED} '{marker}' \"$back\" <&3 3<&- &\n\
             exec '{}' \"$@\" -socket \"$back\" 3<&-\n",
            program.display()
        );
        self.write(program, "daemon", &script)
    }

    fn write(&self, program: &Path, role: &str, script: &str) -> Result<PathBuf> {
        let folder = self.folder.join(role);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(program.file_name().context("no file name")?);
        harness::write_script(&path, &format!("#!/bin/sh\n{script}"))?;
        Ok(path)
    }
}

/// `trace-start FOLDER MARKER PROGRAM ARGUMENT...`: the program's own answer, with another address.
pub(crate) fn start(arguments: &[&str]) -> Result<()> {
    let [folder, marker, program, arguments @ ..] = arguments else { bail!("too few arguments") };
    let output =
        Command::new(program).args(arguments).stderr(Stdio::inherit()).stdin(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{program}: {}", output.status);
    }
    let path = PathBuf::from(format!("{folder}/{}.sock", std::process::id()));
    let (answer, target) = redirect(&output.stdout, &format!("unix://{}", path.display()))?;
    // One shim may be answered for again and again; each time another way leads to it.
    let mut relay = Command::new(std::env::current_exe()?);
    relay
        .args([RELAY, ASKED, marker, target.trim_start_matches("unix://")])
        .stdin(OwnedFd::from(UnixListener::bind(&path)?))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::io::stdout().write_all(&answer)?;
    Ok(())
}

/// The same answer with `address` for its own, which is returned, too: plain, JSON or protobuf.
fn redirect(answer: &[u8], address: &str) -> Result<(Vec<u8>, String)> {
    if answer.starts_with(b"unix://") {
        return Ok((address.into(), String::from_utf8(answer.trim_ascii().into())?));
    }
    if answer.starts_with(b"{") {
        let mut json: serde_json::Value = serde_json::from_slice(answer)?;
        let old = json["address"].as_str().context("no address")?.to_owned();
        json["address"] = address.into();
        return Ok((serde_json::to_vec(&json)?, old));
    }
    let mut result = BootstrapResult::parse_from_bytes(answer)?;
    let old = std::mem::replace(&mut result.address, address.to_owned());
    Ok((result.write_to_bytes()?, old))
}

/// `trace-relay MARK MARKER TARGET`, with the listening socket as stdin.
pub(crate) fn relay(mark: &str, marker: &Path, target: &Path) -> Result<()> {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    for (number, caller) in listener.incoming().enumerate() {
        let caller = caller?;
        let server =
            eventually(Duration::from_secs(10), "the shim listens", || UnixStream::connect(target).ok())?;
        for (from, to) in [(&caller, &server), (&server, &caller)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            let marks = Marks {
                marker: File::options().write(true).open(marker)?,
                // Streams are numbered by connection, and connections by process.
                front: format!("{MARK}{mark} {}/{number}", std::process::id()),
                pending: Vec::new(),
            };
            thread::spawn(move || pass_on(from, to, marks));
        }
    }
    Ok(())
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, mut marks: Marks) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            // The end is passed on, too: to a guard it means something.
            to.shutdown(std::net::Shutdown::Write)?;
            return Ok(());
        }
        marks.pending.extend_from_slice(&buffer[..count]);
        marks.mark()?;
        to.write_all(&buffer[..count])?;
    }
}

struct Marks {
    marker: File,
    front: String,
    pending: Vec<u8>,
}

impl Marks {
    /// Marks every frame that is whole by now.
    fn mark(&mut self) -> Result<()> {
        while let Some(header) = self.pending.first_chunk::<10>() {
            let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
            let (end, stream, kind) = (10 + number(0) as usize, number(4), header[8]);
            if self.pending.len() < end {
                break;
            }
            let text = match kind {
                1 => {
                    let request = ttrpc::Request::parse_from_bytes(&self.pending[10..end])?;
                    format!("{} {stream} ask {}", self.front, request.method)
                }
                _ => format!("{} {stream} answer", self.front),
            };
            // One write is one mark.
            self.marker.write_all(text.as_bytes())?;
            self.pending.drain(..end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_answer_is_led_elsewhere() -> Result<()> {
        let (plain, old) = redirect(b"unix:///a\n", "unix:///b")?;
        assert_eq!((plain.as_slice(), old.as_str()), (b"unix:///b".as_slice(), "unix:///a"));
        let (json, old) = redirect(br#"{"version":2,"address":"unix:///a"}"#, "unix:///b")?;
        assert_eq!(
            (json.as_slice(), old.as_str()),
            (br#"{"address":"unix:///b","version":2}"#.as_slice(), "unix:///a")
        );
        let result = BootstrapResult { version: 3, address: "unix:///a".to_owned(), ..Default::default() };
        let (wire, old) = redirect(&result.write_to_bytes()?, "unix:///bb")?;
        assert_eq!(old, "unix:///a");
        assert_eq!(BootstrapResult::parse_from_bytes(&wire)?.address, "unix:///bb");
        Ok(())
    }
}
