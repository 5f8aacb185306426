//! What a process says of itself is nobody's word (rules 1 and 9): everything that can be said, by everybody who can be on
//! a node, with pids below and above the real one's, to the guard, its `delete` and each of the operator's commands.

use super::{
    bystanders::Bystanders,
    operator::{operator, operator_in},
};
use anyhow::{Context as _, Result, ensure};
use harness::{
    Fuse, Guise, Handler, Host, Parts, SOON, Troupe, Versions, eventually,
    faults::{self, Sandbox},
    leaks::{Resources, assert_nothing_left},
    process::Process,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

/// What `ls` promises, whatever hangs.
const PROMISE: Duration = Duration::from_secs(2);
/// A word that is longer than what is read of a command line.
const OVERLONG: usize = 100_000;
/// Ids that no sandbox has.
const NOBODYS: [&str; 4] = ["impostor", "\u{1b}[31mred", "--setup-root=false", "../../etc"];

/// Id and state of every sandbox in the host's namespace.
fn states(host: &Host) -> Result<Vec<(String, String)>> {
    let outcome = operator(host, &["ls", "-o", "json"])?;
    ensure!(outcome.took < PROMISE, "ls took {:?}", outcome.took);
    let all: Vec<Value> = serde_json::from_str(&outcome.ok()?)?;
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    Ok(all.iter().map(|one| (text(one, "id"), text(one, "state"))).collect())
}

/// Places that no look may be led to: a FIFO, a volume whose server does not answer, and a stranger's own folder, in which
/// a link leads to the real files and `config.json` says what CRI would.
struct Traps {
    fifo: PathBuf,
    fuse: Arc<Fuse>,
    strangers: PathBuf,
}

impl Traps {
    fn lay(host: &Host) -> Result<Self> {
        let (fifo, strangers) = (host.path().join("fifo"), host.path().join("strangers"));
        ensure!(Command::new("mkfifo").arg(&fifo).status()?.success(), "no FIFO");
        fs::create_dir(&strangers)?;
        let root = host.runsc_root(host.tag());
        symlink(root.parent().context("no root")?, strangers.join("link"))?;
        symlink(host.bundle(host.tag(), "neighbour"), strangers.join("neighbour"))?;
        for id in ["impostor", "bare"] {
            fs::create_dir(strangers.join(id))?;
            let annotations = serde_json::json!({
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.sandbox-id": "neighbour",
                "io.kubernetes.cri.sandbox-name": "impostor",
                "io.kubernetes.cri.sandbox-namespace": "impostor",
            });
            let config = serde_json::json!({ "ociVersion": "1.2.0", "annotations": annotations });
            fs::write(strangers.join(id).join("config.json"), config.to_string())?;
            for file in ["address", "state.json", "runsc-guard.json"] {
                fs::write(strangers.join(id).join(file), "{}")?;
            }
        }
        let all = Command::new("chown").args(["-Rh", "65534:65534"]).arg(&strangers).status()?;
        ensure!(all.success(), "chown: {all}");
        let fuse = faults::fuse_volume(host, Path::new("volumes/trap"))?;
        fuse.hang();
        Ok(Self { fifo, fuse, strangers })
    }

    /// Nothing of the guard's has even asked for what the server holds. (Somebody else's `df` may have.)
    fn assert_avoided(&self) -> Result<()> {
        if self.fuse.held() == 0 {
            return Ok(());
        }
        let waits = |one: &Process| {
            let threads = fs::read_dir(format!("/proc/{}/task", one.pid)).into_iter().flatten().flatten();
            let channels = threads.filter_map(|thread| fs::read_to_string(thread.path().join("wchan")).ok());
            channels.into_iter().any(|channel| channel.contains("fuse") || channel.contains("request_wait"))
        };
        let is_ours = |one: &Process| one.args.first().is_some_and(|name| name.contains("runsc-guard"));
        let all = Process::all();
        let waiting: Vec<String> =
            all.iter().filter(|one| is_ours(one) && waits(one)).map(ToString::to_string).collect();
        ensure!(waiting.is_empty(), "led to the volume that hangs: {waiting:#?}");
        Ok(())
    }
}

/// Everything that can be said of the sandbox `id`: the words, and whether whoever says it stops.
fn lines(host: &Host, id: &str, traps: &Traps) -> Vec<(Vec<String>, bool)> {
    let root = host.runsc_root(host.tag()).display().to_string();
    let bundle = host.bundle(host.tag(), id).display().to_string();
    let socket = host.socket().display().to_string();
    let me = std::process::id();
    let (hung, strangers) = (traps.fuse.point().display(), traps.strangers.display());
    let sentry = |root: &str, id: &str| format!("runsc-sandbox --root={root} boot --bundle={bundle} {id}");
    let mut all = vec![
        (sentry(&root, id), true),
        (sentry(&format!("/proc/{me}/root{root}"), id), true),
        (sentry(&traps.fifo.display().to_string(), id), true),
        (sentry(&format!("{hung}/{}", host.tag()), id), true),
        (format!("runsc-gofer --root={root} gofer --bundle={hung}/{id} {id}"), true),
        (sentry(&format!("{strangers}/link/{}", host.tag()), id), true),
        (format!("runsc-gofer --root={root} gofer --bundle={strangers}/{id} {id}"), true),
        (format!("runsc-gofer --root={root} gofer --bundle={strangers}/impostor impostor"), true),
        (format!("runsc-gofer --root={root} gofer --bundle={bundle}/rootfs {id}"), true),
        (format!("runsc-gofer --root={root} gofer --bundle={bundle}/../impostor impostor"), true),
        (format!("runsc-sandbox\n --root={root}  boot --bundle={bundle} {id}"), true),
        (format!("runsc-sandbox  --root={root} boot --bundle={bundle} {id}\n"), true),
        (
            format!("runsc-sandbox --root={root} boot --bundle={bundle} --x={} {id}", "x".repeat(OVERLONG)),
            true,
        ),
        (format!("runsc-gofer --root={root} gofer --bundle {bundle} {id}"), true),
        (format!("runsc --root={root} kill {id} 9"), false),
        (format!("runsc --root {root} --log-format json create --bundle {bundle} {id}"), false),
        (format!("/x/containerd-shim-runsc-v1 -namespace {} -address {socket} -id {id}", host.tag()), true),
        (
            format!("/x/containerd-shim-runsc-guard-v2 -namespace {} -id {id} -address {socket}", host.tag()),
            true,
        ),
        ("x -namespace x -address /x -id impostor".to_owned(), true),
        (
            format!("containerd-shim-runsc-v1 -namespace {} -id {id} -bundle {bundle}/rootfs", host.tag()),
            true,
        ),
    ];
    for nobodys in NOBODYS {
        all.push((sentry(&root, nobodys), true));
        all.push((sentry(&format!("/nowhere/{}", host.tag()), nobodys), true));
        all.push((format!("runsc --root=/nowhere/{} create --bundle={bundle} {nobodys}", host.tag()), false));
    }
    all.into_iter().map(|(line, stops)| (line.split(' ').map(str::to_owned).collect(), stops)).collect()
}

/// All that can be said, once by each who can say it.
fn cast(host: &Host, troupe: &mut Troupe, ids: &[&str], traps: &Traps) -> Result<()> {
    for (at, id) in ids.iter().enumerate() {
        for (turn, (line, stops)) in lines(host, id, traps).into_iter().enumerate() {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            // What is said of a real sandbox everybody says, the rest each in turn.
            let guises: Vec<Guise> = match turn {
                0 | 3 | 4 => Guise::ALL.to_vec(),
                _ => vec![Guise::ALL[(turn + at) % Guise::ALL.len()]],
            };
            for guise in guises {
                troupe.enter(guise, &words, stops)?;
            }
        }
    }
    Ok(())
}

fn assert_nobody_believes_them(host: &Host, troupe: &Troupe, traps: &Traps) -> Result<()> {
    let expected = [("bare", "running"), ("neighbour", "running")];
    let expected: Vec<(String, String)> =
        expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect();
    let found = states(host)?;
    ensure!(found == expected, "{found:?} instead of {expected:?}");
    for args in [
        &["show", "neighbour"][..],
        &["show", "bare"],
        &["metrics"],
        &["doctor"],
        &["reap", "--wedged", "--dry-run"],
        &["reap", "--orphaned", "--dry-run"],
        &["reap", "--wedged", "--yes"],
        &["reap", "--orphaned", "--yes"],
        &["reap", "impostor", "--yes"],
    ] {
        let outcome = operator(host, args)?;
        ensure!(!outcome.timed_out() && outcome.took < 3 * SOON, "{outcome:?}");
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        for nobodys in NOBODYS {
            ensure!(
                args.contains(&nobodys) || !outcome.stdout.contains(nobodys),
                "{args:?} names {nobodys:?}"
            );
        }
        ensure!(!said.contains("wedged:") && !said.contains("panicked"), "{args:?}: {said}");
        for one in troupe.members() {
            let pid = one.process.pid.to_string();
            let named = outcome.stdout.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == pid);
            ensure!(!(named && args[0] != "metrics"), "{args:?} names {one}");
        }
        troupe.assert_let_alone().with_context(|| format!("{args:?}"))?;
        traps.assert_avoided().with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

#[test]
fn whoever_claims_to_be_a_sandbox_is_not_believed() -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    let traps = Traps::lay(&host)?;
    let folder = host.path().join("troupe");
    let mut troupe = Troupe::new(&folder, Path::new(env!("CARGO_BIN_EXE_impostor")))?;
    let socket = host.socket().display().to_string();
    for (name, value) in [
        ("TTRPC_ADDRESS", socket.as_str()),
        ("GRPC_ADDRESS", socket.as_str()),
        ("NAMESPACE", host.tag()),
        ("RUNSC_GUARD_BIN", "/nowhere"),
    ] {
        troupe.wear(name, value);
    }
    // Their pids are below the real ones', and then above.
    cast(&host, &mut troupe, &["neighbour", "bare"], &traps)?;
    let bystanders = Bystanders::start(&host)?;
    troupe.wear("IMPOSTOR_COMM", "runsc-sandbox");
    cast(&host, &mut troupe, &["neighbour", "bare"], &traps)?;
    traps.assert_avoided()?;
    assert_nobody_believes_them(&host, &troupe, &traps)?;
    bystanders.assert_well(&host)?;

    // A guard dies, and its `delete` looks for what was its.
    bystanders.guarded.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    let sentry = &bystanders.guarded.sentry;
    eventually(SOON, "its sandbox has ended", || (!sentry.is_alive()).then_some(()))?;
    eventually(SOON, "containerd lets go of it", || host.ctr().delete_container("neighbour").ok())?;
    troupe.assert_let_alone()?;
    traps.assert_avoided()?;
    traps.fuse.answer();
    traps.fuse.end()
}

/// A node within the node has sandboxes of its own, with the same names in the same places. A guard dies, and its
/// `delete` looks for what was its.
#[test]
fn a_dead_guards_delete_ends_nobody_in_namespaces_of_their_own() -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    let (ctr, before) = (host.ctr(), Resources::of(&host));
    let mut troupe = Troupe::new(&host.path().join("troupe"), Path::new(env!("CARGO_BIN_EXE_impostor")))?;
    let root = host.runsc_root(host.tag()).display().to_string();
    let bundle = host.bundle(host.tag(), "subject").display().to_string();
    let said = [
        format!("runsc-sandbox --root={root} boot --bundle={bundle} subject"),
        format!("runsc-gofer --root={root} gofer --bundle={bundle} subject"),
        format!("runsc --root={root} wait subject"),
    ];
    let enter = |troupe: &mut Troupe| {
        said.iter()
            .try_for_each(|line| troupe.enter(Guise::Nested, &line.split(' ').collect::<Vec<_>>(), false))
    };
    enter(&mut troupe)?;
    ctr.start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    enter(&mut troupe)?;
    let sandbox = Sandbox::of(&host, "subject")?;
    sandbox.guard.as_ref().context("no guard")?.signal(Signal::KILL)?;
    eventually(SOON, "its sandbox has ended", || (!sandbox.sentry.is_alive()).then_some(()))?;
    eventually(SOON, "containerd lets go of it", || ctr.delete_container("subject").ok())?;
    troupe.assert_let_alone()?;
    drop(troupe);
    assert_nothing_left(&host, &before, SOON)
}

