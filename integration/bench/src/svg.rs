//! A picture of what was measured, by hand: values with their intervals, one line each.

use std::fmt::Write as _;

/// One figure in a picture.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) interval: Option<(f64, f64)>,
    /// What stands behind it.
    pub(crate) text: String,
}

/// Marks on one scale, which begins at 0.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// A line to compare with: 1 for ratios.
    pub(crate) reference: Option<f64>,
    pub(crate) marks: Vec<Mark>,
}

const WIDTH: f64 = 860.0;
/// Labels stand left of the scale, texts right of it.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 620.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 52.0;

/// All panels below each other.
pub(crate) fn picture(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(|panel| TITLE + ROW * panel.marks.len() as f64).sum();
    let mut text = open(WIDTH, height + 10.0);
    let mut top = 0.0;
    for panel in panels {
        draw(&mut text, panel, top);
        top += TITLE + ROW * panel.marks.len() as f64;
    }
    text + "</svg>\n"
}

/// The head of a picture: readable on any page, since it brings its own background.
pub(crate) fn open(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    )
}

/// For use between tags. (Writing to a String cannot fail.)
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn draw(text: &mut String, panel: &Panel, top: f64) {
    let bottom = top + TITLE + ROW * panel.marks.len() as f64;
    let ends =
        panel.marks.iter().map(|mark| mark.interval.map_or(mark.value, |(_, high)| high.max(mark.value)));
    let scale = round_up(ends.chain(panel.reference).fold(0.0, f64::max));
    let x = |value: f64| LEFT + (RIGHT - LEFT) * (value / scale).clamp(0.0, 1.0);
    let title = escape(&panel.title);
    let _ = writeln!(text, "<text x=\"10\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>", top + 20.0);
    for step in 0..=4 {
        // Short, whatever binary fractions make of it.
        let value = (scale * 250.0 * f64::from(step)).round() / 1000.0;
        let (at, y) = (x(value), top + 42.0);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{y:.0}\" x2=\"{at:.1}\" y2=\"{bottom:.0}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#888\" font-size=\"10\">{value}</text>",
            y - 4.0
        );
    }
    if let Some(reference) = panel.reference {
        let at = x(reference);
        let y = top + 42.0;
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{y:.0}\" x2=\"{at:.1}\" y2=\"{bottom:.0}\" stroke=\"#888\" \
             stroke-dasharray=\"4 3\"/>"
        );
    }
    for (number, mark) in panel.marks.iter().enumerate() {
        let y = top + TITLE + ROW * number as f64 + 4.0;
        let better = panel.reference.is_none_or(|reference| mark.value <= reference);
        let colour = if better { "#1b7f5c" } else { "#c2571a" };
        let _ = writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 4.0,
            escape(&mark.label)
        );
        if let Some((low, high)) = mark.interval {
            let _ = writeln!(
                text,
                "<line x1=\"{:.1}\" y1=\"{y:.0}\" x2=\"{:.1}\" y2=\"{y:.0}\" stroke=\"{colour}\" stroke-width=\"3\" \
                 opacity=\"0.4\"/>",
                x(low),
                x(high)
            );
        }
        let _ = writeln!(
            text,
            "<circle cx=\"{:.1}\" cy=\"{y:.0}\" r=\"4\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            x(mark.value),
            RIGHT + 12.0,
            y + 4.0,
            escape(&mark.text)
        );
    }
}

/// The next number that four steps divide into short ones.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 1.2, 2.0, 4.0, 6.0, 8.0].into_iter().find(|step| value <= step * power);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_short_number() {
        for (value, end) in [(0.93, 1.0), (1.04, 1.2), (37.0, 40.0), (85.0, 100.0), (0.0, 1.0)] {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn a_picture_holds_each_mark_and_escapes_it() {
        let mark =
            Mark { label: "a < b".to_owned(), value: 0.5, interval: Some((0.4, 0.6)), text: "t".to_owned() };
        let panel = Panel { title: "T".to_owned(), reference: Some(1.0), marks: vec![mark] };
        let text = picture(&[panel]);
        assert!(text.contains("a &lt; b") && text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        // The middle of the scale, and its interval to both sides of it.
        assert!(
            text.contains("cx=\"435.0\"") && text.contains("x1=\"398.0\"") && text.contains("x2=\"472.0\"")
        );
    }
}
