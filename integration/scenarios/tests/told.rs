//! One escalation is told in containerd's log, in a report, in the metrics and in containerd's events: by the same names,
//! with the same values, in each format of the log.

use anyhow::{Context as _, Result, ensure};
use harness::{
    Event, EventLog, Handler, Host, SOON, eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    run,
};
use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

/// What a line of the log has beside what it tells.
const EVERY_LINE: [&str; 4] = ["time", "level", "msg", "runtime"];

type Told = BTreeMap<String, String>;

fn operator(host: &Host, args: &[&str]) -> Result<String> {
    let mut command = Command::new(host.parts().guard.with_file_name("runsc-guard"));
    command.args(["--namespace", host.tag()]).args(args);
    run(command.arg("--report-dir").arg(host.path().join("reports")), b"", SOON)?.ok()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The fields of a line that is JSON, or `key=value` with values in quotes where they must be.
fn fields(line: &str) -> Option<Told> {
    if let Ok(Value::Object(all)) = serde_json::from_str(line) {
        return Some(all.iter().map(|(name, value)| (name.clone(), plain(value))).collect());
    }
    let (mut told, mut rest) = (Told::new(), line);
    while let Some((name, value)) = rest.split_once('=') {
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<String>();
        let (text, end) = match values.next() {
            Some(Ok(text)) => (text, values.byte_offset()),
            _ => {
                let end = value.find(' ').unwrap_or(value.len());
                (value[..end].to_owned(), end)
            }
        };
        told.insert(name.trim().to_owned(), text);
        rest = &value[end..];
    }
    (!told.is_empty()).then_some(told)
}

/// Of the guard's lines about this sandbox those that have the field `name`, without what every line has.
fn lines(host: &Host, id: &str, name: &str) -> Result<Vec<Told>> {
    let log = host.log();
    let about =
        |told: &Told| told.get("sandbox").is_some_and(|sandbox| sandbox == id) && told.contains_key(name);
    let mut all: Vec<Told> = log.lines().filter_map(fields).filter(about).collect();
    for line in &mut all {
        for name in EVERY_LINE {
            ensure!(line.remove(name).is_some_and(|value| !value.is_empty()), "no {name} in {line:?}");
        }
    }
    Ok(all)
}

/// What an event of ours tells.
fn labels(host: &Host, event: &Event) -> Told {
    let labels = event.body["labels"].as_object().into_iter().flatten();
    let told = labels.map(|(name, value)| (name.clone(), plain(value)));
    let whose = [("sandbox", event.text("sandbox_id")), ("namespace", host.tag())];
    told.chain(whose.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// What the report has by that name; of what is left it has the names.
fn in_report(report: &Value, name: &str) -> String {
    match (name, &report[name]) {
        ("report", _) => plain(&report["file"]),
        ("left", Value::Array(left)) => left.len().to_string(),
        (_, value) => plain(value),
    }
}

fn is_in_report(told: &Told, report: &Value) -> Result<()> {
    for (name, value) in told.iter().filter(|(name, _)| *name != "phase") {
        let written = in_report(report, name);
        ensure!(written == *value, "{name} is {value} in the log and {written} in {report}");
    }
    Ok(())
}

fn is_told_alike(host: &Host, format: &str) -> Result<()> {
    let events = EventLog::start(&host.ctr())?;
    host.ctr().start(&host.handler(format)?, format, &["sleep", "100000"])?;
    let sandbox = Sandbox::of(host, format)?;
    sandbox.stop_sentry()?;
    // What becomes of the call is containerd's affair: it asks for the state first.
    host.ctr().kill(format, "KILL", SOON)?;
    let report = eventually(SOON, "a report that is over", || {
        let all: Vec<Value> =
            serde_json::from_str(&operator(host, &["reports", format, "-o", "json"]).ok()?).ok()?;
        let [report] = &all[..] else { return None };
        report["ended_ms"].is_u64().then(|| report.clone())
    })?;
    let told = eventually(SOON, "an event at the beginning and one at the end", || {
        let ours =
            |event: &Event| event.topic == "/runsc-guard/escalation" && event.text("sandbox_id") == format;
        let told: Vec<Told> =
            events.all().iter().filter(|event| ours(event)).map(|one| labels(host, one)).collect();
        (told.len() >= 2).then_some(told)
    })?;

    let phases = lines(host, format, "phase")?;
    ensure!(phases == told, "{phases:#?} in the log, {told:#?} in the events");
    ensure!(phases.iter().map(|one| &one["phase"]).eq(["begins", "ends"]), "{phases:?}");
    for name in ["namespace", "cause", "sign", "waited_ms", "report"] {
        ensure!(phases[0].contains_key(name), "no {name} in {:?}", phases[0]);
    }
    ensure!(phases[1]["left"] == "0" && phases[1].contains_key("took_ms"), "{:?}", phases[1]);
    phases.iter().try_for_each(|one| is_in_report(one, &report))?;
    ensure!(report["phase"] == "ends", "{report}");

    let metrics = operator(host, &["metrics", "--output", "prometheus"])?;
    let counted = |series: &str| {
        let series = format!("runsc_guard_{series}}} 1");
        ensure!(metrics.lines().any(|line| line == series), "no {series} in {metrics}");
        Ok(())
    };
    let namespace = host.tag();
    counted(&format!("wedges_total{{namespace={namespace:?},cause={}", report["cause"]))?;
    let logged = lines(host, format, "step")?;
    let steps = report["steps"].as_array().context("no steps")?;
    ensure!(logged.len() == steps.len() && steps.len() == 4, "{logged:?}, {steps:?}");
    for (line, step) in logged.iter().zip(steps) {
        for name in ["step", "budget_ms", "left"] {
            ensure!(line[name] == in_report(step, name), "{name} of {line:?} and {step}");
        }
        ensure!(line.contains_key("took_ms") && step["took_ms"].is_u64(), "{line:?} and {step}");
        counted(&format!("steps_total{{namespace={namespace:?},step={}", step["step"]))?;
    }
    // The guard has told all: with its end the next one's metrics begin anew.
    host.ctr().force_delete_task(format, SOON)?.ok()?;
    host.ctr().delete_container(format)
}

#[test]
fn by_the_same_names_in_log_report_metrics_and_event() -> Result<()> {
    let handler = |format: &str| Handler::quick(format, "2s").guard("log_format", &format!("{format:?}"));
    let host = Host::with(["logfmt", "json"].map(handler))?;
    let before = Resources::of(&host);
    is_told_alike(&host, "logfmt")?;
    is_told_alike(&host, "json")?;
    let json = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["sandbox"] == "json");
    let others: Vec<_> = lines(&host, "json", "sandbox")?;
    let log = host.log();
    ensure!(log.lines().filter(|line| json(line)).count() == others.len(), "not all are JSON: {others:?}");
    assert_nothing_left(&host, &before, SOON)
}
