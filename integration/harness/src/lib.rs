//! Harness for scenarios on real parts: a private containerd ([`Host`]) with gVisor's shim under two handlers,
//! unguarded and guarded, drivers for it ([`Ctr`], [`Cri`], [`TaskClient`]), real ways to wedge a sandbox
//! ([`faults`]), and proof that nothing is left ([`leaks`]).
//!
//! Every healthy scenario runs on both handlers and the answers are compared; every wedge must first wedge the
//! unguarded shim, or it proves nothing about the guard. Nothing here sleeps to wait for a fact:
//! [`eventually`] looks again at short intervals, within a limit that `RUNSC_GUARD_PATIENCE` scales.

mod alike;
mod checkout;
mod clear;
mod cri;
mod crio;
mod daemonset;
mod docker;
mod events;
mod figures;
mod fuse;
mod handler;
mod host;
mod impostor;
mod interrupt;
mod kubelet;
mod neighbour;
mod network;
mod page;
mod parts;
mod patience;
mod private_etc;
mod record;
mod release;
mod root;
mod run;
mod script;
mod service;
mod shared;
mod sockets;
mod task;
mod today;
mod transcript;
mod version;

pub mod binary;
pub mod ctr;
pub mod disk;
pub mod faults;
pub mod image;
pub mod leaks;
pub mod process;
pub mod promise;
mod random;
pub mod talos;
pub mod traces;
pub mod usage;
pub mod wire;

pub use alike::alike;
pub use checkout::checkout;
pub use cri::{Cri, Pod, PodContainer, container_config, runtime_v1};
pub use crio::{Crio, CrioContainer};
pub use ctr::Ctr;
pub use daemonset::DaemonSet;
pub use docker::Docker;
pub use events::{Event, EventLog};
pub use figures::Figures;
pub use fuse::{Access, Asked, Fuse};
pub use handler::Handler;
pub use host::{Host, HostBuilder, Layout};
pub use image::{NAME as IMAGE, write_archive as write_image};
pub use impostor::{Guise, Troupe};
pub use interrupt::Interrupt;
pub use kubelet::Kubelet;
pub use neighbour::Neighbour;
pub use network::NodeLink;
pub use page::Page;
pub use parts::{Parts, cluster_parts, critest, monitors};
pub use patience::{AT_LAST, LATER, Late, SHORTLY, SOON, eventually, patience, promised};
pub use random::{Random, seed};
pub use release::release;
pub use root::Root;
pub use run::{Outcome, run};
pub use script::write_script;
pub use service::Service;
pub use shared::Shared;
pub use task::{TaskClient, code};
pub use today::{kernel, today};
pub use transcript::Transcript;
pub use version::Versions;
