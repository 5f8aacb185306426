//! Kill: SIGKILL's deadline to the exit, other signals pending until delivered.

use crate::io::{Answer, Op, Why};
use crate::policy::Policy;
use crate::refusal::{Code, Refusal};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, at, ms};
use crate::tests::kernel::Step;
use crate::tests::world::{World, create, delete, init, sigkill, sigterm};

#[test]
fn sigkill_that_hangs_ends_the_sandbox_at_its_deadline() {
    let mut world = World::alone();
    world.stop_sentry();
    let began = world.now;
    let id = world.ask(sigkill("root"));
    world.run(ms(12_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(when - began, ms(10_000));
    assert_eq!(why, Why::KillWithoutExit { process: init("root"), acknowledged: false });
    assert_eq!(world.answer(id), Some(Answer::Done));
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn sigkill_acknowledged_without_an_exit_is_a_wedge() {
    let mut world = World::alone();
    world.does("SIGKILL", Does::Nothing(ms(5)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(12_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(when - began, ms(10_000));
    assert_eq!(why, Why::KillWithoutExit { process: init("root"), acknowledged: true });
}

#[test]
fn retries_do_not_restart_the_deadline_and_short_timeouts_do_not_advance_it() {
    for does in [Does::Hang, Does::Fail(ms(900)), Does::Nothing(ms(5)), Does::NotFound(ms(5))] {
        let mut world = World::alone();
        world.does("SIGKILL", does);
        let began = world.now;
        for _ in 0..6 {
            let id = world.ask_within(sigkill("root"), Some(ms(2_000)));
            world.run(ms(2_000));
            assert!(world.took(id) <= ms(1_800));
        }
        assert_eq!(world.wedge().unwrap().0 - began, ms(10_000), "{does:?}");
    }
}

#[test]
fn a_caller_who_leaves_early_is_told_when_it_ends() {
    let mut world = World::alone();
    world.stop_sentry();
    let id = world.ask_within(sigkill("root"), Some(ms(2_000)));
    world.run(ms(2_000));
    let Refusal::Pending { waited, ends_in, .. } = world.refusal(id) else { panic!() };
    assert_eq!((waited, ends_in), (ms(1_800), ms(8_200)));
    assert_eq!(world.code(id), Code::DeadlineExceeded);
    world.untouched();
}

#[test]
fn sigkills_that_hang_share_one_forward() {
    let mut world = World::alone();
    world.does("SIGKILL", Does::Hang);
    for _ in 0..5 {
        world.ask_within(sigkill("root"), Some(ms(1_000)));
        world.run(ms(1_000));
    }
    assert_eq!(world.ledger.count(|op| matches!(op, Op::Kill { signal: SIGKILL, .. })), 1);
}

#[test]
fn an_exit_in_time_stops_the_clock() {
    let mut world = World::alone();
    world.does("SIGKILL", Does::Nothing(ms(5)));
    world.relayed(sigkill("root"));
    world.run(ms(9_900));
    world.exits(&init("root"), 137);
    world.run(ms(60_000));
    world.untouched();
    assert_eq!(world.guard.poll_timeout(), None);
}

#[test]
fn a_kill_whose_exit_came_first_is_answered_soon() {
    let mut world = World::alone();
    world.does("SIGKILL", Does::Hang);
    let id = world.ask(sigkill("root"));
    world.run(ms(1_000));
    world.exits(&init("root"), 137);
    world.run(ms(2_000));
    assert_eq!(world.answer(id), Some(Answer::Done));
    assert_eq!(world.took(id), ms(3_000));
    world.untouched();
}

#[test]
fn a_process_that_has_ended_is_not_killed_again() {
    let mut world = World::alone();
    world.exits(&init("root"), 0);
    world.run(ms(1));
    world.relayed(sigkill("root"));
    world.does("SIGKILL", Does::Never);
    let id = world.ask(sigkill("root"));
    world.run(ms(60_000));
    assert_eq!(world.code(id), Code::NotFound);
    assert_eq!(world.took(id), ms(500));
    world.untouched();
}

#[test]
fn a_process_that_never_started_has_no_exit_to_wait_for() {
    let mut world = World::pod();
    let exec = crate::io::ProcessId { container: "app".into(), exec: "e".into() };
    world.relayed(Op::Exec(exec.clone(), Default::default()));
    world.does("SIGKILL", Does::Nothing(ms(1)));
    world.relayed(Op::Kill { process: exec, signal: SIGKILL, all: false });
    world.run(ms(120_000));
    world.untouched();
}

/// gVisor destroys a container that was created and not started, and says nothing of an exit.
#[test]
fn a_root_that_never_started_ends_by_its_deadline_and_has_an_exit() {
    let mut world = World::new(Policy::default());
    world.relayed(create("root"));
    let wait = world.ask(Op::Wait(init("root")));
    world.does("Start", Does::Hang);
    world.ask(Op::Start(init("root")));
    world.does("SIGKILL", Does::Nothing(ms(1)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(13_000));
    assert_eq!(world.wedge().unwrap().0 - began, ms(10_000));
    assert_eq!(world.exit_of(wait).status, 137);
}

#[test]
fn who_waits_for_a_member_that_never_started_is_told_and_nobody_is_hurt() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    let wait = world.ask(Op::Wait(init("sidecar")));
    world.does("SIGKILL", Does::Nothing(ms(1)));
    world.relayed(sigkill("sidecar"));
    world.run(ms(120_000));
    assert_eq!(world.code(wait), Code::NotFound);
    assert_eq!(world.took(wait), ms(10_000));
    world.untouched();
}

#[test]
fn other_signals_are_pending_after_two_seconds() {
    let mut world = World::alone();
    world.does("Kill", Does::Hang);
    let id = world.ask(sigterm("root"));
    world.run(ms(2_000));
    assert_eq!(world.took(id), ms(2_000));
    assert_eq!(world.answer(id), Some(Answer::Done));
    world.untouched();
}

#[test]
fn a_pending_signal_is_sent_until_it_is_acknowledged_once() {
    let mut world = World::alone();
    world.does("Kill", Does::Hang);
    world.ask(sigterm("root"));
    world.run(ms(70_000));
    let terms = |world: &World| world.ledger.count(|op| matches!(op, Op::Kill { signal: 15, .. }));
    assert_eq!(terms(&world), 3);
    world.does("Kill", Does::Work(ms(1)));
    world.run(ms(600_000));
    assert_eq!(terms(&world), 4);
    assert_eq!(world.guard.open_ends().calls, 0);
    world.untouched();
}

#[test]
fn a_pending_signal_is_not_doubled_by_retries() {
    let mut world = World::alone();
    world.does("Kill", Does::Hang);
    for _ in 0..5 {
        world.ask(sigterm("root"));
        world.run(ms(2_500));
    }
    assert_eq!(world.ledger.count(|op| matches!(op, Op::Kill { signal: 15, .. })), 1);
}

#[test]
fn an_exit_a_sigkill_or_a_delete_cancels_what_is_pending() {
    for cancels in ["exit", "kill", "delete", "late kill"] {
        let mut world = World::alone();
        world.does("Kill", Does::Never);
        let term = world.ask(sigterm("root"));
        if cancels == "late kill" {
            world.ask(sigkill("root"));
        }
        world.run(ms(2_000));
        assert_eq!(world.answer(term), Some(Answer::Done));
        world.does("SIGKILL", Does::Nothing(ms(1)));
        match cancels {
            "exit" => world.exits(&init("root"), 0),
            "kill" => drop(world.ask(sigkill("root"))),
            "delete" => drop(world.ask(delete("root"))),
            _ => {}
        }
        world.run(ms(5));
        assert_eq!(world.ledger.cancelled.len(), 1, "{cancels}");
    }
}

#[test]
fn a_signal_of_an_abandoned_request_is_pending_too() {
    let mut world = World::alone();
    world.does("Kill", Does::Never);
    let term = world.ask(sigterm("root"));
    world.abandon(term);
    world.exits(&init("root"), 0);
    world.run(ms(1));
    assert_eq!(world.ledger.cancelled.len(), 1);
}

#[test]
fn during_the_ladder_signals_are_answered_by_the_guard() {
    let mut world = World::alone();
    world.stop_sentry();
    world.step("KillAll", Step::Takes(ms(300)));
    world.ask(sigkill("root"));
    world.run(ms(10_000));
    assert_eq!(world.rungs(), ["Evidence"]);
    let term = world.ask(sigterm("root"));
    let kill = world.ask(sigkill("root"));
    assert_eq!(world.answer(term), Some(Answer::Done));
    world.run(ms(1_000));
    assert_eq!(world.answer(kill), Some(Answer::Done));
    assert!(world.now >= at(10_000));
}

/// Before 2026-08 gVisor refuses to kill what was created and not started; it can be started all the same, and a
/// sandbox that does what it is told is not touched. (Found by the random sequences.)
#[test]
fn a_sigkill_that_was_refused_before_the_start_ends_nothing() {
    for pause in [0, 5, 5_000] {
        let mut world = World::pod();
        world.fakes.destroys = false;
        world.ask(create("sidecar"));
        let kill = world.ask(sigkill("sidecar"));
        world.run(ms(pause));
        let start = world.ask(Op::Start(init("sidecar")));
        world.run(ms(300_000));
        assert_eq!((world.answer(kill), world.answer(start)), (Some(Answer::Relay), Some(Answer::Relay)));
        world.untouched();
        assert!(world.wedge().is_none(), "{:?}", world.ledger.notes);
        world.does("SIGKILL", Does::Nothing(ms(5)));
        let began = world.now;
        world.relayed(sigkill("sidecar"));
        world.relayed(sigkill("app"));
        world.run(ms(20_000));
        assert_eq!(world.wedge().unwrap().0 - began, ms(10_000), "asked for again it counts");
    }
}

/// The two answers may pass each other.
#[test]
fn a_refusal_that_is_read_after_the_start_ends_nothing_either() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.does("SIGKILL", Does::Fail(ms(20)));
    world.ask(sigkill("sidecar"));
    world.run(ms(1));
    world.relayed(Op::Start(init("sidecar")));
    world.run(ms(300_000));
    world.untouched();
}

#[test]
fn a_sigkill_that_is_refused_while_it_runs_has_its_deadline() {
    let mut world = World::pod();
    world.started("sidecar");
    world.does("SIGKILL", Does::Fail(ms(20)));
    world.ask(sigkill("sidecar"));
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert!(world.wedge().is_some());
}

/// What `delete` has asked for is to end, started meanwhile or not.
#[test]
fn an_end_that_was_refused_before_the_start_is_still_owed() {
    let mut world = World::pod();
    world.fakes.destroys = false;
    world.ask(create("sidecar"));
    let end = world.ask(Op::End("sidecar".into()));
    world.ask(Op::Start(init("sidecar")));
    world.run(ms(1_000));
    assert_eq!(world.exit_of(end).status, 137);
    world.untouched();
}

/// A Delete that was refused before the start is over, too.
#[test]
fn a_delete_that_was_refused_before_the_start_ends_nothing() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.does("Delete", Does::Fail(ms(1)));
    world.relayed(delete("sidecar"));
    world.relayed(Op::Start(init("sidecar")));
    world.run(ms(900_000));
    assert_eq!(world.rungs(), [""; 0]);
}
