//! Events: as the real shim says them (rule 2), each of the guard's exits once (rule 3), nothing that contradicts one.

use crate::exit::Exit;
use crate::io::{Answer, Event, Input, Outcome, ProcessId, ProcessSpec, Request, ResponseInfo};
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::world::{World, delete, init, pids, sigkill};

#[test]
fn events_pass_in_order() {
    let mut world = World::alone();
    world.ledger.published.clear();
    let exec = ProcessId { container: "root".into(), exec: "e".into() };
    world.exec("root", "e");
    world.event(Event::Other);
    world.exits(&exec, 1);
    world.run(ms(1));
    let seen: std::vec::Vec<Event> = world.ledger.published.iter().map(|(_, event)| event.clone()).collect();
    assert!(
        matches!(&seen[..], [Event::Alive(a), Event::Other, Event::Exit(b, _)] if *a == exec && *b == exec)
    );
}

/// Init has its container's name for its own, and an exec may be given it: only the pid tells whose exit it is.
#[test]
fn the_exit_of_an_exec_that_is_named_like_its_container_is_not_inits() {
    for deleted in [false, true] {
        let mut world = World::pod();
        let exec = world.exec("app", "app");
        let wait = world.ask(Request::Wait(init("app")));
        if deleted {
            world.relayed(Request::Delete(exec.clone()));
        }
        world.event(Event::Exit(init("app"), Exit { pid: 103, status: 5, at_ns: 9 }));
        world.run(ms(100));
        assert_eq!(world.answer(wait), None);
        world.event(Event::Exit(init("app"), Exit { pid: 102, status: 3, at_ns: 9 }));
        assert_eq!(world.exit_of(wait).status, 3);
        world.untouched();
    }
}

/// What the real shim itself says in an odd order, or twice, goes on as it says it: of what runs, of what has ended, of
/// what is deleted, and of what nobody has heard of.
#[test]
fn odd_words_of_the_real_shim_go_on_as_they_come() {
    for id in [init("app"), ProcessId { container: "app".into(), exec: "e".into() }] {
        for (delete, known) in [(false, true), (true, true), (false, false)] {
            let mut world = World::pod();
            let id = if known { id.clone() } else { ProcessId { container: "other".into(), ..id.clone() } };
            if known && !id.is_init() {
                world.exec("app", "e");
            }
            world.ledger.published.clear();
            let exit = |status| Event::Exit(id.clone(), Exit { pid: 7, status, at_ns: 9 });
            if known {
                world.exits(&id, 1);
                world.run(ms(1));
            }
            if delete {
                world.relayed(Request::Delete(id.clone()));
            }
            let odd = [Event::Alive(id.clone()), exit(1), exit(5), Event::Alive(id.clone()), exit(128)];
            for event in &odd {
                world.event(event.clone());
            }
            let seen = world.ledger.published.iter().map(|(_, event)| event);
            let seen: std::vec::Vec<&Event> = seen.skip(usize::from(known)).collect();
            assert_eq!(seen, odd.iter().collect::<std::vec::Vec<_>>());
            world.untouched();
        }
    }
}

/// Also after the guard has ended the sandbox: what it has not had to tell itself is the real shim's to tell.
#[test]
fn only_an_exit_that_the_guard_has_told_silences_the_real_shim() {
    let mut world = World::pod();
    let early = world.exec("app", "early");
    world.exits(&early, 3);
    world.run(ms(1));
    world.relayed(Request::Delete(early.clone()));
    world.fakes.reports = false;
    world.stop_sentry();
    world.ask(delete("root"));
    world.run(ms(4_500));
    assert_eq!(world.published(&init("app")), [137]);
    world.ask(delete("app"));
    world.ledger.published.clear();
    for id in [init("app"), early.clone()] {
        world.event(Event::Alive(id));
    }
    let seen: std::vec::Vec<&Event> = world.ledger.published.iter().map(|(_, event)| event).collect();
    assert_eq!(seen, [&Event::Alive(early)]);
}

