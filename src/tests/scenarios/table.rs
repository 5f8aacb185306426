//! The rows of the table that have no file of their own, and what must look the same while all is well.

use crate::error::{Code, GuardError};
use crate::io::{Answer, ProcessSpec, Request, Sentry, Status, Step};
use crate::policy::Policy;
use crate::tests::fake::{Does, ms};
use crate::tests::on::{self, On};
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, pids, sigkill, sigterm, state};

#[test]
fn a_healthy_life_is_passed_through() {
    let mut world = World::alone();
    let wait = world.ask(Request::Wait(init("root")));
    for request in [
        state("root"),
        pids("root"),
        Request::Stats("root".into()),
        Request::Update("root".into()),
        Request::Pause("root".into()),
        Request::Resume("root".into()),
        Request::Checkpoint("root".into()),
        Request::ResizePty(init("root")),
        Request::CloseIo(init("root")),
        sigterm("root"),
    ] {
        world.relayed(request);
    }
    let exec = world.exec("root", "e");
    world.exits(&exec, 3);
    world.run(ms(1));
    world.relayed(Request::Delete(exec.clone()));
    assert_eq!(world.published(&exec), [3]);
    assert_eq!(world.answer(wait), None);
    world.relayed(sigkill("root"));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
    world.relayed(delete("root"));
    let shutdown = world.ask(Request::Shutdown);
    world.run(ms(300));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.ledger.quit);
    assert_eq!(world.steps(), [Step::KillAll, Step::Release]);
}

#[test]
fn connect_is_answered_from_the_record() {
    let mut world = World::alone();
    world.does(on::CONNECT, Does::Never);
    let known = world.ask(Request::Connect("root".into()));
    let unknown = world.ask(Request::Connect("other".into()));
    assert_eq!(world.answer(known), Some(Answer::Connect(101)));
    assert_eq!(world.answer(unknown), Some(Answer::Connect(0)));
}

#[test]
fn what_is_late_and_starts_no_clock_is_an_error_and_nothing_else() {
    let exec = crate::io::ProcessId { container: "root".into(), exec: "e".into() };
    let rows = [
        (on::EXEC, Request::Exec(exec, ProcessSpec::default()), times::EXEC),
        (on::UPDATE, Request::Update("root".into()), times::EXEC),
        (on::PAUSE, Request::Pause("root".into()), times::EXEC),
        (on::RESUME, Request::Resume("root".into()), times::EXEC),
        (on::RESIZE_PTY, Request::ResizePty(init("root")), times::EXEC),
        (on::CLOSE_IO, Request::CloseIo(init("root")), times::EXEC),
        (on::START, Request::Start(init("root")), times::START),
        (on::STATS, Request::Stats("root".into()), times::STATS),
    ];
    for (on, request, limit) in rows {
        let mut world = World::alone();
        world.does(on, Does::Never);
        let id = world.ask(request);
        world.run(limit - ms(1));
        assert_eq!(world.answer(id), None, "{on:?}");
        world.run(ms(1));
        assert_eq!(world.code(id), Code::DeadlineExceeded, "{on:?}");
        world.run(ms(600_000));
        world.untouched();
    }
}

#[test]
fn the_start_of_an_exec_has_the_time_of_an_exec() {
    let mut world = World::alone();
    world.does(on::START, Does::Never);
    let exec = crate::io::ProcessId { container: "root".into(), exec: "e".into() };
    world.relayed(Request::Exec(exec.clone(), ProcessSpec::default()));
    let id = world.ask(Request::Start(exec));
    world.run(ms(30_000));
    assert_eq!(world.took(id), times::EXEC);
}

#[test]
fn checkpoint_has_the_callers_time() {
    let mut world = World::alone();
    world.does(on::CHECKPOINT, Does::Hang);
    let id = world.ask_within(Request::Checkpoint("root".into()), Some(ms(200_000)));
    world.run(ms(200_000));
    assert_eq!(world.took(id), ms(199_800));
    world.untouched();
}

#[test]
fn an_answer_comes_before_its_caller_leaves() {
    let mut world = World::alone();
    world.does(on::PAUSE, Does::Hang);
    for (caller, due) in [(2_000, 1_800), (300, 150), (100, 50), (60_000, 30_000)] {
        let id = world.ask_within(Request::Pause("root".into()), Some(ms(caller)));
        world.run(ms(60_000));
        assert_eq!(world.took(id), ms(due), "caller {caller}");
    }
}

#[test]
fn a_forwarded_request_carries_the_shorter_of_both_times() {
    let mut world = World::alone();
    world.ask_within(Request::Pause("root".into()), Some(ms(2_000)));
    world.ask(Request::Resume("root".into()));
    let timeout = |world: &World, on: On| {
        let sent = world.ledger.calls.values().find(|sent| On::of(&sent.request) == on);
        sent.unwrap().timeout
    };
    assert_eq!(timeout(&world, on::PAUSE), ms(2_100));
    assert_eq!(timeout(&world, on::RESUME), ms(30_100));
    assert_eq!(timeout(&world, on::CREATE), ms(90_100));
}

#[test]
fn an_error_of_the_real_shim_is_passed_on_as_it_is() {
    let mut world = World::alone();
    for (on, request) in [
        (on::KILL, sigterm("root")),
        (on::SIGKILL, sigkill("root")),
        (on::DELETE, delete("root")),
        (on::STATE, state("root")),
        (on::START, Request::Start(init("root"))),
    ] {
        world.does(on, Does::Fail(ms(2)));
        world.relayed(request);
    }
}

#[test]
fn a_failed_create_leaves_nothing_behind() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Fail(ms(2)));
    let create_root = world.ask(create("root"));
    let wait = world.ask(Request::Wait(init("root")));
    world.run(ms(5));
    assert_eq!(world.answer(create_root), Some(Answer::Relay));
    assert_eq!(world.answer(wait), Some(Answer::Relay));
    assert!(world.guard.record().is_empty());
    world.does(on::CREATE, Does::Work(ms(1)));
    world.started("root");
    world.run(ms(600_000));
    world.untouched();
}

#[test]
fn overdue_execs_are_cut_off_so_that_probes_for_days_cost_nothing() {
    let mut world = World::alone();
    for on in [on::EXEC, on::START] {
        world.does(on, Does::Never);
    }
    for day_second in 0..10_000 {
        let id = crate::io::ProcessId { container: "root".into(), exec: std::format!("e{day_second}") };
        world.ask_within(Request::Exec(id, ProcessSpec::default()), Some(ms(1_000)));
        world.run(ms(10_000));
    }
    let sent = world.ledger.count(|request| matches!(request, Request::Exec(..)));
    assert!(sent <= 40, "{sent}");
    world.untouched();
    let refused = world.ask(Request::Pause("root".into()));
    assert!(matches!(world.error(refused), GuardError::Late { method: crate::io::Method::Pause, .. }));
    // Its end is not affected.
    world.relayed(sigkill("root"));
}

#[test]
fn a_dead_sentry_is_stopped_though_no_exit_is_known() {
    let mut world = World::alone();
    world.does(on::STATE, Does::Never);
    let dead = world.ask(Request::State(init("root"), Sentry::Dead));
    world.run(ms(1_000));
    assert_eq!(world.status_of(dead), (Status::Stopped, None));
}
