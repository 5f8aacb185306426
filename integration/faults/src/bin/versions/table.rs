//! The table, for a person. (Writing to a String cannot fail.)

use crate::notes::Leg;
use anyhow::Result;
use faults::matrix::versions::columns;
use harness::{Versions, kernel, today};
use std::fmt::Write as _;

/// One line for each pair, one column for each trial. Of a pair that ran more than once the last run counts, and the
/// ones before are told.
pub(crate) fn table(all: &[Versions], legs: &[Leg], guarded: bool) -> Result<String> {
    let mut text = String::new();
    let who = if guarded { "the guard" } else { "gVisor's own shim" };
    let _ = writeln!(text, "# Versions: {who}, {}\n", today()?);
    let _ = writeln!(
        text,
        "Linux {}. In each place: a stand-alone container / a pod of three, from the first time that the end was \
         asked for to containerd's yes, with deadlines of two seconds (*none*: the defaults). All containers of *none*, \
         and of the last of these columns after containerd is back, ran a command first and had their numbers read. What is not RED left \
         nothing, was not ended by the guard where it was healthy, published every exit once and could be started \
         again under its name. Then: one container of a pod whose `runsc delete` hangs, while another one lives on; so \
         many comparisons of the guard's own Stats with those of gVisor's shim, alone and in a pod; `runsc-guard drill`. \
         *released* is gVisor in the layout of its tarball: a sentry of its own, and a stand-in for the prewarmer.\n",
        kernel()?
    );
    let columns = columns();
    let _ = writeln!(text, "| containerd | gVisor | {} |", columns.join(" | "));
    let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(columns.len()));
    let of = |versions: &Versions| legs.iter().filter(|leg| leg.versions == *versions).collect::<Vec<_>>();
    let last: Vec<&Leg> = all.iter().filter_map(|versions| of(versions).pop()).collect();
    for Leg { versions, lines } in &last {
        let place = |column: &String| {
            let of_it = lines.iter().filter(|line| line.column == *column);
            of_it.map(|line| line.text.as_str()).collect::<Vec<_>>().join(" / ")
        };
        let places: Vec<String> = columns.iter().map(place).collect();
        let _ = writeln!(text, "| {} | {} | {} |", versions.containerd, versions.gvisor, places.join(" | "));
    }
    let lines = || last.iter().flat_map(|leg| &leg.lines);
    let green = lines().filter(|line| line.green).count();
    let _ = writeln!(text, "\n{green} of {} are green.", lines().count());
    if !guarded {
        // What gVisor's own shim does not end is the rule, and no news.
        return Ok(text);
    }
    for leg in legs {
        let is_last = last.iter().any(|last| std::ptr::eq(*last, leg));
        for line in leg.lines.iter().filter(|line| !line.green) {
            let when = if is_last { "RED" } else { "red in a run before" };
            let _ = writeln!(text, "\n    {when}: {} x {}: {}", leg.versions, line.column, line.why);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::matrix::versions::Line;

    #[test]
    fn a_red_run_is_told_although_the_next_one_was_green() {
        let versions = Versions { containerd: "2.4.2".to_owned(), gvisor: "2026-09".to_owned() };
        let leg = |green, why: &str| {
            let line =
                Line { column: "drill".to_owned(), green, text: "2.1 s".to_owned(), why: why.to_owned() };
            Leg { versions: versions.clone(), lines: vec![line] }
        };
        let told = |legs: &[Leg]| table(std::slice::from_ref(&versions), legs, true).unwrap();
        let text = told(&[leg(false, "late: 9 s"), leg(true, "")]);
        assert!(text.contains("1 of 1 are green."), "{text}");
        assert!(
            text.contains("red in a run before: containerd 2.4.2, gVisor 2026-09 x drill: late: 9 s"),
            "{text}"
        );
        let text = told(&[leg(true, ""), leg(false, "late: 9 s")]);
        assert!(text.contains("0 of 1 are green.") && text.contains("    RED: "), "{text}");
    }
}