#[test]
fn an_exit_that_was_told_is_published_as_it_was_told() {
    let mut world = World::pod();
    // The exits are established before the real shim speaks.
    world.fakes.reports = false;
    world.stop_sentry();
    world.ask(delete("root"));
    world.run(ms(4_500));
    assert_eq!(world.published(&init("app")), [137]);
    world.event(Event::Exit(init("app"), Exit { pid: 102, status: 128, at_ns: 5 }));
    world.event(Event::Alive(init("app")));
    assert_eq!(world.published(&init("app")), [137]);
    let wait = world.ask(Request::Wait(init("app")));
    assert_eq!(world.exit_of(wait).status, 137);
}

/// The real shim answers Wait with one status and publishes another: of a healthy sandbox that is its affair.
#[test]
fn what_a_healthy_real_shim_publishes_passes_whatever_it_has_told() {
    let mut world = World::alone();
    let wait = world.ask(Request::Wait(init("root")));
    let call = *world.ledger.in_flight.iter().next_back().unwrap();
    world.ledger.in_flight.remove(&call);
    let exit = |status| Exit { pid: 101, status, at_ns: 5 };
    world.handle(Input::Returned(call, Outcome::Done(ResponseInfo::Exit(exit(5)))));
    assert_eq!(world.answer(wait), Some(Answer::Relay));
    world.event(Event::Exit(init("root"), exit(1)));
    assert_eq!(world.published(&init("root")), [1]);
}

#[test]
fn of_an_exec_that_never_started_no_exit_is_owed() {
    let mut world = World::alone();
    let exec = ProcessId { container: "root".into(), exec: "e".into() };
    world.relayed(Request::Exec(exec.clone(), ProcessSpec::default()));
    world.exits(&init("root"), 0);
    world.run(ms(1));
    world.relayed(delete("root"));
    assert_eq!(world.guard.open_ends().unpublished, 0);
    world.ask(Request::Shutdown);
    world.run(ms(5_000));
    assert!(world.published(&exec).is_empty());
}

#[test]
fn the_exit_of_a_process_deleted_before_its_event_is_owed() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    let soon = world.fakes.exit(&exec, 5, ms(1_000));
    world.expect(soon);
    world.relayed(Request::Delete(exec.clone()));
    assert!(world.published(&exec).is_empty());
    world.run(ms(1_000));
    assert_eq!(world.published(&exec), [5]);
    assert_eq!(world.guard.open_ends().unpublished, 0);
}

#[test]
fn what_is_owed_when_the_sandbox_ends_is_published_by_the_guard() {
    for shim_dies in [true, false] {
        let mut world = World::alone();
        let exec = world.exec("root", "e");
        drop(world.fakes.exit(&exec, 5, ms(0)));
        world.relayed(Request::Delete(exec.clone()));
        if shim_dies {
            world.shim_dies();
        } else {
            world.relayed(sigkill("root"));
            world.relayed(delete("root"));
            world.ask(Request::Shutdown);
        }
        world.run(ms(2_000));
        assert_eq!(world.published(&exec), [5]);
        assert_eq!(world.published(&init("root")), [137]);
    }
}

#[test]
fn exits_that_the_real_shim_never_publishes_do_not_pile_up() {
    let mut world = World::alone();
    for n in 0..1_000 {
        let exec = world.exec("root", &std::format!("e{n}"));
        drop(world.fakes.exit(&exec, 5, ms(0)));
        world.relayed(Request::Delete(exec));
    }
    assert_eq!(world.guard.open_ends().unpublished, 64);
    assert_eq!(world.guard.open_ends().calls, 0);
    assert_eq!(world.guard.open_ends().processes, 1);
}

#[test]
fn an_exec_that_outlasts_its_container_by_a_moment_is_reported_by_the_real_shim() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    let wait = world.ask(Request::Wait(exec.clone()));
    let again = world.ask(Request::Wait(exec.clone()));
    world.relayed(sigkill("app"));
    world.relayed(delete("app"));
    assert_eq!(world.answer(wait), None);
    world.exits(&exec, 129);
    world.run(ms(5));
    assert_eq!(world.published(&exec), [129]);
    assert_eq!(world.exit_of(wait).status, 129);
    assert_eq!(world.exit_of(again).status, 129);
}

