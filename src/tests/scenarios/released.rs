//! Delete of what has ended costs nobody anything: the guard releases the one container alone.

use crate::error::{Code, GuardError};
use crate::io::{Answer, Cause, Outcome, Request, ResponseInfo, Step};
use crate::policy::Policy;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Hears, Lasts, any_release_one, release_one};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, state};

const HOUR: u64 = 3_600_000;

/// `app` has ended, `side` lives.
fn with_an_ended_member(policy: Policy) -> World {
    let mut world = World::siblings_with(policy);
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world
}

#[test]
fn delete_of_a_member_that_has_ended_releases_it_alone() {
    let slow_disk = Does::Work(ms(3_000));
    for does in [Does::Hang, Does::Never, slow_disk, Does::Fail(ms(5)), Does::Fail(ms(2_550))] {
        for sentry in [Hears::Answers(ms(20)), Hears::Slow, Hears::Nothing, Hears::Lost] {
            let mut world = with_an_ended_member(Policy::default());
            world.fakes.sentry = sentry;
            world.does(on::STATE, Does::Work(ms(700)));
            world.does(on::DELETE, does);
            let began = world.now;
            let first = world.ask(delete("app"));
            world.run(ms(1_000));
            let second = world.ask(delete("app"));
            world.run(ms(5_000));
            assert_eq!(world.steps(), [release_one("app")], "{does:?}");
            assert_eq!(world.ledger.steps[0].0 - began, times::DELETE, "{does:?}");
            let told_an_error = matches!(does, Does::Fail(_));
            for id in [first, second].into_iter().filter(|_| !told_an_error) {
                assert_eq!(world.exit_of(id).status, 3);
                assert!(world.took(id) <= ms(2_600), "{:?}", world.took(id));
            }
            if told_an_error {
                // Who asks next is told the exit.
                let third = world.ask(delete("app"));
                assert_eq!(world.exit_of(third).status, 3);
            }
            world.run(ms(HOUR));
            world.untouched();
            assert_eq!(world.published(&init("app")), [3]);
            assert_eq!(world.guard.record().len(), 2);
            assert_eq!(world.guard.poll_timeout(), None);
        }
    }
}

/// Neither does an error restart the clock, nor is it an effect: whatever the setting, and in whatever order.
#[test]
fn errors_and_hangs_that_alternate_do_not_move_the_deadline() {
    for (deadline, fails) in [(2_500, 2_550), (2_000, 2_550), (2_500, 900), (2_500, 1)] {
        let policy = Policy { delete_deadline: ms(deadline), ..Policy::default() };
        let mut world = with_an_ended_member(policy);
        let began = world.now;
        for round in 0..20 {
            let does = if round % 2 == 0 { Does::Fail(ms(fails)) } else { Does::Hang };
            world.does(on::DELETE, does);
            world.ask_within(delete("app"), Some(ms(500)));
            world.run(ms(600));
        }
        assert_eq!(world.steps(), [release_one("app")]);
        assert_eq!(world.ledger.steps[0].0 - began, ms(deadline));
        world.run(ms(HOUR));
        world.untouched();
        assert_eq!(world.guard.record().len(), 2);
    }
}

#[test]
fn delete_of_a_member_that_never_started_releases_it_alone() {
    for does in [Does::Hang, Does::Never, Does::Fail(ms(5))] {
        let mut world = World::siblings();
        world.relayed(create("late"));
        world.does(on::DELETE, does);
        let first = world.ask_within(delete("late"), Some(ms(1_000)));
        world.run(ms(2_000));
        if does == Does::Hang {
            assert!(matches!(world.error(first), GuardError::Releasing { .. }));
        }
        let second = world.ask(delete("late"));
        world.run(ms(2_000));
        let told = if matches!(world.answer(second), Some(Answer::Relay)) {
            world.ask(delete("late"))
        } else {
            second
        };
        assert_eq!(world.exit_of(told).status, 137);
        world.run(ms(HOUR));
        world.untouched();
        assert_eq!(world.guard.record().len(), 3);
    }
}

