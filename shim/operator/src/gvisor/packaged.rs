//! The release as who has installed gVisor knows it: Talos (an SBOM and its list of extensions), dpkg, Nix. Files are
//! read, nothing is run; rpm alone keeps a database that only itself reads.

use std::path::Path;

use runsc_guard_sandbox::sys::file;
use serde::Deserialize;

use super::built::{Built, dated};
use crate::known::Release;

/// Far more than any of these has.
const MAX: u64 = 32 << 20;
const SBOM: &str = "usr/local/share/spdx/gvisor.spdx.json";
const EXTENSIONS: &str = "etc/extensions.yaml";
const NIX: &str = "/nix/store/";
const DPKG: &str = "var/lib/dpkg";
/// Debian's own package, and gVisor's.
const PACKAGES: [&str; 2] = ["runsc", "gvisor"];

/// Of the runsc at this path, in the node whose root is at `root`.
pub(super) fn built(root: &Path, runsc: &Path) -> Option<Built> {
    let real = std::fs::canonicalize(root.join(runsc.strip_prefix("/").unwrap_or(runsc)));
    let real = real.as_deref().unwrap_or(runsc);
    nix(real).or_else(|| talos(root)).or_else(|| dpkg(root, runsc))
}

fn read(root: &Path, path: &str) -> Option<String> {
    String::from_utf8(file::read(&root.join(path), MAX).ok()?).ok()
}

fn told(version: &str, by: String) -> Option<Built> {
    Some(Built { release: dated(version)?, by })
}

/// `/nix/store/HASH-gvisor-20240529.0/bin/runsc`.
fn nix(runsc: &Path) -> Option<Built> {
    let name = runsc.to_str()?.strip_prefix(NIX)?.split('/').next()?;
    let (_hash, package) = name.split_once('-')?;
    told(package, format!("its place, {NIX}{name}"))
}

fn talos(root: &Path) -> Option<Built> {
    let sbom =
        read(root, SBOM).and_then(|text| sbom(&text)).and_then(|version| told(&version, format!("/{SBOM}")));
    let listed = || read(root, EXTENSIONS).and_then(|text| extension(&text).map(str::to_owned));
    sbom.or_else(|| told(&listed()?, format!("/{EXTENSIONS}")))
}

#[derive(Deserialize)]
struct Sbom {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version_info: String,
}

fn sbom(text: &str) -> Option<String> {
    let sbom: Sbom = serde_json::from_str(text).ok()?;
    let gvisors = sbom.packages.into_iter().filter(|package| package.name.to_lowercase().contains("gvisor"));
    gvisors.map(|package| package.version_info).find(|version| dated(version).is_some())
}

/// The version of the extension `gvisor` in Talos' list, one key a line:
///
/// ```yaml
/// layers:
///   - image: 000.ghcr.io-siderolabs-gvisor-20250707.0.sqsh
///     metadata:
///       name: gvisor
///       version: 20250707.0
/// ```
fn extension(text: &str) -> Option<&str> {
    let value = |line: &'_ str, key: &str| -> Option<String> {
        let line = line.trim().trim_start_matches("- ");
        Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().trim_matches(['"', '\'']).to_owned())
    };
    let mut lines = text.lines();
    lines.find(|line| value(line, "name").is_some_and(|name| name == "gvisor"))?;
    let of_it = lines.take_while(|line| value(line, "name").is_none());
    of_it
        .filter(|line| value(line, "version").is_some())
        .find_map(|line| line.split(':').nth(1))
        .map(str::trim)
}

/// Of the package that has brought this very file.
fn dpkg(root: &Path, runsc: &Path) -> Option<Built> {
    let status = read(root, &format!("{DPKG}/status"))?;
    PACKAGES.into_iter().find_map(|package| {
        let files = read(root, &format!("{DPKG}/info/{package}.list"))?;
        let has_it = files.lines().any(|file| Path::new(file) == runsc);
        let about = status
            .split("\n\n")
            .find(|about| about.lines().any(|line| line.strip_prefix("Package: ") == Some(package)));
        let version = about?.lines().find_map(|line| line.strip_prefix("Version: "))?;
        told(version, format!("dpkg's package {package} {version}")).filter(|_| has_it)
    })
}

