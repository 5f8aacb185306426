//! Each way to install the guard, walked as a new user would, by the documentation alone: what is typed and what is
//! written into files is what the pages say, word for word, on a node that has containerd and gVisor and nothing of the
//! guard. Put in is only what a page leaves open in capitals.
//!
//! A node is this machine under an overlay, so that files are where the pages have them. What it shares with the machine
//! is the kernel: the guard's `doctor` is shown this node's containerd namespace only, and `ctr` works in that one.

mod docker;
mod hand;
pub(crate) mod packages;

use anyhow::{Context as _, Result, ensure};
use harness::{
    AT_LAST, Handler, Host, Outcome, Root, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    patience, run,
};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

const GUARD: &str = "containerd-shim-runsc-guard-v2";
/// The guard where who brings it himself puts it.
const BY_HAND: &str = "/usr/local/bin/containerd-shim-runsc-guard-v2";

/// What a user has before: containerd, and gVisor.
struct Node {
    host: Host,
}

impl Node {
    fn new() -> Result<Self> {
        let host = Host::builder().root(Root::new()?).start()?;
        let gvisor = Handler::unguarded("gvisor");
        host.add_handler(&gvisor)?;
        let node = Self { host };
        fs::copy(node.host.config_path(&gvisor), node.at("/etc/containerd/runsc.toml")?)?;
        Ok(node)
    }

    /// Where a path of the node is.
    fn at(&self, path: &str) -> Result<PathBuf> {
        Ok(self.host.root()?.path().join(path.trim_start_matches('/')))
    }

    /// Brings both programs, as `hack/build` makes them.
    fn bring(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for program in [GUARD, "runsc-guard"] {
            let from = self.host.parts().guard.with_file_name(program);
            fs::copy(&from, folder.join(program)).with_context(|| from.display().to_string())?;
        }
        Ok(())
    }

    /// Types a command in a folder.
    fn types(&self, folder: &Path, command: &str) -> Result<Outcome> {
        self.types_with(folder, command, &[])
    }

    fn types_with(&self, folder: &Path, command: &str, environment: &[(&str, &str)]) -> Result<Outcome> {
        let line = match command.strip_prefix("runsc-guard doctor") {
            Some(rest) => format!("runsc-guard --namespace {} doctor{rest}", self.host.tag()),
            None => command.to_owned(),
        };
        let mut shell = self.host.command("sh")?;
        shell.args(["-c", "cd \"$0\" && eval \"$1\""]).arg(folder).arg(line);
        shell.env("CONTAINERD_NAMESPACE", self.host.tag()).envs(environment.iter().copied());
        let outcome = run(&mut shell, b"", patience(AT_LAST))?;
        println!("# {command}\n{}{}", outcome.stdout, outcome.stderr);
        Ok(outcome)
    }

    /// Adds to a file what a page, or a program, says is to stand in it. A line on top that says the version is there
    /// already.
    fn adds(&self, path: &str, text: &str) -> Result<()> {
        let file = self.at(path)?;
        let there = fs::read_to_string(&file)?;
        let text =
            text.strip_prefix("version = 3\n").filter(|_| there.starts_with("version = 3\n")).unwrap_or(text);
        Ok(fs::OpenOptions::new().append(true).open(&file)?.write_all(text.as_bytes())?)
    }

    /// The same of what `doctor --fix` prints: for each file a comment with its name, then the text.
    fn adds_what_it_says(&self, printed: &str) -> Result<()> {
        for part in printed.split("\n\n") {
            let (told, text) = part.split_once('\n').context("one line only")?;
            let path = told.strip_prefix("# ").and_then(|told| told.split(':').next());
            self.adds(path.context("no file is named")?, text)?;
        }
        Ok(())
    }

    /// The sandbox of that id, guarded by the program at this path of the node.
    fn guarded(&self, id: &str, program: &str) -> Result<Sandbox> {
        let sandbox = Sandbox::of(&self.host, id)?;
        let exe = sandbox.guard.as_ref().with_context(|| format!("{id} is not guarded"))?.exe();
        ensure!(exe.as_deref() == Some(Path::new(program)), "{id} is guarded by {exe:?}");
        Ok(sandbox)
    }

    /// A pod of that handler works; `meanwhile` it does, something else is tried; and its sentry stopped, it ends all the
    /// same, with a report and nothing left.
    fn a_pod_ends(&self, handler: &str, program: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let (cri, before) = (self.host.cri()?, Resources::of(&self.host));
        let pod = cri.run_pod(handler, "pod")?;
        let container = cri.run_container(&pod, "main", &["sleep", "100000"])?;
        let answer = cri.exec(&container, &["echo", "well"], patience(AT_LAST))?;
        ensure!(answer.stdout == b"well\n", "{answer:?}");
        let sandbox = self.guarded(&pod.id, program)?;
        meanwhile()?;
        sandbox.stop_sentry()?;
        // As a kubelet does: until it works.
        eventually(AT_LAST, "the pod stops", || cri.stop_pod(&pod, AT_LAST).ok())?;
        cri.remove_pod(&pod, patience(AT_LAST))?;
        assert_nothing_left(&self.host, &before, AT_LAST)?;
        let reports = fs::read_dir(self.at("/var/log/runsc-guard")?)?.flatten();
        let told = reports.map(|entry| fs::read_to_string(entry.path())).collect::<Result<Vec<_>, _>>()?;
        ensure!(told.iter().any(|report| report.contains(&pod.id)), "no report of {}", pod.id);
        Ok(())
    }
}

/// A command of a page with what that leaves open.
fn filled(command: &str, open: &str, with: &str) -> Result<String> {
    ensure!(command.contains(open), "`{command}` has no {open}");
    Ok(command.replace(open, with))
}

/// Reports are logs: they outlive the guard, and nothing else does.
fn only_reports(left: &BTreeSet<String>) -> Result<()> {
    ensure!(left.iter().all(|path| path.starts_with("var/log/runsc-guard")), "left: {left:#?}");
    ensure!(!left.is_empty(), "the reports are gone");
    Ok(())
}
