//! One look at the node: every sandbox, with what is known of it, judged.
//!
//! Three sources, each of which may be missing: the folders of guards, runsc's state files, and the process table:
//! what gVisor's command lines claim, as far as something proves it ([`evidence`]). A folder that a process names is
//! read only if it is root's and local. None of them is asked for anything that could hang with a sandbox;
//! guards are, each in a thread of its own that is not waited for. All of it runs beside the main thread, which
//! gives up when nothing moves for [`STILL`]: even /proc may hang, where a process hangs that is in the middle of
//! changing its memory. A node that is only busy takes its time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Result, bail};
use runsc_guard_sandbox::processes::process::{Claim, Role};
use runsc_guard_sandbox::processes::proof::{Named, Standing};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::resources::spec;

use crate::args::Scope;
use crate::judge::judge;
use crate::model::{Found, Sandbox};
use crate::threads::{apart, each};

mod assemble;
mod elsewhere;
mod evidence;
pub(crate) mod guards;
mod labels;
mod records;
mod table;

pub(crate) use elsewhere::Unseen;
use evidence::Evidence;
use guards::Known;
use records::Records;
use table::Table;

/// How long the look may stand still: longer than guards are waited for.
const STILL: Duration = Duration::from_millis(1500);
/// Workers that read files: they mostly wait for the kernel.
const WORKERS: usize = 4;

/// The process that is being read, for the one who gives up.
static READING: AtomicI32 = AtomicI32::new(0);
/// Processes and sandboxes looked at so far.
static LOOKED_AT: AtomicU64 = AtomicU64::new(0);

/// What one look has found.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Every sandbox in scope, ordered by namespace and id.
    pub(crate) sandboxes: Vec<Sandbox>,
    /// Guards and real shims with mounts of their own, whose files cannot be seen from here. What is said of their
    /// sandboxes is at best a part of it.
    pub(crate) elsewhere: Vec<i32>,
}

impl Seen {
    /// What could not be seen, and from where it can.
    pub(crate) fn unseen(&self) -> Option<Unseen> {
        Unseen::of(&self.elsewhere)
    }
}

/// Looks, and gives up when nothing moves any more.
pub(crate) fn survey(scope: &Scope) -> Result<Seen> {
    let (done, result) = mpsc::channel();
    let scope = scope.clone();
    apart(move || drop(done.send(look(&scope))));
    loop {
        let before = LOOKED_AT.load(Ordering::Relaxed);
        match result.recv_timeout(STILL) {
            Ok(seen) => return Ok(seen),
            Err(RecvTimeoutError::Timeout) if LOOKED_AT.load(Ordering::Relaxed) > before => {}
            Err(_) => {
                let pid = READING.load(Ordering::Relaxed);
                bail!("looking at this node has come to a stand; the last process looked at was {pid}")
            }
        }
    }
}

/// The same, for who can wait for as long as it takes.
pub(crate) fn look(scope: &Scope) -> Seen {
    let guards = guards::known();
    let words = guards::ask_all(&guards, guards::ask);
    let mut records = Records::new(Ground::look());
    records.read_known(scope, &guards);
    let table = Table::read(&records.pids(), |pid| {
        READING.store(pid, Ordering::Relaxed);
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
    });
    let drafts = drafts(scope, &table, &guards, &mut records);
    let (table, guards) = (&table, &guards);
    let mut found: Vec<Found> = each(&drafts, WORKERS, |draft| {
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        assemble::assemble(draft, table, guards)
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
    Seen { sandboxes, elsewhere: elsewhere::keepers(scope, table, guards) }
}

/// A sandbox by name, before anything is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    root: PathBuf,
    id: String,
    /// Containers with what is known of their bundles.
    members: BTreeMap<String, Option<PathBuf>>,
    /// Processes that are proved to be of it, by their roles.
    proved: BTreeMap<i32, Role>,
    /// Processes of root's that say they are of it, which nothing proves.
    claimants: BTreeMap<i32, Role>,
    /// Those whom runsc's files name.
    named: Vec<Named>,
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

fn drafts(scope: &Scope, table: &Table, guards: &[Known], records: &mut Records) -> Vec<Draft> {
    // A claim about a folder that a stranger may have made proves nothing.
    let claims: Vec<(i32, &Claim, Option<PathBuf>)> =
        table.claims().map(|(pid, claim)| (pid, claim, records.read(&claim.root))).collect();
    let mut drafts = Drafts::default();
    // Which sandbox a container is in, as runsc's files have it.
    let mut homes: BTreeMap<(&Path, &str), &str> = BTreeMap::new();
    for (root, container, sandbox) in records.containers() {
        let draft = drafts.of(root, sandbox);
        draft.recorded = true;
        draft.members.entry(container.to_owned()).or_default();
        homes.insert((root, container), sandbox);
    }
    for (root, sandbox, named) in records.named() {
        drafts.of(root, sandbox).named.push(named.clone());
    }
    for Known { params, .. } in guards {
        let draft = drafts.of(&records.place(&params.runsc_root()), &params.sandbox);
        let bundle = draft.members.entry(params.container.clone()).or_default();
        *bundle = Some(params.bundle.clone());
    }
    let evidence = Evidence::new(table, guards);
    for (pid, claim, trusted) in &claims {
        let root = trusted.as_ref().unwrap_or(&claim.root);
        let bundle = claim.bundle.as_deref().and_then(|bundle| records.bundle(bundle, &claim.container));
        let home = homes.get(&(root.as_path(), claim.container.as_str())).map(|home| (*home).to_owned());
        let home = home.or_else(|| unrecorded_home(claim, bundle.as_deref()));
        let Some(sandbox) = home else { continue };
        let is_proved = trusted.is_some() && {
            let named = records
                .named()
                .filter(|(at, id, _)| *at == root.as_path() && *id == sandbox)
                .map(|(.., one)| one);
            evidence.proves(*pid, claim, &sandbox, named)
        };
        if !is_proved && table.standing(*pid) != Standing::Root {
            continue;
        }
        let draft = drafts.of(root, &sandbox);
        let claimed = if is_proved { &mut draft.proved } else { &mut draft.claimants };
        claimed.insert(*pid, claim.role.clone());
        let known = draft.members.entry(claim.container.clone()).or_default();
        *known = known.take().or(bundle);
    }
    for draft in drafts.0.values_mut() {
        let silent = draft.named.iter().filter(|named| !draft.proved.contains_key(&named.pid));
        let silent: Vec<_> = silent.filter(|named| evidence.is_meant(named)).cloned().collect();
        draft.proved.extend(silent.into_iter().map(|named| (named.pid, named.role)));
    }
    let in_scope = |draft: &Draft| {
        let name = scope.namespace.as_ref();
        name.is_none_or(|name| draft.root.file_name().is_some_and(|last| last == name.as_str()))
    };
    drafts.0.into_values().filter(in_scope).collect()
}

/// The sandbox of what runsc has written nothing about: it is being created, or its files are lost. Commands
/// about something that is no container of a sandbox say nothing.
fn unrecorded_home(claim: &Claim, bundle: Option<&Path>) -> Option<String> {
    let by_bundle = || match bundle.map(spec::membership) {
        Some(Ok(spec::Membership::MemberOf(sandbox))) => sandbox,
        _ => claim.container.clone(),
    };
    match &claim.role {
        Role::Sentry => Some(claim.container.clone()),
        Role::Gofer => Some(by_bundle()),
        Role::Runsc(command) if command == "create" => Some(by_bundle()),
        _ => None,
    }
}
