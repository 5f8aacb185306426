//! Rule 7: a guard that did not run itself must not blame the sandbox.

use crate::io::{Answer, Note, Request};
use crate::policy::{LATENESS, Policy};
use crate::present::Present;
use crate::tests::fake::{Does, at, ms};
use crate::tests::on;
use crate::tests::times;
use crate::tests::world::{World, create, delete, init, sigkill, state};

#[test]
fn answers_that_came_meanwhile_are_read_before_any_deadline_is_judged() {
    let mut world = World::pod();
    let kill = world.ask(sigkill("app"));
    let state = world.ask(state("root"));
    let stats = world.ask(Request::Stats("root".into()));
    world.stop_guard(ms(30_000));
    world.run(ms(60_000));
    for id in [kill, state, stats] {
        assert_eq!(world.answer(id), Some(Answer::Relay));
    }
    world.untouched();
}

#[test]
fn even_a_tick_that_comes_first_judges_nothing() {
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Work(ms(9_990)));
    world.ask(sigkill("root"));
    world.run(ms(9_989));
    world.stop_guard(ms(30_000));
    world.handle(crate::io::Input::Tick);
    world.untouched();
    world.run(ms(60_000));
    world.untouched();
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn every_open_deadline_moves_by_the_lateness() {
    let mut world = World::alone();
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(7_995));
    world.stop_guard(ms(30_000));
    world.run(ms(60_000));
    let took = world.wedge().unwrap().0 - began;
    assert!(took >= ms(38_000) && took <= ms(38_600), "{took:?}");
    assert!(world.ledger.notes.iter().any(|(_, note)| matches!(note, Note::Late(_))));
}

#[test]
fn a_sleep_with_nothing_open_costs_nothing() {
    let mut world = World::alone();
    world.stop_guard(ms(86_400_000));
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    let began = world.now;
    world.relayed(sigkill("root"));
    world.run(ms(12_000));
    assert_eq!(world.wedge().unwrap().0 - began, times::KILL);
    assert!(!world.ledger.notes.iter().any(|(_, note)| matches!(note, Note::Late(_))));
}

#[test]
fn an_error_read_late_is_taken_at_its_word() {
    for sleep in [2_400, 2_900, 3_000, 3_100, 30_000] {
        let mut world = World::pod();
        let id = world.ask(delete("root"));
        world.stop_guard(ms(sleep));
        world.run(ms(60_000));
        assert_eq!(world.answer(id), Some(Answer::Relay));
        world.untouched();
    }
}

#[test]
fn a_create_is_not_torn_down_for_the_guards_own_sleep() {
    let mut world = World::pod();
    world.does(on::CREATE, Does::Work(ms(60_000)));
    let id = world.ask(create("sidecar"));
    world.run(ms(50_000));
    world.stop_guard(ms(60_000));
    world.run(ms(60_000));
    assert_eq!(world.answer(id), Some(Answer::Relay));
    world.untouched();
}

#[test]
fn a_refusal_that_is_read_just_after_its_time_is_a_refusal() {
    for slept in (100..4_000).step_by(100) {
        let mut world = World::siblings();
        let id = world.ask(delete("app"));
        world.handle(crate::io::Input::Tick);
        world.stop_guard(ms(slept));
        world.run(ms(3_600_000));
        assert_eq!(world.answer(id), Some(Answer::Relay), "{slept}");
        world.untouched();
    }
}

#[test]
fn what_an_input_makes_due_at_once_is_no_lateness() {
    // A member's Delete needs no probe while there is no root; when one comes, the probe is overdue.
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Work(ms(2_400)));
    world.ask(create("app"));
    world.ask(delete("app"));
    world.run(ms(1_500));
    world.ask(create("root"));
    world.run(ms(10));
    assert!(!world.ledger.notes.iter().any(|(_, note)| matches!(note, Note::Late(_))));
    assert_eq!(world.ledger.probes.len(), 1);
}

#[test]
fn a_sleep_sets_the_present_back_to_before_what_was_due() {
    let mut present = Present::default();
    assert_eq!(present.advance(at(12_000), Some(at(2_000))), Some(ms(10_000)));
    assert_eq!(present.now(), at(1_500));
    assert_eq!(present.on_drivers_clock(at(2_000)), at(12_500));
    // Until then what came meanwhile is read, and nothing is judged.
    for (now, judges) in [(12_000, false), (12_499, false), (12_500, true)] {
        assert_eq!(present.advance(at(now), None), None);
        assert_eq!(present.may_judge(), judges, "{now}");
    }
}

#[test]
fn what_is_read_by_a_guard_that_was_a_little_late_may_have_come_in_time() {
    let mut present = Present::default();
    let due = at(2_000);
    assert_eq!(present.advance(due + LATENESS, Some(due)), None, "no more than that is none");
    for (now, on_time) in [(2_500, 2_000), (2_549, 2_000), (2_550, 2_550)] {
        present.advance(at(now), None);
        assert_eq!(present.on_time(), at(on_time), "{now}");
    }
}
