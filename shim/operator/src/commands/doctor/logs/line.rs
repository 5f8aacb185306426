//! A line of a log, whoever wrote it: klog's and logrus' text, the JSON of both, with what journald or `talosctl logs`
//! put before it. Pure.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// No name or time is longer.
const LONGEST_WORD: usize = 160;
/// Under which names kubelet, containerd and the guard tell a pod's sandbox.
const SANDBOX: [&str; 3] = ["podSandboxID", "sandboxID", "sandbox"];
/// Letters of an id that containerd gives to pods and containers.
const ID: usize = 64;

/// What can be said of every line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Message and error, without the quoting.
    pub(super) text: String,
    /// The pod, `namespace/name`, or its sandbox, or else the first id in it.
    pub(super) subject: Option<String>,
    /// When, as the line has it.
    pub(super) time: Option<String>,
}

impl Line {
    /// Takes it apart.
    pub(super) fn parse(line: &str) -> Self {
        let json = line.find('{').and_then(|at| serde_json::from_str::<Value>(line[at..].trim_end()).ok());
        match json {
            Some(Value::Object(fields)) => Self::of_json(&fields),
            _ => Self::of_text(&unquoted(line.trim_end())),
        }
    }

    fn of_json(fields: &Map<String, Value>) -> Self {
        let word = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
        let said = [word(&["msg"]), word(&["err", "error"])];
        let text = unquoted(&said.into_iter().flatten().collect::<Vec<_>>().join(" "));
        let pod = fields.get("pod").and_then(pod_of);
        let subject = pod.or_else(|| word(&SANDBOX).map(shortened)).or_else(|| id_in(&text));
        let time = word(&["time", "ts"]).map(shortened);
        Self {
            subject: subject.or_else(|| word(&["id"]).map(shortened)),
            time: time.or_else(|| epoch(fields.get("ts")?)),
            text,
        }
    }

    fn of_text(text: &str) -> Self {
        let told = |name: &str| value(text, &format!("{name}=")).map(shortened);
        let sandbox = || SANDBOX.iter().find_map(|name| told(name));
        Self {
            subject: told("pod").or_else(sandbox).or_else(|| id_in(text)),
            time: told("time").or_else(|| klog_time(text)),
            text: text.to_owned(),
        }
    }
}

/// Quoted once or several times: what is searched for holds no backslash.
fn unquoted(text: &str) -> String {
    text.replace('\\', "")
}

/// klog writes a pod as an object.
fn pod_of(pod: &Value) -> Option<String> {
    if let Some(name) = pod.as_str() {
        return Some(shortened(name));
    }
    let part = |name: &str| pod.get(name)?.as_str();
    Some(shortened(&format!("{}/{}", part("namespace")?, part("name")?)))
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_WORD).collect()
}

/// The value after `key`, quoted or not, which stands at the beginning of a word.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at = text.match_indices(key).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with(' '))?;
    let value = &text[at + key.len()..];
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => value.split_whitespace().next()?,
    };
    (!value.is_empty()).then_some(value)
}

/// The first id of containerd's form.
fn id_in(text: &str) -> Option<String> {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.split(|c: char| !is_digit(c)).find(|run| run.len() == ID).map(str::to_owned)
}

/// `E0610 23:48:59.248680   1234 pod_workers.go:1301]`: month and day, without a year.
fn klog_time(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().zip(text.split_whitespace().skip(1));
    words.find_map(|(date, time)| {
        let day = date.strip_prefix(['I', 'W', 'E', 'F'])?;
        let is_day = day.len() == 4 && day.bytes().all(|byte| byte.is_ascii_digit());
        let is_time = time.len() == 15 && time.as_bytes()[2] == b':' && time.as_bytes()[8] == b'.';
        (is_day && is_time).then(|| format!("{}-{} {}", &day[..2], &day[2..], time))
    })
}

