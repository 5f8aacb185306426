//! hack/docs/docker.md, for Docker.

use super::{BY_HAND, Node, filled};
use anyhow::{Context as _, Result, anyhow};
use harness::{
    AT_LAST, Docker, IMAGE, Page, eventually,
    leaks::{Resources, assert_nothing_left},
};
use std::path::Path;

#[test]
fn docker_runs_and_ends_a_container_with_an_entry_in_its_configuration_and_without() -> Result<()> {
    let (node, page) = (Node::new()?, Page::read("hack/docs/docker.md")?);
    node.bring(&node.at("/usr/local/bin")?)?;
    let entry = page.block("Docker", "{\n  \"runtimes\"")?;
    let docker = Docker::with(&node.host, serde_json::from_str(&entry)?)?;
    node.host.root()?.link(docker.client(), Path::new("usr/local/bin"))?;
    let before = Resources::of(&node.host);
    for runtime in ["runsc-guard", "io.containerd.runsc-guard.v2"] {
        let command = page.command("Docker", &format!("docker run --runtime {runtime} "))?;
        runs_and_ends(&node, &docker, &filled(&command, "IMAGE", IMAGE)?).context(command)?;
        assert_nothing_left(&node.host, &before, AT_LAST)?;
    }
    Ok(())
}

/// In the foreground, as it is typed: it returns when its container has ended.
fn runs_and_ends(node: &Node, docker: &Docker, command: &str) -> Result<()> {
    std::thread::scope(|scope| {
        let address = docker.address();
        let runs =
            scope.spawn(move || node.types_with(Path::new("/"), command, &[("DOCKER_HOST", &address)]));
        let id = eventually(AT_LAST, "a container runs", || {
            let id = docker.call(&["ps", "--quiet", "--no-trunc"], AT_LAST).ok()?.stdout;
            (!id.is_empty()).then(|| id.trim().to_owned())
        })?;
        node.guarded(&id, BY_HAND)?.stop_sentry()?;
        docker.call(&["rm", "--force", &id], AT_LAST)?.ok()?;
        runs.join().map_err(|_| anyhow!("the terminal panicked"))??;
        Ok(())
    })
}
