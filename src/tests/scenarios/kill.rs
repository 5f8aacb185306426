//! Kill: SIGKILL's deadline to the exit, other signals pending until delivered.

use crate::error::{Code, GuardError};
use crate::io::{Answer, Cause, ConnectionKind, ProcessId, Request, Step, Way};
use crate::policy::Policy;
use crate::task::SIGKILL;
use crate::tests::fake::{Does, at, ms};
use crate::tests::kernel::Lasts;
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, sigterm};

#[test]
fn sigkill_that_hangs_ends_the_sandbox_at_its_deadline() {
    let mut world = World::alone();
    world.stop_sentry();
    let began = world.now;
    let id = world.ask(sigkill("root"));
    world.run(ms(12_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(when - began, times::KILL);
    assert_eq!(why, Cause::KillWithoutExit { process: init("root"), acknowledged: false });
    assert_eq!(world.answer(id), Some(Answer::Done));
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn sigkill_acknowledged_without_an_exit_is_a_wedge() {
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(12_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(when - began, times::KILL);
    assert_eq!(why, Cause::KillWithoutExit { process: init("root"), acknowledged: true });
}

#[test]
fn retries_do_not_restart_the_deadline_and_short_timeouts_do_not_advance_it() {
    for does in [Does::Hang, Does::Fail(ms(900)), Does::Nothing(ms(5)), Does::NotFound(ms(5))] {
        let mut world = World::alone();
        world.does(on::SIGKILL, does);
        let began = world.now;
        for _ in 0..6 {
            let id = world.ask_within(sigkill("root"), Some(ms(2_000)));
            world.run(ms(2_000));
            assert!(world.took(id) <= ms(1_800));
        }
        assert_eq!(world.wedge().unwrap().0 - began, times::KILL, "{does:?}");
    }
}

#[test]
fn a_caller_who_leaves_early_is_told_when_it_ends() {
    let mut world = World::alone();
    world.stop_sentry();
    let id = world.ask_within(sigkill("root"), Some(ms(2_000)));
    world.run(ms(2_000));
    let GuardError::Pending { waited, ends_in, .. } = world.error(id) else { panic!() };
    assert_eq!((waited, ends_in), (ms(1_800), ms(8_200)));
    assert_eq!(world.code(id), Code::DeadlineExceeded);
    world.untouched();
}

#[test]
fn sigkills_that_hang_share_one_forward() {
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Hang);
    for _ in 0..5 {
        world.ask_within(sigkill("root"), Some(ms(1_000)));
        world.run(ms(1_000));
    }
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Kill { signal: SIGKILL, .. })), 1);
}

#[test]
fn an_exit_in_time_stops_the_clock() {
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
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
    world.does(on::SIGKILL, Does::Hang);
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
    world.does(on::SIGKILL, Does::Never);
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
    world.relayed(Request::Exec(exec.clone(), Default::default()));
    world.does(on::SIGKILL, Does::Nothing(ms(1)));
    world.relayed(Request::Kill { process: exec, signal: SIGKILL, all: false });
    world.run(ms(120_000));
    world.untouched();
}

/// gVisor destroys a container that was created and not started, and says nothing of an exit.
#[test]
fn a_root_that_never_started_ends_by_its_deadline_and_has_an_exit() {
    let mut world = World::new(Policy::default());
    world.relayed(create("root"));
    let wait = world.ask(Request::Wait(init("root")));
    world.does(on::START, Does::Hang);
    world.ask(Request::Start(init("root")));
    world.does(on::SIGKILL, Does::Nothing(ms(1)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(13_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
    assert_eq!(world.exit_of(wait).status, 137);
}

#[test]
fn who_waits_for_a_member_that_never_started_is_told_and_nobody_is_hurt() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    let wait = world.ask(Request::Wait(init("sidecar")));
    world.does(on::SIGKILL, Does::Nothing(ms(1)));
    world.relayed(sigkill("sidecar"));
    world.run(ms(120_000));
    assert_eq!(world.code(wait), Code::NotFound);
    assert_eq!(world.took(wait), times::KILL);
    world.untouched();
}

#[test]
fn other_signals_are_pending_after_two_seconds() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Hang);
    let id = world.ask(sigterm("root"));
    world.run(ms(2_000));
    assert_eq!(world.took(id), ms(2_000));
    assert_eq!(world.answer(id), Some(Answer::Done));
    world.untouched();
}

