//! `runsc-guard install` and `uninstall` on real containerds: nothing but the handler changes, pods live through it all,
//! and what was there comes back to the byte, whatever interrupts.

use anyhow::{Context as _, Result, ensure};
use harness::{
    DaemonSet, Handler, Host, HostBuilder, LATER, Outcome, Parts, Service, Versions, eventually,
    faults::Sandbox, run,
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const GUARD: &str = "containerd-shim-runsc-guard-v2";
/// The handler that is installed.
const NAME: &str = "runsc-guard";

/// A node without the guard, and what brings it.
struct Node {
    host: Host,
    original: String,
}

impl Node {
    fn new() -> Result<Self> {
        Self::of(Parts::pinned()?)
    }

    fn of(parts: Parts) -> Result<Self> {
        Self::on(Host::builder().parts(parts))
    }

    fn on(host: HostBuilder) -> Result<Self> {
        let host = host.handler(Handler::unguarded("gvisor")).start()?;
        fs::remove_file(host.path().join("bin").join(GUARD))?;
        let original = fs::read_to_string(host.path().join("containerd.toml"))?;
        // Its reports, deadlines and gVisor's files are this host's own.
        host.add_handler(&Handler::quick(NAME, "2s"))?;
        Ok(Self { host, original })
    }

    /// Both programs in a folder of their own, as an image or an archive brings them: each version has other bytes.
    fn version(&self, name: &str) -> Result<PathBuf> {
        let folder = self.host.path().join(name);
        fs::create_dir(&folder)?;
        for program in [GUARD, NAME] {
            let from = self.host.parts().guard.with_file_name(program);
            let mut bytes = fs::read(&from).with_context(|| from.display().to_string())?;
            bytes.extend_from_slice(name.as_bytes());
            fs::write(folder.join(program), bytes)?;
            fs::set_permissions(folder.join(program), fs::metadata(from)?.permissions())?;
        }
        Ok(folder.join(NAME))
    }

    fn config(&self) -> Result<String> {
        Ok(fs::read_to_string(self.host.path().join("containerd.toml"))?)
    }

    fn rewrite(&self, change: impl FnOnce(&str) -> String) -> Result<()> {
        let text = change(&self.config()?);
        Ok(fs::write(self.host.path().join("containerd.toml"), text)?)
    }

    /// The table of CRI that holds the handlers.
    fn table(&self) -> String {
        let names = ["io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"];
        let name = names.into_iter().find(|name| self.original.contains(name)).unwrap_or_default();
        format!("plugins.{name:?}.containerd")
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args);
        let bin = self.host.path().join("bin");
        // Without it, a package's own would be where they are.
        if program.parent() != Some(&bin) {
            command.arg("--bin-dir").arg(bin);
        }
        command.arg("--address").arg(self.host.socket());
        if args.first() == Some(&"install") {
            command.arg("--runsc-config").arg(self.host.path().join("runsc-guard.toml"));
        }
        command
    }

    fn run(&self, program: &Path, args: &[&str]) -> Result<Outcome> {
        let outcome = run(&mut self.command(program, args), b"", 4 * LATER)?;
        println!(
            "{}: {:?} after {:?}\n{}{}",
            args.join(" "),
            outcome.code(),
            outcome.took,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome)
    }

    /// The same, killed when it is about to make this system call for the nth time.
    fn killed_at(&self, program: &Path, action: &str, call: &str, nth: u32) -> Result<Outcome> {
        let installer = self.command(program, &[action]);
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
        strace.arg(format!("inject={call}:error=EIO:signal=KILL:when={nth}"));
        strace.arg(installer.get_program()).args(installer.get_args());
        run(&mut strace, b"", LATER)
    }

    /// What fails, with these words, and has changed nothing.
    fn refused(&self, program: &Path, args: &[&str], words: &[&str]) -> Result<()> {
        let before = self.files()?;
        let outcome = self.run(program, args)?;
        ensure!(outcome.code() == Some(1), "{outcome:?}");
        for word in words {
            ensure!(outcome.stderr.contains(word), "does not say {word:?}: {}", outcome.stderr);
        }
        ensure!(self.files()? == before, "something has changed");
        Ok(())
    }

    /// Everything that an installer could touch: by name, with inode and content.
    fn files(&self) -> Result<BTreeMap<PathBuf, (u64, Vec<u8>)>> {
        let mut files = BTreeMap::new();
        for folder in ["", "bin", "conf.d"] {
            for entry in fs::read_dir(self.host.path().join(folder)).into_iter().flatten() {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_config = name.contains(".toml") || folder == "bin";
                if is_config && path.is_file() {
                    files.insert(path.clone(), (fs::metadata(&path)?.ino(), fs::read(&path)?));
                }
            }
        }
        Ok(files)
    }

    /// A pod under the installed handler whose sentry then stops: it ends by its deadline.
    fn wedge_and_end(&self, pod: &harness::Pod) -> Result<()> {
        Sandbox::of(&self.host, &pod.id)?.stop_sentry()?;
        let cri = self.host.cri()?;
        eventually(LATER, "the wedged pod is stopped", || cri.stop_pod(pod, Duration::from_secs(5)).ok())?;
        cri.remove_pod(pod, LATER)
    }

    /// The guard's program of a pod: its inode, which a rename over its name does not change.
    fn guard_of(&self, pod: &harness::Pod) -> Result<u64> {
        let guard = Sandbox::of(&self.host, &pod.id)?.guard.context("no guard")?;
        Ok(fs::metadata(format!("/proc/{}/exe", guard.pid))?.ino())
    }
}

