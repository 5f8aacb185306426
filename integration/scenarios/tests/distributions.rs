//! k3s, RKE2, k0s, MicroK8s, Gardener and kOps: a real containerd laid out and started as each of them does it. `install`,
//! `doctor`, a pod, `uninstall`, twice; what the distribution writes anew at each start is never edited, and what was there
//! comes back to the byte.

use anyhow::{Context as _, Result, ensure};
use harness::{Host, LATER, Layout, Outcome, Parts, Root, Service, Versions, run};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const GUARD: &str = "containerd-shim-runsc-guard-v2";
const NAME: &str = "runsc-guard";

struct Node {
    host: Host,
    layout: Layout,
    program: PathBuf,
}

impl Node {
    fn new(layout: Layout, containerd: &str) -> Result<Self> {
        let parts = Parts::of(Versions { containerd: containerd.to_owned(), gvisor: "2026-09".to_owned() })?;
        let host = Host::builder().parts(parts).root(Root::new()?).layout(layout).start()?;
        let folder = host.path().join("image");
        fs::create_dir(&folder)?;
        for program in [GUARD, NAME] {
            let from = host.parts().guard.with_file_name(program);
            fs::copy(&from, folder.join(program)).with_context(|| from.display().to_string())?;
        }
        Ok(Self { host, layout, program: folder.join(NAME) })
    }

    fn run(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = self.host.command(&self.program)?;
        let outcome = run(command.args(args), b"", 4 * LATER)?;
        println!(
            "{} {}: {:?} after {:?}\n{}{}",
            self.layout.name,
            args.join(" "),
            outcome.code(),
            outcome.took,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome)
    }

    /// Nothing fails, and it knows whose containerd it is.
    fn doctor(&self, words: &[&str]) -> Result<()> {
        let said = self.run(&["--namespace", self.host.tag(), "doctor"])?;
        ensure!(said.code() == Some(0), "{}: {}", self.layout.name, said.stdout);
        for word in words {
            ensure!(said.stdout.contains(word), "doctor does not say {word:?}: {}", said.stdout);
        }
        Ok(())
    }

    /// All that an installer could touch of containerd's configuration.
    fn files(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
            files.insert(folder.to_owned(), Vec::new());
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    collect(&path, files)?
                } else {
                    drop(files.insert(path.clone(), fs::read(&path)?))
                }
            }
            Ok(())
        }
        let mut files = BTreeMap::new();
        collect(&self.host.config_file().with_file_name(""), &mut files)?;
        Ok(files)
    }

    fn rendered(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.host.config_file())?)
    }

    /// Installs, looks, runs a pod, uninstalls; twice.
    fn walk(&self, doctor: &[&str], into: &str) -> Result<()> {
        Service::of(&self.host, |service| {
            let original = self.files()?;
            for turn in 1..=2 {
                let rendered = self.rendered()?;
                let said = self.run(&["install"])?.ok()?;
                ensure!(self.rendered()? == rendered, "what is written anew at each start was edited");
                ensure!(said.contains(into), "not into {into}: {said}");
                let restart = service.restart();
                let word = restart.rsplit('/').next().unwrap_or_default();
                ensure!(said.contains(word), "does not say {word:?}: {said}");
                self.run(&["install", "--restart"])?.ok()?;
                self.run(&["install", "--restart"])?.ok()?;
                ensure!(service.restarts() == 2 * turn - 1, "{} restarts", service.restarts());
                self.doctor(doctor)?;
                let cri = self.host.cri()?;
                let pod = cri.run_pod(NAME, "subject")?;
                let refused = self.run(&["uninstall", "--restart"])?;
                ensure!(refused.code() == Some(1) && refused.stderr.contains("tests/subject"), "{refused:?}");
                cri.end_pod(&pod)?;
                self.run(&["uninstall", "--restart"])?.ok()?;
                ensure!(service.restarts() == 2 * turn, "{} restarts", service.restarts());
                ensure!(self.files()? == original, "{:#?} is left", self.files()?.keys());
            }
            Ok(())
        })
    }
}

/// k3s with containerd 2 imports a folder that need not be there; RKE2 with containerd 1 has a template.
#[test]
fn k3s_and_rke2() -> Result<()> {
    Node::new(Layout::K3S, "2.4.2")?.walk(&["of k3s answers"], "config-v3.toml.d/runsc-guard.toml")?;
    Node::new(Layout::RKE2, "1.7.35")?.walk(&["of RKE2 answers"], "config.toml.tmpl")
}

#[test]
fn k0s() -> Result<()> {
    Node::new(Layout::K0S, "1.7.35")?.walk(&["of k0s answers"], "/etc/k0s/containerd.d/runsc-guard.toml")
}

#[test]
fn microk8s() -> Result<()> {
    Node::new(Layout::MICROK8S, "1.7.35")?.walk(&["of MicroK8s answers"], "args/containerd-template.toml")
}

#[test]
fn gardener() -> Result<()> {
    Node::new(Layout::GARDENER, "2.4.2")?.walk(
        &["of Gardener answers", "/var/bin/containerruntimes/"],
        "/etc/containerd/conf.d/runsc-guard.toml",
    )
}

/// nodeup writes the configuration at each boot from the cluster's specification: the handler belongs there.
#[test]
fn kops() -> Result<()> {
    let node = Node::new(Layout::KOPS, "2.4.2")?;
    let original = node.files()?;
    let refused = node.run(&["install"])?;
    for word in
        ["spec.containerd.configAdditions", "io.containerd.cri.v1.runtime", "io.containerd.runsc-guard.v2"]
    {
        ensure!(
            refused.code() == Some(1) && refused.stderr.contains(word),
            "does not say {word:?}: {refused:?}"
        );
    }
    ensure!(node.files()? == original, "something has changed");
    let additions = node.host.root()?.path().join(Layout::ADDITIONS.trim_start_matches('/'));
    let table = "plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runsc-guard";
    let handler = format!(
        "[{table}]\nruntime_type = \"io.containerd.runsc-guard.v2\"\n[{table}.options]\n\
         TypeUrl = \"io.containerd.runsc.v1.options\"\nConfigPath = \"/etc/containerd/runsc.toml\"\n"
    );
    Service::of(&node.host, |service| {
        for turn in 1..=2 {
            fs::write(&additions, &handler)?;
            node.host.restart_containerd()?;
            let said = node.run(&["install", "--restart"])?.ok()?;
            ensure!(
                said.contains("its owner's: left as it is") && said.contains("knows runsc-guard"),
                "{said}"
            );
            node.doctor(&["of kOps answers"])?;
            let cri = node.host.cri()?;
            let pod = cri.run_pod(NAME, &format!("subject-{turn}"))?;
            cri.end_pod(&pod)?;
            let stays = node.run(&["uninstall", "--restart"])?;
            ensure!(stays.code() == Some(1) && stays.stderr.contains("by somebody else"), "{stays:?}");
            fs::remove_file(&additions)?;
            node.host.restart_containerd()?;
            node.run(&["uninstall", "--restart"])?.ok()?;
            ensure!(service.restarts() == 0 && node.files()? == original, "{:#?}", node.files()?.keys());
        }
        Ok(())
    })
}
