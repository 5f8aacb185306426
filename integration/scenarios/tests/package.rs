//! What `hack/package/release` makes: the same bytes twice, the same content in each envelope; and the .deb's life on a node,
//! where pods run while it is upgraded and while somebody tries to remove it. dpkg runs really, on this machine's own root
//! under an overlay.

mod content;
mod repository;
mod trust;

use anyhow::{Context as _, Result, ensure};
use content::{LONG, Packed, digest, of_deb, of_rpm, of_tarball};
use harness::{
    Cri, Handler, Host, Parts, Pod, PodContainer, Root, SOON, Shared, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    patience,
    process::Process,
    release, run,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command},
};
use tempfile::TempDir;

const GUARD: &str = "usr/bin/containerd-shim-runsc-guard-v2";
const OPERATOR: &str = "usr/bin/runsc-guard";
const UNIT: &str = "usr/lib/systemd/system/runsc-guard-metrics.service";

/// What hack/package/release made, for both tests.
static RELEASE: Shared<TempDir> = Shared::new();

/// The one file in `folder` whose name ends so.
fn made(folder: &Path, end: &str) -> Result<PathBuf> {
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.to_string_lossy().ends_with(end)).with_context(|| format!("no {end}"))
}

#[test]
fn a_release_is_the_same_twice_and_in_each_envelope() -> Result<()> {
    let (one, other) = (RELEASE.get(release)?, release()?);
    let sums = fs::read_to_string(one.path().join("SHA256SUMS"))?;
    ensure!(sums == fs::read_to_string(other.path().join("SHA256SUMS"))?, "another folder, other bytes");
    ensure!(sums.lines().count() == 7, "{sums}");
    run(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(one.path()),
        b"",
        SOON,
    )?
    .ok()?;

    let (deb, rpm) = (made(one.path(), ".deb")?, made(one.path(), ".rpm")?);
    let (mut debs, mut rpms) = (of_deb(&deb)?, of_rpm(&rpm)?);
    let mut tars = of_tarball(&made(one.path(), ".tar.gz")?)?;
    println!("{:#?}", debs.keys());
    for (binary, from) in
        [(GUARD, Parts::pinned()?.guard), (OPERATOR, Parts::pinned()?.guard.with_file_name("runsc-guard"))]
    {
        let packed = Packed { mode: 0o755, digest: digest(&fs::read(from)?) };
        ensure!(debs.get(binary.trim_start_matches("usr/")) == Some(&packed), "{binary} is another one");
    }
    // What each envelope wants to have its own way.
    for own in ["copyright", "changelog.gz"] {
        debs.remove(&format!("share/doc/runsc-guard/{own}")).context(own)?;
    }
    let zsh = debs.remove("share/zsh/vendor-completions/_runsc-guard").context("zsh")?;
    debs.insert("share/zsh/site-functions/_runsc-guard".to_owned(), zsh);
    for others in [&mut rpms, &mut tars] {
        others.remove("share/doc/runsc-guard/LICENSE").context("LICENSE")?;
    }
    ensure!(debs == rpms, "{debs:#?}\n{rpms:#?}");
    let unit = UNIT.trim_start_matches("usr/");
    ensure!(
        tars.remove(unit).context("unit")? != debs.remove(unit).context("unit")?,
        "the tarball is for /usr/local"
    );
    ensure!(debs == tars, "{debs:#?}\n{tars:#?}");

    let field = |name: &str| -> Result<String> {
        Ok(run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name), b"", SOON)?
            .ok()?
            .trim()
            .to_owned())
    };
    ensure!(field("Package")? == "runsc-guard" && field("Architecture")? == "amd64");
    ensure!(field("Version")? == env!("CARGO_PKG_VERSION") && field("Depends")?.is_empty());
    let about = run(
        Command::new("rpm")
            .args(["-qp", "--queryformat", "%{NAME} %{VERSION} %{ARCH} %{BUILDHOST}"])
            .arg(&rpm),
        b"",
        SOON,
    )?
    .ok()?;
    ensure!(about == concat!("runsc-guard ", env!("CARGO_PKG_VERSION"), " x86_64 reproducible"), "{about}");
    Ok(())
}

