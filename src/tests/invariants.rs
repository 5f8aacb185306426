//! Random sequences: whatever comes in, in whatever order and however late, the ledger's invariants hold (rules 2, 3
//! and 7), and in the end nothing is left.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;
use std::vec::Vec;

use crate::exit::Exit;
use crate::io::{About, Event, Input, Op, Outcome, ProcessId, Recalled, RequestId, Sentry, Told};
use crate::policy::{Policy, Watchdog};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, METHODS, ms};
use crate::tests::kernel::{Hears, RUNGS, Step};
use crate::tests::world::{World, create};

const CASES: u32 = 1_000;
/// One thing that happens.
#[derive(Clone, Debug)]
enum Happens {
    Ask(Op, Option<Duration>),
    Abandon(usize),
    Passes(Duration),
    Script(&'static str, Does),
    RungStep(&'static str, Step),
    Sentry(Hears),
    Exits(ProcessId, u32),
    /// An event without a cause: a duplicate, or a contradiction.
    Stray(Event),
    /// A call in flight comes back out of turn.
    Returns(usize, Outcome),
    Unkillable(bool),
    FreeWorks(bool),
    Reports(bool),
    Mute(bool),
    Destroys(bool),
    WatchdogKills(bool),
    ShimDies,
    ShimLeaves,
    NodeGoesDown,
    GuardSleeps(Duration),
    Deserted,
    Recalls(Recalled, bool),
    Tick,
}

fn processes() -> impl Strategy<Value = ProcessId> {
    let containers = prop_oneof![3 => Just("root"), 3 => Just("app"), 1 => Just("sidecar")];
    let execs = prop_oneof![3 => Just(""), 1 => Just("e"), 1 => Just("f")];
    (containers, execs)
        .prop_map(|(container, exec)| ProcessId { container: container.into(), exec: exec.into() })
}

fn ops() -> impl Strategy<Value = Op> {
    (0..23_u32, processes(), any::<bool>()).prop_map(|(which, process, flag)| {
        let container = process.container.clone();
        match which {
            0 | 1 => create(&container),
            2 => Op::Start(process),
            3 => Op::Exec(ProcessId { exec: "e".into(), ..process }, About::default()),
            4 => Op::State(process, if flag { Sentry::Runs } else { Sentry::Dead }),
            5 => Op::Pids(container, if flag { Sentry::Runs } else { Sentry::Dead }),
            6 => Op::Connect(container),
            7 => Op::Stats(container),
            8 => Op::Pause(container),
            9 => Op::CloseIo(process),
            10 | 11 => Op::Wait(process),
            12 => Op::Kill { process, signal: 15, all: flag },
            13 | 14 => Op::Kill { process, signal: SIGKILL, all: flag },
            15 | 16 => Op::Delete(process),
            17 => Op::Shutdown,
            18 if flag => Op::State(process, Sentry::Stopped),
            18 => Op::Pids(container, Sentry::Stopped),
            19 => Op::ResizePty(process),
            20 if flag => Op::Update(container),
            20 => Op::Resume(container),
            21 => Op::Checkpoint(container),
            _ if flag => Op::Join(container),
            _ => Op::End(container),
        }
    })
}

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 1..50_u64, 50..3_000_u64, 3_000..40_000_u64].prop_map(ms)
}

fn does() -> impl Strategy<Value = Does> {
    let after = || prop_oneof![3 => 0..20_u64, 1 => 20..5_000_u64].prop_map(ms);
    prop_oneof![
        4 => after().prop_map(Does::Work),
        1 => after().prop_map(Does::Nothing),
        1 => after().prop_map(Does::Fail),
        1 => after().prop_map(Does::NotFound),
        1 => after().prop_map(Does::Lose),
        2 => Just(Does::Hang),
        1 => Just(Does::Never),
    ]
}

fn hears() -> impl Strategy<Value = Hears> {
    prop_oneof![
        2 => (1..2_000_u64).prop_map(|millis| Hears::Answers(ms(millis))),
        1 => Just(Hears::Slow),
        1 => Just(Hears::Paused),
        2 => Just(Hears::Nothing),
        1 => Just(Hears::Lost),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    (processes(), 0..3_u32).prop_map(|(process, which)| match which {
        0 => Event::Alive(process),
        1 => Event::Exit(process, Exit { pid: 1, status: 128, at_ns: 1 }),
        _ => Event::Other,
    })
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Lost),
        any::<bool>().prop_map(|not_found| Outcome::Failed { not_found }),
        Just(Outcome::Done(Told::Nothing)),
    ]
}

