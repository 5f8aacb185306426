//! What containerd asks for: flags, environment and stdin, made into one value. Nothing here looks at the
//! process: everything is passed in.
//!
//! containerd's side is `core/runtime/v2/command.go` (2.4) and `pkg/shim/util.go` (before): the same flags in
//! all versions; on the stdin of `start` nothing, a marshalled `Any` with the runtime options (before 2.3),
//! or `BootstrapParams`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult};
use runsc_guard_proto::protobuf::Message;
use runsc_guard_proto::protobuf::well_known_types::any::Any;
use runsc_guard_proto::runtimeoptions::Options;

#[cfg(test)]
mod tests;

/// The most that is read from stdin; containerd's own bound is the same (`pkg/shim`, `maxInputSize`).
pub const MAX_STDIN: u64 = 10 << 20;

/// The message that carries `ConfigPath`; a type URL may put a host before it.
const OPTIONS_TYPE: &str = "runtimeoptions.v1.Options";

/// What this process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Bring up a guard for this container, or join one.
    Start(Target),
    /// Clean up after a container, whatever is left of it.
    Delete(Target),
    /// The part of `delete` that may hang (only `delete` runs it so).
    Finish(Target),
    /// Be the guard (only `start` runs it so).
    Serve(Target),
    /// Pass `-info` on to the real shim.
    Info,
    /// Pass `-v` on to the real shim.
    Version(Asker),
    /// Tell a person what this program is.
    Help,
}

/// Who asks for the version: that decides what is said besides the real shim's own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A program, with other flags of containerd's: nothing is added.
    Program,
    /// Whoever types `-v` or `-version` alone, as every shim takes it: stdout is the real shim's.
    Either,
    /// A person: no program of containerd's writes `--version`.
    Person,
}

/// The container that containerd means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// containerd's namespace.
    pub namespace: String,
    /// Id of the container; of the pod's sandbox in `Serve`.
    pub id: String,
    /// containerd's GRPC address.
    pub address: String,
    /// The bundle, given to `delete` only.
    pub bundle: PathBuf,
    /// containerd logs at debug level.
    pub debug: bool,
}

impl Target {
    /// CRI-O has no address of its own to give: it takes no events and has nothing that a shim could ask.
    pub fn is_of_crio(&self) -> bool {
        self.address.is_empty()
    }
}

/// A command line that containerd would not write.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Unknown flags.
    #[error("command line: {0}; --help explains this program")]
    Flags(String),
    /// An unknown action.
    #[error(
        "unknown action \"{0}\": this is a containerd shim, its actions are start and delete; --help explains it"
    )]
    Action(String),
    /// Nothing at all.
    #[error("no arguments: this is a containerd shim, which containerd starts; --help explains it")]
    Nothing,
}

/// Reads the command line (without the program's name).
pub fn parse(args: &[OsString]) -> Result<Invocation, CliError> {
    let flags = match containerd_shim::parse(args) {
        Ok(flags) => flags,
        // containerd has no such flag, so the parser refuses it, unless it is the value of another one.
        Err(_) if args.iter().any(|arg| is_help(arg)) => return Ok(Invocation::Help),
        Err(error) => return Err(CliError::Flags(one_line(&error.to_string()))),
    };
    if flags.info {
        return Ok(Invocation::Info);
    }
    if flags.version {
        return Ok(Invocation::Version(asker(args)));
    }
    let target = Target {
        namespace: flags.namespace,
        id: flags.id,
        address: flags.address,
        bundle: flags.bundle.into(),
        debug: flags.debug,
    };
    match flags.action.as_str() {
        "start" => Ok(Invocation::Start(target)),
        "delete" => Ok(Invocation::Delete(target)),
        "finish" => Ok(Invocation::Finish(target)),
        "" if args.is_empty() => Err(CliError::Nothing),
        "" => Ok(Invocation::Serve(target)),
        "help" if args.len() == 1 => Ok(Invocation::Help),
        _ => Err(CliError::Action(flags.action.escape_debug().take(40).collect())),
    }
}

/// The forms that Go's flag package takes.
fn is_help(arg: &OsStr) -> bool {
    ["-h", "--h", "-help", "--help"].iter().any(|help| arg == *help)
}

