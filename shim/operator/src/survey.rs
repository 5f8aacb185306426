//! One look at the node: every sandbox, with what is known of it, judged.
//!
//! Three sources, each of which may be missing: the folders of guards, runsc's state files, and the process table:
//! what gVisor's command lines claim, as far as something proves it ([`evidence`], [`draft`]). A folder that a process names is
//! read only if it is root's and local. None of them is asked for anything that could hang with a sandbox;
//! guards are, each in a thread of its own that is not waited for. All of it runs beside the main thread, which
//! gives up when nothing moves for [`STILL`]: even /proc may hang, where a process hangs that is in the middle of
//! changing its memory. A node that is only busy takes its time.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use runsc_guard_sandbox::processes::trusted::Ground;

use crate::args::Scope;
use crate::threads::{apart, each};

mod assemble;
mod draft;
mod elsewhere;
mod evidence;
pub(crate) mod guards;
pub(crate) mod judge;
mod keepers;
mod labels;
pub(crate) mod model;
pub(crate) mod pick;
mod records;
pub(crate) mod scope;
pub(crate) mod sight;
mod state;
mod table;

use draft::drafts;
pub(crate) use elsewhere::Unseen;
use judge::judge;
use model::{Found, Sandbox};
use records::Records;
use sight::Blind;
use table::Table;

/// How long the look may stand still: longer than guards are waited for.
const STILL: Duration = Duration::from_millis(1500);
/// How long a sentry has to answer where its real shim has not: all of them are asked at once.
const QUESTION: Duration = Duration::from_millis(800);
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
            Ok(seen) => return Ok(seen?),
            Err(RecvTimeoutError::Timeout) if LOOKED_AT.load(Ordering::Relaxed) > before => {}
            Err(_) => {
                let pid = READING.load(Ordering::Relaxed);
                bail!("the survey of this node hangs; the last process that it read was {pid}")
            }
        }
    }
}

/// The same, for who can wait for as long as it takes.
pub(crate) fn look(scope: &Scope) -> Result<Seen, Blind> {
    sight::clear()?;
    let guards = guards::known()?;
    let words = guards::ask_all(&guards, guards::ask);
    let mut records = Records::new(Ground::look());
    records.read_known(scope, &guards)?;
    let table = Table::read(&records.pids(), |pid| {
        READING.store(pid, Ordering::Relaxed);
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
    })?;
    let drafts = drafts(scope, &table, &guards, &mut records);
    let (table, guards) = (&table, &guards);
    let mut found: Vec<Found> = each(&drafts, WORKERS, |draft| {
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        assemble::assemble(draft, table)
    });
    let words = words.collect();
    for one in &mut found {
        if let Some(place) = &one.place {
            guards::tell(&mut one.guard, words.get(&place.folder));
        }
    }
    let doubtful: Vec<&mut Found> = found.iter_mut().filter(|one| judge::is_doubtful(one)).collect();
    let answers = each(&doubtful, doubtful.len(), |one| {
        LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        one.control().is_some_and(|control| control.answers(Instant::now() + QUESTION).is_ok())
    });
    for (one, answers) in doubtful.into_iter().zip(answers) {
        one.answers = answers;
    }
    let mut sandboxes: Vec<Sandbox> = found.into_iter().map(judge).collect();
    sandboxes.sort_by(|one, other| {
        (&one.found.namespace, &one.found.id).cmp(&(&other.found.namespace, &other.found.id))
    });
    Ok(Seen { sandboxes, elsewhere: elsewhere::keepers(scope, table, guards) })
}