fn asked() -> impl Strategy<Value = Happens> {
    let callers = prop_oneof![2 => Just(None), 1 => (10..20_000_u64).prop_map(|millis| Some(ms(millis)))];
    (ops(), callers).prop_map(|(op, caller)| Happens::Ask(op, caller))
}

/// What may happen around a healthy sandbox. (`delete`'s private End is no request of containerd's.)
fn healthy() -> impl Strategy<Value = Happens> {
    let asked = asked().prop_map(|what| match what {
        Happens::Ask(Op::End(container), caller) => Happens::Ask(Op::Stats(container), caller),
        other => other,
    });
    prop_oneof![
        30 => asked,
        15 => spans().prop_map(Happens::Passes),
        2 => (0..40_usize).prop_map(Happens::Abandon),
        3 => (processes(), 0..3_u32).prop_map(|(process, status)| Happens::Exits(process, status)),
        1 => spans().prop_map(Happens::GuardSleeps),
        1 => Just(Happens::Deserted),
        1 => any::<bool>().prop_map(Happens::Destroys),
        2 => Just(Happens::Tick),
    ]
}

fn happenings() -> impl Strategy<Value = Happens> {
    let step =
        prop_oneof![4 => (1..600_u64).prop_map(|millis| Step::Takes(ms(millis))), 1 => Just(Step::Never)];
    let stuck =
        prop_oneof![any::<bool>().prop_map(Happens::Unkillable), any::<bool>().prop_map(Happens::FreeWorks)];
    let speech = prop_oneof![
        any::<bool>().prop_map(Happens::Reports),
        any::<bool>().prop_map(Happens::Mute),
        any::<bool>().prop_map(Happens::WatchdogKills)
    ];
    let recalls =
        prop_oneof![1 => Just(Recalled::Known), 1 => Just(Recalled::Unclear), 3 => Just(Recalled::Forgotten)];
    let ends = prop_oneof![
        Just(Happens::ShimDies),
        Just(Happens::ShimLeaves),
        Just(Happens::NodeGoesDown),
        Just(Happens::Ask(Op::Reap, None))
    ];
    let recalls = (recalls, any::<bool>()).prop_map(|(what, hangs)| Happens::Recalls(what, hangs));
    prop_oneof![
        30 => asked(),
        20 => healthy(),
        5 => ((0..METHODS.len()).prop_map(|n| METHODS[n]), does()).prop_map(|(m, d)| Happens::Script(m, d)),
        2 => ((0..RUNGS.len()).prop_map(|n| RUNGS[n]), step).prop_map(|(r, s)| Happens::RungStep(r, s)),
        3 => hears().prop_map(Happens::Sentry),
        2 => events().prop_map(Happens::Stray),
        2 => (0..40_usize, outcomes()).prop_map(|(n, outcome)| Happens::Returns(n, outcome)),
        1 => stuck,
        2 => prop_oneof![speech, recalls],
        1 => ends,
    ]
}

/// What may happen to a pod of which `side` lives, and neither it nor the root is asked to end: anything but a sentry
/// that is silent, and a real shim that is mute or dies.
fn around_a_sibling() -> impl Strategy<Value = Happens> {
    let spared =
        |process: &ProcessId| process.is_init() && ["root", "side"].contains(&process.container.as_str());
    let asked = asked().prop_map(move |what| match what {
        Happens::Ask(Op::Kill { process, signal: SIGKILL, .. } | Op::Delete(process), caller)
            if spared(&process) =>
        {
            Happens::Ask(Op::Stats(process.container), caller)
        }
        Happens::Ask(Op::End(container), caller) if container != "app" => {
            Happens::Ask(Op::Stats(container), caller)
        }
        other => other,
    });
    let sentry = prop_oneof![
        2 => (1..2_000_u64).prop_map(|millis| Hears::Answers(ms(millis))),
        1 => Just(Hears::Slow),
        1 => Just(Hears::Lost),
    ];
    let step =
        prop_oneof![4 => (1..600_u64).prop_map(|millis| Step::Takes(ms(millis))), 1 => Just(Step::Never)];
    let members = prop_oneof![Just("app"), Just("sidecar")];
    // By this one the real shim shows that it answers at all.
    let methods = (0..METHODS.len()).prop_map(|n| METHODS[n]);
    let methods = methods.prop_filter("a real shim that is not mute", |method| *method != "Checkpoint");
    prop_oneof![
        30 => asked,
        20 => spans().prop_map(Happens::Passes),
        6 => (methods, does()).prop_map(|(m, d)| Happens::Script(m, d)),
        2 => ((0..RUNGS.len()).prop_map(|n| RUNGS[n]), step).prop_map(|(r, s)| Happens::RungStep(r, s)),
        3 => sentry.prop_map(Happens::Sentry),
        2 => (0..40_usize).prop_map(Happens::Abandon),
        2 => (members, 0..3_u32).prop_map(|(member, status)| Happens::Exits(ProcessId::init(member), status)),
        1 => spans().prop_map(Happens::GuardSleeps),
    ]
}