fn inode(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

#[test]
fn pods_live_through_it_all_on_containerd_2() -> Result<()> {
    pods_live_through_it_all(&Node::new()?)
}

#[test]
fn pods_live_through_it_all_on_containerd_1() -> Result<()> {
    let versions = Versions { containerd: "1.7.35".to_owned(), gvisor: "2026-09".to_owned() };
    let mut node = Node::of(Parts::of(versions)?)?;
    // Here a file of its own would replace the owner's whole table, and a first handler the default one.
    importing(&node)?;
    node.rewrite(|text| {
        text.split_inclusive('\n').take_while(|line| !line.contains(".runtimes.")).collect()
    })?;
    node.original = node.config()?;
    pods_live_through_it_all(&node)
}

/// Install, again, upgrade, downgrade, uninstall.
fn pods_live_through_it_all(node: &Node) -> Result<()> {
    let (one, two) = (node.version("one")?, node.version("two")?);
    let guard = node.host.path().join("bin").join(GUARD);
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        let install = ["install", restart.as_str()];
        let before = node.files()?;
        let said = node.run(&one, &["install", "--dry-run", &restart])?.ok()?;
        ensure!(said.contains("would be written") && said.contains("would be restarted"), "{said}");
        ensure!(node.files()? == before && service.restarts() == 0, "a dry run has changed something");

        node.run(&one, &install)?.ok()?;
        ensure!(service.restarts() == 1, "{} restarts", service.restarts());
        ensure!(node.config()?.starts_with(&node.original), "{}", node.config()?);
        let cri = node.host.cri()?;
        let under_one = cri.run_pod(NAME, "under-one")?;
        ensure!(node.guard_of(&under_one)? == inode(&guard)?, "another guard");

        let before = node.files()?;
        node.run(&one, &install)?.ok()?;
        ensure!(node.files()? == before && service.restarts() == 1, "the second run has changed something");

        node.run(&two, &install)?.ok()?;
        ensure!(service.restarts() == 1, "an upgrade restarts nothing");
        ensure!(node.guard_of(&under_one)? != inode(&guard)?, "the running guard has not kept its program");
        let under_two = cri.run_pod(NAME, "under-two")?;
        ensure!(node.guard_of(&under_two)? == inode(&guard)?, "another guard");
        node.wedge_and_end(&under_one)?;

        node.run(&one, &install)?.ok()?;
        node.wedge_and_end(&under_two)?;

        let living = cri.run_pod(NAME, "living")?;
        node.refused(&one, &["uninstall", &restart], &["tests/living", &living.id, "to clean up after"])?;
        cri.end_pod(&living)?;
        node.run(&one, &["uninstall", &restart])?.ok()?;
        ensure!(node.config()? == node.original, "{}", node.config()?);
        ensure!(!guard.exists() && !guard.with_file_name(NAME).exists(), "programs are left");
        ensure!(service.restarts() == 2, "{} restarts", service.restarts());
        ensure!(node.host.cri()?.run_pod(NAME, "none").is_err(), "containerd still knows the handler");

        // A containerd that has its defaults, and no file.
        let absent = node.host.path().join("absent.toml");
        let config = format!("--config={}", absent.display());
        node.run(&one, &["install", &config])?.ok()?;
        let mut dump = Command::new(&node.host.parts().containerd);
        let dump = run(dump.arg("--config").arg(&absent).args(["config", "dump"]), b"", LATER)?.ok()?;
        for name in [NAME, "runc"] {
            ensure!(dump.contains(&format!("containerd.runtimes.{name}]")), "no {name}: {dump}");
        }
        node.run(&one, &["uninstall", &config])?.ok()?;
        ensure!(!absent.exists(), "the file that was made is left");
        Ok(())
    })
}

