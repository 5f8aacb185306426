//! One sandbox, looked at from outside: what belongs to it, ending it, releasing what it held, and proof
//! that nothing is left. Everything here blocks for a bounded time and may be repeated.

pub mod diagnostics;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod processes;
pub mod resources;
mod scope;
pub mod sys;
pub mod teardown;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use scope::{Member, PARAMS, Scope};
