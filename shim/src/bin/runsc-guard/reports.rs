//! `reports`: what guards, and `reap`, have written down before they touched anything.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use shim::file;
use shim::sandbox::evidence::Evidence;

use crate::args::{Form, Reports, Scope};
use crate::survey::guards;

mod text;
mod verdict;

/// Where reports go unless configured otherwise.
const DEFAULT: &str = "/var/log/runsc-guard";
/// No report is larger: what it holds is bounded when it is written.
const LIMIT: u64 = 4 << 20;
/// How often is looked for new ones.
const PAUSE: Duration = Duration::from_millis(500);

/// One report, as it is written; later versions may add fields.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    version: u32,
    namespace: String,
    sandbox: String,
    taken_at_ns: u64,
    evidence: Evidence,
    /// Where it lies.
    #[serde(skip_deserializing)]
    file: PathBuf,
}

impl Report {
    fn read(path: &Path) -> Option<Self> {
        let mut report: Self = serde_json::from_slice(&file::read(path, LIMIT).ok()?).ok()?;
        report.file = path.to_owned();
        Some(report)
    }

    fn taken_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.taken_at_ns)
    }
}

/// Prints them.
pub(crate) fn run(scope: &Scope, args: &Reports) -> Result<ExitCode> {
    let mut known = BTreeSet::new();
    let reports = unseen(scope, args, &mut known);
    if let (Some(id), true, false) = (&args.id, reports.is_empty(), args.follow) {
        bail!("no report of a sandbox whose id begins with {id:?} in {}", folders(args).join(", "));
    }
    if args.output == Form::Json && !args.follow {
        write(&(serde_json::to_string_pretty(&reports)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if reports.is_empty() && !args.follow {
        write(&format!("no reports in {}\n", folders(args).join(", ")))?;
    }
    let mut go_on = tell(&reports, args)?;
    while args.follow && go_on {
        std::thread::sleep(PAUSE);
        go_on = tell(&unseen(scope, args, &mut known), args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints these; false when nobody reads any more.
fn tell(reports: &[Report], args: &Reports) -> Result<bool> {
    for report in reports {
        let text = match (args.output, &args.id) {
            // A line each, for who follows.
            (Form::Json, _) => serde_json::to_string(report)? + "\n",
            (Form::Text, Some(_)) => text::full(report),
            (Form::Text, None) => text::line(report),
        };
        if !write(&text)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write(text: &str) -> Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// The reports in scope that were not there before, the oldest first.
fn unseen(scope: &Scope, args: &Reports, known: &mut BTreeSet<PathBuf>) -> Vec<Report> {
    let files = folders(args).into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    });
    let new: Vec<PathBuf> = files.filter(|path| is_report(path) && known.insert(path.clone())).collect();
    let meant = |report: &Report| {
        args.id.as_ref().is_none_or(|id| report.sandbox.starts_with(id.as_str()))
            && scope.namespace.as_ref().is_none_or(|name| report.namespace == *name)
    };
    let mut reports: Vec<Report> = new.iter().filter_map(|path| Report::read(path)).filter(meant).collect();
    reports.sort_by_key(|report| report.taken_at_ns);
    reports
}

/// The containerd namespaces of the reports that were not known, one for each; in this folder only, or in all.
pub(crate) fn new(scope: &Scope, folder: Option<&Path>, known: &mut BTreeSet<PathBuf>) -> Vec<String> {
    let args =
        Reports { id: None, follow: false, output: Form::Text, report_dir: folder.map(Path::to_owned) };
    unseen(scope, &args, known).into_iter().map(|report| report.namespace).collect()
}

/// `<milliseconds>-<namespace>-<id>.json`; a draft begins with a dot.
fn is_report(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json") && name.split('-').next().is_some_and(|time| time.parse::<u64>().is_ok())
}

fn folders(args: &Reports) -> Vec<String> {
    let configured = || {
        let told = guards::known().into_iter().map(|guard| guard.params.config.report_dir);
        told.chain([DEFAULT.into()]).collect::<BTreeSet<PathBuf>>()
    };
    let all = args.report_dir.clone().map_or_else(configured, |folder| BTreeSet::from([folder]));
    all.iter().map(|folder| folder.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::serve::report;

    fn args(folder: &Path, id: Option<&str>) -> Reports {
        Reports {
            id: id.map(str::to_owned),
            follow: false,
            output: Form::Text,
            report_dir: Some(folder.to_owned()),
        }
    }

    #[test]
    fn what_was_written_is_read_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let scope = |name: Option<&str>| Scope { namespace: name.map(str::to_owned), runsc_root: Vec::new() };
        let write = |namespace: &str, id: &str| {
            let evidence = Evidence { processes: Vec::new(), omitted: 3 };
            report::Report::new(folder.path(), namespace, id).try_write(&evidence).unwrap()
        };
        std::fs::write(folder.path().join("1-ns-broken.json"), "{").unwrap();
        std::fs::write(folder.path().join("notes.json"), "{}").unwrap();
        let (first, second) = (write("k8s.io", "aaa1"), write("other", "bbb1"));
        let mut known = BTreeSet::new();
        let all = unseen(&scope(None), &args(folder.path(), None), &mut known);
        assert_eq!(all.iter().map(|one| one.file.clone()).collect::<Vec<_>>(), [first, second]);
        assert!(unseen(&scope(None), &args(folder.path(), None), &mut known).is_empty());
        write("k8s.io", "ccc1");
        assert_eq!(unseen(&scope(None), &args(folder.path(), None), &mut known).len(), 1);
        let of = |name, id| unseen(&scope(name), &args(folder.path(), id), &mut BTreeSet::new()).len();
        assert_eq!((of(Some("k8s.io"), None), of(None, Some("bb")), of(None, Some("x"))), (2, 1, 0));
    }
}
