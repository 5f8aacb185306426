//! Delete, asked for more than once or in the middle of something: the real shim is asked once, and what it says is told.

use crate::exit::{Exit, REAL_SHIM_LOST_IT};
use crate::io::{Answer, Event, Input, Outcome, Request, ResponseInfo, Step};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Lasts, any_release_one};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, sigterm};

const HOUR: u64 = 3_600_000;

fn deletes(world: &World) -> usize {
    world.ledger.count(|request| matches!(request, Request::Delete(_)))
}

/// Whether containerd or `delete` asks: a second Delete would wait behind the first, for the same lock.
#[test]
fn a_delete_that_is_asked_for_again_is_sent_once() {
    for asked in [delete("app"), Request::End("app".into())] {
        for again in [delete("app"), Request::End("app".into())] {
            let mut world = World::siblings();
            world.exits(&init("app"), 3);
            world.run(ms(1));
            world.does(on::DELETE, Does::Hang);
            world.step(any_release_one(), Lasts::For(ms(1_500)));
            let first = world.ask(asked.clone());
            world.run(ms(500));
            let second = world.ask(again.clone());
            assert_eq!(deletes(&world), 1, "{asked:?}, {again:?}: while it is under way");
            // The call has given up, and the container is being released.
            world.run(ms(2_700));
            let third = world.ask(again.clone());
            assert_eq!(deletes(&world), 1, "{asked:?}, {again:?}: while it is released");
            world.run(ms(HOUR));
            for id in [first, second, third] {
                assert_eq!(world.exit_of(id).status, 3, "{asked:?}, {again:?}");
            }
            world.untouched();
        }
    }
}

/// A real shim that hangs is given its time, and then the command of `runsc` that hangs is ended by it.
#[test]
fn a_delete_for_end_has_the_time_of_any_other() {
    let mut world = World::siblings();
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world.ask(Request::End("app".into()));
    let sent = world.ledger.calls.values().find(|sent| matches!(sent.request, Request::Delete(_)));
    assert_eq!(sent.map(|sent| sent.timeout), Some(times::DELETE + crate::state::WIRE_SLACK));
}

/// An escalation on a busy node may take its own time, and the exit is what follows.
#[test]
fn a_delete_is_answered_with_the_exit_that_a_slow_escalation_brings() {
    let mut world = World::alone();
    world.exits(&init("root"), 5);
    world.run(ms(1));
    world.does(on::DELETE, Does::Hang);
    world.step(Step::KillAll, Lasts::For(ms(6_000)));
    let id = world.ask(delete("root"));
    world.run(ms(60_000));
    assert_eq!(world.exit_of(id).status, 5);
}

/// Only of what the guard has killed does 128 mean that the real shim has lost it: programs end so, too.
#[test]
fn a_status_of_128_is_the_programs_own_as_long_as_nothing_was_killed() {
    let mut world = World::pod();
    world.does(on::DELETE, Does::Never);
    let id = world.ask(delete("app"));
    let call = *world.ledger.in_flight.iter().next_back().unwrap();
    world.ledger.in_flight.remove(&call);
    world.handle(Input::Returned(call, Outcome::Done(ResponseInfo::Exit(lost()))));
    assert_eq!(world.answer(id), Some(Answer::Relay));
    let told = world.ask(Request::End("app".into()));
    assert_eq!(world.exit_of(told).status, REAL_SHIM_LOST_IT);
}

/// The real shim has found its sandbox dead, and says so before it has told any exit.
#[test]
fn a_status_of_128_is_the_guards_sigkill_once_that_was_sent() {
    let mut world = World::alone();
    world.does(on::DELETE, Does::Never);
    world.fakes.reports = false;
    let id = world.ask(delete("root"));
    let call = *world.ledger.in_flight.iter().next_back().unwrap();
    world.run(times::DELETE + ms(120));
    assert!(world.steps().contains(&Step::KillSandbox));
    world.ledger.in_flight.remove(&call);
    world.handle(Input::Returned(call, Outcome::Done(ResponseInfo::Exit(lost()))));
    world.run(ms(60_000));
    assert_eq!(world.exit_of(id).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
}

fn lost() -> Exit {
    Exit { pid: 102, status: REAL_SHIM_LOST_IT, at_ns: 5 }
}

/// What was created and is not known to the real shim any more: nobody has to delete it again.
#[test]
fn what_never_ran_and_is_gone_is_forgotten() {
    let mut world = World::siblings();
    world.relayed(create("late"));
    world.does(on::DELETE, Does::NotFound(ms(1)));
    world.relayed(delete("late"));
    assert!(!world.guard.knows(&init("late"), None));
    assert_eq!(world.guard.record().len(), 3);
    world.run(ms(HOUR));
    world.untouched();
}

/// Once spared, the SIGKILL that is sent again is answered at its deadline, as the first was.
#[test]
fn a_sigkill_to_who_is_spared_is_answered_at_its_deadline() {
    let mut world = World::siblings();
    world.does(on::SIGKILL, Does::Never);
    let first = world.ask(sigkill("app"));
    world.run(ms(30_000));
    let second = world.ask(sigkill("app"));
    world.run(ms(30_000));
    assert_eq!((world.took(first), world.took(second)), (times::KILL, times::KILL));
    world.untouched();
}

/// The record tells it to `delete`, which may come when the guard is dead.
#[test]
fn the_exit_of_what_is_deleted_is_remembered() {
    let mut world = World::siblings();
    world.relayed(sigkill("app"));
    world.relayed(delete("app"));
    assert_eq!(world.guard.deleted_exit("app").map(|exit| exit.status), Some(137));
    assert_eq!(world.guard.deleted_exit("side"), None);
}

/// The root has exited and its Delete is answered, in this moment.
fn is_deleted(world: &mut World) {
    let root = Exit { pid: 101, status: 0, at_ns: 5 };
    world.event(Event::Exit(init("root"), root));
    world.does(on::DELETE, Does::Never);
    world.ask(delete("root"));
    let deleted = *world.ledger.in_flight.last().unwrap();
    world.handle(Input::Returned(deleted, Outcome::Done(ResponseInfo::Exit(root))));
}

#[test]
fn a_signal_on_its_way_to_what_is_deleted_is_given_up() {
    let mut world = World::alone();
    world.does(on::KILL, Does::Never);
    let term = world.ask(sigterm("root"));
    is_deleted(&mut world);
    assert_eq!(world.answer(term), Some(Answer::Done));
    assert_eq!(world.ledger.cancelled.len(), 1);
}

/// The real shim still answers it, whose container was deleted a moment before.
#[test]
fn an_execs_wait_outlasts_the_delete_of_its_container() {
    let mut world = World::alone();
    world.does(on::WAIT, Does::Never);
    let exec = world.exec("root", "e");
    let wait = world.ask(Request::Wait(exec.clone()));
    let call = *world.ledger.in_flight.last().unwrap();
    is_deleted(&mut world);
    assert_eq!(world.answer(wait), None);
    let told = ResponseInfo::Exit(Exit { pid: 0, status: 3, at_ns: 4 });
    world.handle(Input::Returned(call, Outcome::Done(told)));
    assert_eq!(world.answer(wait), Some(Answer::Relay));
}
