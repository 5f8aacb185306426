//! Servers that hang, are slow, or are asked by others, in simulated time.

use super::*;
use runsc_guard_core::policy::LOOK_AGAIN_AFTER;

/// Looks as often as ought to be, for so long; when it was found to hang. `at` tells what is seen then.
fn watch(long: Duration, at: impl Fn(Duration) -> (u64, bool)) -> Option<Duration> {
    let (mut server, mut now) = (Server::default(), Duration::ZERO);
    while now <= long {
        let (waiting, woken) = at(now);
        if server.look(LOOK_AGAIN_AFTER, waiting, woken) == Verdict::Hangs {
            return Some(now);
        }
        now += LOOK_AGAIN_AFTER;
    }
    None
}

const HOUR: Duration = Duration::from_secs(3600);

fn every(seconds: u64, now: Duration) -> bool {
    now.subsec_millis() == 0 && now.as_secs().is_multiple_of(seconds)
}

#[test]
fn one_that_answers_nobody_hangs_after_ten_seconds() {
    for waiting in [1, 12, 1000] {
        assert_eq!(watch(HOUR, |_| (waiting, false)), Some(STILL));
    }
}

#[test]
fn one_that_answers_each_after_nine_seconds_never_does() {
    // What waits becomes less.
    assert_eq!(watch(HOUR, |now| (1000 - now.as_secs() / 9, false)), None);
    // Each answered one is followed by another of the same thread, or of another one.
    assert_eq!(watch(HOUR, |now| (1, every(9, now))), None);
}

#[test]
fn an_answer_begins_the_clock_anew() {
    let seven = Duration::from_secs(7);
    assert_eq!(watch(HOUR, |now| (if now < seven { 3 } else { 2 }, false)), Some(seven + STILL));
    assert_eq!(watch(HOUR, |now| (3, now == seven)), Some(seven + STILL));
}

/// What comes anew may hide answers, for so long as data that is worth waiting for may take.
#[test]
fn where_others_ask_it_takes_thirty_seconds() {
    assert_eq!(watch(HOUR, |now| (1 + now.as_secs() / 5, false)), Some(NO_ANSWER_SEEN));
    // Once, as when a process of the sandbox ends late: then all stands still.
    let two = Duration::from_secs(2);
    assert_eq!(watch(HOUR, |now| (if now < two { 1 } else { 2 }, false)), Some(two + STILL));
}

#[test]
fn nobody_waits_for_an_idle_one() {
    let mut server = Server::default();
    for _ in 0..1000 {
        assert_eq!(server.look(LOOK_AGAIN_AFTER, 0, false), Verdict::Idle);
    }
    assert_eq!(server.look(LOOK_AGAIN_AFTER, 1, false), Verdict::Undecided);
    assert_eq!(watch(HOUR, |now| (u64::from(!every(8, now)), false)), None);
}

/// Rule 7: a guard that stood still for an hour has seen nothing.
#[test]
fn time_that_nobody_looked_does_not_count() {
    let mut server = Server::default();
    assert_eq!(server.look(HOUR, 1, false), Verdict::Undecided);
    let looks = (1..).find(|_| server.look(HOUR, 1, false) == Verdict::Hangs).unwrap();
    assert_eq!(LONGEST_PAUSE * looks, STILL);
}

#[test]
fn what_hangs_goes_on_hanging_until_it_answers() {
    let mut server = Server::default();
    let verdicts: Vec<_> = (0..100).map(|_| server.look(LONGEST_PAUSE, 5, false)).collect();
    assert!(verdicts[10..].iter().all(|verdict| *verdict == Verdict::Hangs));
    assert_eq!(server.look(LONGEST_PAUSE, 4, false), Verdict::Undecided);
}
