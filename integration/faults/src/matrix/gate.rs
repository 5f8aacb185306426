//! The script between the real shim and runsc, at which one subcommand can be held or made to hang.

use super::fault::{Fault, When};
use anyhow::{Context as _, Result};
use harness::{Host, eventually};
use rustix::{
    fd::OwnedFd,
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a request may take to come to the gate on a busy machine.
pub(super) const TO_THE_GATE: Duration = Duration::from_secs(30);

/// Where a command is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before it does anything.
    Before,
    /// When it has done everything, and has only to return.
    After,
}

/// The gate of one host.
#[derive(Debug)]
pub(crate) struct Gate {
    folder: PathBuf,
    script: PathBuf,
}

/// The gate is shut for a command: it is held, forever unless the gate is opened.
#[derive(Debug)]
pub(crate) struct Shut {
    fifo: PathBuf,
    reached: PathBuf,
}

impl Gate {
    /// Writes the script. Nothing is held at first.
    pub(crate) fn new(host: &Host) -> Result<Self> {
        let folder = host.path().join("gate");
        std::fs::create_dir(&folder)?;
        let script = host.path().join("runsc-gated");
        let (at, runsc) = (folder.display(), host.parts().runsc.display());
        // `exec`: a shell's child would keep the shim's pipe open after the shim has killed the shell. What
        // opens a FIFO for reading waits until somebody opens it for writing.
        let text = format!(
            r#"#!/bin/sh
for command; do case $command in -*) ;; *) break ;; esac; done
if [ -p "{at}/after.$command" ]; then
    "{runsc}" "$@"
    code=$?
    true >"{at}/after.$command.reached"
    true <"{at}/after.$command"
    exit $code
fi
if [ -p "{at}/before.$command" ]; then
    true >"{at}/before.$command.reached"
    true <"{at}/before.$command"
fi
# What is done to a command is left in writing: a fault that nobody has met proves nothing.
met() {{ : >"{at}/met.$command"; }}
if [ -e "{at}/turns.$command" ]; then
    met
    if [ -e "{at}/turn.$command" ]; then rm -f "{at}/turn.$command"; exec sleep 1000000; fi
    : >"{at}/turn.$command"; echo "runsc $command was told to fail" >&2; exit 1
fi
if [ -e "{at}/fail.$command" ]; then
    met
    # Nothing of the real shim's, which waits for whoever has its pipe.
    sleep "$(cat "{at}/fail.$command")" </dev/null >/dev/null 2>&1
    echo "runsc $command was told to fail" >&2; exit 1
fi
if [ -e "{at}/hang.$command" ]; then met; exec sleep 1000000; fi
exec "{runsc}" "$@"
"#
        );
        harness::write_script(&script, &text)?;
        Ok(Self { folder, script })
    }

    /// What the handler runs as its runsc.
    pub(crate) fn script(&self) -> &Path {
        &self.script
    }

    /// Shuts the gate for one subcommand.
    pub(crate) fn shut(&self, place: Place, command: &str) -> Result<Shut> {
        let place = match place {
            Place::Before => "before",
            Place::After => "after",
        };
        let fifo = self.folder.join(format!("{place}.{command}"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .with_context(|| fifo.display().to_string())?;
        let reached = self.folder.join(format!("{place}.{command}.reached"));
        Ok(Shut { fifo, reached })
    }

    /// From now on this subcommand hangs, also where it is held at this moment.
    pub(crate) fn hang(&self, command: &str) -> Result<()> {
        std::fs::write(self.folder.join(format!("hang.{command}")), "")?;
        Ok(())
    }

    /// From now on this subcommand fails.
    pub(crate) fn fail(&self, when: When, command: &str) -> Result<()> {
        let (file, text) = match when {
            When::AtOnce => ("fail", "0".to_owned()),
            When::Late => ("fail", Fault::LATE.to_string()),
            When::InTurns => ("turns", String::new()),
        };
        std::fs::write(self.folder.join(format!("{file}.{command}")), text)?;
        Ok(())
    }

    /// Whether one of these subcommands has failed or hung since.
    pub(crate) fn has_met(&self, commands: &[&str]) -> bool {
        commands.iter().any(|command| self.folder.join(format!("met.{command}")).exists())
    }

    /// Nothing is held and nothing hangs any more: for what comes anew.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            std::fs::remove_file(entry.path())?;
        }
        Ok(())
    }
}

impl Shut {
    /// Waits until a command is held.
    pub(crate) fn await_reached(&self, limit: Duration) -> Result<()> {
        let name = self.fifo.file_name().unwrap_or_default().to_string_lossy();
        eventually(limit, &format!("a runsc command is held at the gate ({name})"), || {
            self.reached.exists().then_some(())
        })
    }

    /// Lets what is held go on. The descriptor that is returned must live until it has.
    pub(crate) fn open(self) -> Result<OwnedFd> {
        let both = open(&self.fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| self.fifo.display().to_string())?;
        // Who opens it from now on waits for the descriptor above to come, and it is there.
        std::fs::remove_file(&self.fifo)?;
        Ok(both)
    }
}
