use super::*;
use crate::survey::model::tests::found;

fn judged(change: impl Fn(&mut Found)) -> (State, String) {
    let mut found = found("pod1");
    change(&mut found);
    let sandbox = judge(found);
    let signs: Vec<String> = sandbox.signs.iter().map(Sign::line).collect();
    (sandbox.state, signs.join("; "))
}

fn guarded(found: &mut Found, change: impl Fn(&mut Word)) {
    let mut word = Word { progress: Progress::PROGRESS_SERVING, stage: "serving".into(), ..Word::default() };
    change(&mut word);
    let task = found.real_shims[0].clone();
    found.guard = Guard::Says(task, Box::new(word));
}

fn waiting(asked: Method, waited_ms: u64) -> Waiting {
    Waiting { asked, about: "c".into(), waited_ms, ..Waiting::default() }
}

fn runsc(found: &mut Found, command: &str, age_ms: u64) {
    let task = Task { role: Role::Runsc(command.into()), age_ms, ..found.others[0].clone() };
    found.others.push(task);
}

#[test]
fn a_healthy_sandbox_is_running_whoever_serves_it() {
    assert_eq!(judged(|_| {}), (State::Running, String::new()));
    assert_eq!(judged(|found| guarded(found, |_| {})), (State::Running, String::new()));
    let busy = |found: &mut Found| found.sentry.as_mut().unwrap().state = 'D';
    assert_eq!(judged(busy).0, State::Running, "a slow disk is no wedge");
    let old_wait = |found: &mut Found| runsc(found, "wait", 1_000_000_000);
    assert_eq!(judged(old_wait).0, State::Running, "waiting is what `runsc wait` is for");
    let by_hand = |found: &mut Found| {
        found.managed = false;
        found.real_shims.clear();
    };
    assert_eq!(judged(by_hand).0, State::Running, "runsc without a shim has none to lose");
}

#[test]
fn what_cannot_run_is_wedged() {
    for state in ['T', 't'] {
        let (verdict, sign) = judged(|found| found.sentry.as_mut().unwrap().state = state);
        assert!(verdict == State::Wedged && sign.starts_with("sentry 11 "), "{sign}");
    }
    let (verdict, sign) = judged(|found| found.sentry.as_mut().unwrap().frozen = Some("/cg/x".into()));
    assert_eq!((verdict, sign.as_str()), (State::Wedged, "sentry 11 frozen by /cg/x"));
    let (verdict, sign) = judged(|found| found.real_shims[0].state = 'T');
    assert_eq!((verdict, sign.as_str()), (State::Wedged, "real shim 10 stopped (state T)"));
    let stopped_guard = |found: &mut Found| {
        let task = Task { state: 'T', ..found.real_shims[0].clone() };
        found.guard = Guard::Silent(task, "no answer".into());
    };
    assert_eq!(judged(stopped_guard).0, State::Wedged);
}

#[test]
fn a_silent_guard_alone_is_no_wedge() {
    let silent = |found: &mut Found| {
        found.guard = Guard::Silent(found.real_shims[0].clone(), "no answer within 300ms".into());
    };
    assert_eq!(judged(silent), (State::Running, "guard 10: no answer within 300ms".into()));
}

#[test]
fn what_is_owed_for_long_is_a_wedge_and_for_short_is_not() {
    for (age, state) in [(9_999, State::Running), (10_000, State::Wedged)] {
        for command in ["kill", "state", "delete"] {
            assert_eq!(judged(|found| runsc(found, command, age)).0, state, "{command} {age}");
        }
        let clock =
            |found: &mut Found| guarded(found, |word| word.clocks = vec![waiting(Method::METHOD_KILL, age)]);
        assert_eq!(judged(clock).0, state);
        let overdue = |found: &mut Found| {
            guarded(found, |word| word.overdue = Some(waiting(Method::METHOD_STATE, age)))
        };
        assert_eq!(judged(overdue).0, state);
        let unanswered = |found: &mut Found| {
            guarded(found, |word| {
                word.unanswered = Some("State".into());
                word.answered_ms_ago = Some(age);
            });
        };
        assert_eq!(judged(unanswered).0, state);
        let slow = |found: &mut Found| {
            unanswered(found);
            found.answers = true;
        };
        assert_eq!(judged(slow).0, State::Running, "its sentry answers: something was slow");
    }
    let (_, sign) = judged(|found| runsc(found, "kill", 200_000));
    assert_eq!(sign, "`runsc kill` 12 does not return (3m20s)");
}

