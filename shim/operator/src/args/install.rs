//! `install` and `uninstall`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::value::{absolute, socket};
use crate::containerd::distribution::Distribution;

pub(super) const INSTALL_EXAMPLES: &str = "\
Copies this program and the guard beside it to the node, unless a package or a system extension has
brought them and containerd takes them from there, and adds a runtime handler to containerd's
configuration: as a separate file if the configuration imports a folder and merges its files
(containerd 2), otherwise as a marked block at the end of the configuration file, whose other bytes
do not change. Before anything is written, `containerd config dump` must show that the handler is
the only difference. Running install again changes only what differs; it may be killed at any
moment and run again. Running pods are not touched and keep the guard that they were started with.

Exit status: 0 it is installed, or would be (--dry-run), also where containerd must still be
restarted; 1 it was refused or failed, and the message says why; 2 wrong usage.

Examples:
  runsc-guard install --dry-run         what would be done
  runsc-guard install --restart         install, and restart containerd if it does not know the handler yet
  runsc-guard install --restart --reap  the same, and end wedged sandboxes first
  runsc-guard --root /host install --restart    from a container in which the node's root is mounted at /host";

pub(super) const UNINSTALL_EXAMPLES: &str = "\
Removes what `install` has added, and nothing else: containerd's configuration becomes byte for
byte what it was. Refused while guarded pods or processes of the guard are there, because containerd
needs the guard's program to clean up after them. The programs are removed only when containerd no
longer knows the handler; what a package or a system extension has brought stays.

Exit status: 0 it is removed, or would be (--dry-run), or nothing needs it (--check); 1 it was refused
or failed, or the programs had to stay, and the message says why; 2 wrong usage.

Examples:
  runsc-guard uninstall --check         fails as long as a guarded pod needs the program
  runsc-guard uninstall --dry-run       what would be done, and which pods are in the way
  runsc-guard uninstall --restart";

/// The node.
#[derive(Debug, ClapArgs)]
pub(crate) struct Node {
    /// Folder for the programs; must be on containerd's PATH; by default where containerd finds this program's own
    /// guard already, else /usr/local/bin (Gardener: /var/bin/containerruntimes)
    #[arg(long, value_name = "FOLDER")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// containerd's configuration; by default what the running one was started with, else
    /// /etc/containerd/config.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// containerd's socket; by default the one at which a known distribution's containerd listens, else
    /// /run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET", value_parser = socket)]
    pub(crate) address: Option<PathBuf>,
    /// Whose containerd it is, where that is not to be recognised by what runs
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) distribution: Option<Distribution>,
    /// Restart containerd if a restart is needed, with this command or with that of the distribution
    /// (`systemctl restart containerd`, `systemctl restart k3s`, ...); without this option only say that it is needed
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, require_equals = true)]
    pub(crate) restart: Option<Option<String>>,
    /// End wedged sandboxes that have no guard before containerd is restarted, which they would hold up; without this
    /// option they are named and nothing is done
    #[arg(long)]
    pub(crate) reap: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) node: Node,
    /// The handler's name, which a RuntimeClass names
    #[arg(long, value_name = "NAME", default_value = "runsc-guard", value_parser = handler)]
    pub(crate) handler: String,
    /// The handler's ConfigPath, with gVisor's flags and the table `[guard]`; by default that of gVisor's own
    /// handler, else runsc.toml beside containerd's configuration. It is written only if there is none
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) runsc_config: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) node: Node,
    /// Uninstall even while guarded pods are there; containerd will not be able to clean up after them
    #[arg(long)]
    pub(crate) force: bool,
    /// Change nothing; fail, and say why, if a guarded pod of this node still needs the program
    #[arg(long, conflicts_with_all = ["force", "restart", "reap", "dry_run"])]
    pub(crate) check: bool,
}

/// As Kubernetes has it: a DNS label. It needs no quotes in TOML, either.
fn handler(text: &str) -> Result<String, String> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good { Ok(text.to_owned()) } else { Err("must be a DNS label: a-z, 0-9 and '-'".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn parse(line: &str) -> Option<Install> {
        match Args::try_parse_from(line.split(' ')).ok()?.command {
            Command::Install(install) => Some(install),
            _ => None,
        }
    }

    #[test]
    fn restarting_is_asked_for_and_has_a_usual_command() {
        let restart = |line: &str| parse(line).unwrap().node.restart;
        assert_eq!(restart("runsc-guard install"), None);
        assert_eq!(restart("runsc-guard install --restart"), Some(None), "the distribution's");
        assert_eq!(restart("runsc-guard install --restart=x"), Some(Some("x".to_owned())));
    }

    #[test]
    fn a_distribution_can_be_named() {
        let named =
            |name: &str| parse(&format!("runsc-guard install --distribution {name}"))?.node.distribution;
        assert_eq!(named("k3s"), Some(Distribution::K3s));
        assert_eq!(named("microk8s"), Some(Distribution::Microk8s));
        assert_eq!(named("nobodys"), None);
    }

    #[test]
    fn config_path_is_absolute() {
        let parse = |path: &str| parse(&format!("runsc-guard install --runsc-config {path}"));
        assert!(parse("/etc/a.toml").is_some() && parse("a.toml").is_none());
    }

    #[test]
    fn a_handler_is_a_dns_label() {
        for good in ["a", "runsc-guard", "gvisor2"] {
            assert!(parse(&format!("runsc-guard install --handler {good}")).is_some(), "{good}");
        }
        for wrong in ["A", "a.b", "-a", "a-", "a_b", "a\"]"] {
            assert!(parse(&format!("runsc-guard install --handler={wrong}")).is_none(), "{wrong}");
        }
    }
}
