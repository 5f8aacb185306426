//! What nerdctl asks of a shim, asked by containerd's own client: output that goes to a program or a file by URI (`run -d`),
//! a terminal (`run -it`), a restart policy, for which containerd makes the same id again at once. What gVisor's shim cannot
//! do it cannot do under the guard either, and as soon; where nerdctl would wait forever, it does not.

use anyhow::{Context as _, Result, ensure};
use harness::{
    AT_LAST, Handler, Host, SOON, Shared, Transcript, alike, eventually, faults::Sandbox, leaks::assert_gone,
    patience, run,
};
use rustix::process::Signal;
use std::{process::Command, sync::Arc, time::Duration};

/// `kill_deadline`, with what comes after it.
const ENDS: Duration = Duration::from_secs(2 + 2);
/// How often containerd looks whether something is to be started again; by default 10 s.
const MONITOR: &str = "\n[plugins.\"io.containerd.monitor.container.v1.restart\"]\n  interval = \"1s\"\n";

static HOST: Shared = Shared::new();

fn host() -> Result<Arc<Host>> {
    let unguarded = Handler::unguarded("unguarded");
    HOST.get(|| {
        Host::builder().handler(Handler::quick("guarded", "2s")).handler(unguarded).config(MONITOR).start()
    })
}

/// Under both handlers, with the same answers.
fn same(name: &str, scenario: impl Fn(&Host, &Handler, &str, &mut Transcript) -> Result<()>) -> Result<()> {
    alike(&*host()?, name, scenario)
}

/// `nerdctl run -d`.
#[test]
fn output_by_uri_is_refused_alike_and_leaves_nothing() -> Result<()> {
    same("uri", |host, handler, id, notes| {
        let file = host.path().join(format!("{id}.log"));
        let uris = ["binary:///bin/true?_NERDCTL=logging".to_owned(), format!("file://{}", file.display())];
        for uri in uris {
            let flags = ["--detach", "--log-uri", &uri];
            let args = host.ctr().run_args(handler, &flags, id, &["echo", "hello"]);
            let outcome = run(&mut host.ctr().command(&args), b"", patience(AT_LAST))?;
            notes.outcome("run --detach --log-uri", &outcome);
            ensure!(!outcome.timed_out() && !outcome.success(), "{outcome:?}");
            // What ctr has not taken away itself.
            host.ctr().call(&["container", "delete", id], SOON)?;
            assert_gone(host, id, SOON)?;
        }
        // The id is free, and without a log it runs.
        host.ctr().start(handler, id, &["sleep", "1000"])?;
        host.ctr().remove(id)
    })
}

/// `nerdctl run -it`, which needs no annotation.
#[test]
fn a_terminal_of_its_own_answers_alike() -> Result<()> {
    same("console", |host, handler, id, notes| {
        let words = ["sh", "-c", "until stty size | grep \"33 77\"; do sleep 0.1; done; exit 4"];
        let run_it = format!(
            "{:?}",
            host.ctr().command(&host.ctr().bare_run_args(handler, &["--rm", "--tty"], id, &words))
        );
        let line = format!("stty rows 33 cols 77; exec {run_it} 2>/dev/null");
        let mut script = Command::new("script");
        let outcome =
            run(script.args(["--quiet", "--return", "--command", &line, "/dev/null"]), b"", AT_LAST)?;
        // Not all that it shows: what `script` types at the end of its own input may be echoed or not.
        ensure!(outcome.stdout.contains("33 77"), "the size did not arrive: {outcome:?}");
        notes.note("run --rm --tty", format!("{:?}", outcome.code()));
        assert_gone(host, id, SOON)
    })
}

/// `nerdctl run --restart`.
struct Policy<'a> {
    host: &'a Host,
    id: &'a str,
}

