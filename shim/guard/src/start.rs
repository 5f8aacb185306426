//! The action `start`: answer with the address of the guard of this container's sandbox, an existing one
//! where the sandbox has one, else a new one.
//!
//! There is never a second guard for one sandbox: a guard that does not answer makes `start` fail, and only
//! one whose process is provably gone is replaced. All of it happens under the pod's lock. A new guard is
//! answered for as soon as it is spawned, and the configuration is read only for a new guard: `start` is on
//! the path of every pod's start, and here nothing may take longer than with the real shim.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runsc_guard_proto::guard::{Empty, JoinRequest};

use crate::cli::{Bootstrap, Target};
use crate::launch;
use runsc_guard_node::bundle::Record;
use runsc_guard_node::client;
use runsc_guard_node::config;
use runsc_guard_node::lock::{self, Lock};
use runsc_guard_node::params::{self, ServeParams};
use runsc_guard_node::paths::{self, Base, Place};
use runsc_guard_node::program::{self, ProgramError};
use runsc_guard_node::recovery;
use runsc_guard_sandbox::resources::spec::{Description, Membership, RUNSC_ROOT, describe};
use runsc_guard_sandbox::sys::file;
use runsc_guard_sandbox::sys::identity::Identity;
use runsc_guard_sandbox::sys::identity::Stat;
use runsc_guard_sandbox::sys::kernel;
use runsc_guard_sandbox::teardown::sequence::Nobody;

#[cfg(test)]
mod tests;

/// How long another `start` or `delete` of the same pod may take.
const LOCK: Duration = Duration::from_secs(5);
/// A guard answers a Join within this, or is taken for stopped.
const JOIN: Duration = Duration::from_secs(1);
/// How long a closing guard may take to be gone.
const CLOSING: Duration = Duration::from_secs(3);
/// How long the end of a dead guard's sandbox may take.
const CLEANUP: Duration = Duration::from_secs(3);
/// `FAILED_PRECONDITION`: the guard is closing (proto/guard.proto).
const FAILED_PRECONDITION: i32 = 9;

/// Why containerd gets no address.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// containerd's bundle is not as it should be.
    #[error("config.json in {}: {source}", bundle.display())]
    Bundle {
        /// The bundle.
        bundle: PathBuf,
        /// Why.
        source: file::ReadError,
    },
    /// runsc would create it in one place and look for it in another, and so could nobody end it.
    #[error(
        "{RUNSC_ROOT} = {root:?} is refused: with allow-flag-override in [runsc_config] gVisor would create this \
         container there and never find it again; remove the annotation"
    )]
    Astray {
        /// What the annotation says.
        root: String,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Place(#[from] paths::PlaceError),
    /// A bad `[guard]` table.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The guard could not be started.
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
    /// There is no real shim.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Another `start` or `delete` did not finish.
    #[error(transparent)]
    Lock(#[from] lock::LockError),
    /// Without pidfds a pid that was given to a stranger could be killed.
    #[error("this kernel has no pidfds; runsc-guard needs Linux 5.3 or later")]
    NoPidfds,
    /// A guard that lives and says nothing.
    #[error(
        "the guard of sandbox {sandbox} did not answer within {waited:?}: {process}; if it is \
         stopped, continue it (kill -CONT), if it hangs, kill it (kill -9): containerd then cleans \
         up and starting again works"
    )]
    Silent {
        /// The sandbox.
        sandbox: String,
        /// How long it was waited for.
        waited: Duration,
        /// Its pid and state.
        process: String,
    },
    /// A guard that no longer serves and does not end.
    #[error(
        "the guard of sandbox {sandbox} no longer serves ({why}) but has not ended within \
         {waited:?}: {process}; see its log, or kill it (kill -9): containerd then cleans up"
    )]
    Lingering {
        /// The sandbox.
        sandbox: String,
        /// What it answered, or did not.
        why: String,
        /// How long it was waited for.
        waited: Duration,
        /// Its pid and state.
        process: String,
    },
    /// Something else than a guard, or one that this binary does not understand.
    #[error("the guard of sandbox {sandbox} refused container {container}: {source}")]
    Refused {
        /// The sandbox.
        sandbox: String,
        /// The container.
        container: String,
        /// Its answer.
        source: client::AskError,
    },
}

/// Brings up or joins the guard of this container; returns the address for the reply.
pub fn run(base: &Base, target: &Target, bootstrap: Bootstrap, bundle: &Path) -> Result<String, StartError> {
    if !kernel::pidfd_supported() {
        return Err(StartError::NoPidfds);
    }
    paths::check_name("id", &target.id)?;
    let description = describe(bundle, config::ANNOTATIONS)
        .map_err(|source| StartError::Bundle { bundle: bundle.to_owned(), source })?;
    let sandbox = match &description.membership {
        Membership::MemberOf(sandbox) => sandbox.clone(),
        Membership::Root => target.id.clone(),
    };
    let socket_dir = bootstrap.socket_dir.as_deref();
    let place = Place::of(base, &target.address, &target.namespace, &sandbox, socket_dir)?;
    let _lock = Lock::take(&place.lock, Instant::now() + LOCK)?;
    let newcomer = Newcomer { sandbox: &sandbox, container: &target.id, bundle, place: &place };
    match newcomer.join()? {
        Standing::Joined => newcomer.note(&newcomer.learn(&target.namespace)),
        Standing::Vacant => newcomer.bring_up(target, bootstrap, &description)?,
    }
    Ok(place.address())
}

/// Whether the sandbox has a guard.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It has, and it expects the container.
    Joined,
    /// It has none (any more).
    Vacant,
}

