//! A sandbox whose guard is dead, or so far gone that it must be: finding out what it consisted of, and
//! ending it. `delete` does this, and `start` before it replaces a dead guard.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runsc_guard_core::policy::budgets;

use crate::bundle::{self, Exit, Record};
use crate::config::Config;
use crate::params::{self, ServeParams};
use crate::paths::{self, Place};
use runsc_guard_sandbox::Scope;
use runsc_guard_sandbox::processes::proof::{Vantage, is_real_shim};
use runsc_guard_sandbox::resources::held::Resources;
use runsc_guard_sandbox::resources::spec::{self, Membership};
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::teardown::leftover::{Leftover, words};
use runsc_guard_sandbox::teardown::sequence::{Nobody, Observer, Patience, Sequence};
use runsc_guard_sandbox::teardown::unblock::UnblockPolicy;
use runsc_guard_sandbox::teardown::verify::release_and_verify;

#[cfg(test)]
mod tests;

/// How long a killed guard may take to die.
const GUARD_DIES: Duration = Duration::from_millis(300);

/// All that can be found out: from the record in the container's own bundle or in the root's, from what the
/// guard was told, and from runsc's state files. None of these needs to be there, and none is believed where it
/// would lead to somebody else: a process is the guard's or the real shim's only by its own command line, a bundle
/// lies only where containerd keeps them, and a container is a member only if its own `config.json` agrees.
pub fn reconstruct(place: &Place, namespace: &str, sandbox: &str, container: &str, bundle: &Path) -> Record {
    let roots_bundle = sibling(bundle, sandbox);
    let load = |bundle: &Path| {
        Record::load(bundle).filter(|record| record.sandbox == sandbox && record.namespace == namespace)
    };
    let told = ServeParams::of(place).map(|params| params.record());
    let mut record = load(bundle)
        .or_else(|| load(&roots_bundle))
        .or_else(|| load(&place.folder))
        .or_else(|| told.clone())
        .unwrap_or_else(|| Record::new(namespace, sandbox));
    record.socket.clone_from(&place.socket);
    record.folder.clone_from(&place.folder);
    // What cannot be told is left as it was written: it is another process's only if its start time is.
    record.guard = params::guard_of(place, record.guard).unwrap_or(record.guard);
    record.real_shim = record.real_shim.filter(|shim| {
        let argv = bounded::command_line(shim.pid).unwrap_or_default();
        shim.is_alive() && is_real_shim(&Vantage::new(), shim.pid, &argv, &place.folder)
    });
    if let Some(told) = told {
        record.runsc_root = told.runsc_root;
    } else if !record.runsc_root.is_absolute() {
        let told = |bundle: &Path| bundle::state_root(bundle, namespace);
        let root = told(bundle).or_else(|| told(&roots_bundle));
        record.runsc_root = root.unwrap_or_else(|| Config::default().runsc_root_of(namespace));
    }
    for found in bundle::sandbox_states(&record.runsc_root, sandbox) {
        let member = record.member_mut(&found.id, &found.bundle);
        if member.pid == 0 {
            member.pid = found.pid;
        }
    }
    record.member_mut(sandbox, &roots_bundle);
    record.member_mut(container, bundle);
    record.members.retain(|member| {
        [sandbox, container].contains(&member.id.as_str()) || is_member(&member.id, sandbox, bundle)
    });
    for member in &mut record.members {
        member.bundle = if member.id == container { bundle.to_owned() } else { sibling(bundle, &member.id) };
    }
    record
}

/// Whether a container that some file names as a member is one, or could be: its bundle may be gone.
fn is_member(id: &str, sandbox: &str, beside: &Path) -> bool {
    let own_word = || spec::membership(&sibling(beside, id));
    paths::check_name("id", id).is_ok()
        && own_word().map_or(true, |membership| membership == Membership::MemberOf(sandbox.to_owned()))
}