#[test]
fn a_pending_signal_is_sent_until_it_is_acknowledged_once() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Hang);
    world.ask(sigterm("root"));
    world.run(ms(70_000));
    assert_eq!(terms(&world), 3);
    world.does(on::KILL, Does::Work(ms(1)));
    world.run(ms(600_000));
    assert_eq!(terms(&world), 4);
    assert_eq!(world.guard.open_ends().calls, 0);
    world.untouched();
}

#[test]
fn a_pending_signal_is_not_doubled_by_retries() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Hang);
    for _ in 0..5 {
        world.ask(sigterm("root"));
        world.run(ms(2_500));
    }
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Kill { signal: 15, .. })), 1);
}

fn terms(world: &World) -> usize {
    world.ledger.count(|request| matches!(request, Request::Kill { signal: 15, .. }))
}

/// SIGTERM has failed for so long that the guard sends it again, after a while.
fn failed() -> World {
    let mut world = World::alone();
    world.does(on::KILL, Does::Fail(ms(1)));
    for _ in 0..2 {
        world.ask(sigterm("root"));
        world.run(ms(2_500));
    }
    assert_eq!(terms(&world), 2);
    world.does(on::KILL, Does::Work(ms(1)));
    world
}

#[test]
fn a_failed_signal_is_sent_again_unless_its_sender_has_done_so() {
    for (signal, all, terms_in_all) in [(15, false, 3), (15, true, 4), (1, false, 3)] {
        let mut world = failed();
        world.relayed(Request::Kill { process: init("root"), signal, all });
        world.run(ms(600_000));
        assert_eq!(terms(&world), terms_in_all, "{signal} {all}");
    }
}

/// runsc knows none of real time, which an image may stop by: the SIGKILL that follows needs a success, and sending it
/// again would only hold the container's lock. What is no signal at all is always refused.
#[test]
fn a_signal_that_runsc_cannot_know_succeeds_for_its_sender_and_is_not_sent_again() {
    for (signal, succeeds) in [(0, false), (37, true), (64, true), (65, false)] {
        let mut world = World::alone();
        world.does(on::KILL, Does::Fail(ms(1)));
        let kill = Request::Kill { process: init("root"), signal, all: false };
        world.relayed(kill.clone());
        world.run(ms(2_500));
        let retry = world.ask(kill);
        world.run(ms(600_000));
        let answer = if succeeds { Answer::Done } else { Answer::Relay };
        assert_eq!(world.answer(retry), Some(answer), "{signal}");
        assert_eq!(world.ledger.count(|request| matches!(request, Request::Kill { .. })), 2, "{signal}");
    }
}

#[test]
fn that_one_signal_fails_says_nothing_of_another() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Fail(ms(1)));
    world.relayed(sigterm("root"));
    world.run(ms(2_500));
    world.relayed(Request::Kill { process: init("root"), signal: 1, all: false });
    world.run(ms(600_000));
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Kill { .. })), 2);
}

#[test]
fn a_failed_signal_is_moot_after_the_exit() {
    let mut world = failed();
    world.exits(&init("root"), 0);
    world.run(ms(600_000));
    assert_eq!(terms(&world), 2);
}

#[test]
fn a_signal_that_somebody_waits_for_is_not_given_up() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Work(ms(500)));
    world.does(on::SIGKILL, Does::Nothing(ms(1)));
    let term = world.ask(sigterm("root"));
    world.ask(sigkill("root"));
    world.run(ms(501));
    assert_eq!(world.answer(term), Some(Answer::Relay));
    assert_eq!(world.ledger.cancelled.len(), 0);
}

/// One SIGKILL is as good as two; any other signal counts.
#[test]
fn two_at_once_share_a_sigkill_and_no_other_signal() {
    for (request, sent) in [(sigkill("root"), 1), (sigterm("root"), 2)] {
        let mut world = World::alone();
        for on in [on::KILL, on::SIGKILL] {
            world.does(on, Does::Nothing(ms(100)));
        }
        let both = [request.clone(), request.clone()].map(|request| world.ask(request));
        world.run(ms(101));
        assert_eq!(world.ledger.count(|one| matches!(one, Request::Kill { .. })), sent, "{request:?}");
        assert!(both.iter().all(|id| world.answer(*id) == Some(Answer::Relay)), "{request:?}");
    }
}

