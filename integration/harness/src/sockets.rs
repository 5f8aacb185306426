//! Whose a socket is. Shims of all containerds on a machine share two folders, and their names are hashes:
//! a socket is another host's if one of that host's processes listens on it, and ours or a dead one's if not.

use crate::traces::{Traces, entries, files_below};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// Where shims and guards have their sockets.
const FOLDERS: &[&str] = &["/run/containerd/s", GUARDS];
const GUARDS: &str = "/run/runsc-guard";

/// Sockets and other files of this host's shims and guards. What nobody listens on any more is this host's if its
/// containerd was ever led there.
pub(crate) fn of(host: &Traces<'_>, log: &str) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let listening = listening(host);
    // A log grows to megabytes, and these folders hold hundreds of names: so it is read once, not once for each of them.
    let told: BTreeSet<&str> =
        log.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).collect();
    let led_there =
        |path: &Path| path.iter().filter_map(|part| part.to_str()?.get(..64)).any(|hash| told.contains(hash));
    // The guard names socket, folder and lock of a pod by one hash, and keeps in the folder what it was told.
    let foreign: BTreeSet<String> = listening
        .iter()
        .filter(|(_, own)| !**own)
        .map(|(path, _)| path.clone())
        .chain(guard_folders(host).into_iter().filter_map(|(path, own)| (!own).then_some(path)))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name.len() == 64)
        .collect();
    let own: Vec<PathBuf> =
        guard_folders(host).into_iter().filter_map(|(path, own)| own.then_some(path)).collect();
    FOLDERS
        .iter()
        .flat_map(|folder| files_below(Path::new(folder)))
        .filter(|path| {
            let text = path.to_string_lossy();
            let others =
                listening.get(path) == Some(&false) || foreign.iter().any(|hash| text.contains(hash));
            !others
                && (listening.contains_key(path)
                    || own.iter().any(|folder| path.starts_with(folder))
                    || led_there(path))
        })
        .partition(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()))
}

/// Guards' folders, of this host (`true`) or of another (`false`).
pub(crate) fn guard_folders(host: &Traces<'_>) -> Vec<(PathBuf, bool)> {
    let mark = format!("{}/", host.folder.display());
    entries(Path::new(GUARDS))
        .into_iter()
        .filter_map(|folder| {
            let told = std::fs::read_to_string(folder.join("params.json")).ok()?;
            Some((folder, told.contains(&mark)))
        })
        .collect()
}

/// Sockets on which a process of this host listens.
pub(crate) fn own(host: &Traces<'_>) -> Vec<PathBuf> {
    listening(host).into_iter().filter_map(|(path, own)| own.then_some(path)).collect()
}

/// Sockets that somebody listens on: a process of this host (`true`) or another one (`false`).
fn listening(host: &Traces<'_>) -> BTreeMap<PathBuf, bool> {
    let inodes: BTreeSet<_> = host
        .processes()
        .iter()
        .flat_map(|process| entries(Path::new(&format!("/proc/{}/fd", process.pid))))
        .filter_map(|link| std::fs::read_link(link).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    listeners(&table)
        .filter(|(_, path)| FOLDERS.iter().any(|folder| path.starts_with(folder)))
        .map(|(inode, path)| (path.to_owned(), inodes.contains(&format!("socket:[{inode}]"))))
        .collect()
}

/// Inode and path of each socket that somebody listens on, from `/proc/net/unix`. The sockets of its connections have the
/// same path there, and those that nobody has accepted yet no inode at all.
fn listeners(table: &str) -> impl Iterator<Item = (&str, &Path)> {
    /// `__SO_ACCEPTCON` (include/uapi/linux/net.h).
    const LISTENS: u32 = 1 << 16;
    table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
        let (inode, path) = (*words.get(6)?, Path::new(*words.get(7)?));
        (flags & LISTENS != 0).then_some((inode, path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_connection_that_waits_to_be_accepted_is_no_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut connections: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        connections.push(listener.accept().unwrap().0);
        let table = std::fs::read_to_string("/proc/net/unix").unwrap();
        let lines = table.lines().filter(|line| line.ends_with(path.to_str().unwrap())).count();
        let found: Vec<_> = listeners(&table).filter(|(_, listened)| *listened == path).collect();
        assert!(lines > 3 && found.len() == 1 && found[0].0 != "0", "{lines} lines, {found:?}");
    }
}
