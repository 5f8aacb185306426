//! `ls`.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use crate::args::{Ls, Output, Scope};
use crate::paint::{self, size, span};
use crate::screen::{self, Size};
use crate::survey::model::{Guard, Sandbox, Sign};
use crate::survey::survey;

/// How often is looked whether the terminal has another size.
const RESIZED: Duration = Duration::from_millis(100);
/// What a narrow terminal does without, the first of them first.
const DROPPED: [&str; 5] = ["ANSWERED", "PIDS", "CONTAINERS", "RSS", "NAMESPACE"];
/// What is left at least of a pod's name and of a sign.
const LEAST: usize = 16;
/// Blanks between columns.
const GAP: usize = 2;

/// Prints the list, once or again and again.
pub(crate) fn run(scope: &Scope, args: &Ls) -> Result<ExitCode> {
    let mut drawn = None;
    loop {
        let seen = survey(scope)?;
        let caution = crate::commands::caution(&seen);
        let render = |columns| render(&seen.sandboxes, args.output, columns);
        match args.watch.filter(|_| screen::is_drawn_on()) {
            Some(pause) => draw(pause, &mut drawn, |columns| {
                Ok(render(columns)? + &screen::fitted(caution.as_deref().unwrap_or_default()))
            })?,
            None => {
                let is_read = screen::write(&render(screen::size().map(|size| size.columns))?)?;
                caution.iter().for_each(|caution| screen::complain(caution));
                match args.watch.filter(|_| is_read) {
                    Some(pause) => sleep(pause),
                    None => return Ok(ExitCode::SUCCESS),
                }
            }
        }
    }
}

/// Draws what `render` gives until the next look is due, again when the terminal changes its size.
fn draw(
    pause: Duration,
    last: &mut Option<Size>,
    render: impl Fn(Option<usize>) -> Result<String>,
) -> Result<()> {
    let until = Instant::now() + pause;
    let mut is_drawn = false;
    loop {
        if let Some(size) = screen::size().filter(|size| !is_drawn || *last != Some(*size)) {
            screen::draw(&render(Some(size.columns))?, size, *last)?;
            (*last, is_drawn) = (Some(size), true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(RESIZED));
    }
}

/// The list as text.
fn render(sandboxes: &[Sandbox], output: Output, columns: Option<usize>) -> Result<String> {
    if output == Output::Json {
        return Ok(serde_json::to_string_pretty(sandboxes)? + "\n");
    }
    if sandboxes.is_empty() {
        return Ok(format!("{}\n", paint::faint("no gVisor sandbox on this node")));
    }
    // Who asks for everything gets it, whatever the width.
    Ok(table(sandboxes, output == Output::Wide, columns.filter(|_| output == Output::Table)))
}

fn table(sandboxes: &[Sandbox], wide: bool, columns: Option<usize>) -> String {
    let mut names = vec!["NAMESPACE", "ID", "POD", "STATE", "AGE", "CONTAINERS", "PIDS", "RSS", "ANSWERED"];
    names.extend(if wide { vec!["GUARD", "SHIM", "SENTRY", "SIGN"] } else { vec!["SIGN"] });
    let mut rows: Vec<Vec<String>> = sandboxes.iter().map(|sandbox| row(sandbox, wide)).collect();
    if let Some(columns) = columns {
        fit(&mut names, &mut rows, columns);
    }
    let mut builder = Builder::default();
    builder.push_record(names.into_iter().map(paint::heading));
    rows.into_iter().for_each(|row| builder.push_record(row));
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, GAP, 0, 0));
    let lines = table.to_string();
    lines.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Leaves columns out until the rest fits, then cuts the two that may be long: they are whole in `show`.