impl<'a> Policy<'a> {
    fn label(&self, labels: &[&str]) -> Result<()> {
        let mut args = vec!["container", "label", self.id];
        args.extend(labels);
        self.host.ctr().call(&args, SOON)?.ok().map(drop)
    }

    fn start(host: &'a Host, handler: &Handler, id: &'a str) -> Result<Self> {
        host.ctr().start(handler, id, &["sleep", "1000"])?;
        let policy = Self { host, id };
        policy.label(&["containerd.io/restart.status=running", "containerd.io/restart.policy=always"])?;
        Ok(policy)
    }

    /// Waits until another sentry than this runs under the same id.
    fn again(&self, before: &Sandbox, limit: Duration) -> Result<Sandbox> {
        eventually(limit, "the same id runs again", || {
            let tasks = self.host.ctr().tasks(SOON).ok()?;
            tasks.iter().find(|task| task.id == self.id && task.status == "RUNNING")?;
            Sandbox::of(self.host, self.id).ok().filter(|now| now.sentry.pid != before.sentry.pid)
        })
    }

    /// As `nerdctl stop` and `rm` would have it.
    fn end(self) -> Result<()> {
        self.label(&["containerd.io/restart.status=stopped"])?;
        eventually(AT_LAST, "containerd lets go of it", || {
            self.host.ctr().force_delete_task(self.id, SOON).ok()?;
            self.host.ctr().delete_container(self.id).ok()
        })?;
        assert_gone(self.host, self.id, SOON)
    }
}

#[test]
fn a_restart_policy_makes_the_same_id_again_alike() -> Result<()> {
    same("again", |host, handler, id, notes| {
        let policy = Policy::start(host, handler, id)?;
        for turn in 1..=2 {
            let before = Sandbox::of(host, id)?;
            notes.outcome("kill", &host.ctr().kill(id, "SIGKILL", SOON)?);
            policy.again(&before, AT_LAST)?;
            notes.note("runs again", turn);
        }
        policy.end()
    })
}

/// The sandbox that has hung goes, and the next one of its id comes, without anybody's help.
#[test]
fn a_restart_policy_outlives_a_hang() -> Result<()> {
    let host = host()?;
    let id = "hangs";
    let policy = Policy::start(&host, &host.handler("guarded")?, id)?;
    let before = Sandbox::of(&host, id)?;
    before.stop_sentry()?;
    // What becomes of the call is containerd's affair: it asks for the state first.
    host.ctr().kill(id, "SIGKILL", SOON)?;
    let after = policy.again(&before, ENDS + AT_LAST)?;
    ensure!(!before.sentry.is_alive(), "two sandboxes of one id");
    after.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    policy.again(&after, AT_LAST).context("after its guard's death")?;
    policy.end()
}

/// A policy with `nerdctl run -d`'s log: Create fails again and again, and nothing piles up.
#[test]
fn a_policy_whose_log_is_a_program_fails_again_and_again_and_leaves_nothing() -> Result<()> {
    let host = host()?;
    let id = "fails";
    host.ctr().start(&host.handler("guarded")?, id, &["sleep", "1000"])?;
    let policy = Policy { host: &host, id };
    policy.label(&[
        "containerd.io/restart.loguri=binary:///bin/true?_NERDCTL=logging",
        "containerd.io/restart.status=running",
        "containerd.io/restart.policy=always",
    ])?;
    host.ctr().kill(id, "SIGKILL", SOON)?;
    eventually(AT_LAST, "it was tried twice", || {
        let told = host.ctr().call(&["container", "info", id], SOON).ok()?.stdout;
        let told: serde_json::Value = serde_json::from_str(&told).ok()?;
        let count: u32 = told["Labels"]["containerd.io/restart.count"].as_str()?.parse().ok()?;
        (count >= 2).then_some(())
    })?;
    policy.label(&["containerd.io/restart.status=stopped"])?;
    // One attempt may be on its way.
    assert_gone(&host, id, AT_LAST)?;
    host.ctr().delete_container(id)
}