#[test]
fn what_waits_behind_a_slow_create_is_not_wedged() {
    let unguarded = |age| {
        judged(move |found| {
            runsc(found, "create", age);
            runsc(found, "state", 60_000);
        })
        .0
    };
    assert_eq!((unguarded(80_000), unguarded(90_000)), (State::Running, State::Wedged));
    let guarded = |age| {
        judged(move |found| {
            guarded(found, |word| {
                word.clocks = vec![waiting(Method::METHOD_CREATE, age)];
                word.overdue = Some(waiting(Method::METHOD_STATE, 60_000));
            });
        })
        .0
    };
    assert_eq!((guarded(80_000), guarded(90_000)), (State::Running, State::Wedged));
}

#[test]
fn an_orphan_is_one_whose_keeper_is_dead() {
    let unguarded = judged(|found| found.real_shims.clear());
    assert_eq!(unguarded, (State::Orphaned, "its real shim is dead".into()));
    let half = judged(|found| found.guard = Guard::Dead);
    assert_eq!(half.0, State::Orphaned);
    let whole = judged(|found| {
        found.guard = Guard::Dead;
        found.real_shims.clear();
        found.sentry.as_mut().unwrap().state = 'T';
    });
    assert_eq!(
        whole,
        (State::Orphaned, "its guard and its real shim are dead; sentry 11 stopped (state T)".into())
    );
    let files = judged(|found| {
        found.real_shims.clear();
        found.others.clear();
        found.sentry = None;
    });
    assert_eq!(files, (State::Orphaned, "no process is left, but files of runsc's are".into()));
}

#[test]
fn what_the_guard_says_of_the_end_is_believed() {
    for (progress, state) in [
        (Progress::PROGRESS_ESCALATING, State::Ending),
        (Progress::PROGRESS_CLOSING, State::Ending),
        (Progress::PROGRESS_ENDED, State::Ended),
        (Progress::PROGRESS_UNKILLABLE, State::Unkillable),
    ] {
        let says = |found: &mut Found| {
            // Stopped, too: on its way out that means nothing.
            found.sentry.as_mut().unwrap().state = 'T';
            guarded(found, |word| word.progress = progress);
        };
        assert_eq!(judged(says).0, state, "{progress:?}");
    }
    let left = judged(|found| {
        guarded(found, |word| {
            word.progress = Progress::PROGRESS_UNKILLABLE;
            word.left = vec!["pid 9 (exe, sentry) state D in fuse_wait".into()];
        });
    });
    assert_eq!(left, (State::Unkillable, "pid 9 (exe, sentry) state D in fuse_wait".into()));
}

#[test]
fn what_was_killed_and_lives_is_unkillable() {
    let (state, sign) = judged(|found| found.killed = true);
    assert!(state == State::Unkillable && sign.starts_with("SIGKILL was sent"), "{sign}");
}

#[test]
fn what_nobody_vouches_for_is_unproven_whatever_it_looks_like() {
    let stopped = judged(|found| {
        found.proved = false;
        found.sentry.as_mut().unwrap().state = 'T';
    });
    assert_eq!(stopped.0, State::Unproven);
}

#[test]
fn whose_keeper_cannot_be_told_is_neither_ended_nor_orphaned() {
    let unknown = |found: &mut Found| found.guard = Guard::Unknown("x".into());
    let (state, sign) = judged(unknown);
    assert_eq!((state, sign.as_str()), (State::Unknown, "whether anybody keeps it cannot be told: x"));
    let unseen = |found: &mut Found| {
        unknown(found);
        (found.sentry, found.real_shims) = (None, Vec::new());
        found.others.clear();
    };
    assert_eq!(judged(unseen).0, State::Unknown);
    let (state, sign) = judged(|found| {
        unknown(found);
        found.sentry.as_mut().unwrap().state = 'T';
    });
    assert!(state == State::Unknown && sign.contains("sentry 11 stopped"), "{sign}");
}

#[test]
fn beginnings_and_ends_without_a_sentry() {
    let starting = judged(|found| {
        found.sentry = None;
        runsc(found, "create", 300);
    });
    assert_eq!(starting.0, State::Starting);
    let unborn = |age| {
        judged(move |found| {
            (found.sentry, found.status) = (None, None);
            found.others.clear();
            found.real_shims[0].age_ms = age;
        })
        .0
    };
    assert_eq!((unborn(100), unborn(60_000)), (State::Starting, State::Ended));
    assert_eq!(judged(|found| found.sentry = None).0, State::Ended);
    assert_eq!(judged(|found| found.status = Some("paused".into())).0, State::Paused);
}

#[test]
fn what_containerd_has_forgotten_has_nobody_however_well_it_is() {
    let forgotten = |found: &mut Found| {
        guarded(found, |_| {});
        found.forgotten = true;
    };
    let (verdict, sign) = judged(forgotten);
    assert_eq!(verdict, State::Orphaned);
    assert_eq!(sign, "containerd has forgotten it: its bundles are gone");
    let ending = |found: &mut Found| {
        guarded(found, |word| word.progress = Progress::PROGRESS_CLOSING);
        found.forgotten = true;
    };
    assert_eq!(judged(ending).0, State::Ending);
}
