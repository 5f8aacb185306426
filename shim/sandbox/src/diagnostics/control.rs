//! The sentry, asked on its own control socket, without starting a program: gVisor's urpc (pkg/urpc/urpc.go).
//!
//! `{"method": ..., "arg": ...}` goes there and `{"success": ..., "err": ..., "result": ...}` comes back, without a frame
//! around either; our side is closed for writing after the question, so that the answer ends where the sentry closes, too.
//! One connection carries one question. Nothing of it stays, no thread is needed, and nothing waits beyond a deadline:
//! a connection to a Unix socket is there at once or not at all, a question fits into the empty socket, and what is
//! left is to wait for the answer, in a thread that may block ([`Control::ask`]) or wherever its caller waits for many things
//! ([`Question`]).
//!
//! **Who answers.** The kernel says: SO_PEERCRED is of who called listen(2), which is the sentry itself, although
//! `runsc create` has made and bound the socket (measured: the sentry's pid in our pid namespace, on gVisor 2025-05 and
//! 2026-09; the uid is of no use, it is 65534 where the sentry has a user namespace of its own). So nothing is said to
//! anybody but the very process that the caller has proved to be the sentry, wherever the socket lies. Beyond that,
//! only a socket that this user made counts, and no symbolic link to one.
//!
//! **What is asked** to learn whether it answers: `containerManager.ContainerRuntimeState`, which each runsc command asks
//! first (runsc/container/container.go, `CheckStopped`). It takes the locks that the known wedges hold: `Loader.mu`
//! (an exec or a start that hangs in the gofer, `destroySubcontainer` in `WaitExited`) and the kernel's `TaskSet.mu`
//! (`setsid-deadlock` in the operator's known_hangs.toml). It does not wait for tasks, and so is answered by a paused
//! sandbox and by one that is being checkpointed, and by a busy one in its time; not by one that is stopped or deadlocked
//! (integration/scenarios/tests/starved.rs has each of them). Whether it is paused the sentry does not tell: runsc's state file does.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, getsockopt, send, shutdown,
    socket, sockopt::PeerCredentials,
};
use nix::unistd::geteuid;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::diagnostics::pulse::Pulse;
use crate::resources::state_file::{SOCKET_FALLBACKS, socket_name};
use crate::sys::file;
use crate::sys::identity::Identity;
use crate::sys::kernel::wait_readable;

/// The longest answer that is read; of what is asked so far, none has a hundredth of it.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It was asked, or has so many open questions that it takes no more, and nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// The same, while /proc shows it at work or held back ([`pulse`](crate::diagnostics::pulse)): that is not silence.
    #[error("no answer in time, but it is at work or held back")]
    Slow,
    /// Nobody listens on its socket any more, or not yet.
    #[error("nobody listens on its control socket")]
    Gone,
    /// Who listens is not the sentry.
    #[error("process {0} listens on its control socket")]
    Stranger(i32),
    /// What came is no answer to this question.
    #[error("its answer makes no sense")]
    Nonsense,
    /// It has heard the question and says that it cannot tell.
    #[error("it says {0:?}")]
    Refused(String),
    /// It could not be asked: no socket where one is looked for, no descriptors. That says nothing of the sentry.
    #[error("it cannot be asked: {0}")]
    Unasked(#[from] io::Error),
}

impl From<Errno> for Unanswered {
    fn from(error: Errno) -> Self {
        match error {
            Errno::EAGAIN => Self::Silent,
            Errno::ECONNREFUSED | Errno::EPIPE | Errno::ECONNRESET => Self::Gone,
            other => Self::Unasked(other.into()),
        }
    }
}

/// A sentry, and where it is asked.
#[derive(Clone, Debug)]
pub struct Control {
    /// runsc's root with the namespace, as the caller has it recorded.
    pub runsc_root: PathBuf,
    /// The sandbox's id.
    pub sandbox: String,
    /// The process that was proved to be the sentry.
    pub sentry: Identity,
}

#[derive(Serialize)]
struct Call<'a, A> {
    method: &'a str,
    arg: A,
}

#[derive(Deserialize)]
struct Answer<R> {
    success: bool,
    #[serde(default)]
    err: String,
    result: Option<R>,
}

impl Control {
    /// Asks and waits for the answer.
    pub fn ask<R: DeserializeOwned>(
        &self,
        method: &str,
        arg: impl Serialize,
        deadline: Instant,
    ) -> Result<R, Unanswered> {
        let mut question = self.put(method, arg)?;
        loop {
            if !wait_readable(question.as_fd(), deadline)? {
                return Err(Unanswered::Silent);
            }
            if let Some(told) = question.told()? {
                return Ok(told);
            }
        }
    }

    /// Whether it answers at all; what it answers does not matter. See the head of this file.
    pub fn answers(&self, deadline: Instant) -> Result<(), Unanswered> {
        let before = Pulse::of(self.sentry);
        let told: Result<IgnoredAny, _> = self.ask(STATE_OF, &self.sandbox, deadline);
        self.heard(told, before)
    }