/// The same content under a higher version.
fn upgraded(deb: &Path, folder: &Path) -> Result<(PathBuf, String)> {
    let (tree, upgrade) = (folder.join("tree"), folder.join("upgrade.deb"));
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree), b"", LONG)?.ok()?;
    let version = concat!(env!("CARGO_PKG_VERSION"), "+1");
    let control = fs::read_to_string(tree.join("DEBIAN/control"))?;
    let changed = control
        .replace(concat!("\nVersion: ", env!("CARGO_PKG_VERSION"), "\n"), &format!("\nVersion: {version}\n"));
    ensure!(changed != control, "{control}");
    fs::write(tree.join("DEBIAN/control"), changed)?;
    run(
        Command::new("dpkg-deb").args(["--root-owner-group", "-Zgzip", "--build"]).arg(&tree).arg(&upgrade),
        b"",
        LONG,
    )?
    .ok()?;
    Ok((upgrade, version.to_owned()))
}

struct Running {
    pod: Pod,
    container: PodContainer,
    guard: Process,
    sandbox: Sandbox,
}

fn start(host: &Host, cri: &Cri, name: &str) -> Result<Running> {
    let pod = cri.run_pod("guarded", name)?;
    let container = cri.run_container(&pod, "main", &["sleep", "100000"])?;
    let sandbox = Sandbox::of(host, &pod.id)?;
    let guard = sandbox.guard.clone().context("no guard")?;
    Ok(Running { pod, container, guard, sandbox })
}

fn answers(cri: &Cri, running: &Running) -> Result<()> {
    let answer = cri.exec(&running.container, &["echo", "here"], patience(SOON))?;
    ensure!(answer.stdout == b"here\n", "{answer:?}");
    Ok(())
}

/// As a kubelet does: until it works.
fn end(cri: &Cri, running: &Running) -> Result<()> {
    eventually(SOON, "the pod stops", || cri.stop_pod(&running.pod, SOON).ok())?;
    cri.remove_pod(&running.pod, patience(SOON))
}

/// The unit's command sees a node with no more than the unit's capabilities.
fn the_unit_has_what_it_needs(host: &Host, root: &Root) -> Result<()> {
    let unit = fs::read_to_string(root.path().join(UNIT))?;
    let of =
        |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key}"));
    ensure!(of("ExecStart=")?.starts_with(&format!("/{OPERATOR} metrics --listen 127.0.0.1:")), "{unit}");
    let capabilities: String = of("CapabilityBoundingSet=CAP_")?
        .to_lowercase()
        .split(" cap_")
        .map(|name| format!(",+{name}"))
        .collect();
    let metrics = |command: &mut Command| -> Result<Vec<String>> {
        command.arg(root.path().join(OPERATOR)).args(["--namespace", "k8s.io", "metrics"]);
        command.arg("--report-dir").arg(host.path().join("reports"));
        let told = run(command, b"", SOON)?.ok()?;
        let kinds = ["runsc_guard_sandboxes{", "runsc_guard_guards{", "runsc_guard_reports_"];
        Ok(told
            .lines()
            .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
            .map(str::to_owned)
            .collect())
    };
    let bound = metrics(
        Command::new("setpriv")
            .arg(format!("--bounding-set=-all{capabilities}"))
            .args(["--no-new-privs", "--"]),
    )?;
    ensure!(
        bound.iter().any(|line| line.contains("state=\"running\"") && !line.ends_with(" 0")),
        "{bound:#?}"
    );
    ensure!(bound.iter().any(|line| line.contains("answers=\"yes\"") && !line.ends_with(" 0")), "{bound:#?}");
    Ok(())
}

/// A containerd that starts while the binary is missing forgets the pod, which runs on: nobody will ever end it.
fn why_removal_waits(host: &Host, cri: &Cri, guard: &Path) -> Result<()> {
    let lost = start(host, cri, "lost")?;
    let bundle = host.bundle("k8s.io", &lost.pod.id);
    let aside = guard.with_extension("aside");
    fs::rename(guard, &aside)?;
    host.restart_containerd()?;
    fs::rename(&aside, guard)?;
    ensure!(!bundle.exists() && lost.sandbox.sentry.is_alive() && lost.guard.is_alive(), "not lost");
    host.end()
}

/// A node within this one (kind, a cluster in namespaces), where something runs under the name of the guard: its own.
struct AnotherNode {
    _root: Root,
    _run: TempDir,
    guard: Child,
}

impl AnotherNode {
    fn new() -> Result<Self> {
        let (root, run) = (Root::new()?, tempfile::tempdir()?);
        fs::copy("/bin/sleep", root.path().join(GUARD))?;
        let guard = root.node(run.path(), &Path::new("/").join(GUARD)).arg("100000").spawn()?;
        let link = format!("/proc/{}/exe", guard.id());
        eventually(SOON, "it runs", || {
            fs::read_link(&link).is_ok_and(|path| path == Path::new("/").join(GUARD)).then_some(())
        })?;
        Ok(Self { _root: root, _run: run, guard })
    }