fn fit(names: &mut Vec<&str>, rows: &mut [Vec<String>], columns: usize) {
    let width = |names: &[&str], rows: &[Vec<String>], at: usize| {
        rows.iter().map(|row| screen::width(&row[at])).max().unwrap_or(0).max(names[at].len()) + GAP
    };
    let over = |names: &[&str], rows: &[Vec<String>]| {
        let all: usize = (0..names.len()).map(|at| width(names, rows, at)).sum();
        all.saturating_sub(columns + GAP)
    };
    for dropped in DROPPED {
        if over(names, rows) == 0 {
            return;
        }
        if let Some(at) = names.iter().position(|name| *name == dropped) {
            names.remove(at);
            rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    for long in ["POD", "SIGN"] {
        let Some(at) = names.iter().position(|name| *name == long) else { continue };
        let most = (width(names, rows, at) - GAP).saturating_sub(over(names, rows)).max(LEAST);
        rows.iter_mut().for_each(|row| row[at] = screen::cut(&row[at], most));
    }
}

fn row(sandbox: &Sandbox, wide: bool) -> Vec<String> {
    let found = &sandbox.found;
    let id = if wide { &found.id } else { screen::short_id(&found.id) };
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
            Guard::Unknown(_) => "unknown".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::model::tests::sandbox;
    use crate::survey::model::{GuardsContainer, Pod, State, Waiting, Word};

    fn plain(sandboxes: &[Sandbox], output: Output) -> String {
        anstream::adapter::strip_str(&render(sandboxes, output, None).unwrap()).to_string()
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
    fn a_table_fits_a_terminal_of_80_columns() {
        let mut wedged = sandbox(&"0123456789abcdef".repeat(4), State::Unkillable);
        wedged.found.namespace = "k8s.io".into();
        let sign = "SIGKILL was sent, and the kernel keeps pid 4711 (state D in request_wait_answer)";
        wedged.signs = vec![Sign { what: sign.into(), for_ms: Some(1_000) }; 2];
        let name = "a-deployment-with-a-long-name-7f9c5d6b8-x2x4q".to_owned();
        wedged.found.pod = Some(Pod { name, namespace: "a-team-of-many".into(), uid: String::new() });
        for columns in [60, 80, 100, 132, 200] {
            let text = render(&[sandbox("b", State::Running), wedged.clone()], Output::Table, Some(columns))
                .unwrap();
            let plain = anstream::adapter::strip_str(&text).to_string();
            assert!(plain.lines().all(|line| line.chars().count() <= columns.max(68)), "{columns}:\n{plain}");
            assert!(plain.contains("0123456789abc") && plain.contains("unkillable"), "{plain}");
            assert!(plain.contains("SIGN") && plain.contains("SIGKILL was se"), "{plain}");
        }
        let wide = render(&[wedged], Output::Wide, Some(80)).unwrap();
        assert!(wide.contains(sign), "{wide}");
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
    fn json_is_as_the_schema_says() {
        let mut all = State::ALL.map(|state| sandbox("a", state));
        let task = all[0].found.real_shims[0].clone();
        let waiting = Waiting { method: "SIGKILL".into(), due_in_ms: Some(1), ..Waiting::default() };
        let word = Word {
            sign: Some(Sign { what: "x".into(), for_ms: Some(1) }),
            clocks: vec![waiting.clone()],
            overdue: Some(waiting),
            containers: vec![GuardsContainer::default()],
            last: vec![(1, "/tasks/start".into())],
            ..Word::default()
        };
        all[0].found.guard = Guard::Says(task.clone(), Box::new(word));
        all[1].found.guard = Guard::Silent(task, "no answer".into());
        all[2].found.guard = Guard::Dead;
        all[5].found.guard = Guard::Unknown("x".into());
        all[3].found.pod = Some(Pod::default());
        all[4].signs = vec![Sign { what: "x".into(), for_ms: None }];
        crate::schema::assert_valid("ls", &all);
    }

    #[test]
    fn json_is_an_array_without_colours() {
        let text = render(&[sandbox("a", State::Orphaned)], Output::Json, Some(80)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value[0]["state"].as_str(), value[0]["id"].as_str()), (Some("orphaned"), Some("a")));
        assert_eq!(render(&[], Output::Json, None).unwrap(), "[]\n");
        assert!(plain(&[], Output::Table).starts_with("no gVisor sandbox"));
    }
}
