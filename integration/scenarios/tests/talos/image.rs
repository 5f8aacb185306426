//! What is in the image, and what Talos demands of it.

use super::{BINARIES, architectures, extension, listing};
use anyhow::{Context as _, Result, ensure};
use harness::{SOON, checkout, run, talos};
use object::{
    Endianness, elf,
    read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _},
};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command};

#[test]
fn the_extension_is_what_talos_takes() -> Result<()> {
    for architecture in architectures() {
        let folder = extension(architecture)?;
        // Its own code does not look at modes any more than at a directory entry's type.
        let expected = [
            "manifest.yaml f 644",
            "rootfs d 755",
            "rootfs/etc d 755",
            "rootfs/etc/cri d 755",
            "rootfs/etc/cri/conf.d d 755",
            "rootfs/etc/cri/conf.d/15-runsc-guard.part f 644",
            "rootfs/etc/cri/conf.d/runsc-guard.toml f 644",
            "rootfs/usr d 755",
            "rootfs/usr/local d 755",
            "rootfs/usr/local/bin d 755",
            "rootfs/usr/local/bin/containerd-shim-runsc-guard-v2 f 755",
            "rootfs/usr/local/bin/runsc-guard f 755",
            "rootfs/usr/local/share d 755",
            "rootfs/usr/local/share/spdx d 755",
            "rootfs/usr/local/share/spdx/runsc-guard.spdx.json f 644",
        ];
        ensure!(listing(&folder)? == expected, "{:#?}", listing(&folder)?);
        for version in ["v1.10.0", "v1.13.5", "v1.14.0-rc.1"] {
            talos::check(&folder, version).with_context(|| format!("{architecture} on Talos {version}"))?;
        }
    }
    Ok(())
}

/// The judge can say no, and for the reason that is meant.
#[test]
fn talos_refuses_what_breaks_its_rules() -> Result<()> {
    for (what, script, version, reason) in [
        ("an older Talos", "true", "v1.9.9", "can't be satisfied"),
        ("a third thing at the top", "touch readme", "v1.13.5", "unexpected file"),
        ("a forbidden path", "touch rootfs/etc/passwd", "v1.13.5", "not allowed in extensions"),
        ("a special file", "mkfifo rootfs/usr/local/pipe", "v1.13.5", "special files are not allowed"),
        (
            "another manifest",
            "sed -i s/v1alpha1/v2/ manifest.yaml",
            "v1.13.5",
            "unsupported manifest version",
        ),
    ] {
        let scratch = tempfile::tempdir()?;
        let copy = scratch.path().join("extension");
        run(Command::new("cp").arg("-a").arg(extension("amd64")?).arg(&copy), b"", SOON)?.ok()?;
        run(Command::new("sh").args(["-e", "-c", script]).current_dir(&copy), b"", SOON)?.ok()?;
        let verdict = talos::check(&copy, version);
        ensure!(verdict.as_ref().is_err_and(|no| no.to_string().contains(reason)), "{what}: {verdict:?}");
    }
    Ok(())
}

/// Talos has no libc and no loader, and a shim for another processor fails only when the first pod comes.
#[test]
fn binaries_are_static_and_of_the_right_processor() -> Result<()> {
    for architecture in architectures() {
        let machine = if *architecture == "amd64" { elf::EM_X86_64 } else { elf::EM_AARCH64 };
        for name in BINARIES {
            let bytes = std::fs::read(extension(architecture)?.join("rootfs/usr/local/bin").join(name))?;
            let file = ElfFile64::<Endianness>::parse(&*bytes)?;
            let endian = file.endian();
            ensure!(
                file.elf_header().e_machine(endian) == machine,
                "{architecture}: {name}: wrong processor"
            );
            for header in file.elf_program_headers() {
                ensure!(header.p_type(endian) != elf::PT_INTERP, "{architecture}: {name} has an interpreter");
                // A static program that can be loaded anywhere relocates itself by such a table; it names no library.
                for entry in header.dynamic(endian, &*bytes)?.unwrap_or_default() {
                    ensure!(entry.tag(endian) != elf::DT_NEEDED, "{architecture}: {name} needs a library");
                }
            }
        }
    }
    Ok(())
}

