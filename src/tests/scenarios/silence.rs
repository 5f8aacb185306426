//! What is silence, and what is not: of the sentry, and of the real shim.

use crate::error::Code;
use crate::io::{ProcessId, Request};
use crate::policy::{Policy, SILENCE};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Hears;
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, init, sigkill, state};

const HOUR: u64 = 3_600_000;

fn kill_exec(process: &ProcessId) -> Request {
    Request::Kill { process: process.clone(), signal: SIGKILL, all: false }
}

fn never() -> Policy {
    Policy { hard_limit: None, ..Policy::default() }
}

#[test]
fn a_starved_sandbox_is_slow_and_not_silent() {
    for sentry in [Hears::Slow, Hears::Answers(ms(1_900))] {
        let mut world = World::siblings_with(never());
        world.does(on::SIGKILL, Does::Nothing(ms(5)));
        world.does(on::STATE, Does::Work(ms(1_500)));
        world.fakes.sentry = sentry;
        world.relayed(sigkill("app"));
        for _ in 0..100 {
            world.ask_within(sigkill("app"), Some(ms(2_000)));
            world.ask(state("side"));
            world.run(ms(30_000));
        }
        world.untouched();
    }
}

#[test]
fn silence_is_measured_over_seconds_however_short_the_deadline() {
    let policy = Policy { kill_deadline: ms(500), hard_limit: None, ..Policy::default() };
    let mut world = World::siblings_with(policy.clone());
    world.stop_sentry();
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(8_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took >= SILENCE && took <= ms(5_500), "{took:?}");
    // Where nobody needs protection no verdict is needed.
    let mut world = World::pod_with(policy);
    world.stop_sentry();
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(8_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(500));
    assert!(world.ledger.probes.is_empty());
}

/// The limit holds however little is known by then.
#[test]
fn a_hard_limit_that_is_shorter_than_silence_needs_no_verdict() {
    let policy = Policy { kill_deadline: ms(2_000), hard_limit: Some(ms(4_000)), ..Policy::default() };
    let mut world = World::siblings_with(policy);
    world.stop_sentry();
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(5_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(4_000));
}

#[test]
fn one_sign_of_life_and_the_measurement_begins_anew() {
    for sign in [Hears::Slow, Hears::Answers(ms(20))] {
        let mut world = World::siblings_with(never());
        world.does(on::SIGKILL, Does::Nothing(ms(5)));
        world.fakes.sentry = Hears::Nothing;
        let began = world.now;
        world.relayed(sigkill("app"));
        world.run(ms(8_000));
        assert_eq!(world.ledger.probes.len(), 2);
        world.fakes.sentry = sign;
        world.run(ms(1_000));
        world.fakes.sentry = Hears::Nothing;
        world.run(ms(3_500));
        world.untouched();
        // Whoever asks again has the sentry asked again.
        world.ask(sigkill("app"));
        world.run(ms(6_000));
        assert!(world.wedge().unwrap().0 - began > ms(13_000));
    }
}

/// The smallest form of the issue: one `runsc kill` takes 15 s while `runsc state` answers in 20 ms throughout; the
/// sibling was dead after 4 s.
#[test]
fn an_unacknowledged_sigkill_is_not_silence() {
    let policy = Policy { kill_deadline: ms(4_000), hard_limit: None, ..Policy::default() };
    let mut world = World::siblings_with(policy);
    world.does(on::SIGKILL, Does::Work(ms(15_000)));
    world.does(on::STATE, Does::Work(ms(20)));
    let kill = world.ask(sigkill("app"));
    for _ in 0..15 {
        world.ask(state("side"));
        world.run(ms(1_000));
    }
    world.run(ms(1_000));
    assert_eq!(world.code(kill), Code::DeadlineExceeded);
    assert_eq!(world.published(&init("app")), [137]);
    world.run(ms(HOUR));
    world.untouched();
    assert_eq!(world.guard.open_ends().calls, 0);
}

