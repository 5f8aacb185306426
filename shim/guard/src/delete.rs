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

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_core::policy::DELETE_BINARY;
use runsc_guard_proto::guard::{EndRequest, EndResponse};
use runsc_guard_proto::protobuf::well_known_types::timestamp::Timestamp;
use runsc_guard_proto::protobuf::{Message, MessageField};
use runsc_guard_proto::task::DeleteResponse;
use serde::{Deserialize, Serialize};

use crate::cli::Target;
use runsc_guard_node::bundle::{self, Exit, Record};
use runsc_guard_node::client;
use runsc_guard_node::config::Config;
use runsc_guard_node::gc;
use runsc_guard_node::lock::{Lock, LockError};
use runsc_guard_node::params::{self, ServeParams};
use runsc_guard_node::paths::{self, Base, Place};
use runsc_guard_node::recovery;
use runsc_guard_sandbox::Member;
use runsc_guard_sandbox::resources::held::{self, Resources};
use runsc_guard_sandbox::resources::spec::{self, Membership};
use runsc_guard_sandbox::teardown::sequence::{Nobody, Sequence};

mod apart;
#[cfg(test)]
mod tests;

pub use apart::{answer, apart, told_deadline};

/// How long a living guard may take to end one container.
const END: Duration = Duration::from_secs(3);
/// How long a guard that no longer serves may take to be gone: it is closing.
const CLOSING: Duration = Duration::from_millis(1500);
/// How often it is looked after meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// How long is gone on with what was not done when it had to answer. What cannot be killed for longer stays for the
/// operator: the guard's folder names it.
const GOES_ON: Duration = Duration::from_secs(300);
/// How long each further attempt takes, and who wants the lock is waited for.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the lock is free between two of them.
const LET_IN: Duration = Duration::from_millis(500);
/// Kept back at the end, for writing the answer.
const MARGIN: Duration = Duration::from_millis(100);
/// `NOT_FOUND`: the guard never had it (proto/guard.proto).
const NOT_FOUND: i32 = 5;

/// The answer for containerd, and a line for its log if something is not as it should be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// How it ended.
    pub exit: Exit,
    /// What a person should know.
    pub note: Option<String>,
}

