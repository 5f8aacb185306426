//! The real shim answers a call: the answer goes to whoever waits for it, and the record learns from it.

use alloc::vec::Vec;

use crate::call::{Call, Kind};
use crate::exit::Exit;
use crate::guard::{Guard, Phase};
use crate::io::{Answer, CallId, Outcome, Output, RequestId, Told};
use crate::task::{Life, Process};

impl Guard {
    pub(crate) fn returned(&mut self, id: CallId, outcome: Outcome) {
        // A call that was given up, or whose sandbox is gone, has nobody left.
        let Some(call) = self.calls.remove(&id) else { return };
        self.has_spoken(id, &call, &outcome);
        self.call_is_over(&call);
        if self.tasks.get(&call.process).is_some_and(|process| id < process.born) {
            // It speaks of a process that is gone; there is a new one of that name.
            return self.relay(call.requests, &outcome);
        }
        if matches!((call.kind, &outcome), (Kind::Start | Kind::Exec, Outcome::Done(_))) {
            self.create_is_proven(&call.process.container);
        }
        self.listen(&call, &outcome);
        match call.kind {
            Kind::Create => self.create_returned(call, outcome),
            Kind::Start => self.start_returned(call, outcome),
            Kind::Exec => self.exec_returned(call, outcome),
            Kind::State | Kind::Pids | Kind::Stats => self.question_returned(id, call, outcome),
            Kind::Wait => self.wait_returned(call, outcome),
            Kind::Signal(signal) => self.signal_returned(id, call, signal, outcome),
            Kind::Delete => self.delete_returned(call, outcome),
            Kind::Shutdown => self.shutdown_returned(&outcome),
            Kind::Greeting => {}
            Kind::Plain(method) => {
                self.may_change(method, &call.process);
                self.relay(call.requests, &outcome);
            }
            Kind::End | Kind::KillEnded => self.relay(call.requests, &outcome),
        }
    }

    /// Passes on what has just come in. After a lost connection there is nothing to pass on: those who wait
    /// are answered when their time is up, or when the real shim's death has been dealt with.
    pub(crate) fn relay(&mut self, requests: Vec<RequestId>, outcome: &Outcome) {
        if *outcome == Outcome::Lost {
            return;
        }
        for request in requests {
            self.reply(request, Answer::Relay);
        }
    }

    /// An error that came when the call's own time was up says only that the real shim gave up. (One that was
    /// read late because the guard itself did not run is taken at its word: that is the safe side.)
    pub(crate) fn gave_up(&self, call: &Call, outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Failed { .. })
            && !call.timeout.is_zero()
            && self.on_time >= call.sent + call.timeout
    }

    fn start_returned(&mut self, call: Call, outcome: Outcome) {
        if let Outcome::Done(_) = outcome {
            self.has_started(&call.process);
        }
        if let (Outcome::Done(told), Some(process)) = (&outcome, self.tasks.get_mut(&call.process)) {
            process.runs(call.sent, self.now);
            if let Told::Pid(pid) = told {
                process.pid = *pid;
            }
        }
        self.relay(call.requests, &outcome);
    }

    fn exec_returned(&mut self, call: Call, outcome: Outcome) {
        let process = self.tasks.get_mut(&call.process);
        match (&outcome, process) {
            (Outcome::Done(_), Some(process)) if process.life == Life::Adding => {
                process.life = Life::Added;
            }
            // Nobody knows of an exec whose answer is lost, so nobody will start it.
            (Outcome::Failed { .. } | Outcome::Lost, _) => self.never_came_to_be(&call.process),
            _ => {}
        }
        self.relay(call.requests, &outcome);
    }

    fn wait_returned(&mut self, call: Call, outcome: Outcome) {
        let lost_alive = matches!(outcome, Outcome::Done(Told::Exit(exit)) if self.is_lost_alive(exit));
        let (now, limit) = (self.now, self.policy.query_deadline);
        let id = &call.process;
        let Some(process) = self.tasks.get_mut(id) else {
            // An exec that was deleted with its container. After a teardown its exit answers, when published.
            if !self.forced {
                self.relay(call.requests, &outcome);
            }
            return;
        };
        process.wait_call = None;
        match outcome {
            Outcome::Done(_) if process.exit.is_some() => {}
            Outcome::Done(Told::Exit(_)) if lost_alive => {}
            Outcome::Done(Told::Exit(exit)) => {
                let exit = Exit { pid: process.pid, ..exit };
                if self.forced {
                    return self.ended(id, exit.told_after_kill());
                }
                // Byte for byte to those who wait now; the record answers those who come later.
                self.relay(self.requests_for(id, Kind::Wait), &outcome);
                self.ended(id, exit);
            }
            Outcome::Lost => {}
            _ if self.forced => {}
            // Errors and nothing else are no answer: what the guard knows to live has an exit to come.
            Outcome::Failed { not_found: false }
                if *process.wait_failing.get_or_insert(now) + limit <= now => {}
            _ => self.relay(self.requests_for(id, Kind::Wait), &outcome),
        }
    }

    fn delete_returned(&mut self, call: Call, outcome: Outcome) {
        let gave_up = self.gave_up(&call, &outcome);
        let forced = self.forced;
        let open = matches!(self.phase, Phase::Open);
        let childless = self.tasks.execs_of(&call.process).is_empty();
        let sent = call.sent;
        let before = |process: &Process| process.exited.is_none_or(|exited| exited < sent);
        let ended = self.counts_as_ended(&call.process) && self.tasks.get(&call.process).is_some_and(before);
        // The clock of the root strikes before its call gives up, unless the guard itself ran late.
        let gave_up = gave_up && !self.is_root(&call.process);
        let Some(process) = self.tasks.get_mut(&call.process) else {
            if matches!(outcome, Outcome::Done(_)) {
                self.forget_released(&call.process);
            }
            return self.relay(call.requests, &outcome);
        };
        process.delete_call = None;
        let never_ran = process.life == Life::Added && childless;
        let known = process.exit;
        let exit = match outcome {
            Outcome::Done(Told::Exit(exit)) if forced => known.unwrap_or(exit.told_after_kill()),
            Outcome::Done(Told::Exit(exit)) => known.unwrap_or(exit),
            Outcome::Lost => return,
            // Its clock decides; or the ladder has cut it short, and answers, too.
            Outcome::Failed { .. } if gave_up || !open => return,
            Outcome::Failed { not_found: true } if known.is_none() && never_ran => {
                self.relay(call.requests, &outcome);
                return self.never_came_to_be(&call.process);
            }
            Outcome::Failed { not_found: true } if let Some(exit) = known => exit,
            _ => {
                // What ran when it was asked for cannot be deleted, and nothing is under way. What had ended is, at its
                // deadline; so is what `delete` has asked for: nobody asks again for that.
                if !ended && !process.end {
                    process.delete = None;
                }
                return self.relay(call.requests, &outcome);
            }
        };
        if open && process.releasing.is_some() {
            // The release has made this possible. It answers, and tells what is left.
            return self.ended(&call.process, exit);
        }
        if open && call.process.is_init() && call.requests.is_empty() && !process.end {
            // Who asked has left, or was told that it takes longer: the exit is for the next who asks. Without it
            // containerd would keep the shim of a task that its clients no longer find.
            process.delete = None;
            process.deleted = true;
            return self.ended(&call.process, exit);
        }
        self.forget(&call.process, exit);
        if forced {
            for request in call.requests {
                self.reply(request, Answer::Deleted(exit));
            }
        } else {
            self.relay(call.requests, &outcome);
        }
        self.output(Output::Save);
    }
}
