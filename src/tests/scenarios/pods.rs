//! One container of a pod: when its end costs the others their sandbox, and when not.

use crate::error::{Code, GuardError};
use crate::io::{Answer, Cause, Request};
use crate::policy::Policy;
use crate::task::SIGKILL;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Hears;
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill};

fn kill_without_effect(world: &mut World) {
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.relayed(sigkill("app"));
}

#[test]
fn an_unacknowledged_kill_of_a_member_ends_the_sandbox_at_its_deadline() {
    let mut world = World::pod();
    world.does(on::SIGKILL, Does::Hang);
    let began = world.now;
    let id = world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
    assert_eq!(world.answer(id), Some(Answer::Done));
    assert_eq!(world.published(&init("app")), [137]);
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn a_silent_sentry_ends_the_sandbox_at_the_deadline() {
    let mut world = World::siblings();
    kill_without_effect(&mut world);
    world.fakes.sentry = Hears::Nothing;
    let began = world.now;
    world.run(ms(12_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took >= ms(9_990) && took <= times::KILL, "{took:?}");
    assert_eq!(world.ledger.probes.len(), 3);
}

#[test]
fn a_sentry_that_answers_has_until_the_hard_limit() {
    let mut world = World::siblings();
    kill_without_effect(&mut world);
    let began = world.now - crate::time::Time(ms(5));
    world.run(ms(299_000));
    world.untouched();
    world.run(ms(2_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(when.0 - began, times::HARD_LIMIT);
    assert_eq!(why, Cause::KillWithoutExit { process: init("app"), acknowledged: true });
    assert_eq!(world.ledger.probes.len(), 1);
}

#[test]
fn with_hard_limit_off_only_the_root_ends_a_sandbox_that_answers() {
    let mut world = World::siblings_with(Policy { hard_limit: None, ..Policy::default() });
    kill_without_effect(&mut world);
    world.run(ms(3_600_000));
    world.untouched();
    world.does(on::SIGKILL, Does::Hang);
    let id = world.ask_within(sigkill("app"), Some(ms(2_000)));
    world.run(ms(2_000));
    assert!(matches!(world.error(id), GuardError::PendingForever { .. }));
    let began = world.now;
    world.ask(sigkill("root"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

#[test]
fn when_the_root_is_being_ended_too_the_deadline_is_the_members_own() {
    let mut world = World::pod();
    kill_without_effect(&mut world);
    let began = world.now - crate::time::Time(ms(5));
    world.run(ms(5_000));
    world.relayed(sigkill("root"));
    world.run(ms(7_000));
    assert_eq!(world.wedge().unwrap().0.0 - began, times::KILL);
}

/// Its `runsc start` waits for a lock, and nobody will ever ask for this member's end: CRI has not seen it run.
#[test]
fn a_start_that_hangs_when_the_root_is_gone_does_not_outlast_the_kill_deadline() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.does(on::START, Does::Hang);
    let start = world.ask(Request::Start(init("sidecar")));
    world.relayed(sigkill("app"));
    world.relayed(sigkill("root"));
    let began = world.now;
    world.run(ms(13_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took <= times::KILL, "{took:?}");
    assert!(world.took(start) <= ms(12_000));
}

#[test]
fn a_member_that_never_started_goes_with_its_root_quietly() {
    let mut world = World::pod();
    world.relayed(create("sidecar"));
    world.relayed(sigkill("root"));
    world.run(ms(120_000));
    world.untouched();
}

#[test]
fn an_exec_that_has_ended_is_deleted_from_the_record_at_its_deadline() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    world.exits(&exec, 7);
    world.run(ms(1));
    world.does(on::DELETE, Does::Never);
    let id = world.ask(Request::Delete(exec));
    world.run(ms(60_000));
    assert_eq!(world.exit_of(id).status, 7);
    assert_eq!(world.took(id), times::DELETE);
    world.untouched();
}

#[test]
fn what_waits_behind_another_containers_create_costs_nobody_the_sandbox() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Work(ms(60_000)));
    let sidecar = world.ask(create("sidecar"));
    world.run(ms(100));
    let kill = world.ask_within(sigkill("app"), Some(ms(2_000)));
    let delete = world.ask(delete("app"));
    let exec = world.ask(Request::Pause("app".into()));
    world.run(ms(50_000));
    world.untouched();
    let GuardError::Pending { .. } = world.error(kill) else { panic!() };
    assert_eq!(world.code(delete), Code::DeadlineExceeded);
    assert_eq!(world.code(exec), Code::DeadlineExceeded);
    world.run(ms(10_000));
    assert_eq!(world.answer(sidecar), Some(Answer::Relay));
    assert_eq!(world.published(&init("app")), [137]);
    world.run(ms(600_000));
    world.untouched();
}

#[test]
fn time_behind_a_create_does_not_count_and_the_rest_does() {
    let mut world = World::siblings_with(Policy { hard_limit: Some(ms(30_000)), ..Policy::default() });
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.fakes.sentry = Hears::Answers(ms(10));
    let began = world.now;
    world.relayed(sigkill("app"));
    world.run(ms(995));
    world.does(on::CREATE, Does::Work(ms(60_000)));
    world.ask(create("sidecar"));
    world.run(ms(100_000));
    // One second before the Create, 29 after it.
    assert_eq!(world.wedge().unwrap().0 - began, ms(90_000));
}

#[test]
fn behind_a_create_a_silent_sentry_is_a_wedge_all_the_same() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Work(ms(60_000)));
    world.ask(create("sidecar"));
    world.run(ms(100));
    world.fakes.sentry = Hears::Nothing;
    let began = world.now;
    world.ask(sigkill("app"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
}

#[test]
fn what_the_probes_said_to_an_earlier_clock_is_out_of_date() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.relayed(sigkill("app"));
    world.run(ms(9_000));
    assert_eq!(world.ledger.probes.len(), 1);
    // The sentry answered some seconds before; from now on it does not.
    world.fakes.sentry = Hears::Nothing;
    let exec = world.exec("root", "e");
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.relayed(Request::Kill { process: exec, signal: SIGKILL, all: false });
    world.run(ms(12_000));
    // The container that was spared is ended by the new verdict, too.
    let (when, why) = world.wedge().unwrap();
    assert_eq!(why, Cause::KillWithoutExit { process: init("app"), acknowledged: true });
    assert!(when - began > ms(9_000) && when - began <= times::KILL);
}

#[test]
fn a_member_may_come_and_go_while_the_pod_lives() {
    let mut world = World::pod();
    for round in 0..200 {
        let shutdown = world.ask(Request::Shutdown);
        assert_eq!(world.answer(shutdown), Some(Answer::Done));
        world.relayed(sigkill("app"));
        world.relayed(delete("app"));
        let name = world.guard.record();
        assert_eq!(name.len(), 1, "round {round}");
        world.ledger.published.clear();
        world.started("app");
    }
    world.untouched();
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Shutdown)), 0);
}
