//! A container's Stats by both ways: as the guard answers, and as gVisor's shim does when it is asked past the guard.
//!
//! The messages are compared as they are on the wire, knowing nothing of how the guard makes them: every field that is there,
//! in its order, messages that are empty too.

use crate::{
    AT_LAST, Host, LATER, eventually,
    faults::{self, Sandbox},
    process::Process,
    task::{TaskClient, code},
};
use anyhow::{Context as _, Result, bail, ensure};
use containerd_shim_protos::api;
use rustix::process::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

/// What the guard may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Numbers that go up and down by themselves, in containerd's first and second message: processor time, memory,
/// processes.
const MOVES: [(&str, [&[u32]; 3]); 2] = [
    ("io.containerd.cgroups.v1.Metrics", [&[3, 1, 1], &[4, 33, 2], &[2, 1]]),
    ("io.containerd.cgroups.v2.Metrics", [&[2, 1], &[4, 32], &[1, 1]]),
];

/// Who is asked.
pub struct BothWays {
    guard: TaskClient,
    shim: TaskClient,
    id: String,
}

/// A moving number that the shim had neither below nor above both of the guard's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The field's numbers, from the outermost message in.
    pub field: Vec<u32>,
    /// The guard's, before the shim was asked.
    pub before: u64,
    /// The shim's.
    pub shim: u64,
    /// The guard's, after.
    pub after: u64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    type_url: String,
    numbers: BTreeMap<Vec<u32>, u64>,
    messages: BTreeSet<Vec<u32>>,
}

impl BothWays {
    /// To a guarded container of a pod, or one by itself.
    pub fn to(host: &Host, namespace: &str, id: &str) -> Result<Self> {
        let shim = shim_of(host, id)?;
        let guard = TaskClient::connect(host, namespace, id)?;
        Ok(Self {
            guard,
            shim: TaskClient::at(&format!("unix://{}", socket_of(&shim)?), 2)?,
            id: id.to_owned(),
        })
    }

    /// Asks the guard, the shim, and the guard again. Fails where anything differs that has no business to.
    pub fn compare(&self) -> Result<Vec<Outside>> {
        let guard = || self.ask(&self.guard, LIMIT);
        // It starts a program, and nobody has promised that in any time.
        let [before, shim, after] = [guard()?, self.ask(&self.shim, AT_LAST)?, guard()?];
        compare(&before, &shim, &after)
    }

    /// Compares so often; a number that moved away is looked at again, and only the last look counts. Gives how many
    /// looks showed nothing.
    pub fn hold(&self, times: usize) -> Result<usize> {
        let mut idle = 0;
        for _ in 0..times {
            let mut looks = 0;
            loop {
                let seen = self.compare();
                let outside = match seen {
                    Ok(outside) if outside.is_empty() => break,
                    // On a crowded machine runsc takes longer than containerd waits, and while it does nobody else is sent
                    // there: without waiting all looks would be over at once.
                    Err(error) if is_late(&error) => {
                        eventually(AT_LAST, "an answer in time", || self.ask(&self.guard, LIMIT).ok())?;
                        Vec::new()
                    }
                    seen => seen?,
                };
                looks += 1;
                idle += 1;
                ensure!(looks < LOOKS, "{} is outside in {LOOKS} looks in a row: {outside:?}", self.id);
            }
        }
        Ok(idle)
    }

    fn ask(&self, of: &TaskClient, limit: Duration) -> Result<Answer> {
        let request = api::StatsRequest { id: self.id.clone(), ..Default::default() };
        let answer: api::StatsResponse = of.call("Stats", &request, limit)?;
        let any = answer.stats.into_option().context("no stats in it")?;
        let mut answer =
            Answer { type_url: any.type_url, numbers: BTreeMap::new(), messages: BTreeSet::new() };
        answer.read(&any.value, &[])?;
        Ok(answer)
    }
}

/// Whether the guard has said so, or gVisor's shim, which gives its runsc up when the guard's call is over and has nothing to
/// say of it.
fn is_late(error: &anyhow::Error) -> bool {
    let given_up = |error: &ttrpc::Error| match error {
        ttrpc::Error::RpcStatus(status) => status.message().ends_with("did not terminate successfully: "),
        _ => false,
    };
    error
        .downcast_ref()
        .is_some_and(|error| code(error) == Some(ttrpc::Code::DEADLINE_EXCEEDED) || given_up(error))
}

/// Stats as containerd asks for them.
pub fn stats(client: &TaskClient, id: &str) -> Result<api::StatsResponse, ttrpc::Error> {
    let request = api::StatsRequest { id: id.to_owned(), ..Default::default() };
    client.call("Stats", &request, Duration::from_secs(2))
}

/// Waits until the guard answers for a container although its real shim cannot.
pub fn await_direct(host: &Host, namespace: &str, sandbox: &str, id: &str) -> Result<()> {
    let client = TaskClient::connect(host, namespace, id)?;
    // Three comparisons that hold; some show nothing, and on a crowded machine some are late.
    for _ in 0..20 {
        eventually(LATER, "Stats", || stats(&client, id).ok())?;
    }
    let shims = Sandbox::of(host, sandbox)?;
    faults::stop(&shims.real_shim)?;
    let told = stats(&client, id);
    shims.real_shim.signal(Signal::CONT)?;
    told.map(drop).with_context(|| format!("{id} has not proved itself: {}", host.log()))
}

