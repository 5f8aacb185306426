//! The rows of the table that have no file of their own, and what must look the same while all is well.

use crate::io::{About, Answer, Op, Sentry, Status};
use crate::policy::Policy;
use crate::refusal::{Code, Refusal};
use crate::tests::fake::{Does, ms};
use crate::tests::world::{World, create, delete, init, pids, sigkill, sigterm, state};

#[test]
fn a_healthy_life_is_passed_through() {
    let mut world = World::alone();
    let wait = world.ask(Op::Wait(init("root")));
    for op in [
        state("root"),
        pids("root"),
        Op::Stats("root".into()),
        Op::Update("root".into()),
        Op::Pause("root".into()),
        Op::Resume("root".into()),
        Op::Checkpoint("root".into()),
        Op::ResizePty(init("root")),
        Op::CloseIo(init("root")),
        sigterm("root"),
    ] {
        world.relayed(op);
    }
    let exec = world.exec("root", "e");
    world.exits(&exec, 3);
    world.run(ms(1));
    world.relayed(Op::Delete(exec.clone()));
    assert_eq!(world.published(&exec), [3]);
    assert_eq!(world.answer(wait), None);
    world.relayed(sigkill("root"));
    assert_eq!(world.exit_of(wait).status, 137);
    assert_eq!(world.published(&init("root")), [137]);
    world.relayed(delete("root"));
    let shutdown = world.ask(Op::Shutdown);
    world.run(ms(300));
    assert_eq!(world.answer(shutdown), Some(Answer::Done));
    assert!(world.ledger.quit);
    assert_eq!(world.rungs(), ["KillAll", "Release"]);
}

#[test]
fn connect_is_answered_from_the_record() {
    let mut world = World::alone();
    world.does("Connect", Does::Never);
    let known = world.ask(Op::Connect("root".into()));
    let unknown = world.ask(Op::Connect("other".into()));
    assert_eq!(world.answer(known), Some(Answer::Connect(101)));
    assert_eq!(world.answer(unknown), Some(Answer::Connect(0)));
}

#[test]
fn what_is_late_and_starts_no_clock_is_an_error_and_nothing_else() {
    let exec = crate::io::ProcessId { container: "root".into(), exec: "e".into() };
    let rows = [
        ("Exec", Op::Exec(exec, About::default()), 30_000),
        ("Update", Op::Update("root".into()), 30_000),
        ("Pause", Op::Pause("root".into()), 30_000),
        ("Resume", Op::Resume("root".into()), 30_000),
        ("ResizePty", Op::ResizePty(init("root")), 30_000),
        ("CloseIO", Op::CloseIo(init("root")), 30_000),
        ("Start", Op::Start(init("root")), 110_000),
        ("Stats", Op::Stats("root".into()), 1_500),
    ];
    for (method, op, limit) in rows {
        let mut world = World::alone();
        world.does(method, Does::Never);
        let id = world.ask(op);
        world.run(ms(limit - 1));
        assert_eq!(world.answer(id), None, "{method}");
        world.run(ms(1));
        assert_eq!(world.code(id), Code::DeadlineExceeded, "{method}");
        world.run(ms(600_000));
        world.untouched();
    }
}

#[test]
fn the_start_of_an_exec_has_the_time_of_an_exec() {
    let mut world = World::alone();
    world.does("Start", Does::Never);
    let exec = crate::io::ProcessId { container: "root".into(), exec: "e".into() };
    world.relayed(Op::Exec(exec.clone(), About::default()));
    let id = world.ask(Op::Start(exec));
    world.run(ms(30_000));
    assert_eq!(world.took(id), ms(30_000));
}

#[test]
fn checkpoint_has_the_callers_time() {
    let mut world = World::alone();
    world.does("Checkpoint", Does::Hang);
    let id = world.ask_within(Op::Checkpoint("root".into()), Some(ms(200_000)));
    world.run(ms(200_000));
    assert_eq!(world.took(id), ms(199_800));
    world.untouched();
}

#[test]
fn an_answer_comes_before_its_caller_leaves() {
    let mut world = World::alone();
    world.does("Pause", Does::Hang);
    for (caller, due) in [(2_000, 1_800), (300, 150), (100, 50), (60_000, 30_000)] {
        let id = world.ask_within(Op::Pause("root".into()), Some(ms(caller)));
        world.run(ms(60_000));
        assert_eq!(world.took(id), ms(due), "caller {caller}");
    }
}

#[test]
fn a_forwarded_request_carries_the_shorter_of_both_times() {
    let mut world = World::alone();
    world.ask_within(Op::Pause("root".into()), Some(ms(2_000)));
    world.ask(Op::Resume("root".into()));
    let timeout = |world: &World, method: &str| {
        let sent = world.ledger.calls.values().find(|sent| crate::tests::fake::method(&sent.op) == method);
        sent.unwrap().timeout
    };
    assert_eq!(timeout(&world, "Pause"), ms(2_100));
    assert_eq!(timeout(&world, "Resume"), ms(30_100));
    assert_eq!(timeout(&world, "Create"), ms(90_100));
}

#[test]
fn an_error_of_the_real_shim_is_passed_on_as_it_is() {
    let mut world = World::alone();
    for (method, op) in [
        ("Kill", sigterm("root")),
        ("SIGKILL", sigkill("root")),
        ("Delete", delete("root")),
        ("State", state("root")),
        ("Start", Op::Start(init("root"))),
    ] {
        world.does(method, Does::Fail(ms(2)));
        world.relayed(op);
    }
}

#[test]
fn a_failed_create_leaves_nothing_behind() {
    let mut world = World::new(Policy::default());
    world.does("Create", Does::Fail(ms(2)));
    let create_root = world.ask(create("root"));
    let wait = world.ask(Op::Wait(init("root")));
    world.run(ms(5));
    assert_eq!(world.answer(create_root), Some(Answer::Relay));
    assert_eq!(world.answer(wait), Some(Answer::Relay));
    assert!(world.guard.record().is_empty());
    world.does("Create", Does::Work(ms(1)));
    world.started("root");
    world.run(ms(600_000));
    world.untouched();
}

#[test]
fn overdue_execs_are_cut_off_so_that_probes_for_days_cost_nothing() {
    let mut world = World::alone();
    for method in ["Exec", "Start"] {
        world.does(method, Does::Never);
    }
    for day_second in 0..10_000 {
        let id = crate::io::ProcessId { container: "root".into(), exec: std::format!("e{day_second}") };
        world.ask_within(Op::Exec(id, About::default()), Some(ms(1_000)));
        world.run(ms(10_000));
    }
    let sent = world.ledger.count(|op| matches!(op, Op::Exec(..)));
    assert!(sent <= 40, "{sent}");
    world.untouched();
    let refused = world.ask(Op::Pause("root".into()));
    assert!(matches!(world.refusal(refused), Refusal::Late { method: crate::io::Method::Pause, .. }));
    // Its end is not affected.
    world.relayed(sigkill("root"));
}

#[test]
fn a_dead_sentry_is_stopped_though_no_exit_is_known() {
    let mut world = World::alone();
    world.does("State", Does::Never);
    let dead = world.ask(Op::State(init("root"), Sentry::Dead));
    world.run(ms(1_000));
    assert_eq!(world.status_of(dead), (Status::Stopped, None));
}
