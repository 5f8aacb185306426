//! State, Pids and Stats: shared, answered from the record when late, cut off after that.

use crate::error::Code;
use crate::io::{Answer, ProcessId, Request, Sentry, Status};
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, init, pids, sigkill, sigterm, state};

/// An exec that was refused is none that anybody has to end, and its id is free.
#[test]
fn a_refused_exec_is_forgotten() {
    let mut world = World::alone();
    let exec = ProcessId { container: "root".into(), exec: "e".into() };
    world.does(on::EXEC, Does::Fail(ms(1)));
    world.relayed(Request::Exec(exec.clone(), Default::default()));
    assert_eq!(world.guard.view(world.now).containers[0].execs, 0);
    world.does(on::EXEC, Does::Work(ms(1)));
    assert_eq!(world.exec("root", "e"), exec);
}

#[test]
fn callers_share_one_question() {
    let mut world = World::alone();
    let before = world.ledger.calls.len();
    world.does(on::STATE, Does::Work(ms(400)));
    let first = world.ask(state("root"));
    world.run(ms(100));
    let second = world.ask(state("root"));
    world.run(ms(300));
    assert_eq!(world.answer(first), Some(Answer::Relay));
    assert_eq!(world.answer(second), Some(Answer::Relay));
    assert_eq!(world.ledger.calls.len() - before, 1);
}

#[test]
fn a_late_state_comes_from_the_record() {
    let mut world = World::alone();
    world.does(on::STATE, Does::Hang);
    let id = world.ask_within(state("root"), Some(ms(2_000)));
    world.run(ms(2_000));
    assert_eq!(world.took(id), times::QUERY);
    assert_eq!(world.status_of(id), (Status::Running, None));
    world.untouched();
}

#[test]
fn a_stopped_sentry_is_not_even_asked() {
    let mut world = World::alone();
    let before = world.ledger.calls.len();
    let id = world.ask(Request::State(init("root"), Sentry::Stopped));
    assert_eq!(world.status_of(id), (Status::Running, None));
    assert_eq!(world.ledger.calls.len(), before);
}

#[test]
fn pids_of_a_live_container_are_never_empty() {
    let mut world = World::alone();
    world.does(on::PIDS, Does::Never);
    let id = world.ask(pids("root"));
    world.run(ms(1_000));
    assert_eq!(world.answer(id), Some(Answer::Pids([101].into())));
    world.exits(&init("root"), 0);
    world.run(ms(1));
    let id = world.ask(pids("root"));
    assert_eq!(world.answer(id), Some(Answer::Pids([].into())));
}

/// What a containerd that comes back asks of each container before it serves anybody.
#[test]
fn a_stopped_sentry_costs_a_returning_containerd_nothing() {
    let mut world = World::new(Default::default());
    world.relayed(create("root"));
    world.started("app");
    world.stop_sentry();
    let before = world.ledger.calls.len();
    for container in ["root", "app"] {
        for request in [
            Request::Connect(container.into()),
            Request::Pids(container.into(), Sentry::Stopped),
            Request::State(init(container), Sentry::Stopped),
        ] {
            let id = world.ask(request);
            assert_eq!(world.took(id), ms(0));
            assert!(!matches!(world.answer(id), Some(Answer::Error(_))));
        }
    }
    let id = world.ask(Request::Pids("app".into(), Sentry::Stopped));
    assert_eq!(world.answer(id), Some(Answer::Pids([102].into())));
    assert_eq!(world.ledger.calls.len(), before);
    world.untouched();
}

/// A sentry that is silent and not stopped makes one of the questions wait, whichever container they are about, until
/// it is heard again.
#[test]
fn a_silent_sandbox_makes_one_question_wait() {
    let mut world = World::pod();
    world.started("sidecar");
    world.started("spare");
    world.stop_sentry();
    let first = world.ask(pids("root"));
    world.run(ms(1_000));
    assert_eq!(world.took(first), times::QUERY);
    for container in ["app", "sidecar", "root"] {
        for request in [pids(container), Request::State(init(container), Sentry::Runs)] {
            let id = world.ask(request);
            world.run(ms(20));
            assert!(world.took(id) <= ms(20), "{container}");
        }
    }
    for on in [on::STATE, on::PIDS] {
        world.does(on, Does::Work(ms(300)));
    }
    world.run(ms(5_000));
    world.ask(pids("app"));
    world.run(ms(300));
    world.relayed_within(pids("spare"), ms(300));
}

