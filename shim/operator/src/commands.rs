//! What each command does. They share what is beside this: the survey, containerd, arguments.

use crate::paint;
use crate::survey::Seen;

pub(crate) mod check;
pub(crate) mod complete;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod generate;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod metrics;
pub(crate) mod reap;
pub(crate) mod reports;
pub(crate) mod show;
pub(crate) mod tell;

/// The exit status when something went wrong, or not everything is gone.
pub(crate) const FAILED: u8 = 1;

/// What a look could not see, for whoever reads what it saw.
pub(crate) fn caution(seen: &Seen) -> Option<String> {
    seen.unseen().map(|unseen| paint::caution(&unseen.to_string()))
}