impl Answer {
    /// The bytes for stdout.
    pub fn encode(&self) -> Vec<u8> {
        let exited_at = Timestamp {
            seconds: i64::try_from(self.exit.exited_at_ns / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(self.exit.exited_at_ns % 1_000_000_000).unwrap_or(0),
            ..Timestamp::default()
        };
        let response = DeleteResponse {
            pid: self.exit.pid,
            exit_status: self.exit.exit_status,
            exited_at: MessageField::some(exited_at),
            ..DeleteResponse::default()
        };
        // Writing into memory fails for no message of this kind.
        response.write_to_bytes().unwrap_or_default()
    }
}

/// Ends what a dead guard has left, by a deadline: [`apart`], or [`finish`] itself.
pub type Finish = fn(&Base, &Target, Instant) -> Answer;

/// Answers in time, whatever the rest of this file does: a file system that hangs must not hold the answer.
pub fn run(base: &Base, target: &Target, begun: Instant, finish: Finish) -> Answer {
    let deadline = begun + DELETE_BINARY - MARGIN;
    let (sender, receiver) = mpsc::channel();
    // What is published must be the exit that the guard has told, also where there is time for nothing else.
    let recorded = Record::load(&target.bundle).and_then(|record| record.member(&target.id)?.exit);
    let (its_base, wanted) = (base.clone(), target.clone());
    let work = move || sender.send(ended(&its_base, &wanted, deadline, finish));
    if thread::Builder::new().spawn(work).is_err() {
        // No thread can be made: late is better than not at all.
        return ended(base, target, deadline, finish);
    }
    let left = deadline.saturating_duration_since(Instant::now()) + MARGIN / 2;
    receiver.recv_timeout(left).unwrap_or_else(|_| Answer {
        exit: recorded.unwrap_or_else(|| Exit::killed(0)),
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

struct Worker {
    target: Target,
    sandbox: String,
    deadline: Instant,
}

/// What is left of a sandbox when `delete` has to answer.
struct Rest {
    record: Record,
    place: Place,
    sequence: Sequence,
    resources: Resources,
}

impl Rest {
    /// containerd has its answer and forgets the sandbox: nobody else comes back for it. A `start` of the same id may
    /// want the lock meanwhile; when there is a guard again, all is that one's.
    fn go_on(mut self) {
        let until = Instant::now() + GOES_ON;
        while Instant::now() < until {
            let Ok(lock) = Lock::take(&self.place.lock, Instant::now() + AGAIN) else { continue };
            let is_another = params::guard_of(&self.place, None).is_some();
            let soon = Instant::now() + AGAIN;
            let (record, resources) = (&mut self.record, &mut self.resources);
            if is_another || recovery::bury_rest(record, &self.place, &self.sequence, resources, soon) {
                return;
            }
            drop(lock);
            thread::sleep(LET_IN);
        }
    }
}

/// What a guard says, or what its silence means.
enum Word {
    /// It has ended the container.
    Ended(Exit),
    /// It knows no such container.
    Unknown,
    /// It could not, in its own words.
    Could(String),
    /// It is dead.
    Dead,
    /// It lives and does not serve.
    Unreachable(String),
}

impl Worker {
    fn bundle(&self) -> &Path {
        &self.target.bundle
    }

    /// The answer, if there is nothing to be done or a guard that does it.
    fn without_lock(&self, place: &Place) -> Option<Answer> {
        // Who was killed amid the last steps has left its lock: whoever takes it next removes it.
        let settled = || self.settled(place).filter(|_| !place.lock.exists());
        // A guard on its way out removes its things itself.
        settled().or_else(|| self.by_guard(place)).or_else(settled)
    }

    fn with_lock(&self, place: &Place) -> (Answer, Option<Rest>) {
        match Lock::take(&place.lock, self.deadline - Duration::from_millis(500)) {
            // A `start` may have replaced the dead guard meanwhile.
            Ok(lock) => match self.settled(place).or_else(|| self.by_guard(place)) {
                Some(answer) => (answer, None),
                None => {
                    let done = self.by_own_hands(place);
                    drop(lock);
                    done
                }
            },
            Err(error @ LockError::Held { .. }) => (self.answer(Some(error.to_string())), None),
            // Nowhere to lock, as on a full disk: what several may do at once must be done by one at least.
            Err(LockError::Io { .. }) => (self.by_own_hands(place).0, None),
        }
    }

    /// What the guard says; nothing if there is none any more.
    fn by_guard(&self, place: &Place) -> Option<Answer> {
        match self.ask(place) {
            Word::Ended(exit) => Some(self.swept(Answer { exit, note: None })),
            Word::Unknown => Some(self.swept(self.answer(None))),
            Word::Could(why) => Some(self.answer(Some(why))),
            Word::Dead => None,
            // containerd has given the whole pod up: it forgets it whatever is answered here.
            Word::Unreachable(_) if self.target.id == self.sandbox => None,
            Word::Unreachable(why) => Some(self.answer(Some(why))),
        }
    }

    fn ask(&self, place: &Place) -> Word {
        let request = EndRequest { id: self.target.id.clone(), ..EndRequest::default() };
        let until = (Instant::now() + END).min(self.deadline - Duration::from_millis(900));
        let answer: Result<EndResponse, client::AskError> =
            client::ask(&place.socket, "End", &request, until);
        match answer {
            Ok(end) => Word::Ended(Exit {
                pid: end.pid,
                exit_status: end.exit_status,
                exited_at_ns: end.exited_at_ns,
            }),
            Err(client::AskError::Status { code: NOT_FOUND, .. }) => Word::Unknown,
            Err(error @ client::AskError::Status { .. }) => Word::Could(self.say(&error)),
            Err(error @ (client::AskError::Silent(_) | client::AskError::Malformed)) => {
                Word::Unreachable(self.say(&error))
            }
            Err(error) => self.await_end(place, &error),
        }
    }

    /// A guard that no longer serves ends in a moment. One that has gone but for the last events, which it keeps
    /// for a containerd that comes back, is as good as dead.
    fn await_end(&self, place: &Place, error: &client::AskError) -> Word {
        let Some(guard) = self.learn(place).guard.and_then(|guard| guard.open().ok()) else {
            return Word::Dead;
        };
        let until = (Instant::now() + CLOSING).min(self.deadline - Duration::from_millis(900));
        while !guard.wait(until.min(Instant::now() + LOOK)) {
            if !place.is_left() {
                return Word::Dead;
            }
            if Instant::now() >= until {
                return Word::Unreachable(self.say(error));
            }
        }
        Word::Dead
    }

    fn say(&self, error: &client::AskError) -> String {
        format!("container {}: the guard: {error}", self.target.id)
    }

    fn learn(&self, place: &Place) -> Record {
        let Target { namespace, id, .. } = &self.target;
        recovery::reconstruct(place, namespace, &self.sandbox, id, self.bundle())
    }

    /// The guard is dead: end its sandbox here. What is not done in time is the rest.
    fn by_own_hands(&self, place: &Place) -> (Answer, Option<Rest>) {
        let mut record = self.learn(place);
        // What tells goes with the bundle, as soon as this is answered.
        let resources = recovery::resources(&record);
        let (sequence, patience) = (recovery::sequence(place), recovery::patience(self.deadline - MARGIN));
        let left = recovery::cleanup_by(&sequence, &mut record, place, patience, &Nobody);
        let exit = record.member(&self.target.id).and_then(|member| member.exit);
        let note = (!left.is_empty())
            .then(|| format!("container {}: left behind: {}", self.target.id, left.join("; ")));
        let rest = (!left.is_empty()).then(|| Rest { record, place: place.clone(), sequence, resources });
        (Answer { exit: exit.unwrap_or_else(|| Exit::killed(0)), note }, rest)
    }

    /// The answer of a container of which nothing is left. That of the last one also needs that its guard has gone
    /// and taken all with it.
    fn settled(&self, place: &Place) -> Option<Answer> {
        let record = Record::load(self.bundle())?;
        let member = record.member(&self.target.id).filter(|member| member.released)?;
        let exit = member.exit.unwrap_or_else(|| Exit::killed(member.pid));
        let last = record.is_released() && place.is_left();
        (!last).then(|| self.swept(Answer { exit, note: None }))
    }

    /// The answer of a container that is gone, as far as runsc knew.
    fn swept(&self, answer: Answer) -> Answer {
        let (id, bundle) = (self.target.id.clone(), self.bundle().to_owned());
        held::sweep_cgroups(&Member::new(id, bundle));
        answer
    }

    /// From what is written down, released or not.
    fn answer(&self, note: Option<String>) -> Answer {
        let record = Record::load(self.bundle());
        let member = record.as_ref().and_then(|record| record.member(&self.target.id));
        let pid = member.map_or(0, |member| member.pid);
        let exit = member.and_then(|member| member.exit).unwrap_or_else(|| Exit::killed(pid));
        Answer { exit, note }
    }
}
