//! A command's manual page. What `--help` says below the options is one text there, which clap_mangen puts under one
//! heading; a manual page has a section for each part of it.

use std::fs;
use std::io::Result;
use std::path::Path;

use clap::Command;
use clap::builder::{Resettable, StyledStr};
use clap_mangen::Man;
use roff::{Roff, roman};

/// The parts that have a section, as they begin in the help. Whatever else it says describes the command.
const SECTIONS: [&str; 3] = ["States", "Exit status", "Examples"];

/// The pages of a command and of all below it.
pub(super) fn write(command: &Command, folder: &Path) -> Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, folder)?;
    }
    let help = command.get_after_help().map(StyledStr::to_string).unwrap_or_default();
    let mut description: Vec<String> =
        command.get_about().map(|about| format!("{about}.")).into_iter().collect();
    let mut sections = Roff::new();
    for part in help.split("\n\n") {
        match part.split_once(':').filter(|(name, _)| SECTIONS.contains(name)) {
            Some((name, text)) => section(&mut sections, name, text),
            None => description.push(part.to_owned()),
        }
    }
    let command = command.clone().long_about(description.join("\n\n")).after_help(Resettable::Reset);
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend(sections.render().into_bytes());
    fs::write(folder.join(man.get_filename()), page)
}

/// Lines of their own stay as they are.
fn section(page: &mut Roff, name: &str, text: &str) {
    page.control("SH", [name.to_uppercase().as_str()]);
    match text.strip_prefix('\n') {
        Some(lines) => page.control("nf", []).text([roman(lines)]).control("fi", []),
        None => page.text([roman(text.trim_start())]),
    };
}
