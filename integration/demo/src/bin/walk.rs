//! A walk through a node in trouble, as an operator would take it: three healthy sandboxes, two wedged ones, one
//! that cannot be killed, one orphan; under the guard and under gVisor's own shim; with containerd answering,
//! hanging, gone and back. `hack/walk` builds what this needs and runs it; the transcript goes to stdout.
//!
//! What hangs must not hold up who looks, and what is healthy must not be touched: both are checked, and a walk on
//! which they do not hold is a failure.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use harness::{
    Fuse, Handler, Host, Interrupt, SOON, eventually,
    faults::{self, Sandbox},
    run,
};
use rustix::process::Signal;
use std::{
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

/// What `ls`, `show`, `doctor` and `metrics` promise, whatever hangs.
const PROMISE: Duration = Duration::from_secs(2);
const HEALTHY: [&str; 3] = ["healthy-1", "healthy-2", "healthy-3"];

/// Walks through a node in trouble with `runsc-guard`, on real parts.
#[derive(Parser)]
#[command(name = "walk", after_help = "The guard is the one that hack/build made, or RUNSC_GUARD_BIN.")]
struct Options {}

fn main() -> ExitCode {
    let Options {} = Options::parse();
    match walk() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("walk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn walk() -> Result<ExitCode> {
    let interrupt = Interrupt::on_signals(|| eprintln!("walk: interrupted, ending everything"))?;
    println!("# What an operator sees\n");
    println!("Made by `hack/walk`. Paths are shortened: `/node` is the folder of the private containerd.\n");
    for guarded in [true, false] {
        let host = Arc::new(host(guarded)?);
        interrupt.register(&host)?;
        let walked = through(&host, guarded);
        let cleared = host.end();
        interrupt.forget(&host);
        if interrupt.settle() {
            return Ok(ExitCode::from(130));
        }
        walked?;
        cleared?;
    }
    Ok(ExitCode::SUCCESS)
}

fn host(guarded: bool) -> Result<Host> {
    let handler = if guarded { Handler::guarded("h") } else { Handler::unguarded("h") };
    // A hung volume is to stay hung.
    Host::with([if guarded { handler.guard("abort_fuse", "false") } else { handler }])
}

/// The node, and who was there before the trouble.
struct Node<'a> {
    host: &'a Host,
    healthy: Vec<Sandbox>,
}

fn through(host: &Host, guarded: bool) -> Result<()> {
    println!("## {}\n", if guarded { "Under the guard" } else { "Under gVisor's own shim" });
    let start = |id: &str| -> Result<Sandbox> {
        host.ctr().start(&host.handler("h")?, id, &["sleep", "100000"])?;
        Sandbox::of(host, id)
    };
    let node = Node { host, healthy: HEALTHY.iter().map(|id| start(id)).collect::<Result<_>>()? };
    start("wedged-1")?.stop_sentry()?;
    start("wedged-2")?.freeze()?;
    let orphan = start("orphan")?;
    let fuse = hang(host)?;

    println!("### containerd answers\n");
    node.look(&["ls"])?;
    node.look(&["ls", "-o", "wide"])?;
    node.look(&["show", "wedged-1"])?;
    node.look(&["doctor"])?;
    // Its time is its own: nobody but the kernel keeps it from ending.
    node.does(&["reap", "hung", "--yes"], 1)?;
    node.look(&["show", "hung"])?;

    println!("### containerd hangs (SIGSTOP), and a shim has died\n");
    let containerd = host.containerd()?;
    faults::stop(&containerd)?;
    for process in orphan.guard.iter().chain([&orphan.real_shim]) {
        process.signal(Signal::KILL)?;
        process.wait_gone(SOON)?;
    }
    node.look(&["ls"])?;
    node.look(&["show", "orphan"])?;
    node.look(&["doctor"])?;
    node.look(&["metrics"])?;
    node.does(&["reap", "--orphaned", "--dry-run"], 0)?;
    node.does(&["reap", "--orphaned", "--yes"], 0)?;

    println!("### containerd is gone\n");
    host.end_containerd(Signal::KILL)?;
    node.look(&["ls"])?;
    node.look(&["doctor"])?;
    node.does(&["reap", "--wedged", "--dry-run"], 0)?;
    node.does(&["reap", "--wedged", "--yes"], 0)?;

    println!("### containerd is back, and the volume's server, too\n");
    host.start_containerd()?;
    fuse.answer();
    eventually(SOON, "what could not be killed is dead", || {
        Sandbox::of(host, "hung").is_err().then_some(())
    })?;
    node.look(&["ls"])?;
    node.does(&["reports"], 0)?;
    node.does(&["reports", "wedged-1"], 0)?;
    fuse.end()?;
    node.assert_untouched()
}

/// A container whose volume hangs: it cannot be killed as long as that does.
fn hang(host: &Host) -> Result<Arc<Fuse>> {
    let ctr = host.ctr();
    let fuse = faults::fuse_volume(host, "volumes/v".as_ref())?;
    let flags = ["--detach", "--null-io", &faults::volume_flag(fuse.point())];
    let args = ctr.run_args(&host.handler("h")?, &flags, "hung", faults::READS_VOLUME);
    run(&mut ctr.command(&args), b"", SOON)?.ok()?;
    faults::hang_fuse(&fuse)?;
    Ok(fuse)
}

impl Node<'_> {
    /// A command that only looks: quick, whatever hangs.
    fn look(&self, args: &[&str]) -> Result<()> {
        let (took, code) = self.tell(args)?;
        ensure!(took < PROMISE, "{args:?} took {took:?}");
        // doctor says by its exit status that something is wrong, which is so.
        let expected = if args[0] == "doctor" { 1 } else { 0 };
        ensure!(code == Some(expected), "{args:?} ended with {code:?}");
        Ok(())
    }

    /// A command that acts, and how it must end.
    fn does(&self, args: &[&str], expected: i32) -> Result<()> {
        let (_, code) = self.tell(args)?;
        ensure!(code == Some(expected), "{args:?} ended with {code:?}");
        let alive = |one: &Sandbox| one.sentry.is_alive() && one.real_shim.is_alive();
        ensure!(self.healthy.iter().all(alive), "{args:?} has touched a healthy sandbox");
        Ok(())
    }

    /// Runs one command and writes down what it says.
    fn tell(&self, args: &[&str]) -> Result<(Duration, Option<i32>)> {
        let program = self.host.parts().guard.with_file_name("runsc-guard");
        ensure!(program.is_file(), "no runsc-guard beside the guard: hack/build makes both");
        let mut command = Command::new(program);
        // Others' sandboxes may be on this machine.
        command.args(["--namespace", self.host.tag()]).args(args).env("COLUMNS", "160");
        let (config, socket) = (self.host.path().join("containerd.toml"), self.host.socket());
        let reports = self.host.path().join("reports");
        match args[0] {
            "doctor" => command.arg("--containerd-config").arg(config).arg("--address").arg(socket),
            "reap" | "reports" | "metrics" => command.arg("--report-dir").arg(reports),
            _ => &mut command,
        };
        let outcome = run(&mut command, b"", 3 * SOON)?;
        println!("    # runsc-guard {}", args.join(" "));
        for line in outcome.stdout.lines().chain(outcome.stderr.lines()) {
            println!("    {}", self.shorten(line));
        }
        println!("\n*exit status {}, {} ms*\n", outcome.code().unwrap_or(-1), outcome.took.as_millis());
        Ok((outcome.took, outcome.code()))
    }

    /// Without what is this machine's own.
    fn shorten(&self, line: &str) -> String {
        let folder = |path: &std::path::Path| path.parent().map(|path| path.display().to_string());
        let parts = self.host.parts();
        let mut text = line.replace(&self.host.path().display().to_string(), "/node");
        for program in [&parts.guard, &parts.runsc, &parts.unguarded_shim] {
            text = text.replace(&folder(program).unwrap_or_default(), "/bin-of-the-parts");
        }
        text.replace(self.host.tag(), "node").trim_end().to_owned()
    }

    fn assert_untouched(&self) -> Result<()> {
        for id in HEALTHY {
            let answer = self.host.ctr().exec(id, "look", &["echo", "well"], b"", SOON)?;
            ensure!(answer.stdout == "well\n", "{id} answers {answer:?}");
        }
        let one = self.healthy.first().context("nobody was healthy")?;
        println!("The three healthy sandboxes answer as before (sentry {} among them).\n", one.sentry.pid);
        Ok(())
    }
}
