//! The way out: Shutdown and Join.

use crate::error::Code;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use crate::io::{Answer, Note, Request, Step};
use crate::policy::{Policy, budgets};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Lasts;
use crate::tests::on;
use crate::tests::world::{World, create, delete, init, sigkill, state};

fn emptied() -> World {
    let mut world = World::alone();
    world.relayed(sigkill("root"));
    world.relayed(delete("root"));
    world
}

#[test]
fn shutdown_is_not_passed_on_while_containers_remain() {
    let mut world = World::pod();
    world.relayed(sigkill("app"));
    world.relayed(delete("app"));
    let id = world.ask(Request::Shutdown);
    assert_eq!(world.answer(id), Some(Answer::Done));
    world.run(ms(60_000));
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Shutdown)), 0);
    assert!(world.ledger.listening);
}

#[test]
fn a_reserved_place_keeps_the_guard() {
    let mut world = World::alone();
    let join = world.ask(Request::Join("app".into()));
    assert_eq!(world.answer(join), Some(Answer::Done));
    world.relayed(sigkill("root"));
    world.relayed(delete("root"));
    let id = world.ask(Request::Shutdown);
    assert_eq!(world.answer(id), Some(Answer::Done));
    world.run(ms(60_000));
    assert!(!world.ledger.quit);
    world.relayed(create("app"));
    world.relayed(sigkill("app"));
    // A container whose `start` came to nothing gives its place back through `delete`.
    world.ask(Request::Join("other".into()));
    let end = world.ask(Request::End("other".into()));
    assert_eq!(world.code(end), Code::NotFound);
    assert!(!world.ledger.quit);
}

/// containerd was killed between `start` and Create, and what came back does not ask.
#[test]
fn a_guard_whose_first_container_never_comes_leaves() {
    let mut world = World::new(Policy::default());
    world.run(ms(119_000));
    assert!(world.ledger.listening);
    // One more `start` has the same time.
    world.ask(Request::Join("app".into()));
    world.run(ms(119_000));
    assert!(world.ledger.listening);
    world.run(ms(2_000));
    assert!(world.ledger.quit);
    assert_eq!(world.ledger.kills(), 1);
}

/// Only what is left is worth a word.
#[test]
fn a_quiet_end_is_not_told() {
    for left in [Vec::new(), vec!["a mount".to_string()]] {
        let mut world = emptied();
        world.fakes.leftover = left.clone();
        world.ask(Request::Shutdown);
        world.run(ms(4_000));
        assert!(world.ledger.quit);
        let told = world.ledger.notes.iter().filter(|(_, note)| matches!(note, Note::Ended { .. }));
        assert_eq!(told.count(), left.len(), "{left:?}");
    }
}

/// The place of a member that never came holds no pod's guard, once the pod is gone; and one that comes late finds it.
#[test]
fn a_place_that_nobody_took_keeps_no_guard() {
    for late in [true, false] {
        let mut world = World::alone();
        world.ask(Request::Join("app".into()));
        world.run(ms(600_000));
        assert!(world.ledger.listening);
        if late {
            world.relayed(create("app"));
            world.relayed(delete("app"));
        }
        world.relayed(sigkill("root"));
        world.relayed(delete("root"));
        let shutdown = world.ask(Request::Shutdown);
        world.run(ms(130_000));
        assert_eq!(world.answer(shutdown), Some(Answer::Done));
        assert!(world.ledger.quit);
    }
}

/// containerd was killed between Delete and Shutdown, or told that Create had failed when it was gone.
#[test]
fn a_guard_that_has_lost_its_last_container_leaves_without_a_shutdown() {
    let mut world = emptied();
    world.run(ms(119_000));
    assert!(world.ledger.listening);
    world.run(ms(2_000));
    assert!(world.ledger.quit);
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Fail(ms(100)));
    world.ask(create("root"));
    world.run(ms(121_000));
    assert!(world.ledger.quit);
}

/// The real shim died before the first Create.
#[test]
fn a_guard_that_has_lost_its_real_shim_before_the_first_create_leaves() {
    let mut world = World::new(Policy::default());
    world.shim_dies();
    world.run(ms(121_000));
    assert!(world.ledger.quit);
}

#[test]
fn nobody_joins_a_guard_that_is_closing() {
    let mut world = emptied();
    world.does(on::SHUTDOWN, Does::Hang);
    world.ask(Request::Shutdown);
    assert!(!world.ledger.listening);
    for request in [Request::Join("app".into()), create("app")] {
        let id = world.ask(request);
        assert_eq!(world.code(id), Code::FailedPrecondition);
    }
    let state = world.ask(state("app"));
    assert_eq!(world.code(state), Code::NotFound);
    world.run(ms(2_000));
    assert!(world.ledger.quit);
}

#[test]
fn a_real_shim_that_does_not_go_is_killed_within_the_time() {
    for does in [Does::Hang, Does::Never, Does::Nothing(ms(5)), Does::Fail(ms(5)), Does::Lose(ms(5))] {
        let mut world = emptied();
        world.does(on::SHUTDOWN, does);
        world.step(Step::KillAll, Lasts::For(ms(390)));
        world.step(Step::Release, Lasts::Forever);
        let id = world.ask(Request::Shutdown);
        world.run(ms(2_000));
        assert_eq!(world.answer(id), Some(Answer::Done), "{does:?}");
        world.run(budgets::OVERLOAD);
        assert!(world.ledger.quit);
    }
}

#[test]
fn shutdown_after_a_forced_end_is_immediate() {
    let mut world = World::alone();
    world.shim_dies();
    world.run(ms(200));
    world.ask(delete("root"));
    let id = world.ask(Request::Shutdown);
    assert_eq!(world.took(id), ms(0));
    assert!(world.ledger.quit);
}

#[test]
fn a_stuck_process_at_the_end_refuses_shutdown_until_it_dies() {
    let mut world = emptied();
    world.fakes.unkillable = ["pid 9, state D".into()].into();
    let first = world.ask(Request::Shutdown);
    world.run(ms(2_000));
    assert_eq!(world.code(first), Code::FailedPrecondition);
    let second = world.ask(Request::Shutdown);
    assert_eq!(world.code(second), Code::FailedPrecondition);
    world.run(ms(3_600_000));
    assert!(!world.ledger.quit);
    world.stuck_die();
    world.run(ms(2_000));
    assert!(world.ledger.quit);
}

#[test]
fn what_still_waits_when_the_guard_ends_is_answered() {
    let mut world = emptied();
    world.does(on::STATS, Does::Never);
    world.does(on::SHUTDOWN, Does::Never);
    world.ask(Request::Stats("stranger".into()));
    world.ask(Request::Wait(init("stranger")));
    world.ask(Request::Shutdown);
    world.run(ms(10_000));
    assert!(world.ledger.quit);
    assert!(world.ledger.open.is_empty());
}

/// On a node that is so busy that release takes long, nobody waits for it, and it is not cut short.
#[test]
fn a_slow_release_is_waited_for_by_nobody_but_the_guard() {
    let mut world = emptied();
    world.step(Step::Release, Lasts::For(ms(2_000)));
    let shutdown = world.ask(Request::Shutdown);
    world.run(ms(1_500));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.took(shutdown) <= ms(700), "{:?}", world.took(shutdown));
    assert!(!world.ledger.quit, "what releases works in the guard's process");
    world.run(ms(1_000));
    assert!(world.ledger.quit);
}