/// With this the configuration imports a folder.
fn importing(node: &Node) -> Result<PathBuf> {
    let folder = node.host.path().join("conf.d");
    fs::create_dir(&folder)?;
    node.rewrite(|text| format!("imports = [{:?}]\n{text}", folder.join("*.toml")))?;
    Ok(folder)
}

#[test]
fn a_folder_that_is_imported_gets_a_file_of_its_own() -> Result<()> {
    let mut node = Node::new()?;
    let program = node.version("one")?;
    let folder = importing(&node)?;
    node.original = node.config()?;
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        node.run(&program, &["install", &restart])?.ok()?;
        ensure!(node.config()? == node.original, "{}", node.config()?);
        ensure!(folder.join("runsc-guard.toml").is_file(), "no file in {}", folder.display());
        let cri = node.host.cri()?;
        let pod = cri.run_pod(NAME, "dropped-in")?;
        let before = node.files()?;
        node.run(&program, &["install", &restart])?.ok()?;
        ensure!(node.files()? == before && service.restarts() == 1, "the second run has changed something");
        cri.end_pod(&pod)?;
        node.run(&program, &["uninstall", &restart])?.ok()?;
        ensure!(fs::read_dir(&folder)?.next().is_none(), "something is left in {}", folder.display());
        Ok(())
    })
}

/// k0s and MicroK8s tell their containerd by a flag where its state is; where nobody can be asked, processes tell.
#[test]
fn a_program_that_pods_need_stays_wherever_containerds_state_is() -> Result<()> {
    let node = Node::on(Host::builder().state_by_flag())?;
    let program = node.version("one")?;
    let check = ["uninstall", "--check"];
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        node.run(&program, &["install", &restart])?.ok()?;
        let pod = node.host.cri()?.run_pod(NAME, "flagged")?;
        let words = ["tests/flagged", &pod.id, "to clean up after"];
        node.refused(&program, &["uninstall", &restart], &words)?;
        node.refused(&program, &check, &words)?;
        let guard = Sandbox::of(&node.host, &pod.id)?.guard.context("no guard")?;
        node.host.stop_containerd();
        let process = format!("process {}", guard.pid);
        node.refused(&program, &check, &[&pod.id, &process])?;
        // An older one that was replaced is needed as much.
        let replaced = node.host.path().join("bin").join(GUARD);
        fs::copy(&replaced, replaced.with_extension("new"))?;
        fs::rename(replaced.with_extension("new"), &replaced)?;
        node.refused(&program, &check, &[&pod.id, &process])?;
        node.host.start_containerd()?;
        let cri = node.host.cri()?;
        eventually(LATER, "CRI serves again", || cri.containers(LATER).ok())?;
        cri.end_pod(&pod)?;
        node.run(&program, &check)?.ok()?;
        node.run(&program, &["uninstall", &restart])?.ok().map(drop)
    })
}