/// To the init alone is not to all.
#[test]
fn a_pending_signal_stands_for_no_other() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Hang);
    for all in [false, true] {
        world.ask(Request::Kill { process: init("root"), signal: 15, all });
        world.run(ms(2_500));
    }
    assert_eq!(terms(&world), 2);
}

/// What has worked in between has failed for no time.
#[test]
fn a_signal_that_fails_now_and_then_is_the_callers_to_send_again() {
    let mut world = World::alone();
    for does in [Does::Fail(ms(1)), Does::Work(ms(1)), Does::Fail(ms(1))] {
        world.does(on::KILL, does);
        world.relayed(sigterm("root"));
        world.run(ms(2_500));
    }
    world.run(ms(600_000));
    assert_eq!(terms(&world), 3);
}

#[test]
fn an_exit_a_sigkill_or_a_delete_cancels_what_is_pending() {
    for cancels in ["exit", "kill", "delete", "late kill"] {
        let mut world = World::alone();
        world.does(on::KILL, Does::Never);
        let term = world.ask(sigterm("root"));
        if cancels == "late kill" {
            world.ask(sigkill("root"));
        }
        world.run(ms(2_000));
        assert_eq!(world.answer(term), Some(Answer::Done));
        world.does(on::SIGKILL, Does::Nothing(ms(1)));
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
    world.does(on::KILL, Does::Never);
    let term = world.ask(sigterm("root"));
    world.abandon(term);
    world.exits(&init("root"), 0);
    world.run(ms(1));
    assert_eq!(world.ledger.cancelled.len(), 1);
}

#[test]
fn during_the_escalation_signals_are_answered_by_the_guard() {
    let mut world = World::alone();
    world.stop_sentry();
    world.step(Step::KillAll, Lasts::For(ms(300)));
    world.ask(sigkill("root"));
    world.run(ms(10_000));
    assert_eq!(world.steps(), [Step::Diagnose]);
    let term = world.ask(sigterm("root"));
    let kill = world.ask(sigkill("root"));
    assert_eq!(world.answer(term), Some(Answer::Done));
    world.run(ms(1_000));
    assert_eq!(world.answer(kill), Some(Answer::Done));
    assert!(world.now >= at(10_000));
}

#[test]
fn a_sigkill_goes_past_the_real_shim_where_nobody_is_to_be_spared() {
    let way = |world: &mut World, process: ProcessId, signal: u32, all: bool| {
        let id = world.ask(Request::Kill { process, signal, all });
        world.ledger.forwarded[&id]
    };
    let (past, through) = (Way::Sentry, Way::Shim(ConnectionKind::Own));
    assert_eq!(way(&mut World::alone(), init("root"), SIGKILL, false), past);
    assert_eq!(way(&mut World::pod(), init("app"), SIGKILL, false), past);
    assert_eq!(way(&mut World::siblings(), init("root"), SIGKILL, false), past);

    // The last of all members, and whoever ends with the root.
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Never);
    assert_eq!(way(&mut world, init("app"), SIGKILL, false), through);
    assert_eq!(way(&mut world, init("side"), SIGKILL, false), past);
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Never);
    world.ask(sigkill("root"));
    assert_eq!(way(&mut world, init("app"), SIGKILL, false), past);

    // What else the real shim has to do, or to know.
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    assert_eq!(way(&mut world, exec, SIGKILL, false), through);
    assert_eq!(way(&mut world, init("root"), 15, false), through);
    assert_eq!(way(&mut world, init("root"), SIGKILL, true), through);
    let mut world = World::pod();
    world.relayed(create("late"));
    assert_eq!(way(&mut world, init("late"), SIGKILL, false), through);
    let mut world = World::pod();
    world.relayed(Request::Pause("app".into()));
    assert_eq!(way(&mut world, init("app"), SIGKILL, false), through);
    let mut world = World::pod();
    world.relayed(Request::Pause("app".into()));
    world.relayed(Request::Resume("app".into()));
    assert_eq!(way(&mut world, init("app"), SIGKILL, false), past);
}
