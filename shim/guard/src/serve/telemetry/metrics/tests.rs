use super::*;
use crate::serve::encode;
use runsc_guard_core::error::GuardError;
use runsc_guard_core::exit::Exit;
use runsc_guard_core::io::{Answer, ProcessId};
use ttrpc::{Code, Response};

fn read(metrics: &Metrics) -> MetricsResponse {
    let events = Backlog { queued: 3, dropped: 1 };
    metrics.told("ns", events)
}

/// Those that are not zero.
fn counts(counts: &[Count]) -> Vec<(&str, u32)> {
    counts.iter().map(|one| (one.what.as_str(), one.count)).filter(|(_, count)| *count > 0).collect()
}

fn wedged(cause: Cause) -> Note {
    Note::Wedged { cause, waited: Duration::from_secs(2) }
}

#[test]
fn it_stays_small_and_full_counters_stay_full() {
    assert!(size_of::<Metrics>() <= 2048, "{}", size_of::<Metrics>());
    let mut count = u32::MAX;
    up(&mut count);
    assert_eq!(count, u32::MAX);
}

#[test]
fn each_time_falls_into_its_bucket_bounds_included() {
    let mut latency = Latency::default();
    for us in [0, 1000, 1001, 5000, 2_500_000, 2_500_001, 10_000_000, 10_000_001, 86_400_000_000] {
        latency.add(Duration::from_micros(us));
    }
    assert_eq!(latency.buckets, [2, 2, 0, 0, 0, 0, 1, 2, 2]);
    assert_eq!(latency.sum_us, 86_400_000_000 + 25_000_000 + 7_000 + 3);
}

#[test]
fn what_is_asked_for_is_told_by_name_and_the_rest_is_not() {
    let mut metrics = Metrics::default();
    let state = Method::State;
    for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Guard, Outcome::Abandoned] {
        metrics.request(state, Instant::now(), outcome);
    }
    metrics.request(Method::Shutdown, Instant::now(), Outcome::Refused);
    metrics.request(Method::Join, Instant::now(), Outcome::Guard);
    let told = read(&metrics);
    assert_eq!((told.namespace.as_str(), told.events_queued, told.events_dropped), ("ns", 3, 1));
    assert_eq!(told.bounds_ms, BOUNDS_MS);
    let methods: Vec<&str> = told.methods.iter().map(|one| one.method.as_str()).collect();
    assert_eq!(methods, ["State", "Shutdown"]);
    assert_eq!(told.methods[0].outcomes.len(), 3);
    assert_eq!(counts(&told.methods[0].outcomes), [("ok", 2), ("guard", 1), ("abandoned", 1)]);
    assert_eq!(told.methods[0].answered.iter().sum::<u32>(), 3, "what was abandoned had no answer");
}

#[test]
fn whose_answer_it_was_is_told_apart() {
    let failed = encode::failure(Code::NOT_FOUND, "gone".into());
    let fine = Response::default();
    let exit = Exit { pid: 1, status: 0, at_ns: 1 };
    for (answer, relayed, outcome) in [
        (Answer::Relay, Some(&fine), Outcome::Ok),
        (Answer::Relay, Some(&failed), Outcome::Error),
        (Answer::Waited(exit), Some(&failed), Outcome::Guard),
        (Answer::Done, None, Outcome::Guard),
        (Answer::Error(GuardError::NotFound("a".into())), None, Outcome::Refused),
    ] {
        assert_eq!(Outcome::of(&answer, relayed), outcome, "{answer:?}");
    }
}

#[test]
fn an_ordinary_end_is_no_escalation() {
    let mut metrics = Metrics::default();
    metrics.step(StepKind::KillAll);
    metrics.step(StepKind::Release);
    let told = read(&metrics);
    assert!(counts(&told.steps).is_empty() && counts(&told.signs).is_empty());
    assert!(told.gone.iter().all(|count| *count == 0));
    assert_eq!((told.steps.len(), told.signs.len()), (STEPS, CauseKind::ALL.len()), "zeros are told");
}

