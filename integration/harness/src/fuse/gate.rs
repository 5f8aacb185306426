//! Lets answers out, keeps them, or lets them out late.

use std::{
    collections::BTreeSet,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

/// What a request asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To read a file: what a page fault and `read` cause.
    Read,
    /// To write into a file: what `write` and a page that is written back cause.
    Write,
    /// What each `close` causes.
    Flush,
    /// What `fsync` causes, once all pages are written.
    Fsync,
    /// What the last `close` causes; nobody waits for the answer.
    Release,
    /// All the rest: names, attributes, open.
    Other,
}

impl Asked {
    /// Everything that somebody waits for.
    pub const AWAITED: [Self; 5] = [Self::Read, Self::Write, Self::Flush, Self::Fsync, Self::Other];
}

type Answer = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    late: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    closed: BTreeSet<Asked>,
    held: Vec<Answer>,
    slow: Option<(Asked, Sender<Answer>)>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({} held)", self.held())
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self, what: &[Asked]) {
        self.lock().closed.extend(what);
    }

    pub(super) fn open(&self) {
        let mut state = self.lock();
        state.closed.clear();
        state.slow = None;
        let held = mem::take(&mut state.held);
        drop(state);
        held.into_iter().for_each(|answer| answer());
    }

    pub(super) fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// The thread that works ends with the gate, or when it is opened, once all it has is answered.
    pub(super) fn slow_down(&self, what: Asked, work: Duration) {
        let (sender, queue) = channel::<Answer>();
        let late = Arc::clone(&self.late);
        thread::spawn(move || {
            for answer in queue {
                thread::sleep(work);
                answer();
                late.fetch_add(1, Ordering::SeqCst);
            }
        });
        self.lock().slow = Some((what, sender));
    }

    pub(super) fn answered_late(&self) -> usize {
        self.late.load(Ordering::SeqCst)
    }

    pub(super) fn pass(&self, asked: Asked, answer: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.closed.contains(&asked) {
            state.held.push(Box::new(answer));
            return;
        }
        if let Some((_, queue)) = state.slow.as_ref().filter(|(slow, _)| *slow == asked) {
            // Its thread ends only when this sender is dropped.
            let _ = queue.send(Box::new(answer));
            return;
        }
        drop(state);
        answer();
    }
}
