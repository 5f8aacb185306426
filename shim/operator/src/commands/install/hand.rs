//! The hand that changes the node, one file at a time, each in one step that a crash cannot split: a draft beside
//! it, synced, renamed over it. Whoever runs the old file keeps it. A draft's name is fixed, so that the next run
//! finds and removes one that a killed run has left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::unistd::{AccessFlags, access};
use runsc_guard_sandbox::resources::mounts;

use crate::{paint, screen};

/// Whose a file is, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anybody may run it.
    Program,
    /// Anybody may read it, unless the one that was there is for fewer.
    Text,
}

/// Does, or only says.
#[derive(Clone, Copy)]
pub(super) struct Hand {
    /// Only says.
    pub(super) dry_run: bool,
}

impl Hand {
    /// One line about what was done.
    pub(super) fn say(self, about: &str, what: &str) {
        screen::say(&format!("{} {}", paint::faint(&format!("{about:<10}")), paint::plain(what)));
    }

    /// The file holds `content`. `try_out` sees the draft before it takes the file's place.
    pub(super) fn place(
        self,
        about: &str,
        path: &Path,
        content: &[u8],
        kind: Kind,
        try_out: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let there = match fs::read(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let draft = draft(path);
        if there.as_deref() == Some(content) {
            self.say(about, &format!("{} is as it should be", path.display()));
            return remove(&draft).map(drop);
        }
        let done = if there.is_some() { "replaced" } else { "written" };
        if self.dry_run {
            self.say(about, &format!("{} would be {done}", path.display()));
            return Ok(());
        }
        write(&draft, content, kind, path)
            .with_context(|| undraftable(path))
            .and_then(|()| try_out(&draft))
            .and_then(|()| rename(&draft, path).with_context(|| path.display().to_string()))
            .inspect_err(|_| drop(remove(&draft)))?;
        self.say(about, &format!("{} {done}", path.display()));
        Ok(())
    }

    /// There is no such file.
    pub(super) fn remove(self, about: &str, path: &Path) -> Result<()> {
        if self.dry_run {
            if path.exists() {
                self.say(about, &format!("{} would be removed", path.display()));
            }
            return Ok(());
        }
        remove(&draft(path))?;
        if remove(path)? {
            self.say(about, &format!("{} removed", path.display()));
        }
        Ok(())
    }
}

/// Shows `content` to `look` as a file beside `path`, for as long as that takes.
pub(super) fn show<T>(path: &Path, content: &str, look: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let draft = draft(path);
    write(&draft, content.as_bytes(), Kind::Text, path).with_context(|| undraftable(path))?;
    let seen = look(&draft);
    remove(&draft)?;
    let (draft, meant) = (draft.to_string_lossy(), format!("{} (as it would be)", path.display()));
    seen.map_err(|error| anyhow!(format!("{error:#}").replace(&*draft, &meant)))
}

fn undraftable(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!(
        "{}: a draft of it cannot be written into {folder}: make that folder, or make it writable",
        path.display()
    )
}

/// Before anything is changed: a file of another content could take the place of this one, or it could go.
pub(super) fn ensure_replaceable(path: &Path, content: Option<&str>) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() == content {
        return Ok(());
    }
    ensure!(
        !mounts::below(path).iter().any(|mount| mount.point == path),
        "{} is a mount of its own and cannot be replaced: mount its folder instead, or change it by hand, as \
         `runsc-guard doctor --fix` prints it; nothing was changed",
        path.display()
    );
    for one in [Some(path), path.parent()].into_iter().flatten().filter(|one| one.exists()) {
        access(one, AccessFlags::W_OK).with_context(|| {
            let (path, one) = (path.display(), one.display());
            format!("{path} cannot be replaced: make {one} writable (is it immutable? lsattr -d {one}); nothing was changed")
        })?;
    }
    Ok(())
}

/// Does not end as any file that a configuration could import: Go's globs match a leading dot.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.runsc-guard"))
}

fn write(draft: &Path, content: &[u8], kind: Kind, path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(draft);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mode = match (kind, fs::metadata(path)) {
        (Kind::Program, _) => 0o755,
        (Kind::Text, Err(_)) => 0o644,
        (Kind::Text, Ok(there)) => {
            fchown(&file, Some(there.uid()), Some(there.gid()))?;
            there.mode() & 0o7777
        }
    };
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

fn rename(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    sync_folder(path)
}

/// Whether it was there.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path).and_then(|()| sync_folder(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAND: Hand = Hand { dry_run: false };
    const SAY: Hand = Hand { dry_run: true };

    fn place(hand: Hand, path: &Path, content: &str) {
        hand.place("test", path, content.as_bytes(), Kind::Text, |_| Ok(())).unwrap();
    }

    #[test]
    fn a_file_is_placed_once_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        place(SAY, &path, "new");
        assert!(!path.exists());
        place(HAND, &path, "new");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o644));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        place(HAND, &path, "newer");
        let inode = || fs::metadata(&path).unwrap().ino();
        let placed = inode();
        place(HAND, &path, "newer");
        assert_eq!(inode(), placed);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_fails_when_tried_out_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        place(HAND, &path, "old");
        let refused = HAND.place("test", &path, b"new", Kind::Program, |draft| {
            assert_eq!(fs::read(draft).unwrap(), b"new");
            anyhow::bail!("does not run")
        });
        assert!(refused.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_said_of_a_draft_is_said_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let refused =
            show(&path, "a", |draft| -> Result<()> { anyhow::bail!("{}: no TOML", draft.display()) });
        let expected = format!("{} (as it would be): no TOML", path.display());
        assert_eq!(refused.unwrap_err().to_string(), expected);
        let nowhere = show(&dir.path().join("none/a"), "a", |_| Ok(())).unwrap_err();
        assert!(nowhere.to_string().contains("make that folder"), "{nowhere}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_has_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for left in ["", "ne"] {
            fs::write(draft(&path), left).unwrap();
            place(HAND, &path, "new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        fs::write(draft(&path), "half").unwrap();
        HAND.remove("test", &path).unwrap();
        HAND.remove("test", &path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
