//! How much is asked.

/// So many requests wait at once, as with a busy node.
pub(super) const CROWD: usize = 50;

/// How often everything is asked.
pub(super) struct Effort {
    /// Medians are taken of so many blocks, whose spread is the interval.
    pub(super) blocks: usize,
    /// Questions per block where one takes microseconds.
    pub(super) quick: usize,
    /// And where runsc is run for it.
    pub(super) slow: usize,
    /// Blocks of one exec each, which differ by milliseconds among themselves.
    pub(super) execs: usize,
}

impl Effort {
    pub(super) fn of(short: bool) -> Self {
        if short {
            Self { blocks: 20, quick: 200, slow: 0, execs: 20 }
        } else {
            Self { blocks: 40, quick: 500, slow: 5, execs: 400 }
        }
    }
}
