//! The action `delete`: how did this container end, and is nothing of it left?
//!
//! containerd runs it after *every* delete, also for one container of a living pod, and for each container
//! when a connection ended without one; it kills it after five seconds and takes no answer for an answer
//! (`core/runtime/v2/binary.go`). So it answers always and in time, needs neither working directory nor
//! bundle, and may run any number of times, at once or one after the other. A guard that lives does the work;
//! when it is dead, the first `delete` that gets the pod's lock does, and the others find it written down.
//!
//! That work is done in a process apart. A thread that hangs in the kernel (a umount) would keep this process from
//! ending and its pipes open, and containerd waits for both; and what is not done by then is still gone on with.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use runsc_guard_core::policy::DELETE_BINARY;

use crate::cli::Target;
use runsc_guard_node::bundle::{self, Exit, Record};
use runsc_guard_node::config::Config;
use runsc_guard_node::gc;
use runsc_guard_node::params::ServeParams;
use runsc_guard_node::paths::{self, Base, Place};
use runsc_guard_sandbox::resources::spec::{self, Membership};

mod apart;
mod reply;
#[cfg(test)]
mod tests;
mod worker;

use reply::MARGIN;
use worker::{Rest, Worker};

pub use apart::{answer, apart, told_deadline};
pub use reply::Answer;

/// Ends what a dead guard has left, by a deadline: [`apart()`], or [`finish`] itself.
pub type Finish = fn(&Base, &Target, Instant) -> Answer;

/// Answers in time, whatever the rest of this file does: a file system that hangs must not hold the answer.
pub fn run(base: &Base, target: &Target, begun: Instant, finish: Finish) -> Answer {
    let deadline = begun + DELETE_BINARY - MARGIN;
    let (sender, receiver) = mpsc::channel();
    let (recorder, recorded) = mpsc::channel();
    let (its_base, wanted) = (base.clone(), target.clone());
    // Nobody listens to what comes too late.
    let work = move || {
        // What is published must be the exit that the guard has told, also where there is time for nothing else.
        let exit = Record::load(&wanted.bundle).and_then(|record| record.member(&wanted.id)?.exit);
        let _ = exit.map(|exit| recorder.send(exit));
        let _ = sender.send(ended(&its_base, &wanted, deadline, finish));
    };
    if thread::Builder::new().spawn(work).is_err() {
        // No thread can be made: late is better than not at all.
        return ended(base, target, deadline, finish);
    }
    let left = deadline.saturating_duration_since(Instant::now()) + MARGIN / 2;
    receiver.recv_timeout(left).unwrap_or_else(|_| Answer {
        exit: recorded.try_recv().unwrap_or_else(|_| Exit::killed(0)),
        note: Some(format!(
            "container {}: its end took too long and goes on, see runsc-guard show",
            target.id
        )),
    })
}

fn ended(base: &Base, target: &Target, deadline: Instant, finish: Finish) -> Answer {
    let done = with_worker(base, target, deadline, |worker, place| {
        worker.without_lock(place).unwrap_or_else(|| finish(base, target, deadline))
    });
    done.unwrap_or_else(|answer| answer)
}

/// The part that needs the pod's lock: asks the guard again, and buries the sandbox of a dead one.
pub fn finish(base: &Base, target: &Target, deadline: Instant) -> Answer {
    finish_with_rest(base, target, deadline).0
}

/// The same by somebody who need not end when it has answered: what is not done by then is gone on with.
pub fn finish_and_go_on<T>(
    base: &Base,
    target: &Target,
    deadline: Instant,
    tell: impl FnOnce(&Answer) -> T,
) -> T {
    let (answer, rest) = finish_with_rest(base, target, deadline);
    let told = tell(&answer);
    if let Some(rest) = rest {
        rest.go_on();
    }
    told
}

fn finish_with_rest(base: &Base, target: &Target, deadline: Instant) -> (Answer, Option<Rest>) {
    with_worker(base, target, deadline, Worker::with_lock).unwrap_or_else(|answer| (answer, None))
}

/// When nobody waits any more: looks around for what nobody else will come back for.
pub fn sweep(base: &Base, target: &Target) {
    if let Ok(place) = place_of(base, target, &sandbox(target)) {
        gc::sweep(&place);
    }
}

/// Finds out which sandbox is meant and where its things lie; if there can be none, that is the answer.
fn with_worker<T>(
    base: &Base,
    target: &Target,
    deadline: Instant,
    work: impl FnOnce(&Worker, &Place) -> T,
) -> Result<T, Answer> {
    let checked = paths::check_name("id", &target.id).and_then(|()| {
        let sandbox = sandbox(target);
        Ok((place_of(base, target, &sandbox)?, sandbox))
    });
    match checked {
        Ok((place, sandbox)) => Ok(work(&Worker { target: target.clone(), sandbox, deadline }, &place)),
        // containerd gives no such names; nothing can have been started under one.
        Err(error) => Err(Answer { exit: Exit::killed(0), note: Some(error.to_string()) }),
    }
}

/// The sandbox that the container was in, from the first that tells: containerd's own file, the record, the
/// records beside it (a Create that failed may have lost the bundle already), runsc's files.
fn sandbox(target: &Target) -> String {
    let Target { namespace, id, bundle, .. } = target;
    let own_word = || match spec::membership(bundle).ok()? {
        Membership::MemberOf(sandbox) => Some(sandbox),
        Membership::Root => Some(id.clone()),
    };
    let told = own_word()
        .or_else(|| Record::load(bundle).map(|record| record.sandbox))
        .or_else(|| bundle::recorded_beside(bundle, id))
        .or_else(|| bundle::sandbox_of(&Config::default().runsc_root_of(namespace), id));
    told.filter(|sandbox| paths::check_name("id", sandbox).is_ok()).unwrap_or_else(|| id.clone())
}

/// Where the guard was told that its things lie, if that is the guard of this sandbox: containerd's own address may
/// have changed since `start`.
fn place_of(base: &Base, target: &Target, sandbox: &str) -> Result<Place, paths::PlaceError> {
    let place = Place::of(base, &target.address, &target.namespace, sandbox, None)?;
    let recorded = Record::load(&target.bundle).map(|record| record.folder);
    let recorded = recorded.filter(|folder| folder.parent() == Some(&base.runtime));
    let told = [recorded, Some(place.folder.clone())].into_iter().flatten().find_map(|folder| {
        let params = ServeParams::of(&Place { folder, ..place.clone() })?;
        (params.namespace == target.namespace && params.sandbox == sandbox).then_some(params.place)
    });
    Ok(told.unwrap_or(place))
}
