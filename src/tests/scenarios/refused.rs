//! What was refused before a container started.

use crate::io::{Answer, Request};
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill};

/// Before 2026-08 gVisor refuses to kill what was created and not started; it can be started all the same, and a
/// sandbox that does what it is told is not touched. (Found by the random sequences.)
#[test]
fn a_sigkill_that_was_refused_before_the_start_ends_nothing() {
    for pause in [0, 5, 5_000] {
        let mut world = World::pod();
        world.fakes.destroys = false;
        world.ask(create("sidecar"));
        let kill = world.ask(sigkill("sidecar"));
        world.run(ms(pause));
        let start = world.ask(Request::Start(init("sidecar")));
        world.run(ms(300_000));
        assert_eq!((world.answer(kill), world.answer(start)), (Some(Answer::Relay), Some(Answer::Relay)));
        world.untouched();
        assert!(world.wedge().is_none(), "{:?}", world.ledger.notes);
        world.does(on::SIGKILL, Does::Nothing(ms(5)));
        let began = world.now;
        world.relayed(sigkill("sidecar"));
        world.relayed(sigkill("app"));
        world.run(ms(20_000));
        assert_eq!(world.wedge().unwrap().0 - began, times::KILL, "asked for again it counts");
    }
}

/// The two answers may pass each other.
#[test]
fn a_refusal_that_is_read_after_the_start_ends_nothing_either() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.does(on::SIGKILL, Does::Fail(ms(20)));
    world.ask(sigkill("sidecar"));
    world.run(ms(1));
    world.relayed(Request::Start(init("sidecar")));
    world.run(ms(300_000));
    world.untouched();
}

#[test]
fn a_sigkill_that_is_refused_while_it_runs_has_its_deadline() {
    let mut world = World::pod();
    world.started("sidecar");
    world.does(on::SIGKILL, Does::Fail(ms(20)));
    world.ask(sigkill("sidecar"));
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert!(world.wedge().is_some());
}

/// What `delete` has asked for is to end, started meanwhile or not.
#[test]
fn an_end_that_was_refused_before_the_start_is_still_owed() {
    let mut world = World::pod();
    world.fakes.destroys = false;
    world.ask(create("sidecar"));
    let end = world.ask(Request::End("sidecar".into()));
    world.ask(Request::Start(init("sidecar")));
    world.run(ms(1_000));
    assert_eq!(world.exit_of(end).status, 137);
    world.untouched();
}

/// A Delete that was refused before the start is over, too.
#[test]
fn a_delete_that_was_refused_before_the_start_ends_nothing() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.does(on::DELETE, Does::Fail(ms(1)));
    world.relayed(delete("sidecar"));
    world.relayed(Request::Start(init("sidecar")));
    world.run(ms(900_000));
    assert_eq!(world.steps(), []);
}
