//! The steps, what is answered during and after them, and what cannot be killed.

use crate::error::Code;
use crate::exit::{Exit, REAL_SHIM_LOST_IT};
use crate::io::{
    Answer, Cause, Event, Input, Note, Outcome, ProcessId, ProcessSpec, Request, ResponseInfo, Status, Step,
};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::Lasts;
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, pids, sigkill, sigterm, state};

fn wedged() -> World {
    let mut world = World::alone();
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(10_000));
    world
}

#[test]
fn every_step_is_left_as_soon_as_its_effect_is_there() {
    let mut world = wedged();
    let began = world.now;
    world.run(ms(2_000));
    assert_eq!(world.steps(), [Step::Diagnose, Step::KillSandbox, Step::KillAll, Step::Release]);
    let ended = world.ledger.notes.iter().find(|(_, note)| matches!(note, Note::Ended { .. })).unwrap();
    assert!(ended.0 - began < ms(300), "{:?}", ended.0 - began);
}

#[test]
fn a_real_shim_that_is_stopped_is_not_waited_for() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.cannot_report = true;
    let delete = world.ask(delete("root"));
    world.run(ms(4_500));
    assert_eq!(world.exit_of(delete).status, 137);
    assert!(world.took(delete) < times::DELETE + ms(300), "{:?}", world.took(delete));
}

#[test]
fn the_whole_escalation_takes_two_seconds_at_most() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.reports = false;
    for step in [Step::Diagnose, Step::KillSandbox, Step::Release] {
        world.step(step, Lasts::Forever);
    }
    world.step(Step::KillAll, Lasts::For(ms(400)));
    let kill = world.ask(sigkill("root"));
    let wait = world.ask(Request::Wait(init("root")));
    let delete = world.ask(delete("root"));
    world.run(ms(4_500));
    assert_eq!(world.answer(kill), Some(Answer::Done));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.exit_of(delete).status, 137);
    assert_eq!(world.took(delete), ms(4_500));
    assert!(!world.guard.is_released());
    let left = world
        .ledger
        .notes
        .iter()
        .any(|(_, note)| matches!(note, Note::Ended { left, .. } if left.len() == 1));
    assert!(left);
}

#[test]
fn a_release_that_comes_late_on_a_busy_node_still_tells_what_is_left() {
    let mut world = World::alone();
    world.stop_sentry();
    world.step(Step::Release, Lasts::For(ms(2_500)));
    world.ask(sigkill("root"));
    world.run(ms(12_100));
    assert!(!world.guard.is_released());
    world.run(ms(2_500));
    assert!(world.guard.is_released());
    let told = world.ledger.notes.iter().filter_map(|(_, note)| match note {
        Note::Ended { left, unsure, .. } => Some((left.len(), *unsure)),
        Note::ReleasedLate(left) => Some((left.len(), false)),
        _ => None,
    });
    assert!(told.eq([(1, true), (0, false)]));
}

#[test]
fn the_real_shims_own_words_are_kept_but_for_the_128() {
    let mut world = wedged();
    world.run(ms(2_000));
    // Reported by the real shim as 128, in KillSandbox.
    assert_eq!(world.published(&init("root")), [137]);
}

/// What the real shim says of a process that it does not find any more.
fn lost(world: &mut World, container: &str) {
    let exit = Exit { pid: 101, status: REAL_SHIM_LOST_IT, at_ns: 5 };
    world.event(Event::Exit(init(container), exit));
}

#[test]
fn until_something_is_killed_an_exit_of_128_is_the_programs_own() {
    let mut world = World::alone();
    world.step(Step::Diagnose, Lasts::For(ms(200)));
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(10_100));
    assert_eq!(world.steps(), [Step::Diagnose]);
    lost(&mut world, "root");
    assert_eq!(world.published(&init("root")), [REAL_SHIM_LOST_IT]);
}

/// What the real shim says of a sandbox of which the kernel keeps a thread, while the guard kills it: told as `status`, and
/// not before that thread is dead.
fn is_withheld(says: impl FnOnce(&mut World), status: u32) {
    let mut world = World::alone();
    world.step(Step::KillSandbox, Lasts::For(ms(300)));
    world.fakes.unkillable = ["pid 7 state D".into()].into();
    world.stop_sentry();
    let wait = world.ask(Request::Wait(init("root")));
    world.ask(sigkill("root"));
    world.run(ms(10_150));
    assert_eq!(world.steps(), [Step::Diagnose, Step::KillSandbox]);
    says(&mut world);
    world.run(ms(60_000));
    assert!(world.published(&init("root")).is_empty());
    assert_eq!(world.answer(wait), None);
    world.stuck_die();
    world.run(ms(2_000));
    assert_eq!(world.published(&init("root")), [status]);
    assert_eq!(world.exit_of(wait).status, status);
}

