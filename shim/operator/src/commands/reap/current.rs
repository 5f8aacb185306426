//! Whether the plan is still about what is there. Between the look and the end an operator thinks, or a second look is
//! taken; meanwhile the sandbox may end, and another one get its id and its guard's socket. That one was not meant.

use anyhow::{Context as _, Result, bail};
use runsc_guard_node::gc;
use runsc_guard_node::params;
use runsc_guard_sandbox::processes::process::{Process, Role};
use runsc_guard_sandbox::sys::identity::Identity;

use super::plan::Plan;
use crate::survey::guards;
use crate::survey::model::Found;
use crate::survey::scope::processes;

/// Fails unless what would be ended was seen when the plan was made. To be asked with the sandbox's lock, without which no
/// guard is started or replaced.
pub(super) fn ensure_current(plan: &Plan) -> Result<()> {
    let found = &plan.sandbox.found;
    match changed(found, guard(found)?, newborn(plan)) {
        Some(why) => bail!("{why}; nothing was done, look again"),
        None => Ok(()),
    }
}

/// A sentry of this id that has begun since the plan was made.
pub(super) fn newborn(plan: &Plan) -> Option<Identity> {
    let found = &plan.sandbox.found;
    let sentry = |process: &Process| {
        process.role == Role::Sentry && process.container().is_some_and(|id| id == found.id.as_str())
    };
    let mut now = processes(found).into_iter().filter(sentry).map(|process| process.identity);
    now.find(|identity| !plan.names(*identity))
}

/// The guard that there is now, or whatever serves in its place and has not said yet who it is.
enum Now {
    Nobody,
    Guard(Identity),
    Unnamed,
}

fn guard(found: &Found) -> Result<Now> {
    let named = match &found.place {
        Some(place) => params::guard_of(place, found.guard.task().map(|task| task.identity))
            .with_context(|| format!("cannot read {}", place.guard().display()))?,
        None => guards::living(&found.runsc_root, &found.id)?,
    };
    let is_served = || found.place.as_ref().is_some_and(|place| gc::is_served(&place.folder));
    Ok(match named {
        Some(guard) => Now::Guard(guard),
        None if is_served() => Now::Unnamed,
        None => Now::Nobody,
    })
}

/// What is not as it was seen. That a guard has died since makes no other sandbox of it.
fn changed(found: &Found, guard: Now, newborn: Option<Identity>) -> Option<String> {
    let id = &found.id;
    let seen = found.guard.task().map(|task| task.identity);
    match guard {
        Now::Guard(guard) if Some(guard) != seen => {
            return Some(format!("the guard {} of {id} was not there when it was looked at", guard.pid));
        }
        Now::Unnamed => return Some(format!("a guard of {id} is being started")),
        Now::Guard(_) | Now::Nobody => {}
    }
    if let Some(sentry) = &found.sentry
        && !sentry.identity.is_alive()
    {
        return Some(format!("the sentry of {id} has ended since it was looked at"));
    }
    newborn.map(|sentry| format!("the sentry {} of {id} was not there when it was looked at", sentry.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::Guard;
    use crate::survey::model::tests::found;

    #[test]
    fn only_who_was_seen_is_ended() {
        let (me, mut one) = (Identity::me().unwrap(), found("web"));
        let other = Identity { pid: me.pid, start_time: me.start_time + 1 };
        one.sentry.as_mut().unwrap().identity = me;
        let why = |one: &Found, guard: Now, newborn| changed(one, guard, newborn).unwrap_or_default();
        assert_eq!(why(&one, Now::Nobody, None), "");
        assert!(why(&one, Now::Guard(me), None).contains("was not there"), "it had none");
        assert!(why(&one, Now::Unnamed, None).contains("being started"));
        assert!(why(&one, Now::Nobody, Some(other)).contains("was not there"));
        one.guard = Guard::Silent(one.sentry.clone().unwrap(), String::new());
        assert_eq!(why(&one, Now::Guard(me), None), "");
        assert_eq!(why(&one, Now::Nobody, None), "", "it has died since");
        assert!(why(&one, Now::Guard(other), None).contains("was not there"));
        one.guard = Guard::Dead;
        assert!(why(&one, Now::Guard(me), None).contains("was not there"));
        one.sentry.as_mut().unwrap().identity = other;
        assert!(why(&one, Now::Nobody, None).contains("has ended"));
        one.sentry = None;
        assert_eq!(why(&one, Now::Nobody, None), "");
        assert!(why(&one, Now::Nobody, Some(me)).contains("was not there"), "it had none");
    }
}