/// containerd was restarted while `runsc start` of the second member took 25 s, and sends it a SIGKILL.
#[test]
fn a_sigkill_that_waits_for_a_start_costs_nobody_anything() {
    for hard_limit in [None, Some(ms(10_000))] {
        let mut world = World::pod_with(Policy { hard_limit, ..Policy::default() });
        world.relayed(create("side"));
        world.does(on::START, Does::Work(ms(25_000)));
        let start = world.ask(Request::Start(init("side")));
        world.run(ms(100));
        world.abandon(start);
        world.does(on::SIGKILL, Does::Work(ms(24_950)));
        world.ask(sigkill("side"));
        world.run(ms(HOUR));
        world.untouched();
        assert_eq!(world.published(&init("side")), [137]);
        assert!(world.published(&init("app")).is_empty());
    }
}

#[test]
fn a_real_shim_that_answers_nothing_at_all_is_a_wedge() {
    let mut world = World::siblings_with(never());
    for on in [on::SIGKILL, on::CHECKPOINT, on::STATE] {
        world.does(on, Does::Never);
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
    // And so is one that loses each connection.
    let mut world = World::siblings_with(never());
    for on in [on::SIGKILL, on::CHECKPOINT] {
        world.does(on, Does::Lose(ms(1)));
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Checkpoint(_))), 1);
    // The same for an exec's: nothing else will end it.
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    for on in [on::SIGKILL, on::CHECKPOINT] {
        world.does(on, Does::Never);
    }
    world.ask(kill_exec(&exec));
    world.run(ms(12_000));
    assert!(world.wedge().is_some());
}

#[test]
fn a_real_shim_that_falls_silent_later_has_its_time_from_its_last_word() {
    let mut world = World::siblings_with(never());
    for on in [on::SIGKILL, on::CHECKPOINT] {
        world.does(on, Does::Never);
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(6_000));
    world.relayed(Request::Stats("app".into()));
    world.run(ms(9_000));
    world.untouched();
    world.run(ms(2_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took > ms(15_900) && took < ms(16_100), "{took:?}");
}

#[test]
fn a_question_that_does_not_come_back_disables_nothing() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.fakes.sentry = Hears::Lost;
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(299_000));
    world.untouched();
    let again = world.ask_within(sigkill("app"), Some(ms(900)));
    world.run(ms(2_000));
    assert!(world.ledger.answers.contains_key(&again));
    assert_eq!(world.wedge().unwrap().0 - began, times::HARD_LIMIT);
}

/// Slow, and then stopped: nobody has to ask again for that to be seen.
#[test]
fn a_sentry_that_falls_silent_after_it_was_slow_is_asked_again_in_time() {
    let mut world = World::siblings_with(never());
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.fakes.sentry = Hears::Slow;
    let began = world.now;
    world.relayed(sigkill("app"));
    world.run(ms(6_000));
    world.fakes.sentry = Hears::Nothing;
    world.run(ms(HOUR));
    let took = world.wedge().unwrap().0 - began;
    assert!(took > times::KILL && took <= times::KILL + ms(3_000), "{took:?}");
}

/// In a paused sandbox a SIGKILL waits forever: what answers there is of no use to who is being killed.
#[test]
fn a_paused_sandbox_is_no_excuse_for_a_member() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.fakes.sentry = Hears::Paused;
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

/// It has said what there is to say: that it says nothing more is no sign of anything.
#[test]
fn after_an_acknowledged_sigkill_the_real_shim_is_not_asked() {
    let mut world = World::siblings_with(never());
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.does(on::CHECKPOINT, Does::Never);
    world.relayed(sigkill("app"));
    world.exits(&init("side"), 3);
    world.run(ms(1));
    world.started("late");
    world.run(ms(HOUR));
    world.untouched();
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Checkpoint(_))), 0);
}
