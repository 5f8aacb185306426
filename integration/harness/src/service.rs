//! The service manager of a [`Host`]'s containerd, as far as an installer needs one: a command that restarts it and
//! returns once it is up again.

use crate::Host;
use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Mode, mknodat};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// The service manager, for as long as [`Service::of`] runs.
#[derive(Debug)]
pub struct Service {
    command: PathBuf,
    unit: &'static str,
    asked: PathBuf,
    answered: PathBuf,
    restarts: AtomicU32,
}

impl Service {
    /// Runs `work` with a service manager for the host's containerd.
    pub fn of<T>(host: &Host, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let at = |name: &str| host.path().join(name);
        let service = Self {
            command: at(if host.unit().starts_with("microk8s.") { "snap" } else { "systemctl" }),
            unit: host.unit(),
            asked: at("restart.asked"),
            answered: at("restart.answered"),
            restarts: AtomicU32::new(0),
        };
        for fifo in [&service.asked, &service.answered] {
            mknodat(CWD, fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0)?;
        }
        // Another shell would do; this one is there for the image.
        let script = "#!/bin/busybox sh\n[ \"$1 $2\" = 'restart UNIT' ] || exit 64\n\
                      echo restart >ASKED && read -r answer <ANSWERED && [ \"$answer\" = up ]\n";
        let script = script.replace("UNIT", service.unit);
        let script = script.replace("ASKED", &service.asked.to_string_lossy());
        let script = script.replace("ANSWERED", &service.answered.to_string_lossy());
        crate::write_script(&service.command, &script)?;
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| service.serve(host));
            let done = work(&service);
            std::fs::write(&service.asked, "end\n")?;
            serving.join().map_err(|_| anyhow::anyhow!("the service manager panicked"))??;
            done
        })
    }

    /// The command that restarts containerd.
    pub fn restart(&self) -> String {
        format!("{} restart {}", self.command.display(), self.unit)
    }

    /// How often it has been run.
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::SeqCst)
    }

    fn serve(&self, host: &Host) -> Result<()> {
        loop {
            // Opening waits for who asks, and reading ends when that one has.
            let asked = std::fs::read_to_string(&self.asked)?;
            if asked != "restart\n" {
                ensure!(asked == "end\n", "{asked:?}");
                return Ok(());
            }
            self.restarts.fetch_add(1, Ordering::SeqCst);
            let answer = match host.restart_containerd() {
                Ok(()) => "up\n",
                Err(error) => {
                    println!("containerd does not come up: {error:#}");
                    "failed\n"
                }
            };
            std::fs::write(&self.answered, answer).context("nobody waits for the restart")?;
        }
    }
}
