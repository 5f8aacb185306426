//! A person types the shim's name: what it is, wherever the real shim is, and whatever stdin is.

use std::fs;
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longer than any of these may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the real shim says of its version: these bytes, and no line end behind them.
const VERSION: &str = "containerd-shim-runsc-v1:\n  Version:  release-1\n\n  args:";

/// Runs it with this PATH and a stdin that stays open and empty.
fn typed(args: &[&str], path: &Path) -> Output {
    let (reader, writer) = pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-runsc-guard-v2"));
    command.args(args).env("PATH", path).stdin(reader);
    let (done, output) = mpsc::channel();
    thread::spawn(move || done.send(command.output().expect("the shim runs")));
    let output = output.recv_timeout(PATIENCE);
    drop(writer);
    output.unwrap_or_else(|_| panic!("{args:?} waits for stdin"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What every answer to a person says.
fn tells(said: &str) {
    for words in ["containerd-shim-runsc-guard-v2 0", "containerd starts", "runsc-guard --help", "gVisor"] {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

fn with_real_shim() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let shim = folder.path().join("containerd-shim-runsc-v1");
    // It reads its stdin, which must not be the caller's.
    fs::write(&shim, format!("#!/bin/sh\nread -r line\nprintf '%s' '{VERSION}' \"$@\"\n")).expect("a script");
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).expect("its mode");
    folder
}

#[test]
fn help_tells_what_it_is_with_and_without_the_real_shim() {
    let (without, with) = (tempfile::tempdir().unwrap(), with_real_shim());
    for path in [without.path(), with.path()] {
        for flag in ["--help", "-help", "-h", "help"] {
            let Output { status, stdout, stderr } = typed(&[flag], path);
            assert!(status.success() && stderr.is_empty(), "{flag}: {status}");
            tells(&text(&stdout));
            assert!(text(&stdout).contains("hack/docs") && text(&stdout).contains("man runsc-guard"));
        }
    }
}

#[test]
fn version_tells_what_it_is_without_the_real_shim() {
    let without = tempfile::tempdir().unwrap();
    for flag in ["--version", "-version", "-v", "--v"] {
        let Output { status, stdout, .. } = typed(&[flag], without.path());
        assert!(status.success(), "{flag}: {status}");
        tells(&text(&stdout));
        assert!(text(&stdout).contains("no real shim here: "));
    }
}

#[test]
fn version_is_the_real_shims_byte_for_byte() {
    let with = with_real_shim();
    for flag in ["-v", "-version"] {
        let alone = typed(&[flag], with.path());
        assert_eq!(text(&alone.stdout), format!("{VERSION}-v"), "gVisor's shim knows no other form");
        tells(&text(&alone.stderr));
        let among = typed(&["-namespace", "n", flag], with.path());
        assert_eq!(text(&among.stdout), format!("{VERSION}-namespacen{flag}"));
        assert_eq!((text(&among.stderr), among.status.code()), (String::new(), Some(0)));
    }
    let person = text(&typed(&["--version"], with.path()).stdout);
    tells(&person);
    assert!(person.ends_with(&format!("containerd-shim-runsc-v1:\n{VERSION}-v")), "{person}");
}

#[test]
fn what_is_typed_wrong_leads_to_the_help() {
    let without = tempfile::tempdir().unwrap();
    for args in [&[][..], &["-nonsense"], &["status"]] {
        let Output { status, stdout, stderr } = typed(args, without.path());
        assert_eq!((status.code(), stdout.len()), (Some(64), 0), "{args:?}");
        assert!(text(&stderr).contains("--help") && text(&stderr).lines().count() == 1, "{args:?}");
    }
    let program = typed(&["-namespace", "n", "-v"], without.path());
    assert_eq!(program.status.code(), Some(1), "a program gets the error");
}