/// One container that does not answer is no reason to answer for those that do.
#[test]
fn a_container_that_keeps_its_lock_hushes_nobody_who_answers() {
    let mut world = World::pod();
    world.does(on::STATE, Does::Never);
    world.ask(state("app"));
    world.run(ms(1_000));
    world.does(on::STATE, Does::Work(ms(15)));
    world.does(on::PIDS, Does::Work(ms(500)));
    world.relayed_within(state("root"), ms(20));
    world.relayed_within(pids("root"), ms(500));
}

/// Until its exit is known a container is not told to be empty: containerd would take it for one that nobody needs.
#[test]
fn pids_of_one_whose_sentry_has_just_died() {
    let mut world = World::alone();
    let id = world.ask(Request::Pids("root".into(), Sentry::Dead));
    assert_eq!(world.answer(id), Some(Answer::Pids([101].into())));
    world.exits(&init("root"), 0);
    world.run(ms(1));
    world.relayed(Request::Pids("root".into(), Sentry::Dead));
}

#[test]
fn after_one_late_answer_later_ones_do_not_wait() {
    let mut world = World::alone();
    world.does(on::STATE, Does::Never);
    world.does(on::STATS, Does::Never);
    world.ask(state("root"));
    world.ask(Request::Stats("root".into()));
    world.run(ms(1_500));
    let state = world.ask(state("root"));
    let stats = world.ask(Request::Stats("root".into()));
    assert_eq!(world.took(state), ms(0));
    assert_eq!(world.status_of(state).0, Status::Running);
    assert_eq!(world.took(stats), ms(0));
    assert_eq!(world.code(stats), Code::DeadlineExceeded);
}

#[test]
fn a_callers_short_patience_says_nothing_about_the_real_shim() {
    let mut world = World::alone();
    world.does(on::STATS, Does::Work(ms(500)));
    let hasty = world.ask_within(Request::Stats("root".into()), Some(ms(100)));
    world.run(ms(100));
    assert_eq!(world.code(hasty), Code::DeadlineExceeded);
    let patient = world.ask(Request::Stats("root".into()));
    world.run(ms(500));
    assert_eq!(world.answer(patient), Some(Answer::Relay));
}

#[test]
fn days_of_polling_a_real_shim_that_never_returns_cost_one_call() {
    let mut world = World::alone();
    for on in [on::STATE, on::PIDS, on::STATS] {
        world.does(on, Does::Never);
    }
    let before = world.ledger.calls.len();
    for _ in 0..2 * 24 * 360 {
        for request in [state("root"), pids("root"), Request::Stats("root".into())] {
            world.ask_within(request, Some(ms(2_000)));
        }
        world.run(ms(10_000));
    }
    assert_eq!(world.ledger.calls.len() - before, 3);
    assert_eq!(world.guard.open_ends().calls, 3);
    assert_eq!(world.guard.open_ends().waiting, 0);
    world.untouched();
}

#[test]
fn a_real_shim_that_gives_up_is_asked_again_now_and_then_until_it_answers() {
    let mut world = World::alone();
    world.does(on::STATE, Does::Hang);
    let before = world.ledger.calls.len();
    for _ in 0..100 {
        let id = world.ask(state("root"));
        world.run(ms(1_000));
        assert!(matches!(world.answer(id), Some(Answer::State { .. })));
    }
    let asked = world.ledger.calls.len() - before;
    assert!((15..=25).contains(&asked), "{asked}");
    world.does(on::STATE, Does::Work(ms(10)));
    world.run(ms(10_000));
    world.relayed_within(state("root"), ms(15));
    world.run(ms(4_000));
    world.relayed_within(state("root"), ms(15));
}

