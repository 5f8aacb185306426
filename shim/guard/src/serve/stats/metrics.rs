//! A container's use in containerd's words: the message that gVisor's shim makes of it (pkg/shim/v1/runsc, `getV1Stats`,
//! `getV2Stats`), byte for byte.
//!
//! There are two, and which of them the shim sends depends on `systemd-cgroup`, not on the host. Each is a table here, in the
//! order of the fields' numbers, in which Go writes them; the same table takes an answer of the shim's apart. What a table
//! does not know, or would have written otherwise, is not taken for anything.

use runsc_guard_proto::protobuf::well_known_types::any::Any;
use runsc_guard_proto::protobuf::{Message as _, MessageField};
use runsc_guard_proto::task::StatsResponse;
use runsc_guard_sandbox::diagnostics::usage::Usage;
use runsc_guard_sandbox::diagnostics::usage::self_proof::Field;

/// One form of the message.
#[derive(Debug)]
pub(super) struct Form {
    type_url: &'static str,
    table: &'static [Part],
}

/// A part of a message, with its number.
#[derive(Debug)]
enum Part {
    /// A number; zero is not written.
    Number(u32, &'static str, fn(&Usage) -> u64),
    /// The same, which goes up and down by itself.
    Moves(u32, &'static str, fn(&Usage) -> u64),
    /// A message, which is there even if it is empty.
    Message(u32, &'static [Part]),
}

use Part::{Message as Inner, Moves, Number};

/// As the shim sends them.
static FORMS: [Form; 2] = [
    Form {
        type_url: "io.containerd.cgroups.v1.Metrics",
        table: &[
            Inner(2, PIDS),
            Inner(
                3,
                &[
                    Inner(
                        1,
                        &[
                            Moves(1, "cpu.usage.total", |usage| usage.cpu.usage.total),
                            Number(2, "cpu.usage.kernel", |usage| usage.cpu.usage.kernel),
                            Number(3, "cpu.usage.user", |usage| usage.cpu.usage.user),
                        ],
                    ),
                    // The sentry tells nothing of throttling.
                    Inner(2, &[]),
                ],
            ),
            Inner(
                4,
                &[
                    Number(1, "memory.cache", |usage| usage.memory.cache),
                    Inner(
                        33,
                        &[
                            Number(1, "memory.usage.limit", |usage| usage.memory.usage.limit),
                            Moves(2, "memory.usage.usage", |usage| usage.memory.usage.usage),
                            Number(3, "memory.usage.max", |usage| usage.memory.usage.max),
                            Number(4, "memory.usage.failcnt", |usage| usage.memory.usage.failcnt),
                        ],
                    ),
                    Inner(
                        34,
                        &[
                            Number(1, "memory.swap.limit", |usage| usage.memory.swap.limit),
                            Number(2, "memory.swap.usage", |usage| usage.memory.swap.usage),
                            Number(3, "memory.swap.max", |usage| usage.memory.swap.max),
                            Number(4, "memory.swap.failcnt", |usage| usage.memory.swap.failcnt),
                        ],
                    ),
                    Inner(
                        35,
                        &[
                            Number(1, "memory.kernel.limit", |usage| usage.memory.kernel.limit),
                            Number(2, "memory.kernel.usage", |usage| usage.memory.kernel.usage),
                            Number(3, "memory.kernel.max", |usage| usage.memory.kernel.max),
                            Number(4, "memory.kernel.failcnt", |usage| usage.memory.kernel.failcnt),
                        ],
                    ),
                    Inner(
                        36,
                        &[
                            Number(1, "memory.kernel_tcp.limit", |usage| usage.memory.kernel_tcp.limit),
                            Number(2, "memory.kernel_tcp.usage", |usage| usage.memory.kernel_tcp.usage),
                            Number(3, "memory.kernel_tcp.max", |usage| usage.memory.kernel_tcp.max),
                            Number(4, "memory.kernel_tcp.failcnt", |usage| usage.memory.kernel_tcp.failcnt),
                        ],
                    ),
                ],
            ),
        ],
    },
    Form {
        type_url: "io.containerd.cgroups.v2.Metrics",
        table: &[
            Inner(1, PIDS),
            Inner(
                2,
                &[
                    Moves(1, "cpu.usage_usec", |usage| usage.cpu.usage.total / 1000),
                    Number(2, "cpu.user_usec", |usage| usage.cpu.usage.user / 1000),
                    Number(3, "cpu.system_usec", |usage| usage.cpu.usage.kernel / 1000),
                ],
            ),
            Inner(
                4,
                &[
                    Number(2, "memory.file", |usage| usage.memory.cache),
                    Number(4, "memory.slab", |usage| usage.memory.kernel.usage),
                    Moves(32, "memory.usage", |usage| usage.memory.usage.usage),
                    Number(33, "memory.usage_limit", |usage| usage.memory.usage.limit),
                    Number(34, "memory.swap_usage", |usage| usage.memory.swap.usage),
                    Number(35, "memory.swap_limit", |usage| usage.memory.swap.limit),
                ],
            ),
        ],
    },
];

const PIDS: &[Part] = &[
    Moves(1, "pids.current", |usage| usage.pids.current),
    Number(2, "pids.limit", |usage| usage.pids.limit),
];

/// What the shim has answered: its form, and the numbers in the order of the table.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) form: &'static Form,
    numbers: Vec<u64>,
}

impl Read {
    /// Of a response's payload; none where it is not what this form would have been written as.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let any = StatsResponse::parse_from_bytes(payload).ok()?.stats.into_option()?;
        let form = FORMS.iter().find(|form| form.type_url == any.type_url)?;
        let (mut rest, mut numbers) = (&any.value[..], Vec::new());
        take(form.table, &mut rest, &mut numbers)?;
        (form.message(&mut numbers.iter().copied()) == payload).then_some(Self { form, numbers })
    }

    /// Field by field beside what the sentry has said before and after.
    pub(super) fn beside(&self, before: &Usage, after: &Usage) -> Vec<Field> {
        let mut shim = self.numbers.iter();
        let mut fields = Vec::with_capacity(self.numbers.len());
        each(self.form.table, &mut |name, moves, of| {
            let shim = *shim.next().unwrap_or(&0);
            fields.push(Field { name, moves, before: of(before), shim, after: of(after) });
        });
        fields
    }
}

impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        self.type_url == other.type_url
    }
}

