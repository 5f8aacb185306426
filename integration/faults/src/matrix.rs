//! The fault matrix: every fault, in the middle of every request, against a stand-alone container and a pod of
//! three. [`table`] lists the cells, those that run and those that cannot exist; [`Bench`] is where one runs,
//! [`run`] runs it, [`lanes`] run many at a time.
//!
//! One rule puts a fault *in the middle* of a request, and at the same place every time: runsc is
//! called by a small script, the [`gate`], at which the command that the request needs is held. While it waits
//! there the fault is injected; then the gate opens, and the end is asked for, as a client of containerd would,
//! again and again. What each client sees, how long the end may take, and what must be true afterwards is the
//! same for every cell: [`promise`], [`checks`].

mod bench;
mod bite;
mod cell;
mod checks;
mod fault;
mod gate;
mod inject;
pub mod lanes;
mod promise;
mod request;
mod subject;
pub mod table;
pub mod versions;
mod victim;

pub use bench::Bench;
pub use cell::{Report, Weight, run};
pub use checks::Exits;
pub use fault::{Fault, Part};
pub use promise::Deadlines;
pub use request::Request;
pub use subject::Subject;
pub use table::{Cell, Entry};
