//! Which sandbox: what is known of it before anybody looks.

use std::path::PathBuf;

use crate::resources::state_file::{RunscState, StateFileError};
use crate::sys::identity::Identity;

/// The file in [`Scope::folder`] that says what the guard was told.
pub const PARAMS: &str = "params.json";

/// What the guard knows of a sandbox when it has to find its parts. A pid in here is a hint until
/// [`Identity`] proves it.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The guard, or none in `delete` after its death: then descent proves nothing and command lines must.
    pub guard: Option<Identity>,
    /// The real shim.
    pub real_shim: Option<Identity>,
    /// The sandbox's kernel, once it was seen below the guard.
    pub sentry: Option<Identity>,
    /// What else runsc has left running there: gofers.
    pub gofers: Vec<Identity>,
    /// Every container that this sandbox has or had, the root container first.
    pub members: Vec<Member>,
    /// runsc's root folder with the namespace: `/run/containerd/runsc/k8s.io`.
    pub runsc_root: PathBuf,
    /// The guard's private folder (real shim's cwd and socket, events socket, what each config.json was).
    pub folder: PathBuf,
    /// gVisor's command, as the guard was configured; empty where that is not known.
    pub runsc: PathBuf,
}

impl Scope {
    /// The sandbox's id, which is the root container's.
    pub fn sandbox_id(&self) -> Option<&str> {
        self.members.first().map(|member| member.id.as_str())
    }

    /// What runsc wrote about a member; none if there is no file, or none that can be believed.
    pub(crate) fn state_of(&self, member: &Member) -> Option<RunscState> {
        let state = RunscState::read(&self.runsc_root, &member.id, self.sandbox_id()?);
        let unexpected = |error: &StateFileError| !error.is_absent();
        state
            .inspect_err(|error| {
                if unexpected(error) {
                    log::warn!("guard: runsc's state: {error}")
                }
            })
            .ok()
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its full id.
    pub id: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
}

impl Member {
    /// One with this id and bundle.
    pub fn new(id: impl Into<String>, bundle: impl Into<PathBuf>) -> Self {
        Self { id: id.into(), bundle: bundle.into() }
    }
}