#[test]
fn what_the_real_shim_has_lost_is_no_exit_while_it_may_live() {
    is_withheld(|world| lost(world, "root"), 137);
}

/// Its container may have ended, and the sentry have said so with its last breath: whoever is told deletes it at once, which
/// cannot be done yet.
#[test]
fn an_exit_of_its_own_is_told_once_the_sandbox_is_dead_too() {
    is_withheld(|world| world.event(Event::Exit(init("root"), Exit { pid: 101, status: 3, at_ns: 5 })), 3);
}

#[test]
fn so_is_one_that_only_the_answer_to_a_wait_has_told() {
    let mut world = World::alone();
    let wait = world.ask(Request::Wait(init("root")));
    let call = *world.ledger.in_flight.iter().next_back().unwrap();
    world.step(Step::KillSandbox, Lasts::For(ms(300)));
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(10_150));
    world.ledger.in_flight.remove(&call);
    let exit = Exit { pid: 101, status: 3, at_ns: 5 };
    world.handle(Input::Returned(call, Outcome::Done(ResponseInfo::Exit(exit))));
    assert_eq!(world.answer(wait), None);
    world.run(ms(2_000));
    assert_eq!(world.exit_of(wait).status, 3);
    assert_eq!(world.published(&init("root")), [3]);
}

#[test]
fn what_the_real_shim_has_lost_is_told_once_the_sandbox_is_dead_and_the_rest_awaited() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    world.step(Step::KillSandbox, Lasts::For(ms(300)));
    world.fakes.reports = false;
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(10_150));
    lost(&mut world, "root");
    assert!(world.published(&init("root")).is_empty());
    world.run(ms(300));
    // Not before the real shim has told of the exec, or the step's time is over.
    assert_eq!(world.steps(), [Step::Diagnose, Step::KillSandbox]);
    assert_eq!(world.published(&init("root")), [137]);
    assert!(world.published(&exec).is_empty());
    world.run(ms(2_000));
    assert_eq!(world.published(&exec), [137]);
}

#[test]
fn nobody_waits_for_the_exit_of_what_never_started() {
    let mut world = World::alone();
    let exec = ProcessId { container: "root".into(), exec: "e".into() };
    world.relayed(Request::Exec(exec.clone(), ProcessSpec::default()));
    world.stop_sentry();
    let began = world.now;
    world.ask(sigkill("root"));
    world.run(ms(12_000));
    let ended = world.ledger.notes.iter().find(|(_, note)| matches!(note, Note::Ended { .. })).unwrap();
    assert!(ended.0 - began < times::KILL + ms(300), "{:?}", ended.0 - began);
}

#[test]
fn a_task_that_has_exited_keeps_its_status() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world.stop_sentry();
    world.ask(delete("root"));
    world.run(ms(4_500));
    let app = world.ask(Request::Wait(init("app")));
    assert_eq!(world.exit_of(app).status, 3);
    assert_eq!(world.published(&init("app")), [3]);
    assert_eq!(world.published(&exec), [137]);
}

#[test]
fn what_is_on_its_way_when_the_sandbox_ends_is_answered_from_the_record() {
    let mut world = World::alone();
    world.stop_sentry();
    for on in [on::STATE, on::STATS, on::PIDS, on::KILL] {
        world.does(on, Does::Never);
    }
    world.ask(sigkill("root"));
    world.run(ms(9_950));
    let state = world.ask(state("root"));
    let (stats, pids) = (world.ask(Request::Stats("root".into())), world.ask(pids("root")));
    let term = world.ask(Request::Kill { process: init("root"), signal: 15, all: true });
    world.run(ms(1_500));
    assert_eq!(world.status_of(state), (Status::Stopped, Some(137)));
    assert_eq!((world.code(stats), world.code(pids)), (Code::NotFound, Code::NotFound));
    assert_eq!(world.answer(term), Some(Answer::Done));
}