#[test]
fn what_a_package_has_brought_stays_where_it_is_and_is_asked_about() -> Result<()> {
    let node = Node::new()?;
    let brought = node.version("brought")?;
    let bin = node.host.path().join("bin");
    for program in [GUARD, NAME] {
        fs::copy(brought.with_file_name(program), bin.join(program))?;
    }
    let (program, programs) = (bin.join(NAME), [inode(&bin.join(GUARD))?, inode(&bin.join(NAME))?]);
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        let said = node.run(&program, &["install", &restart])?.ok()?;
        ensure!(said.contains(&format!("{}: there already", bin.join(GUARD).display())), "{said}");
        let pod = node.host.cri()?.run_pod(NAME, "packaged")?;
        node.refused(&program, &["uninstall", "--check"], &[&pod.id])?;
        node.wedge_and_end(&pod)?;
        node.run(&program, &["uninstall", "--check"])?.ok()?;
        let said = node.run(&program, &["uninstall", &restart])?.ok()?;
        ensure!(said.contains("stays"), "{said}");
        ensure!(node.config()? == node.original, "{}", node.config()?);
        ensure!(programs == [inode(&bin.join(GUARD))?, inode(&program)?], "a package's program was replaced");
        Ok(())
    })
}

/// At every system call that gives a file its place, takes it away or syncs it.
#[test]
fn whatever_interrupts_it_the_next_run_ends_as_if_nothing_had() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    let contents = || -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        Ok(node.files()?.into_iter().map(|(path, (_, content))| (path, content)).collect())
    };
    let without = contents()?;
    node.run(&program, &["install"])?.ok()?;
    let with = contents()?;
    node.run(&program, &["uninstall"])?.ok()?;
    let mut killed = 0;
    for calls in [["rename", "rename"], ["fsync", "unlink"]] {
        for nth in 1.. {
            let mut ended = true;
            let [first, last] = calls;
            for (action, call, expected) in [("install", first, &with), ("uninstall", last, &without)] {
                let outcome = node.killed_at(&program, action, call, nth)?;
                ended &= outcome.success();
                killed += u32::from(!outcome.success());
                // Should containerd start now, it would find one or the other, whole.
                let config = node.host.path().join("containerd.toml");
                let whole = contents()?[&config].clone();
                ensure!(whole == with[&config] || whole == without[&config], "half a configuration");
                node.run(&program, &[action])?.ok()?;
                let files = node.files()?;
                ensure!(
                    contents()? == *expected,
                    "{action}, killed at {call} {nth}, and again: {:?}",
                    files.keys()
                );
            }
            if ended {
                break;
            }
        }
    }
    println!("killed {killed} times");
    ensure!(killed >= 15, "hardly ever killed: {killed}");
    Ok(())
}

