//! Words and colours for people. Colours are always written here; whether they reach the terminal is
//! `anstream`'s to decide, which knows terminals and NO_COLOR.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::survey::model::State;

/// A heading.
pub(crate) fn heading(text: &str) -> String {
    painted(Style::new().bold(), text)
}

/// What is of less interest.
pub(crate) fn faint(text: &str) -> String {
    painted(Style::new().dimmed(), text)
}

/// What went wrong.
pub(crate) fn failure(text: &str) -> String {
    painted(AnsiColor::Red.on_default().bold(), text)
}

/// What went well.
pub(crate) fn success(text: &str) -> String {
    painted(AnsiColor::Green.on_default(), text)
}

/// What is worth a look.
pub(crate) fn caution(text: &str) -> String {
    painted(AnsiColor::Yellow.on_default(), text)
}

/// A state, by how much it wants a person.
pub(crate) fn state(state: State) -> String {
    let style = match state {
        State::Running | State::Paused => AnsiColor::Green.on_default(),
        State::Starting | State::Ending | State::Ended => AnsiColor::Yellow.on_default(),
        State::Wedged | State::Unkillable | State::Orphaned => AnsiColor::Red.on_default().bold(),
        State::Unknown | State::Unproven => AnsiColor::Magenta.on_default(),
    };
    painted(style, state.word())
}

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A span of time with its two largest units: `3d4h`, `12m5s`, `7s`, `120ms`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, small) = match seconds {
        0 => return format!("{}ms", span.as_millis()),
        1..60 => return format!("{seconds}s"),
        60..3600 => ((seconds / 60, 'm'), (seconds % 60, 's')),
        3600..86_400 => ((seconds / 3600, 'h'), (seconds / 60 % 60, 'm')),
        _ => ((seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h')),
    };
    match small.0 {
        0 => format!("{}{}", large.0, large.1),
        _ => format!("{}{}{}{}", large.0, large.1, small.0, small.1),
    }
}

/// An amount of memory.
pub(crate) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{}K", bytes >> 10),
        _ if bytes < 100 * MIB => format!("{}.{}M", bytes / MIB, bytes % MIB * 10 / MIB),
        _ => format!("{}M", bytes / MIB),
    }
}

/// What others wrote, without what would move the cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let rows = [(0, "0ms"), (59, "59s"), (60, "1m"), (125, "2m5s"), (7200, "2h"), (90_061, "1d1h")];
        for (seconds, text) in rows {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(span(Duration::from_millis(250)), "250ms");
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!([size(2048), size(3 << 19), size(200 << 20)], ["2K", "1.5M", "200M"]);
    }

    #[test]
    fn what_a_process_calls_itself_cannot_paint_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\n"), "a?[31mb?");
    }
}
