//! One run of `delete`: what the record or a living guard tells, and otherwise the end of the sandbox by its own hands.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use runsc_guard_proto::guard::{EndRequest, EndResponse};

use super::reply::{Answer, MARGIN};
use crate::cli::Target;
use runsc_guard_node::bundle::{Exit, Record};
use runsc_guard_node::client;
use runsc_guard_node::gc;
use runsc_guard_node::lock::{Lock, LockError};
use runsc_guard_node::params;
use runsc_guard_node::paths::Place;
use runsc_guard_node::recovery;
use runsc_guard_sandbox::Member;
use runsc_guard_sandbox::resources::held::{self, Resources};
use runsc_guard_sandbox::teardown::sequence::{Nobody, Sequence};

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
/// `NOT_FOUND`: the guard never had it (proto/guard.proto).
const NOT_FOUND: i32 = 5;

/// One container that `delete` was run for.
pub(super) struct Worker {
    pub(super) target: Target,
    pub(super) sandbox: String,
    pub(super) deadline: Instant,
}

/// What is left of a sandbox when `delete` has to answer.
pub(super) struct Rest {
    record: Record,
    place: Place,
    sequence: Sequence,
    resources: Resources,
}

impl Rest {
    pub(super) fn new(record: Record, place: &Place) -> Self {
        let (sequence, resources) = (recovery::sequence(place), recovery::resources(&record));
        Self { record, place: place.clone(), sequence, resources }
    }

    /// containerd has its answer and forgets the sandbox: nobody else comes back for it. A `start` of the same id may
    /// want the lock meanwhile; when there is a guard again, all is that one's. A new one has not said which process it is
    /// when `start` lets the lock go.
    pub(super) fn go_on(mut self) {
        let until = Instant::now() + GOES_ON;
        while Instant::now() < until {
            let Ok(lock) = Lock::take(&self.place.lock, Instant::now() + AGAIN) else { continue };
            let is_another =
                !matches!(params::guard_of(&self.place, None), Ok(None)) || gc::is_served(&self.place.folder);
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
    pub(super) fn without_lock(&self, place: &Place) -> Option<Answer> {
        // Who was killed amid the last steps has left its lock: whoever takes it next removes it.
        let settled = || self.settled(place).filter(|_| !place.lock.exists());
        // A guard on its way out removes its things itself.
        settled().or_else(|| self.by_guard(place)).or_else(settled)
    }

    pub(super) fn with_lock(&self, place: &Place) -> (Answer, Option<Rest>) {
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
        let known = params::guard_of(place, self.learn(place).guard);
        let guard = match known.and_then(|guard| guard.map(|guard| guard.open()).transpose()) {
            Ok(Some(guard)) => guard,
            Ok(None) => return Word::Dead,
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Word::Dead,
            // Any other reason than that it is gone proves nothing.
            Err(_) => return Word::Unreachable(self.say(error)),
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
        // What tells goes with the bundle, as soon as this is answered.
        let mut rest = Rest::new(self.learn(place), place);
        let patience = recovery::patience(self.deadline - MARGIN);
        let left = recovery::cleanup_by(&rest.sequence, &mut rest.record, place, patience, &Nobody);
        let exit = rest.record.member(&self.target.id).and_then(|member| member.exit);
        let note = (!left.is_empty())
            .then(|| format!("container {}: left behind: {}", self.target.id, left.join("; ")));
        let answer = Answer { exit: exit.unwrap_or_else(|| Exit::killed(0)), note };
        (answer, (!left.is_empty()).then_some(rest))
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