fn asker(args: &[OsString]) -> Asker {
    match args {
        [only] if only.as_encoded_bytes().starts_with(b"--") => Asker::Person,
        [_] => Asker::Either,
        _ => Asker::Program,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What `start` is told besides its flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootstrap {
    /// The form in which this containerd takes the reply.
    pub reply: Reply,
    /// Where containerd wants the socket to lie (2.4 and later).
    pub socket_dir: Option<PathBuf>,
    /// Where containerd takes events.
    pub ttrpc_address: String,
    /// The TOML file that the handler's `ConfigPath` names.
    pub config_path: Option<PathBuf>,
}

/// Reads the stdin of `start`. What cannot be understood is treated as absent: gVisor's own shim does not
/// read it at all.
pub fn bootstrap(target: &Target, ttrpc_address: Option<String>, stdin: &[u8]) -> Bootstrap {
    let from_env = ttrpc_address.unwrap_or_default();
    let Some(params) = bootstrap_params(target, stdin) else {
        return Bootstrap {
            ttrpc_address: from_env,
            config_path: config_path(stdin),
            ..Bootstrap::default()
        };
    };
    let options = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
    Bootstrap {
        reply: decide_reply(Some(&params.containerd_version)),
        config_path: options.filter_map(path_in_options).next(),
        socket_dir: params.socket_dir.filter(|dir| !dir.is_empty()).map(PathBuf::from),
        ttrpc_address: Some(params.containerd_ttrpc_address)
            .filter(|address| !address.is_empty())
            .unwrap_or(from_env),
    }
}

/// An `Any` decodes as `BootstrapParams` too (field 1 its type, 2 its value), hence containerd's own rule:
/// the first two fields must be what the flags say (`pkg/shim/compat.go`).
fn bootstrap_params(target: &Target, stdin: &[u8]) -> Option<BootstrapParams> {
    let params = BootstrapParams::parse_from_bytes(stdin).ok()?;
    let ours = !params.instance_id.is_empty()
        && params.instance_id == target.id
        && params.namespace == target.namespace;
    ours.then_some(params)
}

/// The `ConfigPath` in a marshalled `Any`, as stdin of `-info` and of `start` before containerd 2.3 has it.
pub fn config_path(stdin: &[u8]) -> Option<PathBuf> {
    path_in_options(&Any::parse_from_bytes(stdin).ok()?)
}

/// The `ConfigPath` in a handler's options.
pub(crate) fn path_in_options(any: &Any) -> Option<PathBuf> {
    if any.type_url.rsplit('/').next() != Some(OPTIONS_TYPE) {
        return None;
    }
    let options = Options::parse_from_bytes(&any.value).ok()?;
    Some(options.config_path).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The forms of the reply to `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// The bare address, which every containerd from 1.6 on takes for version 2. Each further container of
    /// the pod is then announced by another `start`.
    #[default]
    Plain,
    /// Version 3: containerd brings further containers over the same address without `start`.
    Version3,
}

/// Version 3 only where containerd says that it is 2.4 or later: before, members of a version-3 pod get no
/// `delete` and no exit when the shim dies (`shim_manager.go`, a no-op `onClose`, pre-releases of 2.4.0
/// included).
pub fn decide_reply(containerd_version: Option<&str>) -> Reply {
    match containerd_version.and_then(release) {
        Some(version) if version >= (2, 4) => Reply::Version3,
        _ => Reply::Plain,
    }
}

/// Major and minor number of `v2.4.2`, `2.4.2+unknown`, `2.4.2~ds1`; nothing for a pre-release of x.y.0,
/// which may lack what the release has.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next()?;
    let digits = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
    let (number, rest) = patch.split_at(digits);
    let number: u32 = number.parse().ok()?;
    if number == 0 && (rest.starts_with('-') || rest.starts_with('~')) {
        return None;
    }
    Some((major, minor))
}

impl Reply {
    /// The bytes for stdout; `address` is `unix:///path`.
    pub fn encode(self, address: &str) -> Vec<u8> {
        let result = BootstrapResult {
            version: 3,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..BootstrapResult::default()
        };
        match self {
            Reply::Plain => address.as_bytes().to_vec(),
            // Writing into memory fails for no message of this kind; the plain form is right all the same.
            Reply::Version3 => result.write_to_bytes().unwrap_or_else(|_| address.as_bytes().to_vec()),
        }
    }
}
