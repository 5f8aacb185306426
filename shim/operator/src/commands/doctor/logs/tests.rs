//! Every sample of testdata/logs, by its row of expect.tsv.

use std::path::PathBuf;

use super::*;

mod damaged;

struct Row {
    file: &'static str,
    shipper: &'static str,
    of: &'static str,
    level: &'static str,
    cause: &'static str,
    word: &'static str,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/logs")
}

fn rows() -> Vec<Row> {
    let table = include_str!("../../../../testdata/logs/expect.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, shipper, of, level, cause, word] = columns[..] else { panic!("{line}") };
        Row { file, shipper, of, level, cause, word }
    };
    lines.map(row).collect()
}

/// Whether the report says so: the level of its verdict, a pod's cause or state (or that of the log), and a word.
fn misfit(row: &Row, report: &Report) -> Option<String> {
    let level = format!("{:?}", report.verdict.level).to_lowercase();
    let cause = |pod: &Pod| serde_json::to_value(pod.cause).unwrap() == row.cause || pod.state == row.cause;
    let is_of_the_log = matches!(row.cause, "nothing" | "unread");
    let has_cause = is_of_the_log || report.subjects.iter().any(cause);
    let remedy = report.verdict.remedy.clone().unwrap_or_default();
    let told = format!("{} {remedy}", report.verdict.what);
    let is_right = level == row.level && has_cause && told.contains(row.word);
    (!is_right).then(|| format!("{} ({}, {}): {:#?}", row.file, row.shipper, row.of, report))
}

#[test]
fn each_sample_is_judged_as_it_should_be() {
    let rows = rows();
    let wrong: Vec<String> =
        rows.iter().filter_map(|row| misfit(row, &read(&[folder().join(row.file)]))).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn each_sample_has_a_row() {
    let rows = rows();
    let names =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut without: Vec<String> = names.filter(|name| rows.iter().all(|row| row.file != name)).collect();
    without.retain(|name| name != "expect.tsv");
    assert_eq!(without, Vec::<String>::new());
    let shippers: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.shipper).collect();
    assert!(shippers.len() >= 8, "{shippers:?}");
}

/// A remedy that would find nothing costs an operator the time that there is not.
#[test]
fn only_a_silent_sandbox_is_to_be_reaped_as_wedged() {
    for row in rows() {
        let report = read(&[folder().join(row.file)]);
        let is_silent = report.subjects.iter().any(|one| one.cause.is_stuck());
        let all: String = report.findings.iter().filter_map(|one| one.remedy.clone()).collect();
        assert!(is_silent || !all.contains("--wedged"), "{}: {all}", row.file);
    }
}

/// The same lines by two collectors, at once and in either order.
#[test]
fn a_line_that_two_collectors_tell_counts_once() {
    let slow = folder().join("one-slow-stop.log");
    let report = read(&[&slow, &slow]);
    assert_eq!(report.subjects.iter().map(|one| one.tries).max(), Some(1), "{report:#?}");
}

#[test]
fn a_folder_is_all_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("old")).unwrap();
    for (from, to) in [("cat.log", "kubelet.log"), ("two-members.log.gz", "old/kubelet.log.1.gz")] {
        std::fs::copy(folder().join(from), dir.path().join(to)).unwrap();
    }
    let report = read(&[dir.path()]);
    assert_eq!(report.subjects.len(), 2, "{report:#?}");
    let missing = read(&[dir.path().join("missing")]);
    assert!(missing.verdict.what.contains("missing cannot be read"), "{missing:#?}");
}

#[test]
fn the_table_is_of_a_terminals_width_and_the_findings_have_the_whole_id() {
    let report = read(&[folder().join("short-precise.log")]);
    let plain = anstream::adapter::strip_str(&text(&report)).to_string();
    let (table, findings) = plain.split_once("\n\n").unwrap();
    assert!(table.starts_with("POD OR SANDBOX") && table.lines().count() == 2, "{table}");
    assert!(
        report.subjects[0].ids.iter().all(|id| id.len() == 64)
            && findings.contains(&report.subjects[0].ids[0])
    );
}

#[test]
fn json_is_as_the_schema_says() {
    for row in rows() {
        crate::schema::assert_valid("logs", &read(&[folder().join(row.file)]));
    }
}
