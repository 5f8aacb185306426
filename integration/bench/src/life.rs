//! A sandbox's life, timed from outside: as a kubelet (pods of one, three and ten containers, and many at once) and as
//! `ctr` (a stand-alone container).
//!
//! All sides take turns in one run.

mod crowd;
mod rounds;

use crate::{
    budget,
    section::{Section, Stage},
    subject::Subject,
};
use anyhow::Result;
use rounds::Rounds;
use serde_json::{Map, Value};

/// A round's exec is the median of so many: it is short, and one that another process delays tells of that process.
const EXECS: usize = 5;

/// The intervals of what has a budget are looked at after every so many rounds: seldom enough that stopping at the first
/// narrow one does not favour luck.
const BATCH: usize = 10;
/// Half the width of an interval that is narrow enough, as a share of its median.
const NARROW: f64 = 0.02;

pub(crate) fn measure(stage: &Stage<'_>) -> Result<Section> {
    let subjects: &[Subject] = match stage.options.check {
        true => &[Subject::Pod(1), Subject::Container],
        false => &[Subject::Pod(1), Subject::Pod(3), Subject::Pod(10), Subject::Container],
    };
    let mut section = Section::default();
    let (mut json, mut by_containers, mut by_pods) = (Map::new(), Vec::new(), Vec::new());
    let mut add = |name: String, rounds: &Rounds, budgets: &[(&'static str, f64)]| {
        section.tables.push(rounds.table(&name));
        section.panels.push(rounds.panel(&name));
        for (step, limit) in budgets {
            let what = format!("{name}: {step}");
            section.findings.push(stage.options.judge().ratio(&what, rounds.ratio(step), *limit));
        }
        json.insert(name, rounds.json());
    };
    for subject in subjects {
        let budgets = budget::of_life(*subject, stage.options.judge());
        let rounds = live(stage, *subject, budgets)?;
        add(subject.to_string(), &rounds, budgets);
        if let Subject::Pod(containers) = subject {
            by_containers.push((*containers, rounds));
        }
    }
    if !stage.options.check {
        for pods in crowd::sizes(stage.options.crowd) {
            let rounds = crowd::measure(stage, pods)?;
            add(format!("{pods} pods at once"), &rounds, &[]);
            by_pods.push((pods, rounds));
        }
    }
    section.series = rounds::series("containers", &by_containers);
    section.series.extend(rounds::series("pods at once", &by_pods));
    section.json = Value::Object(json);
    Ok(section)
}

/// Rounds of one subject's life until the steps with a budget are known well enough.
fn live(stage: &Stage<'_>, subject: Subject, budgets: &[(&'static str, f64)]) -> Result<Rounds> {
    // The first of each kind finds cold caches, which is not the handler's doing.
    Rounds::default().add(stage, |node| subject.live(node, 0, EXECS))?;
    let mut rounds = Rounds::default();
    while rounds.len() < stage.options.pairs {
        for _ in 0..BATCH.min(stage.options.pairs - rounds.len()) {
            let number = rounds.len() + 1;
            rounds.add(stage, |node| subject.live(node, number, EXECS))?;
        }
        stage.say(format_args!("{subject}, {} rounds: {}", rounds.len(), rounds.so_far(budgets)));
        let narrow = |(step, _): &(&str, f64)| rounds.ratio(step).is_some_and(|ratio| ratio.within(NARROW));
        if budgets.iter().all(narrow) {
            break;
        }
    }
    Ok(rounds)
}
