//! Kills of the guard at random moments of a scripted life, several lives at a time on one host.
//!
//! Each life is a stand-alone container or a pod of two, healthy or with its sentry stopped before its end. Some time
//! after its guard has appeared, the guard is killed; the script goes on as containerd's clients do. Then nothing of
//! that life may be left, everybody else must be untouched, and what subscribers heard must agree.

mod heard;
mod life;
mod script;
mod tally;

pub use tally::{Tally, assert_clean};

use anyhow::{Context as _, Result, ensure};
use harness::{
    EventLog, Handler, Host, Random, SOON,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    process::Process,
};
use script::Kind;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many guards are to be killed.
    pub kills: usize,
    /// How many lives are lived at a time.
    pub lanes: usize,
    /// The same seed gives the same lives and, as far as the machine is the same, the same moments.
    pub seed: u64,
}

/// A host for these lives, with two sandboxes that nobody may touch.
pub fn host() -> Result<Host> {
    Host::pair(Handler::quick("guarded", "1s"))
}

/// Kills as planned. An error means that the attempt itself failed; findings are in the tally.
pub fn run(host: &Host, plan: Plan, goes_on: impl Fn() -> bool + Sync) -> Result<Tally> {
    let began = Instant::now();
    let bystanders = bystanders(host)?;
    let before = Resources::of(host);
    // Of all namespaces.
    let events = EventLog::start(&host.ctr())?;
    let lanes = Lanes {
        host,
        plan,
        bystanders,
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        tally: Mutex::default(),
        lived: Mutex::default(),
    };
    thread::scope(|scope| {
        for _ in 0..plan.lanes {
            scope.spawn(|| lanes.work(&goes_on));
        }
    });
    ensure!(goes_on(), "interrupted");
    let mut tally = lanes.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = assert_nothing_left(host, &before, SOON) {
        tally.failures.push(format!("at the end: {error:#}"));
    }
    let lived = lanes.lived.into_inner().unwrap_or_else(PoisonError::into_inner);
    heard::judge(&events, &lived, &mut tally);
    tally.took = began.elapsed();
    Ok(tally)
}

/// A guarded and an unguarded sandbox, and their shims.
fn bystanders(host: &Host) -> Result<Vec<Process>> {
    let ctr = host.ctr();
    let mut all = Vec::new();
    for (handler, id) in [("guarded", "bystander"), ("unguarded", "bare")] {
        ctr.start(&host.handler(handler)?, id, &["sleep", "1000000"])?;
        let sandbox = Sandbox::of(host, id)?;
        all.extend([sandbox.sentry, sandbox.real_shim]);
        all.extend(sandbox.guard);
    }
    Ok(all)
}

struct Lanes<'a> {
    host: &'a Host,
    plan: Plan,
    bystanders: Vec<Process>,
    next: AtomicUsize,
    stopped: AtomicBool,
    tally: Mutex<Tally>,
    /// Every id that a container had.
    lived: Mutex<Vec<String>>,
}

impl Lanes<'_> {
    fn work(&self, goes_on: &(impl Fn() -> bool + Sync)) {
        while goes_on() && !self.stopped.load(Ordering::Relaxed) && self.tally().killed() < self.plan.kills {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number > 2 * self.plan.kills + 20 {
                self.fail(number, "too many lives ended before their guard could be killed".to_owned());
                self.stopped.store(true, Ordering::Relaxed);
            }
            if let Err(error) = self.live(number) {
                self.fail(number, format!("{error:#}"));
            }
        }
    }

    fn live(&self, number: usize) -> Result<()> {
        // Each life has numbers of its own, whatever the lanes do.
        let mut random = Random::new(self.plan.seed.wrapping_add(number as u64));
        let kind = Kind::any(&mut random);
        let life = life::live(self.host, kind, number, &mut random)?;
        self.lived.lock().unwrap_or_else(PoisonError::into_inner).extend(life.ids);
        for bystander in &self.bystanders {
            bystander.assert_spared().with_context(|| format!("{kind:?}"))?;
        }
        let mut tally = self.tally();
        match life.killed {
            Some((step, until_clean)) => {
                *tally.kills.entry((kind.name(), step)).or_default() += 1;
                tally.slowest = tally.slowest.max(until_clean);
                let count = tally.killed();
                if count.is_multiple_of(50) {
                    eprintln!("{count} kills, {} spared, {} failures", tally.spared, tally.failures.len());
                }
            }
            None => tally.spared += 1,
        }
        Ok(())
    }

    fn fail(&self, number: usize, error: String) {
        let seed = self.plan.seed;
        let failure = format!("life {number} (seed {seed}): {error}");
        eprintln!("{failure}");
        self.tally().failures.push(failure);
        if self.tally().failures.len() > 20 {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
