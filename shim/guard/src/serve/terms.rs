//! Whether a Create names the file that the guard was started with.
//!
//! containerd tells it to `start`. CRI-O tells it to Create only, when deadlines, the real shim and the place where runsc
//! works have long been decided: a guard that went by another file than gVisor's shim would look for the sandbox where it
//! is not. So that one is refused, with what to do about it.

use std::path::PathBuf;

use runsc_guard_node::config;
use runsc_guard_node::params::ServeParams;
use runsc_guard_proto::protobuf::Message as _;
use runsc_guard_proto::task::CreateTaskRequest;

use crate::cli;

/// What was read, where nobody had said what to read.
#[derive(Clone, Debug)]
pub(crate) struct Terms(Option<Found>);

#[derive(Clone, Debug)]
struct Found(Option<PathBuf>);

impl Terms {
    /// Those of a guard that was told so.
    pub(crate) fn of(params: &ServeParams) -> Self {
        Self(params.address.is_empty().then(|| Found(params.config_file.clone())))
    }

    /// The container of a Create that must not be, and why; nothing where it may.
    pub(crate) fn refuse(&self, create: &[u8]) -> Option<(String, String)> {
        let Found(read) = self.0.as_ref()?;
        // What cannot be decoded is refused elsewhere.
        let create = CreateTaskRequest::parse_from_bytes(create).ok()?;
        let named = create.options.as_ref().and_then(cli::path_in_options);
        let expected = config::OF_CRIO;
        let why = match (named, read) {
            (named, read) if named == *read => return None,
            (Some(named), _) => format!(
                "guard: runtime_config_path names {} only now, after the guard was started: put its content into \
                 {expected}, the one file that the guard reads under CRI-O, and name that",
                named.display()
            ),
            (None, _) => format!(
                "guard: there is {expected}, and the handler does not name it: gVisor's shim would not read what the \
                 guard has read; set runtime_config_path = \"{expected}\""
            ),
        };
        Some((create.id, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runsc_guard_proto::protobuf::well_known_types::any::Any;
    use runsc_guard_proto::runtimeoptions::Options;

    fn create(path: Option<&str>) -> Vec<u8> {
        let mut create = CreateTaskRequest { id: "c".into(), ..CreateTaskRequest::default() };
        create.options = path
            .map(|path| Any {
                type_url: "runtimeoptions.v1.Options".into(),
                value: Options { config_path: path.into(), ..Options::default() }.write_to_bytes().unwrap(),
                ..Any::default()
            })
            .into();
        create.write_to_bytes().unwrap()
    }

    #[test]
    fn under_crio_create_must_name_what_was_read() {
        let read = |file: Option<&str>| Terms(Some(Found(file.map(PathBuf::from))));
        let ours = Some(config::OF_CRIO);
        for (terms, named, wanted) in [
            (read(ours), ours, None),
            (read(None), None, None),
            (read(None), Some("/etc/other.toml"), Some("put its content into /etc/crio/runsc-guard.toml")),
            (read(ours), Some("/etc/other.toml"), Some("/etc/other.toml only now")),
            (read(ours), None, Some("set runtime_config_path = \"/etc/crio/runsc-guard.toml\"")),
            // It was removed, or comes too late.
            (read(None), ours, Some("the one file that the guard reads under CRI-O")),
            (Terms(None), Some("/etc/other.toml"), None),
        ] {
            let refused = terms.refuse(&create(named));
            match wanted {
                None => assert_eq!(refused, None, "{terms:?} {named:?}"),
                Some(words) => assert!(
                    refused.as_ref().is_some_and(|(id, said)| id == "c" && said.contains(words)),
                    "{refused:?}"
                ),
            }
        }
        assert_eq!(read(ours).refuse(b"\xff"), None);
    }
}
