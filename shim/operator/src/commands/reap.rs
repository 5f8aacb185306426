//! `reap`: choose, confirm, plan, ask, end, report.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::args::{Reap, Scope};
use crate::paint;
use crate::screen;
use crate::survey::model::Sandbox;
use crate::survey::survey;
use crate::threads::each;

mod account;
mod choose;
mod confirm;
mod current;
mod direct;
mod keepers;
mod plan;
mod progress;
mod via_guard;

use choose::Chosen;
use plan::{How, Plan};
pub(crate) use progress::until;
use progress::{End, Progress};

/// Sandboxes that are ended at the same time.
const AT_ONCE: usize = 8;
/// Wrong usage, as the command line's own errors.
const USAGE: u8 = 2;

/// Ends what was asked for; success when all of it is gone.
pub(crate) fn run(scope: &Scope, args: &Reap) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "reap must be run as root: it inspects and ends processes of other users"
    );
    let seen = survey(scope)?;
    crate::commands::caution(&seen).iter().for_each(|caution| screen::complain(caution));
    let Chosen { mut meant, refused } = choose::choose(&seen.sandboxes, args);
    for why in &refused {
        screen::complain(&paint::failure(why));
    }
    if args.wedged || args.orphaned {
        meant = confirm::confirm(scope, meant)?;
    }
    let plans: Vec<Plan> = meant.into_iter().map(Plan::of).collect();
    plans.iter().for_each(|plan| screen::say(&plan::render(plan)));
    let fine = refused.is_empty() && plans.iter().all(|plan| !matches!(plan.how, How::Refused(_)));
    let plans: Vec<Plan> = plans.into_iter().filter(Plan::acts).collect();
    if plans.is_empty() {
        return Ok(code(fine));
    }
    if args.dry_run {
        screen::say(&paint::faint("dry run: nothing was changed"));
        return Ok(code(fine));
    }
    if !args.yes {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            let what = "cannot ask for confirmation, because this is no terminal: repeat with --yes, or with --dry-run to look first";
            screen::complain(&paint::failure(what));
            return Ok(ExitCode::from(USAGE));
        }
        if !agreed(plans.len())? {
            screen::say("nothing was changed");
            return Ok(code(false));
        }
    }
    let gone = end_all(&plans, &args.report_dir);
    Ok(code(fine && gone == plans.len()))
}

fn code(fine: bool) -> ExitCode {
    if fine { ExitCode::SUCCESS } else { ExitCode::from(crate::commands::FAILED) }
}

fn agreed(count: usize) -> Result<bool> {
    let what = if count == 1 { "this sandbox".to_owned() } else { format!("these {count} sandboxes") };
    if !screen::write(&format!("End {what} and everything in it? [y/N] "))? {
        return Ok(false);
    }
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Ends them, a few at a time; how many are gone.
fn end_all(plans: &[Plan], report_dir: &Path) -> usize {
    let end = |plan: &Plan| end(plan, report_dir, &Progress::of(&plan.sandbox));
    each(plans, AT_ONCE, end).into_iter().filter(|gone| *gone).count()
}

/// Ends these, at which the caller has looked himself, and nothing else that has their ids by now.
pub(crate) fn end_these(sandboxes: Vec<Sandbox>, report_dir: &Path) {
    let plans: Vec<Plan> = sandboxes.into_iter().map(Plan::of).collect();
    plans.iter().for_each(|plan| screen::say(&plan::render(plan)));
    end_all(&plans.into_iter().filter(Plan::acts).collect::<Vec<_>>(), report_dir);
}

/// Ends one that the caller has made itself, and tells how.
pub(crate) fn end_own(sandbox: Sandbox, report_dir: &Path, tell: &dyn Fn(&str)) {
    let plan = Plan::of(sandbox);
    match &plan.how {
        How::Nothing(why) | How::Refused(why) => tell(why),
        _ => drop(end(&plan, report_dir, &Progress::told(tell))),
    }
}

/// Ends one; true if it is gone.
fn end(plan: &Plan, report_dir: &Path, progress: &Progress<'_>) -> bool {
    let done = match &plan.how {
        How::Guard => via_guard::end(plan, report_dir, progress),
        _ => direct::end(plan, report_dir, progress),
    };
    match done {
        Ok(End { left, note }) if left.is_empty() => {
            progress.line(&paint::success("gone"), &note);
            true
        }
        Ok(End { left, note }) => {
            progress.line(&paint::failure("left behind"), &left.join("; "));
            if !note.is_empty() {
                progress.line("note", &note);
            }
            false
        }
        Err(error) => {
            progress.line(&paint::failure("failed"), &format!("{error:#}"));
            false
        }
    }
}