/// The container that `start` is for.
struct Newcomer<'a> {
    sandbox: &'a str,
    container: &'a str,
    bundle: &'a Path,
    place: &'a Place,
}

impl Newcomer<'_> {
    /// Asks the guard, if there is one, to expect this container.
    fn join(&self) -> Result<Standing, StartError> {
        let request = JoinRequest { id: self.container.to_owned(), ..JoinRequest::default() };
        let begun = Instant::now();
        let answer: Result<Empty, client::AskError> =
            client::ask(&self.place.socket, "Join", &request, begun + JOIN);
        match answer {
            Ok(_) => Ok(Standing::Joined),
            Err(client::AskError::Silent(waited)) => Err(StartError::Silent {
                sandbox: self.sandbox.to_owned(),
                waited,
                process: in_words(self.guard().ok().flatten()),
            }),
            Err(
                why @ (client::AskError::Absent | client::AskError::Refused | client::AskError::Broken(_)),
            ) => self.await_end(&why),
            Err(why @ client::AskError::Status { code: FAILED_PRECONDITION, .. }) => self.await_end(&why),
            Err(source) => Err(StartError::Refused {
                sandbox: self.sandbox.to_owned(),
                container: self.container.to_owned(),
                source,
            }),
        }
    }

    /// A guard that does not serve any more must be gone before another takes its place.
    fn await_end(&self, why: &client::AskError) -> Result<Standing, StartError> {
        let begun = Instant::now();
        let guard = self.guard();
        let gone = match guard.as_ref().map(|guard| guard.map(|guard| guard.open()).transpose()) {
            Ok(Ok(None)) => true,
            Ok(Ok(Some(process))) => process.wait(begun + CLOSING),
            // Any other reason than that it is gone proves nothing.
            Ok(Err(error)) => error.kind() == io::ErrorKind::NotFound,
            Err(_) => false,
        };
        match gone {
            true => Ok(Standing::Vacant),
            false => Err(StartError::Lingering {
                sandbox: self.sandbox.to_owned(),
                why: why.to_string(),
                waited: begun.elapsed(),
                process: in_words(guard.ok().flatten()),
            }),
        }
    }

    /// Which process the guard is, if it lives.
    fn guard(&self) -> io::Result<Option<Identity>> {
        params::guard_of(self.place, Record::load(self.bundle).and_then(|record| record.guard))
    }

    fn learn(&self, namespace: &str) -> Record {
        recovery::reconstruct(self.place, namespace, self.sandbox, self.container, self.bundle)
    }

    /// Leaves word in this container's bundle (the others' are the guard's to write) before the guard or
    /// containerd can look there. Neither file is needed for the pod to start: `delete` can do without the
    /// record, and only containerd before 2.0 reads `address`, after a restart.
    fn note(&self, record: &Record) {
        let _ = record.store_in(self.bundle);
        let address = self.place.address();
        let _ = file::replace(&self.bundle.join("address"), address.as_bytes(), 0o644);
    }

    /// Starts a guard, after what a dead one left has been ended.
    fn bring_up(
        &self,
        target: &Target,
        bootstrap: Bootstrap,
        description: &Description,
    ) -> Result<(), StartError> {
        if self.place.params().exists() {
            let mut left = self.learn(&target.namespace);
            // What cannot be ended stays for `delete` and the operator; the new guard finds it, too.
            let _ = recovery::cleanup(
                &mut left,
                self.place,
                recovery::patience(Instant::now() + CLEANUP),
                &Nobody,
            );
        }
        let of_crio =
            || Some(PathBuf::from(config::OF_CRIO)).filter(|file| target.is_of_crio() && file.exists());
        let config_file = bootstrap.config_path.or_else(of_crio);
        let mut config = config::load(config_file.as_deref())?;
        // Without that key runsc refuses it, in its own words. A member's would be looked up there and not be found.
        if let Some(root) = description.runsc_root.as_ref().filter(|_| config.runsc_flag_override) {
            return Err(StartError::Astray { root: config::shorten(root) });
        }
        let allowed = config.allow_annotations;
        let annotations = description.annotations.iter().filter(|_| allowed);
        let annotations = annotations.map(|(key, value)| (key.as_str(), value.as_str()));
        let annotations_ignored = config::apply_annotations(&mut config.policy, annotations);
        let shim = program::find_shim(&config.shim, program::path().as_deref())?;
        let mut params = ServeParams {
            config,
            config_file,
            shim,
            namespace: target.namespace.clone(),
            sandbox: self.sandbox.to_owned(),
            container: self.container.to_owned(),
            bundle: self.bundle.to_owned(),
            address: target.address.clone(),
            ttrpc_address: bootstrap.ttrpc_address,
            place: self.place.clone(),
            debug: target.debug,
            oom_score_refused: None,
            annotations_ignored,
        };
        self.note(&params.record());
        if let Err(error) = launch::launch(&mut params) {
            // Nobody else will: containerd runs no `delete` for what never started.
            let _ = self.place.remove();
            return Err(error.into());
        }
        Ok(())
    }
}

/// For a person who has to decide what to do with the process.
fn in_words(process: Option<Identity>) -> String {
    let Some(stat) = process.and_then(|process| Stat::of(process.pid).ok()) else {
        return "its pid is not known".to_owned();
    };
    let word = match stat.state {
        'T' => "stopped by a signal",
        't' => "stopped by a debugger",
        'D' => "waits in the kernel",
        'R' => "running",
        'S' => "sleeping",
        _ => "ending",
    };
    format!("pid {} is in state {} ({word})", stat.identity.pid, stat.state)
}