/// Crates are seen in the binaries themselves, by the source files that panic messages name; and nothing of the machine
/// that built them is.
#[test]
fn the_sbom_names_what_the_binaries_contain() -> Result<()> {
    let checkout = checkout().to_str().context("the checkout's path")?;
    for architecture in architectures() {
        let rootfs = extension(architecture)?.join("rootfs");
        let sbom = std::fs::read(rootfs.join("usr/local/share/spdx/runsc-guard.spdx.json"))?;
        let sbom: Value = serde_json::from_slice(&sbom)?;
        let named = packages(&sbom)?;
        for name in BINARIES {
            let bytes = std::fs::read(rootfs.join("usr/local/bin").join(name))?;
            let crates = crates(&bytes);
            ensure!(crates.len() > 10, "{name}: {crates:?}");
            let missing: Vec<_> = crates.difference(&named).collect();
            ensure!(missing.is_empty(), "{architecture}: {name} has what its SBOM has not: {missing:?}");
            for path in [checkout, "/.cargo/", "/.rustup/", "/home/", "/root/"] {
                let at = bytes.windows(path.len()).position(|window| window == path.as_bytes());
                ensure!(at.is_none(), "{architecture}: {name} names {path}, at {at:?}");
            }
        }
    }
    Ok(())
}

/// `NAME-VERSION` of the packages of a document that is whole: ids are unique, relations name what is there, and all
/// that came from a registry has licence, checksum and purl.
fn packages(sbom: &Value) -> Result<BTreeSet<String>> {
    let list = |name: &str| sbom[name].as_array().with_context(|| format!("no {name}"));
    let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"));
    ensure!(sbom["spdxVersion"] == "SPDX-2.3" && sbom["dataLicense"] == "CC0-1.0", "not SPDX 2.3");
    let mut ids = BTreeSet::from([text(&sbom["SPDXID"])?]);
    let mut named = BTreeSet::new();
    for package in list("packages")? {
        let id = text(&package["SPDXID"])?;
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
        let rest = id.strip_prefix("SPDXRef-").context("no id of SPDX's form")?;
        ensure!(rest.chars().all(allowed) && ids.insert(id.clone()), "{id} is no id, or not unique");
        ensure!(package["licenseDeclared"] != "NOASSERTION", "no licence: {package}");
        if package["downloadLocation"] != "NOASSERTION" {
            ensure!(text(&package["checksums"][0]["checksumValue"])?.len() == 64, "{package}");
            ensure!(
                text(&package["externalRefs"][0]["referenceLocator"])?.starts_with("pkg:cargo/"),
                "{package}"
            );
        }
        named.insert(format!("{}-{}", text(&package["name"])?, text(&package["versionInfo"])?));
    }
    for relation in list("relationships")? {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            ensure!(ids.contains(&text(&relation[end])?), "{relation}");
        }
    }
    Ok(named)
}

/// The `NAME-VERSION` that follow `/cargo/registry/src/INDEX/` in a binary.
fn crates(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let paths = text.split("/cargo/registry/src/").skip(1);
    paths.filter_map(|path| path.split('/').nth(1)).map(str::to_owned).collect()
}

/// Whatever the umask, the clock and the folder were.
#[test]
fn the_same_files_give_the_same_image() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut digests = BTreeSet::new();
    for (place, umask) in [("one", "077"), ("another place", "000")] {
        let copy = scratch.path().join(place);
        let script = r#"umask "$1"; cp -r --no-preserve=mode,timestamps "$2" "$3"; chmod +x "$3"/rootfs/usr/local/bin/*"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", umask]).arg(extension("amd64")?).arg(&copy);
        run(&mut command, b"", SOON)?.ok()?;
        let (out, image) = (copy.with_extension("out"), format!("amd64={}", copy.display()));
        digests.insert(talos::oci_image(&[&out.to_string_lossy(), &image], umask)?);
    }
    ensure!(digests.len() == 1, "{digests:?}");
    Ok(())
}
