//! What a person sees: one aligned line per thing that happens, and for anything that takes over two seconds a
//! line that says what is waited for: redrawn in place on a terminal, repeated every two seconds elsewhere.

use crate::side::Side;
use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// From when on a wait is worth a line, and how often it is repeated where it cannot be redrawn.
const LONG: Duration = Duration::from_secs(2);
/// How often the line is redrawn on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// No terminal is narrower; a line that wraps could not be redrawn.
const WIDTH: usize = 79;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";

#[derive(Default)]
struct State {
    /// What is being waited for, and since when.
    waits: BTreeMap<(Side, &'static str), Instant>,
    /// The line with the waits stands on the terminal and must be erased before anything else is written.
    drawn: bool,
    closed: bool,
}

/// Where everything but the verdict goes.
pub(crate) struct Screen {
    began: Instant,
    terminal: bool,
    colours: bool,
    verdict_colours: bool,
    state: Mutex<State>,
    change: Condvar,
}

impl Screen {
    /// stderr, with colours only on a terminal whose owner has not refused them (NO_COLOR).
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = std::io::stderr().is_terminal();
        Self {
            began: Instant::now(),
            terminal,
            colours: wanted && terminal,
            verdict_colours: wanted && std::io::stdout().is_terminal(),
            state: Mutex::default(),
            change: Condvar::new(),
        }
    }

    /// Something happened in one case of one side.
    pub(crate) fn say(&self, side: Side, case: &str, what: &str) {
        let name = self.paint(side.colour(), &format!("{:<9}", side.name()));
        self.write(&format!("{name}  {case:<9}  {what}"));
    }

    /// Something that went wrong with a side.
    pub(crate) fn trouble(&self, side: Side, what: &str) {
        self.say(side, "", &self.paint(RED, what));
    }

    /// Something about the whole.
    pub(crate) fn note(&self, what: &str) {
        self.write(what);
    }

    /// `case` of `side` waits for something until the returned value is dropped.
    pub(crate) fn waiting(&self, side: Side, case: &'static str) -> Waiting<'_> {
        self.state().waits.insert((side, case), Instant::now());
        Waiting { screen: self, key: (side, case) }
    }

    /// A line of the verdict, for stdout.
    pub(crate) fn verdict(&self, side: Side, line: &str, good: bool) -> String {
        let line = format!("{}: {line}", side.name());
        match (self.verdict_colours, good) {
            (false, _) => line,
            (true, true) => format!("{GREEN}{line}\x1b[0m"),
            (true, false) => format!("{RED}{line}\x1b[0m"),
        }
    }

    /// Shows the waits until [`Screen::close`].
    pub(crate) fn heartbeat(self: &Arc<Self>) -> JoinHandle<()> {
        let screen = Arc::clone(self);
        thread::spawn(move || {
            let interval = if screen.terminal { REDRAW } else { LONG };
            let mut state = screen.state();
            while !state.closed {
                screen.draw(&mut state);
                let woken = screen.change.wait_timeout(state, interval);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        })
    }

    /// Nothing is waited for any more: erases the line that says so.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        self.erase(&mut state);
        state.closed = true;
        self.change.notify_all();
    }

    fn draw(&self, state: &mut State) {
        let mut text = String::new();
        let mut last = None;
        for ((side, case), since) in &state.waits {
            let waited = since.elapsed();
            if waited < LONG {
                continue;
            }
            text += &match last.replace(*side) {
                None => side.name().to_owned(),
                Some(other) if other != *side => format!("; {}", side.name()),
                Some(_) => ",".to_owned(),
            };
            text += &format!(" {case} {:.0} s", waited.as_secs_f64());
        }
        self.erase(state);
        if text.is_empty() {
            return;
        }
        let line = format!("{}  waiting: {text}", self.clock());
        let width = if self.terminal { WIDTH } else { usize::MAX };
        let line = self.paint(DIM, &line.chars().take(width).collect::<String>());
        // A closed stderr is no reason to leave sandboxes behind.
        let _ = if self.terminal {
            state.drawn = true;
            write!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    fn write(&self, line: &str) {
        let mut state = self.state();
        self.erase(&mut state);
        let _ = writeln!(std::io::stderr(), "{}  {line}", self.clock());
    }

    fn erase(&self, state: &mut State) {
        if std::mem::take(&mut state.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// A thread that panicked has left it well enough to go on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> String {
        format!("{:5.1} s", self.began.elapsed().as_secs_f64())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("{colour}{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Side {
    fn colour(self) -> &'static str {
        match self {
            Self::Unguarded => RED,
            Self::Guarded => GREEN,
        }
    }
}

/// Something is waited for.
pub(crate) struct Waiting<'a> {
    screen: &'a Screen,
    key: (Side, &'static str),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.screen.state().waits.remove(&self.key);
    }
}
