//! Shell completions and manual pages, from the one definition of the command line.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;

/// Completions on standard output.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    clap_complete::generate(shell, &mut Args::command(), "runsc-guard", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

/// `runsc-guard.1` and one page for each subcommand.
pub(crate) fn man(folder: &Path) -> Result<ExitCode> {
    let failed = || format!("cannot write manual pages into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Args::command(), folder).with_context(failed)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        for page in [
            "runsc-guard.1",
            "runsc-guard-ls.1",
            "runsc-guard-show.1",
            "runsc-guard-reap.1",
            "runsc-guard-reports.1",
            "runsc-guard-doctor.1",
            "runsc-guard-metrics.1",
        ] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".SH NAME"), "{page}");
        }
    }
}
