//! Compiles the program that the containers of the scenarios run.

use std::{env, path::Path, process::Command};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile_guest("guest/files.rs")
}

/// A static program for a guest, in the build's folder: for the target of the guard itself.
fn compile_guest(source: &str) -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={source}");
    let program = Path::new(&env::var("OUT_DIR")?).join("files");
    let rustc = env::var("RUSTC")?;
    let status = Command::new(rustc)
        .args(["--edition=2024", "--target=x86_64-unknown-linux-musl", "-Copt-level=z", "-Cpanic=abort"])
        .args(["-Cstrip=symbols", "-Dwarnings", "-o"])
        .arg(program)
        .arg(source)
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("{source}: {status}").into()) }
}