#[test]
fn a_restart_that_was_missed_is_made_up_for_and_one_that_fails_is_undone() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    let script = |name: &str, text: &str| -> Result<String> {
        let path = node.host.path().join(name);
        harness::write_script(&path, &format!("#!/bin/busybox sh\n{text}\n"))?;
        Ok(format!("--restart={}", path.display()))
    };
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        // The first time only: what is undone must be read, too.
        let fails_once =
            script("fails", &format!("[ -e $0.once ] && exec {}\n>$0.once; exit 7", service.restart()))?;
        let outcome = node.run(&program, &["install", &fails_once])?;
        ensure!(outcome.code() == Some(1) && outcome.stderr.contains("exit status: 7"), "{outcome:?}");
        ensure!(node.config()? == node.original && service.restarts() == 1, "{}", node.config()?);

        let kills = script("kills", "kill -9 $PPID")?;
        let outcome = node.run(&program, &["install", &kills])?;
        ensure!(outcome.code().is_none() && service.restarts() == 1, "{outcome:?}");
        ensure!(node.config()? != node.original, "it was killed too early");
        // Without a command it says what is missing, and that is all that is missing.
        let said = node.run(&program, &["install"])?.ok()?;
        ensure!(said.contains("must be restarted") && !said.contains("written"), "{said}");
        node.run(&program, &["install", &restart])?.ok()?;
        ensure!(service.restarts() == 2, "{} restarts", service.restarts());

        ensure!(node.run(&program, &["uninstall", &kills])?.code().is_none(), "it was not killed");
        let outcome = node.run(&program, &["uninstall"])?;
        ensure!(outcome.code() == Some(1) && outcome.stderr.contains("the programs stay"), "{outcome:?}");
        node.run(&program, &["uninstall", &restart])?.ok()?;
        ensure!(
            service.restarts() == 3 && node.config()? == node.original,
            "{} restarts",
            service.restarts()
        );
        Ok(())
    })
}

#[test]
fn two_at_once_do_the_work_of_one() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        for action in ["install", "uninstall"] {
            let mut other = node.command(&program, &[action, &restart]).spawn()?;
            node.run(&program, &[action, &restart])?.ok()?;
            ensure!(other.wait()?.success(), "the other {action} failed");
        }
        ensure!(
            service.restarts() == 2 && node.config()? == node.original,
            "{} restarts",
            service.restarts()
        );
        Ok(())
    })
}

#[test]
fn what_cannot_go_well_is_refused_before_anything_has_changed() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    let refused = |text: &str, args: &[&str], words: &[&str]| -> Result<()> {
        fs::write(node.host.path().join("containerd.toml"), text)?;
        node.refused(&program, &[&["install"], args].concat(), words)
    };
    let good = &node.original;
    refused("", &[], &["is of version 1", "put `version = 2`"])?;
    refused("version = [\n", &[], &["containerd.toml"])?;
    let cri = if good.contains("cri.v1.runtime") { "cri.v1.runtime" } else { "grpc.v1.cri" };
    refused(
        &format!("disabled_plugins = [\"io.containerd.{cri}\"]\n{good}"),
        &[],
        &["disabled_plugins has CRI"],
    )?;
    refused(&format!("{good}\n# BEGIN runsc-guard\n"), &[], &["has no line \"# END runsc-guard\""])?;
    refused(good, &["--handler", "gvisor"], &["has a handler gvisor that is not the guard's", "--handler"])?;
    let elsewhere = node.host.path().to_string_lossy().into_owned();
    let outcome = run(node.command(&program, &["install"]).args(["--bin-dir", &elsewhere]), b"", LATER)?;
    ensure!(outcome.code() == Some(2), "given twice: {outcome:?}");

    node.host.add_handler(&Handler::guarded(NAME).guard("kil_deadline", "\"2s\""))?;
    refused(good, &[], &["not fit", "kil_deadline: no such key"])?;
    node.host.add_handler(&Handler::guarded(NAME))?;
    let shim = node.host.path().join("bin/containerd-shim-runsc-v1");
    let toml = node.host.path().join("runsc-guard.toml");
    let text = fs::read_to_string(&toml)?;
    fs::write(&toml, text.replace("containerd-shim-runsc-v1\"", "no-such-shim\""))?;
    refused(good, &[], &["not fit", "gVisor's shim is not found"])?;
    ensure!(shim.exists());
    node.host.add_handler(&Handler::guarded(NAME))?;
    node.host.stop_containerd();
    node.refused(&program, &["install"], &["there is no containerd on"])
}

