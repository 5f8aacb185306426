//! Reports for reading. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use shim::sandbox::evidence::{Thread, Witness};

use super::Report;
use super::verdict::verdict;
use crate::paint::{faint, heading, plain, span};

/// Time, sandbox and verdict.
pub(crate) fn line(report: &Report) -> String {
    let at = humantime::format_rfc3339_seconds(report.taken_at());
    let Report { namespace, sandbox, .. } = report;
    format!(
        "{at}  {}  {}\n",
        heading(&plain(&format!("{namespace}/{sandbox}"))),
        plain(&verdict(&report.evidence))
    )
}

/// All of it.
pub(crate) fn full(report: &Report) -> String {
    let mut text = line(report);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {}", faint(&report.file.display().to_string()));
    for witness in &report.evidence.processes {
        process(&mut text, witness);
    }
    if report.evidence.omitted > 0 {
        let _ = writeln!(text, "  and {} more processes", report.evidence.omitted);
    }
    text + "\n"
}

fn process(text: &mut String, witness: &Witness) {
    let Witness { pid, role, age_s, frozen, command, threads, .. } = witness;
    let frozen = if *frozen { ", frozen" } else { "" };
    let age = span(Duration::from_secs(*age_s));
    let _ = writeln!(text, "  {} {age}{frozen}", heading(&format!("{role} {pid}")));
    if !command.is_empty() {
        let _ = writeln!(text, "    {}", faint(&plain(command)));
    }
    for Thread { tid, state, wchan, stack } in threads {
        let wchan = wchan.as_ref().map(|wchan| format!(" in {wchan}")).unwrap_or_default();
        let _ = writeln!(text, "    thread {tid} {state}{}", plain(&wchan));
        for frame in stack.iter().flat_map(|stack| stack.lines()) {
            let _ = writeln!(text, "      {}", plain(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::sandbox::evidence::Evidence;
    use shim::sandbox::process::Role;

    #[test]
    fn a_report_reads_from_the_verdict_down_to_the_stacks() {
        let stack = Some("[<0>] fuse_wait\n[<0>] vfs_read".into());
        let thread = Thread { tid: 8, state: 'D', wchan: Some("request_wait_answer".into()), stack };
        let witness = Witness {
            pid: 7,
            role: Role::Sentry,
            comm: "exe".into(),
            command: "runsc-sandbox boot \x1b[31m".into(),
            age_s: 90,
            cgroups: Vec::new(),
            frozen: false,
            threads: vec![thread],
        };
        let report = Report {
            version: 1,
            namespace: "k8s.io".into(),
            sandbox: "abc".into(),
            taken_at_ns: 1_700_000_000_000_000_000,
            evidence: Evidence { processes: vec![witness], omitted: 2 },
            file: "/r/1-k8s.io-abc.json".into(),
        };
        let text = anstream::adapter::strip_str(&full(&report)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("2023-11-14T22:13:20Z  k8s.io/abc  sentry 7 hung in the kernel"),
            "{text}"
        );
        assert_eq!(
            lines[2..],
            [
                "  sentry 7 1m30s",
                "    runsc-sandbox boot ?[31m",
                "    thread 8 D in request_wait_answer",
                "      [<0>] fuse_wait",
                "      [<0>] vfs_read",
                "  and 2 more processes",
                "",
            ]
        );
    }
}
