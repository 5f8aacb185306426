use super::*;
use runsc_guard_sandbox::diagnostics::usage::{Entry, Pids};

fn usage() -> Usage {
    let mut usage = Usage::default();
    usage.cpu.usage.total = 75_000;
    usage.cpu.usage.user = 3_000;
    usage.memory.usage = Entry { usage: 300, ..Entry::default() };
    usage.memory.swap.limit = 9;
    usage.pids = Pids { current: 3, limit: 0 };
    usage
}

/// What Go makes of the same: messages that are empty are there, numbers that are zero are not.
const V1: &[u8] = &[
    0x12, 2, 0x08, 3, // pids
    0x1a, 11, 0x0a, 7, 0x08, 0xf8, 0xc9, 0x04, 0x18, 0xb8, 0x17, 0x12, 0, // cpu: usage, throttling
    0x22, 17, 0x8a, 0x02, 3, 0x10, 0xac, 0x02, 0x92, 0x02, 2, 0x08, 9, 0x9a, 0x02, 0, 0xa2, 0x02,
    0, // memory
];
const V2: &[u8] = &[
    0x0a, 2, 0x08, 3, // pids
    0x12, 4, 0x08, 75, 0x10, 3, // cpu
    0x22, 7, 0x80, 0x02, 0xac, 0x02, 0x98, 0x02, 9, // memory
];

fn response(type_url: &str, value: &[u8]) -> Vec<u8> {
    let any = Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() };
    let response = StatsResponse { stats: MessageField::some(any), ..StatsResponse::default() };
    response.write_to_bytes().unwrap()
}

#[test]
fn the_bytes_are_those_that_go_writes() {
    for (form, value) in FORMS.iter().zip([V1, V2]) {
        let payload = response(form.type_url, value);
        assert_eq!(form.payload(&usage()), payload, "{}", form.type_url);
        let read = Read::of(&payload).unwrap();
        assert!(read.form == form);
        assert!(read.beside(&usage(), &usage()).iter().all(Field::holds));
    }
}

#[test]
fn each_field_stands_beside_its_own() {
    let read = Read::of(&response(FORMS[0].type_url, V1)).unwrap();
    let mut after = usage();
    after.memory.swap.limit = 8;
    let fields = read.beside(&after, &after);
    let wrong: Vec<&Field> = fields.iter().filter(|field| !field.holds()).collect();
    assert_eq!(
        (wrong.len(), wrong[0].name, wrong[0].shim, wrong[0].moves),
        (1, "memory.swap.limit", 9, false)
    );
    let moving: Vec<&str> = fields.iter().filter(|field| field.moves).map(|field| field.name).collect();
    assert_eq!(moving, ["pids.current", "cpu.usage.total", "memory.usage.usage"]);
}

#[test]
fn what_is_not_known_is_not_read() {
    let v1 = FORMS[0].type_url;
    let with = |at: usize, bytes: &[u8]| {
        let mut value = V1.to_vec();
        value.splice(at..at, bytes.iter().copied());
        value
    };
    let mut more = vec![
        response("io.containerd.cgroups.v3.Metrics", V1),
        response(v1, &V1[..V1.len() - 1]),
        response(v1, &[]),
        // A field that no table has; a zero that is written; the same twice; a message that is left out.
        response(v1, &with(V1.len(), &[0x2a, 0])),
        response(v1, &[&[0x12, 4, 0x08, 3, 0x10, 0], &V1[4..]].concat()),
        response(v1, &with(4, &[0x12, 2, 0x08, 3])),
        response(v1, &V1[4..]),
        // A number in more bytes than it takes, or in more than there are.
        response(v1, &[&[0x12, 3, 0x08, 0x83, 0x00], &V1[4..]].concat()),
        response(v1, &[&[0x12, 12, 0x08], &[0xff; 11][..]].concat()),
        Vec::new(),
    ];
    let mut extended = response(v1, V1);
    extended.extend([0x10, 1]);
    more.push(extended);
    for payload in more {
        assert!(Read::of(&payload).is_none(), "{payload:?}");
    }
}
