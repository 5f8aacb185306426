//! A containerd that sees files in /etc which the machine does not have: gVisor's shim reads some of its settings only
//! from there (`grouping`).

use std::{path::Path, process::Command};

/// `program` in a mount namespace of its own, in which the files of `folder` lie over those of /etc. It keeps the pid
/// of what is spawned.
pub(crate) fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    let over = r#"mount -t overlay overlay -o "lowerdir=$0:/etc" /etc && exec "$@""#;
    command.args(["--mount", "sh", "-c", over]).arg(folder).arg(program);
    command
}