/// Milliseconds since 1970, as klog's JSON has it.
fn epoch(ts: &Value) -> Option<String> {
    let since = Duration::try_from_secs_f64(ts.as_f64()? / 1000.0).ok()?;
    let time = SystemTime::UNIX_EPOCH.checked_add(since).filter(|_| since.as_secs() < 1 << 36)?;
    Some(humantime::format_rfc3339_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn logrus_text_behind_journald() {
        let line = format!(
            r#"Jun 10 23:48:59 node-1 containerd[1022]: time="2025-06-10T23:48:59.248680335Z" level=error msg="StopPodSandbox for \"{POD}\" failed" error="rpc error: code = DeadlineExceeded desc = failed to stop sandbox container \"{POD}\" in \"SANDBOX_READY\" state: context deadline exceeded""#
        );
        let parsed = Line::parse(&line);
        assert_eq!(parsed.subject.as_deref(), Some(POD));
        assert_eq!(parsed.time.as_deref(), Some("2025-06-10T23:48:59.248680335Z"));
        assert!(parsed.text.contains(&format!("StopPodSandbox for \"{POD}\" failed")));
    }

    #[test]
    fn klog_text() {
        let line = format!(
            r#"E1126 17:31:49.900799    2098 pod_workers.go:1301] "Error syncing pod, skipping" err="failed to \"KillPodSandbox\" for \"d0c7\" with KillPodSandboxError: \"rpc error: code = DeadlineExceeded desc = context deadline exceeded\"" pod="shop/web-5d9f" podUID="d0c7" podSandboxID="{POD}""#
        );
        let parsed = Line::parse(&line);
        assert_eq!(parsed.subject.as_deref(), Some("shop/web-5d9f"));
        assert_eq!(parsed.time.as_deref(), Some("11-26 17:31:49.900799"));
        assert!(parsed.text.contains(r#"failed to "KillPodSandbox" for"#), "{}", parsed.text);
    }

    #[test]
    fn json_behind_talosctls_node() {
        let other = POD.replace('0', "1");
        let line = format!(
            r#"10.5.0.3: {{"error":"rpc error: code = DeadlineExceeded desc = failed to stop container \"{other}\"","level":"error","msg":"StopPodSandbox for \"{POD}\" failed","time":"2024-12-17T05:12:45.036367221Z"}}"#
        );
        let parsed = Line::parse(&line);
        assert_eq!(parsed.subject.as_deref(), Some(POD), "the message comes before the error");
        assert_eq!(parsed.time.as_deref(), Some("2024-12-17T05:12:45.036367221Z"));
        let line = r#"10.5.0.3: {"ts":1734412365036.367,"caller":"kubelet/pod_workers.go:1301","msg":"Error syncing pod, skipping","pod":{"name":"web","namespace":"shop"},"err":"failed to \"KillPodSandbox\""}"#;
        let parsed = Line::parse(line);
        assert_eq!(parsed.subject.as_deref(), Some("shop/web"));
        assert_eq!(parsed.time.as_deref(), Some("2024-12-17T05:12:45.036Z"));
    }

    #[test]
    fn the_guard_names_the_sandbox_after_the_container() {
        let container = POD.replace('0', "1");
        let line = format!(
            "time=\"t\" level=error msg=\"wedged: SIGKILL to {container}\" sandbox={POD} namespace=x"
        );
        assert_eq!(Line::parse(&line).subject.as_deref(), Some(POD));
        let line = format!(r#"{{"msg":"wedged: SIGKILL to {container}","sandbox":"{POD}"}}"#);
        assert_eq!(Line::parse(&line).subject.as_deref(), Some(POD));
    }

    #[test]
    fn any_line_can_be_taken_apart() {
        for line in [
            "",
            "{",
            "{}",
            "x{\"ts\":1e300}",
            "pod=\"",
            "E1126 äöü",
            "E1126 17:31:49.90079ä",
            "\u{0}\\",
            "{\"pod\":{}}",
        ] {
            let parsed = Line::parse(line);
            assert_eq!((parsed.subject, parsed.time), (None, None), "{line}");
        }
    }
}
