//! `tell`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::value::socket;

pub(super) const TELL_EXAMPLES: &str = "\
Runs in a pod, with the pod's own account: what is told needs the rights that the chart gives with each value (events:
create; nodes, nodes/status: get and patch). What was told is not told again after a restart.

Exit status: 0 SIGTERM came, or all was taken back (--leaving); 1 it is in no pod with an account, or
not all could be taken back; 2 wrong usage.

Examples:
  runsc-guard --root=/host tell --node=$(NODE) --events
  runsc-guard --root=/host tell --node=$(NODE) --condition --taint=runsc-guard/stuck:NoSchedule --ready";

#[derive(Debug, ClapArgs)]
pub(crate) struct Tell {
    /// The node's name in Kubernetes
    #[arg(long, value_name = "NAME", value_parser = node)]
    pub(crate) node: String,
    /// The handler that must be known to containerd for the node to be ready
    #[arg(long, value_name = "NAME", default_value = "runsc-guard")]
    pub(crate) handler: String,
    /// containerd's socket
    #[arg(long, value_name = "SOCKET", default_value = "/run/containerd/containerd.sock", value_parser = socket)]
    pub(crate) address: PathBuf,
    /// Create an Event on the pod and one on the node for each sandbox that was ended by force
    #[arg(long)]
    pub(crate) events: bool,
    /// Keep the node's condition GVisorSandboxStuck: true while a sandbox cannot be killed
    #[arg(long)]
    pub(crate) condition: bool,
    /// A taint that the node has for as long
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT")]
    pub(crate) taint: Option<Taint>,
    /// Label the node runsc-guard/ready=true as long as containerd knows the handler
    #[arg(long)]
    pub(crate) ready: bool,
    /// The key of a taint to remove when containerd knows the handler
    #[arg(long, value_name = "KEY")]
    pub(crate) startup_taint: Option<String>,
    /// The guard is being removed: take back the label, the condition and the taint, and end
    #[arg(long)]
    pub(crate) leaving: bool,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

impl std::str::FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (what, effect) = text.rsplit_once(':').ok_or("has no effect: KEY[=VALUE]:EFFECT")?;
        let (key, value) = what.split_once('=').unwrap_or((what, ""));
        if key.is_empty() || !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            return Err("must be KEY[=VALUE]:NoSchedule, :PreferNoSchedule or :NoExecute".to_owned());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
    }
}

/// A DNS subdomain: it becomes a part of a path.
fn node(text: &str) -> Result<String, String> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
    let good = (1..=253).contains(&text.len()) && text.bytes().all(plain);
    if good { Ok(text.to_owned()) } else { Err("must be the name of a node".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_is_read_as_kubectl_writes_it() {
        let taint = |key: &str, value: &str, effect: &str| {
            Ok(Taint { key: key.into(), value: value.into(), effect: effect.into() })
        };
        assert_eq!("a/b:NoSchedule".parse(), taint("a/b", "", "NoSchedule"));
        assert_eq!("a=b:NoExecute".parse(), taint("a", "b", "NoExecute"));
        for wrong in ["", "a", "a:", ":NoSchedule", "a:Never", "=b:NoSchedule"] {
            assert!(wrong.parse::<Taint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_nodes_name_is_no_path() {
        assert!(node("ip-10-0-0-1.eu").is_ok());
        for wrong in ["", "..%2f", "a/b", "A"] {
            assert!(node(wrong).is_err(), "{wrong}");
        }
    }
}