impl Form {
    /// What most nodes see.
    #[cfg(test)]
    pub(super) const V1: &'static Self = &FORMS[0];

    /// The payload of the response that tells of this use.
    pub(super) fn payload(&self, usage: &Usage) -> Vec<u8> {
        let mut numbers = Vec::new();
        each(self.table, &mut |_, _, of| numbers.push(of(usage)));
        self.message(&mut numbers.into_iter())
    }

    fn message(&self, numbers: &mut dyn Iterator<Item = u64>) -> Vec<u8> {
        let mut value = Vec::new();
        put(self.table, numbers, &mut value);
        let any = Any { type_url: self.type_url.to_owned(), value, ..Any::default() };
        let response = StatsResponse { stats: MessageField::some(any), ..StatsResponse::default() };
        // Writing to memory fails only where a required field is missing, which proto3 does not have.
        response.write_to_bytes().unwrap_or_default()
    }
}

/// Visits every number of a table.
fn each(table: &[Part], visit: &mut dyn FnMut(&'static str, bool, fn(&Usage) -> u64)) {
    for part in table {
        match part {
            Number(_, name, of) => visit(name, false, *of),
            Moves(_, name, of) => visit(name, true, *of),
            Inner(_, parts) => each(parts, visit),
        }
    }
}

/// A field of numbers has the wire type 0, a message 2.
const MESSAGE: u64 = 2;

fn put(table: &[Part], numbers: &mut dyn Iterator<Item = u64>, out: &mut Vec<u8>) {
    for part in table {
        match part {
            Number(field, ..) | Moves(field, ..) => {
                let number = numbers.next().unwrap_or(0);
                if number != 0 {
                    put_varint(u64::from(*field) << 3, out);
                    put_varint(number, out);
                }
            }
            Inner(field, parts) => {
                let mut inner = Vec::new();
                put(parts, numbers, &mut inner);
                put_varint(u64::from(*field) << 3 | MESSAGE, out);
                put_varint(inner.len() as u64, out);
                out.extend(inner);
            }
        }
    }
}

/// What `put` has written. All of it must be there, and nothing else.
fn take(table: &[Part], rest: &mut &[u8], numbers: &mut Vec<u64>) -> Option<()> {
    for part in table {
        match part {
            Number(field, ..) | Moves(field, ..) => {
                let is_there = take_tag(u64::from(*field) << 3, rest);
                numbers.push(if is_there { take_varint(rest)? } else { 0 });
            }
            Inner(field, parts) => {
                let length =
                    take_tag(u64::from(*field) << 3 | MESSAGE, rest).then(|| take_varint(rest))??;
                let (mut inner, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                take(parts, &mut inner, numbers)?;
                *rest = after;
            }
        }
    }
    rest.is_empty().then_some(())
}

fn take_tag(tag: u64, rest: &mut &[u8]) -> bool {
    let mut after = *rest;
    let is_there = take_varint(&mut after) == Some(tag);
    if is_there {
        *rest = after;
    }
    is_there
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests;