/// gVisor's shim of before 2026-05 does not say whom it serves, and its processes' last word is a flag.
#[test]
fn a_shim_that_does_not_name_its_container_keeps_it_all_the_same() -> Result<()> {
    let all = Versions::all()?;
    let old = all.into_iter().find(|one| one.containerd == "2.4.2" && one.gvisor == "2025-05");
    let parts = Parts::of(old.context("not pinned")?)?;
    let host = Host::builder().parts(parts).handler(Handler::unguarded("unguarded")).start()?;
    let cri = host.cri()?;
    let pod = cri.run_pod("unguarded", "old")?;
    cri.run_container(&pod, "c", &["sleep", "100000"])?;
    let sandbox = Sandbox::of(&host, &pod.id)?;
    let listed: Vec<Value> =
        serde_json::from_str(&operator_in(&host, "k8s.io", &["ls", "-o", "json"])?.ok()?)?;
    let root = host.runsc_root("k8s.io").display().to_string();
    let ours: Vec<(&str, &str)> = listed
        .iter()
        .filter(|one| one["runsc_root"] == root.as_str())
        .map(|one| (one["id"].as_str().unwrap_or_default(), one["state"].as_str().unwrap_or_default()))
        .collect();
    ensure!(ours == [(pod.id.as_str(), "running")], "{ours:?}");
    // Others' sandboxes are in that namespace, too.
    let orphans = operator_in(&host, "k8s.io", &["reap", "--orphaned", "--dry-run"])?;
    ensure!(!orphans.stdout.contains(&pod.id), "{orphans:?}");
    ensure!(sandbox.sentry.is_alive(), "it was ended");
    cri.stop_pod(&pod, SOON)?;
    cri.remove_pod(&pod, SOON)
}

