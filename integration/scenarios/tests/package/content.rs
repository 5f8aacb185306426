//! What is in each of the envelopes.

use anyhow::{Context as _, Result, ensure};
use harness::{SOON, run};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, io::Read as _, path::Path, process::Command, time::Duration};

/// For what compresses or installs, on a machine that has other things to do.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// A packed file: how it may be used, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) mode: u32,
    pub(crate) digest: String,
}

pub(crate) type Content = BTreeMap<String, Packed>;

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Regular files of a tar archive by their path below `top`; all that is in it must be root's, and nobody else's to
/// write.
fn unpacked(tar: &[u8], top: &str) -> Result<Content> {
    let mut content = Content::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let header = entry.header();
        let (mode, kind) = (header.mode()?, header.entry_type());
        ensure!((header.uid()?, header.gid()?) == (0, 0), "{path} is not root's");
        ensure!(kind.is_dir() || kind.is_file(), "{path} is a {kind:?}");
        ensure!(
            if kind.is_dir() { mode == 0o755 } else { mode == 0o755 || mode == 0o644 },
            "{path}: {mode:o}"
        );
        if kind.is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let below = path.strip_prefix(top).with_context(|| format!("{path} is not below {top}"))?;
            content.insert(below.to_owned(), Packed { mode, digest: digest(&bytes) });
        }
    }
    Ok(content)
}

pub(crate) fn of_deb(deb: &Path) -> Result<Content> {
    let tar = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).output()?;
    ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    unpacked(&tar.stdout, "./usr/")
}

pub(crate) fn of_tarball(tarball: &Path) -> Result<Content> {
    let tar = Command::new("gzip").arg("-dc").arg(tarball).output()?;
    ensure!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    unpacked(&tar.stdout, concat!("runsc-guard-", env!("CARGO_PKG_VERSION"), "/"))
}

/// As rpm itself tells: path, size, time, digest, mode, owner, group, and what does not matter here.
pub(crate) fn of_rpm(rpm: &Path) -> Result<Content> {
    run(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(rpm), b"", LONG)?.ok()?;
    let told = run(Command::new("rpm").args(["-qp", "--dump"]).arg(rpm), b"", SOON)?.ok()?;
    let mut content = Content::new();
    for line in told.lines() {
        let [path, _, _, digest, mode, owner, group, config, ..] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            anyhow::bail!("not a file: {line}");
        };
        ensure!((owner, group, config) == ("root", "root", "0"), "{line}");
        let mode = u32::from_str_radix(mode, 8)?;
        if mode & 0o170_000 == 0o100_000 {
            let below = path.strip_prefix("/usr/").with_context(|| path.to_owned())?;
            content.insert(below.to_owned(), Packed { mode: mode & 0o7777, digest: digest.to_owned() });
        }
    }
    Ok(content)
}
