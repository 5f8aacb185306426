//! Threads, on a node that may have none to give: this command is for nodes that are out of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Works in a thread that may be left behind; where none can be made, here and now: late is better than not at all.
pub(crate) fn apart<W: FnOnce() + Send + 'static>(work: W) {
    // A thread that cannot be made takes its work with it.
    let (here, there) = {
        let work = Arc::new(Mutex::new(Some(work)));
        (Arc::clone(&work), work)
    };
    if thread::Builder::new().spawn(move || take(&there).map(|work| work())).is_err() {
        take(&here).into_iter().for_each(|work| work());
    }
}

fn take<W>(work: &Mutex<Option<W>>) -> Option<W> {
    work.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What `work` makes of each, in their order: in at most so many threads, of which this is one.
pub(crate) fn each<T: Sync, R: Send>(all: &[T], at_once: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
    let take = || {
        while let Some((at, one)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, all.get(at)?)))
        {
            let result = work(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|threads| {
        for _ in 1..at_once.min(all.len()) {
            // Those that there are do it all.
            let _ = thread::Builder::new().spawn_scoped(threads, take);
        }
        take();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn each_is_worked_on_once_and_told_in_order() {
        let all: Vec<u32> = (0..100).collect();
        let seen = AtomicUsize::new(0);
        let squares = each(&all, 4, |one| {
            seen.fetch_add(1, Ordering::Relaxed);
            one * one
        });
        assert_eq!(squares, all.iter().map(|one| one * one).collect::<Vec<_>>());
        assert_eq!(seen.into_inner(), 100);
        assert!(each(&[0; 0], 4, |one| *one).is_empty());
        assert_eq!(each(&[7], 0, |one| *one), [7]);
    }

    #[test]
    fn work_that_is_left_behind_holds_nobody_up() {
        let (done, result) = mpsc::channel();
        let (_held, never) = mpsc::channel::<()>();
        apart(move || {
            let _ = never.recv();
        });
        apart(move || done.send(7).unwrap());
        assert_eq!(result.recv().unwrap(), 7);
    }
}
