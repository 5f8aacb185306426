//! One run of critest, on a containerd of its own.

use crate::specs::{self, Specs};
use anyhow::{Context as _, Result};
use harness::{Handler, Host, Interrupt, Parts};
use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
};

/// What runs on what.
pub(crate) struct Run<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) registry: SocketAddr,
    pub(crate) interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// The specs, or those in `focus`, with the handler of that name.
    pub(crate) fn all(&self, handler: &str, focus: Option<&str>) -> Result<Specs> {
        let hosts = tempfile::tempdir()?;
        let folder = hosts.path().join("_default");
        std::fs::create_dir(&folder)?;
        let text = format!("[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", self.registry);
        std::fs::write(folder.join("hosts.toml"), text)?;
        let plugin =
            if self.parts.versions.containerd.starts_with("1.") { "grpc.v1.cri" } else { "cri.v1.images" };
        let host = Host::builder()
            .parts(self.parts.clone())
            .handler(Handler::unguarded("unguarded"))
            .handler(Handler::guarded("guarded"))
            .config(&format!(
                "[plugins.\"io.containerd.{plugin}\".registry]\n  config_path = {:?}\n",
                hosts.path()
            ))
            .start()?;
        let host = Arc::new(host);
        self.interrupt.register(&host)?;
        let specs = critest(&host, handler, focus);
        let cleared = host.end();
        self.interrupt.forget(&host);
        let specs = specs?;
        cleared?;
        Ok(specs)
    }
}

fn critest(host: &Host, handler: &str, focus: Option<&str>) -> Result<Specs> {
    let socket = format!("unix://{}", host.socket().display());
    let (report, log) = (host.path().join("critest.json"), host.path().join("critest.log"));
    let mut command = Command::new(harness::critest()?);
    command
        .args(["-runtime-endpoint", &socket, "-image-endpoint", &socket, "-runtime-handler", handler])
        .args(["-ginkgo.seed=1", "-ginkgo.no-color", "-ginkgo.timeout=40m"])
        .arg(format!("-ginkgo.json-report={}", report.display()))
        .args(focus.map(|focus| format!("-ginkgo.focus={focus}")));
    let log = std::fs::File::create(log)?;
    // Its exit says that some spec has failed; which, the report says.
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status().context("critest")?;
    let text = std::fs::read_to_string(&report).with_context(|| {
        let said = std::fs::read_to_string(host.path().join("critest.log")).unwrap_or_default();
        format!("critest wrote no report; it said: {}", said.trim())
    })?;
    specs::read(&text)
}

/// A regular expression that has these names and no others.
pub(crate) fn exactly(names: &[String]) -> String {
    let quoted = names.iter().map(|name| {
        let letters = name.chars().map(|letter| {
            if letter.is_alphanumeric() || letter == ' ' { letter.to_string() } else { format!("\\{letter}") }
        });
        letters.collect::<String>()
    });
    format!("({})$", quoted.collect::<Vec<_>>().join("|"))
}
