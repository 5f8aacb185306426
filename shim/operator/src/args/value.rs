//! Values on the command line that are more than a text. Pure.

use std::path::PathBuf;
use std::time::Duration;

/// As kubelet and crictl write it, too: `unix:///run/...`.
pub(super) fn socket(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(text.strip_prefix("unix://").unwrap_or(text).into())
}

/// Whoever reads it has another working directory.
pub(super) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute()).ok_or("must be an absolute path")
}

/// At least a tenth of a second: less would only burn.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be from 0.1 to 86400".to_owned())
    }
}
