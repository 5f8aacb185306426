//! Where a case plays.

use crate::{screen::Screen, side::Side};
use harness::{Host, Interrupt};

/// One side, with what everybody there needs.
pub(crate) struct Stage<'a> {
    pub(crate) side: Side,
    pub(crate) host: &'a Host,
    pub(crate) handler: &'static str,
    pub(crate) screen: &'a Screen,
    pub(crate) interrupt: &'a Interrupt,
}
