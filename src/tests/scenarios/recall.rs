//! A sandbox that containerd has forgotten: ended when that is certain, and never before.

use crate::io::{Input, Note, Recalled};
use crate::policy::Policy;
use crate::tests::fake::{Does, ms};
use crate::tests::on;
use crate::tests::world::{World, delete, init};

#[test]
fn a_forgotten_sandbox_ends_as_delete_would_end_it() {
    let mut world = World::pod();
    world.fakes.recalled = Recalled::Forgotten;
    world.run(ms(600_000));
    assert_eq!(world.ledger.recalls, 0);
    world.handle(Input::Deserted);
    world.run(ms(69_000));
    assert_eq!(world.ledger.recalls, 1);
    assert!(world.ledger.listening);
    world.run(ms(5_000));
    assert_eq!(world.ledger.recalls, 2);
    assert!(world.ledger.notes.iter().any(|(_, note)| *note == Note::Forgotten));
    assert!(world.ledger.quit);
    assert_eq!(world.published(&init("root")), [137]);
}

/// The real shim cannot delete what has no bundle any more, and nobody asks again.
#[test]
fn a_forgotten_sandbox_that_cannot_be_deleted_ends_by_its_deadline() {
    for does in [Does::Fail(ms(0)), Does::Fail(ms(5)), Does::Hang, Does::Never] {
        let mut world = World::pod();
        world.fakes.recalled = Recalled::Forgotten;
        world.does(on::DELETE, does);
        world.handle(Input::Deserted);
        world.run(ms(90_000));
        assert!(world.ledger.quit, "{does:?}");
        assert_eq!(
            (world.published(&init("root")), world.published(&init("app"))),
            ([137].into(), [137].into())
        );
    }
}

/// A wedged one by the escalation.
#[test]
fn a_forgotten_sandbox_that_hangs_ends_by_its_deadline() {
    let mut world = World::pod();
    world.fakes.recalled = Recalled::Forgotten;
    world.stop_sentry();
    world.handle(Input::Deserted);
    world.run(ms(120_000));
    assert!(world.wedge().is_some());
    assert!(world.ledger.quit);
}

/// One that the guard has ended, and whose Deletes nobody will send.
#[test]
fn what_is_forgotten_after_its_end_is_not_waited_for() {
    let mut world = World::pod();
    world.stop_sentry();
    world.ask(delete("root"));
    world.run(ms(20_000));
    assert!(world.ledger.listening);
    world.fakes.recalled = Recalled::Forgotten;
    world.handle(Input::Deserted);
    world.run(ms(120_000));
    assert!(world.ledger.quit);
}

#[test]
fn nothing_is_done_where_containerd_knows_it_or_cannot_be_asked() {
    let mut world = World::pod();
    world.handle(Input::Deserted);
    world.run(ms(600_000));
    assert_eq!(world.ledger.recalls, 1);
    world.fakes.recalled = Recalled::Unclear;
    world.handle(Input::Deserted);
    // As long as containerd is away: a look a minute.
    world.run(ms(600_000));
    assert_eq!(world.ledger.recalls, 11);
    // It was forgotten for less than a minute.
    world.fakes.recalled = Recalled::Forgotten;
    world.run(ms(60_000));
    world.fakes.recalled = Recalled::Unclear;
    world.run(ms(60_000));
    world.fakes.recalled = Recalled::Known;
    world.run(ms(600_000));
    assert_eq!(world.ledger.recalls, 14);
    world.untouched();
    assert_eq!(world.guard.poll_timeout(), None);
}

/// A look that never returns is not repeated, and keeps nothing.
#[test]
fn a_look_that_hangs_is_waited_for() {
    let mut world = World::pod();
    world.fakes.recall_hangs = true;
    world.handle(Input::Deserted);
    world.run(ms(3_600_000));
    assert_eq!(world.ledger.recalls, 1);
    world.untouched();
}

/// Once it is certain its end is under way, and nobody looks again, however long that takes.
#[test]
fn what_is_forgotten_for_certain_is_not_looked_for_again() {
    let mut world = World::pod_with(Policy { kill_deadline: ms(300_000), ..Policy::default() });
    world.fakes.recalled = Recalled::Forgotten;
    world.does(on::SIGKILL, Does::Nothing(ms(5)));
    world.handle(Input::Deserted);
    world.run(ms(250_000));
    assert_eq!(world.ledger.recalls, 2);
    world.run(ms(200_000));
    assert!(world.ledger.quit);
}
