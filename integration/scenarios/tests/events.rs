//! Execs and tasks that end at once: gVisor's shim may publish the exit of one before its start, and containerd gets
//! every event all the same, in the order in which the real shim told it (rule 2).

use anyhow::{Context as _, Result, ensure};
use harness::{
    Event, EventLog, Handler, Host, SOON, TaskClient, eventually,
    leaks::{Resources, assert_nothing_left},
};
use std::{collections::BTreeMap, thread};

/// Containers at work at once: the busier the real shim, the odder its order.
const AT_ONCE: usize = 4;

/// How often each order of one process's events was seen.
type Orders = BTreeMap<Vec<String>, usize>;

#[test]
fn short_lives_are_told_alike() -> Result<()> {
    compare(60, 20)
}

/// The same at length: `cargo test -p integration --test events -- --ignored --nocapture`, ten minutes.
#[test]
#[ignore = "a measurement: ten minutes"]
fn a_thousand_short_lives_are_told_alike() -> Result<()> {
    compare(1_000, 300)
}

fn compare(execs: usize, tasks: usize) -> Result<()> {
    let unguarded = orders(Handler::unguarded("subject"), execs, tasks).context("unguarded")?;
    println!("unguarded: {unguarded:#?}");
    let guarded = orders(Handler::guarded("subject"), execs, tasks).context("guarded")?;
    println!("guarded: {guarded:#?}");
    ensure!(multiset(&guarded) == multiset(&unguarded), "not the same events");
    // The order is the real shim's, which is not the same twice: but it never tells of what was not added.
    for order in guarded.keys() {
        ensure!(order.len() == 2 || order[0] == "/tasks/exec-added", "{order:?}");
    }
    Ok(())
}

/// All events of all lives, whatever their order.
fn multiset(orders: &Orders) -> Orders {
    let mut all = Orders::new();
    for (order, count) in orders {
        let mut events = order.clone();
        events.sort();
        *all.entry(events).or_default() += count;
    }
    all
}

/// Has so many execs and tasks run and end at once, and collects what each was told of.
fn orders(handler: Handler, execs: usize, tasks: usize) -> Result<Orders> {
    let host = Host::with([handler])?;
    let before = Resources::of(&host);
    let events = EventLog::start(&host.ctr())?;
    thread::scope(|scope| {
        let lives: Vec<_> = (0..AT_ONCE)
            .map(|one| {
                let (host, events) = (&host, &events);
                scope.spawn(move || live(host, events, one, execs / AT_ONCE, tasks / AT_ONCE))
            })
            .collect();
        lives.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("panicked"))?)
    })?;
    let expected = 3 * execs + 2 * (tasks + AT_ONCE);
    let told = || events.all().into_iter().filter(|event| event.topic.starts_with("/tasks/"));
    let told = || told().filter(|event| event.topic != "/tasks/delete");
    let complete = eventually(SOON, "all events", || (told().count() >= expected).then_some(()));
    let mut lives: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for event in told() {
        let life = (event.text("container_id").to_owned(), process(&event));
        lives.entry(life).or_default().push(event.topic);
    }
    complete.with_context(|| format!("{lives:#?}"))?;
    let mut orders = Orders::new();
    for order in lives.into_values() {
        *orders.entry(order).or_default() += 1;
    }
    assert_nothing_left(&host, &before, SOON)?;
    Ok(orders)
}

/// The exec that an event is about; empty for the task itself.
fn process(event: &Event) -> String {
    let (container, id) = (event.text("container_id"), event.text("id"));
    let exec = if id == container { "" } else { id };
    format!("{exec}{}", event.text("exec_id"))
}

fn live(host: &Host, events: &EventLog, one: usize, execs: usize, tasks: usize) -> Result<()> {
    let (ctr, handler) = (host.ctr(), host.handler("subject")?);
    let id = format!("execs{one}");
    ctr.start(&handler, &id, &["sleep", "1000"])?;
    let client = TaskClient::connect(host, ctr.namespace(), &id)?;
    for number in 0..execs {
        let exec = format!("e{number}");
        let status = client.exec(&id, &exec, &["/bin/true"], SOON).with_context(|| format!("{id}/{exec}"))?;
        ensure!(status == 0, "{id}/{exec}: status {status}");
    }
    drop(client);
    ctr.remove(&id)?;
    for number in 0..tasks {
        let id = format!("task{one}-{number}");
        ctr.start(&handler, &id, &["true"])?;
        // One that is deleted before gVisor's shim has said so may end without a word of it.
        eventually(SOON, "its exit", || (events.exits(&id, &id) > 0).then_some(()))?;
        ctr.delete_task(&id, SOON)?.ok()?;
        ctr.delete_container(&id)?;
    }
    Ok(())
}
