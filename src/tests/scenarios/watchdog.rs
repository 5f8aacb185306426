//! A sandbox that stops answering unasked: reported, or ended, as configured; one that answers is left alone.

use std::vec::Vec;

use crate::io::{Cause, Note, Request, Sentry, Step};
use crate::policy::{Policy, Watchdog};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Hears;
use crate::tests::on;
use crate::tests::world::{World, create, init, state};

fn world(watchdog: Watchdog) -> World {
    World::pod_with(Policy { watchdog, ..Policy::default() })
}

/// containerd polls for `seconds`.
fn poll(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.ask(Request::Stats("app".into()));
        world.run(ms(1_000));
    }
}

fn looks(world: &World) -> Vec<u64> {
    let looks = world.ledger.steps.iter().filter(|(_, step)| *step == Step::Watch);
    looks.map(|(time, _)| u64::try_from(time.0.as_millis()).unwrap()).collect()
}

#[test]
fn silence_is_reported_once_and_its_end_too() {
    let mut world = world(Watchdog::Report);
    world.stop_sentry();
    let began = u64::try_from(world.now.0.as_millis()).unwrap();
    poll(&mut world, 200);
    let looks = looks(&world);
    assert_eq!(looks.len(), 1, "{looks:?}");
    // The three questions come with the end of the sixty seconds.
    let after = looks[0] - began;
    assert!((60_000..=63_000).contains(&after), "{after}");
    assert_eq!(world.ledger.probes.len(), 3);
    world.untouched();
    world.fakes.script.clear();
    world.fakes.sentry = Hears::Answers(ms(20));
    poll(&mut world, 10);
    let heard = world.ledger.notes.iter().filter(|(_, note)| matches!(note, Note::AnswersAgain(_)));
    assert_eq!(heard.count(), 1, "{:?}", world.ledger.notes);
}

#[test]
fn silence_is_ended_where_that_is_configured() {
    let mut world = world(Watchdog::Kill);
    world.stop_sentry();
    poll(&mut world, 70);
    assert_eq!(world.wedge().unwrap().1, Cause::Silent);
    assert_eq!((world.published(&init("root")), world.published(&init("app"))), ([137].into(), [137].into()));
}

#[test]
fn nothing_is_asked_of_a_sandbox_that_nobody_asks() {
    for watchdog in [Watchdog::Off, Watchdog::Report, Watchdog::Kill] {
        let mut world = world(watchdog);
        world.stop_sentry();
        assert_eq!(world.guard.poll_timeout(), None);
        world.run(ms(3_600_000));
        assert!(world.ledger.probes.is_empty() && world.ledger.steps.is_empty());
    }
}

#[test]
fn switched_off_it_only_answers_late() {
    let mut world = world(Watchdog::Off);
    world.stop_sentry();
    poll(&mut world, 200);
    assert!(world.ledger.probes.is_empty() && world.ledger.steps.is_empty());
}

#[test]
fn a_stopped_sentry_that_proc_tells_of_is_a_sign() {
    let pids = Request::Pids("root".into(), Sentry::Stopped);
    for request in [Request::State(init("root"), Sentry::Stopped), pids] {
        let mut world = world(Watchdog::Kill);
        world.stop_sentry();
        world.ask(request);
        world.run(ms(64_000));
        assert_eq!(world.wedge().unwrap().1, Cause::Silent);
    }
}

#[test]
fn an_exec_that_does_not_start_is_a_sign() {
    let mut world = world(Watchdog::Kill);
    let id = crate::io::ProcessId { container: "app".into(), exec: "probe".into() };
    world.relayed(Request::Exec(id.clone(), Default::default()));
    world.stop_sentry();
    world.ask(Request::Start(id));
    world.run(ms(64_000));
    assert_eq!(world.wedge().unwrap().1, Cause::Silent);
}

#[test]
fn a_sandbox_that_answers_behind_a_busy_real_shim_is_left_alone() {
    for sentry in [Hears::Answers(ms(20)), Hears::Slow, Hears::Paused, Hears::Lost] {
        let mut world = world(Watchdog::Kill);
        world.fakes.sentry = sentry;
        world.does(on::STATS, Does::Never);
        poll(&mut world, 200);
        world.untouched();
        assert!(looks(&world).is_empty());
        // Each silence is asked about once, when it has lasted.
        assert_eq!(world.ledger.probes.len(), 3);
    }
}

#[test]
fn a_sandbox_that_has_fallen_silent_after_that_is_found() {
    let mut world = world(Watchdog::Kill);
    world.does(on::STATS, Does::Never);
    poll(&mut world, 90);
    world.stop_sentry();
    poll(&mut world, 70);
    assert_eq!(world.wedge().unwrap().1, Cause::Silent);
}

#[test]
fn an_answer_in_between_starts_the_time_anew() {
    let mut world = world(Watchdog::Kill);
    for _ in 0..5 {
        world.stop_sentry();
        poll(&mut world, 50);
        world.fakes.script.clear();
        world.fakes.sentry = Hears::Answers(ms(20));
        world.run(ms(5_000));
        world.relayed(state("root"));
    }
    world.untouched();
}

#[test]
fn what_is_still_being_created_is_not_silent() {
    let mut world = World::new(Policy { watchdog: Watchdog::Kill, ..Policy::default() });
    world.does(on::CREATE, Does::Work(ms(85_000)));
    world.fakes.sentry = Hears::Nothing;
    world.ask(create("root"));
    world.ask(state("root"));
    world.run(ms(85_000));
    world.untouched();
}

/// An error is no answer of the sentry's either.
#[test]
fn a_state_that_only_fails_is_a_sign() {
    let mut world = world(Watchdog::Kill);
    world.stop_sentry();
    world.does(on::STATE, Does::Fail(ms(5)));
    for _ in 0..70 {
        world.ask(state("app"));
        world.run(ms(1_000));
    }
    assert_eq!(world.wedge().unwrap().1, Cause::Silent);
}

/// Of what has ended and of an exec the real shim tells an error without having asked the sentry.
#[test]
fn a_state_that_fails_for_what_does_not_run_is_none() {
    let mut world = world(Watchdog::Kill);
    let exec = world.exec("app", "probe");
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world.does(on::STATE, Does::Fail(ms(5)));
    for _ in 0..70 {
        world.ask(state("app"));
        world.ask(Request::State(exec.clone(), Sentry::Runs));
        world.run(ms(1_000));
    }
    assert!(world.ledger.probes.is_empty());
}

/// A task's Start may take longer than an exec's, and its caller less.
#[test]
fn a_start_that_has_its_time_left_is_none() {
    let mut world = world(Watchdog::Kill);
    world.relayed(create("late"));
    world.does(on::START, Does::Work(ms(105_000)));
    world.ask_within(Request::Start(init("late")), Some(ms(40_000)));
    world.run(ms(104_000));
    assert!(world.ledger.probes.is_empty());
}
