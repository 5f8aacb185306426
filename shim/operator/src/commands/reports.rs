//! `reports`: what guards, and `reap`, have written down of each escalation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use runsc_guard_node::config::REPORT_DIR;
use runsc_guard_node::report::{Report, is_report};

use crate::args::{Form, Reports, Scope};
use crate::screen::{self, write};
use crate::survey::guards;
use crate::survey::sight::{self, Blind};

mod goroutines;
mod stored;
mod text;
mod verdict;

pub(crate) use stored::Stored;

/// How often is looked for new ones.
const PAUSE: Duration = Duration::from_millis(500);

/// The reports looked at, and whether each was over then.
pub(crate) type Known = BTreeMap<PathBuf, bool>;

/// Prints them.
pub(crate) fn run(scope: &Scope, args: &Reports) -> Result<ExitCode> {
    let mut known = Known::new();
    let reports = unseen(scope, args, &mut known)?;
    if let (Some(id), true, false) = (&args.id, reports.is_empty(), args.follow) {
        bail!("no report of a sandbox whose id begins with {id:?} in {}", named(args)?);
    }
    if args.output == Form::Json && !args.follow {
        write(&(serde_json::to_string_pretty(&reports)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if reports.is_empty() && !args.follow {
        write(&format!("no reports in {}\n", named(args)?))?;
    }
    let mut go_on = tell(&reports, args)?;
    while args.follow && go_on {
        std::thread::sleep(PAUSE);
        go_on = tell(&unseen(scope, args, &mut known)?, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints these; false when nobody reads any more.
fn tell(reports: &[Stored], args: &Reports) -> Result<bool> {
    for report in reports {
        let text = match (args.output, &args.id) {
            // A line each, for who follows.
            (Form::Json, _) => serde_json::to_string(report)? + "\n",
            (Form::Text, Some(_)) => screen::fitted(&text::full(report)),
            (Form::Text, None) => screen::fitted(&text::line(report)),
        };
        if !write(&text)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The reports in scope that were not there before, or are over only now, the oldest first.
fn unseen(scope: &Scope, args: &Reports, known: &mut Known) -> Result<Vec<Stored>, Blind> {
    // Old reports make room for new ones.
    known.retain(|report, _| report.exists());
    let folders = folders(args)?.into_iter().map(|folder| sight::entries(&folder));
    let files = folders.collect::<Result<Vec<_>, Blind>>()?.into_iter().flatten();
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| is_report(&name.to_string_lossy()));
    let open = files.filter(|path| named(path) && known.get(path) != Some(&true));
    let open = open.map(|path| Stored::read(&path)).collect::<Result<Vec<_>, Blind>>()?;
    let meant = |stored: &Stored| {
        let Report { sandbox, namespace, .. } = &stored.report;
        args.id.as_ref().is_none_or(|id| sandbox.starts_with(id.as_str()))
            && scope.namespace.as_ref().is_none_or(|name| namespace == name)
    };
    let mut news: Vec<Stored> = open.into_iter().flatten().collect();
    // One that is not meant is known as well: it is not read a second time.
    news.retain(|stored| {
        known.insert(stored.file.clone(), stored.is_over()) != Some(stored.is_over()) && meant(stored)
    });
    news.sort_by_key(|stored| stored.report.taken_at_ns);
    Ok(news)
}

/// The containerd namespaces of the reports that were not known, one for each; in this folder only, or in all.
pub(crate) fn new(scope: &Scope, folder: Option<&Path>, known: &mut Known) -> Result<Vec<String>, Blind> {
    let args =
        Reports { id: None, follow: false, output: Form::Text, report_dir: folder.map(Path::to_owned) };
    let before: BTreeSet<PathBuf> = known.keys().cloned().collect();
    let news = unseen(scope, &args, known)?.into_iter().filter(|stored| !before.contains(&stored.file));
    Ok(news.map(|stored| stored.report.namespace).collect())
}

/// The reports that were not known, or are over only now.
pub(crate) fn news(scope: &Scope, known: &mut Known) -> Result<Vec<Stored>, Blind> {
    unseen(scope, &Reports { id: None, follow: false, output: Form::Text, report_dir: None }, known)
}

/// The sandboxes of all reports, for a shell, which nothing can be told but names.
pub(crate) fn ids() -> Vec<String> {
    let scope = Scope { namespace: None, runsc_root: Vec::new() };
    let all = news(&scope, &mut Known::new()).unwrap_or_default();
    all.into_iter().map(|stored| stored.report.sandbox).collect()
}

fn folders(args: &Reports) -> Result<BTreeSet<PathBuf>, Blind> {
    if let Some(folder) = &args.report_dir {
        return Ok(BTreeSet::from([folder.clone()]));
    }
    let told = guards::known()?.into_iter().map(|guard| guard.params.config.report_dir);
    Ok(told.chain([REPORT_DIR.into()]).collect())
}

fn named(args: &Reports) -> Result<String, Blind> {
    let folders: Vec<String> = folders(args)?.iter().map(|folder| folder.display().to_string()).collect();
    Ok(folders.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_node::report::Folder;

    fn args(folder: &Path, id: Option<&str>) -> Reports {
        Reports {
            id: id.map(str::to_owned),
            follow: false,
            output: Form::Text,
            report_dir: Some(folder.to_owned()),
        }
    }

    #[test]
    fn what_was_written_is_read_once_in_order_and_again_when_it_is_over() {
        let base = tempfile::tempdir().unwrap();
        let scope = |name: Option<&str>| Scope { namespace: name.map(str::to_owned), runsc_root: Vec::new() };
        let folder = Folder::new(base.path());
        let begin = |namespace: &str, id: &str, at: u64| Report::begin(namespace, id, at * 1_000_000_000);
        let write = |report: &Report| folder.write(report).unwrap();
        for (name, text) in [
            ("1-ns-broken.json", "{"),
            ("notes.json", "{}"),
            ("2-ns-later.json", r#"{"version":3,"namespace":"k8s.io","sandbox":"a","taken_at_ns":1}"#),
        ] {
            std::fs::write(base.path().join(name), text).unwrap();
        }
        let (mut one, other) = (begin("k8s.io", "aaa1", 1), begin("other", "bbb1", 2));
        let files = [write(&one), write(&other)];
        let mut known = Known::new();
        let mut news = || unseen(&scope(None), &args(base.path(), None), &mut known).unwrap();
        assert_eq!(news().iter().map(|one| one.file.clone()).collect::<Vec<_>>(), files);
        assert!(news().is_empty());
        one.ended_ms = Some(7);
        write(&one);
        assert_eq!(news().len(), 1);
        write(&begin("k8s.io", "ccc1", 3));
        assert_eq!(news().len(), 1);
        let of = |name, id| unseen(&scope(name), &args(base.path(), id), &mut Known::new()).unwrap().len();
        assert_eq!((of(Some("k8s.io"), None), of(None, Some("bb")), of(None, Some("x"))), (2, 1, 0));
    }

    #[test]
    fn what_is_not_meant_is_read_once_and_what_is_gone_is_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let mut others = Report::begin("other", "bbb1", 1_000_000_000);
        others.ended_ms = Some(7);
        let file = Folder::new(base.path()).write(&others).unwrap();
        let scope = Scope { namespace: Some("k8s.io".into()), runsc_root: Vec::new() };
        let mut known = Known::new();
        let mut look = || {
            assert!(unseen(&scope, &args(base.path(), None), &mut known).unwrap().is_empty());
            known.clone()
        };
        assert_eq!(look(), Known::from([(file.clone(), true)]));
        std::fs::remove_file(file).unwrap();
        assert!(look().is_empty());
    }
}
