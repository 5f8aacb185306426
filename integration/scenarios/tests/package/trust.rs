//! What a release says of itself: signature, provenance, notes; and the image that systemd merges into /usr.

use super::{
    LONG, RELEASE,
    content::{digest, of_tarball},
    made,
};
use anyhow::{Context as _, Result, ensure};
use harness::{SOON, checkout, release, run, talos};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A copy of the release, to be changed.
fn copy(folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("release");
    run(Command::new("cp").arg("-r").arg(RELEASE.get(release)?.path()).arg(&copy), b"", LONG)?.ok()?;
    Ok(copy)
}

fn minisign() -> Result<PathBuf> {
    let built =
        run(Command::new(checkout().join("hack/lib/go-tool")).arg("minisign"), b"", LONG * 4)?.ok()?;
    Ok(Path::new(built.trim()).join("minisign"))
}

#[test]
fn a_release_is_signed_and_any_change_of_it_is_seen() -> Result<()> {
    let (scratch, minisign) = (tempfile::tempdir()?, minisign()?);
    let release = copy(scratch.path())?;
    let (secret, public) = (scratch.path().join("key"), scratch.path().join("key.pub"));
    let make = |secret: &Path, public: &Path| -> Result<String> {
        run(Command::new(&minisign).args(["-G", "-W", "-s"]).arg(secret).arg("-p").arg(public), b"", SOON)?
            .ok()?;
        let text = fs::read_to_string(public)?;
        Ok(text.lines().last().context("no key")?.to_owned())
    };
    let key = make(&secret, &public)?;
    let sign = || -> Result<_> {
        run(Command::new(checkout().join("hack/package/sign")).arg(&release).arg(&secret), b"", LONG)
    };
    sign()?.ok()?;

    // The page's own words, by the key that was made here.
    let page = harness::Page::read("hack/docs/packages.md")?.block("Who made it", "minisign")?;
    let path = format!("{}:{}", minisign.with_file_name("").display(), std::env::var("PATH")?);
    let verify = |key: &str| {
        let lines = format!("set -e\n{}", page.replace("KEY", key));
        run(Command::new("sh").args(["-c", &lines]).env("PATH", &path).current_dir(&release), b"", SOON)
    };
    verify(&key)?.ok()?;
    let other = make(&scratch.path().join("other"), &scratch.path().join("other.pub"))?;
    ensure!(!verify(&other)?.success(), "another key's signature passes");

    let notes = release.join("release-notes.md");
    fs::write(&notes, fs::read_to_string(&notes)? + "more\n")?;
    ensure!(!verify(&key)?.success(), "a changed file passes");
    ensure!(!sign()?.success(), "what is not as its sums say was signed");
    let sums = run(Command::new("sh").args(["-c", "sha256sum r*"]).current_dir(&release), b"", SOON)?.ok()?;
    fs::write(release.join("SHA256SUMS"), sums)?;
    ensure!(!verify(&key)?.success(), "changed sums pass");
    fs::write(release.join("stowaway"), "")?;
    ensure!(!sign()?.success(), "a file that no sum covers was signed beside");
    Ok(())
}

#[test]
fn provenance_and_notes_are_of_this_release() -> Result<()> {
    let release = RELEASE.get(release)?;
    let release = release.path();
    let text = fs::read_to_string(made(release, ".intoto.json")?)?;
    let statement: Value = serde_json::from_str(&text)?;
    ensure!(statement["_type"] == "https://in-toto.io/Statement/v1", "{statement:#}");
    ensure!(statement["predicateType"] == "https://slsa.dev/provenance/v1", "{statement:#}");
    let subjects = statement["subject"].as_array().context("no subject")?;
    let told: BTreeMap<_, _> =
        subjects.iter().map(|one| (one["name"].as_str(), one["digest"]["sha256"].as_str())).collect();
    // All but the statement itself, and the sums, which have it.
    for entry in fs::read_dir(release)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "SHA256SUMS" && !name.ends_with(".intoto.json") {
            let bytes = fs::read(entry.path())?;
            ensure!(told.get(&Some(&*name)) == Some(&Some(&*digest(&bytes))), "{name}: {told:#?}");
        }
    }
    let build = &statement["predicate"]["buildDefinition"];
    ensure!(build["externalParameters"]["binariesBrought"] == true, "{build:#}");
    let commit =
        run(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(checkout()), b"", SOON)?.ok()?;
    ensure!(build["resolvedDependencies"][0]["digest"]["gitCommit"] == commit.trim(), "{build:#}");

    let notes = fs::read_to_string(release.join("release-notes.md"))?;
    let page = fs::read_to_string(checkout().join("hack/docs/changelog.md"))?;
    let its = page.split(&format!("\n## {VERSION}\n")).nth(1).context("no section")?;
    let its = its.split("\n## ").next().unwrap_or_default().trim();
    ensure!(notes == format!("# runsc-guard {VERSION}\n\n{its}\n"), "{notes}");
    Ok(())
}

/// The content of a folder: digests by path, of regular files.
fn files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let found = harness::traces::files_below(folder).into_iter().map(|path| {
        Ok((path.strip_prefix(folder)?.to_string_lossy().into_owned(), digest(&fs::read(&path)?)))
    });
    found.collect()
}

