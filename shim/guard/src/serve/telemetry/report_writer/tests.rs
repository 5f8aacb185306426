use std::fs;
use std::path::Path;

use runsc_guard_core::guard::Guard;
use runsc_guard_core::io::{Cause, CauseKind, Event, Input, Note, ProcessId, ProcessSpec};
use runsc_guard_core::policy::Policy;
use runsc_guard_core::time::Time;

use super::*;
use crate::serve::telemetry::fact::Fact;
use runsc_guard_sandbox::diagnostics::stacks::Dump;
use runsc_guard_sandbox::testing::stand_in;

const SOON: Duration = Duration::from_secs(20);

fn writer(folder: &Path) -> ReportWriter {
    let config = Config { report_dir: folder.into(), runsc_binary: "true".into(), ..Config::default() };
    ReportWriter::new(&config, "ns", "box", Path::new("/none"))
}

/// A guard whose Create has been out for a second, and what was remembered.
fn begun(writer: &ReportWriter, whole: bool) {
    let mut guard = Guard::new(Policy::default(), "box".into(), "box".into());
    let create = Request::Create("box".into(), ProcessSpec::default());
    guard.handle(Time::default(), Input::Request { id: RequestId(7), request: create, caller: None });
    let mut recent = Recent::default();
    let event = Event::Alive(ProcessId::init("box"));
    recent.take(&Fact::Published { topic: "/tasks/create", event: &event });
    recent.take(&Fact::Noted(&Note::Wedged { cause: Cause::SentryLingers, waited: Duration::from_secs(1) }));
    let view = guard.view(Time::from_millis(1_000));
    let why = Why { cause: CauseKind::SentryLingers, sign: "a sign", waited: Duration::from_secs(3) };
    writer.begins(why, whole, view, &recent);
}

fn read(folder: &Path) -> Vec<Report> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    // A draft may be there while it is written.
    let files = files.filter(|file| !file.file_name().as_encoded_bytes().starts_with(b"."));
    files.map(|file| serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap()).collect()
}

#[test]
fn before_an_escalation_nothing_is_kept_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    writer.happened("something");
    writer.hears(b"=== BEGIN goroutine stack dump ===");
    writer.step_ends(StepKind::Diagnose, &[]);
    writer.close(SOON);
    assert!(!writer.is_open() && writer.file().is_none() && read(folder.path()).is_empty());
}

#[test]
fn a_whole_escalation_is_one_report_and_is_forgotten_after() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    begun(&writer, true);
    for step in [StepKind::Diagnose, StepKind::KillAll, StepKind::Release] {
        writer.step_begins(step, Duration::from_millis(300));
        writer.step_ends(step, &[]);
    }
    writer.told(Told { stacks: Dump::of(b"goroutine 1", true), version: "release-1".into() });
    writer.hears(b"x === BEGIN goroutine stack dump ===\ngoroutine 2\n=== END goroutine stack dump ===");
    writer.answered(RequestId(7), || "late".to_owned());
    writer.released(vec![Released::new("files", ["/f".to_owned()].into_iter())]);
    writer.ends(Duration::ZERO, &[]);
    writer.happened("too late to matter");
    writer.close(SOON);
    assert!(writer.lock().is_none());
    let [report] = &read(folder.path())[..] else { panic!("one report") };
    assert_eq!((report.sign.as_str(), report.runsc_version.as_str()), ("a sign", "release-1"));
    assert_eq!(
        (report.goroutines.text.as_str(), report.stacks.text.as_str()),
        ("goroutine 2", "goroutine 1")
    );
    assert!(
        report.steps.len() == 3
            && report.steps.iter().all(|step| step.took_ms.is_some() && step.budget_ms == 300)
    );
    assert!(report.ended_ms.is_some() && report.left.is_empty() && report.released.len() == 1);
    let lines: Vec<(What, &str)> = report.timeline.iter().map(|one| (one.what, one.text.as_str())).collect();
    for line in [
        (What::Awaited, "Create of box"),
        (What::Forwarded, "Create of box"),
        (What::Asked, "Create of box"),
        (What::Answered, "Create of box: late"),
        (What::Happened, "/tasks/create box"),
    ] {
        assert!(lines.contains(&line), "{line:?} in {lines:?}");
    }
    let awaited = report.timeline.iter().find(|one| one.what == What::Awaited).unwrap();
    assert_eq!(awaited.due_ms.unwrap() - awaited.at_ms, 90_000);
}

#[test]
fn a_version_that_the_sentry_has_not_told_is_learned_last() {
    let (folder, runsc) = stand_in("echo runsc version release-2");
    let reports = folder.path().join("reports");
    let runsc_binary = runsc.to_str().unwrap().to_owned();
    let config = Config { report_dir: reports.clone(), runsc_binary, ..Config::default() };
    let writer = ReportWriter::new(&config, "ns", "box", Path::new("/none"));
    begun(&writer, true);
    writer.told(Told { stacks: Dump::none("stopped"), ..Told::default() });
    writer.ends(Duration::ZERO, &[]);
    writer.close(SOON);
    let [report] = &read(&reports)[..] else { panic!("one report") };
    assert_eq!((report.runsc_version.as_str(), report.ended_ms.is_some()), ("release-2", true));
}

#[test]
fn what_is_known_is_on_disk_while_the_escalation_goes_on_and_what_is_left_keeps_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    begun(&writer, true);
    writer.is_stuck(&["pid 7".into()]);
    writer.comes_home(&[]);
    assert!(writer.is_open());
    writer.ends(Duration::ZERO, &["pid 7".into()]);
    assert!(writer.is_open());
    let until = Instant::now() + SOON;
    while read(folder.path()).first().is_none_or(|report| report.left.is_empty()) {
        assert!(Instant::now() < until);
        thread::yield_now();
    }
    assert_eq!(read(folder.path())[0].ended_ms, None);
    writer.comes_home(&[]);
    writer.close(SOON);
    assert!(read(folder.path())[0].ended_ms.is_some());
}

#[test]
fn the_end_of_a_one_ends_its_report_unless_an_escalation_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(folder.path());
    begun(&writer, false);
    begun(&writer, true);
    writer.one_ends();
    assert!(writer.is_open());
    writer.ends(Duration::ZERO, &[]);
    begun(&writer, false);
    writer.one_ends();
    assert!(!writer.is_open());
    writer.close(SOON);
}

#[test]
fn a_folder_that_takes_nothing_costs_nothing_else() {
    let writer = writer(Path::new("/proc/nowhere"));
    begun(&writer, true);
    writer.step_begins(StepKind::Diagnose, Duration::from_millis(300));
    writer.step_ends(StepKind::Diagnose, &[]);
    let told = writer.lock().as_ref().map(|open| open.report.steps[0].took_ms.is_some());
    assert_eq!(told, Some(true));
    writer.ends(Duration::ZERO, &[]);
    writer.close(SOON);
    assert!(writer.lock().is_none());
}