    /// Asks the same without waiting; what comes of it is for [`Self::heard`].
    pub fn ask_state(&self) -> Result<Question, Unanswered> {
        self.put(STATE_OF, &self.sandbox)
    }

    /// Whether it answers, from what came back, and how it was `before` it was asked. Any answer is one, also that of a
    /// gVisor which does not know the method. Silence is what nothing explains.
    pub fn heard<R>(&self, told: Result<R, Unanswered>, before: Option<Pulse>) -> Result<(), Unanswered> {
        match told {
            Ok(_) | Err(Unanswered::Refused(_)) => Ok(()),
            Err(Unanswered::Silent) => match (before, Pulse::of(self.sentry)) {
                (Some(before), Some(after)) if after.explains(&before) => Err(Unanswered::Slow),
                _ => Err(Unanswered::Silent),
            },
            Err(other) => Err(other),
        }
    }

    /// Sends a running container SIGKILL, and waits for nothing: what `runsc kill` tells the sentry, which it is all that it
    /// does (runsc/sandbox/sandbox.go, `SignalContainer`).
    pub fn kill(&self, container: &str) -> Result<Question, Unanswered> {
        self.put(SIGNAL, SignalArgs { container, signal: Signal::SIGKILL as i32, pid: 0, mode: TO_PROCESS })
    }

    /// Asks, and waits for nothing.
    pub fn put(&self, method: &str, arg: impl Serialize) -> Result<Question, Unanswered> {
        let call = serde_json::to_vec(&Call { method, arg }).map_err(io::Error::from)?;
        let file = self.socket()?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The very file that was looked at, however long its path is and whatever lies there now.
        let through = format!("/proc/self/fd/{}", file.as_raw_fd());
        connect(socket.as_raw_fd(), &UnixAddr::new(through.as_str())?)?;
        let peer = getsockopt(&socket, PeerCredentials)?.pid();
        if peer != self.sentry.pid || !self.sentry.is_alive() {
            return Err(Unanswered::Stranger(peer));
        }
        if send(socket.as_raw_fd(), &call, MsgFlags::MSG_NOSIGNAL)? != call.len() {
            return Err(Unanswered::Unasked(io::ErrorKind::WriteZero.into()));
        }
        shutdown(socket.as_raw_fd(), Shutdown::Write)?;
        Ok(Question { socket: socket.into(), heard: Vec::new() })
    }

    /// The socket, where runsc puts it: below its root, or where that path was too long for it
    /// (runsc/sandbox/sandbox.go, `createControlSocket`).
    fn socket(&self) -> Result<OwnedFd, Unanswered> {
        let name = socket_name(&self.sandbox)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let folders = [self.runsc_root.as_path()].into_iter().chain(SOCKET_FALLBACKS.iter().map(Path::new));
        for folder in folders {
            let file = match file::name(&folder.join(&name), OFlag::O_NOFOLLOW) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let about = file.metadata()?;
            if about.file_type().is_socket() && about.uid() == geteuid().as_raw() {
                return Ok(file.into());
            }
        }
        Err(io::Error::from(io::ErrorKind::NotFound).into())
    }
}

/// Takes [`SignalArgs`] and answers nothing.
const SIGNAL: &str = "containerManager.Signal";

/// As the sentry reads them (runsc/boot/controller.go, `SignalArgs`).
#[derive(Serialize)]
struct SignalArgs<'a> {
    #[serde(rename = "CID")]
    container: &'a str,
    #[serde(rename = "Signo")]
    signal: i32,
    /// 0 is the container's first process.
    #[serde(rename = "PID")]
    pid: i32,
    #[serde(rename = "Mode")]
    mode: u32,
}

/// To one process (runsc/boot/controller.go, `DeliverToProcess`).
const TO_PROCESS: u32 = 0;

/// Takes a string, the container's id, and answers a number.
const STATE_OF: &str = "containerManager.ContainerRuntimeState";

/// A question that was asked: its descriptor is readable whenever there is more of the answer.
#[derive(Debug)]
pub struct Question {
    socket: UnixStream,
    heard: Vec<u8>,
}

impl Question {
    /// Takes in what has come; gives the answer once that was all of it.
    pub fn told<R: DeserializeOwned>(&mut self) -> Result<Option<R>, Unanswered> {
        let mut buffer = [0; 1024];
        while self.heard.len() <= ANSWER_LIMIT {
            match self.socket.read(&mut buffer) {
                Ok(0) if self.heard.is_empty() => return Err(Unanswered::Gone),
                Ok(0) => return understood(&self.heard).map(Some),
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Err(Unanswered::Gone),
                    _ => return Err(error.into()),
                },
            }
        }
        Err(Unanswered::Nonsense)
    }
}

impl AsFd for Question {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Question {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn understood<R: DeserializeOwned>(heard: &[u8]) -> Result<R, Unanswered> {
    match serde_json::from_slice(heard) {
        Ok(Answer { success: true, result: Some(result), .. }) => Ok(result),
        Ok(Answer { success: false, err, .. }) => Err(Unanswered::Refused(err.chars().take(200).collect())),
        _ => Err(Unanswered::Nonsense),
    }
}

#[cfg(test)]
mod tests;
