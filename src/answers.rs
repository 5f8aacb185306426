//! What a caller is answered where the real shim has not: from the record, or that it takes longer.

use alloc::string::ToString;

use crate::error::GuardError;
use crate::escalation::cost::Cost;
use crate::escalation::deadlines::latest_end;
use crate::inflight::{Kind, PendingRequest};
use crate::io::{Answer, ProcessId};
use crate::phase::Phase;
use crate::policy::budgets;
use crate::state::State;
use crate::task::{Effect, SIGKILL};
use crate::time::Time;

/// The answer that the table gives for a late request of this kind.
pub(crate) fn late(state: &State, kind: Kind, process: &ProcessId, since: Time) -> Answer {
    let (method, id, waited) = (kind.method(), process.to_string(), state.now() - since);
    let late = || Answer::Error(GuardError::Late { method, id: id.clone(), waited });
    let ended = state.tasks.get(process).is_some_and(|process| process.has_ended());
    match kind {
        Kind::State => state_of(state, process).unwrap_or_else(late),
        Kind::Pids => pids_of(state, &process.container).unwrap_or_else(late),
        Kind::Stats | Kind::KillEnded if ended => Answer::Error(GuardError::Finished(id)),
        Kind::Kill(signal) if signal != SIGKILL || ended => Answer::Done,
        Kind::Kill(_) | Kind::Delete | Kind::End => pending(state, kind, process, since),
        Kind::Shutdown => {
            let id = state.sandbox.clone();
            Answer::Error(GuardError::Ending { method, id, why: "is still being released by the guard" })
        }
        Kind::Create
        | Kind::Start
        | Kind::Exec
        | Kind::Stats
        | Kind::Wait
        | Kind::KillEnded
        | Kind::Greeting
        | Kind::Plain(_) => late(),
    }
}

/// The answer to a SIGKILL or Delete that has had no effect so far.
pub(crate) fn pending(state: &State, kind: Kind, process: &ProcessId, since: Time) -> Answer {
    let (method, id, waited) = (kind.method(), process.to_string(), state.now() - since);
    let known = state.tasks.get(process);
    let mut running =
        Effect::BOTH.into_iter().filter_map(|effect| Some((effect, known?.deadlines.of(effect)?)));
    let is_kill = kind == Kind::Kill(SIGKILL);
    let alone = !is_kill && Cost::of(state, process, Effect::Deletion) == Cost::Itself;
    let latest = match (state.phase(), running.next()) {
        (Phase::Unkillable(_, stuck), _) => return Answer::Error(stuck.error_for(method, &id)),
        (Phase::Ending(_), _) => Some(state.now() + budgets::TOTAL),
        (_, Some((effect, deadline))) => latest_end(state, process, effect, &deadline),
        // Its deadline was stopped by an answer that was no success: nothing is under way.
        (_, None) => return Answer::Error(GuardError::Late { method, id, waited }),
    };
    Answer::Error(match latest.map(|latest| latest - state.now()) {
        Some(ends_in) if alone => GuardError::Releasing { id, waited, ends_in },
        Some(ends_in) => GuardError::Pending { method, id, waited, ends_in },
        None if !process.is_init() => GuardError::ExecPending { method, id, waited },
        None => GuardError::PendingForever { method, id, waited },
    })
}

/// The state of a process as the record has it.
pub(crate) fn state_of(state: &State, id: &ProcessId) -> Option<Answer> {
    let process = state.tasks.get(id)?;
    let mut about = process.about().clone();
    if !id.is_init() {
        about.bundle.clone_from(&state.tasks.container(&id.container)?.init.about().bundle);
    }
    let (status, pid, exit) = (process.status(), process.pid(), process.exit());
    Some(Answer::State { process: id.clone(), about, status, pid, exit })
}

/// The pids of a container as the record has them: the sentry's, as long as it is not known to be gone.
pub(crate) fn pids_of(state: &State, container: &str) -> Option<Answer> {
    let init = &state.tasks.container(container)?.init;
    let gone = init.has_ended() || init.pid() == 0;
    Some(Answer::Pids(if gone { Default::default() } else { [init.pid()].into() }))
}

/// Answers a Create that hung and was torn down.
pub(crate) fn refuse_create(state: &mut State, process: &ProcessId, stuck: &str) {
    let wanted = |request: &PendingRequest| request.kind == Kind::Create && request.process == *process;
    state.reply_each(wanted, |state, request| {
        let (id, waited) = (process.to_string(), state.now() - request.since);
        Answer::Error(GuardError::CreateStuck { id, waited, stuck: stuck.into() })
    });
}