/// Docker's runc shim writes `--root VALUE` in two words. What hangs is seen, and a sentry that answers is let alone.
#[test]
fn a_hung_command_with_its_root_in_two_words_is_seen() -> Result<()> {
    let host = Host::pair(Handler::quick("guarded", "1s"))?;
    let ctr = host.ctr();
    ctr.start(&host.handler("unguarded")?, "bare", &["sleep", "100000"])?;
    let sandbox = Sandbox::of(&host, "bare")?;
    let lock = faults::hold_lock(&host, &ctr, "bare")?;
    let mut kill = Command::new(&host.parts().runsc)
        .arg("--root")
        .arg(host.runsc_root(host.tag()))
        .args(["--log-format", "json", "kill", "bare", "9"])
        .spawn()?;
    let seen = eventually(2 * SOON, "it is seen", || {
        let found = states(&host).ok()?;
        (found == [("bare".to_owned(), "wedged".to_owned())]).then_some(())
    });
    let reaped = seen.and_then(|()| operator(&host, &["reap", "--wedged", "--yes"]));
    // Our own child, not yet waited for, and before it could do what it was told.
    kill.kill()?;
    kill.wait()?;
    drop(lock);
    let reaped = reaped?;
    ensure!(reaped.stdout.contains("left alone") && sandbox.sentry.is_alive(), "{reaped:?}");
    ctr.remove("bare")
}
