//! The oracle of the timers' table: every deadline is looked for anew, in all that is open.

use std::iter;

use crate::clocks::Deadline;
use crate::guard::{Guard, Phase};
use crate::probe::Probing;
use crate::time::Time;

impl Guard {
    /// The next moment at which something is due, without the table.
    pub(crate) fn scan(&self) -> Option<Time> {
        let answers = self.waiting.values().filter_map(|waiting| waiting.due);
        let leaves = self.leaves_at.filter(|_| !matches!(self.phase, Phase::Closed));
        let unasked = self.vacancy_due().into_iter().chain(self.recall_due());
        let always = answers.chain(leaves).chain(unasked);
        let phase = match &self.phase {
            Phase::Open => return always.chain(self.clocks_due()).chain(self.steps_due()).min(),
            Phase::Ending(ladder) => ladder.due(),
            Phase::Closing(closing) => closing.due(),
            Phase::Unkillable(_, stuck) => stuck.due(),
            _ => None,
        };
        always.chain(phase).min()
    }

    /// When the clocks are to be judged, and the questions asked that their judgement needs.
    fn clocks_due(&self) -> impl Iterator<Item = Time> {
        self.tasks.processes().flat_map(|(id, process)| {
            let clocks = Deadline::BOTH.map(|which| {
                let clock = which.of(process)?;
                let question = self.question_due(&id, which, &clock);
                let greeting = self.greeting_due(&id, which, &clock);
                self.due(&id, which, &clock).into_iter().chain(question).chain(greeting).min()
            });
            let lingers = process.lingers.map(|since| since + self.policy.kill_deadline);
            let signals = process.signals.iter().filter_map(|pending| pending.again).min();
            clocks.into_iter().chain([lingers, signals, process.releasing]).flatten()
        })
    }

    /// When the Creates and the steps that are under way have to be over.
    fn steps_due(&self) -> impl Iterator<Item = Time> {
        let creates = self.tasks.0.values().filter_map(|task| self.create_due(task));
        let question = match self.probing {
            Probing::Asking(_, until) => Some(until),
            _ => None,
        };
        creates.chain(question).chain(self.watch_due()).chain(self.real_shim_missed())
    }

    /// Nothing but the table knows it.
    fn real_shim_missed(&self) -> impl Iterator<Item = Time> {
        iter::once(self.timers.get(crate::timers::Timer::RealShimLeft)).flatten()
    }
}