    /// It is still there, and ends now.
    fn end(mut self) -> Result<()> {
        ensure!(self.guard.try_wait()?.is_none(), "it has ended by itself");
        Ok(())
    }
}

impl Drop for AnotherNode {
    fn drop(&mut self) {
        // Our own unreaped child.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

#[test]
fn a_package_is_installed_upgraded_and_removed_while_pods_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let release = RELEASE.get(release)?;
    let deb = made(release.path(), ".deb")?;
    let root = Root::new()?;
    ensure!(root.status()? == "none", "a runsc-guard is installed on this machine");
    root.install(&deb)?;
    ensure!(root.status()? == concat!(env!("CARGO_PKG_VERSION"), " installed"));
    root.run("dpkg", &["--verify", "runsc-guard"])?.ok()?;
    println!("brought: {:#?}", root.brought());
    let of_package: BTreeSet<String> = of_deb(&deb)?.into_keys().map(|path| format!("usr/{path}")).collect();
    ensure!(of_package.is_subset(&root.brought()), "not all is there");
    ensure!(root.brought().iter().all(|path| path.starts_with("usr/")), "{:#?}", root.brought());

    let guard = root.path().join(GUARD);
    let parts = Parts { guard: guard.clone(), ..Parts::pinned()? };
    let handler = Handler::quick("guarded", "2s");
    let host = Host::builder().parts(parts).handler(handler).start()?;
    let (cri, before) = (host.cri()?, Resources::of(&host));

    let wedged = start(&host, &cri, "wedged")?;
    ensure!(wedged.guard.exe().as_ref() == Some(&guard), "{:?}", wedged.guard.exe());
    wedged.sandbox.stop_sentry()?;
    end(&cri, &wedged)?;
    assert_nothing_left(&host, &before, SOON)?;

    let old = start(&host, &cri, "old")?;
    the_unit_has_what_it_needs(&host, &root)?;
    let inode = fs::metadata(&guard)?.ino();
    let (upgrade, version) = upgraded(&deb, folder.path())?;
    root.install(&upgrade)?;
    ensure!(root.status()? == format!("{version} installed") && fs::metadata(&guard)?.ino() != inode);
    answers(&cri, &old)?;
    let new = start(&host, &cri, "new")?;
    let replaced = PathBuf::from(format!("{} (deleted)", guard.display()));
    ensure!(
        old.guard.exe() == Some(replaced) && new.guard.exe().as_ref() == Some(&guard),
        "{:?} {:?}",
        old.guard.exe(),
        new.guard.exe()
    );

    let refused = root.run("dpkg", &["--remove", "runsc-guard"])?;
    println!("{}", refused.stderr);
    ensure!(!refused.success() && refused.stderr.contains("guarded pods are running"), "{refused:?}");
    for pid in [old.guard.pid, new.guard.pid] {
        ensure!(refused.stderr.contains(&format!(" {pid}")), "{pid} is not named: {}", refused.stderr);
    }
    ensure!(root.status()? == format!("{version} installed"), "{}", root.status()?);
    ensure!(of_package.is_subset(&root.brought()), "something went");
    for running in [&old, &new] {
        answers(&cri, running)?;
        end(&cri, running)?;
    }
    assert_nothing_left(&host, &before, SOON)?;

    why_removal_waits(&host, &cri, &guard)?;
    let another = AnotherNode::new()?;

    // As a guard makes it.
    let reports = root.path().join("var/log/runsc-guard");
    fs::create_dir(&reports)?;
    fs::set_permissions(&reports, fs::Permissions::from_mode(0o700))?;
    fs::write(reports.join("1-k8s.io-x.json"), "{}")?;
    root.run("dpkg", &["--remove", "runsc-guard"])?.ok()?;
    another.end()?;
    let kept = ["var/log/runsc-guard", "var/log/runsc-guard/1-k8s.io-x.json"].map(str::to_owned);
    ensure!(root.brought() == kept.into(), "{:#?}", root.brought());
    root.run("dpkg", &["--purge", "runsc-guard"])?.ok()?;
    ensure!(root.brought().is_empty() && root.status()? == "none", "{:#?}", root.brought());
    Ok(())
}
