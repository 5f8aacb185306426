//! A node that goes down (rule 10).

use std::vec::Vec;

use crate::error::GuardError;
use crate::exit::Exit;
use crate::io::{Answer, Note, Request, Step};
use crate::policy::{LEAVES_WITHIN, SIGN_WITHIN};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Lasts;
use crate::tests::on;
use crate::tests::world::{World, delete, init, sigkill, state};

/// Nothing was called a wedge, and the guard has gone in time.
#[track_caller]
fn went_quietly(world: &World, since: crate::time::Time) {
    assert!(world.wedge().is_none(), "{:?}", world.ledger.notes);
    assert!(world.ledger.quit && world.now - since <= LEAVES_WITHIN, "{:?}", world.guard);
    assert!(world.ledger.open.is_empty(), "{:?}", world.ledger.open);
}

#[test]
fn a_node_that_goes_down_ends_its_pods_at_once_and_no_hang_is_reported() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    let waits = [init("root"), init("app"), exec].map(|id| world.ask(Request::Wait(id)));
    let since = world.now;
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    went_quietly(&world, since);
    let steps: Vec<_> = world.ledger.steps.iter().map(|(_, step)| step.clone()).collect();
    assert_eq!(steps, [Step::KillAll, Step::Release]);
    for wait in waits {
        assert!(matches!(world.answer(wait), Some(Answer::Waited(Exit { status: 137, .. }))));
    }
    assert!(world.guard.record().iter().all(|one| one.exit.is_some()), "`delete` tells them from the record");
    assert!(world.ledger.notes.iter().any(|(_, note)| *note == Note::NodeGoesDown));
}

#[test]
fn a_wedged_pod_goes_down_with_its_node_as_quickly() {
    let mut world = World::pod();
    world.stop_sentry();
    let kill = world.ask(sigkill("root"));
    world.run(ms(3_000));
    let since = world.now;
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    went_quietly(&world, since);
    assert_eq!(world.answer(kill), Some(Answer::Done));
}

#[test]
fn an_escalation_that_has_begun_is_shortened_to_its_end() {
    let mut world = World::alone();
    world.stop_sentry();
    world.step(Step::Diagnose, Lasts::Forever);
    world.ask(sigkill("root"));
    world.run(ms(10_010));
    assert_eq!(world.ledger.steps.len(), 1);
    let since = world.now;
    world.node_goes_down();
    world.run(ms(150));
    assert!(world.ledger.quit && world.now - since < LEAVES_WITHIN);
    assert_eq!(world.ledger.exits(&init("root")), 1);
}

/// systemd waits for the guard; what is stuck in the kernel is not in its power.
#[test]
fn what_cannot_be_killed_does_not_hold_up_a_node() {
    let mut world = World::alone();
    world.fakes.unkillable = Vec::from(["pid 7, state D".into()]);
    let wait = world.ask(Request::Wait(init("root")));
    let asked = world.ask(delete("root"));
    let since = world.now;
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    went_quietly(&world, since);
    for request in [wait, asked] {
        assert!(matches!(world.answer(request), Some(Answer::Error(GuardError::Ending { .. }))));
    }
    assert_eq!(world.ledger.exits(&init("root")), 0, "no end is told that is not so");
    assert!(!world.guard.is_released());
}

#[test]
fn what_was_found_unkillable_before_is_left_at_once() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = Vec::from(["pid 7, state D".into()]);
    world.ask(sigkill("root"));
    world.run(ms(20_000));
    assert!(world.guard.stuck().is_some());
    world.node_goes_down();
    assert!(world.ledger.quit && !world.guard.is_released());
}

#[test]
fn steps_that_do_not_return_are_given_up() {
    for step in [Step::KillAll, Step::Release] {
        let mut world = World::pod();
        world.step(step.clone(), Lasts::Forever);
        let asked = world.ask(Request::Wait(init("app")));
        let since = world.now;
        world.node_goes_down();
        world.run(LEAVES_WITHIN);
        went_quietly(&world, since);
        assert!(world.answer(asked).is_some(), "{step:?}");
    }
}

#[test]
fn a_guard_on_its_way_out_or_with_an_ended_sandbox_goes_too() {
    let mut world = World::alone();
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(20_000));
    assert!(world.guard.is_released() && !world.ledger.quit, "nobody has deleted it");
    world.node_goes_down();
    assert!(world.ledger.quit);

    let mut world = World::alone();
    world.does(on::SHUTDOWN, Does::Never);
    world.relayed_within(sigkill("root"), ms(10));
    world.ask(delete("root"));
    world.run(ms(100));
    let shutdown = world.ask(Request::Shutdown);
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    assert!(world.ledger.quit);
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
}

#[test]
fn a_guard_of_nothing_yet_goes_too() {
    let mut world = World::new(Default::default());
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    assert!(world.ledger.quit);
}

/// All are sent SIGTERM in one moment, and containerd takes a while to go.
#[test]
fn a_real_shim_that_leaves_first_is_no_wedge_where_the_node_follows() {
    let mut world = World::pod();
    world.shim_leaves();
    world.run(SIGN_WITHIN - ms(100));
    assert_eq!(world.ledger.kills(), 0);
    let since = world.now;
    world.node_goes_down();
    world.run(LEAVES_WITHIN);
    went_quietly(&world, since);
}

#[test]
fn a_real_shim_that_leaves_a_running_node_is_missed() {
    let mut world = World::pod();
    let wait = world.ask(Request::Wait(init("app")));
    let asked = world.ask(state("app"));
    world.shim_leaves();
    world.run(SIGN_WITHIN + ms(500));
    assert!(world.wedge().is_some());
    assert!(matches!(world.answer(wait), Some(Answer::Waited(Exit { status: 137, .. }))));
    assert!(world.answer(asked).is_some());
    assert!(!world.ledger.quit, "containerd has not collected the exits");
}
