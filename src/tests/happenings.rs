//! What may happen around a sandbox, at random.

use crate::exit::Exit;
use crate::io::{Event, Outcome, ProcessId, ProcessSpec, Recalled, Request, ResponseInfo, Sentry, Step};
use crate::task::SIGKILL;
use crate::tests::fake::{Does, ms};
use crate::tests::kernel::{Hears, Lasts, STEPS};
use crate::tests::on::{self, METHODS, On};
use proptest::prelude::*;
use std::time::Duration;

use crate::tests::world::create;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Happens {
    Ask(Request, Option<Duration>),
    Abandon(usize),
    Passes(Duration),
    Script(On, Does),
    StepLasts(Step, Lasts),
    Sentry(Hears),
    Exits(ProcessId, u32),
    /// An event without a cause: a duplicate, or a contradiction.
    Stray(Event),
    /// A call in flight comes back out of turn.
    Returns(usize, Outcome),
    Unkillable(bool),
    FreeWorks(bool),
    Reports(bool),
    CannotReport(bool),
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

fn ops() -> impl Strategy<Value = Request> {
    (0..23_u32, processes(), any::<bool>()).prop_map(|(which, process, flag)| {
        let container = process.container.clone();
        match which {
            0 | 1 => create(&container),
            2 => Request::Start(process),
            3 => Request::Exec(ProcessId { exec: "e".into(), ..process }, ProcessSpec::default()),
            4 => Request::State(process, if flag { Sentry::Runs } else { Sentry::Dead }),
            5 => Request::Pids(container, if flag { Sentry::Runs } else { Sentry::Dead }),
            6 => Request::Connect(container),
            7 => Request::Stats(container),
            8 => Request::Pause(container),
            9 => Request::CloseIo(process),
            10 | 11 => Request::Wait(process),
            12 => Request::Kill { process, signal: 15, all: flag },
            13 | 14 => Request::Kill { process, signal: SIGKILL, all: flag },
            15 | 16 => Request::Delete(process),
            17 => Request::Shutdown,
            18 if flag => Request::State(process, Sentry::Stopped),
            18 => Request::Pids(container, Sentry::Stopped),
            19 => Request::ResizePty(process),
            20 if flag => Request::Update(container),
            20 => Request::Resume(container),
            21 => Request::Checkpoint(container),
            _ if flag => Request::Join(container),
            _ => Request::End(container),
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
        Just(Outcome::Done(ResponseInfo::Nothing)),
    ]
}

fn asked() -> impl Strategy<Value = Happens> {
    let callers = prop_oneof![2 => Just(None), 1 => (10..20_000_u64).prop_map(|millis| Some(ms(millis)))];
    (ops(), callers).prop_map(|(request, caller)| Happens::Ask(request, caller))
}

/// What may happen around a healthy sandbox. (`delete`'s private End is no request of containerd's.)
pub(super) fn healthy() -> impl Strategy<Value = Happens> {
    let asked = asked().prop_map(|what| match what {
        Happens::Ask(Request::End(container), caller) => Happens::Ask(Request::Stats(container), caller),
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

pub(super) fn happenings() -> impl Strategy<Value = Happens> {
    let step =
        prop_oneof![4 => (1..600_u64).prop_map(|millis| Lasts::For(ms(millis))), 1 => Just(Lasts::Forever)];
    let stuck =
        prop_oneof![any::<bool>().prop_map(Happens::Unkillable), any::<bool>().prop_map(Happens::FreeWorks)];
    let speech = prop_oneof![
        any::<bool>().prop_map(Happens::Reports),
        any::<bool>().prop_map(Happens::CannotReport),
        any::<bool>().prop_map(Happens::WatchdogKills)
    ];
    let recalls =
        prop_oneof![1 => Just(Recalled::Known), 1 => Just(Recalled::Unclear), 3 => Just(Recalled::Forgotten)];
    let ends = prop_oneof![
        Just(Happens::ShimDies),
        Just(Happens::ShimLeaves),
        Just(Happens::NodeGoesDown),
        Just(Happens::Ask(Request::Reap, None))
    ];
    let recalls = (recalls, any::<bool>()).prop_map(|(what, hangs)| Happens::Recalls(what, hangs));
    prop_oneof![
        30 => asked(),
        20 => healthy(),
        5 => ((0..METHODS.len()).prop_map(|n| METHODS[n]), does()).prop_map(|(m, d)| Happens::Script(m, d)),
        2 => ((0..STEPS.len()).prop_map(|n| STEPS[n].clone()), step).prop_map(|(step, lasts)| Happens::StepLasts(step, lasts)),
        3 => hears().prop_map(Happens::Sentry),
        2 => events().prop_map(Happens::Stray),
        2 => (0..40_usize, outcomes()).prop_map(|(n, outcome)| Happens::Returns(n, outcome)),
        1 => stuck,
        2 => prop_oneof![speech, recalls],
        1 => ends,
    ]
}

/// What may happen to a pod of which `side` lives, and neither it nor the root is asked to end: anything but a sentry
/// that is silent, and a real shim that cannot report or dies.
pub(super) fn around_a_sibling() -> impl Strategy<Value = Happens> {
    let spared =
        |process: &ProcessId| process.is_init() && ["root", "side"].contains(&process.container.as_str());
    let asked = asked().prop_map(move |what| match what {
        Happens::Ask(Request::Kill { process, signal: SIGKILL, .. } | Request::Delete(process), caller)
            if spared(&process) =>
        {
            Happens::Ask(Request::Stats(process.container), caller)
        }
        Happens::Ask(Request::End(container), caller) if container != "app" => {
            Happens::Ask(Request::Stats(container), caller)
        }
        other => other,
    });
    let sentry = prop_oneof![
        2 => (1..2_000_u64).prop_map(|millis| Hears::Answers(ms(millis))),
        1 => Just(Hears::Slow),
        1 => Just(Hears::Lost),
    ];
    let step =
        prop_oneof![4 => (1..600_u64).prop_map(|millis| Lasts::For(ms(millis))), 1 => Just(Lasts::Forever)];
    let members = prop_oneof![Just("app"), Just("sidecar")];
    // By this one the real shim shows that it answers at all.
    let methods = (0..METHODS.len()).prop_map(|n| METHODS[n]);
    let methods = methods.prop_filter("a real shim that is not cannot_report", |on| *on != on::CHECKPOINT);
    prop_oneof![
        30 => asked,
        20 => spans().prop_map(Happens::Passes),
        6 => (methods, does()).prop_map(|(m, d)| Happens::Script(m, d)),
        2 => ((0..STEPS.len()).prop_map(|n| STEPS[n].clone()), step).prop_map(|(step, lasts)| Happens::StepLasts(step, lasts)),
        3 => sentry.prop_map(Happens::Sentry),
        2 => (0..40_usize).prop_map(Happens::Abandon),
        2 => (members, 0..3_u32).prop_map(|(member, status)| Happens::Exits(ProcessId::init(member), status)),
        1 => spans().prop_map(Happens::GuardSleeps),
    ]
}