#[test]
fn an_exec_has_a_state_of_its_own() {
    let mut world = World::alone();
    let exec = world.exec("root", "e");
    world.does(on::STATE, Does::Never);
    let id = world.ask(Request::State(exec.clone(), Sentry::Runs));
    let of_init = world.ask(state("root"));
    world.run(ms(1_000));
    let Some(Answer::State { process, about, pid, .. }) = world.answer(id) else { panic!() };
    assert_eq!((process, about.bundle.as_str(), pid), (exec, "/bundles/root", 102));
    assert_eq!(world.took(of_init), times::QUERY);
}

#[test]
fn questions_about_strangers_are_the_real_shims_to_answer() {
    let mut world = World::alone();
    for request in [
        state("other"),
        Request::Stats("other".into()),
        Request::Wait(init("other")),
        Request::Delete(init("other")),
    ] {
        world.relayed(request);
    }
    world.does(on::STATE, Does::Never);
    let id = world.ask(state("other"));
    world.run(ms(1_000));
    assert_eq!(world.code(id), Code::DeadlineExceeded);
}

/// What containerd asks again and again on the way up costs the real shim one `runsc state`, not one each.
#[test]
fn what_the_real_shim_has_just_said_is_not_asked_again() {
    let mut world = World::alone();
    world.relayed(state("root"));
    let before = world.ledger.calls.len();
    for _ in 0..3 {
        let id = world.ask(state("root"));
        assert_eq!((world.took(id), world.status_of(id)), (ms(0), (Status::Running, None)));
        world.run(ms(1_000));
    }
    assert_eq!(world.ledger.calls.len(), before);
    // A change behind the shim's back shows within five seconds of it.
    world.run(ms(1_000));
    world.relayed(state("root"));
    assert_eq!(world.ledger.calls.len(), before + 1);
}

#[test]
fn what_may_have_changed_a_task_makes_its_state_the_real_shims_to_tell() {
    for request in [Request::Pause("root".into()), Request::Resume("root".into()), sigterm("root")] {
        let mut world = World::alone();
        world.relayed(state("root"));
        world.relayed(request);
        let before = world.ledger.calls.len();
        world.relayed(state("root"));
        assert_eq!(world.ledger.calls.len(), before + 1);
    }
}

/// An answer that was on its way while the task was paused says nothing about after.
#[test]
fn an_answer_older_than_a_pause_makes_nothing_certain() {
    let mut world = World::alone();
    world.does(on::STATE, Does::Work(ms(300)));
    world.ask(state("root"));
    world.run(ms(100));
    world.relayed(Request::Pause("root".into()));
    world.run(ms(400));
    let before = world.ledger.calls.len();
    world.ask(state("root"));
    assert_eq!(world.ledger.calls.len(), before + 1);
}

#[test]
fn who_asks_after_a_pause_gets_no_answer_older_than_it() {
    for after in [state("root"), pids("root")] {
        let mut world = World::alone();
        world.does(on::On::Method(after.method()), Does::Work(ms(300)));
        world.ask(after.clone());
        world.run(ms(100));
        world.relayed(Request::Pause("root".into()));
        let id = world.ask(after);
        world.run(ms(250));
        assert_eq!(world.answer(id), None);
        world.run(ms(100));
        assert_eq!(world.answer(id), Some(Answer::Relay));
    }
}

#[test]
fn a_wait_ends_with_the_time_of_its_caller_and_blames_nobody() {
    let mut world = World::alone();
    let (hurried, patient) = (
        world.ask_within(Request::Wait(init("root")), Some(ms(20_000))),
        world.ask(Request::Wait(init("root"))),
    );
    world.run(ms(30_000));
    assert_eq!(world.code(hurried), Code::DeadlineExceeded);
    assert!(world.took(hurried) <= ms(20_000) && world.took(hurried) >= ms(19_000));
    assert_eq!(world.answer(patient), None);
    world.untouched();
    world.relayed(sigkill("root"));
    world.run(ms(1_000));
    assert!(world.answer(patient).is_some(), "by the real shim's answer or its event");
}
