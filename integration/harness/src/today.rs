//! When and on what something was measured.

use anyhow::Result;
use std::{process::Command, time::Duration};

/// The day in UTC, as in `2026-11-28`.
pub fn today() -> Result<String> {
    let outcome = crate::run(Command::new("date").args(["-u", "+%F"]), b"", Duration::from_secs(5))?;
    Ok(outcome.ok()?.trim().to_owned())
}

/// The kernel's release; what a builder of kernels appends says nothing here.
pub fn kernel() -> Result<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(release.trim().split('-').next().unwrap_or_default().to_owned())
}
