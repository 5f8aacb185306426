//! What lies on a node's disk, and how a guard is reached: shared by the guard and the operator's command.

pub mod bundle;
pub mod client;
pub mod config;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod gc;
pub mod lock;
pub mod params;
pub mod paths;
pub mod program;
pub mod recovery;
pub mod report;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod view;
