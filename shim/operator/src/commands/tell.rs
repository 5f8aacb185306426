//! `tell`: Kubernetes learns what happens on this node, where somebody has asked for that (the chart's `events`,
//! `nodeCondition`, `readiness`).
//!
//! ```text
//! reports --> event (pure) --\
//! survey, containerd --> node (pure) --> api
//! ```
//!
//! Nothing is remembered on disk. An Event's name follows from the report that it tells, so that the API refuses a second
//! one; and what is told of the node is compared with what the API has. So a restart repeats nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::reports::{self, Known};
use crate::args::{Scope, Tell};
use crate::containerd::live::{self, Handler};
use crate::screen;
use crate::survey::model::State;
use crate::survey::survey;

mod api;
mod event;
mod node;
mod waiting;

pub(crate) use api::Api;
use node::Wish;
use waiting::Waiting;

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the API is asked whether the node is still as it was told.
const AGAIN: Duration = Duration::from_secs(300);
/// How long containerd may take to say which handlers it has.
const ANSWERS: Duration = Duration::from_secs(2);

/// Tells until SIGTERM.
pub(crate) fn run(scope: Scope, args: Tell, api: Option<Api>) -> Result<ExitCode> {
    let api = api.context("no API")?;
    let runtime = runtime()?;
    if args.leaving {
        // Whoever started this tries again, and goes on only when it is done: the account goes with the guard.
        let done = runtime.block_on(api.fulfil(&args.node, &Wish::leaving(&args)));
        return done
            .map(|()| ExitCode::SUCCESS)
            .with_context(|| format!("cannot take back what node {} was told", args.node));
    }
    let mut term = runtime.block_on(async { signal(SignalKind::terminate()) })?;
    tell_until(term.recv(), &runtime, Teller::new(scope, args, api)?)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Whatever is waited for meanwhile, the API, containerd or a folder, is let go at the end: nothing has to be finished.
fn tell_until(end: impl Future, runtime: &Runtime, mut teller: Teller) -> Result<()> {
    let tell = move || {
        loop {
            teller.round();
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new().spawn(tell).context("cannot make the thread that tells")?;
    runtime.block_on(end);
    Ok(())
}

struct Teller {
    scope: Scope,
    args: Tell,
    api: Api,
    /// What waits for the API.
    runtime: Runtime,
    /// Reports that were looked at.
    known: Known,
    waiting: Waiting,
    /// What the node was last told to be, and when.
    told: Option<(Wish, Instant)>,
    complaints: Complaints,
}

impl Teller {
    fn new(scope: Scope, args: Tell, api: Api) -> Result<Self> {
        Ok(Self {
            scope,
            args,
            api,
            runtime: runtime()?,
            known: Known::new(),
            waiting: Waiting::default(),
            told: None,
            complaints: Complaints::default(),
        })
    }

    /// The node comes first: there may be many events.
    fn round(&mut self) {
        self.tell_node();
        if self.args.events {
            self.collect();
            let create = |event: &_| self.runtime.block_on(self.api.create_event(event));
            let complain = |what, why: &str| self.complaints.tell(what, why);
            self.waiting.hand_over(Instant::now() + PAUSE, create, complain);
        }
    }

    fn tell_node(&mut self) {
        let wish = self.wish();
        let is_told = |(told, at): &(Wish, Instant)| *told == wish && at.elapsed() < AGAIN;
        if wish.is_empty() || self.told.as_ref().is_some_and(is_told) {
            return;
        }
        match self.runtime.block_on(self.api.fulfil(&self.args.node, &wish)) {
            Ok(()) => self.told = Some((wish, Instant::now())),
            Err(failure) => {
                self.complaints.tell("cannot change the node in Kubernetes", &failure.to_string())
            }
        }
    }

    /// Events of the reports that are new.
    fn collect(&mut self) {
        match reports::news(&self.scope, &mut self.known) {
            Ok(news) => {
                for one in news {
                    for event in event::of(&one, &self.args.node) {
                        self.waiting.add(one.taken_at(), event);
                    }
                }
            }
            Err(blind) => self.complaints.tell("cannot read reports", &blind.to_string()),
        }
    }

    /// How the node should be.
    fn wish(&mut self) -> Wish {
        let is_stuck_told = self.args.condition || self.args.taint.is_some();
        let stuck = if is_stuck_told { self.stuck() } else { None };
        let ready = (self.args.ready || self.args.startup_taint.is_some()).then(|| self.is_ready());
        Wish::of(&self.args, stuck, ready)
    }

    /// The sandboxes that cannot be killed; nothing where that could not be seen.
    fn stuck(&mut self) -> Option<Vec<String>> {
        match survey(&self.scope) {
            Ok(seen) => {
                let stuck = seen.sandboxes.iter().filter(|one| one.state == State::Unkillable);
                Some(stuck.map(|one| format!("{} (pod {})", one.found.id, one.pod_name())).collect())
            }
            Err(error) => {
                self.complaints.tell("cannot look at sandboxes", &format!("{error:#}"));
                None
            }
        }
    }

    fn is_ready(&mut self) -> bool {
        match live::handlers(&self.args.address, ANSWERS) {
            Ok(handlers) => handlers.get(&self.args.handler).is_some_and(Handler::is_guard),
            Err(error) => {
                self.complaints.tell("cannot ask containerd for its handlers", &format!("{error:#}"));
                false
            }
        }
    }
}

/// What was last complained of each thing, to say it once.
#[derive(Default)]
struct Complaints(BTreeMap<&'static str, String>);

impl Complaints {
    fn tell(&mut self, what: &'static str, why: &str) {
        if self.is_new(what, why) {
            screen::complain(&format!("runsc-guard: {what}: {why}"));
        }
    }

    fn is_new(&mut self, what: &'static str, why: &str) -> bool {
        self.0.insert(what, why.to_owned()).as_deref() != Some(why)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn the_end_is_not_held_up_by_an_api_that_does_not_answer() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["token", "ca.crt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let account = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let api = Api::at(listener.local_addr().unwrap().port(), account);
        let args = Tell {
            node: "n".into(),
            handler: "h".into(),
            address: folder.path().join("no containerd"),
            events: false,
            condition: false,
            taint: None,
            ready: true,
            startup_taint: None,
            leaving: false,
        };
        let scope = Scope { namespace: None, runsc_root: Vec::new() };
        let (asked, is_asked) = tokio::sync::oneshot::channel();
        let server = thread::spawn(move || asked.send(listener.accept().unwrap()));
        let begun = Instant::now();
        // It has been asked, and says nothing.
        let mut connection = None;
        let end = async { connection = is_asked.await.ok() };
        tell_until(end, &runtime().unwrap(), Teller::new(scope, args, api).unwrap()).unwrap();
        assert!(connection.is_some() && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        server.join().unwrap().unwrap();
    }

    #[test]
    fn a_complaint_is_said_once_and_what_was_said_before_is_not_kept() {
        let mut complaints = Complaints::default();
        let mut is_said = |what, why: &str| complaints.is_new(what, why);
        assert!(is_said("a", "x") && is_said("b", "x") && !is_said("a", "x") && !is_said("b", "x"));
        for why in 0..100 {
            assert!(is_said("a", &why.to_string()));
        }
        assert_eq!(complaints.0.len(), 2);
    }
}
