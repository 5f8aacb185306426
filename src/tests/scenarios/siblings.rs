//! What a sibling that nobody has asked to end pays for its neighbour's end: nothing, as long as the sentry answers.

use crate::error::{Code, GuardError};
use crate::io::{Answer, Outcome, ProcessId, Request, Status, Step};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Hears;
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, state};

const HOUR: u64 = 3_600_000;

fn kill_exec(process: &ProcessId) -> Request {
    Request::Kill { process: process.clone(), signal: SIGKILL, all: false }
}

#[test]
fn an_execs_sigkill_never_costs_a_container_that_answers() {
    for does in [Does::Hang, Does::Never, Does::Nothing(ms(5)), Does::Fail(ms(5)), Does::NotFound(ms(5))] {
        for mut world in [World::alone(), World::pod(), World::siblings()] {
            let exec = world.exec("root", "e");
            world.does(on::SIGKILL, does);
            let kill = world.ask(kill_exec(&exec));
            world.run(ms(HOUR));
            world.untouched();
            if matches!(does, Does::Hang | Does::Never) {
                assert!(
                    matches!(world.error(kill), GuardError::ExecPending { .. }),
                    "{:?}",
                    world.error(kill)
                );
                assert_eq!((world.code(kill), world.took(kill)), (Code::DeadlineExceeded, times::KILL));
            }
            world.fakes.script.clear();
            world.relayed(sigkill("root"));
            world.run(ms(HOUR));
            assert_eq!(world.published(&exec).len(), 1, "the exec ends with its container");
            world.untouched();
        }
    }
}

#[test]
fn an_execs_sigkill_under_a_silent_sentry_is_a_wedge() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    world.stop_sentry();
    let began = world.now;
    world.ask(kill_exec(&exec));
    world.run(ms(13_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took > ms(9_900) && took <= times::KILL, "{took:?}");
}

#[test]
fn an_execs_sigkill_in_a_sandbox_that_was_paused_costs_nothing() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    world.fakes.sentry = Hears::Paused;
    world.does(on::SIGKILL, Does::Fail(ms(1_000)));
    world.ask(kill_exec(&exec));
    world.run(ms(HOUR));
    world.untouched();
}

#[test]
fn a_sigkill_to_what_never_started_is_over_at_its_deadline() {
    let mut world = World::siblings();
    world.relayed(create("late"));
    world.does(on::SIGKILL, Does::Never);
    let kill = world.ask(sigkill("late"));
    world.run(ms(HOUR));
    // CRI takes NOT_FOUND for what it wanted, and deletes.
    assert_eq!((world.code(kill), world.took(kill)), (Code::NotFound, times::KILL));
    world.untouched();
}

#[test]
fn when_every_sibling_is_being_killed_the_deadline_holds_exactly() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(3_000));
    world.ask(sigkill("side"));
    world.run(ms(8_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

/// The pod's end was asked for later than the container's: its deadline is the container's, nobody is to be spared.
#[test]
fn a_root_that_is_being_killed_spares_nobody() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(3_000));
    world.ask(sigkill("root"));
    world.run(ms(8_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

/// Nor does one whose Delete hangs: the pod goes, though nobody has sent its root a SIGKILL.
#[test]
fn a_root_that_is_being_deleted_spares_nobody() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.does(on::DELETE, Does::Hang);
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(times::KILL - ms(1_000));
    world.ask(delete("root"));
    world.run(ms(8_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

/// It has ended by itself: nobody has killed it, and it has nothing to lose.
#[test]
fn a_sibling_that_has_ended_is_not_waited_for() {
    let mut world = World::siblings();
    world.exits(&init("side"), 0);
    world.run(ms(1_000));
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(11_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

#[test]
fn who_was_spared_ends_with_the_sibling_that_is_asked_to_end_later() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.ask(sigkill("app"));
    world.run(ms(60_000));
    world.untouched();
    let began = world.now;
    world.ask(sigkill("side"));
    world.run(ms(11_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

/// An error is no effect: what CRI needs to go on is answered from what the guard knows.
#[test]
fn what_fails_for_ever_does_not_keep_a_pod_from_ending() {
    let mut world = World::siblings();
    for on in [on::STATE, on::PIDS, on::KILL, on::SIGKILL, on::DELETE, on::STATS] {
        world.does(on, Does::Fail(ms(15)));
    }
    world.relayed_within(state("app"), ms(20));
    world.relayed_within(crate::tests::world::sigterm("app"), ms(20));
    world.run(ms(2_000));
    let told = world.ask(state("app"));
    let pids = world.ask(Request::Pids("app".into(), crate::io::Sentry::Runs));
    let term = world.ask(crate::tests::world::sigterm("app"));
    world.run(ms(20));
    assert_eq!(world.status_of(told), (Status::Running, None));
    assert_eq!(world.answer(pids), Some(Answer::Relay));
    assert_eq!(world.answer(term), Some(Answer::Done));
    let began = world.now;
    for container in ["app", "side", "root"] {
        world.relayed_within(sigkill(container), ms(20));
    }
    world.run(ms(12_000));
    assert!(world.wedge().unwrap().0 - began <= times::KILL);
}

#[test]
fn a_signal_that_fails_is_sent_again_until_it_is_taken() {
    let mut world = World::siblings();
    world.does(on::KILL, Does::Fail(ms(5)));
    world.relayed_within(crate::tests::world::sigterm("app"), ms(10));
    world.run(ms(2_000));
    let term = world.ask(crate::tests::world::sigterm("app"));
    world.run(ms(100_000));
    assert_eq!(world.answer(term), Some(Answer::Done));
    let terms =
        |world: &World| world.ledger.count(|request| matches!(request, Request::Kill { signal: 15, .. }));
    assert_eq!(terms(&world), 5);
    world.does(on::KILL, Does::Work(ms(1)));
    world.run(ms(HOUR));
    assert_eq!(terms(&world), 6);
    assert_eq!(world.guard.poll_timeout(), None);
    world.untouched();
}

#[test]
fn a_wait_that_fails_for_ever_ends_with_the_exit() {
    let mut world = World::siblings();
    let fail = |world: &mut World| {
        let wait = world.ask(Request::Wait(init("app")));
        let call = *world.ledger.in_flight.first().unwrap();
        world.ledger.in_flight.remove(&call);
        world.handle(crate::io::Input::Returned(call, Outcome::Failed { not_found: false }));
        wait
    };
    let first = fail(&mut world);
    assert_eq!(world.answer(first), Some(Answer::Relay));
    world.run(ms(1_000));
    let second = fail(&mut world);
    assert_eq!(world.answer(second), None);
    world.exits(&init("app"), 5);
    world.run(ms(1));
    assert_eq!(world.exit_of(second).status, 5);
}

#[test]
fn a_sibling_that_is_being_created_is_one() {
    let mut world = World::pod();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.ask(sigkill("app"));
    world.run(ms(1_000));
    world.does(on::CREATE, Does::Work(ms(20_000)));
    world.ask(create("side"));
    world.run(ms(19_000));
    world.untouched();
    assert!(!world.ledger.steps.iter().any(|(_, step)| *step == Step::Diagnose));
}
