//! Findings for people.

use std::process::ExitCode;

use super::finding::{Finding, Level};
use crate::commands::FAILED;
use crate::known;
use crate::paint;
pub(super) use crate::screen::write;

/// As wide as the longest of the levels.
const INDENT: &str = "      ";

/// A line each, with its remedy below it, and a summary.
pub(crate) fn text(findings: &[Finding]) -> String {
    let lines: String = findings.iter().map(finding).collect();
    lines + &summary(findings)
}

fn finding(one: &Finding) -> String {
    let mut text = format!("{} {}: {}\n", level(one.level), one.about, paint::plain(&one.what));
    if let Some(remedy) = &one.remedy {
        text += &format!("{INDENT}-> {}\n", paint::plain(remedy));
    }
    let hangs = one.hangs.iter().map(|hang| (hang.cure(), &hang.upstream, &hang.symptom));
    let bugs = one.bugs.iter().map(|bug| (known::cure_of(bug), &bug.upstream, &bug.symptom));
    for (cure, upstream, symptom) in hangs.chain(bugs) {
        let line = format!("{cure} ({}): {symptom}", upstream.join(", "));
        text += &format!("{INDENT}   {}\n", paint::faint(&line));
    }
    text
}

fn level(level: Level) -> String {
    match level {
        Level::Ok => paint::success("ok   "),
        Level::Warn => paint::caution("warn "),
        Level::Fail => paint::failure("fail "),
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let text = format!("{} fail, {} warn, {} ok", count(Level::Fail), count(Level::Warn), count(Level::Ok));
    format!("{}\n", paint::heading(&text))
}

/// 1 if something fails.
pub(super) fn exit_code(levels: impl IntoIterator<Item = Level>) -> ExitCode {
    if levels.into_iter().any(|level| level == Level::Fail) { FAILED.into() } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;

    #[test]
    fn json_is_as_the_schema_says() {
        let mut all = vec![Finding::ok("a", "b"), Finding::warn("a", "b", "c")];
        all[1].hangs = known::all().iter().collect();
        crate::schema::assert_valid("doctor", &all);
    }

    #[test]
    fn each_finding_has_its_level_and_its_remedy() {
        let mut old = Finding::warn("runsc", "old", "a newer one");
        old.hangs = known::all().iter().filter(|hang| hang.id == "stuck-stub").collect();
        let all =
            [Finding::ok("kernel", "has pidfds"), old, Finding::fail("shim", "a\x1b[2Jb", "install it")];
        let plain = anstream::adapter::strip_str(&text(&all)).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[0], "ok    kernel: has pidfds");
        assert_eq!((lines[1], lines[2]), ("warn  runsc: old", "      -> a newer one"));
        assert!(lines[3].contains("gvisor#14405"), "{plain}");
        assert_eq!(lines[4], "fail  shim: a?[2Jb");
        assert_eq!(lines[6], "1 fail, 1 warn, 1 ok");
    }
}
