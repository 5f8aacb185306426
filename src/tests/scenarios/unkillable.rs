//! What SIGKILL does not end: state D.

use crate::error::Code;
use crate::io::{Answer, Request, Sentry, Status, Step};
use crate::policy::{FREE_AGAIN_AFTER, FREE_AGAIN_AFTER_AT_MOST, LOOK_AGAIN_AFTER, Policy};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Lasts, release_one};
use crate::tests::on;
use crate::tests::world::{World, create, delete, init, sigkill, sigterm};
use crate::time::Time;
use std::vec::Vec;

/// A container that a SIGKILL does not end.
fn stuck() -> World {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.ask(sigkill("root"));
    world.run(ms(12_000));
    world
}

fn attempts(world: &World) -> Vec<Time> {
    let frees = world.ledger.steps.iter().filter(|(_, step)| *step == Step::Unblock);
    frees.map(|(time, _)| *time).collect()
}

#[test]
fn what_cannot_be_killed_is_not_claimed_to_be_dead() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = ["pid 7, state D, in fuse_dev_do_read".into()].into();
    let wait = world.ask(Request::Wait(init("root")));
    let kill = world.ask(sigkill("root"));
    world.run(ms(12_000));
    assert_eq!(world.code(kill), Code::FailedPrecondition);
    assert_eq!(world.answer(wait), None);
    let state = world.ask(Request::State(init("root"), Sentry::Dead));
    assert_eq!(world.status_of(state), (Status::Running, None));
    for request in [sigkill("root"), sigterm("root"), delete("root"), Request::Shutdown] {
        let id = world.ask(request.clone());
        assert_eq!(world.code(id), Code::FailedPrecondition, "{request:?}");
    }
    assert!(world.published(&init("root")).is_empty());
    world.run(ms(86_400_000));
    world.stuck_die();
    world.run(ms(2_000));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
    let delete = world.ask(delete("root"));
    assert_eq!(world.exit_of(delete).status, 137);
}

#[test]
fn after_an_end_nobody_is_awaited_once_the_unkillable_is_dead() {
    let mut world = World::alone();
    world.fakes.unkillable = ["pid 7, state D".into()].into();
    world.shim_dies();
    world.run(ms(2_000));
    let end = world.ask(Request::End("root".into()));
    assert_eq!(world.code(end), Code::FailedPrecondition);
    world.run(ms(60_000));
    assert!(!world.ledger.quit);
    world.stuck_die();
    world.run(ms(2_000));
    assert_eq!(world.published(&init("root")), [137]);
    assert!(world.ledger.quit);
}

#[test]
fn the_guard_tries_to_free_it_at_once_and_then_ever_more_rarely() {
    let mut world = stuck();
    assert_eq!(attempts(&world).len(), 1);
    world.run(ms(3_600_000));
    let attempts = attempts(&world);
    let pauses: Vec<_> = attempts.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[0] >= FREE_AGAIN_AFTER && pauses[0] <= FREE_AGAIN_AFTER * 2, "{pauses:?}");
    assert!(pauses.is_sorted(), "{pauses:?}");
    let last = *pauses.last().unwrap();
    assert!(last >= FREE_AGAIN_AFTER_AT_MOST && last <= FREE_AGAIN_AFTER_AT_MOST + ms(100), "{last:?}");
    world.stuck_die();
    world.run(ms(2_000));
    let over = self::attempts(&world).len();
    world.run(ms(3_600_000));
    assert_eq!(self::attempts(&world).len(), over);
    assert_eq!(world.guard.poll_timeout(), None);
}

/// While it is not known whether what holds it up hangs, it is looked at all the time; the pauses grow after that.
#[test]
fn what_is_being_watched_is_looked_at_again_at_once() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.fakes.undecided = true;
    world.ask(sigkill("root"));
    world.run(ms(41_000));
    let watching = attempts(&world);
    let often = watching.windows(2).all(|two| two[1] - two[0] <= LOOK_AGAIN_AFTER + ms(300));
    assert!(often && watching.len() > 10, "{watching:?}");
    world.fakes.undecided = false;
    world.run(FREE_AGAIN_AFTER * 20);
    let after = attempts(&world)[watching.len()..].to_vec();
    assert!((3..=6).contains(&after.len()), "{after:?}");
}

#[test]
fn what_is_freed_ends_by_itself() {
    let mut world = stuck();
    let wait = world.ask(Request::Wait(init("root")));
    world.fakes.free_works = true;
    world.run(FREE_AGAIN_AFTER + ms(2_000));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
    assert_eq!(world.steps()[3..], [Step::Unblock, Step::Unblock, Step::KillAll, Step::Release]);
}

/// An attempt that hangs is not joined by a second one, and holds nothing up.
#[test]
fn an_attempt_that_hangs_is_the_last() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.step(Step::Unblock, Lasts::Forever);
    world.ask(sigkill("root"));
    world.run(ms(3_600_000));
    assert_eq!(attempts(&world).len(), 1);
    world.stuck_die();
    world.run(ms(2_000));
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn refusals_name_what_the_last_attempt_saw() {
    let mut world = stuck();
    world.fakes.unkillable = ["pid 8 state D in elsewhere".into()].into();
    world.run(FREE_AGAIN_AFTER + ms(100));
    let id = world.ask(delete("root"));
    let Some(Answer::Error(error)) = world.answer(id) else { panic!() };
    assert!(std::format!("{error}").contains("pid 8"), "{error}");
}

#[test]
fn a_stuck_process_on_the_way_out_is_freed_too() {
    let mut world = World::alone();
    world.relayed(sigkill("root"));
    world.relayed(delete("root"));
    world.fakes.unkillable = ["pid 9 state D".into()].into();
    let shutdown = world.ask(Request::Shutdown);
    world.run(ms(2_000));
    assert_eq!(world.code(shutdown), Code::FailedPrecondition);
    assert_eq!(attempts(&world).len(), 1);
    world.fakes.free_works = true;
    world.run(FREE_AGAIN_AFTER + ms(2_000));
    assert!(world.ledger.quit);
}

/// (Found by the random sequences, whose ledger had no word for it.)
#[test]
fn an_exit_that_was_established_before_is_told_all_the_same() {
    let mut world = World::new(Policy::default());
    world.relayed(create("root"));
    world.relayed(create("app"));
    world.does(on::DELETE, Does::Nothing(ms(0)));
    world.relayed(delete("app"));
    world.run(ms(3_000));
    assert_eq!(world.steps(), [release_one("app")]);
    world.fakes.unkillable = ["pid 7, state D".into()].into();
    world.ask(sigkill("root"));
    world.run(ms(13_000));
    assert!(world.guard.stuck().is_some());
    let again = world.ask(delete("app"));
    world.run(ms(1));
    assert_eq!(world.exit_of(again).status, 137);
}