/// A pod with traffic: most sequences from nothing would say little. The watchdog bites, and soon.
fn world(pod: bool) -> World {
    let policy = Policy { watchdog: Watchdog::Kill, watchdog_after: ms(5_000), ..Policy::default() };
    if pod { World::pod_with(policy) } else { World::new(policy) }
}

fn happen(world: &mut World, what: Happens) {
    match what {
        Happens::Ask(op, caller) => {
            let adds = match &op {
                Op::Create(container, _) => Some(ProcessId::init(container)),
                Op::Exec(process, _) => Some(process.clone()),
                _ => None,
            };
            let used = |id: &ProcessId| world.ledger.started.contains(id) || world.ledger.exits(id) > 0;
            let reused = adds.is_some_and(|id| used(&id));
            // One exit per process is counted by name.
            if !reused && !world.ledger.quit {
                world.ask_within(op, caller);
            }
        }
        Happens::Abandon(n) => {
            let open: Vec<RequestId> = world.ledger.open.iter().copied().collect();
            if let Some(id) = open.get(n) {
                world.abandon(*id);
            }
        }
        Happens::Passes(span) => world.run(span),
        Happens::Script(method, does) => world.does(method, does),
        Happens::RungStep(rung, step) => world.step(rung, step),
        Happens::Sentry(hears) => world.fakes.sentry = hears,
        Happens::Exits(process, status) => world.exits(&process, status),
        Happens::Stray(event) => world.event(event),
        Happens::Returns(n, outcome) => {
            let call = world.ledger.in_flight.iter().nth(n).copied();
            if let Some(call) = call {
                world.ledger.in_flight.remove(&call);
                world.handle(Input::Returned(call, outcome));
            }
        }
        Happens::Unkillable(yes) if yes => world.fakes.unkillable = ["pid 7, state D".into()].into(),
        Happens::Unkillable(_) => world.remnants_die(),
        Happens::FreeWorks(yes) => world.fakes.free_works = yes,
        Happens::Reports(yes) => world.fakes.reports = yes,
        Happens::Mute(yes) => world.fakes.mute = yes,
        Happens::Destroys(yes) => world.fakes.destroys = yes,
        Happens::WatchdogKills(yes) => {
            world.guard.set_watchdog(if yes { Watchdog::Kill } else { Watchdog::Report });
        }
        Happens::ShimDies if !world.fakes.shim_dead => world.shim_dies(),
        Happens::ShimLeaves if !world.fakes.shim_dead => world.shim_leaves(),
        Happens::ShimDies | Happens::ShimLeaves => {}
        Happens::NodeGoesDown => world.node_goes_down(),
        Happens::GuardSleeps(span) => world.stop_guard(span),
        Happens::Deserted => world.handle(Input::Deserted),
        Happens::Recalls(what, hangs) => (world.fakes.recalled, world.fakes.recall_hangs) = (what, hangs),
        Happens::Tick => {
            // A tick too many, but not before the answers that have arrived.
            world.run(ms(0));
            world.handle(Input::Tick);
        }
    }
}

/// A step that does not come back, and what leads to it: by chance alone some are hardly ever lost.
fn lost_from_the_start(step: usize) -> Vec<Happens> {
    let hangs = |method| Happens::Script(method, Does::Hang);
    let mut first = Vec::from([Happens::RungStep(RUNGS[step], Step::Never)]);
    match RUNGS[step] {
        "KillCreate" => first.push(hangs("Create")),
        "ReleaseOne" => first.push(hangs("Delete")),
        "Watch" => {
            first.extend([Happens::WatchdogKills(false), Happens::Sentry(Hears::Nothing)]);
            first.extend(["State", "Pids", "Stats"].map(hangs));
        }
        "Release" => first.push(Happens::Script("Shutdown", Does::Never)),
        _ => first.push(hangs("SIGKILL")),
    }
    first
}

