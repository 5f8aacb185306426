//! Random sequences: whatever comes in, in whatever order and however late, the ledger's invariants hold (rules 2, 3
//! and 7), and in the end nothing is left.

use crate::io::{Input, ProcessId, Request, RequestId, Step, StepKind};
use crate::policy::{Policy, Watchdog};
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Hears, Lasts, STEPS};
use crate::tests::on::{self, Lost, METHODS};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::vec::Vec;

use crate::tests::happenings::{Happens, around_a_sibling, happenings, healthy};
use crate::tests::world::World;

const CASES: u32 = 1_000;

/// A pod with traffic: most sequences from nothing would say little. The watchdog bites, and soon.
fn world(pod: bool) -> World {
    let policy = Policy { watchdog: Watchdog::Kill, watchdog_after: ms(5_000), ..Policy::default() };
    if pod { World::pod_with(policy) } else { World::new(policy) }
}

fn happen(world: &mut World, what: Happens) {
    match what {
        Happens::Ask(request, caller) => {
            let adds = match &request {
                Request::Create(container, _) => Some(ProcessId::init(container)),
                Request::Exec(process, _) => Some(process.clone()),
                _ => None,
            };
            let used = |id: &ProcessId| world.ledger.started.contains(id) || world.ledger.exits(id) > 0;
            let reused = adds.is_some_and(|id| used(&id));
            // One exit per process is counted by name.
            if !reused && !world.ledger.quit {
                world.ask_within(request, caller);
            }
        }
        Happens::Abandon(n) => {
            let open: Vec<RequestId> = world.ledger.open.iter().copied().collect();
            if let Some(id) = open.get(n) {
                world.abandon(*id);
            }
        }
        Happens::Passes(span) => world.run(span),
        Happens::Script(on, does) => world.does(on, does),
        Happens::StepLasts(step, lasts) => world.step(step, lasts),
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
        Happens::Unkillable(_) => world.stuck_die(),
        Happens::FreeWorks(yes) => world.fakes.free_works = yes,
        Happens::Reports(yes) => world.fakes.reports = yes,
        Happens::CannotReport(yes) => world.fakes.cannot_report = yes,
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
    let hangs = |on| Happens::Script(on, Does::Hang);
    let mut first = Vec::from([Happens::StepLasts(STEPS[step].clone(), Lasts::Forever)]);
    match &STEPS[step] {
        Step::KillCreate(_) => first.push(hangs(on::CREATE)),
        Step::ReleaseOne(_) => first.push(hangs(on::DELETE)),
        Step::Watch => {
            first.extend([Happens::WatchdogKills(false), Happens::Sentry(Hears::Nothing)]);
            first.extend([on::STATE, on::PIDS, on::STATS].map(hangs));
        }
        Step::Release => first.push(Happens::Script(on::SHUTDOWN, Does::Never)),
        _ => first.push(hangs(on::SIGKILL)),
    }
    first
}

/// Ends whatever is left, as containerd would, and checks that nothing is.
fn wind_up(world: &mut World) {
    world.run(ms(600_000));
    world.stuck_die();
    world.run(ms(10_000));
    let quiet = world.ledger.open.iter().all(|id| matches!(world.ledger.asked[id].request, Request::Wait(_)));
    assert!(quiet, "{:?}", world.guard);
    // The way out has a limit whatever the real shim does.
    world.fakes.script.retain(|on, _| *on == on::SHUTDOWN);
    world.fakes.steps.clear();
    for container in ["root", "app", "sidecar"] {
        if !world.ledger.quit {
            world.ask(Request::End(container.into()));
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
    // The same ones each time, and some that nobody has seen yet.
    for (seed, cases) in [(FIXED, cases), (seed(), cases / 4)] {
        let config =
            Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |(pod, sequence)| {
            test(pod, sequence);
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{error}\nto repeat this: {SEED}={seed}");
        }
    }
}

/// What repeats a run.
const SEED: &str = "RUNSC_GUARD_SEED";
/// The seed of the sequences that every run has.
const FIXED: u64 = 0x0909_0909_0909_0909;

/// The seed of the others: of this moment, or the one that is named.
fn seed() -> u64 {
    let named = std::env::var(SEED).ok().map(|text| text.parse().expect("a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    named.unwrap_or(now.as_secs())
}

#[test]
fn whatever_happens_the_ledger_balances() {
    let from_the_start = prop_oneof![Just(Vec::new()), (0..STEPS.len()).prop_map(lost_from_the_start)];
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
    let answered: BTreeSet<_> = METHODS
        .map(Lost::Request)
        .into_iter()
        .chain(StepKind::ALL.map(Lost::Step))
        .chain([Lost::Probe, Lost::Recall])
        .collect();
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
        let own = |step| matches!(step, Step::ReleaseOne(_) | Step::KillCreate(_) | Step::Watch);
        assert!(world.steps().into_iter().all(own), "{:?}", world.ledger.notes);
        assert!(world.published(&ProcessId::init("side")).is_empty());
    });
}
