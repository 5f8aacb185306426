//! Ways to wedge a sandbox, all with real parts. Each looks only among the processes and files of its own host.

use crate::{Access, Asked, Ctr, Fuse, Host, eventually, process::Process, run};
use anyhow::{Context as _, Result};
use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock, open},
    process::Signal,
};
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

/// The processes around one sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// gVisor's kernel.
    pub sentry: Process,
    /// The real shim that serves it.
    pub real_shim: Process,
    /// The guard before that, where there is one.
    pub guard: Option<Process>,
}

impl Sandbox {
    /// The sandbox whose id is `id` (of a pod: the pod's).
    pub fn of(host: &Host, id: &str) -> Result<Self> {
        let all = host.processes();
        let ancestors = |of: &Process, name: &str| {
            let mut at = of.parent;
            loop {
                let process = all.iter().find(|p| p.pid == at)?;
                if program(process).is_some_and(|program| program.starts_with(name)) {
                    return Some(process.clone());
                }
                at = process.parent;
            }
        };
        let mut sentries = all.iter().filter(|p| {
            p.args.first().is_some_and(|arg| arg == "runsc-sandbox")
                && p.args.last().is_some_and(|arg| arg == id)
        });
        // Others may say the same of themselves: whom a shim has started is the one.
        let started =
            |sentry: &Process| Some((sentry.clone(), ancestors(sentry, "containerd-shim-runsc-v1")?));
        let (sentry, real_shim) =
            sentries.find_map(started).with_context(|| format!("no sentry of {id} with a real shim"))?;
        let guard = ancestors(&sentry, "containerd-shim-runsc-guard-v2");
        Ok(Self { sentry, real_shim, guard })
    }

    /// Waits for it to be: Create takes a moment before the sentry runs.
    pub fn await_of(host: &Host, id: &str) -> Result<Self> {
        eventually(Duration::from_secs(20), "a sentry with its shim", || Self::of(host, id).ok())
    }

    /// The systrap stubs: the sentry's own children without arguments.
    pub fn stubs(&self) -> Vec<Process> {
        Process::all()
            .into_iter()
            .filter(|p| p.parent == self.sentry.pid && p.args.is_empty() && p.state != 'Z')
            .collect()
    }

    /// The real shim and all that descends from it: everything but the guard.
    pub fn all_but_guard(&self) -> Vec<Process> {
        let shim = self.real_shim.pid;
        Process::with_descendants(|p| p.pid == shim)
    }

    /// The sentry stops answering, as in `Kernel.WaitExited`, and can be continued.
    pub fn stop_sentry(&self) -> Result<()> {
        stop(&self.sentry)
    }

    /// The real shim and the sandbox are stopped at once: nothing of the sandbox moves any more.
    pub fn stop_all_but_guard(&self) -> Result<()> {
        for process in self.all_but_guard() {
            if process.is_alive() {
                stop(&process)?;
            }
        }
        Ok(())
    }

    /// The sandbox's own freezer cgroup (version 1), in which even SIGKILL waits.
    pub fn freeze(&self) -> Result<()> {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", self.sentry.pid))?;
        let group =
            groups.lines().find_map(|line| line.split_once(":freezer:")).context("no freezer cgroup")?.1;
        let file =
            Path::new("/sys/fs/cgroup/freezer").join(group.trim_start_matches('/')).join("freezer.state");
        std::fs::write(&file, "FROZEN").with_context(|| file.display().to_string())?;
        eventually(Duration::from_secs(5), "frozen", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == "FROZEN").then_some(())
        })
    }
}

/// The guard of the sandbox `id`, whatever else of that is there (yet).
pub fn guard(host: &Host, id: &str) -> Option<Process> {
    host.processes().into_iter().find(|process| {
        let serves = process.arg_after("-publish-binary").is_none() && process.arg_after("-id") == Some(id);
        serves && program(process).is_some_and(|name| name.starts_with("containerd-shim-runsc-guard"))
    })
}

/// What socket, folder and lock of a pod's guard are named by (shim/node/src/paths.rs).
pub fn guards_name(host: &Host, namespace: &str, sandbox: &str) -> String {
    let whole = format!("{}/{namespace}/{sandbox}/guard", host.socket().display());
    Sha256::digest(whole.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn program(process: &Process) -> Option<String> {
    let first = process.args.first()?;
    Some(Path::new(first).file_name()?.to_string_lossy().into_owned())
}

/// Stops a process and waits until it is.
pub fn stop(process: &Process) -> Result<()> {
    process.signal(Signal::STOP)?;
    eventually(Duration::from_secs(5), "stopped", || {
        Process::read(process.pid).is_none_or(|now| now.state == 'T').then_some(())
    })
}

/// SIGTERM to each, as systemd-shutdown tells all (src/shutdown/killall.c, `broadcast_signal`): nobody runs before
/// everybody is told.
pub fn terminate(processes: &[Process]) {
    for signal in [Signal::STOP, Signal::TERM, Signal::CONT] {
        for process in processes {
            // One that ends meanwhile is told nothing.
            let _ = process.signal(signal);
        }
    }
}

/// `runsc pause` behind the shim's back. Kills are acknowledged and nothing exits.
pub fn pause(host: &Host, ctr: &Ctr, id: &str) -> Result<()> {
    let root = host.runsc_root(ctr.namespace());
    run(
        Command::new(&host.parts().runsc).arg(format!("--root={}", root.display())).args(["pause", id]),
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

/// Where a container finds the volume of [`fuse_volume`].
pub const VOLUME: &str = "/mnt";

/// What a container runs to look into its volume again and again.
pub const READS_VOLUME: &[&str] = &["sh", "-c", "while :; do cat /mnt/file >/dev/null; done"];

/// A FUSE volume with one file, mounted at `point` below the host's folder (for a pod:
/// [`crate::Cri::volume`]). A container gets it by [`volume_flag`] or [`crate::Cri::create_container_with`].
pub fn fuse_volume(host: &Host, point: &Path) -> Result<Arc<Fuse>> {
    let source = host.path().join("volume");
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), "well\n")?;
    host.fuse(&source, point, Access::ReadOnly)
}

/// The same for who writes: the file has some pages of zeroes. What has been let out of it is in [`Fuse::source`].
pub fn writable_volume(host: &Host, point: &Path, access: Access) -> Result<Arc<Fuse>> {
    let source = host.path().join("writable").join(point);
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), [0; WRITABLE])?;
    host.fuse(&source, point, access)
}