/// What an owner wrote by hand is his, and what he relies on stays.
#[test]
fn an_owners_own_handler_is_left_as_it_is() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    let config_path = node.host.path().join("runsc-guard.toml");
    // Then `install` writes one, and would take it away again.
    fs::remove_file(&config_path)?;
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        node.run(&program, &["install", &restart])?.ok()?;
        let owned = node.config()?.replace("# BEGIN", "# begin").replace("# END", "# end");
        node.rewrite(|_| owned.clone())?;
        let said = node.run(&program, &["install", &restart])?.ok()?;
        ensure!(said.contains("is its owner's: left as it is") && node.config()? == owned, "{said}");
        let outcome = node.run(&program, &["uninstall", &restart])?;
        ensure!(outcome.code() == Some(1) && outcome.stderr.contains("by somebody else"), "{outcome:?}");
        ensure!(node.config()? == owned && node.host.path().join("bin").join(GUARD).exists());
        ensure!(config_path.exists(), "the owner's handler names what was removed");

        let default = "default_runtime_name = \"runsc-guard\"";
        let table = node.table();
        node.rewrite(|_| format!("{}[{table}]\n{default}\n", node.original))?;
        node.run(&program, &["install", &restart])?.ok()?;
        node.refused(&program, &["uninstall", &restart], &["is the default handler"])?;
        ensure!(service.restarts() == 1, "{} restarts", service.restarts());
        Ok(())
    })
}

/// Whether it is a block or a file: what its operator has written there stays his.
#[test]
fn what_an_operator_has_added_stays_and_is_not_taken_away() -> Result<()> {
    for folder in [false, true] {
        let node = Node::new()?;
        let program = node.version("one")?;
        let file = if folder {
            importing(&node)?.join("runsc-guard.toml")
        } else {
            node.host.path().join("containerd.toml")
        };
        node.run(&program, &["install"])?.ok()?;
        let table = node.table();
        let typed = "  runtime_type = \"io.containerd.runsc-guard.v2\"\n";
        let annotated = format!("{typed}  pod_annotations = [\"io.containerd.runsc-guard.*\"]\n");
        let kata = format!("[{table}.runtimes.kata]\n  runtime_type = \"io.containerd.kata.v2\"\n");
        let own = format!("[{table}.runtimes.{NAME}]\n");
        let edited =
            fs::read_to_string(&file)?.replace(typed, &annotated).replace(&own, &format!("{kata}{own}"));
        fs::write(&file, &edited)?;
        node.run(&program, &["install"])?.ok()?;
        ensure!(fs::read_to_string(&file)? == edited, "what was added is gone");
        node.run(&program, &["install", "--handler", "other"])?.ok()?;
        let both = fs::read_to_string(&file)?;
        for word in ["pod_annotations", "kata", "runtimes.other]", &own] {
            ensure!(both.contains(word), "no {word}: {both}");
        }
        node.refused(&program, &["uninstall"], &["kata, which is not the guard's", "move its tables"])?;
        fs::write(&file, edited.replace(&kata, ""))?;
        node.run(&program, &["uninstall"])?.ok()?;
    }
    Ok(())
}

/// A containerd with a wedged sandbox that nobody guards would not end when it is told to.
#[test]
fn what_would_hold_up_the_restart_is_named_or_ended_first() -> Result<()> {
    let node = Node::new()?;
    let (program, cri) = (node.version("one")?, node.host.cri()?);
    let pod = cri.run_pod("gvisor", "hangs")?;
    let well = cri.run_pod("gvisor", "well")?;
    Sandbox::of(&node.host, &pod.id)?.stop_sentry()?;
    Service::of(&node.host, |service| {
        let restart = format!("--restart={}", service.restart());
        let words = ["tests/hangs", "stopped (state T)", "Nothing was changed", "--reap"];
        node.refused(&program, &["install", &restart], &words)?;
        let said = node.run(&program, &["install", &restart, "--reap", "--dry-run"])?.ok()?;
        ensure!(said.contains("would be ended first") && said.contains("tests/hangs"), "{said}");
        ensure!(service.restarts() == 0 && Sandbox::of(&node.host, &pod.id).is_ok(), "something was done");
        node.run(&program, &["install", &restart, "--reap"])?.ok()?;
        ensure!(service.restarts() == 1 && Sandbox::of(&node.host, &pod.id).is_err(), "it is there still");
        Sandbox::of(&node.host, &well.id).context("a healthy one was ended")?;
        node.run(&program, &["uninstall", &restart])?.ok().map(drop)
    })
}

