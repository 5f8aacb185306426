//! What of /proc may never come back, and so is asked apart: the one place of rule 8.
//!
//! The kernel reads a process's command line, environment and mappings under that process's own mmap_lock, and opens
//! these and its stack under the lock of its execve (fs/proc/base.c, fs/proc/task_mmu.c). A process in state D may
//! hold either forever; a page of a file on a volume that hangs is enough. A path through its working folder may ask
//! that folder's file system again (`d_weak_revalidate`: NFS, 9p), and an fdinfo takes a lock of the file's own (of an
//! epoll that polls on FUSE, say). What takes none of these: stat, status, comm, children, cgroup, wchan, mountinfo,
//! ns/*, and reading the links exe, cwd, root and fd/*.
//!
//! Such a look is a thread's of its own. One that does not come back is left behind with the process that it waits
//! for, and nobody asks that one again until it has come back.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use crate::sys::file;
use crate::sys::identity::Stat;
use crate::sys::procfs::{arguments, dir, numbers, read_at_most, read_file};

/// What is not told within this long waits for something. A look takes some ten microseconds.
const PATIENCE: Duration = Duration::from_millis(50);
/// But one that waits for a processor only is given this long.
const STARVED: Duration = Duration::from_secs(1);
/// How long a thread waits for the next look before it ends.
const IDLE: Duration = Duration::from_millis(500);
/// How many processes may have threads waiting for them: one each, and one more for each who asked at the same moment.
/// Whoever would leave more behind is told nothing at all.
const LEFT_BEHIND: usize = 64;
/// A look needs little stack.
const STACK: usize = 64 * 1024;
/// More than any command line of runsc has, and little enough to read for each process of a node.
const CMDLINE_LIMIT: u64 = 64 * 1024;

/// The command line, one element per argument. Empty for kernel threads, zombies and systrap's stubs. Where
/// the first thread has ended and with it the process' view of its memory, another thread's is asked.
/// `TimedOut` where the kernel does not tell.
pub fn command_line(pid: i32) -> io::Result<Vec<OsString>> {
    ask(pid, move || {
        let of_process = argv(&dir(pid))?;
        if !of_process.is_empty() {
            return Ok(of_process);
        }
        let task = dir(pid).join("task");
        let threads = numbers(&task)?.into_iter().filter(|thread| *thread != pid);
        let of_threads = threads.flat_map(|thread| argv(&task.join(thread.to_string())));
        Ok(of_threads.into_iter().find(|argv| !argv.is_empty()).unwrap_or_default())
    })?
}

fn argv(dir: &Path) -> io::Result<Vec<OsString>> {
    Ok(arguments(&read_at_most(&dir.join("cmdline"), CMDLINE_LIMIT)?))
}

/// One variable of the environment that a process was started with.
pub fn environment(pid: i32, name: &str) -> Option<OsString> {
    let all = ask(pid, move || read_file(&dir(pid).join("environ"))).ok()?.ok()?;
    let value = |one: &[u8]| one.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec);
    all.split(|byte| *byte == 0).find_map(value).map(|value| OsStr::from_bytes(&value).to_owned())
}

/// The kernel's own stack of a process or thread, where readable.
pub fn kernel_stack(pid: i32) -> Option<String> {
    let stack = ask(pid, move || read_file(&dir(pid).join("stack"))).ok()?.ok()?;
    (!stack.is_empty()).then(|| String::from_utf8_lossy(&stack).into_owned())
}

/// The ids of the mounts that a process keeps: by an open file, as working folder or as root.
pub fn mounts_held(pid: i32) -> io::Result<BTreeSet<u64>> {
    ask(pid, move || {
        let infos = fs::read_dir(dir(pid).join("fdinfo")).into_iter().flatten().flatten();
        // Only the links themselves are opened, never the file behind them: that could hang forever.
        let links = ["cwd", "root"].into_iter().filter_map(|link| {
            let file = file::name(&dir(pid).join(link), OFlag::empty()).ok()?;
            mount_id(Path::new(&format!("/proc/self/fdinfo/{}", file.as_raw_fd())))
        });
        infos.filter_map(|info| mount_id(&info.path())).chain(links).collect()
    })
}

fn mount_id(fdinfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(fdinfo).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// Takes a look at `pid` that may hang: `TimedOut` if it does, or if another one at that process does.
pub fn ask<T: Send + 'static>(pid: i32, look: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    {
        let silent = silent();
        if silent.contains(&pid) || silent.len() >= LEFT_BEHIND {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    let (done, told) = mpsc::channel();
    let look = move || {
        let seen = look();
        let mut silent = self::silent();
        silent.remove(&pid);
        let _ = done.send(seen);
    };
    READER.with_borrow_mut(|reader| {
        let thread = give(reader, Box::new(look))?;
        if let Some(seen) = wait(&told, &thread) {
            return Ok(seen);
        }
        let mut silent = silent();
        // It may have come back this very moment.
        told.try_recv().map_err(|_| {
            silent.insert(pid);
            *reader = None;
            io::ErrorKind::TimedOut.into()
        })
    })
}

type Look = Box<dyn FnOnce() + Send>;

/// A thread that takes looks for the one that has it.
struct Reader {
    /// Nothing lies in between: what is sent has been taken, or comes back. A look that is lost with a thread that leaves
    /// would count as one that hangs, and its process would never be asked again.
    looks: SyncSender<Look>,
    thread: Arc<AtomicI32>,
}

thread_local! {
    static READER: RefCell<Option<Reader>> = const { RefCell::new(None) };
}

/// The processes that threads left behind wait for.
static SILENT: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn silent() -> MutexGuard<'static, BTreeSet<i32>> {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the thread, or a new one, take this look; gives where it will say which thread it is.
fn give(reader: &mut Option<Reader>, look: Look) -> io::Result<Arc<AtomicI32>> {
    let refused = match reader {
        Some(reader) => match reader.looks.send(look) {
            Ok(()) => return Ok(reader.thread.clone()),
            // It had nothing to do for a while.
            Err(mpsc::SendError(look)) => look,
        },
        None => look,
    };
    let (looks, given) = mpsc::sync_channel::<Look>(0);
    let thread = Arc::new(AtomicI32::new(0));
    let number = thread.clone();
    let work = move || {
        number.store(nix::unistd::gettid().as_raw(), Ordering::Relaxed);
        refused();
        while let Ok(look) = given.recv_timeout(IDLE) {
            look();
        }
    };
    thread::Builder::new().name("procfs".into()).stack_size(STACK).spawn(work)?;
    *reader = Some(Reader { looks, thread: thread.clone() });
    Ok(thread)
}

/// What was seen, unless the thread waits for something else than a processor.
fn wait<T>(told: &Receiver<T>, thread: &AtomicI32) -> Option<T> {
    let last = Instant::now() + STARVED;
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(seen) => return Some(seen),
            Err(_) if Instant::now() < last && wants_processor(thread.load(Ordering::Relaxed)) => {}
            Err(_) => return None,
        }
    }
}

/// Whether this thread of ours has not begun yet, or would run if it could.
fn wants_processor(thread: i32) -> bool {
    thread == 0 || Stat::of(thread).is_ok_and(|stat| stat.state == 'R')
}

#[cfg(test)]
mod tests;