/// Ends whatever is left, as containerd would, and checks that nothing is.
fn wind_up(world: &mut World) {
    world.run(ms(600_000));
    world.remnants_die();
    world.run(ms(10_000));
    let quiet = world.ledger.open.iter().all(|id| matches!(world.ledger.asked[id].op, Op::Wait(_)));
    assert!(quiet, "{:?}", world.guard);
    // The way out has a limit whatever the real shim does.
    world.fakes.script.retain(|method, _| *method == "Shutdown");
    world.fakes.rungs.clear();
    for container in ["root", "app", "sidecar"] {
        if !world.ledger.quit {
            world.ask(Op::End(container.into()));
        }
    }
    world.run(ms(600_000));
    assert!(world.ledger.quit, "the guard stays: {:#?}", world.guard);
    assert!(world.ledger.open.is_empty(), "{:?}", world.ledger.open);
    let ends = world.guard.open_ends();
    assert_eq!((ends.waiting, ends.calls, ends.unpublished), (0, 0, 0));
    assert_eq!(world.guard.poll_timeout(), None);
    if world.ledger.node_is_down {
        // Nobody has deleted anything, and of what lives on no end was told.
        return;
    }
    assert_eq!(ends.processes, 0);
    for process in &world.ledger.started {
        // More than one only where the real shim has said so: the ledger takes the guard's own once.
        assert_ne!(world.ledger.exits(process), 0, "no exit of {process:?}");
    }
}

fn check(
    cases: u32,
    strategy: impl Strategy<Value = (bool, Vec<Happens>)>,
    test: impl Fn(bool, Vec<Happens>),
) {
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |cases| cases.parse().expect("a number"));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(pod, sequence)| {
        test(pod, sequence);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn whatever_happens_the_ledger_balances() {
    let from_the_start = prop_oneof![Just(Vec::new()), (0..RUNGS.len()).prop_map(lost_from_the_start)];
    let sequences = (any::<bool>(), from_the_start, prop::collection::vec(happenings(), 1..80));
    let sequences = sequences.prop_map(|(pod, first, then)| (pod, [first, then].concat()));
    let lost = RefCell::new(BTreeSet::new());
    check(CASES, sequences, |pod, sequence| {
        let mut world = world(pod);
        for what in sequence {
            happen(&mut world, what);
        }
        wind_up(&mut world);
        lost.borrow_mut().extend(world.fakes.lost);
    });
    let answered: BTreeSet<_> = METHODS.into_iter().chain(RUNGS).chain(["Probe", "Recall"]).collect();
    assert_eq!(
        lost.into_inner(),
        answered,
        "each output that an input answers is lost now and then (rule 8)"
    );
}

/// While everything is answered in time nothing is done to a sandbox.
#[test]
fn a_sandbox_that_answers_in_time_is_never_touched() {
    check(CASES, (Just(true), prop::collection::vec(healthy(), 1..80)), |pod, sequence| {
        let mut world = world(pod);
        for what in sequence {
            happen(&mut world, what);
        }
        world.run(ms(300_000));
        assert!(world.wedge().is_none(), "{:?}", world.ledger.notes);
        if world.ledger.listening {
            world.untouched();
        }
    });
}

/// What a healthy neighbour pays: nothing.
#[test]
fn a_living_sibling_under_a_sentry_that_answers_never_dies() {
    check(CASES, (Just(true), prop::collection::vec(around_a_sibling(), 1..80)), |_, sequence| {
        let policy = Policy {
            watchdog: Watchdog::Kill,
            watchdog_after: ms(5_000),
            hard_limit: None,
            ..Policy::default()
        };
        let mut world = World::siblings_with(policy);
        for what in sequence {
            happen(&mut world, what);
        }
        world.run(ms(3_600_000));
        let own = |rung: &str| matches!(rung, "ReleaseOne" | "KillCreate" | "Watch");
        assert!(world.rungs().into_iter().all(own), "{:?}", world.ledger.notes);
        assert!(world.published(&ProcessId::init("side")).is_empty());
    });
}