/// How often one comparison may show nothing.
const LOOKS: usize = 30;

fn compare(before: &Answer, shim: &Answer, after: &Answer) -> Result<Vec<Outside>> {
    for other in [before, after] {
        ensure!(
            other.type_url == shim.type_url && other.messages == shim.messages,
            "{other:?}, not {shim:?}"
        );
    }
    let moves = MOVES.iter().find(|(name, _)| *name == shim.type_url).context("an unknown message")?.1;
    let all = [before, shim, after];
    let fields: BTreeSet<&Vec<u32>> = all.iter().flat_map(|answer| answer.numbers.keys()).collect();
    let mut outside = Vec::new();
    for field in fields {
        let [low, number, high] = all.map(|answer| answer.numbers.get(field).copied().unwrap_or(0));
        if (low.min(high)..=low.max(high)).contains(&number) {
            continue;
        }
        ensure!(moves.contains(&&field[..]), "field {field:?}: {low}, {number} by the shim, {high}");
        outside.push(Outside { field: field.clone(), before: low, shim: number, after: high });
    }
    Ok(outside)
}

impl Answer {
    fn read(&mut self, mut bytes: &[u8], within: &[u32]) -> Result<()> {
        let mut last = 0;
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let field = u32::try_from(tag >> 3)?;
            ensure!(field > last, "field {field} after {last} in {within:?}");
            last = field;
            let path = [within, &[field]].concat();
            let number = varint(&mut bytes)?;
            match tag & 7 {
                0 => {
                    ensure!(number != 0, "a zero that is written: {path:?}");
                    self.numbers.insert(path, number);
                }
                2 => {
                    let (inner, rest) =
                        bytes.split_at_checked(usize::try_from(number)?).context("too short")?;
                    bytes = rest;
                    self.read(inner, &path)?;
                    self.messages.insert(path);
                }
                other => bail!("wire type {other} of {path:?}"),
            }
        }
        Ok(())
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let length = bytes.iter().position(|byte| *byte < 0x80).context("no end of a number")? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)))
}

/// The real shim that serves a container: it waits for its end.
fn shim_of(host: &Host, id: &str) -> Result<Process> {
    let all = host.processes();
    let waits = |of: &Process| {
        all.iter().any(|one| {
            one.parent == of.pid
                && one.args.iter().any(|arg| arg == "wait")
                && one.args.iter().any(|arg| arg == id)
        })
    };
    let is_real =
        |one: &&Process| one.args.first().is_some_and(|arg| arg.ends_with("containerd-shim-runsc-v1"));
    all.iter()
        .filter(is_real)
        .find(|one| waits(one))
        .cloned()
        .with_context(|| format!("no real shim waits for {id}"))
}

/// Where it listens, on what the guard has handed it.
fn socket_of(shim: &Process) -> Result<String> {
    let sockets = fs::read_to_string("/proc/net/unix")?;
    let mut listening = sockets.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Number, references, protocol, flags, type, state, inode, path.
        (fields.get(3) == Some(&LISTENS)).then(|| Some((*fields.get(6)?, *fields.get(7)?)))?
    });
    let descriptors = fs::read_dir(format!("/proc/{}/fd", shim.pid))?.flatten();
    let own: Vec<String> = descriptors
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    let is_own = |inode: &str| own.iter().any(|link| link == &format!("socket:[{inode}]"));
    let found = listening.find(|(inode, _)| is_own(inode)).map(|(_, path)| path.to_owned());
    found.with_context(|| format!("{shim} does not listen"))
}

/// SO_ACCEPTCON, as /proc writes it.
const LISTENS: &str = "00010000";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &[u8]) -> Result<Answer> {
        let type_url = MOVES[0].0.to_owned();
        let mut answer = Answer { type_url, numbers: BTreeMap::new(), messages: BTreeSet::new() };
        answer.read(bytes, &[])?;
        Ok(answer)
    }

    #[test]
    fn what_moves_may_be_outside_and_nothing_else() {
        // Pids of 3, then a limit.
        let pids = |count: u8, limit: u8| answer(&[0x12, 4, 0x08, count, 0x10, limit]).unwrap();
        assert_eq!(compare(&pids(3, 7), &pids(4, 7), &pids(5, 7)).unwrap(), []);
        let outside = compare(&pids(3, 7), &pids(9, 7), &pids(3, 7)).unwrap();
        assert_eq!((outside.len(), outside[0].field.as_slice()), (1, &[2, 1][..]));
        assert!(compare(&pids(3, 7), &pids(3, 8), &pids(3, 7)).is_err());
        assert!(compare(&pids(3, 7), &answer(&[]).unwrap(), &pids(3, 7)).is_err());
    }

    #[test]
    fn order_zeros_and_other_types_count() {
        for bytes in [&[0x10, 1, 0x08, 1][..], &[0x08, 0], &[0x0d, 1, 1, 1, 1], &[0x12, 9, 0x08, 1], &[0x80]]
        {
            assert!(answer(bytes).is_err(), "{bytes:?}");
        }
    }
}
