use super::*;
use crate::commands::doctor::logs::decode::decode;

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn stop(number: usize, minute: usize) -> String {
    let id = id(number);
    format!(
        r#"time="2026-11-25T22:{minute:02}:00Z" level=error msg="StopPodSandbox for \"{id}\" failed" error="rpc error: code = DeadlineExceeded desc = x" runtime=io.containerd.runsc.v1"#
    )
}

fn told(lines: &[String]) -> Report {
    let mut tally = Tally::default();
    tally.begin();
    lines.iter().flat_map(|line| decode(line)).for_each(|record| tally.take(record));
    report(&tally, &[])
}

fn level(lines: &[String]) -> Level {
    told(lines).verdict.level
}

#[test]
fn the_same_failure_twice_is_the_problem() {
    assert_eq!(level(&[stop(1, 1), stop(2, 2), "nothing".into()]), Level::Warn);
    let twice = told(&[stop(1, 1), stop(2, 2), stop(2, 7)]);
    assert_eq!(twice.verdict.level, Level::Fail);
    assert!(twice.verdict.what.contains(&format!("{}, 2 tries", id(2))), "{}", twice.verdict.what);
    let worst = &twice.subjects[0];
    assert_eq!((worst.name.clone(), worst.tries, worst.state), (id(2), 2, "stuck"));
    assert_eq!(worst.first.as_deref(), Some("2026-11-25T22:02:00Z"));
    assert_eq!(worst.last.as_deref(), Some("2026-11-25T22:07:00Z"));
    assert!(!twice.verdict.remedy.unwrap().contains("no line names runsc"));
}

#[test]
fn a_quiet_log_is_fine_and_an_empty_or_a_strange_one_is_not() {
    assert_eq!(level(&["I0610 23:48:59.248680    1234 k.go:1] all is well".to_owned()]), Level::Ok);
    assert_eq!(level(&[]), Level::Fail);
    assert_eq!(level(&["It was a dark and stormy night".to_owned()]), Level::Fail);
}

#[test]
fn weak_signs_alone_are_no_verdict() {
    let closed = format!(r#"level=error msg="collecting metrics for {}" error="ttrpc: closed""#, id(1));
    assert_eq!(level(&[closed.clone(), closed.clone(), closed]), Level::Warn);
}

#[test]
fn a_success_afterwards_makes_it_slow() {
    let ended = |minute: usize| {
        format!(
            r#"time="2026-11-25T22:{minute:02}:00Z" level=info msg="StopPodSandbox for \"{}\" returns successfully""#,
            id(1)
        )
    };
    assert_eq!(level(&[ended(1), stop(1, 2), stop(1, 4)]), Level::Fail);
    let slow = told(&[stop(1, 2), stop(1, 4), ended(6)]);
    assert_eq!((slow.verdict.level, slow.subjects[0].state), (Level::Warn, "slow"));
}

#[test]
fn lines_that_name_nobody_are_not_summed() {
    let line = |minute: usize| {
        format!("E0203 04:{minute:02}:06.111222     812 k.go:1] \"killPodWithSyncResult failed\" err=\"x\"")
    };
    let report = told(&[line(1), line(3), line(5)]);
    assert_eq!(report.verdict.level, Level::Warn, "{report:#?}");
}

#[test]
fn a_hang_that_gvisor_tells_of_is_named() {
    let line = "Systrap task goroutine has been waiting on ThreadContext.State futex too long".to_owned();
    let report = told(&[line.clone(), line]);
    assert_eq!(report.verdict.level, Level::Fail);
    assert_eq!(report.verdict.hangs.iter().map(|hang| hang.id.as_str()).collect::<Vec<_>>(), ["stuck-stub"]);
    assert!(report.verdict.remedy.unwrap().contains("no line names runsc"));
}

#[test]
fn what_cannot_be_read_is_told_first() {
    let mut tally = Tally::default();
    tally.begin();
    let unread = Unread { name: "a.gz".into(), error: "cut".into(), lines: 3 };
    let report = report(&tally, &[unread]);
    assert!(report.verdict.what.contains("a.gz cannot be read (after 3 lines"), "{}", report.verdict.what);
}
