//! File descriptors, when there are too few. Everything that is known of a process is read through one, so that
//! without any a living sandbox would look as if it were gone: who is to end one waits until there are some.

use std::fs::File;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than any single look takes.
const ENOUGH: usize = 16;
/// How often somebody who waits for them looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How many this process may have now.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Returns when there are enough. Takes all that the hard limit allows first; where that is used up, too, an
/// operator can raise it for a running process.
pub(crate) fn wait_for_some() {
    let mut said = false;
    while let Err(error) = try_some() {
        if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
            && soft < hard
            && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
        {
            continue;
        }
        if !std::mem::replace(&mut said, true) {
            let (pid, limit) = (std::process::id(), limit());
            log::error!(
                "no file descriptors are left ({error}), so the sandbox can be neither seen nor ended until \
                 there are: the limit is {limit}; raise it: prlimit --pid {pid} --nofile=4096"
            );
        }
        sleep(PAUSE);
    }
}

fn try_some() -> io::Result<()> {
    let first = File::open("/dev/null")?;
    let others: io::Result<Vec<File>> = (1..ENOUGH).map(|_| first.try_clone()).collect();
    others.map(drop)
}
