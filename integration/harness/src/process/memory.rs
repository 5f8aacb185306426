//! What /proc tells from a process' own memory, `cmdline` and `environ`, can only be read under its mmap_lock, which one
//! in state D may hold forever: that of somebody else's scenario as well. So a thread of its own reads it, and is left
//! behind where it does not come back.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
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

/// The bytes of this file of each of these processes, by pid and start; none where they cannot be had. The thread reads
/// ahead while its answers are taken: to wake it for each file would cost more than to read one.
pub(super) fn read(processes: &[(i32, u64)], file: &str) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new(); processes.len()];
    let mut left: Vec<usize> = (0..processes.len()).filter(|at| !held().contains(&processes[*at])).collect();
    READER.with_borrow_mut(|reader| {
        while !left.is_empty() {
            let (ask, answer) = reader.get_or_insert_with(start);
            for at in &left {
                // Where the thread has ended, its answers do not come either.
                let _ = ask.send(PathBuf::from(format!("/proc/{}/{file}", processes[*at].0)));
            }
            let late = left.iter().position(|at| match answer.recv_timeout(LIMIT) {
                Ok(bytes) => {
                    found[*at] = bytes;
                    false
                }
                Err(_) => true,
            });
            let Some(late) = late else {
                return;
            };
            held().insert(processes[left[late]]);
            *reader = None;
            left.drain(..=late);
        }
    });
    found
}

fn held() -> MutexGuard<'static, BTreeSet<(i32, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
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
