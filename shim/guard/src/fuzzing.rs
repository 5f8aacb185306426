//! The door for the fuzz targets in `shim/fuzz`, compiled for them and for tests only. One function
//! for each kind of input that somebody else writes: it does with the bytes what the guard does, and fails where
//! something does not hold that must hold for every input.

use runsc_guard_proto::bootstrap::BootstrapResult;
use runsc_guard_proto::protobuf::Message;
use runsc_guard_sandbox::sys::procfs;
use std::path::Path;

use crate::cli::{self, Reply, Target};

pub use crate::serve::fuzzing::{replies, requests};
pub use runsc_guard_node::fuzzing::{config, record, spec};
pub use runsc_guard_sandbox::fuzzing::{proc, state_file};

#[cfg(test)]
mod tests;

/// What `start` reads from stdin, and the command line (arguments that end with a NUL).
pub fn bootstrap(data: &[u8]) {
    const FROM_ENV: &str = "/run/env.ttrpc";
    let told = |id: &str, stdin: &[u8]| {
        let target = Target { namespace: "k8s.io".into(), id: id.into(), ..Target::default() };
        cli::bootstrap(&target, Some(FROM_ENV.into()), stdin)
    };
    let (ours, strangers) = (told("c1", data), told("c2", data));
    assert!(ours.reply == Reply::Plain || strangers.reply == Reply::Plain, "meant for two containers");
    for one in [&ours, &strangers] {
        assert!(!one.ttrpc_address.is_empty());
        assert!([&one.socket_dir, &one.config_path].into_iter().flatten().all(|path| path != Path::new("")));
        let result = BootstrapResult::parse_from_bytes(&one.reply.encode("unix:///run/c/s"));
        let version = result.ok().filter(|result| result.address == "unix:///run/c/s").map(|one| one.version);
        assert_eq!(version, (one.reply == Reply::Version3).then_some(3));
    }
    assert_eq!(told("c1", &with_unknown_field(data)), ours);

    if let Err(error) = cli::parse(&procfs::arguments(data)) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// A message with a field more, of a number that none of ours has: what a newer neighbour may send. In front, as
/// the parser takes an inner message that is cut short for a whole one.
pub(crate) fn with_unknown_field(message: &[u8]) -> Vec<u8> {
    // Field 15000, a varint: 1.
    [&[0xc0, 0xa9, 0x07, 0x01], message].concat()
}
