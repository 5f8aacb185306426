//! What `start` tells a guard, which lies in `params.json` in the guard's private folder: an operator can read there
//! with which configuration a guard runs. And which process the guard is, by its own word.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bundle::Record;
use crate::config::Config;
use crate::paths::Place;
use runsc_guard_sandbox::processes::process::serves;
use runsc_guard_sandbox::processes::proof::Vantage;
use runsc_guard_sandbox::sys::bounded;
use runsc_guard_sandbox::sys::file::{self, ReadError};
use runsc_guard_sandbox::sys::identity::Identity;

/// Far beyond what a guard is told.
const MAX_PARAMS: u64 = 1 << 20;

/// All that the guard is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeParams {
    /// The configuration, kept for life.
    pub config: Config,
    /// The file that it was read from, if there is one.
    #[serde(default)]
    pub config_file: Option<PathBuf>,
    /// The real shim, resolved on containerd's PATH.
    pub shim: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// Id of the sandbox.
    pub sandbox: String,
    /// Id of the container that `start` was for: the sandbox's, but for a member whose guard was replaced.
    pub container: String,
    /// That container's bundle.
    pub bundle: PathBuf,
    /// containerd's GRPC address, as its `-address` says.
    pub address: String,
    /// Where containerd takes events; empty when nobody said.
    pub ttrpc_address: String,
    /// Where things lie.
    pub place: Place,
    /// containerd logs at debug level.
    pub debug: bool,
    /// Why the OOM score could not be lowered, to be logged.
    pub oom_score_refused: Option<String>,
    /// The pod's annotations that are not heeded and why, to be logged.
    #[serde(default)]
    pub annotations_ignored: Option<String>,
}

impl ServeParams {
    /// runsc's root with the namespace, as the real shim passes it (`--root`).
    pub fn runsc_root(&self) -> PathBuf {
        self.config.runsc_root_of(&self.namespace)
    }

    /// The record of a sandbox as it is before anything has happened: what the guard begins with.
    pub fn record(&self) -> Record {
        let mut record = Record::new(&self.namespace, &self.sandbox);
        record.socket.clone_from(&self.place.socket);
        record.folder.clone_from(&self.place.folder);
        record.runsc_root = self.runsc_root();
        record.member_mut(&self.container, &self.bundle);
        record
    }

    /// What the guard in this folder was told, if it can be read.
    pub fn of(place: &Place) -> Option<Self> {
        serde_json::from_slice(&file::read(&place.params(), MAX_PARAMS).ok()?).ok()
    }
}

/// The living guard of this place, by its own word or else by `hint`, if root runs it and its command line does not say
/// otherwise: a file may be old, damaged or forged. Where the kernel does not tell who runs it, or its command line in
/// time (see `sys::bounded`), pid and start time in a file of root's have to do: a guard that is taken for dead costs a
/// healthy sandbox its life. An error where its own word is there and cannot be read.
pub fn guard_of(place: &Place, hint: Option<Identity>) -> io::Result<Option<Identity>> {
    let word = match file::read(&place.guard(), MAX_PARAMS) {
        Ok(word) => serde_json::from_slice(&word).ok(),
        Err(ReadError::Io(error)) => return Err(error),
        Err(_) => None,
    };
    let vantage = Vantage::new();
    let is_guard = |one: &Identity| {
        let serves = || match bounded::command_line(one.pid) {
            Ok(argv) => serves(&argv, &place.folder),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        one.pid > 1 && one.is_alive() && vantage.may_be_root(one.pid) && serves()
    };
    Ok([word, hint].into_iter().flatten().find(is_guard))
}
