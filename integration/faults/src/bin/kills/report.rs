//! What came of it, for people, with all that one must know to compare it with another day's.

use faults::kills::{Plan, Tally};
use harness::{Host, kernel, run, today};
use std::{fmt::Write as _, process::Command, time::Duration};

/// What was run on what.
pub(crate) fn versions(host: &Host) -> Vec<(&'static str, String)> {
    let parts = host.parts();
    let first_line = |program: &std::path::Path, args: &[&str]| {
        let answer = run(Command::new(program).args(args), b"", Duration::from_secs(10));
        let text = answer.map(|answer| answer.stdout + &answer.stderr).unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    };
    let kernel = format!("Linux {}", kernel().unwrap_or_default());
    let size = std::fs::metadata(&parts.guard).map(|meta| meta.len()).unwrap_or_default();
    let folder = |program: &std::path::Path| {
        let folder = program.parent().and_then(std::path::Path::parent).and_then(std::path::Path::file_name);
        folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    vec![
        (
            "guard",
            format!(
                "{} bytes, commit {}",
                size,
                first_line("git".as_ref(), &["rev-parse", "--short", "HEAD"])
            ),
        ),
        ("containerd", first_line(&parts.containerd, &["--version"])),
        ("gVisor and containerd, pinned", folder(&parts.runsc)),
        ("kernel", kernel),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
    ]
}

/// The name of today's file.
pub(crate) fn file_name() -> String {
    format!("kills-{}.txt", today().unwrap_or_default())
}

/// The whole report. (Writing to a String cannot fail.)
pub(crate) fn text(plan: &Plan, tally: &Tally, versions: &[(&str, String)]) -> String {
    let mut text = format!("Random kills of the guard, {}\n\n", today().unwrap_or_default());
    for (what, version) in versions {
        let _ = writeln!(text, "{what:<32}{version}");
    }
    let _ = writeln!(text, "{:<32}{} at a time, seed {}\n", "lives", plan.lanes, plan.seed);
    let mut row = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<48}{value:>10}");
    };
    row("guards killed", tally.killed().to_string());
    for ((kind, step), count) in &tally.kills {
        row(&format!("  {kind}, during {step}"), count.to_string());
    }
    row("lives that ended before their guard was killed", tally.spared.to_string());
    row("exits published by guards", tally.exits.0.to_string());
    row("exits published by containerd", tally.exits.1.to_string());
    row("exits published by both, and the same", tally.both.to_string());
    row("slowest from kill to nothing left", format!("{:.1} s", tally.slowest.as_secs_f64()));
    row("took", format!("{:.0} s", tally.took.as_secs_f64()));
    row("failures", tally.failures.len().to_string());
    for failure in &tally.failures {
        let _ = writeln!(text, "\n{failure}");
    }
    text
}
