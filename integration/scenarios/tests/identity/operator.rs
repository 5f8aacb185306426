//! The operator's command, on this host alone.

use anyhow::Result;
use harness::{Host, Outcome, SOON, run};
use std::process::Command;

/// `runsc-guard`, only for this host's namespace.
pub(super) fn operator(host: &Host, args: &[&str]) -> Result<Outcome> {
    operator_in(host, host.tag(), args)
}

pub(super) fn operator_in(host: &Host, namespace: &str, args: &[&str]) -> Result<Outcome> {
    let program = host.parts().guard.with_file_name("runsc-guard");
    let mut command = Command::new(program);
    command.args(["--namespace", namespace]).args(args);
    if args.first() == Some(&"reap") {
        command.arg("--report-dir").arg(host.path().join("reports"));
    }
    let outcome = run(&mut command, b"", 3 * SOON)?;
    if args.first() != Some(&"ls") {
        println!("runsc-guard {}: {:?} after {:?}", args.join(" "), outcome.code(), outcome.took);
    }
    Ok(outcome)
}
