//! The guard's log: lines into the FIFO that containerd reads, and the real shim's lines on to the same.
//!
//! The FIFO is opened for reading too, so that it stays open while containerd is away, and never blocks:
//! what does not fit is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use runsc_guard_node::config::LogFormat;
use runsc_guard_node::params::ServeParams;

use super::fields::Field;
use super::report_writer::ReportWriter;

mod line;

use line::Line;

/// The most of the real shim's log that is held at a time.
const CHUNK: usize = 4096;

struct ShimLog {
    fifo: File,
    format: LogFormat,
    sandbox: String,
    namespace: String,
}

impl Log for ShimLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Other crates' chatter would cost more than it tells.
        metadata.level() <= Level::Warn || OURS.iter().any(|name| metadata.target().starts_with(name))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let mut line = Line::begin(self.format, SystemTime::now(), record.level(), &message);
        line.of(&self.sandbox, &self.namespace);
        let line = line.end(record.key_values());
        let _ = (&self.fifo).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// How modules of this project are called: this crate's, and those of the crates that it is made of.
const OURS: [&str; 2] = ["guard::", "runsc_guard_"];

/// Logs this text with these fields.
pub(super) fn tell(level: Level, text: &str, fields: &[(&'static str, Field)]) {
    if level > log::max_level() {
        return;
    }
    let mut record = Record::builder();
    record.level(level).target(module_path!()).key_values(&fields);
    log::logger().log(&record.args(format_args!("{text}")).build());
}

/// Opens containerd's FIFO, and nothing else that may stand in its place.
fn open(fifo: &Path) -> std::io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(fifo)?;
    if file.metadata()?.file_type().is_fifo() {
        Ok(file)
    } else {
        Err(std::io::ErrorKind::InvalidInput.into())
    }
}

/// Logs into the bundle's FIFO from now on. Without one (nobody listens) nothing is logged.
pub(crate) fn start(fifo: &Path, params: &ServeParams) {
    let Ok(fifo) = open(fifo) else { return };
    let (sandbox, namespace) = (params.sandbox.clone(), params.namespace.clone());
    let shim_log = ShimLog { fifo, format: params.config.log_format, sandbox, namespace };
    let level = if params.debug { LevelFilter::Debug } else { LevelFilter::Info };
    if log::set_boxed_logger(Box::new(shim_log)).is_ok() {
        log::set_max_level(level);
    }
}

/// Passes the real shim's log on, as it is; during an escalation its dump of goroutines is kept.
pub(crate) fn relay(from: File, to: &Path, report: ReportWriter) -> std::io::Result<()> {
    let mut receiver = pipe::Receiver::from_file_unchecked(from)?;
    let to = open(to).ok();
    tokio::spawn(async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count) = receiver.read(&mut chunk).await {
            report.hears(&chunk[..count]);
            if let Some(mut to) = to.as_ref() {
                let _ = to.write_all(&chunk[..count]);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn chatter_of_other_crates_is_left_out_and_ours_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = File::create(dir.path().join("log")).unwrap();
        let shim_log =
            ShimLog { fifo, format: LogFormat::Logfmt, sandbox: String::new(), namespace: String::new() };
        let told =
            |target: &str, level| shim_log.enabled(&Metadata::builder().target(target).level(level).build());
        let sandbox = std::any::type_name::<runsc_guard_sandbox::sys::identity::Identity>();
        let node = std::any::type_name::<runsc_guard_node::params::ServeParams>();
        for target in [module_path!(), sandbox, node] {
            assert!(told(target, Level::Info), "{target}");
        }
        assert!(!told("ttrpc::asynchronous", Level::Info) && told("ttrpc::asynchronous", Level::Warn));
    }

    #[test]
    fn only_a_fifo_is_logged_into() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, file, link) = (dir.path().join("fifo"), dir.path().join("file"), dir.path().join("link"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(&file, "mine").unwrap();
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        assert!(open(&fifo).is_ok());
        for other in [&file, &link, &dir.path().join("none")] {
            assert!(open(other).is_err(), "{}", other.display());
        }
    }
}
