//! One look at the node: every sandbox, with what is known of it, judged.
//!
//! Three sources, each of which may be missing: the process table (what gVisor's command lines claim), the
//! folders of guards, runsc's state files. None of them is asked for anything that could hang with a sandbox;
//! guards are, each in a thread of its own that is not waited for. All of it runs beside the main thread, which
//! gives up when nothing moves for [`STILL`]: even /proc may hang, where a process hangs that is in the middle of
//! changing its memory. A node that is only busy takes its time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use shim::bundle;
use shim::sandbox::process::{Claim, Role};

use crate::args::Scope;
use crate::judge::judge;
use crate::model::{Found, Sandbox};

mod assemble;
pub(crate) mod guards;
mod labels;
mod table;

use guards::Known;
use table::Table;

/// How long the look may stand still: longer than guards are waited for.
const STILL: Duration = Duration::from_millis(1500);
/// Where runsc's files are unless the real shim is told otherwise.
const DEFAULT_ROOT: &str = "/run/containerd/runsc";
/// Workers that read files: they mostly wait for the kernel.
const WORKERS: usize = 4;

/// The process that is being read, for the one who gives up.
static READING: AtomicI32 = AtomicI32::new(0);
/// Processes and sandboxes looked at so far.
static LOOKED_AT: AtomicU64 = AtomicU64::new(0);

/// Every sandbox in scope, ordered by namespace and id.
pub(crate) fn survey(scope: &Scope) -> Result<Vec<Sandbox>> {
    let (done, result) = mpsc::channel();
    let scope = scope.clone();
    thread::spawn(move || done.send(look(&scope)));
    loop {
        let before = LOOKED_AT.load(Ordering::Relaxed);
        match result.recv_timeout(STILL) {
            Ok(sandboxes) => return Ok(sandboxes),
            Err(RecvTimeoutError::Timeout) if LOOKED_AT.load(Ordering::Relaxed) > before => {}
            Err(_) => {
                let pid = READING.load(Ordering::Relaxed);
                bail!("looking at this node has come to a stand; the last process looked at was {pid}")
            }
        }
    }
}

/// The same, for who can wait for as long as it takes.
pub(crate) fn look(scope: &Scope) -> Vec<Sandbox> {
    let table = Table::read(|pid| {
        READING.store(pid, Ordering::Relaxed);
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
    });
    let guards = guards::known();
    let words = guards::ask_all(&guards, guards::ask);
    let drafts = drafts(scope, &table, &guards);
    let (table, guards) = (&table, &guards);
    let mut found: Vec<Found> = thread::scope(|threads| {
        let share = drafts.len().div_ceil(WORKERS).max(1);
        let workers: Vec<_> = drafts
            .chunks(share)
            .map(|drafts| {
                let assemble = |draft| {
                    LOOKED_AT.fetch_add(1, Ordering::Relaxed);
                    assemble::assemble(draft, table, guards)
                };
                threads.spawn(move || drafts.iter().map(assemble).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let words = words.collect();
    for one in &mut found {
        if let Some(place) = &one.place {
            guards::tell(&mut one.guard, words.get(&place.folder));
        }
    }
    let mut sandboxes: Vec<Sandbox> = found.into_iter().map(judge).collect();
    sandboxes.sort_by(|one, other| {
        (&one.found.namespace, &one.found.id).cmp(&(&other.found.namespace, &other.found.id))
    });
    sandboxes
}

/// A sandbox by name, before anything is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    root: PathBuf,
    id: String,
    /// Containers with what is known of their bundles.
    members: BTreeMap<String, Option<PathBuf>>,
    /// Processes that claim to be of it.
    pids: BTreeSet<i32>,
    /// runsc's files tell of it.
    recorded: bool,
}

#[derive(Default)]
struct Drafts(BTreeMap<(PathBuf, String), Draft>);

impl Drafts {
    fn of(&mut self, root: &Path, id: &str) -> &mut Draft {
        let new = || Draft { root: root.to_owned(), id: id.to_owned(), ..Draft::default() };
        self.0.entry((root.to_owned(), id.to_owned())).or_insert_with(new)
    }
}

fn drafts(scope: &Scope, table: &Table, guards: &[Known]) -> Vec<Draft> {
    let mut drafts = Drafts::default();
    // Which sandbox a container is in, as runsc's files have it.
    let mut homes: BTreeMap<(PathBuf, String), String> = BTreeMap::new();
    for root in roots(scope, table, guards) {
        for (container, sandbox) in bundle::state_names(&root) {
            let draft = drafts.of(&root, &sandbox);
            draft.recorded = true;
            draft.members.entry(container.clone()).or_default();
            homes.insert((root.clone(), container), sandbox);
        }
    }
    for Known { params, .. } in guards {
        let draft = drafts.of(&params.runsc_root(), &params.sandbox);
        let bundle = draft.members.entry(params.container.clone()).or_default();
        *bundle = Some(params.bundle.clone());
    }
    for (pid, claim) in table.claims() {
        let home = homes.get(&(claim.root.clone(), claim.container.clone()));
        let Some(sandbox) = home.cloned().or_else(|| unrecorded_home(claim)) else { continue };
        let draft = drafts.of(&claim.root, &sandbox);
        draft.pids.insert(pid);
        let bundle = draft.members.entry(claim.container.clone()).or_default();
        *bundle = bundle.take().or(claim.bundle.clone());
    }
    let in_scope = |draft: &Draft| {
        let name = scope.namespace.as_ref();
        name.is_none_or(|name| draft.root.file_name().is_some_and(|last| last == name.as_str()))
    };
    drafts.0.into_values().filter(in_scope).collect()
}

/// The sandbox of what runsc has written nothing about: it is being created, or its files are lost. Commands
/// about something that is no container of a sandbox say nothing.
fn unrecorded_home(claim: &Claim) -> Option<String> {
    match &claim.role {
        Role::Sentry => Some(claim.container.clone()),
        Role::Gofer => Some(home_by_bundle(claim)),
        Role::Runsc(command) if command == "create" => Some(home_by_bundle(claim)),
        _ => None,
    }
}

fn home_by_bundle(claim: &Claim) -> String {
    match claim.bundle.as_deref().map(bundle::kinship) {
        Some(Ok(bundle::Kinship::MemberOf(sandbox))) => sandbox,
        _ => claim.container.clone(),
    }
}

/// Every folder in which runsc may have written something.
fn roots(scope: &Scope, table: &Table, guards: &[Known]) -> BTreeSet<PathBuf> {
    let default = std::fs::read_dir(DEFAULT_ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    let claimed = table.claims().map(|(_, claim)| claim.root.clone());
    let guarded = guards.iter().map(|guard| guard.params.runsc_root());
    default.chain(claimed).chain(guarded).chain(scope.runsc_root.iter().cloned()).collect()
}
