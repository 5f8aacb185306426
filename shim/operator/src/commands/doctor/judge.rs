//! From facts to findings. Pure: every line of `doctor` is decided here and below, and nowhere else.

use super::facts::{Facts, Handler, Kernel};
use super::finding::{Finding, Level};

mod containerd;
mod handler;
mod log;
mod node;
mod runsc;
mod settings;
mod timeouts;

/// All that is to be said, in the order of reading: the node, containerd, handlers, gVisor, sandboxes.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = node::kernel(facts);
    findings.extend(containerd::containerd(facts));
    findings.extend(settings::settings(facts));
    for one in &facts.handlers {
        findings.extend(handler::handler(one, &facts.kernel));
    }
    findings.extend(timeouts::timeouts(facts));
    findings.extend(log::log(facts));
    findings.extend(runsc::runsc(facts));
    findings.extend(node::sandboxes(facts));
    findings
}

/// What would keep a handler from working on this node, with its remedy.
pub(crate) fn unfit(handler: &Handler, kernel: &Kernel) -> Vec<Finding> {
    let findings = node::capable(kernel).into_iter().chain(handler::handler(handler, kernel));
    findings.filter(|one| one.level == Level::Fail).collect()
}

#[cfg(test)]
mod tests;
