//! What a sibling that nobody has asked to end pays for its neighbour's end: nothing, as long as the sentry answers.

use crate::io::{Answer, Op, Outcome, ProcessId, Rung, Status, Told, Why};
use crate::policy::{Policy, SILENCE};
use crate::refusal::{Code, Refusal};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Hears, Step};
use crate::tests::world::{World, create, delete, init, sigkill, state};

const HOUR: u64 = 3_600_000;

fn never() -> Policy {
    Policy { hard_limit: None, ..Policy::default() }
}

fn kill_exec(process: &ProcessId) -> Op {
    Op::Kill { process: process.clone(), signal: SIGKILL, all: false }
}

/// `app` has ended, `side` lives.
fn with_an_ended_member(policy: Policy) -> World {
    let mut world = World::siblings_with(policy);
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world
}

#[test]
fn an_execs_sigkill_never_costs_a_container_that_answers() {
    for does in [Does::Hang, Does::Never, Does::Nothing(ms(5)), Does::Fail(ms(5)), Does::NotFound(ms(5))] {
        for mut world in [World::alone(), World::pod(), World::siblings()] {
            let exec = world.exec("root", "e");
            world.does("SIGKILL", does);
            let kill = world.ask(kill_exec(&exec));
            world.run(ms(HOUR));
            world.untouched();
            if matches!(does, Does::Hang | Does::Never) {
                assert!(
                    matches!(world.refusal(kill), Refusal::ExecPending { .. }),
                    "{:?}",
                    world.refusal(kill)
                );
                assert_eq!((world.code(kill), world.took(kill)), (Code::DeadlineExceeded, ms(10_000)));
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
    assert!(took > ms(9_900) && took <= ms(10_000), "{took:?}");
}

#[test]
fn an_execs_sigkill_in_a_sandbox_that_was_paused_costs_nothing() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    world.fakes.sentry = Hears::Paused;
    world.does("SIGKILL", Does::Fail(ms(1_000)));
    world.ask(kill_exec(&exec));
    world.run(ms(HOUR));
    world.untouched();
}

#[test]
fn delete_of_a_member_that_has_ended_releases_it_alone() {
    let slow_disk = Does::Work(ms(3_000));
    for does in [Does::Hang, Does::Never, slow_disk, Does::Fail(ms(5)), Does::Fail(ms(2_550))] {
        for sentry in [Hears::Answers(ms(20)), Hears::Slow, Hears::Nothing, Hears::Lost] {
            let mut world = with_an_ended_member(Policy::default());
            world.fakes.sentry = sentry;
            world.does("State", Does::Work(ms(700)));
            world.does("Delete", does);
            let began = world.now;
            let first = world.ask(delete("app"));
            world.run(ms(1_000));
            let second = world.ask(delete("app"));
            world.run(ms(5_000));
            assert_eq!(world.rungs(), ["ReleaseOne"], "{does:?}");
            assert_eq!(world.ledger.rungs[0].0 - began, ms(2_500), "{does:?}");
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
            world.does("Delete", does);
            world.ask_within(delete("app"), Some(ms(500)));
            world.run(ms(600));
        }
        assert_eq!(world.rungs(), ["ReleaseOne"]);
        assert_eq!(world.ledger.rungs[0].0 - began, ms(deadline));
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
        world.does("Delete", does);
        let first = world.ask_within(delete("late"), Some(ms(1_000)));
        world.run(ms(2_000));
        if does == Does::Hang {
            assert!(matches!(world.refusal(first), Refusal::Releasing { .. }));
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
fn a_sigkill_to_what_never_started_is_over_at_its_deadline() {
    let mut world = World::siblings();
    world.relayed(create("late"));
    world.does("SIGKILL", Does::Never);
    let kill = world.ask(sigkill("late"));
    world.run(ms(HOUR));
    // CRI takes NOT_FOUND for what it wanted, and deletes.
    assert_eq!((world.code(kill), world.took(kill)), (Code::NotFound, ms(10_000)));
    world.untouched();
}

#[test]
fn a_root_whose_delete_fails_for_ever_ends_at_its_deadline() {
    let mut world = World::pod();
    world.relayed(sigkill("root"));
    world.run(ms(100));
    world.does("Delete", Does::Fail(ms(5)));
    let began = world.now;
    for _ in 0..5 {
        world.relayed(delete("root"));
        world.run(ms(400));
    }
    world.run(ms(3_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!((when - began, why), (ms(2_500), Why::DeleteStuck(init("root"))));
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
    assert!(world.rungs().is_empty());
}

#[test]
fn what_was_released_alone_can_be_created_anew() {
    let mut world = with_an_ended_member(Policy::default());
    world.does("Delete", Does::Never);
    let stuck = world.ask(delete("app"));
    world.run(ms(3_000));
    assert_eq!(world.exit_of(stuck).status, 3);
    let old = *world.ledger.in_flight.first().unwrap();
    world.fakes.processes.remove(&init("app"));
    world.ledger.published.clear();
    world.started("app");
    // The Delete of its predecessor returns at last.
    world.ledger.in_flight.remove(&old);
    world.handle(crate::io::Input::Returned(old, Outcome::Done(Told::Nothing)));
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
    world.does("Delete", Does::Never);
    let ended = [world.ask(delete("app")), world.ask(Op::Delete(exec.clone()))];
    world.run(ms(3_000));
    assert_eq!(ended.map(|id| world.exit_of(id).status), [3, 5]);
    let exec_state = Op::State(exec, crate::io::Sentry::Runs);
    for op in [
        state("app"),
        sigkill("app"),
        delete("app"),
        Op::Wait(init("app")),
        Op::Stats("app".into()),
        exec_state,
    ] {
        let id = world.ask(op);
        assert_eq!(world.code(id), Code::NotFound);
    }
    world.relayed_within(state("side"), ms(5));
}

#[test]
fn a_release_that_does_not_come_back_holds_nobody_up() {
    let mut world = with_an_ended_member(Policy::default());
    world.does("Delete", Does::Hang);
    world.step("ReleaseOne", Step::Never);
    let id = world.ask(delete("app"));
    world.run(ms(HOUR));
    assert_eq!(world.exit_of(id).status, 3);
    assert!(world.took(id) <= ms(5_500), "{:?}", world.took(id));
    world.untouched();
}

#[test]
fn the_last_containers_own_end_takes_along_what_the_real_shim_still_holds() {
    let mut world = with_an_ended_member(Policy::default());
    world.does("Delete", Does::Hang);
    world.ask(delete("app"));
    world.run(ms(3_000));
    world.fakes.script.clear();
    for container in ["side", "root"] {
        world.relayed(sigkill(container));
        world.relayed(delete(container));
    }
    // It still holds a task, and so refuses to go.
    world.does("Shutdown", Does::Fail(ms(1)));
    let shutdown = world.ask(Op::Shutdown);
    world.run(ms(500));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert_eq!(world.rungs(), ["ReleaseOne", "KillAll", "Release"]);
    assert!(world.ledger.quit);
}

#[test]
fn a_starved_sandbox_is_slow_and_not_silent() {
    for sentry in [Hears::Slow, Hears::Answers(ms(1_900))] {
        let mut world = World::siblings_with(never());
        world.does("SIGKILL", Does::Nothing(ms(5)));
        world.does("State", Does::Work(ms(1_500)));
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
        world.does("SIGKILL", Does::Nothing(ms(5)));
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

#[test]
fn when_every_sibling_is_being_killed_the_deadline_holds_exactly() {
    let mut world = World::siblings();
    world.does("SIGKILL", Does::Nothing(ms(5)));
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(3_000));
    world.ask(sigkill("side"));
    world.run(ms(8_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(10_000));
}

#[test]
fn who_was_spared_ends_with_the_sibling_that_is_asked_to_end_later() {
    let mut world = World::siblings();
    world.does("SIGKILL", Does::Nothing(ms(5)));
    world.ask(sigkill("app"));
    world.run(ms(60_000));
    world.untouched();
    let began = world.now;
    world.ask(sigkill("side"));
    world.run(ms(11_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(10_000));
}

/// The smallest form of the issue: one `runsc kill` takes 15 s while `runsc state` answers in 20 ms throughout; the
/// sibling was dead after 4 s.
#[test]
fn an_unacknowledged_sigkill_is_not_silence() {
    let policy = Policy { kill_deadline: ms(4_000), hard_limit: None, ..Policy::default() };
    let mut world = World::siblings_with(policy);
    world.does("SIGKILL", Does::Work(ms(15_000)));
    world.does("State", Does::Work(ms(20)));
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
        world.does("Start", Does::Work(ms(25_000)));
        let start = world.ask(Op::Start(init("side")));
        world.run(ms(100));
        world.abandon(start);
        world.does("SIGKILL", Does::Work(ms(24_950)));
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
    for method in ["SIGKILL", "Checkpoint", "State"] {
        world.does(method, Does::Never);
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(10_000));
    // And so is one that loses each connection.
    let mut world = World::siblings_with(never());
    for method in ["SIGKILL", "Checkpoint"] {
        world.does(method, Does::Lose(ms(1)));
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(10_000));
    assert_eq!(world.ledger.count(|op| matches!(op, Op::Checkpoint(_))), 1);
    // The same for an exec's: nothing else will end it.
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    for method in ["SIGKILL", "Checkpoint"] {
        world.does(method, Does::Never);
    }
    world.ask(kill_exec(&exec));
    world.run(ms(12_000));
    assert!(world.wedge().is_some());
}

#[test]
fn a_real_shim_that_falls_silent_later_has_its_time_from_its_last_word() {
    let mut world = World::siblings_with(never());
    for method in ["SIGKILL", "Checkpoint"] {
        world.does(method, Does::Never);
    }
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(6_000));
    world.relayed(Op::Stats("app".into()));
    world.run(ms(9_000));
    world.untouched();
    world.run(ms(2_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took > ms(15_900) && took < ms(16_100), "{took:?}");
}

#[test]
fn a_question_that_does_not_come_back_disables_nothing() {
    let mut world = World::siblings();
    world.does("SIGKILL", Does::Nothing(ms(5)));
    world.fakes.sentry = Hears::Lost;
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(299_000));
    world.untouched();
    let again = world.ask_within(sigkill("app"), Some(ms(900)));
    world.run(ms(2_000));
    assert!(world.ledger.answers.contains_key(&again));
    assert_eq!(world.wedge().unwrap().0 - began, ms(300_000));
}

/// An error is no effect: what CRI needs to go on is answered from what the guard knows.
#[test]
fn what_fails_for_ever_does_not_keep_a_pod_from_ending() {
    let mut world = World::siblings();
    for method in ["State", "Pids", "Kill", "SIGKILL", "Delete", "Stats"] {
        world.does(method, Does::Fail(ms(15)));
    }
    world.relayed_within(state("app"), ms(20));
    world.relayed_within(crate::tests::world::sigterm("app"), ms(20));
    world.run(ms(2_000));
    let told = world.ask(state("app"));
    let pids = world.ask(Op::Pids("app".into(), crate::io::Sentry::Runs));
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
    assert!(world.wedge().unwrap().0 - began <= ms(10_000));
}

#[test]
fn a_signal_that_fails_is_sent_again_until_it_is_taken() {
    let mut world = World::siblings();
    world.does("Kill", Does::Fail(ms(5)));
    world.relayed_within(crate::tests::world::sigterm("app"), ms(10));
    world.run(ms(2_000));
    let term = world.ask(crate::tests::world::sigterm("app"));
    world.run(ms(100_000));
    assert_eq!(world.answer(term), Some(Answer::Done));
    let terms = |world: &World| world.ledger.count(|op| matches!(op, Op::Kill { signal: 15, .. }));
    assert_eq!(terms(&world), 5);
    world.does("Kill", Does::Work(ms(1)));
    world.run(ms(HOUR));
    assert_eq!(terms(&world), 6);
    assert_eq!(world.guard.poll_timeout(), None);
    world.untouched();
}

#[test]
fn a_wait_that_fails_for_ever_ends_with_the_exit() {
    let mut world = World::siblings();
    let fail = |world: &mut World| {
        let wait = world.ask(Op::Wait(init("app")));
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
    world.does("SIGKILL", Does::Nothing(ms(5)));
    world.ask(sigkill("app"));
    world.run(ms(1_000));
    world.does("Create", Does::Work(ms(20_000)));
    world.ask(create("side"));
    world.run(ms(19_000));
    world.untouched();
    assert!(!world.ledger.rungs.iter().any(|(_, rung)| *rung == Rung::Evidence));
}