#[test]
fn systemd_merges_the_image() -> Result<()> {
    let (release, scratch) = (RELEASE.get(release)?, tempfile::tempdir()?);
    let release = release.path();
    let (image, root) = (made(release, ".raw")?, scratch.path().join("root"));
    let folder = root.join("var/lib/extensions/runsc-guard");
    fs::create_dir_all(folder.with_file_name(""))?;
    run(Command::new("unsquashfs").args(["-no-progress", "-dest"]).arg(&folder).arg(&image), b"", LONG)?
        .ok()?;
    let mut inside = files(&folder)?;
    let mark = inside.remove("usr/lib/extension-release.d/extension-release.runsc-guard");
    ensure!(mark == Some(digest(b"ID=_any\nARCHITECTURE=x86-64\n")), "{inside:#?}");
    let tarball = of_tarball(&made(release, ".tar.gz")?)?;
    for program in ["bin/containerd-shim-runsc-guard-v2", "bin/runsc-guard"] {
        let packed = tarball.get(program).context(program)?;
        ensure!(inside.remove(&format!("usr/{program}")).as_ref() == Some(&packed.digest), "{program}");
    }
    let unit = inside.remove("usr/lib/systemd/system/runsc-guard-metrics.service");
    ensure!(unit.is_some() && inside.is_empty(), "{inside:#?}");

    // Of any system of that architecture.
    fs::create_dir_all(root.join("usr/lib"))?;
    fs::write(root.join("usr/lib/os-release"), "ID=flatcar\nVERSION_ID=4459.2.0\n")?;
    let merge = format!(
        "mount --make-rshared / && mount -t tmpfs tmpfs /run && systemd-sysext --root={0} merge && \
         sha256sum {0}/usr/bin/runsc-guard && systemd-sysext --root={0} unmerge",
        root.display()
    );
    // The mounts are of this namespace, whose peers are its own, and end with it.
    let told = run(Command::new("unshare").args(["--mount", "sh", "-c", &merge]), b"", LONG)?.ok()?;
    ensure!(told.contains(&tarball["bin/runsc-guard"].digest), "{told}");
    Ok(())
}

#[test]
fn talos_own_list_would_build_the_same_extension() -> Result<()> {
    let (scratch, release) = (tempfile::tempdir()?, RELEASE.get(release)?);
    let release = release.path();
    let package = scratch.path().join("pkg");
    let mut contrib = Command::new(checkout().join("hack/talos/contrib"));
    run(contrib.arg(release).arg("https://example.org/releases").arg(&package), b"", LONG)?.ok()?;

    // What bldr does: the variables, then the steps, with the source where it was fetched.
    let mut variables =
        BTreeMap::from([("VERSION".to_owned(), VERSION.to_owned()), ("TIER".into(), "contrib".into())]);
    let vars = fs::read_to_string(package.join("vars.yaml"))?;
    for line in vars.lines().filter(|line| line.starts_with("RUNSC_GUARD_")) {
        let (name, value) = line.split_once(": ").context("no value")?;
        variables.insert(name.to_owned(), value.to_owned());
    }
    let rendered = |name: &str| -> Result<String> {
        let text = fs::read_to_string(package.join(name))?;
        Ok(variables
            .iter()
            .fold(text, |text, (name, value)| text.replace(&format!("{{{{ .{name} }}}}"), value)))
    };
    let steps = rendered("pkg.yaml")?;
    let tarball = made(release, ".tar.gz")?;
    let sum = digest(&fs::read(&tarball)?);
    ensure!(steps.contains(&format!("sha256: {sum}")), "{steps}");
    let file_name = tarball.file_name().context("no name")?.to_string_lossy().into_owned();
    ensure!(steps.contains(&format!("- url: https://example.org/releases/{file_name}\n")), "{steps}");
    let install =
        steps.split("    install:\n      - |\n").nth(1).and_then(|rest| rest.split("    test:\n").next());
    let extension = scratch.path().join("extension");
    fs::create_dir_all(&extension)?;
    let script = install.context("no steps")?.replace("/rootfs", &format!("{}/rootfs", extension.display()));
    let script = script.replace("/pkg/", &format!("{}/", package.display()));
    fs::copy(&tarball, scratch.path().join("runsc-guard.tar.gz"))?;
    run(Command::new("bash").args(["-euc", &script]).current_dir(&scratch), b"", LONG)?.ok()?;
    fs::write(extension.join("manifest.yaml"), rendered("manifest.yaml.tmpl")?)?;

    let built = talos::build()?;
    let ours = talos::Image::all(&built.join("extension"))?;
    let ours = ours.iter().find(|image| image.architecture == "amd64").context("no image")?;
    ours.unpack(&scratch.path().join("ours"))?;
    let (mut theirs, mut ours) = (files(&extension)?, files(&scratch.path().join("ours"))?);
    // Theirs names the tier.
    ensure!(theirs.remove("manifest.yaml").is_some() && ours.remove("manifest.yaml").is_some());
    ensure!(theirs == ours, "{theirs:#?}\n{ours:#?}");
    talos::check(&extension, "v1.13.5")
}
