//! Who is told.

use std::path::PathBuf;

use runsc_guard_core::view::View;

use super::fact::Fact;
use super::recent::Recent;

/// What an observer may look at beside the fact itself.
pub(super) struct Scene<'a> {
    /// What the state machine knows now; asked for only where it is needed.
    pub(super) view: &'a dyn Fn() -> View,
    /// What has happened lately.
    pub(super) recent: &'a Recent,
    /// The report of the escalation that this belongs to, whether or not it is written.
    pub(super) report: Option<&'a PathBuf>,
    /// That escalation is under way.
    pub(super) escalates: bool,
}

/// Who makes something of what happens.
pub(super) trait Observer {
    /// Something has happened.
    fn observe(&mut self, fact: &Fact<'_>, scene: &Scene<'_>);
}