#[test]
fn an_exec_that_outlasts_its_container_for_good_ends_with_the_sandbox() {
    let mut world = World::pod();
    let exec = world.exec("app", "e");
    let wait = world.ask(Request::Wait(exec.clone()));
    world.relayed(sigkill("app"));
    world.relayed(delete("app"));
    world.shim_dies();
    world.run(ms(2_000));
    assert_eq!(world.published(&exec), [137]);
    assert_eq!(world.exit_of(wait).status, 137);
}

#[test]
fn waits_share_a_call_and_end_with_whichever_knows_first() {
    let mut world = World::alone();
    let first = world.ask(Request::Wait(init("root")));
    let second = world.ask(Request::Wait(init("root")));
    assert_eq!(world.ledger.count(|request| matches!(request, Request::Wait(_))), 1);
    world.event(Event::Exit(init("root"), Exit { pid: 101, status: 9, at_ns: 77 }));
    assert_eq!(world.exit_of(first).at_ns, 77);
    assert_eq!(world.exit_of(second).status, 9);
    let third = world.ask(Request::Wait(init("root")));
    assert_eq!(world.exit_of(third).status, 9);
}

#[test]
fn a_lost_wait_ends_with_the_event_and_a_failed_one_with_its_error() {
    let mut world = World::alone();
    let lost = world.ask(Request::Wait(init("root")));
    let call = *world.ledger.in_flight.first().unwrap();
    world.ledger.in_flight.remove(&call);
    world.handle(crate::io::Input::Returned(call, crate::io::Outcome::Lost));
    assert_eq!(world.answer(lost), None);
    let failed = world.ask(Request::Wait(init("root")));
    let call = *world.ledger.in_flight.first().unwrap();
    world.ledger.in_flight.remove(&call);
    world.handle(crate::io::Input::Returned(call, crate::io::Outcome::Failed { not_found: false }));
    assert_eq!(world.answer(failed), Some(Answer::Relay));
}

#[test]
fn lost_connections_lose_no_request() {
    for on in
        [on::STATE, on::STATS, on::PIDS, on::EXEC, on::PAUSE, on::KILL, on::SIGKILL, on::DELETE, on::START]
    {
        let mut world = World::pod();
        world.does(on, Does::Lose(ms(1)));
        let exec = ProcessId { container: "app".into(), exec: "e".into() };
        for request in [
            crate::tests::world::state("app"),
            Request::Stats("app".into()),
            pids("app"),
            Request::Exec(exec, Default::default()),
            Request::Pause("app".into()),
            crate::tests::world::sigterm("app"),
            sigkill("app"),
            delete("app"),
            Request::Start(init("app")),
        ] {
            world.ask(request);
        }
        // The ledger checks that each is answered in its time.
        world.run(ms(200_000));
        assert_eq!(world.guard.open_ends().waiting, 0, "{on:?}");
    }
}

#[test]
fn an_owed_exit_is_not_that_of_the_next_process_of_the_name() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    let soon = world.fakes.exit(&exec, 5, ms(100));
    world.expect(soon);
    world.relayed(Request::Delete(exec.clone()));
    world.exec("root", "e");
    world.run(ms(100));
    assert_eq!(world.published(&exec), [5]);
    assert_eq!(world.guard.open_ends().unpublished, 0);
    world.ledger.published.clear();
    let wait = world.ask(Request::Wait(exec.clone()));
    assert_eq!(world.answer(wait), None);
    world.exits(&exec, 6);
    world.run(ms(5));
    assert_eq!(world.published(&exec), [6]);
}

/// The answer to a Wait has no pid, and what is told later has.
#[test]
fn an_exit_that_wait_has_told_is_that_of_its_pid() {
    let mut world = World::alone();
    world.does(on::WAIT, Does::Never);
    let wait = world.ask(Request::Wait(init("root")));
    let call = *world.ledger.in_flight.last().unwrap();
    let told = ResponseInfo::Exit(Exit { pid: 0, status: 3, at_ns: 4 });
    world.handle(Input::Returned(call, Outcome::Done(told)));
    assert_eq!(world.answer(wait), Some(Answer::Relay));
    let again = world.ask(Request::Wait(init("root")));
    assert_eq!(world.exit_of(again), Exit { pid: 101, status: 3, at_ns: 4 });
}
