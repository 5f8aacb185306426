//! A file of whatever kind to its text: compressed or not, UTF-8 or UTF-16, told by its first bytes and not by its
//! name. What is no text is an error that says how to make one of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

mod utf16;
mod zst;

use utf16::Utf16;
use zst::Zst;

/// Folders in folders.
const DEEPEST: usize = 8;
/// So many bytes tell what a file is.
const HEAD: usize = 512;

/// What cannot be read as it is: its first bytes (at a place), what it is, and what to do.
const OTHERS: [(usize, &[u8], &str); 9] = [
    (0, b"LPKSHHRH", "systemd's own journal; print it with journalctl --file FILE -o short-iso"),
    (0, b"\xfd7zXZ\0", "compressed by xz; unpack it with xz -d"),
    (0, b"BZh", "compressed by bzip2; unpack it with bzip2 -d"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4; unpack it with lz4 -d"),
    (0, b"PK\x03\x04", "a zip archive; unpack it and name its files"),
    (257, b"ustar", "a tar archive; unpack it and name its folder"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and name its files"),
    (0, b"\x7fELF", "a program, no log"),
    (0, b"%PDF", "a PDF, no log"),
];

/// The files that are meant by `path`: itself, or all in the folder, in order.
pub(super) fn files(path: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, io::Error)>) {
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    if path.is_dir() {
        folder(path, 0, &mut files, &mut errors);
    } else {
        files.push(path.to_owned());
    }
    (files, errors)
}

fn folder(path: &Path, depth: usize, files: &mut Vec<PathBuf>, errors: &mut Vec<(PathBuf, io::Error)>) {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            errors.push((path.to_owned(), error));
            return;
        }
    };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEEPEST => folder(&entry.path(), depth + 1, files, errors),
            // A link leads to what is named elsewhere; a FIFO or socket would wait forever.
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Opens a file.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    text(BufReader::new(File::open(path)?))
}

/// The text of `source`.
pub(super) fn text(source: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let (head, source) = peek(source)?;
    let plain: Box<dyn Read> = if head.starts_with(b"\x1f\x8b") {
        Box::new(MultiGzDecoder::new(BufReader::new(source)))
    } else if zst::is_zst(&head) {
        Box::new(Zst::new(BufReader::new(source)))
    } else {
        return decoded(&head, source);
    };
    let (head, plain) = peek(plain)?;
    decoded(&head, plain)
}

/// The beginning of `source`, and `source` with it.
fn peek<'a>(mut source: impl Read + 'a) -> io::Result<(Vec<u8>, Box<dyn Read + 'a>)> {
    let mut head = Vec::new();
    // What can be read before an error is read, and the error comes after it.
    let error = source.by_ref().take(HEAD as u64).read_to_end(&mut head).err();
    if let Some(error) = error {
        if head.is_empty() {
            return Err(error);
        }
        return Ok((head.clone(), Box::new(io::Cursor::new(head).chain(Broken(Some(error))))));
    }
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(source))))
}

/// Fails once.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn decoded(head: &[u8], source: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let is_this =
        |(at, magic, _): &&(usize, &[u8], &str)| head.get(*at..).is_some_and(|at| at.starts_with(magic));
    if let Some((_, _, what)) = OTHERS.iter().find(is_this) {
        return Err(io::Error::other(*what));
    }
    match utf16::order(head) {
        Some(order) => Ok(Box::new(BufReader::new(Utf16::new(source, order)))),
        None => Ok(Box::new(BufReader::new(source))),
    }
}

#[cfg(test)]
mod tests;
