//! What must be true on real containerd, runsc and shim. Each module is a subject, and says at its head what is at stake.
//!
//! One binary, so that all of it is linked once. `hack/lib/scenarios` runs it a module at a time, and of a module as many
//! tests at once as there are processors: some modules measure, and none expects another one's load beside its own.

mod blind;
mod check;
mod crio;
mod crowd;
mod distributions;
mod docker;
mod doctor;
mod drill;
mod elsewhere;
mod environments;
mod events;
mod forgotten;
mod guard_killed;
mod harmless;
mod hooks;
mod hostile;
mod identity;
mod install;
mod joining;
mod kills;
mod kubelet;
mod load;
mod matrix;
mod metrics;
mod nerdctl;
mod operator;
mod package;
mod prewarmer;
mod reap;
mod reports;
mod restart;
mod seldom;
mod shim_killed;
mod shutdown;
mod siblings;
mod sigkill;
mod starved;
mod stats;
mod talos;
mod termination;
mod told;
mod transparent;
mod unhindered;
mod unkillable;
mod versions;
mod walk;
mod watchdog;
mod wedged;
