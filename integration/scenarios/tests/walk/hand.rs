//! By hand: the README, and hack/docs/kubernetes.md for a node without Kubernetes.

use super::{BY_HAND, Node, filled, only_reports};
use anyhow::{Result, anyhow, bail, ensure};
use harness::{
    AT_LAST, IMAGE, Page, Service, eventually,
    leaks::{Resources, assert_nothing_left},
    patience,
};
use std::{fs, path::Path};

#[test]
fn the_readme_installs_it_by_hand_for_pods_and_for_one_container() -> Result<()> {
    let (node, page) = (Node::new()?, Page::read("README.md")?);
    let host = &node.host;
    node.bring(&node.at("/usr/local/bin")?)?;
    node.adds("/etc/containerd/config.toml", &page.block("Install", "version = 3\n")?)?;
    host.restart_containerd()?;
    let class = page.block("Install", "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\n")?;
    let handler = class.lines().find_map(|line| line.strip_prefix("handler: "));
    node.a_pod_ends(handler.ok_or_else(|| anyhow!("no handler: {class}"))?, BY_HAND, || Ok(()))?;

    let before = Resources::of(host);
    let command = page.command("Install", "ctr run ")?;
    let id = format!("{}-one", host.tag());
    let command = filled(&command, "IMAGE ID", &format!("{IMAGE} {id}"))?;
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| node.types(Path::new("/"), &command));
        eventually(AT_LAST, "it runs", || {
            let tasks = host.ctr().tasks(AT_LAST).ok()?;
            tasks.iter().any(|task| task.id == id && task.status == "RUNNING").then_some(())
        })?;
        node.guarded(&id, BY_HAND)?.stop_sentry()?;
        host.ctr().kill(&id, "SIGKILL", patience(AT_LAST))?.ok()?;
        let outcome = runs.join().map_err(|_| anyhow!("the terminal panicked"))??;
        ensure!(outcome.code() == Some(137), "{outcome:?}");
        Ok(())
    })?;
    host.ctr().delete_container(&id)?;
    assert_nothing_left(host, &before, AT_LAST)
}

#[test]
fn the_command_puts_it_onto_a_node_without_kubernetes_and_takes_it_off() -> Result<()> {
    const HEADING: &str = "By hand, without Kubernetes";
    let (node, page) = (Node::new()?, Page::read("hack/docs/kubernetes.md")?);
    let (folder, config) = (node.host.path().join("archive"), node.host.config_file());
    node.bring(&folder)?;
    let owners = fs::read_to_string(&config)?;
    let root = node.host.root()?;
    let before = root.brought();
    Service::of(&node.host, |service| {
        let commands = page.commands(HEADING, "./runsc-guard install")?;
        let [dry, install] = &commands[..] else { bail!("other commands: {commands:?}") };
        let said = node.types(&folder, dry)?.ok()?;
        ensure!(said.contains("would be written") && said.contains("restarted"), "{said}");
        ensure!(fs::read_to_string(&config)? == owners && service.restarts() == 0, "a dry run did something");
        node.types(&folder, install)?.ok()?;
        ensure!(service.restarts() == 1, "{} restarts", service.restarts());
        node.a_pod_ends("runsc-guard", BY_HAND, || Ok(()))?;

        node.types(Path::new("/"), &page.command(HEADING, "runsc-guard uninstall")?)?.ok()?;
        ensure!(fs::read_to_string(&config)? == owners && service.restarts() == 2, "not as it was");
        Ok(())
    })?;
    only_reports(&root.brought().difference(&before).cloned().collect())
}