#[test]
fn a_late_release_leaves_something_only_if_it_says_so() {
    for (left, counted) in [(Vec::new(), 0), (vec!["a mount".to_owned()], 1)] {
        let mut metrics = Metrics::default();
        let late = vec!["release did not return".to_owned()];
        metrics.note(&Note::Ended { took: Duration::from_secs(2), left: late, unsure: true });
        metrics.note(&Note::ReleasedLate(left));
        assert_eq!(read(&metrics).leftover, counted);
    }
}

#[test]
fn an_escalation_is_told_from_its_sign_to_its_end() {
    let mut metrics = Metrics::default();
    let process = ProcessId::init("a");
    metrics.note(&wedged(Cause::KillWithoutExit { process, acknowledged: false }));
    for step in
        [StepKind::Diagnose, StepKind::KillSandbox, StepKind::KillAll, StepKind::Unblock, StepKind::Release]
    {
        metrics.step(step);
    }
    metrics.note(&Note::Ended {
        took: Duration::from_millis(700),
        left: vec!["a mount".into()],
        unsure: false,
    });
    metrics.step(StepKind::KillAll);
    let told = read(&metrics);
    assert_eq!(counts(&told.signs), [("kill_unacknowledged", 1)]);
    let steps = ["diagnose", "kill_sandbox", "kill_all", "release", "unblock"];
    assert_eq!(counts(&told.steps), steps.map(|step| (step, 1)));
    assert_eq!((told.gone, told.gone_us, told.leftover), (vec![0, 0, 0, 0, 0, 1, 0, 0, 0], 700_000, 1));
}

#[test]
fn a_create_that_hung_is_counted_once() {
    let mut metrics = Metrics::default();
    metrics.step(StepKind::KillCreate);
    metrics.note(&Note::CreateStuck { container: "a".into(), stuck: "a mount".into() });
    metrics.note(&wedged(Cause::CreateStuck("a".into())));
    metrics.step(StepKind::KillAll);
    let told = read(&metrics);
    assert_eq!(counts(&told.signs), [("create_stuck", 1)]);
    assert_eq!(counts(&told.steps), [("kill_all", 1), ("kill_create", 1)]);
}

#[test]
fn what_the_watchdog_only_reports_is_no_escalation() {
    let mut metrics = Metrics::default();
    metrics.note(&Note::Silent(Duration::from_secs(60)));
    metrics.step(StepKind::Watch);
    metrics.note(&Note::AnswersAgain(Duration::from_secs(90)));
    metrics.step(StepKind::KillAll);
    let told = read(&metrics);
    assert_eq!(counts(&told.signs), [("silent_reported", 1)]);
    assert!(counts(&told.steps).is_empty());
}

#[test]
fn the_last_word_is_heard_by_who_listens_and_missed_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.sock");
    let mut metrics = Metrics::default();
    metrics.note(&wedged(Cause::SentryLingers));
    let backlog = Backlog::default();
    assert_eq!(metrics.send("ns", backlog, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
    let listener = UnixDatagram::bind(&path).unwrap();
    metrics.send("ns", backlog, &path).unwrap();
    let mut datagram = [0; 4096];
    let length = listener.recv(&mut datagram).unwrap();
    let told = MetricsResponse::parse_from_bytes(&datagram[..length]).unwrap();
    assert_eq!(counts(&told.signs), [("sentry_lingers", 1)]);
    let me = Identity::me().unwrap();
    assert_eq!((told.pid, told.start_time), (me.pid, me.start_time));
    // Nobody reads any more, and nobody is waited for.
    let full = (0..10_000).find_map(|_| metrics.send("ns", backlog, &path).err()).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn every_sign_has_a_name() {
    let process = || ProcessId::init("a");
    let signs = [
        (Cause::KillWithoutExit { process: process(), acknowledged: true }, "kill_without_exit"),
        (Cause::KillWithoutExit { process: process(), acknowledged: false }, "kill_unacknowledged"),
        (Cause::DeleteStuck(process()), "delete_stuck"),
        (Cause::CreateStuck("a".into()), "create_stuck"),
        (Cause::SentryLingers, "sentry_lingers"),
        (Cause::RealShimDied, "real_shim_died"),
        (Cause::Silent, "silent"),
        (Cause::Reaped, "reaped"),
    ];
    for (why, name) in signs {
        assert_eq!(why.kind().as_str(), name);
    }
}
