//! Steps that do not come back: each has a limit, after which the state is said, and nothing waits for it.

use crate::error::{Code, GuardError};
use crate::io::{Note, Request, Step};
use crate::policy::{FREE_AGAIN_AFTER, Policy};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Lasts, any_kill_create, kill_create};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, sigterm};

const HOUR: u64 = 3_600_000;

fn killed_in_vain() -> World {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.reports = false;
    world.step(Step::KillAll, Lasts::Forever);
    world.ask(sigkill("root"));
    world.run(ms(11_000));
    world
}

#[test]
fn killing_that_does_not_come_back_is_said_and_tried_again() {
    let mut world = killed_in_vain();
    world.run(ms(HOUR));
    assert!(world.guard.poll_timeout().is_some(), "an hour later a timer is set");
    for request in [sigkill("root"), sigterm("root"), delete("root"), Request::Shutdown] {
        let id = world.ask(request);
        let GuardError::Unkillable { left, .. } = world.error(id) else { panic!("{:?}", world.error(id)) };
        assert!(left[0].contains("has not come back"), "{left:?}");
        assert_eq!(world.code(id), Code::FailedPrecondition);
    }
    let tries = world.steps().iter().filter(|step| **step == Step::KillAll).count();
    assert!((5..20).contains(&tries), "{tries}");
    assert!(world.published(&init("root")).is_empty());
    world.step(Step::KillAll, Lasts::For(ms(50)));
    world.run(ms(HOUR));
    assert_eq!(world.published(&init("root")), [137]);
    assert!(world.guard.is_released());
    assert_eq!(world.guard.poll_timeout(), None);
}

#[test]
fn what_comes_back_late_is_taken_at_its_word() {
    let mut world = killed_in_vain();
    world.run(ms(20_000));
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.step(Step::KillAll, Lasts::For(ms(50)));
    world.run(ms(30_000));
    let id = world.ask(delete("root"));
    let GuardError::Unkillable { left, .. } = world.error(id) else { panic!() };
    assert_eq!(left, ["pid 7 state D"]);
    world.stuck_die();
    world.run(ms(2_000));
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn killing_that_does_not_come_back_on_the_way_out_refuses_shutdown() {
    let mut world = World::alone();
    world.relayed(sigkill("root"));
    world.relayed(delete("root"));
    world.step(Step::KillAll, Lasts::Forever);
    let first = world.ask(Request::Shutdown);
    world.run(ms(12_000));
    assert_eq!(world.code(first), Code::FailedPrecondition);
    world.step(Step::KillAll, Lasts::For(ms(50)));
    world.run(FREE_AGAIN_AFTER + ms(2_000));
    assert!(world.ledger.quit);
}

#[test]
fn the_teardown_of_a_create_that_does_not_come_back_disables_no_clock() {
    let mut world = World::siblings();
    world.does(on::CREATE, Does::Never);
    world.does(on::SIGKILL, Does::Never);
    world.step(any_kill_create(), Lasts::Forever);
    let creating = world.ask(create("late"));
    let began = world.now;
    world.ask(sigkill("late"));
    world.run(ms(30_000));
    assert!(matches!(world.error(creating), GuardError::CreateStuck { .. }));
    world.untouched_but_for_create();
    world.run(ms(400_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took >= times::HARD_LIMIT && took <= ms(400_000), "{took:?}");
}

#[test]
fn a_roots_create_whose_teardown_does_not_come_back_is_killed_whole() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Never);
    world.step(any_kill_create(), Lasts::Forever);
    let id = world.ask(create("root"));
    world.run(ms(110_000));
    assert!(world.ledger.answers.contains_key(&id));
    assert_eq!(world.steps(), [kill_create("root"), Step::KillAll, Step::Release]);
    assert!(world.guard.is_released());
}

#[test]
fn freeing_that_does_not_come_back_is_said() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.step(Step::Unblock, Lasts::Forever);
    world.ask(sigkill("root"));
    world.run(ms(30_000));
    let id = world.ask(delete("root"));
    let GuardError::Unkillable { left, .. } = world.error(id) else { panic!() };
    assert!(left.len() == 2 && left[1].contains("has not come back"), "{left:?}");
    assert!(world.ledger.notes.iter().any(|(_, note)| matches!(note, Note::Unkillable(_))));
}
