//! Processes that say they are a sandbox's, each in the place of somebody who could be on a node, and none of root's.

use crate::{SOON, eventually, process::Process};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Of what one says so much is told.
const SAID: usize = 200;
/// What is given up by who is not root although it is user 0.
const POWERLESS: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/// Nobody, who gets nothing back either.
const NOBODY: [&str; 7] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
];
/// Namespaces of pids and of mounts, as a container has them.
const APART: [&str; 7] =
    ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--propagation=unchanged"];

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    /// User 0 without capabilities, with the node's pids and files.
    Powerless,
    /// User 65534 with `no_new_privs`, with the node's pids and files.
    Nobody,
    /// The first process of a container: user 0 without capabilities, pids and mounts of its own.
    Contained,
    /// The same with all of root's capabilities, as a node within the node has them.
    Nested,
    /// User 65534 in a user namespace of its own, in which it is root.
    Rootless,
}

impl Guise {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Powerless, Self::Nobody, Self::Contained, Self::Nested, Self::Rootless];

    fn prefix(self) -> Vec<&'static str> {
        match self {
            Self::Powerless => POWERLESS.to_vec(),
            Self::Nobody => NOBODY.to_vec(),
            Self::Contained => [&APART[..], &POWERLESS[..]].concat(),
            Self::Nested => APART.to_vec(),
            Self::Rootless => [&NOBODY[..], &APART[..6], &["--user", "--map-root-user"][..]].concat(),
        }
    }
}

/// What a node's impostors share: a program that notes who runs it.
#[derive(Debug)]
pub struct Troupe {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    members: Vec<Impostor>,
}

/// One of them.
#[derive(Debug)]
pub struct Impostor {
    child: Child,
    /// The process that says what it is not.
    pub process: Process,
    what: String,
}

impl fmt::Display for Impostor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.process)
    }
}

impl Troupe {
    /// None yet; `program` is that of `src/bin/impostor.rs`, copied into `folder`.
    pub fn new(folder: &Path, program: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // Whoever runs it may leave a note.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        let copy = folder.join("impostor");
        fs::copy(program, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
        for above in folder.ancestors().skip(1).take_while(|above| above.parent().is_some()) {
            let mode = fs::metadata(above)?.permissions().mode();
            fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o011))?;
        }
        Ok(Self { folder: folder.to_owned(), environment: Vec::new(), members: Vec::new() })
    }

    /// What everybody who enters from now on has in its environment; `IMPOSTOR_COMM` is the name that the kernel has
    /// for it.
    pub fn wear(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts one with this command line, and stops it where that would make a sandbox a stuck one.
    pub fn enter(&mut self, guise: Guise, line: &[&str], stopped: bool) -> Result<()> {
        let prefix = guise.prefix();
        let child = Command::new(prefix[0])
            .args(&prefix[1..])
            .arg(self.folder.join("impostor"))
            .args(&line[1..])
            .envs(self.environment.iter().cloned())
            .env("IMPOSTOR_AS", line[0])
            .stdin(Stdio::null())
            .spawn()
            .context(prefix[0])?;
        let what: String = format!("{guise:?} {}", line.join(" ")).chars().take(SAID).collect();
        let mut impostor = Impostor { process: Process::me()?, child, what };
        let pid = impostor.child.id().cast_signed();
        let pretends = || {
            let below = Process::with_descendants(|process| process.pid == pid);
            below.into_iter().find(|one| one.args.first().is_some_and(|name| name == line[0]))
        };
        let found = eventually(SOON, "it pretends", pretends).with_context(|| impostor.what.clone())?;
        impostor.process = found;
        if stopped {
            impostor.process.signal(Signal::STOP)?;
        }
        self.members.push(impostor);
        Ok(())
    }

    /// All of them.
    pub fn members(&self) -> &[Impostor] {
        &self.members
    }

    /// Nobody has run their program, and nobody has ended them.
    pub fn assert_let_alone(&self) -> Result<()> {
        let note = fs::read_to_string(self.folder.join("executed")).unwrap_or_default();
        ensure!(note.is_empty(), "a stranger's program was run: {note}");
        for one in &self.members {
            one.process.assert_spared().with_context(|| one.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // Our own unreaped child; what it has forked dies with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
