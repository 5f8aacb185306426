//! What subscribers heard of the containers that lived.
//!
//! gVisor's shim publishes no TaskDelete, and neither does the guard: one that is heard is containerd's own, which it
//! publishes with an exit of its own after a shim's death. So it is known how many exits were the guard's.

use super::tally::Tally;
use harness::{Event, EventLog};
use std::collections::BTreeMap;

/// Looks at everything that was heard of these containers.
pub(super) fn judge(events: &EventLog, ids: &[String], tally: &mut Tally) {
    for id in ids {
        let of_it = events.of_task(id);
        if let Err(error) = judge_one(id, &of_it, tally) {
            tally.failures.push(format!("{id}: {error}: {of_it:?}"));
        }
    }
}

fn judge_one(id: &str, events: &[Event], tally: &mut Tally) -> Result<(), String> {
    let mut exits: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.topic == "/tasks/exit") {
        exits.entry(event.text("id")).or_default().push(event);
    }
    let own = events.iter().filter(|event| event.topic == "/tasks/delete").count();
    let of_init = exits.remove(id).unwrap_or_default();
    if let Some((exec, told)) = exits.iter().find(|(_, told)| told.len() > 1) {
        return Err(format!("the exit of exec {exec} was published {} times", told.len()));
    }
    let from_guard =
        of_init.len().checked_sub(own).ok_or("containerd published a deletion without an exit")?;
    if from_guard > 1 || own > 1 {
        return Err(format!("exits: {from_guard} from the guard, {own} from containerd"));
    }
    if of_init.windows(2).any(|pair| pair[0].body != pair[1].body) {
        return Err("containerd's own exit differs from the guard's".to_owned());
    }
    if events.iter().any(|event| event.topic == "/tasks/start") && of_init.is_empty() {
        return Err("it was started and its exit was never published".to_owned());
    }
    tally.exits.0 += from_guard;
    tally.exits.1 += own;
    tally.both += usize::from(of_init.len() == 2);
    Ok(())
}
