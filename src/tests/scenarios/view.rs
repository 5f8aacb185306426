//! What an operator sees, and the end that an operator asks for.

use std::vec;
use std::vec::Vec;

use crate::error::Code;
use crate::io::{Answer, Cause, Method, Request, Status, Step, StepKind};
use crate::policy::Policy;
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::world::{World, create, delete, init, sigkill, state};
use crate::view::{Awaited, CallView, Progress};

#[test]
fn looking_at_a_healthy_sandbox_shows_its_containers_and_changes_nothing() {
    let mut world = World::pod();
    world.ask(Request::Wait(init("app")));
    let seen = world.guard.view(world.now + ms(1_000));
    assert_eq!((seen.progress, seen.escalating, seen.overdue), (Progress::Serving, None, None));
    let containers: Vec<_> = seen.containers.iter().map(|one| (one.id.as_str(), one.status)).collect();
    assert_eq!(containers, [("app", Status::Running), ("root", Status::Running)]);
    let [wait] = &seen.requests[..] else { panic!("{:?}", seen.requests) };
    assert_eq!((wait.method, wait.waited, wait.answered_in), (Method::Wait, ms(1_000), None));
    assert!(seen.deadlines.is_empty() && seen.left.is_empty());
    assert_eq!(world.guard.view(world.now), world.guard.view(world.now));
    world.untouched();
}

#[test]
fn a_wedge_shows_who_waits_for_what_and_when_it_ends() {
    let mut world = World::alone();
    world.stop_sentry();
    world.ask(sigkill("root"));
    world.run(ms(3_000));
    let seen = world.guard.view(world.now);
    let [clock] = &seen.deadlines[..] else { panic!("{:?}", seen.deadlines) };
    assert_eq!((clock.effect, clock.waited, clock.ends_in), (Awaited::Exit, ms(3_000), Some(ms(7_000))));
    world.ask(state("root"));
    world.run(ms(3_000));
    assert_eq!(world.guard.view(world.now).unanswered, Some(Method::State));
}

#[test]
fn a_create_under_way_is_a_clock_of_its_own() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Never);
    world.ask(create("root"));
    world.run(ms(10_000));
    let seen = world.guard.view(world.now);
    let [clock] = &seen.deadlines[..] else { panic!("{:?}", seen.deadlines) };
    assert_eq!((clock.effect, clock.ends_in), (Awaited::Creation, Some(ms(80_000))));
}

#[test]
fn the_guards_own_question_is_no_checkpoint_of_containerds() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Never);
    world.does(on::CHECKPOINT, Does::Never);
    world.ask(sigkill("app"));
    world.run(ms(5_000));
    let calls = world.guard.view(world.now).calls;
    assert_eq!(calls.iter().map(CallView::name).collect::<Vec<_>>(), ["Kill", "greeting"]);
}

#[test]
fn reaping_begins_the_escalation_at_once_and_reports_the_exits() {
    let mut world = World::pod();
    let wait = world.ask(Request::Wait(init("app")));
    let reap = world.ask(Request::Reap);
    assert_eq!(world.answer(reap), Some(Answer::Done));
    assert_eq!(world.wedge().unwrap().1, Cause::Reaped);
    assert_eq!(world.guard.view(world.now).progress, Progress::Step(StepKind::Diagnose));
    world.run(ms(2_500));
    assert_eq!(world.steps(), [Step::Diagnose, Step::KillSandbox, Step::KillAll, Step::Release]);
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!((world.published(&init("root")), world.published(&init("app"))), (vec![137], vec![137]));
    let seen = world.guard.view(world.now);
    assert_eq!((seen.progress, seen.escalating, seen.left.len()), (Progress::Ended, None, 0));
    let again = world.ask(Request::Reap);
    assert_eq!(world.answer(again), Some(Answer::Done));
    let deleted = world.ask(delete("root"));
    assert_eq!(world.exit_of(deleted).status, 137);
}

#[test]
fn reaping_what_the_kernel_keeps_alive_is_refused_by_name() {
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.unkillable = vec!["pid 9 (exe, sentry) state D".into()];
    world.ask(Request::Reap);
    world.run(ms(10_000));
    let seen = world.guard.view(world.now);
    assert_eq!((seen.progress, seen.left.is_empty()), (Progress::Unkillable, false));
    let again = world.ask(Request::Reap);
    assert_eq!(world.code(again), Code::FailedPrecondition);
}