/// What rpm says: `rpm -qf --qf %{VERSION}`.
pub(crate) fn by_rpm(said: &str) -> Option<Built> {
    told(said, "rpm".to_owned())
}

/// The release as gVisor's own program tells it.
pub(crate) fn by_itself(said: &str) -> Option<Release> {
    Release::parse(word(said))
}

/// The version in `runsc version release-20260817.0`.
pub(crate) fn word(said: &str) -> &str {
    said.lines().find_map(|line| line.strip_prefix("runsc version ")).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn node(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn of(files: &[(&str, &str)], runsc: &str) -> Option<(String, String)> {
        let built = built(node(files).path(), Path::new(runsc))?;
        Some((built.release.to_string(), built.by))
    }

    #[test]
    fn talos_tells_by_its_sbom_or_its_list_of_extensions() {
        let sbom = r#"{"spdxVersion":"SPDX-2.3","packages":[{"name":"go.sum"},{"name":"gvisor","versionInfo":"20260427.0"}]}"#;
        let list = "layers:\n    - image: 000.sqsh\n      metadata:\n        name: iscsi-tools\n        version: v0.1.6\n    \
                    - image: 001.sqsh\n      metadata:\n        name: gvisor\n        version: 20250707.0\n        author: x\n";
        let told = of(&[(SBOM, sbom), (EXTENSIONS, list)], "/usr/local/bin/runsc").unwrap();
        assert_eq!(told, ("release-20260427.0".into(), "/usr/local/share/spdx/gvisor.spdx.json".into()));
        let told = of(&[(SBOM, "{}"), (EXTENSIONS, list)], "/usr/local/bin/runsc").unwrap();
        assert_eq!(told, ("release-20250707.0".into(), "/etc/extensions.yaml".into()));
        let quoted = list.replace("20250707.0", "\"20260810.0\"");
        assert_eq!(of(&[(EXTENSIONS, &quoted)], "/x").unwrap().0, "release-20260810.0");
        let other = list.replace("name: gvisor", "name: gvisor-debug");
        assert_eq!(of(&[(EXTENSIONS, &other)], "/x"), None, "another extension's version is not gVisor's");
        let nameless = list.replace(
            "        version: 20250707.0\n",
            "    - metadata:\n        name: z\n        version: 20200101.0\n",
        );
        assert_eq!(of(&[(EXTENSIONS, &nameless)], "/x"), None);
    }

    #[test]
    fn dpkg_tells_of_the_files_that_it_has_brought() {
        let status = "Package: runc\nVersion: 1.1\n\nPackage: runsc\nStatus: install ok installed\nVersion: 20260714.0\nArchitecture: amd64\n";
        let files = [
            ("var/lib/dpkg/status", status),
            ("var/lib/dpkg/info/runsc.list", "/.\n/usr/bin\n/usr/bin/runsc\n"),
        ];
        let told = of(&files, "/usr/bin/runsc").unwrap();
        assert_eq!(told, ("release-20260714.0".into(), "dpkg's package runsc 20260714.0".into()));
        assert_eq!(of(&files, "/usr/local/bin/runsc"), None, "somebody else's");
    }

    #[test]
    fn nix_tells_by_the_place() {
        let told = nix(Path::new("/nix/store/0abcdef-gvisor-20240529.0/bin/runsc")).unwrap();
        assert_eq!(told.release.to_string(), "release-20240529.0");
        assert!(told.by.ends_with("0abcdef-gvisor-20240529.0"), "{}", told.by);
        assert_eq!(nix(Path::new("/usr/bin/runsc")), None);
    }

    #[test]
    fn runsc_tells_itself_if_it_was_built_so() {
        assert_eq!(by_itself("runsc version release-20260817.0\nspec: 1\n"), Release::parse("20260817.0"));
        assert_eq!(by_itself("runsc version VERSION_MISSING\nspec: 1\n"), None);
        assert_eq!(by_rpm("20260714.0").unwrap().by, "rpm");
    }
}
