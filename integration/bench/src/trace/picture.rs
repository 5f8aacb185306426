//! The picture of a trace: time to the right, a band for each kind, as many lines in it as overlap.

use super::spans::{Kind, Span};
use crate::{
    nodes::Side,
    svg::{escape, open},
};
use std::fmt::Write as _;

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 150.0;
const LINE: f64 = 16.0;
const TITLE: f64 = 44.0;
/// A label that does not fit stands behind its bar, if there is room.
const LETTER: f64 = 6.2;

/// Each act below the other, all on one scale.
pub(super) fn draw(acts: &[(&str, Side, &Vec<Span>)]) -> String {
    let length =
        |spans: &Vec<Span>| spans.iter().map(|span| span.end).fold(f64::MIN, f64::max) - beginning(spans);
    let longest = acts.iter().map(|(_, _, spans)| length(spans)).fold(0.001, f64::max);
    let scale = (WIDTH - LEFT - 120.0) / longest;
    let (mut body, mut top) = (String::new(), 0.0);
    for (act, side, spans) in acts {
        top = draw_act(&mut body, &format!("{act} of a pod of one, {}", side.name()), spans, scale, top);
    }
    open(WIDTH, top + 10.0) + &body + "</svg>\n"
}

fn beginning(spans: &[Span]) -> f64 {
    spans.iter().map(|span| span.begin).fold(f64::MAX, f64::min)
}

/// Returns where it ends. (Writing to a String cannot fail.)
fn draw_act(text: &mut String, title: &str, spans: &[Span], scale: f64, top: f64) -> f64 {
    let begin = beginning(spans);
    let x = |at: f64| LEFT + (at - begin) * scale;
    let _ = writeln!(
        text,
        "<text x=\"10\" y=\"{:.0}\" font-weight=\"bold\">{}</text>",
        top + 22.0,
        escape(title)
    );
    let mut y = top + TITLE;
    let mut bands = String::new();
    for kind in BANDS {
        let of_kind: Vec<&Span> = spans.iter().filter(|span| span.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(
            bands,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 12.0,
            name(kind)
        );
        let lines =
            stack(&of_kind, |span| x(span.begin), |span| x(span.end).max(text_end(span, x(span.begin))));
        for (span, line) in of_kind.iter().zip(&lines) {
            bar(&mut bands, span, x(span.begin), x(span.end), y + LINE * *line as f64);
        }
        y += LINE * (lines.iter().max().map_or(0, |line| line + 1)) as f64 + 6.0;
    }
    let last = spans.iter().map(|span| span.end).fold(f64::MIN, f64::max);
    for tick in 0.. {
        let at = begin + f64::from(tick) * 0.05;
        if at > last + 0.05 {
            break;
        }
        let _ = writeln!(
            text,
            "<line x1=\"{0:.1}\" y1=\"{1:.0}\" x2=\"{0:.1}\" y2=\"{y:.0}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{0:.1}\" y=\"{2:.0}\" text-anchor=\"middle\" fill=\"#888\" font-size=\"10\">{3} ms</text>",
            x(at),
            top + TITLE - 6.0,
            top + TITLE - 9.0,
            tick * 50
        );
    }
    text.push_str(&bands);
    y
}

const BANDS: [Kind; 9] = [
    Kind::Step,
    Kind::Asked,
    Kind::Forwarded,
    Kind::Shim,
    Kind::Daemon,
    Kind::Runsc,
    Kind::Sandbox,
    Kind::Network,
    Kind::Other,
];

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Step => "asked of containerd",
        Kind::Asked => "of its shim",
        Kind::Forwarded => "of the real shim",
        Kind::Shim => "shim's commands",
        Kind::Daemon => "shims",
        Kind::Runsc => "runsc",
        Kind::Sandbox => "sandbox",
        Kind::Network => "CNI",
        Kind::Other => "others",
    }
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Step => "#c9ced6",
        Kind::Asked => "#8fc9ae",
        Kind::Forwarded => "#8db8e0",
        Kind::Shim => "#c8a8dc",
        Kind::Daemon => "#e3d3ec",
        Kind::Runsc => "#f0a878",
        Kind::Sandbox => "#f6dcc6",
        Kind::Network => "#e6d87a",
        Kind::Other => "#e2e2e2",
    }
}

/// Where a label would end.
fn text_end(span: &Span, begin: f64) -> f64 {
    begin + 3.0 + LETTER * span.label.chars().count() as f64
}

fn bar(text: &mut String, span: &Span, begin: f64, end: f64, y: f64) {
    let label = escape(&span.label);
    let _ = writeln!(
        text,
        "<rect x=\"{begin:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{}\"><title>{label}: {:.1} ms\
         </title></rect><text x=\"{:.1}\" y=\"{:.0}\" font-size=\"11\">{label}</text>",
        (end - begin).max(0.8),
        LINE - 2.0,
        colour(span.kind),
        (span.end - span.begin) * 1e3,
        begin + 3.0,
        y + 11.0
    );
}

/// The first line for each on which it overlaps nothing, in their order.
fn stack(spans: &[&Span], begin: impl Fn(&Span) -> f64, end: impl Fn(&Span) -> f64) -> Vec<usize> {
    let mut lines: Vec<f64> = Vec::new();
    let line = |span: &&Span| {
        let free = lines.iter().position(|until| *until <= begin(span));
        let line = free.unwrap_or(lines.len());
        match lines.get_mut(line) {
            Some(until) => *until = end(span),
            None => lines.push(end(span)),
        }
        line
    };
    spans.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_gets_a_line_of_its_own() {
        let span = |begin, end| Span { kind: Kind::Runsc, label: "state".to_owned(), begin, end };
        let all = [span(0.0, 2.0), span(1.0, 3.0), span(2.0, 4.0), span(2.5, 3.0)];
        let refs: Vec<&Span> = all.iter().collect();
        assert_eq!(stack(&refs, |span| span.begin, |span| span.end), [0, 1, 0, 2]);
        let picture = draw(&[("start", Side::Guarded, &all.to_vec())]);
        assert_eq!(picture.matches("<rect x=").count(), 4);
        assert!(picture.contains("start of a pod of one, guarded") && picture.ends_with("</svg>\n"));
    }
}
