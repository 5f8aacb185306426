//! Go's build info, which the linker puts into each program: section `.go.buildinfo`, since Go 1.18 a header of 32 bytes
//! and two texts, each behind its length (`debug/buildinfo` in Go's own library). The second has a line for each module.

use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::{Object as _, ObjectSection as _};

use super::built::Built;
use crate::known::Release;

const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the flags are, and which of them says that the texts stand behind the header.
const FLAGS: usize = 15;
const INLINE: u8 = 2;
const HEADER: usize = 32;
/// Go puts so many bytes before and behind the lines.
const FENCE: usize = 16;
const MODULE: &str = "gvisor.dev/gvisor";

/// The release that a Go module's version dates.
pub(super) fn built(program: &Path) -> Option<Built> {
    let release = release(&lines(program)?)?;
    Some(Built { release, by: "Go's build info in it".to_owned() })
}

/// The lines about modules in a program of Go's.
fn lines(program: &Path) -> Option<String> {
    let file = File::open(program).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let cache = ReadCache::new(file);
    let program = object::File::parse(&cache).ok()?;
    texts(program.section_by_name(SECTION)?.data().ok()?)
}

fn texts(section: &[u8]) -> Option<String> {
    let flags = *section.strip_prefix(MAGIC).and(section.get(FLAGS))?;
    let texts = section.get(HEADER..).filter(|_| flags & INLINE != 0)?;
    let (_version, rest) = text(texts)?;
    let (lines, _) = text(rest)?;
    let lines = lines.get(FENCE..lines.len().checked_sub(FENCE)?)?;
    Some(String::from_utf8_lossy(lines).into_owned())
}

/// A text behind its length, seven bits a byte, the lowest first; and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    let length = bytes[..=end].iter().rev().fold(0_usize, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    bytes.get(end + 1..)?.split_at_checked(length)
}

/// `mod`, `dep` or (where it was replaced) `=>`, the module, its version, its sum: `v0.0.0-20260905035102-160fafc42237`.
/// What was built in a checkout has the commit's day instead.
fn release(lines: &str) -> Option<Release> {
    let fields = |line: &'_ str| -> Vec<String> { line.split('\t').map(str::to_owned).collect() };
    let module = |line: &Vec<String>| {
        let is_it = matches!(line[0].as_str(), "mod" | "dep" | "=>")
            && line.get(1).is_some_and(|name| name == MODULE);
        is_it.then(|| line.get(2).cloned()).flatten()
    };
    let lines: Vec<Vec<String>> = lines.lines().map(fields).collect();
    let versions: Vec<String> = lines.iter().filter_map(module).collect();
    let time = |version: &String| {
        version.split(['-', '.']).find(|part| part.len() == 14)?.get(..8).and_then(Release::of_day)
    };
    // What replaces a module comes after it.
    let by_version = versions.iter().rev().find_map(time);
    let is_checkout = lines.iter().any(|line| line[0] == "mod" && module(line).is_some());
    let commit =
        || lines.iter().filter_map(|line| line.get(1)?.strip_prefix("vcs.time=")?.split('T').next()).next();
    by_version.or_else(|| Release::of_day(&commit().filter(|_| is_checkout)?.replace('-', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_dated_by_its_version() {
        let of = |lines: &str| release(lines).map(|release| release.to_string());
        let main = "path\tgvisor.dev/gvisor/runsc\nmod\tgvisor.dev/gvisor\tv0.0.0-20260905035102-160fafc42237\th1:x=\n";
        assert_eq!(of(main).as_deref(), Some("release-20260905.0"));
        let dep = "mod\tsomebody/else\t(devel)\ndep\tgvisor.dev/gvisor\tv0.0.0-20240101000000-aaaaaaaaaaaa\n\
                   =>\tgvisor.dev/gvisor\tv0.0.0-20250503011706-39ed1f5ac29c\n";
        assert_eq!(of(dep).as_deref(), Some("release-20250503.0"));
        let checkout =
            "mod\tgvisor.dev/gvisor\t(devel)\t\nbuild\t-compiler=gc\nbuild\tvcs.time=2026-04-27T12:00:00Z\n";
        assert_eq!(of(checkout).as_deref(), Some("release-20260427.0"));
        assert_eq!(of("mod\tother\t(devel)\nbuild\tvcs.time=2026-04-27T12:00:00Z\n"), None);
    }

    #[test]
    fn a_section_is_read_as_go_writes_it() {
        let lines = "mod\tgvisor.dev/gvisor\tv0.0.0-20260905035102-160fafc42237\n".repeat(3);
        let fenced = [&[b'<'; FENCE][..], lines.as_bytes(), &[b'>'; FENCE]].concat();
        let mut section = [MAGIC, &[8, INLINE]].concat();
        section.resize(HEADER, 0);
        section.extend([&[7][..], b"go1.26\0"].concat());
        let length = u8::try_from(fenced.len() & 0x7f).unwrap() | 0x80;
        section.extend([length, u8::try_from(fenced.len() >> 7).unwrap()]);
        section.extend(&fenced);
        assert_eq!(texts(&section).as_deref(), Some(lines.as_str()));
        for cut in 0..section.len() {
            assert_eq!(texts(&section[..cut]), None, "{cut}");
        }
        section[FLAGS] = 0;
        assert_eq!(texts(&section), None, "older than Go 1.18");
    }

    #[test]
    fn what_is_no_program_of_gos_tells_nothing() {
        for other in ["/bin/sh", "/proc/self/exe", "/etc/passwd", "/dev/null", "/"] {
            assert_eq!(built(Path::new(other)), None, "{other}");
        }
    }
}
