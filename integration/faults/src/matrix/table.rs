//! The table: each fault in each request against each subject, and why some of these cannot be.

use super::{Deadlines, Fault, Part, Request, Subject, gate::Place};
use harness::{AT_LAST, patience};
use std::{fmt, time::Duration};

/// How much longer than promised a client waits for its answer.
const MARGIN: Duration = Duration::from_secs(3);

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// What goes wrong.
    pub fault: Fault,
    /// In the middle of what.
    pub request: Request,
    /// With what.
    pub subject: Subject,
    /// Under which configuration.
    pub deadlines: Deadlines,
}

impl Cell {
    /// Where the request is held while the fault is injected: before or after a subcommand of runsc.
    pub(super) fn gate(&self) -> Option<(Place, &'static str)> {
        if self.is_injected_first() { None } else { self.request.gate(self.fault) }
    }

    /// Its SIGKILL takes the guard one word to the sentry, and no command that could be held.
    pub(super) fn is_injected_first(&self) -> bool {
        self.is_never_made() || (self.request == Request::KillKill && self.subject == Subject::StandAlone)
    }

    /// A stand-alone container has one Create. Where that is stuck, nothing can have been in flight before.
    pub(super) fn is_never_made(&self) -> bool {
        self.fault == Fault::CreateStuck && self.subject == Subject::StandAlone
    }

    /// The request in flight is the one that is stuck.
    pub(super) fn is_itself_stuck(&self) -> bool {
        self.fault == Fault::CreateStuck && self.request == Request::Create
    }

    /// How long its clients wait.
    pub(super) fn limit(&self) -> Duration {
        self.deadlines.promise(self.fault, self.subject) + MARGIN
    }

    /// How long its end is waited for. What is promised and comes after all was late, for which a busy machine may be to
    /// blame; only what does not come is stuck.
    pub(super) fn patience(&self, guarded: bool) -> Duration {
        self.limit() + if guarded { patience(AT_LAST) } else { Duration::ZERO }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.fault, self.request, self.subject)?;
        if self.deadlines == Deadlines::Defaults {
            f.write_str(" x defaults")?;
        }
        Ok(())
    }
}

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It runs.
    Runs(Cell),
    /// It cannot be, for this reason.
    Cannot(Cell, &'static str),
}

/// Every combination, once.
pub fn whole() -> Vec<Entry> {
    let mut all = Vec::new();
    for fault in Fault::ALL {
        for request in Request::ALL {
            for subject in Subject::ALL {
                let cell = Cell { fault, request, subject, deadlines: Deadlines::Short };
                all.push(match impossible(cell) {
                    Some(why) => Entry::Cannot(cell, why),
                    None => Entry::Runs(cell),
                });
            }
        }
    }
    all
}

/// Every combination that can be.
pub fn cells() -> Vec<Cell> {
    whole()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Runs(cell) => Some(cell),
            Entry::Cannot(..) => None,
        })
        .collect()
}

/// Ten more, with the deadlines that apply where nothing is configured. Of those that end a pod at `hard_limit`, which
/// is five minutes then, only stand-alone ones.
pub fn with_defaults() -> Vec<Cell> {
    use {Fault as F, Request as R, Subject as S};
    [
        (F::Stopped(Part::Sentry), R::None, S::Pod),
        (F::Stopped(Part::Sentry), R::KillTerm, S::StandAlone),
        (F::Stopped(Part::Everything), R::KillKill, S::Pod),
        (F::Stopped(Part::RealShim), R::Stats, S::Pod),
        (F::Stopped(Part::Stubs), R::Exec, S::StandAlone),
        (F::Frozen, R::Exec, S::StandAlone),
        (F::Hangs("kill"), R::KillKill, S::StandAlone),
        (F::Hangs("delete"), R::Delete, S::Pod),
        (F::LockHeld, R::Start, S::StandAlone),
        (F::CreateStuck, R::Create, S::StandAlone),
    ]
    .map(|(fault, request, subject)| Cell { fault, request, subject, deadlines: Deadlines::Defaults })
    .to_vec()
}

