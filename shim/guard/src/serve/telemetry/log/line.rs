//! One line, as containerd writes its own: logrus' text, which is logfmt, or its JSON, with the same names and words
//! (containerd's `[debug] format`). containerd copies what comes through the FIFO as it is.

use std::fmt::Write as _;
use std::time::SystemTime;

use log::Level;
use log::kv::{Error, Key, Source, Value, VisitSource};
use runsc_guard_core::io::keys::{NAMESPACE, SANDBOX};
use runsc_guard_node::config::LogFormat;

/// What a line's `runtime` is.
const RUNTIME: &str = "io.containerd.runsc-guard.v2";

/// A line that is being written.
pub(super) struct Line {
    format: LogFormat,
    text: String,
}

impl Line {
    /// With what every line has.
    pub(super) fn begin(format: LogFormat, at: SystemTime, level: Level, message: &str) -> Self {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let mut line = Self { format, text: String::new() };
        line.word("time", &humantime::format_rfc3339_nanos(at).to_string());
        line.word("level", level);
        // Always in quotes, in both formats.
        line.name("msg");
        line.quoted(message);
        line
    }

    /// And whose it is.
    pub(super) fn of(&mut self, sandbox: &str, namespace: &str) {
        self.word(SANDBOX, sandbox);
        self.word(NAMESPACE, namespace);
        self.word("runtime", RUNTIME);
    }

    /// With these fields it is whole.
    pub(super) fn end(mut self, fields: &dyn Source) -> String {
        // The visitor below fails at nothing.
        let _ = fields.visit(&mut self);
        self.text.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        self.text
    }

    fn name(&mut self, name: &str) {
        match (self.format, self.text.is_empty()) {
            (LogFormat::Json, first) => {
                self.text.push(if first { '{' } else { ',' });
                self.quoted(name);
                self.text.push(':');
            }
            (LogFormat::Logfmt, first) => {
                // Writing to a String cannot fail.
                let _ = write!(self.text, "{}{name}=", if first { "" } else { " " });
            }
        }
    }

    fn word(&mut self, name: &str, value: &str) {
        let plain = |one: char| one.is_ascii_alphanumeric() || "-._/:".contains(one);
        self.name(name);
        if self.format == LogFormat::Logfmt && !value.is_empty() && value.chars().all(plain) {
            self.text.push_str(value);
        } else {
            self.quoted(value);
        }
    }

    fn quoted(&mut self, value: &str) {
        let _ = match self.format {
            LogFormat::Json => write!(self.text, "{}", serde_json::Value::from(value)),
            LogFormat::Logfmt => write!(self.text, "{value:?}"),
        };
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        match value.to_u64() {
            Some(number) => {
                self.name(key.as_str());
                let _ = write!(self.text, "{number}");
            }
            None => self.word(key.as_str(), &value.to_string()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(format: LogFormat) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut line = Line::begin(format, at, Level::Warn, "ended \"x\"\nin 2ms");
        line.of("box", "k8s.io");
        line.end(&[
            ("left", Value::from("")),
            ("step", Value::from("kill all")),
            ("took_ms", Value::from(12_u64)),
        ])
    }

    #[test]
    fn both_formats_are_containerds_and_fields_are_quoted_where_they_must_be() {
        assert_eq!(
            told(LogFormat::Logfmt),
            "time=2023-11-14T22:13:20.250000000Z level=warning msg=\"ended \\\"x\\\"\\nin 2ms\" sandbox=box \
             namespace=k8s.io runtime=io.containerd.runsc-guard.v2 left=\"\" step=\"kill all\" took_ms=12\n"
        );
        let json = told(LogFormat::Json);
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            serde_json::json!({
                "time": "2023-11-14T22:13:20.250000000Z", "level": "warning", "msg": "ended \"x\"\nin 2ms",
                "sandbox": "box", "namespace": "k8s.io", "runtime": "io.containerd.runsc-guard.v2",
                "left": "", "step": "kill all", "took_ms": 12
            })
        );
    }
}
