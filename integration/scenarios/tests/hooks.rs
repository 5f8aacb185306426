//! What the engine wants run when a container is deleted (OCI's poststop hooks; with nerdctl they take the container's
//! network down) runs once, however the container ends. The engine here is a runsc that puts the hook into config.json
//! before it creates, as an engine would have done.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Handler, Host, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    run, write_script,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

const ID: &str = "subject";

struct Engine {
    host: Host,
    before: Resources,
}

impl Engine {
    /// Whose hook lies in this folder of the host.
    fn new(guarded: bool, folder: &str) -> Result<Self> {
        let handler = if guarded { Handler::guarded("h") } else { Handler::unguarded("h") };
        let host = Host::with([handler.clone()])?;
        let hook = host.path().join(folder).join("hook");
        std::fs::create_dir_all(hook.with_file_name(""))?;
        let told = host.path().join("told");
        write_script(&hook, &format!("#!/bin/sh\necho \"$X $(cat)\" >> {}\n", told.display()))?;
        let hooks = serde_json::json!({
            "poststop": [{ "path": hook, "args": ["hook", "poststop"], "env": ["X=engine", "PATH=/usr/bin:/bin"] }]
        });
        let runsc = host.path().join("engine-runsc");
        let insert = format!("1s#^{{#{{\"hooks\":{hooks},#");
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *\" create \"*)\n  for word; do [ \"$last\" = --bundle ] && bundle=$word; last=$word; done\n  \
             sed -i '{insert}' \"$bundle/config.json\";;\nesac\nexec {} \"$@\"\n",
            host.parts().runsc.display()
        );
        write_script(&runsc, &script)?;
        host.add_handler(&handler.runsc(runsc))?;
        let before = Resources::of(&host);
        host.ctr().start(&host.handler("h")?, ID, &["sleep", "100000"])?;
        Ok(Self { host, before })
    }

    fn told(&self) -> PathBuf {
        self.host.path().join("told")
    }

    /// The hook has run exactly once, with what a runtime tells it.
    fn assert_once(&self) -> Result<()> {
        let told = eventually(SOON, "the hook has run", || std::fs::read_to_string(self.told()).ok())?;
        let lines: Vec<&str> = told.lines().collect();
        ensure!(lines.len() == 1, "the hook has run {} times:\n{told}", lines.len());
        let state: Value =
            serde_json::from_str(lines[0].strip_prefix("engine ").context("its environment")?)?;
        let bundle = self.host.bundle(self.host.tag(), ID);
        ensure!(state["id"] == ID && state["status"] == "stopped", "{state}");
        ensure!(state["bundle"].as_str().map(Path::new) == Some(&bundle), "{state}");
        ensure!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        eventually(SOON, "containerd lets go of it", || {
            self.host.ctr().force_delete_task(ID, SOON).ok()?;
            self.host.ctr().delete_container(ID).ok()
        })
    }

    /// Nothing is left, and the hook has run once.
    fn end(self) -> Result<()> {
        self.remove()?;
        assert_nothing_left(&self.host, &self.before, SOON)?;
        self.assert_once()
    }

    fn reap(&self) -> Result<()> {
        let mut command = Command::new(self.host.parts().guard.with_file_name("runsc-guard"));
        command.args(["--namespace", self.host.tag(), "reap", ID, "--yes", "--report-dir"]);
        let outcome = run(command.arg(self.host.path().join("reports")), b"", 2 * SOON)?;
        println!("{}{}", outcome.stdout, outcome.stderr);
        ensure!(outcome.success(), "{outcome:?}");
        Ok(())
    }
}

#[test]
fn once_at_a_healthy_delete_guarded_or_not() -> Result<()> {
    for guarded in [false, true] {
        Engine::new(guarded, "bin")?.end()?;
    }
    Ok(())
}

#[test]
fn once_after_a_forced_end() -> Result<()> {
    let engine = Engine::new(true, "bin")?;
    Sandbox::of(&engine.host, ID)?.stop_sentry()?;
    engine.end()
}

#[test]
fn once_after_the_guards_death() -> Result<()> {
    let engine = Engine::new(true, "bin")?;
    let sandbox = Sandbox::of(&engine.host, ID)?;
    sandbox.stop_sentry()?;
    sandbox.guard.context("no guard")?.signal(Signal::KILL)?;
    engine.end()
}

#[test]
fn once_after_a_reap_whoever_of_the_shims_lives() -> Result<()> {
    // Whose shim lives, and whose is as stopped as its sandbox.
    for with_shim in [false, true] {
        let engine = Engine::new(false, "bin")?;
        let sandbox = Sandbox::of(&engine.host, ID)?;
        if with_shim {
            sandbox.stop_all_but_guard()?
        } else {
            sandbox.stop_sentry()?
        }
        engine.reap()?;
        engine.end()?;
    }
    let engine = Engine::new(true, "bin")?;
    let sandbox = Sandbox::of(&engine.host, ID)?;
    sandbox.stop_all_but_guard()?;
    harness::faults::stop(&sandbox.guard.context("no guard")?)?;
    engine.reap()?;
    engine.end()
}

/// A program that others than root could have written is the one thing that is not run, and it is named.
#[test]
fn never_what_a_stranger_could_have_written() -> Result<()> {
    let engine = Engine::new(true, "open")?;
    std::fs::set_permissions(engine.host.path().join("open"), std::fs::Permissions::from_mode(0o777))?;
    Sandbox::of(&engine.host, ID)?.stop_sentry()?;
    engine.remove()?;
    assert_nothing_left(&engine.host, &engine.before, SOON)?;
    ensure!(!engine.told().exists(), "it was run");
    let mut reports = std::fs::read_dir(engine.host.path().join("reports"))?;
    let report = reports.next().context("no report")??.path();
    eventually(SOON, "the report names it", || {
        let text = std::fs::read_to_string(&report).ok()?;
        let named = text.contains("poststop hook of subject not run") && text.contains("others than root");
        named.then_some(())
    })
}
