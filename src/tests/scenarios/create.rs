//! Create that never returns.

use crate::error::{Code, GuardError};
use crate::io::{Answer, Cause, Request, Step};
use crate::policy::Policy;
use crate::tests::fake::{Does, at, ms};
use crate::tests::kernel::{Lasts, any_kill_create, kill_create};
use crate::tests::on;
use crate::tests::world::{World, create, delete, init, sigkill, state};

#[test]
fn a_stuck_root_is_torn_down_whole() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Hang);
    let id = world.ask(create("root"));
    world.run(ms(92_000));
    assert_eq!(world.steps(), [kill_create("root"), Step::KillAll, Step::Release]);
    assert_eq!(world.wedge().unwrap().1, Cause::CreateStuck("root".into()));
    let GuardError::CreateStuck { stuck, .. } = world.error(id) else { panic!() };
    assert_eq!(stuck, "pipe_read");
    assert_eq!(world.code(id), Code::DeadlineExceeded);
    assert!(world.guard.record().is_empty());
    assert!(world.guard.is_released());
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.ledger.quit);
    assert!(world.published(&init("root")).is_empty());
}

#[test]
fn a_stuck_member_is_torn_down_alone() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Hang);
    let id = world.ask(create("sidecar"));
    let wait = world.ask(Request::Wait(init("sidecar")));
    world.run(ms(92_000));
    assert_eq!(world.steps(), [kill_create("sidecar")]);
    assert!(matches!(world.error(id), GuardError::CreateStuck { .. }));
    assert!(world.ledger.answers.contains_key(&wait));
    assert_eq!(world.guard.record().len(), 2);
    world.does(on::CREATE, Does::Work(ms(1)));
    world.started("sidecar");
    world.relayed(sigkill("sidecar"));
    world.relayed(delete("sidecar"));
}

/// One that was asked for later has its own time.
#[test]
fn the_first_of_two_that_are_stuck_is_torn_down_first() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Never);
    world.ask(create("sidecar"));
    world.run(ms(30_000));
    world.ask(create("later"));
    world.run(ms(61_000));
    assert_eq!(world.steps(), [kill_create("sidecar")]);
}

#[test]
fn an_old_create_that_returns_late_does_not_speak_for_a_new_one() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Never);
    let first = world.ask(create("sidecar"));
    let old = *world.ledger.in_flight.last().unwrap();
    world.run(ms(91_000));
    assert!(matches!(world.error(first), GuardError::CreateStuck { .. }));
    let second = world.ask(create("sidecar"));
    world.run(ms(1_000));
    // It was on its way when it was given up.
    world.handle(crate::io::Input::Returned(old, crate::io::Outcome::Failed { not_found: false }));
    assert_eq!(world.guard.record().len(), 3);
    world.run(ms(90_000));
    assert!(matches!(world.error(second), GuardError::CreateStuck { .. }));
}

#[test]
fn a_short_caller_has_its_answer_and_the_real_shim_its_timeout() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Hang);
    let id = world.ask_within(create("root"), Some(ms(10_000)));
    world.run(ms(11_000));
    assert_eq!(world.took(id), ms(9_800));
    assert_eq!(world.code(id), Code::DeadlineExceeded);
    // The real shim has killed its runsc itself, and nothing is left to be torn down.
    assert!(world.guard.record().is_empty());
    world.untouched();
}

#[test]
fn a_kill_or_delete_of_what_is_being_created_tears_that_down() {
    for (request, deadline) in [(sigkill("sidecar"), 10_000), (delete("sidecar"), 2_500)] {
        let mut world = World::pod();
        world.does(on::CREATE, Does::Hang);
        world.step(any_kill_create(), Lasts::For(ms(600)));
        let began = world.now;
        let creating = world.ask(create("sidecar"));
        let ending = world.ask(request);
        world.run(ms(12_000));
        assert_eq!(world.steps(), [kill_create("sidecar")]);
        assert_eq!(world.ledger.steps[0].0 - began, ms(deadline));
        assert!(matches!(world.error(creating), GuardError::CreateStuck { .. }));
        assert!(world.ledger.answers.contains_key(&ending));
        assert_eq!(world.guard.record().len(), 2);
    }
}

#[test]
fn a_teardown_that_does_not_come_back_keeps_nobody_waiting() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Never);
    world.step(any_kill_create(), Lasts::Forever);
    let creating = world.ask(create("sidecar"));
    let ending = world.ask(delete("sidecar"));
    world.run(ms(200_000));
    assert_eq!(world.code(creating), Code::DeadlineExceeded);
    assert_eq!(world.code(ending), Code::DeadlineExceeded);
}

#[test]
fn a_create_whose_connection_is_lost_keeps_its_deadline() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Lose(ms(5)));
    let id = world.ask(create("root"));
    world.run(ms(95_000));
    assert!(matches!(world.error(id), GuardError::CreateStuck { .. }));
    assert_eq!(world.wedge().unwrap().0, at(90_050));
}

#[test]
fn a_second_create_of_a_living_id_is_the_real_shims_to_judge() {
    let mut world = World::alone();
    world.does(on::CREATE, Does::Fail(ms(1)));
    world.relayed(create("root"));
    assert_eq!(world.guard.record().len(), 1);
}

/// Killed or not, a Create that the real shim does not give up keeps its one lock.
#[test]
fn a_create_that_was_torn_down_holds_up_nobody() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Never);
    let create = world.ask(create("sidecar"));
    world.abandon(create);
    world.ask(delete("sidecar"));
    world.run(ms(3_000));
    assert_eq!(world.ledger.kills(), 1);
    world.relayed(state("app"));
    world.exec("app", "e");
}
