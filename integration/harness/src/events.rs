//! What containerd tells its subscribers: `ctr events`, captured.

use crate::Ctr;
use anyhow::{Context as _, Result};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// One published event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `/tasks/exit` and its like.
    pub topic: String,
    /// Its fields, as `ctr events` prints them.
    pub body: serde_json::Value,
}

impl Event {
    /// A field's text (`container_id`, `id`), empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(|value| value.as_str()).unwrap_or_default()
    }

    /// A field's number (`exit_status`), 0 where there is none.
    pub fn number(&self, field: &str) -> u64 {
        self.body.get(field).and_then(serde_json::Value::as_u64).unwrap_or_default()
    }
}

/// All events from its start on, in the order in which they came, of every namespace.
#[derive(Debug)]
pub struct EventLog {
    child: Child,
    /// Each with the moment in which it came.
    events: Arc<Mutex<Vec<(Instant, Event)>>>,
}

impl EventLog {
    /// Subscribes. `ctr events` says nothing when it is ready, so this waits until an event of our own arrives.
    pub fn start(ctr: &Ctr) -> Result<Self> {
        let mut child = ctr
            .command(&["events"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start ctr events")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(event) = parse(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), event));
                }
            }
        });
        let log = Self { child, events };
        log.await_subscription(ctr)?;
        Ok(log)
    }

    fn await_subscription(&self, ctr: &Ctr) -> Result<()> {
        let label = format!("probe={}", std::process::id());
        crate::eventually(std::time::Duration::from_secs(10), "a subscription to events", || {
            ctr.call(&["namespaces", "label", ctr.namespace(), &label], std::time::Duration::from_secs(5))
                .ok()?;
            let seen = self.all().iter().any(|event| event.topic == "/namespaces/update");
            seen.then_some(())
        })
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// The task events of one container so far.
    pub fn of_task(&self, id: &str) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = |event: &&Event| event.topic.starts_with("/tasks/") && event.text("container_id") == id;
        events.iter().map(|(_, event)| event).filter(of_it).cloned().collect()
    }

    /// When the exit of `id`'s init came, if it has.
    pub fn exited_at(&self, id: &str) -> Option<Instant> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(_, event): &&(Instant, Event)| event.topic == "/tasks/exit" && event.text("id") == id;
        events.iter().find(is_it).map(|(at, _)| *at)
    }

    /// How many exits of `id`'s process `exec` (its own id for the init) were published.
    pub fn exits(&self, id: &str, exec: &str) -> usize {
        self.of_task(id)
            .iter()
            .filter(|event| event.topic == "/tasks/exit" && event.text("id") == exec)
            .count()
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // Ends only our own child; that it may be gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line is: date, time, zone, zone name, namespace, topic, JSON.
fn parse(line: &str) -> Option<Event> {
    let start = line.find('{')?;
    let (head, body) = line.split_at(start);
    Some(Event { topic: head.split_whitespace().last()?.to_owned(), body: serde_json::from_str(body).ok()? })
}
