//! A process that is not what it says. Told to pretend, it takes the name and the command line that it is given and then
//! does nothing. Run by anybody else, it notes beside itself who has run it.

use anyhow::{Context as _, Result};
use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        process::CommandExt as _,
    },
    process::Command,
};

fn main() -> Result<()> {
    let arguments = || std::env::args_os().skip(1);
    if let Some(name) = std::env::var_os("IMPOSTOR_AS") {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(name).args(arguments()).env_remove("IMPOSTOR_AS").env("IMPOSTOR", "1");
        return Err(command.exec()).context("cannot pretend");
    }
    if std::env::var_os("IMPOSTOR").is_some() {
        let comm = std::env::var("IMPOSTOR_COMM").unwrap_or_else(|_| "exe".to_owned());
        std::fs::write("/proc/self/comm", comm)?;
        loop {
            std::thread::park();
        }
    }
    let note = std::fs::read_link("/proc/self/exe")?.with_file_name("executed");
    let mut note = OpenOptions::new().create(true).append(true).mode(0o666).open(note)?;
    let line: Vec<String> = std::env::args().collect();
    writeln!(note, "{} by user {}", line.join(" "), std::fs::metadata("/proc/self")?.uid()).context("no note")
}
