//! Removing: what was started, whatever has become of it, and what earlier drills have left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use runsc_guard_node::config::Config;

use super::Stage;
use super::handler::Kind;
use super::inventory::Inventory;
use super::room::Room;
use super::subject::{self, Subject};
use crate::commands::reap;

/// How long the end of one that does not hang may take.
const ENDS: Duration = Duration::from_secs(30);
/// How long what has ended may take to be gone.
const GOES: Duration = Duration::from_secs(10);

impl Stage<'_> {
    /// Removes what earlier drills have left.
    pub(super) fn clear_leftovers(&self, room: &Room) -> Result<()> {
        for record in room.leftovers() {
            let name = record.name.clone();
            for kind in [Kind::Pod, Kind::Task] {
                let subject = Subject::new(self.address, kind, record.clone());
                let left = self.clear(&subject);
                ensure!(left.is_empty(), "an earlier drill has left {}: {}", kind.word(), left.join("; "));
            }
            record.remove().with_context(|| format!("what an earlier drill has left, {name}"))?;
            self.story.tell(&format!("what an earlier drill had left was removed: {name}"));
        }
        Ok(())
    }

    pub(super) fn reap(&self, subject: &Subject, report_dir: &Path) {
        let sandbox = match subject.look(self.scope) {
            Ok(Some(sandbox)) => sandbox,
            Ok(None) => return,
            Err(error) => return self.story.tell(&format!("{error:#}")),
        };
        reap::end_own(sandbox, report_dir, &|what| {
            self.story.tell(&format!("reap: {}", anstream::adapter::strip_str(what)))
        });
    }

    /// Removes what there is of it, wherever that stands; what is left in words.
    pub(super) fn clear(&self, subject: &Subject) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..2 {
            left = match subject.ids() {
                Ok(ids) => ids.iter().filter_map(|id| self.end(subject, id).err()).collect(),
                Err(error) => vec![format!("what containerd knows of it is unknown: {error:#}")],
            };
            if let Some(there) = self.lingers(subject) {
                // containerd knows nothing of it, or can do nothing about it.
                left.push(there);
                self.reap(subject, &Config::default().report_dir);
            }
            if left.is_empty() {
                break;
            }
        }
        left
    }

    /// What of it is still to be seen when it has had the time to go.
    fn lingers(&self, subject: &Subject) -> Option<String> {
        let mut there = None;
        reap::until(GOES, || {
            there = match subject.look(self.scope) {
                Ok(seen) => seen.map(|one| format!("sandbox {} ({})", one.found.id, one.state.word())),
                Err(error) => Some(format!("{error:#}")),
            };
            there.is_none()
        });
        there
    }

    /// Ends one as anybody would end it that does not hang. What was stopped goes on first.
    fn end(&self, subject: &Subject, id: &str) -> Result<(), String> {
        // On a crowded node a look is not told everything in its time.
        reap::until(GOES, || match subject.look(self.scope) {
            Ok(Some(sandbox)) if sandbox.found.sentry.is_some() => {
                subject::sentry(&sandbox.found).map(|sentry| subject::resume(&sentry)).is_ok()
            }
            seen => seen.is_ok(),
        });
        let ended = subject.stop(id, ENDS).and_then(|()| subject.remove(id));
        ended.map_err(|error| format!("{id}: {error:#}"))
    }

    /// Waits until nothing of it is left, and says what is.
    pub(super) fn gone(&self, inventory: &Inventory) -> Vec<String> {
        let mut left = Vec::new();
        reap::until(GOES, || {
            left = inventory.left();
            left.is_empty()
        });
        self.story.tell(match left.is_empty() {
            true => "removed: of all that it had nothing is left",
            false => "removed, but not all of it",
        });
        left
    }
}
