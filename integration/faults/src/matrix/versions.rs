//! What is run against every version of containerd and gVisor: a healthy life, and the wedges and deaths that a
//! version could make different.

use super::{Cell, Deadlines, Fault, Part, Request, Subject};

/// A healthy life; a sandbox that is silent; a Create that never returns; a guard that dies; a containerd that dies,
/// comes back to what lives, and then has to end it though it is silent.
pub const TRIALS: [(Fault, Request); 5] = [
    (Fault::None, Request::None),
    (Fault::Stopped(Part::Sentry), Request::None),
    (Fault::CreateStuck, Request::Create),
    (Fault::Killed(Part::Guard), Request::None),
    (Fault::StoppedAfterRestart, Request::None),
];

/// All of it with both subjects.
pub fn cells() -> Vec<Cell> {
    let both = |(fault, request)| {
        // What is healthy may take its time on a busy machine.
        let deadlines = if fault == Fault::None { Deadlines::Defaults } else { Deadlines::Short };
        Subject::ALL.map(|subject| Cell { fault, request, subject, deadlines })
    };
    TRIALS.into_iter().flat_map(both).collect()
}