/// Every pair of fault and request, of fault and subject, of request and subject that can be, each at least
/// once: one subject for each fault and request, in turn; both where the fault has one request only.
pub fn pairwise() -> Vec<Cell> {
    let cells = cells();
    let mut chosen = Vec::new();
    for (row, fault) in Fault::ALL.into_iter().enumerate() {
        for (column, request) in Request::ALL.into_iter().enumerate() {
            let there: Vec<&Cell> =
                cells.iter().filter(|cell| cell.fault == fault && cell.request == request).collect();
            let has_another = cells.iter().any(|cell| cell.fault == fault && cell.request != request);
            let wanted = |at: usize| !has_another || at == (row + column) % there.len();
            chosen.extend(there.iter().enumerate().filter(|(at, _)| wanted(*at)).map(|(_, cell)| **cell));
        }
    }
    chosen
}

/// Why there is no such situation; references are to the contracts of containerd and gVisor, and to the source
/// of containerd 2.4.2 and of gVisor of 2026-09-05.
fn impossible(cell: Cell) -> Option<&'static str> {
    use {Fault as F, Request as R, Subject as S};
    match (cell.fault, cell.request, cell.subject) {
        (F::StdoutFull, _, S::Pod) => Some(
            "containerd itself reads the FIFO of a pod's container for as long as it runs, and where it cannot \
             write the log on, its own task.Delete waits for that before it sends any request (client/task.go, \
             Delete: io.Wait)",
        ),
        (
            F::Stopped(Part::Sentry | Part::Gofer | Part::Stubs | Part::Everything)
            | F::Killed(Part::Sentry | Part::Gofer)
            | F::Frozen
            | F::MmapLockHeld
            | F::NoThread,
            R::Delete,
            S::StandAlone,
        ) => Some(
            "the exit of a root container is known when its sandbox process is gone (`runsc wait` polls the \
             sandbox's pidfd), and Delete comes after the exit: no sentry, gofer, stub or cgroup member is left to \
             be hurt",
        ),
        (F::Hangs("wait"), R::Delete, _) => Some(
            "the real shim learns of an exit by `runsc wait` alone: where that hangs there is no exit, and \
             Delete comes after the exit",
        ),
        (F::DeleteHung, request, _) if request != R::Delete => Some(
            "what has ended is asked for nothing but its Delete; the same commands hang under `runsc kill hangs` and \
             `runsc delete hangs`",
        ),
        (F::CreateStuck, R::Start | R::Delete, S::StandAlone) => Some(
            "containerd sends Start and Delete to a container whose Create has returned, and of a stand-alone \
             container there is no other Create that could be stuck",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn at_most_fifteen_in_a_hundred_cannot_be() {
        let (all, can) = (whole().len(), cells().len());
        assert_eq!(all, Fault::ALL.len() * Request::ALL.len() * Subject::ALL.len());
        assert!((all - can) * 100 <= all * 15, "{} of {all} cannot be", all - can);
    }

    #[test]
    fn no_cell_is_twice_in_the_table() {
        let cells = cells();
        assert_eq!(cells.iter().collect::<BTreeSet<_>>().len(), cells.len());
        let names: BTreeSet<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cells.len());
    }

    #[test]
    fn every_pair_that_can_be_is_in_the_pairwise_subset() {
        fn pairs(cells: &[Cell]) -> BTreeSet<String> {
            let of = |c: &Cell| {
                [
                    format!("{} x {}", c.fault, c.request),
                    format!("{} x {}", c.fault, c.subject),
                    format!("{} x {}", c.request, c.subject),
                ]
            };
            cells.iter().flat_map(of).collect()
        }
        assert_eq!(pairs(&cells()), pairs(&pairwise()));
    }

    #[test]
    fn ten_possible_cells_run_with_the_defaults() {
        let named = with_defaults();
        assert_eq!(named.len(), 10);
        for cell in named {
            assert!(cells().contains(&Cell { deadlines: Deadlines::Short, ..cell }), "{cell}");
        }
    }
}
