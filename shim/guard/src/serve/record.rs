//! The record on disk, kept up with what the guard knows.

use std::collections::BTreeMap;
use std::path::Path;

use runsc_guard_core::exit::Exit;
use runsc_guard_core::guard::Guard;

use runsc_guard_node::bundle::{self, Record};
use runsc_guard_sandbox::resources::asked;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::{Member, Scope};

/// The record with what was written last.
pub(crate) struct Keeper {
    record: Record,
    written: Option<Record>,
}

impl Keeper {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, written: None }
    }

    /// What to look for when the sandbox must be found.
    pub(crate) fn scope(&self) -> Scope {
        self.record.scope()
    }

    /// Whether a container is in the record.
    pub(crate) fn is_member(&self, container: &str) -> bool {
        self.record.members.iter().any(|member| member.id == container)
    }

    /// Who of the sandbox was seen below the guard. Written with the next thing that is.
    pub(crate) fn seen(&mut self, sentry: Option<Identity>, gofers: Vec<Identity>) {
        self.record.sentry = sentry;
        self.record.gofers = gofers;
    }

    /// Takes over what the guard knows and writes it where it has changed. What cannot be written is logged
    /// and fails no request.
    pub(crate) fn save(&mut self, guard: &Guard) {
        let known: BTreeMap<String, _> =
            guard.record().into_iter().map(|container| (container.id.clone(), container)).collect();
        let folder = self.record.folder.clone();
        for container in known.values() {
            let member = self.record.member_mut(&container.id, Path::new(&container.bundle));
            member.bundle = container.bundle.clone().into();
            member.pid = container.pid;
            member.exit = container.exit.map(to_disk);
            member.released = false;
            let before = self.written.as_ref().and_then(|written| written.member(&container.id));
            if before.is_none_or(|before| before.released)
                && let Err(error) = asked::keep(&folder, &Member::new(&*container.id, &*container.bundle))
            {
                log::info!(
                    "config.json of {} is not kept for when its bundle is gone: {error}",
                    container.id
                );
            }
        }
        let released = guard.is_released();
        for member in &mut self.record.members {
            let before = member.released;
            if let Some(exit) = guard.deleted_exit(&member.id) {
                member.exit = Some(to_disk(exit));
                member.released |= !known.contains_key(&member.id);
            }
            member.released |= released;
            if member.released && !before {
                asked::forget(&folder, &member.id);
            }
        }
        // A container that was deleted and whose bundle is gone is nobody's business any more.
        self.record.members.retain(|member| {
            let stays =
                member.id == self.record.sandbox || known.contains_key(&member.id) || member.bundle.exists();
            if !stays {
                asked::forget(&folder, &member.id);
            }
            stays
        });
        if self.written.as_ref() != Some(&self.record) {
            for error in self.record.store() {
                log::warn!("the record in a bundle cannot be written, `delete` will do without: {error}");
            }
            self.written = Some(self.record.clone());
        }
    }
}

fn to_disk(exit: Exit) -> bundle::Exit {
    bundle::Exit { pid: exit.pid, exit_status: exit.status, exited_at_ns: exit.at_ns }
}
