//! Signals on their way to a process.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::io::CallId;
use crate::time::Time;

/// SIGKILL.
pub(crate) const SIGKILL: u32 = 9;

/// One signal. If no request waits for it any more it is pending: its caller has been told so, or has left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) number: u32,
    /// To every process of the container.
    pub(crate) all: bool,
    pub(crate) call: CallId,
}

/// Those of one process.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    sent: Vec<Signal>,
    /// Answered with errors: sent again then.
    to_resend: Vec<(Signal, Time)>,
    /// Since when a signal other than SIGKILL has been answered with nothing but errors.
    failing: BTreeMap<u32, Time>,
}

impl Signals {
    /// A signal is sent. The same one that failed before needs no other try.
    pub(crate) fn is_sent(&mut self, signal: Signal) {
        self.to_resend.retain(|(failed, _)| failed.number != signal.number || failed.all != signal.all);
        self.sent.push(signal);
    }

    /// The call of the same signal on its way already, if `pending` holds: one SIGKILL is as good as two, and a signal
    /// that is pending is not made so twice.
    pub(crate) fn to_share(
        &self,
        number: u32,
        all: bool,
        pending: impl Fn(CallId) -> bool,
    ) -> Option<CallId> {
        let same = |signal: &&Signal| {
            signal.number == number && signal.all == all && (number == SIGKILL || pending(signal.call))
        };
        self.sent.iter().find(same).map(|signal| signal.call)
    }

    /// A signal's call has come back.
    pub(crate) fn returned(&mut self, call: CallId) -> Option<Signal> {
        let at = self.sent.iter().position(|signal| signal.call == call)?;
        Some(self.sent.swap_remove(at))
    }

    /// Since when this signal has failed: since `sent` if it is the first time.
    pub(crate) fn fails(&mut self, number: u32, sent: Time) -> Time {
        *self.failing.entry(number).or_insert(sent)
    }

    pub(crate) fn succeeds(&mut self, number: u32) {
        self.failing.remove(&number);
    }

    /// A signal that failed is sent again at that time.
    pub(crate) fn resend_at(&mut self, signal: Signal, at: Time) {
        self.to_resend.push((signal, at));
    }

    pub(crate) fn resend_due(&self) -> Option<Time> {
        self.to_resend.iter().map(|(_, at)| *at).min()
    }

    pub(crate) fn take_due(&mut self, now: Time) -> Vec<Signal> {
        self.to_resend.extract_if(.., |(_, at)| *at <= now).map(|(signal, _)| signal).collect()
    }

    /// Forgets the signals for which `moot` holds, and those that failed; their calls.
    pub(crate) fn drop_where(&mut self, moot: impl Fn(&Signal) -> bool) -> Vec<CallId> {
        self.to_resend.retain(|(signal, _)| !moot(signal));
        self.sent.extract_if(.., |signal| moot(signal)).map(|signal| signal.call).collect()
    }
}