/// containerd keeps all bundles of a namespace in one folder, each named by its container's id.
fn sibling(bundle: &Path, id: &str) -> PathBuf {
    bundle.parent().map(|folder| folder.join(id)).unwrap_or_default()
}

/// Ends the sandbox, with its guard if that still lives, and writes down how. Returns what is left, in words;
/// only if that is nothing are the members released and socket and folder removed. The caller holds the lock.
pub fn cleanup(
    record: &mut Record,
    place: &Place,
    patience: Patience,
    observer: &dyn Observer,
) -> Vec<String> {
    cleanup_by(&sequence(place), record, place, patience, observer)
}

/// The steps, as the guard was told to take them. What they have seen serves the next attempt: which servers there are shows
/// before the first SIGKILL only, and that one hangs only to who looks for longer than an attempt takes.
pub fn sequence(place: &Place) -> Sequence {
    Sequence::new(ServeParams::of(place).map_or(UnblockPolicy::NONE, |told| (&told.config).into()))
}

/// [`cleanup`] by steps that may be taken again.
pub fn cleanup_by(
    sequence: &Sequence,
    record: &mut Record,
    place: &Place,
    patience: Patience,
    observer: &dyn Observer,
) -> Vec<String> {
    let mut scope = record.scope();
    let told = ServeParams::of(place);
    scope.runsc = told.map(|told| told.config.runsc_binary.into()).unwrap_or_default();
    sequence.learn(slice::from_ref(&scope));
    if let Some(guard) = scope.guard.filter(|guard| guard.is_alive()) {
        // First with its help: whatever descends from it is proved by that alone.
        sequence.kill_until(slice::from_ref(&scope), patience.dead);
        end_guard(guard);
    }
    scope.guard = None;
    // Nobody listens there any more. The folder goes last of all: by that the rest is found, should this be killed.
    let _ = fs::remove_file(&place.socket);
    let left = sequence.run(slice::from_ref(&scope), patience, observer);
    let is_gone = is_gone(&left);
    let mut left = words(&left);
    for member in &mut record.members {
        member.exit.get_or_insert_with(|| Exit::killed(member.pid));
        member.released |= is_gone;
    }
    if is_gone && let Err(error) = place.remove() {
        left.push(format!("{}: {error}", place.folder.display()));
    }
    record.guard = None;
    let _ = record.store();
    left
}

/// What the engine wanted run and did not is told, and nobody would come back for it.
fn is_gone(left: &[Leftover]) -> bool {
    left.iter().all(|leftover| matches!(leftover, Leftover::Hook { .. }))
}

/// What its members hold, as long as files tell.
pub fn resources(record: &Record) -> Resources {
    let scope = record.scope();
    Resources::of(&scope, &scope.members)
}

/// Tries again what [`cleanup`] has not ended in time, and to release these resources, which no file may name any more; by
/// the same [`sequence`] each time. True when nothing is left.
pub fn bury_rest(
    record: &mut Record,
    place: &Place,
    sequence: &Sequence,
    resources: &mut Resources,
    deadline: Instant,
) -> bool {
    let scope = Scope { guard: None, ..record.scope() };
    let dead = sequence.kill_until(slice::from_ref(&scope), deadline).is_empty();
    let released = dead && is_gone(&release_and_verify(&scope, resources, deadline, &Nobody));
    cleanup_by(sequence, record, place, patience(deadline), &Nobody).is_empty() && released
}

/// Who waits for a clean-up until `deadline`: it kills for half of that, and on a busy node until there is just time to
/// release.
pub fn patience(deadline: Instant) -> Patience {
    let left = deadline.saturating_duration_since(Instant::now());
    let dead = Instant::now() + left / 2;
    Patience { dead, overload: (left / 2).saturating_sub(budgets::RELEASE + budgets::PROVE), over: deadline }
}

/// Rule 1: through a pidfd whose identity is proved.
fn end_guard(guard: Identity) {
    if let Ok(process) = guard.open()
        && process.send(Signal::SIGKILL).is_ok()
    {
        process.wait(Instant::now() + GUARD_DIES);
    }
}
