//! gVisor's command lines, read as `runsc` itself reads them: its own flags, a command, the command's flags, and then
//! what the command is about (`runsc/cli`, Go's `flag`). A flag is `-name`, `--name`, with its value after `=` or as
//! the next word: Docker and `runc`'s shim write `--root VALUE`, gVisor's shim `--root=VALUE`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::resources::state_file::is_id;

/// runsc's own flags whose value may be any word, even one that is a command's name.
const VALUED: [&str; 9] = [
    "root",
    "log",
    "log-format",
    "debug-log",
    "debug-log-format",
    "panic-log",
    "platform",
    "network",
    "shared-root",
];
/// The commands that are about a container, or that people wait for.
const COMMANDS: [&str; 26] = [
    "boot",
    "checkpoint",
    "create",
    "debug",
    "delete",
    "do",
    "events",
    "exec",
    "export-metrics",
    "fscheckpoint",
    "gofer",
    "kill",
    "list",
    "metric-server",
    "pause",
    "port-forward",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "trace",
    "update",
    "wait",
];
/// Flags of commands that take no word after them; every other flag does.
const SWITCHES: [&str; 36] = [
    "all",
    "apply-caps",
    "attached",
    "background",
    "checkpoint",
    "cuda-checkpoint-sequential",
    "detach",
    "direct",
    "exclude-committed-zero-pages",
    "fd",
    "force",
    "force-overlay",
    "fs-restore-checkpoint-gofer",
    "fs-restore-direct",
    "fs-save-checkpoint-gofer",
    "fscheckpoint",
    "fsrestore",
    "full",
    "html",
    "leave-running",
    "list",
    "no-subreaper",
    "pidns",
    "profiling-metrics-fd-lossy",
    "ps",
    "quiet",
    "restore",
    "reverse",
    "sandbox",
    "save-checkpoint-gofer",
    "setup-root",
    "stacks",
    "stats",
    "tpu",
    "dryrun",
    "help",
];

/// The program that runs ahead of the sentry, where gVisor is not one binary, and becomes it: its words are the sentry's
/// program, and then all of the sentry's own.
const PREWARMER: &[u8] = b"gvisor-sentry-prewarmer";

/// The command line that this one's process has, or is about to have.
pub(crate) fn of_whom(argv: &[OsString]) -> &[OsString] {
    match argv {
        [program, _, sentry @ ..] if base(program) == PREWARMER => sentry,
        _ => argv,
    }
}

/// What stands in a command line of gVisor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine<'a> {
    /// runsc's root.
    pub(crate) root: Option<&'a OsStr>,
    /// `boot`, `kill`, ...
    pub(crate) command: Option<&'static str>,
    /// The bundle, where the command has that flag.
    pub(crate) bundle: Option<&'a OsStr>,
    /// The container that it is about, if that can be one's id.
    pub(crate) container: Option<&'a str>,
}

impl<'a> CommandLine<'a> {
    /// Reads one. Before the first flag stands the program, or a shell and its script. Whoever runs something for others
    /// (`docker exec`, `nsenter`) may have any words of theirs further on: those are none of runsc's.
    pub(crate) fn of(argv: &'a [OsString]) -> Self {
        let argv = of_whom(argv);
        let begins = |word: &&OsString| word.as_bytes().starts_with(b"--") && word.len() > 2;
        let name = argv.first().map(|name| base(name)).unwrap_or_default();
        let most = match name {
            name if name.starts_with(b"runsc") => usize::MAX,
            name if name.ends_with(b"sh") => 1,
            _ => 0,
        };
        let first = argv.iter().skip(1).position(|word| begins(&word)).filter(|first| *first <= most);
        let Some(first) = first else { return Self::default() };
        let mut line = Self::default();
        let mut words = argv[1 + first..].iter().map(OsString::as_os_str).peekable();
        while let Some(word) = words.next() {
            let Some((name, joined)) = flag(word) else {
                line.command = COMMANDS.into_iter().find(|command| word == *command);
                break;
            };
            let is_value = |next: &&OsStr| {
                VALUED.contains(&name)
                    || flag(next).is_none() && !COMMANDS.iter().any(|command| next == command)
            };
            line.keep(name, joined.or_else(|| words.next_if(is_value)));
        }
        while let Some(word) = words.next().filter(|_| line.command.is_some()) {
            let about =
                if word == "--" { words.next() } else { Some(word).filter(|word| flag(word).is_none()) };
            let Some((name, joined)) = flag(word).filter(|_| about.is_none()) else {
                line.container = about.and_then(OsStr::to_str).filter(|id| is_id(id));
                break;
            };
            line.keep(name, joined.or_else(|| words.next_if(|_| !SWITCHES.contains(&name))));
        }
        line
    }

