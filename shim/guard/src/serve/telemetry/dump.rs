//! The real shim's goroutines, as they pass by in its log (containerd pkg/shim/shim.go, `dumpStacks`). Pure.

use runsc_guard_sandbox::diagnostics::stacks::{Dump, LIMIT};

const BEGINS: &[u8] = b"=== BEGIN goroutine stack dump ===";
const ENDS: &[u8] = b"=== END goroutine stack dump ===";

/// What is looked for in the log, and what was found.
#[derive(Default)]
pub(super) struct Scanner {
    stage: Stage,
    /// What may be the beginning of a marker.
    window: Vec<u8>,
    /// The dump as it stands in the log.
    raw: Vec<u8>,
    /// There was more.
    cut: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Inside,
    After,
}

impl Scanner {
    /// The next piece of the log; true when a dump has become complete with it. Only the first one is taken.
    pub(super) fn feed(&mut self, piece: &[u8]) -> bool {
        if self.stage == Stage::After {
            return false;
        }
        self.window.extend_from_slice(piece);
        if self.stage == Stage::Before {
            match find(&self.window, BEGINS) {
                Some(at) => drop(self.window.drain(..at + BEGINS.len())),
                None => {
                    self.window.drain(..self.window.len().saturating_sub(BEGINS.len() - 1));
                    return false;
                }
            }
            self.stage = Stage::Inside;
        }
        let end = find(&self.window, ENDS);
        let certain = end.unwrap_or(self.window.len().saturating_sub(ENDS.len() - 1));
        let kept = certain.min(LIMIT - self.raw.len());
        self.raw.extend_from_slice(&self.window[..kept]);
        self.cut |= kept < certain;
        self.window.drain(..certain);
        if end.is_some() {
            (self.stage, self.window) = (Stage::After, Vec::new());
        }
        end.is_some()
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_whole(&self) -> bool {
        self.stage == Stage::After
    }

    /// The dump so far.
    pub(super) fn dump(&self) -> Dump {
        match self.stage {
            Stage::Before => Dump::none("the real shim gave none"),
            stage => Dump::of(&unquoted(&self.raw), stage == Stage::After && !self.cut),
        }
    }
}

fn find(text: &[u8], marker: &[u8]) -> Option<usize> {
    text.windows(marker.len()).position(|window| window == marker)
}

/// A logger that writes one line for each message puts it into quotes (logrus, its text form).
fn unquoted(raw: &[u8]) -> Vec<u8> {
    if !raw.starts_with(br"\n") {
        return raw.to_vec();
    }
    let mut plain = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(other) => *other,
                None => break,
            },
            other => *other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTED: &str = r#"time="2026-11-25T22:44:09Z" level=info msg="=== BEGIN goroutine stack dump ===\ngoroutine 1 [running]:\nmain.f(\"x\")\n\tmain.go:1 +0x1\n\n=== END goroutine stack dump ===" runtime=io.containerd.runsc.v1"#;
    const PLAIN: &str = "goroutine 1 [running]:\nmain.f(\"x\")\n\tmain.go:1 +0x1";

    #[test]
    fn a_dump_is_found_however_the_log_is_cut_into_pieces() {
        for size in [1, 2, 7, 33, 40, 4096] {
            let mut scanner = Scanner::default();
            let log = format!("level=info msg=before\n{QUOTED}\nlevel=info msg=after\n{QUOTED}");
            let ends = log.as_bytes().chunks(size).filter(|piece| scanner.feed(piece)).count();
            let dump = scanner.dump();
            assert_eq!((ends, dump.text.as_str(), dump.truncated), (1, PLAIN, false), "{size}");
            assert!(scanner.window.is_empty());
        }
    }

    #[test]
    fn a_dump_that_is_not_quoted_is_taken_as_it_is() {
        let mut scanner = Scanner::default();
        assert!(scanner.feed(format!("{}\n{PLAIN}\n{}", text(BEGINS), text(ENDS)).as_bytes()));
        assert_eq!(scanner.dump().text, PLAIN);
    }

    #[test]
    fn without_an_end_it_is_called_truncated_and_without_a_beginning_there_is_none() {
        let mut scanner = Scanner::default();
        scanner.feed(b"level=info msg=other");
        assert_eq!(scanner.dump(), Dump::none("the real shim gave none"));
        scanner.feed(format!("{}\n{PLAIN}\nand this is longer than the marker is", text(BEGINS)).as_bytes());
        assert!(scanner.dump().truncated && scanner.dump().text.starts_with(PLAIN));
    }

    #[test]
    fn fifty_thousand_goroutines_cost_no_more_than_the_limit() {
        let mut scanner = Scanner::default();
        scanner.feed(BEGINS);
        for _ in 0..50_000 {
            scanner.feed(br"\ngoroutine 1 [sync.Mutex.Lock, 100 minutes]:\nmain.main()\n\tmain.go:1\n");
        }
        assert!(scanner.feed(ENDS) && scanner.raw.len() == LIMIT);
        let dump = scanner.dump();
        assert!(dump.truncated && dump.text.len() <= LIMIT && dump.text.starts_with("goroutine 1 ["));
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }
}
