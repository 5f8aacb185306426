//! The guard in simulated time: two minutes of hanging cost microseconds.
//!
//! # How to read a core test
//!
//! A [`World`](world::World) is a guard and what is around it: a fake containerd that asks (`world.ask`), a fake real
//! shim and sandbox that answer (`fake`), a fake kernel that takes the guard's steps (`kernel`), and a clock that jumps
//! to whatever is due next (`world.run`). Nothing waits: `world.run(an_hour)` returns at once.
//!
//! Each test has three parts. *Before*: a world ([`alone`](world::World::alone), one container `root`;
//! [`pod`](world::World::pod), `root` and `app`; [`siblings`](world::World::siblings), `side` besides) and what is wrong
//! with it: `world.does(on::DELETE, Does::Hang)` is a real shim whose Delete hangs, `world.stop_sentry()` a sentry that
//! answers nothing, `world.step(Step::KillAll, Lasts::Forever)` a step that does not come back. *What happens*: requests,
//! exits, events, time. *After*: what was answered and when, which steps were taken, which exits were published.
//!
//! What must hold in *every* test stands in none of them: `ledger` checks each output as it comes, and panics for a
//! request that is answered twice or too late, an exit that is published twice, a healthy sandbox that is touched;
//! `world.handle` that a timer is set as long as anything is open, and that the table of timers is what a scan of all
//! deadlines finds (`scan`). `invariants` sends random sequences through the same world.
//!
//! Times are those of the policy (`times`); `ms` is for what has no name there, such as how long a disk is slow.
//!
//! [`an_example`] is such a test with its parts named.
#![allow(clippy::unwrap_used)]

mod checks;
mod fake;
mod happenings;
mod inspect;
mod invariants;
mod kernel;
mod ledger;
mod on;
mod requests;
mod scan;
mod scenarios;
mod seen;
mod times;
mod world;

/// A SIGKILL that is acknowledged and has no effect: gVisor's `Kernel.WaitExited`, which this project is about.
#[test]
fn an_example() {
    use crate::io::{Request, Step};
    use fake::{Does, ms};
    use world::{World, init, sigkill};

    // Before: one container that was started, and a real shim that acknowledges a SIGKILL without killing anything.
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let wait = world.ask(Request::Wait(init("root")));
    let asked = world.now;

    // What happens: the SIGKILL. `relayed` is for a request that gets the real shim's own answer at once.
    world.relayed(sigkill("root"));

    // After: until its deadline the sandbox is left alone, and Wait is not answered ...
    world.run(asked + times::KILL - world.now - ms(1));
    world.untouched();
    assert_eq!(world.answer(wait), None);
    // ... at its deadline the escalation begins, ...
    world.run(ms(1));
    assert_eq!(world.steps(), [Step::Diagnose]);
    // ... and two seconds later the sandbox is gone, its exit told and published, once.
    world.run(crate::policy::budgets::TOTAL);
    assert_eq!(world.steps(), [Step::Diagnose, Step::KillSandbox, Step::KillAll, Step::Release]);
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
    assert!(world.guard.is_released());
}