    fn keep(&mut self, flag: &str, value: Option<&'a OsStr>) {
        match flag {
            "root" => self.root = value.or(self.root),
            "bundle" => self.bundle = value.or(self.bundle),
            _ => {}
        }
    }
}

/// The name of a flag, and its value where that is in the same word.
fn flag(word: &OsStr) -> Option<(&str, Option<&OsStr>)> {
    let bytes = word.as_bytes();
    let bare =
        bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")).filter(|bare| !bare.is_empty())?;
    let (name, value) = match bare.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bare[..at], Some(OsStr::from_bytes(&bare[at + 1..]))),
        None => (bare, None),
    };
    // One that is no text is none of runsc's, but a flag all the same.
    Some((std::str::from_utf8(name).unwrap_or_default(), value))
}

/// The last part of a path.
pub(crate) fn base(name: &OsStr) -> &[u8] {
    name.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, String, String, String) {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let line = CommandLine::of(&argv);
        let text = |word: Option<&OsStr>| word.unwrap_or_default().to_string_lossy().into_owned();
        (
            text(line.root),
            line.command.unwrap_or_default().to_owned(),
            text(line.bundle),
            line.container.unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn every_shape_that_gvisor_and_its_callers_write() {
        for (line, root, command, bundle, container) in [
            // gVisor 2026-09, as its shim starts it.
            (
                "runsc-sandbox --root=/r/ns --log=/l boot --bundle=/b/c1 --apply-caps=true --setup-root \
              --total-host-memory 25276510208 --cpu-num 2 --io-fds=3 --stdio-fds=9 c1",
                "/r/ns",
                "boot",
                "/b/c1",
                "c1",
            ),
            (
                "runsc-gofer --root=/r/ns gofer --bundle /b/c1 --gofer-mount-confs=lisafs:none --spec-fd=3 c1",
                "/r/ns",
                "gofer",
                "/b/c1",
                "c1",
            ),
            // gVisor 2025-05: started anew, a gofer loses the id.
            (
                "runsc-gofer --network=none --root=/r/ns gofer --bundle=/b/c1 --sync-chroot-fd=-1 --apply-caps=false \
              --setup-root=false",
                "/r/ns",
                "gofer",
                "/b/c1",
                "",
            ),
            // Docker's runsc, below runc's shim.
            (
                "/usr/local/bin/runsc --root /var/run/docker/runtime-runc/moby --log /x/log.json --log-format json \
              --systemd-cgroup kill --all c2 9",
                "/var/run/docker/runtime-runc/moby",
                "kill",
                "",
                "c2",
            ),
            (
                "runsc --debug --root /r --log /l create --bundle /b/c3 --pid-file /p c3",
                "/r",
                "create",
                "/b/c3",
                "c3",
            ),
            ("runsc --root=/r exec --process /p.json --detach c4 sh -c x", "/r", "exec", "", "c4"),
            ("runsc --root=/r kill c5 9", "/r", "kill", "", "c5"),
            ("runsc --root kill state c6", "kill", "state", "", "c6"),
            ("/bin/sh /opt/wrapper --root=/r wait c7", "/r", "wait", "", "c7"),
            ("runsc --platform=systrap --unknown --root=/r debug --stacks c8", "/r", "debug", "", "c8"),
            ("runsc --root=/r delete --force -- ", "/r", "delete", "", ""),
        ] {
            let expected = [root, command, bundle, container].map(str::to_owned);
            let (root, command, bundle, container) = read(line);
            assert_eq!([root, command, bundle, container], expected, "{line}");
        }
    }

    #[test]
    fn no_flag_and_nothing_that_can_be_no_id_is_taken_for_one() {
        for line in [
            "runsc-sandbox --root=/r boot --setup-root=false",
            "runsc-sandbox --root=/r boot --io-fds=3 --dev-io-fd",
            "runsc-sandbox --root=/r boot \u{1b}[2J",
            "runsc-sandbox --root=/r boot ../../x",
            "runsc-sandbox --root=/r frobnicate c1",
            "runsc-sandbox --root=/r",
            "runsc-sandbox",
            "docker exec x runsc --root=/r kill c1 9",
            "docker x --root=/r kill c1 9",
            "sh -c x --root=/r kill c1 9",
            "",
        ] {
            assert_eq!(read(line).3, "", "{line:?}");
        }
    }
}
