//! A terminal that remembers when what was printed.

use anyhow::{Context as _, Result};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fmt::Write as _,
    fs::File,
    io::Read as _,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// So long is read before it is run.
const READ: Duration = Duration::from_millis(700);

/// What was printed, and when.
pub(crate) struct Terminal {
    size: (u16, u16),
    events: Vec<(Duration, String)>,
    /// The time of the next event.
    now: Duration,
}

impl Terminal {
    /// An empty one, of this many columns and rows.
    pub(crate) fn new(size: (u16, u16)) -> Self {
        Self { size, events: Vec::new(), now: Duration::ZERO }
    }

    /// What was printed so far, each at its time.
    pub(crate) fn events(&self) -> &[(Duration, String)] {
        &self.events
    }

    /// A command is typed.
    pub(crate) fn types(&mut self, command: &str) {
        let before = if self.events.is_empty() { "" } else { "\r\n" };
        self.events.push((self.now, format!("{before}$ {command}\r\n")));
        self.now += READ;
    }

    /// Runs it on this terminal; gives its exit code.
    pub(crate) fn runs(&mut self, command: &mut Command) -> Result<Option<i32>> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let size = Winsize { ws_col: self.size.0, ws_row: self.size.1, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size)?;
        let theirs = open(
            ptsname(&ours, Vec::new())?,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let theirs = File::from(theirs);
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("COLUMNS");
        let (begun, since) = (Instant::now(), self.now);
        let mut child = command.spawn().context("the command cannot be started")?;
        // The command keeps its copies, and ours would keep the terminal open when it has ended.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let (mut ours, mut piece) = (File::from(ours), [0; 4096]);
        // A terminal that nobody has open any more fails with EIO.
        while let Ok(length @ 1..) = ours.read(&mut piece) {
            let text = String::from_utf8_lossy(&piece[..length]).into_owned();
            self.events.push((since + begun.elapsed(), text));
        }
        let status = child.wait()?;
        self.now = since + begun.elapsed();
        Ok(status.code())
    }

    /// All of it as asciinema reads it.
    pub(crate) fn asciicast(&self, pause: Duration) -> Result<String> {
        let (width, height) = self.size;
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let header = serde_json::json!({
            "version": 2, "width": width, "height": height, "timestamp": at,
            "idle_time_limit": pause.as_secs_f64(), "title": "runsc-guard drill, before and after install",
        });
        let mut text = header.to_string() + "\n";
        for (at, printed) in &self.events {
            let millis = at.as_millis() as f64 / 1000.0;
            writeln!(text, "{}", serde_json::json!([millis, "o", printed]))?;
        }
        Ok(text)
    }
}