/// The length of the file of [`writable_volume`], as `guest/files.rs` has it.
pub const WRITABLE: usize = 8 * 4096;

/// What a container runs to use that file again and again, see `guest/files.rs`.
pub fn uses_file(verb: &str) -> [&str; 3] {
    ["files", verb, "/mnt/file"]
}

/// What `ctr run` needs to mount `source` at [`VOLUME`].
pub fn volume_flag(source: &Path) -> String {
    volume_flag_with(source, "ro")
}

/// The same for a [`writable_volume`].
pub fn writable_volume_flag(source: &Path) -> String {
    volume_flag_with(source, "rw")
}

fn volume_flag_with(source: &Path, access: &str) -> String {
    format!("--mount=type=bind,src={},dst={VOLUME},options=rbind:{access}", source.display())
}

/// The FUSE server stops answering, and somebody waits for it who cannot be killed. Released
/// by [`Fuse::answer`] or [`Fuse::end`]. A container of the sandbox has to look into it, see [`READS_VOLUME`].
pub fn hang_fuse(fuse: &Fuse) -> Result<()> {
    fuse.hang();
    await_held(fuse)
}

/// Waits for somebody to wait for the server that hangs.
pub fn await_held(fuse: &Fuse) -> Result<()> {
    eventually(Duration::from_secs(20), "somebody waits for the FUSE server", || {
        (fuse.held() > 0).then_some(())
    })
}

/// A FUSE server that hangs in a write while a stub of a container that runs `uses_file("munmap")` is in munmap, and
/// holds its mmap_lock: whoever reads its command line waits for it, and cannot but be killed. (A stub has unmapped what
/// its command line was in, so the reader asks for the lock to write; mm/mmap.c, `expand_stack`.) Gives that stub.
/// Released by [`Fuse::answer`] or [`Fuse::end`]; every reader of /proc on the machine is its victim until then.
pub fn hold_mmap_lock(fuse: &Fuse, sandbox: &Sandbox) -> Result<Process> {
    let stubs = sandbox.stubs();
    fuse.hang_in(&[Asked::Write]);
    eventually(Duration::from_secs(20), "a stub that holds its mmap_lock", || {
        let hangs = |stub: &&Process| Process::state(stub.pid) == Some('D');
        stubs.iter().find(hangs).filter(|stub| is_command_line_held(stub.pid)).cloned()
    })
}

/// Whether nobody can read the command line of this process for now.
pub fn is_command_line_held(pid: i32) -> bool {
    let read = run(Command::new("cat").arg(format!("/proc/{pid}/cmdline")), b"", Duration::from_millis(500));
    read.is_ok_and(|outcome| outcome.timed_out())
}

/// A cgroup in which nobody can make a thread or a child, around one process, until the value is dropped.
#[derive(Debug)]
pub struct Full(PathBuf);

impl Full {
    /// Not below the host's own cgroup, which is looked at for what the guard has left.
    pub fn around(process: &Process) -> Result<Self> {
        let name = format!("runsc-guard-test-full-{}-{}", process.pid, process.started);
        let full = Self(Path::new("/sys/fs/cgroup/pids").join(name));
        std::fs::create_dir_all(&full.0).with_context(|| full.0.display().to_string())?;
        std::fs::write(full.0.join("cgroup.procs"), process.pid.to_string())?;
        full.limit("0")?;
        Ok(full)
    }

    fn limit(&self, most: &str) -> Result<()> {
        std::fs::write(self.0.join("pids.max"), most).context("pids.max")
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = self.limit("max");
        let procs = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = std::fs::write("/sys/fs/cgroup/pids/cgroup.procs", pid);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// What a container runs to look into its rootfs again and again: names that nobody has cached.
pub const READS_ROOTFS: &[&str] = &["sh", "-c", "i=0; while :; do i=$((i+1)); cat /etc/$i 2>/dev/null; done"];

/// A rootfs on FUSE, for `ctr run --rootfs`; the handler needs runsc's `overlay2` to be "root:memory", since the
/// file system is read-only.
pub fn fuse_rootfs(host: &Host, point: &Path) -> Result<Arc<Fuse>> {
    let source = host.path().join("rootfs-source");
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(source.join(folder))?;
    }
    std::fs::copy("/bin/busybox", source.join("bin/busybox"))?;
    for applet in ["sh", "cat", "sleep", "echo"] {
        std::os::unix::fs::symlink("busybox", source.join("bin").join(applet))?;
    }
    host.fuse(&source, point, Access::ReadOnly)
}