/// Where the usual folder is part of the system's image, and where the configuration is a mount of its own.
#[test]
fn what_cannot_be_written_is_refused_with_what_to_do() -> Result<()> {
    let node = Node::new()?;
    let program = node.version("one")?;
    let installer = node.command(&program, &["install"]);
    let before = node.files()?;
    for (place, mode, words) in [
        ("bin", "ro", ["cannot be written", "--bin-dir", "node.binDir", "Read-only file system"]),
        (
            "containerd.toml",
            "rw",
            ["is a mount of its own", "its folder", "doctor --fix", "nothing was changed"],
        ),
    ] {
        let place = node.host.path().join(place);
        let script = format!(
            "mount --bind {0} {0} && mount -o remount,bind,{mode} {0} && exec \"$@\"",
            place.display()
        );
        let mut apart = Command::new("unshare");
        apart.args(["--mount", "sh", "-c", &script, "sh"]).arg(&program).args(installer.get_args());
        let outcome = run(&mut apart, b"", LATER)?;
        ensure!(outcome.code() == Some(1) && node.files()? == before, "{outcome:?}");
        for word in words {
            ensure!(outcome.stderr.contains(word), "does not say {word:?}: {}", outcome.stderr);
        }
    }
    Ok(())
}

/// The DaemonSet's own container, with its mounts, its capabilities and its command line.
#[test]
fn the_daemonset_installs_and_uninstalls() -> Result<()> {
    let node = Node::new()?;
    let image = node.version("image")?.with_file_name("");
    let (folder, socket) = (node.host.path().to_string_lossy(), node.host.socket());
    let bin = format!("{folder}/bin");
    Service::of(&node.host, |service| {
        let places = [
            ("\"--restart\"", format!("\"--restart={}\"", service.restart())),
            ("/run/containerd/containerd.sock", socket.to_string_lossy().into_owned()),
            ("/usr/local/bin", bin.clone()),
            ("/etc/containerd", folder.to_string()),
        ];
        let places = places.each_ref().map(|(there, here)| (*there, here.as_str()));
        let run = |set: &DaemonSet, name: &str, args: Option<&[&str]>| -> Result<String> {
            let root = tempfile::tempdir()?;
            let outcome = run(&mut set.container(name, args, root.path())?, b"", 4 * LATER)?;
            println!("{name}: {:?}\n{}{}", outcome.code(), outcome.stdout, outcome.stderr);
            outcome.ok()
        };
        let set = DaemonSet::read(&image, &places)?;
        run(&set, "install", None)?;
        run(&set, "install", None)?;
        ensure!(service.restarts() == 1, "{} restarts", service.restarts());
        let cri = node.host.cri()?;
        let pod = cri.run_pod(NAME, "guarded")?;
        // As `kubectl exec` would.
        let listed = run(&set, "metrics", Some(&["--root=/host", "ls", "-o", "json"]))?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        let one = listed.as_array().into_iter().flatten().find(|one| one["id"] == pod.id.as_str());
        let one = one.with_context(|| format!("does not see the pod: {listed}"))?;
        ensure!(one["state"] == "running" && one["guard"].is_object(), "{one}");

        let set = set.uninstalling();
        let refused = run(&set, "uninstall", None).err().context("not refused")?;
        ensure!(refused.to_string().contains("tests/guarded"), "{refused}");
        cri.end_pod(&pod)?;
        run(&set, "uninstall", None)?;
        run(&set, "uninstall", None)?;
        ensure!(
            node.config()? == node.original && service.restarts() == 2,
            "{} restarts",
            service.restarts()
        );
        ensure!(!node.host.path().join("bin").join(GUARD).exists(), "the guard is left");
        Ok(())
    })
}
