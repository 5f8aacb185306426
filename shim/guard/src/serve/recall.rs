//! Whether containerd still knows this sandbox: by what lies on disk, and only then by asking it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_core::io::{Input, Recalled};
use tokio::sync::mpsc::UnboundedSender;

use super::message::Message;
use crate::containerd;
use runsc_guard_node::bundle;
use runsc_guard_sandbox::Member;

/// How long containerd may take to say of one task whether it knows it.
const ANSWER: Duration = Duration::from_secs(5);

/// What is asked.
pub(super) struct Question {
    /// Every container of the sandbox.
    pub(super) members: Vec<Member>,
    /// Somebody is connected to the guard.
    pub(super) connected: bool,
    /// containerd's socket.
    pub(super) containerd: PathBuf,
    /// Its namespace.
    pub(super) namespace: String,
}

/// Looks, in a thread of its own: a disk may hang, and so may containerd.
pub(super) fn recall(question: Question, reports: UnboundedSender<Message>) {
    let answers = reports.clone();
    let look = move || drop(answers.send(Message::Input(Input::Recalled(question.answer()))));
    if let Err(error) = thread::Builder::new().name("recall".into()).spawn(look) {
        log::warn!("nobody can look whether containerd knows the sandbox: {error}");
        let _ = reports.send(Message::Input(Input::Recalled(Recalled::Unclear)));
    }
}

/// Whether containerd has removed a bundle. What it wrote there tells: the folder itself is made anew by each runsc
/// command, for its log.
fn is_removed(member: &Member) -> bool {
    let seen = member.bundle.join("config.json").symlink_metadata();
    member.bundle.is_absolute() && seen.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes what runsc has made anew of removed bundles while it ended them, and the record that then went there:
/// containerd could not use their ids again.
pub(super) fn tidy(members: &[Member]) {
    for member in members.iter().filter(|member| is_removed(member)) {
        for file in ["log.json", bundle::RECORD] {
            let _ = fs::remove_file(member.bundle.join(file));
        }
        // Only if nothing else is in it.
        let _ = fs::remove_dir(&member.bundle);
    }
}

impl Question {
    fn answer(&self) -> Recalled {
        if self.members.is_empty() || !self.members.iter().all(is_removed) {
            return if self.connected { Recalled::Known } else { Recalled::Unclear };
        }
        if self.containerd.as_os_str().is_empty() {
            // CRI-O has nothing to be asked; but it finds a guard by a file in the bundle alone, so that it can never
            // come back to this one.
            return if self.connected { Recalled::Unclear } else { Recalled::Forgotten };
        }
        let unknown = |member: &Member| {
            let until = Instant::now() + ANSWER;
            match containerd::knows(&self.containerd, &self.namespace, &member.id, until) {
                Ok(known) => !known,
                Err(error) => {
                    log::debug!("containerd does not say whether it knows {}: {error}", member.id);
                    false
                }
            }
        };
        if self.members.iter().all(unknown) { Recalled::Forgotten } else { Recalled::Unclear }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// One container with its bundle there.
    fn question(bundle: &Path, containerd: &str, connected: bool) -> Question {
        let members = vec![Member::new("c", bundle)];
        Question { members, connected, containerd: containerd.into(), namespace: "default".into() }
    }

    #[test]
    fn without_an_address_to_ask_the_bundle_decides() {
        let dir = tempfile::tempdir().unwrap();
        let there = question(dir.path(), "", false);
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        assert_eq!(there.answer(), Recalled::Unclear);
        fs::remove_file(dir.path().join("config.json")).unwrap();
        assert_eq!(there.answer(), Recalled::Forgotten);
        assert_eq!(question(dir.path(), "", true).answer(), Recalled::Unclear);
        // A containerd that does not answer has not forgotten.
        assert_eq!(question(dir.path(), "/nowhere.sock", false).answer(), Recalled::Unclear);
    }
}