#[test]
fn a_root_whose_delete_fails_for_ever_ends_at_its_deadline() {
    let mut world = World::pod();
    world.relayed(sigkill("root"));
    world.run(ms(100));
    world.does(on::DELETE, Does::Fail(ms(5)));
    let began = world.now;
    for _ in 0..5 {
        world.relayed(delete("root"));
        world.run(ms(400));
    }
    world.run(ms(3_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!((when - began, why), (times::DELETE, Cause::DeleteStuck(init("root"))));
    let last = world.ask(delete("root"));
    assert_eq!(world.exit_of(last).status, 137);
}

#[test]
fn a_delete_of_what_runs_is_refused_and_nothing_follows() {
    let mut world = World::siblings();
    for container in ["app", "root"] {
        world.relayed(delete(container));
    }
    world.run(ms(HOUR));
    world.untouched();
    assert!(world.steps().is_empty());
}

#[test]
fn what_was_released_alone_can_be_created_anew() {
    let mut world = with_an_ended_member(Policy::default());
    world.does(on::DELETE, Does::Never);
    let stuck = world.ask(delete("app"));
    world.run(ms(3_000));
    assert_eq!(world.exit_of(stuck).status, 3);
    let old = *world.ledger.in_flight.first().unwrap();
    world.fakes.processes.remove(&init("app"));
    world.ledger.published.clear();
    world.started("app");
    // The Delete of its predecessor returns at last.
    world.ledger.in_flight.remove(&old);
    world.handle(crate::io::Input::Returned(old, Outcome::Done(ResponseInfo::Nothing)));
    world.run(ms(HOUR));
    let state = world.ask(state("app"));
    world.run(ms(5));
    assert!(matches!(world.answer(state), Some(Answer::Relay)));
    world.untouched();
}

/// Delete gives the exit once, and then there is no such task, whatever the real shim still says.
#[test]
fn what_was_released_alone_is_gone_for_everybody() {
    let mut world = with_an_ended_member(Policy::default());
    let exec = world.exec("side", "e");
    world.exits(&exec, 5);
    world.does(on::DELETE, Does::Never);
    let ended = [world.ask(delete("app")), world.ask(Request::Delete(exec.clone()))];
    world.run(ms(3_000));
    assert_eq!(ended.map(|id| world.exit_of(id).status), [3, 5]);
    let exec_state = Request::State(exec, crate::io::Sentry::Runs);
    for request in [
        state("app"),
        sigkill("app"),
        delete("app"),
        Request::Wait(init("app")),
        Request::Stats("app".into()),
        exec_state,
    ] {
        let id = world.ask(request);
        assert_eq!(world.code(id), Code::NotFound);
    }
    world.relayed_within(state("side"), ms(5));
}

#[test]
fn a_release_that_does_not_come_back_holds_nobody_up() {
    let mut world = with_an_ended_member(Policy::default());
    world.does(on::DELETE, Does::Hang);
    world.step(any_release_one(), Lasts::Forever);
    let id = world.ask(delete("app"));
    world.run(ms(HOUR));
    assert_eq!(world.exit_of(id).status, 3);
    assert!(world.took(id) <= ms(5_500), "{:?}", world.took(id));
    world.untouched();
}

#[test]
fn the_last_containers_own_end_takes_along_what_the_real_shim_still_holds() {
    let mut world = with_an_ended_member(Policy::default());
    world.does(on::DELETE, Does::Hang);
    world.ask(delete("app"));
    world.run(ms(3_000));
    world.fakes.script.clear();
    for container in ["side", "root"] {
        world.relayed(sigkill(container));
        world.relayed(delete(container));
    }
    // It still holds a task, and so refuses to go.
    world.does(on::SHUTDOWN, Does::Fail(ms(1)));
    let shutdown = world.ask(Request::Shutdown);
    world.run(ms(500));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert_eq!(world.steps(), [release_one("app"), Step::KillAll, Step::Release]);
    assert!(world.ledger.quit);
}
