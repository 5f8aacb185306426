//! Reports of guards that wrote words alone, with neither cause nor phase.

use runsc_guard_core::io::CauseKind;

/// How their signs began, and what followed somewhere.
const SIGNS: [(&str, &str, CauseKind); 10] = [
    ("SIGKILL to ", "was acknowledged", CauseKind::KillWithoutExit),
    ("SIGKILL to ", "was not even acknowledged", CauseKind::KillUnacknowledged),
    ("Delete of ", "", CauseKind::DeleteStuck),
    ("Create of ", "did not return", CauseKind::CreateStuck),
    ("the root container has ended, its sentry has not", "", CauseKind::SentryLingers),
    ("the real shim is dead", "", CauseKind::RealShimDied),
    ("an operator asked for its end", "", CauseKind::Reaped),
    ("it does not answer, and the watchdog", "", CauseKind::Silent),
    ("it does not answer, though nobody wants its end", "", CauseKind::SilentReported),
    ("SIGKILL did not end what was left", "", CauseKind::Unkillable),
];

pub(super) fn kind(sign: &str) -> Option<CauseKind> {
    let (.., kind) = SIGNS.iter().find(|(begins, has, _)| sign.starts_with(begins) && sign.contains(has))?;
    Some(*kind)
}

pub(super) fn is_unkillable(left: &[String]) -> bool {
    left.iter().any(|left| left.contains("state D"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_known_by_the_words_that_were_written_of_it() {
        for (sign, kind) in [
            ("SIGKILL to a was acknowledged and did not end it", Some("kill_without_exit")),
            ("SIGKILL to a/b was not even acknowledged and did not end it", Some("kill_unacknowledged")),
            ("Delete of a had no effect", Some("delete_stuck")),
            ("Create of a did not return", Some("create_stuck")),
            ("the root container has ended, its sentry has not", Some("sentry_lingers")),
            ("the real shim is dead", Some("real_shim_died")),
            ("an operator asked for its end (sentry 7 stopped)", Some("reaped")),
            ("it does not answer, and the watchdog is set to end it then", Some("silent")),
            ("it does not answer, though nobody wants its end", Some("silent_reported")),
            ("SIGKILL did not end what was left of the sandbox", Some("unkillable")),
            ("", None),
            ("something that a later guard says", None),
        ] {
            assert_eq!(super::kind(sign).map(CauseKind::as_str), kind, "{sign}");
        }
    }
}
