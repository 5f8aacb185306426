//! A container's termination message: the file from which a kubelet takes what it says of a container that has ended
//! (`kubectl describe pod`, "Message"). The kubelet makes it empty, as `ROOT/pods/UID/containers/NAME/` and eight hex
//! digits, and mounts it into the container at its `terminationMessagePath` (pkg/kubelet/kuberuntime, `makeMounts`).
//!
//! That path is a mount's source in `config.json`. A pod's author may have volumes mounted from anywhere: so it must
//! have exactly that shape, with the pod's uid and the container's name as containerd itself has written them; below the
//! pod's folder no link is followed and no other file system entered; and only an empty regular file of root's is
//! written to.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use serde::Deserialize;

use crate::resources::spec::MAX_SPEC;
use crate::sys::file;

/// What a message may have: all of it is shown, and the API server cuts at 4096 bytes for all containers of a pod.
pub const LIMIT: usize = 300;

/// containerd's own word for both, set after all that a pod's author may write.
const UID: &str = "io.kubernetes.cri.sandbox-uid";
const NAME: &str = "io.kubernetes.cri.container-name";

/// Where a container's message is kept: below the pod's folder.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    pod: PathBuf,
    below: PathBuf,
}

/// Writes one line into the termination message of the container in this bundle, if it has one and that is empty; tells
/// whether it did. What is longer than [`LIMIT`] is cut.
pub fn write(bundle: &Path, message: &str) -> io::Result<bool> {
    let config = file::read(&bundle.join("config.json"), MAX_SPEC).map_err(io::Error::other)?;
    let Some(place) = place(&config) else { return Ok(false) };
    let end =
        (0..=message.len().min(LIMIT)).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
    match place.open()? {
        Some(mut file) => file.write_all(&message.as_bytes()[..end]).map(|()| true),
        None => Ok(false),
    }
}

/// The one mount of that shape; where there are several, somebody else has made one of them.
fn place(config: &[u8]) -> Option<Place> {
    #[derive(Deserialize)]
    struct Spec {
        annotations: BTreeMap<String, Option<String>>,
        mounts: Vec<Mount>,
    }
    #[derive(Deserialize)]
    struct Mount {
        #[serde(default)]
        source: PathBuf,
    }
    let spec: Spec = serde_json::from_slice(config).ok()?;
    let told = |key: &str| spec.annotations.get(key)?.as_deref().filter(|text| is_plain(text));
    let (uid, name) = (told(UID)?, told(NAME)?);
    let mut places = spec.mounts.iter().filter_map(|mount| Place::of(&mount.source, uid, name));
    places.next().filter(|_| places.next().is_none())
}

/// One step of a path, and no other.
fn is_plain(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(fits)
}

impl Place {
    fn of(source: &Path, uid: &str, name: &str) -> Option<Self> {
        let file = source.file_name()?.to_str()?;
        let is_kubelets =
            file.len() == 8 && file.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let below = Path::new("containers").join(name).join(file);
        let text = source.to_str()?.strip_suffix(below.to_str()?)?.strip_suffix('/')?;
        let pod = Path::new(text);
        let is_pods = pod.is_absolute() && pod.ends_with(Path::new("pods").join(uid));
        (is_kubelets && is_pods).then(|| Self { pod: pod.to_owned(), below })
    }

    /// Opens the file to write to it, if it is what the kubelet has made.
    fn open(&self) -> io::Result<Option<File>> {
        let pod = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&self.pod)?;
        if pod.metadata()?.uid() != 0 {
            return Ok(None);
        }
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let file = File::from(openat2(&pod, &self.below, flags, Mode::empty(), resolve)?);
        let found = file.metadata()?;
        let is_kubelets = found.is_file() && found.uid() == 0 && found.nlink() == 1 && found.len() == 0;
        Ok(is_kubelets.then_some(file))
    }
}

#[cfg(test)]
mod tests;
