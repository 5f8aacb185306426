//! A terminal's output as SVG: each line appears at its time, and all of them stand there where nothing is animated. Pure.

use std::{fmt::Write as _, time::Duration};

/// A letter's width and a line's height.
const CELL: (usize, usize) = (8, 18);
const EDGE: usize = 12;
const STYLE: &str = "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#d6deeb;white-space:pre;\
    animation:hidden 0s}@keyframes hidden{from,to{opacity:0}}.c{fill:#fff;font-weight:700}.b{font-weight:700}\
    .r{fill:#ff6b6b}.g{fill:#7fdb8f}.y{fill:#ffd166}.d{opacity:.7}\
    @media(prefers-reduced-motion:reduce){text{animation:none!important}}";

/// Text in one manner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Piece {
    class: String,
    text: String,
}

/// A line, and when it was whole.
#[derive(Debug, Default)]
struct Line {
    at: Duration,
    pieces: Vec<Piece>,
}

/// The drawing of these events, on so many columns.
pub(crate) fn drawing(events: &[(Duration, String)], columns: usize, pause: Duration) -> String {
    let lines = lines(events, columns, pause);
    let (width, height) = (columns * CELL.0 + 2 * EDGE, lines.len() * CELL.1 + 2 * EDGE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\"><title>runsc-guard drill, before and after install</title><style>{STYLE}</style>\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#161b22\"/>\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = EDGE + number * CELL.1 + 13;
        let seconds = line.at.as_secs_f64();
        let _ = write!(svg, "<text x=\"{EDGE}\" y=\"{y}\" style=\"animation-duration:{seconds:.2}s\">");
        for Piece { class, text } in &line.pieces {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = match class.as_str() {
                "" => write!(svg, "{text}"),
                class => write!(svg, "<tspan class=\"{class}\">{text}</tspan>"),
            };
        }
        svg.push_str("</text>\n");
    }
    svg + "</svg>\n"
}

/// The lines of a terminal that is only written on downwards, and breaks what is longer.
fn lines(events: &[(Duration, String)], columns: usize, pause: Duration) -> Vec<Line> {
    let (mut lines, mut class) = (vec![Line::default()], String::new());
    let (mut shown, mut last) = (Duration::ZERO, Duration::ZERO);
    let mut width = 0;
    for (at, text) in events {
        shown += at.saturating_sub(last).min(pause);
        last = *at;
        let typed = text.trim_start().starts_with("$ ");
        let mut rest = text.as_str();
        while let Some(one) = rest.chars().next() {
            if let Some((manner, after)) = manner(rest) {
                (class, rest) = (manner, after);
                continue;
            }
            rest = &rest[one.len_utf8()..];
            if one == '\n' || width == columns && one != '\r' {
                lines.push(Line::default());
                width = 0;
            }
            if one.is_control() {
                continue;
            }
            width += 1;
            if let Some(line) = lines.last_mut() {
                line.at = shown;
                put(line, if typed { "c" } else { &class }, one);
            }
        }
    }
    while lines.last().is_some_and(|line| line.pieces.is_empty()) {
        lines.pop();
    }
    lines
}

fn put(line: &mut Line, class: &str, one: char) {
    match line.pieces.last_mut().filter(|piece| piece.class == class) {
        Some(piece) => piece.text.push(one),
        None => line.pieces.push(Piece { class: class.to_owned(), text: one.to_string() }),
    }
}

/// `ESC [ 1;32 m` as classes, and what follows it.
fn manner(text: &str) -> Option<(String, &str)> {
    let (codes, after) = text.strip_prefix("\x1b[")?.split_once('m')?;
    let class = |code: &str| match code {
        "1" => "b",
        "2" => "d",
        "31" => "r",
        "32" => "g",
        "33" => "y",
        _ => "",
    };
    let all: Vec<&str> = codes.split(';').map(class).filter(|class| !class.is_empty()).collect();
    Some((all.join(" "), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_time_its_colours_and_the_terminals_width() {
        let seconds = Duration::from_secs;
        let events = [
            (seconds(0), "$ drill\r\n".to_owned()),
            (seconds(1), "a <b>\r\n".to_owned()),
            (seconds(60), "\x1b[32mwell\x1b[0m, 0123456789\r\n".to_owned()),
        ];
        let svg = drawing(&events, 8, seconds(2));
        for words in [
            "<text x=\"12\" y=\"25\" style=\"animation-duration:0.00s\"><tspan class=\"c\">$ drill</tspan></text>",
            "animation-duration:1.00s\">a &lt;b&gt;</text>",
            "animation-duration:3.00s\"><tspan class=\"g\">well</tspan>, 01</text>",
            "animation-duration:3.00s\">23456789</text>",
        ] {
            assert!(svg.contains(words), "{words} in {svg}");
        }
        assert_eq!(svg.matches("<text").count(), 4);
    }
}
