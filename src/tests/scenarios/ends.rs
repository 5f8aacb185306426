//! The private End of `delete`, and exits that nobody has heard of.

use crate::error::Code;
use crate::io::{Answer, Request, Status};
use crate::policy::Policy;
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::world::{World, create, delete, init, sigkill, state};

#[test]
fn end_ends_one_container_and_the_last_one_takes_the_guard_along() {
    let mut world = World::pod();
    let app = world.ask(Request::End("app".into()));
    world.run(ms(100));
    assert_eq!(world.exit_of(app).status, 137);
    assert_eq!(world.published(&init("app")), [137]);
    let again = world.ask(Request::End("app".into()));
    assert_eq!(world.exit_of(again).status, 137);
    let unknown = world.ask(Request::End("nobody".into()));
    assert_eq!(world.code(unknown), Code::NotFound);
    world.untouched();
    let root = world.ask(Request::End("root".into()));
    world.run(ms(1_000));
    assert_eq!(world.exit_of(root).status, 137);
    assert!(world.ledger.quit);
}

#[test]
fn end_of_a_container_that_has_ended_deletes_it() {
    let mut world = World::alone();
    world.exits(&init("root"), 4);
    world.run(ms(1));
    let id = world.ask(Request::End("root".into()));
    world.run(ms(1_000));
    assert_eq!(world.exit_of(id).status, 4);
    assert!(world.ledger.quit);
}

#[test]
fn end_goes_on_after_its_caller_has_left() {
    let mut world = World::alone();
    world.stop_sentry();
    let id = world.ask_within(Request::End("root".into()), Some(ms(4_000)));
    world.run(ms(5_000));
    assert_eq!(world.code(id), Code::DeadlineExceeded);
    assert_eq!(world.took(id), ms(3_800));
    world.run(ms(10_000));
    assert!(world.ledger.quit);
    assert_eq!(world.published(&init("root")), [137]);
}

#[test]
fn end_of_what_never_came_to_be_lets_the_guard_go() {
    let mut world = World::new(Policy::default());
    world.does(on::CREATE, Does::Fail(ms(1_000)));
    let create = world.ask(create("root"));
    let end = world.ask(Request::End("root".into()));
    world.run(ms(5_000));
    assert_eq!(world.answer(create), Some(Answer::Relay));
    assert_eq!(world.code(end), Code::NotFound);
    assert!(world.ledger.quit);
}

#[test]
fn end_of_the_only_reservation_lets_the_guard_go() {
    let mut world = World::new(Policy::default());
    let end = world.ask(Request::End("root".into()));
    world.run(ms(5_000));
    assert_eq!(world.code(end), Code::NotFound);
    assert!(world.ledger.quit);
}

/// containerd was restarted while a Delete was under way, and its clients ask once more.
#[test]
fn an_exit_that_nobody_heard_of_waits_for_the_next_delete() {
    let mut world = World::pod();
    world.exits(&init("app"), 3);
    world.run(ms(1));
    world.does(on::DELETE, Does::Work(ms(500)));
    let lost = world.ask(delete("app"));
    world.run(ms(100));
    world.abandon(lost);
    world.run(ms(1_000));
    let state = world.ask(state("app"));
    assert_eq!(world.status_of(state), (Status::Stopped, Some(3)));
    let again = world.ask(delete("app"));
    assert_eq!(world.exit_of(again).status, 3);
    world.does(on::DELETE, Does::NotFound(ms(1)));
    let late = world.ask(delete("app"));
    world.run(ms(5));
    assert_eq!(world.answer(late), Some(Answer::Relay));
    assert_eq!(world.published(&init("app")), [3]);
    assert!(!world.guard.knows(&init("app"), None));
    world.untouched();
}

#[test]
fn a_container_that_was_deleted_unheard_can_be_created_anew() {
    let mut world = World::pod();
    world.exits(&init("app"), 3);
    world.run(ms(1));
    let lost = world.ask(delete("app"));
    world.abandon(lost);
    world.run(ms(10));
    world.started("app");
    let state = world.ask(state("app"));
    world.run(ms(5));
    assert_eq!(world.status_of(state), (Status::Running, None));
    world.untouched();
}

/// containerd was killed in the middle of a member's Delete, and what came back deletes the root only.
#[test]
fn an_exit_that_nobody_asks_for_any_more_keeps_no_guard() {
    for does in [Does::Never, Does::Work(ms(500))] {
        let mut world = World::pod();
        world.exits(&init("app"), 3);
        world.run(ms(1));
        world.does(on::DELETE, does);
        let gone = world.ask(delete("app"));
        world.run(ms(100));
        world.abandon(gone);
        world.run(ms(10_000));
        world.fakes.script.clear();
        world.relayed(sigkill("root"));
        world.relayed(delete("root"));
        let shutdown = world.ask(Request::Shutdown);
        world.run(ms(5_000));
        assert_eq!(world.answer(shutdown), Some(Answer::Done));
        assert!(world.ledger.quit);
        assert_eq!(world.published(&init("app")), [3]);
    }
}