#[test]
fn all_answers_after_a_forced_end_agree() {
    let mut world = wedged();
    world.run(ms(2_000));
    let wait = world.ask(Request::Wait(init("root")));
    let state = world.ask(state("root"));
    let kill = world.ask(sigkill("root"));
    let term = world.ask(sigterm("root"));
    let stats = world.ask(Request::Stats("root".into()));
    let pids = world.ask(pids("root"));
    let again = world.ask(create("root"));
    let exec = world.ask(Request::Pause("root".into()));
    let join = world.ask(Request::Join("app".into()));
    let exit = world.exit_of(wait);
    assert_eq!((exit.status, exit.pid), (137, 101));
    let Some(Answer::State { exit: of_state, status, .. }) = world.answer(state) else { panic!() };
    assert_eq!((of_state, status), (Some(exit), Status::Stopped));
    assert_eq!(world.code(kill), Code::NotFound);
    assert_eq!(world.code(term), Code::NotFound);
    assert_eq!(world.code(stats), Code::NotFound);
    assert_eq!(world.answer(pids), Some(Answer::Pids([].into())));
    assert_eq!(world.code(again), Code::FailedPrecondition);
    assert_eq!(world.code(exec), Code::FailedPrecondition);
    assert_eq!(world.code(join), Code::FailedPrecondition);
    let delete_once = world.ask(delete("root"));
    let delete_twice = world.ask(delete("root"));
    assert_eq!(world.exit_of(delete_once), exit);
    assert_eq!(world.code(delete_twice), Code::NotFound);
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.ledger.quit);
}

#[test]
fn everything_that_waits_when_the_escalation_begins_is_answered_by_its_end() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    world.stop_sentry();
    for on in [on::STATS, on::PAUSE, on::EXEC, on::STATE, on::PIDS] {
        world.does(on, Does::Never);
    }
    let wait = world.ask(Request::Wait(exec.clone()));
    let pause = world.ask(Request::Pause("app".into()));
    let resized =
        world.ask(Request::Exec(crate::io::ProcessId { exec: "f".into(), ..exec }, Default::default()));
    world.ask(delete("root"));
    world.run(ms(4_500));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.code(pause), Code::FailedPrecondition);
    assert_eq!(world.code(resized), Code::FailedPrecondition);
    assert_eq!(world.guard.open_ends().waiting, 0);
    assert_eq!(world.guard.open_ends().calls, 0);
    assert_eq!(world.guard.poll_timeout(), None);
}

#[test]
fn the_death_of_the_real_shim_ends_the_sandbox_at_once() {
    let mut world = World::pod();
    let wait = world.ask(Request::Wait(init("app")));
    let stats = world.ask(Request::Stats("app".into()));
    world.shim_dies();
    world.run(ms(200));
    assert_eq!(world.steps(), [Step::KillAll, Step::Release]);
    assert_eq!(world.wedge().unwrap().1, Cause::RealShimDied);
    assert_eq!(world.exit_of(wait).status, 137);
    assert!(world.ledger.answers.contains_key(&stats));
    for id in ["root", "app"] {
        assert_eq!(world.published(&init(id)), [137]);
    }
}

#[test]
fn the_death_of_the_real_shim_in_each_step_changes_nothing_but_the_way() {
    for (after, step) in
        [(10, Step::Diagnose), (60, Step::KillSandbox), (120, Step::KillAll), (170, Step::Release)]
    {
        let mut world = wedged();
        world.run(ms(after));
        assert_eq!(*world.steps().last().unwrap(), step);
        world.shim_dies();
        world.run(ms(2_000));
        assert_eq!(world.published(&init("root")), [137], "{step:?}");
        assert_eq!(world.steps().iter().filter(|one| **one == Step::KillAll).count(), 1, "{step:?}");
        assert!(world.guard.is_released());
    }
}

#[test]
fn a_root_that_has_ended_while_the_sentry_lingers_is_a_wedge() {
    let mut world = World::alone();
    // The real shim knows that the container has ended, but waits for the sentry.
    let soon = world.fakes.exit(&init("root"), 0, ms(3_600_000));
    drop(soon);
    world.relayed(state("root"));
    let began = world.now;
    world.run(ms(9_000));
    world.relayed(state("root"));
    world.untouched();
    world.run(ms(3_000));
    let (when, why) = world.wedge().unwrap();
    assert_eq!(why, Cause::SentryLingers);
    assert!(when - began <= times::KILL);
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn a_root_that_only_seemed_to_have_ended_is_left_alone() {
    let mut world = World::alone();
    let soon = world.fakes.exit(&init("root"), 0, ms(5_000));
    world.expect(soon);
    world.relayed(state("root"));
    world.run(ms(3_600_000));
    world.untouched();
    assert_eq!(world.published(&init("root")), [0]);
}

#[test]
fn a_leftover_is_named_and_the_next_shutdown_tries_again() {
    let mut world = wedged();
    world.fakes.leftover = ["mount /x: busy".into()].into();
    world.run(ms(2_000));
    assert!(!world.guard.is_released());
    let delete = world.ask(delete("root"));
    assert_eq!(world.exit_of(delete).status, 137);
    world.fakes.leftover.clear();
    let shutdown = world.ask(Request::Shutdown);
    world.run(ms(500));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.ledger.quit);
}
