//! A runsc that hangs, is slow, or finds its lock held.

use crate::{Ctr, Host, run};
use anyhow::{Context as _, Result, ensure};
use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock, open},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// `runsc pause` behind the shim's back. Kills are acknowledged and nothing exits.
pub fn pause(host: &Host, ctr: &Ctr, id: &str) -> Result<()> {
    runsc(host, ctr, "pause", id)
}

/// Ends that.
pub fn resume(host: &Host, ctr: &Ctr, id: &str) -> Result<()> {
    runsc(host, ctr, "resume", id)
}

fn runsc(host: &Host, ctr: &Ctr, command: &str, id: &str) -> Result<()> {
    let root = host.runsc_root(ctr.namespace());
    run(
        Command::new(&host.parts().runsc).arg(format!("--root={}", root.display())).args([command, id]),
        b"",
        Duration::from_secs(10),
    )?
    .ok()?;
    Ok(())
}

/// A runsc of which one subcommand never returns while `id` is among its arguments ("" for any).
pub fn hanging_runsc(host: &Host, name: &str, subcommand: &str, id: &str) -> Result<PathBuf> {
    let script = format!("*\" {subcommand} \"*\"{id}\"*) exec sleep 1000000;;");
    wrapper(host, name, &script)
}

/// A runsc whose `create` takes `seconds` longer, once, when the file `trigger` exists: like a slow rootfs
/// mount, it holds the real shim's one lock for all that time.
pub fn slow_create(host: &Host, name: &str, trigger: &Path, seconds: u32) -> Result<PathBuf> {
    let trigger = trigger.display();
    wrapper(host, name, &format!("*\" create \"*) if rm {trigger} 2>/dev/null; then sleep {seconds}; fi;;"))
}

/// A runsc whose `wait` tells nobody of an exit for as long as the file `trigger` exists; the file beside it that ends in
/// `.reached` says that there is one to be told.
pub fn late_wait(host: &Host, name: &str, trigger: &Path) -> Result<PathBuf> {
    let (trigger, runsc) = (trigger.display(), host.parts().runsc.display());
    let case = format!(
        "*\" wait \"*) {runsc} \"$@\"; code=$?; if [ -e {trigger} ]; then : >{trigger}.reached; fi; \
         while [ -e {trigger} ]; do sleep 0.05; done; exit $code;;"
    );
    wrapper(host, name, &case)
}

/// A runsc whose `events` tells of `other` where it is asked for `id`: what gVisor's shim then says are not `id`'s numbers.
pub fn mistaken_events(host: &Host, name: &str, id: &str, other: &str) -> Result<PathBuf> {
    let runsc = host.parts().runsc.display();
    wrapper(
        host,
        name,
        &format!(
            "*\" events \"*\"{id}\") for arg; do shift; [ \"$arg\" != {id} ] || arg={other}; \
             set -- \"$@\" \"$arg\"; done; exec {runsc} \"$@\";;"
        ),
    )
}

/// A runsc, and so a sentry, that has another name for a field of its answers: the bytes of its program that name it are
/// overwritten. What runsc asks of that sentry it understands; nobody else does.
pub fn renamed_field(host: &Host, name: &str, field: &str, other: &str) -> Result<PathBuf> {
    let (path, runsc) = (host.path().join(name), &host.parts().runsc);
    std::fs::copy(runsc, &path)?;
    let edit = format!("s/json:\"{field}\"/json:\"{other}\"/");
    let mut sed = Command::new("sed");
    run(sed.env("LC_ALL", "C").args(["-i", &edit]).arg(&path), b"", Duration::from_secs(60))?.ok()?;
    let (was, is) = (std::fs::read(runsc)?, std::fs::read(&path)?);
    ensure!(was.len() == is.len() && was != is, "runsc has no field {field}, or {other} is not as long");
    Ok(path)
}

fn wrapper(host: &Host, name: &str, case: &str) -> Result<PathBuf> {
    let path = host.path().join(name);
    let runsc = host.parts().runsc.display();
    // `exec`: a shell's child would keep the shim's pipe open after the shim has killed the shell.
    crate::write_script(&path, &format!("#!/bin/sh\ncase \"$*\" in\n{case}\nesac\nexec {runsc} \"$@\"\n"))?;
    Ok(path)
}

/// runsc's state lock of `id`, held by this process until the value is dropped. Every runsc command
/// for `id` waits; the sentry is healthy.
pub fn hold_lock(host: &Host, ctr: &Ctr, id: &str) -> Result<OwnedFd> {
    let root = host.runsc_root(ctr.namespace());
    let prefix = format!("{id}_sandbox:");
    let lock = std::fs::read_dir(&root)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with(&prefix) && name.ends_with(".lock")
            })
        })
        .with_context(|| format!("no lock of {id} in {}", root.display()))?;
    let fd = open(&lock, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    flock(&fd, FlockOperation::LockExclusive)?;
    Ok(fd)
}
