//! What /proc tells from a process' own memory, `cmdline` and `environ`, can only be read under its mmap_lock, which one
//! in state D may hold for ever: that of somebody else's scenario as well. So a thread of its own reads it, and is left
//! behind where it does not come back.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// What no other process needs.
const LIMIT: Duration = Duration::from_secs(1);

/// Processes, by pid and start, whose lock somebody holds: they are not asked again.
static HELD: Mutex<BTreeSet<(i32, u64)>> = Mutex::new(BTreeSet::new());

/// Asks the thread that reads, and hears from it.
type Reader = (Sender<PathBuf>, Receiver<Vec<u8>>);

thread_local! {
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

/// The bytes of this file of process `pid`, which started then; none where they cannot be had.
pub(super) fn read(pid: i32, started: u64, file: &str) -> Vec<u8> {
    let held = || HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held().contains(&(pid, started)) {
        return Vec::new();
    }
    READER.with_borrow_mut(|reader| {
        let (ask, answer) = reader.get_or_insert_with(start);
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        let bytes = ask.send(path).ok().and_then(|()| answer.recv_timeout(LIMIT).ok());
        bytes.unwrap_or_else(|| {
            held().insert((pid, started));
            *reader = None;
            Vec::new()
        })
    })
}

fn start() -> Reader {
    let (ask, asked) = channel::<PathBuf>();
    let (tell, answer) = channel();
    thread::spawn(move || {
        for path in asked {
            if tell.send(std::fs::read(path).unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    (ask, answer)
}
