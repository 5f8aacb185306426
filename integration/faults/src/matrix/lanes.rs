//! Many cells at a time, each lane of them on a host of its own: what disturbs containerd disturbs one cell.

use super::{Bench, Cell, Fault, Report, run};
use anyhow::{Context as _, Result};
use harness::{Interrupt, Parts};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, atomic::AtomicUsize, atomic::Ordering},
    thread,
    time::Duration,
};

const JOBS_FOR_EACH_PROCESSOR: usize = 4;
/// Cells that may take longer than this come first.
const LONG: Duration = Duration::from_secs(15);
/// More than there are cells of one fault.
const STRIDE: usize = 19;

/// What is to be run, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The programs under test.
    pub parts: &'a Parts,
    /// With the guard, or without.
    pub guarded: bool,
    /// So many at a time.
    pub jobs: usize,
    /// Ends the hosts when somebody wants to leave.
    pub interrupt: &'a Interrupt,
}

impl Plan<'_> {
    /// As many at a time as this machine can do and still be in time: cells wait most of theirs.
    pub fn default_jobs() -> usize {
        JOBS_FOR_EACH_PROCESSOR * thread::available_parallelism().map_or(2, usize::from)
    }

    /// Runs the cells, and tells `done` of each one. One that was nothing but slow may have had to wait for the
    /// processor: it runs again, alone, and that is what counts.
    pub fn run(&self, cells: &[Cell], done: impl Fn(&Report) + Sync) -> Result<Vec<Report>> {
        let reports = self.side_by_side(order(cells), self.jobs, 0, &done)?;
        let again = |report: &Report| self.guarded && report.is_only_slow();
        let (slow, mut reports): (Vec<Report>, Vec<Report>) = reports.into_iter().partition(again);
        let alone =
            self.side_by_side(slow.iter().map(|report| report.cell).collect(), 1, cells.len(), &done)?;
        reports.extend(alone.into_iter().map(|report| {
            let first = slow.iter().find(|first| first.cell == report.cell);
            Report { beside_others: first.map(|first| first.slow.clone()).unwrap_or_default(), ..report }
        }));
        reports.sort_by_key(|report| report.cell);
        Ok(reports)
    }

    /// Runs the cells in this order, so many at a time; their names count from `first`.
    fn side_by_side(
        &self,
        cells: Vec<Cell>,
        jobs: usize,
        first: usize,
        done: &(impl Fn(&Report) + Sync),
    ) -> Result<Vec<Report>> {
        let lanes = jobs.min(cells.len());
        let (queue, number) = (Mutex::new(VecDeque::from(cells)), AtomicUsize::new(first));
        let next = || {
            let cell = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            // Of one length: runsc takes a prefix for the id where no container has exactly that one.
            Some((cell, format!("cell-{:04}", number.fetch_add(1, Ordering::Relaxed))))
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(|| self.lane(&next, done))).collect();
            let mut reports = Vec::new();
            for lane in lanes {
                reports.extend(lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))??);
            }
            Ok(reports)
        })
    }

    fn lane(
        &self,
        next: &(impl Fn() -> Option<(Cell, String)> + Sync),
        done: &(impl Fn(&Report) + Sync),
    ) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        let mut bench = None;
        while let Some((cell, name)) = next() {
            let mut here = match bench.take() {
                Some(here) => here,
                None => self.bench()?,
            };
            let mut report = run(&here, cell, &name);
            if self.interrupt.raised() {
                anyhow::bail!("interrupted");
            }
            if self.guarded && !report.is_green() {
                eprintln!("{report}\n{}", here.host().last_words());
            }
            // What a cell has left behind must not be taken for another one's.
            if report.is_green() || here.sweep().is_ok() {
                bench = Some(here);
            } else if let Err(error) = self.end(here) {
                report.wrong.push(format!("{error:#}"));
            }
            done(&report);
            reports.push(report);
        }
        bench.map_or(Ok(()), |bench| self.end_well(bench))?;
        Ok(reports)
    }

    fn bench(&self) -> Result<Bench> {
        let bench = Bench::start(self.parts, self.guarded).context("a host for cells")?;
        self.interrupt.register(bench.host())?;
        Ok(bench)
    }

    fn end_well(&self, bench: Bench) -> Result<()> {
        let untouched = bench.assert_neighbour_untouched();
        self.end(bench)?;
        untouched
    }

    fn end(&self, bench: Bench) -> Result<()> {
        let ended = bench.host().end();
        self.interrupt.forget(bench.host());
        ended
    }

    /// Whether this plan can run a cell at all.
    pub fn takes(&self, cell: &Cell) -> bool {
        self.guarded || !Fault::needs_guard(cell.fault)
    }
}

/// Those with deadlines of half a minute first, so that they do not come last; of the others, neighbours in the
/// table far apart, so that not all that is heavy comes at once.
fn order(cells: &[Cell]) -> Vec<Cell> {
    let (long, short): (Vec<Cell>, Vec<Cell>) =
        cells.iter().partition(|cell| cell.deadlines.promise(cell.fault, cell.subject) > LONG);
    let stride = |start: usize| short.iter().skip(start).step_by(STRIDE);
    long.into_iter().chain((0..STRIDE).flat_map(stride).copied()).collect()
}
