//! Shell completions, manual pages and the configuration reference, each from the one definition in the code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::{self, EnvCompleter};

use crate::args::{Args, Reference};
use crate::screen;

mod example;
mod keys;
mod manual;
mod markdown;
mod page;
mod words;

/// The program's name, which completions run to learn what is possible: ids, too.
const NAME: &str = "runsc-guard";
/// zsh reads a file of its `fpath` when the first completion is due, which is then still to be made.
const ZSH_FIRST: &str = r#"if [ "$funcstack[1]" = "_runsc-guard" ]; then
    _clap_dynamic_completer_runsc_guard "$@"
fi
"#;

/// Completions on standard output.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    screen::write(&registration(shell)?)?;
    Ok(ExitCode::SUCCESS)
}

fn registration(shell: Shell) -> Result<String> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &env::Bash,
        Shell::Elvish => &env::Elvish,
        Shell::Fish => &env::Fish,
        Shell::PowerShell => &env::Powershell,
        Shell::Zsh => &env::Zsh,
        other => bail!("no completions are known for {other}"),
    };
    let mut script = Vec::new();
    completer.write_registration("COMPLETE", NAME, NAME, NAME, &mut script)?;
    if shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST.as_bytes());
    }
    Ok(String::from_utf8(script)?)
}

/// `runsc-guard.1`, one page for each subcommand, and `runsc-guard.toml.5`.
pub(crate) fn man(folder: &Path) -> Result<ExitCode> {
    let failed = || format!("cannot write manual pages into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    page::write(&command, folder).with_context(failed)?;
    std::fs::write(folder.join("runsc-guard.toml.5"), manual::page(&keys::all()?)).with_context(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration reference on standard output.
pub(crate) fn configuration(form: Reference) -> Result<ExitCode> {
    let keys = keys::all()?;
    screen::write(&match form {
        Reference::Markdown => markdown::page(&keys),
        Reference::Toml => example::file(&keys),
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shells_script_asks_this_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = registration(shell).unwrap();
            assert!(script.contains("COMPLETE") && script.contains(NAME), "{shell}: {script}");
        }
    }

    #[test]
    fn there_is_a_page_for_each_command_and_for_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        let read = |page: &str| std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(read("runsc-guard.toml.5").contains(".SH NAME"));
        let command = Args::command();
        let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
        let pages = commands.map(|one| format!("runsc-guard-{}.1", one.get_name()));
        for page in pages.chain(["runsc-guard.1".to_owned()]) {
            let text = read(&page);
            for section in ["NAME", "DESCRIPTION", "\"EXIT STATUS\"", "EXAMPLES"] {
                assert!(text.contains(&format!("\n.SH {section}\n")), "{section} is not in {page}:\n{text}");
            }
            assert!(!text.contains("EXTRA") && !text.contains("Exit status"), "{page}:\n{text}");
        }
        let reap = read("runsc-guard-reap.1");
        let described = reap.split(".SH").find(|section| section.starts_with(" DESCRIPTION")).unwrap();
        assert!(
            described.contains("End sandboxes by force.") && described.contains("through pidfds"),
            "{reap}"
        );
    }

    #[test]
    fn the_committed_reference_is_what_the_code_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/docs/configuration.md");
        let committed = std::fs::read_to_string(file).unwrap();
        let generated = markdown::page(&keys::all().unwrap());
        assert_eq!(committed, generated, "write it anew: runsc-guard configuration markdown");
    }
}
