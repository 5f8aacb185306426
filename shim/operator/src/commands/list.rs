//! `ls`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use crate::args::{Ls, Output, Scope};
use crate::paint::{self, size, span};
use crate::survey::model::{Guard, Sandbox, Sign};
use crate::survey::survey;

/// As many letters of an id as `crictl` shows.
const SHORT_ID: usize = 13;
/// Cursor home, and clear from there.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints the list, once or again and again.
pub(crate) fn run(scope: &Scope, args: &Ls) -> Result<ExitCode> {
    let clears = args.watch.is_some() && std::io::stdout().is_terminal();
    loop {
        let seen = survey(scope)?;
        let text = render(&seen.sandboxes, args.output)?;
        let mut out = anstream::stdout().lock();
        let written = if clears { out.write_all(CLEAR.as_bytes()) } else { Ok(()) };
        if let Err(error) = written.and_then(|()| out.write_all(text.as_bytes())).and_then(|()| out.flush()) {
            // Whoever reads has seen enough.
            let enough = error.kind() == std::io::ErrorKind::BrokenPipe;
            return if enough { Ok(ExitCode::SUCCESS) } else { Err(error.into()) };
        }
        drop(out);
        seen.unseen()
            .iter()
            .for_each(|unseen| anstream::eprintln!("{}", paint::caution(&unseen.to_string())));
        match args.watch {
            Some(pause) => sleep(pause),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// The list as text.
fn render(sandboxes: &[Sandbox], output: Output) -> Result<String> {
    if output == Output::Json {
        return Ok(serde_json::to_string_pretty(sandboxes)? + "\n");
    }
    if sandboxes.is_empty() {
        return Ok(format!("{}\n", paint::faint("no gVisor sandbox on this node")));
    }
    Ok(table(sandboxes, output == Output::Wide))
}

fn table(sandboxes: &[Sandbox], wide: bool) -> String {
    let mut columns = vec!["NAMESPACE", "ID", "POD", "STATE", "AGE", "CONTAINERS", "PIDS", "RSS", "ANSWERED"];
    columns.extend(if wide { vec!["GUARD", "SHIM", "SENTRY", "SIGN"] } else { vec!["SIGN"] });
    let mut builder = Builder::default();
    builder.push_record(columns.into_iter().map(paint::heading));
    for sandbox in sandboxes {
        builder.push_record(row(sandbox, wide));
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    let lines = table.to_string();
    lines.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

fn row(sandbox: &Sandbox, wide: bool) -> Vec<String> {
    let found = &sandbox.found;
    let id = if wide { &found.id } else { short(&found.id) };
    let mut row = vec![
        found.namespace.clone(),
        id.to_owned(),
        paint::plain(&sandbox.pod_name()),
        paint::state(sandbox.state),
        sandbox.age_ms().map_or("-".to_owned(), |ms| span(Duration::from_millis(ms))),
        found.containers.len().to_string(),
        found.pids.to_string(),
        size(found.rss_bytes),
        answered(&found.guard),
    ];
    let signs: Vec<String> = sandbox.signs.iter().map(Sign::line).collect();
    if wide {
        let guard = match &found.guard {
            Guard::None => "none".to_owned(),
            Guard::Dead => "dead".to_owned(),
            Guard::Silent(task, _) | Guard::Says(task, _) => task.identity.pid.to_string(),
        };
        let shims: Vec<String> = found.real_shims.iter().map(|shim| shim.identity.pid.to_string()).collect();
        let sentry = found.sentry.as_ref().map(|sentry| sentry.identity.pid.to_string());
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        row.extend([guard, or_none(shims.join(",")), sentry.unwrap_or_else(|| "-".to_owned())]);
        row.push(paint::plain(&signs.join("; ")));
    } else {
        let more = if signs.len() > 1 { format!(" (+{})", signs.len() - 1) } else { String::new() };
        row.push(paint::plain(&(signs.first().cloned().unwrap_or_default() + &more)));
    }
    row
}

/// Since the real shim last did what it was asked, as its guard remembers.
fn answered(guard: &Guard) -> String {
    let ago = guard.word().and_then(|word| word.answered_ms_ago);
    ago.map_or("-".to_owned(), |ms| format!("{} ago", span(Duration::from_millis(ms))))
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::tests::sandbox;
    use crate::survey::model::{Pod, State, Word};

    fn plain(sandboxes: &[Sandbox], output: Output) -> String {
        anstream::adapter::strip_str(&render(sandboxes, output).unwrap()).to_string()
    }

    #[test]
    fn a_table_has_a_line_for_each_and_lines_up() {
        let mut wedged = sandbox("0123456789abcdef", State::Wedged);
        wedged.signs = ["sentry 11 stopped (state T)", "more"]
            .map(|what| Sign { what: what.into(), for_ms: None })
            .into();
        wedged.found.pod = Some(Pod { name: "web".into(), namespace: "shop".into(), uid: String::new() });
        let all = [sandbox("b", State::Running), wedged];
        let text = plain(&all, Output::Table);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].contains("0123456789abc ") && lines[2].contains("shop/web"), "{text}");
        assert!(lines[2].ends_with("sentry 11 stopped (state T) (+1)"), "{text}");
        let column = lines[0].find("STATE").unwrap();
        assert_eq!((&lines[1][column..column + 7], &lines[2][column..column + 6]), ("running", "wedged"));
        let wide = plain(&all, Output::Wide);
        assert!(wide.contains("0123456789abcdef") && wide.contains("; more"), "{wide}");
    }

    #[test]
    fn the_last_answer_is_the_guards_to_tell() {
        let mut one = sandbox("a", State::Running);
        assert_eq!(answered(&one.found.guard), "-");
        let word = Word { answered_ms_ago: Some(3_000), ..Word::default() };
        one.found.guard = Guard::Says(one.found.real_shims[0].clone(), Box::new(word));
        assert_eq!(answered(&one.found.guard), "3s ago");
    }

    #[test]
    fn json_is_an_array_without_colours() {
        let text = render(&[sandbox("a", State::Orphaned)], Output::Json).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value[0]["state"].as_str(), value[0]["id"].as_str()), (Some("orphaned"), Some("a")));
        assert_eq!(render(&[], Output::Json).unwrap(), "[]\n");
        assert!(plain(&[], Output::Table).starts_with("no gVisor sandbox"));
    }
}
