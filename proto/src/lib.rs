//! Wire types, and nothing else: containerd's task API and events (from `containerd-shim-protos`), the
//! runtime options, the CRI, containerd's API for clients and the guard's private service. `PINS` says where the files in `vendor` come from.

/// containerd's own types.
pub use containerd_shim_protos as containerd;
pub use containerd_shim_protos::{
    bootstrap_api as bootstrap, events, shim::event::Envelope, shim::events as events_service,
    shim::shim as task, types,
};
/// The protobuf runtime that all of these types use.
pub use protobuf;

#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated/mod.rs"));
}
pub use generated::{guard, runtimeoptions, sandbox};

/// The messages of Kubernetes' CRI, version 1, and its client with the feature `cri-client`.
#[cfg(feature = "cri")]
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod cri {
    include!(concat!(env!("OUT_DIR"), "/runtime.v1.rs"));
}

/// containerd's own API, for its clients: containers, tasks, namespaces.
#[cfg(feature = "cri")]
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/containerd.rs"));
    pub use containerd::{services, types};
}

/// Full names of the services, as they stand in a ttrpc request.
pub mod service {
    /// Task API, version 2: what every containerd and every runsc shim speaks.
    pub const TASK_V2: &str = "containerd.task.v2.Task";
    /// Task API, version 3: the same messages under another name (containerd 2.0 and later).
    pub const TASK_V3: &str = "containerd.task.v3.Task";
    /// Where shims publish their events.
    pub const EVENTS: &str = "containerd.services.events.ttrpc.v1.Events";
    /// The guard's private service, see `guard.proto`.
    pub const GUARD: &str = "runsc.guard.v1.Guard";
}
