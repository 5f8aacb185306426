//! What reaches the thread that looks at the node, and the sockets on which it comes.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use runsc_guard_proto::guard::MetricsResponse;
use tokio::sync::oneshot;

use super::samples::Samples;
use crate::survey::scope::may_listen;

/// What the thread that looks is told.
pub(super) enum Message {
    /// A scrape waits for the look.
    Scrape(Scrape),
    /// A guard ends.
    FinalMetrics(MetricsResponse),
}

/// Who waits for a look.
pub(super) type Scrape = oneshot::Sender<Result<Samples, String>>;

/// The file of a socket that this process has bound, which goes with this.
pub(super) struct Bound(pub(super) PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes a socket that nobody serves any more, and nothing else.
pub(super) fn clear_away(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
        Ok(meta) if !meta.file_type().is_socket() => {
            bail!("{} is there and is no socket; name another path", path.display())
        }
        // Of whatever kind the socket is: only one that nobody has refuses.
        Ok(_) if may_listen(path) => bail!("{} is served by another process", path.display()),
        Ok(_) => fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display())),
    }
}
