//! Which deadline comes next is told by its name.

use crate::io::{Recalled, Request, Step};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Hears, Lasts};
use crate::tests::on::{self, On};
use crate::tests::world::{World, create, sigkill, state};
use crate::timers::Timer;

/// What makes something wait.
type Asks = fn(&mut World);

fn next(world: &World) -> Option<Timer> {
    world.guard.poll_timeout().map(|(timer, _)| timer)
}

#[test]
fn an_idle_sandbox_has_no_timer() {
    assert_eq!(next(&World::siblings()), None);
}

#[test]
fn each_wait_has_the_timer_of_its_name() {
    let waits: [(On, Asks, Timer); 6] = [
        (on::STATE, |world| _ = world.ask(state("app")), Timer::Answer),
        (on::SIGKILL, |world| _ = world.ask(sigkill("root")), Timer::Effect),
        (on::SIGKILL, |world| _ = world.ask(sigkill("app")), Timer::Probe),
        (on::CREATE, |world| _ = world.ask(create("late")), Timer::Create),
        (on::WAIT, |world| world.shim_leaves(), Timer::RealShimLeft),
        (on::WAIT, |world| world.node_goes_down(), Timer::NodeShutdown),
    ];
    for (on, what, timer) in waits {
        let mut world = World::siblings();
        world.step(Step::KillAll, Lasts::Forever);
        world.does(on, Does::Never);
        what(&mut world);
        assert_eq!(next(&world), Some(timer), "{on:?}");
    }
}

#[test]
fn what_nobody_asks_for_has_its_timers_too() {
    let mut world = World::new(Default::default());
    assert_eq!(next(&world), Some(Timer::Vacancy));
    world.started("root");
    world.fakes.recalled = Recalled::Unclear;
    world.handle(crate::io::Input::Deserted);
    assert_eq!(next(&world), Some(Timer::Recall));
    let mut world = World::alone();
    world.stop_sentry();
    world.fakes.sentry = Hears::Lost;
    world.ask(state("root"));
    world.run(ms(1_000));
    assert_eq!(next(&world), Some(Timer::Watchdog));
    world.run(ms(54_500));
    assert_eq!(next(&world), Some(Timer::ProbeLost));
    world.ask(Request::Reap);
    assert_eq!(next(&world), Some(Timer::Step));
}
