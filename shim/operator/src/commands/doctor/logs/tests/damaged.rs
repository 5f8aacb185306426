//! Whatever stands in a file: it is read to its end, in a time that its length bounds, and what nobody understood is
//! never good news. RUNSC_GUARD_SEED=N tries the same again.

use std::io::Cursor;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::commands::doctor::finding::Level;

/// Far more than the longest of these takes on a slow machine, and far less than one whose time grows with its square.
const LONGEST: Duration = Duration::from_secs(120);
/// Damages of each sample.
const EACH: usize = 2;
/// Texts made of pieces.
const TEXTS: usize = 100;
/// The length of one line.
const LONG: usize = 20_000;

/// What the readers look for, in pieces.
const PIECES: [&str; 36] = [
    "{\"",
    "\"}",
    "{\n",
    "}\n",
    "[",
    "]",
    "\"log\":\"",
    "\"MESSAGE\":",
    "\"kvlistValue\":{\"values\":[",
    "\"involvedObject\":{\"name\":\"web\"}",
    "null,",
    "\\\\",
    "\\\"",
    "\"\"",
    "time=\"2026-10-13T10:04:05.123Z\" level=error msg=\"",
    "E1013 10:04:05.123456    1187 log.go:32] ",
    "Oct 13 10:04:05 node-3 kubelet[1187]: ",
    "[  240.313308] ",
    "2026-10-13T10:04:05.123Z stderr P ",
    "2026-10-13T10:04:05.123Z stdout F ",
    "__REALTIME_TIMESTAMP=1770091506111222\nMESSAGE=",
    "data: ",
    "err=<\n",
    "\n >",
    "count: 7\nmessage: ",
    "StopPodSandbox for ",
    " failed",
    "returns successfully",
    "DeadlineExceeded",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    " pod=\"shop/web\" podUID=\"1f2e3d4c-aaaa-4bbb-8ccc-0123456789ab\" ",
    "task runsc-sandbox:4711 blocked for more than 120 seconds",
    "\u{1b}[31m",
    "\u{feff}\0",
    "\u{e9}\u{4e2d}\u{1f600}",
    "\n",
];

struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let given = std::env::var("RUNSC_GUARD_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
        let seed = given.unwrap_or_else(now);
        println!("RUNSC_GUARD_SEED={seed}");
        Self { seed, state: seed }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % limit.max(1)
    }
}

/// Reads it, and holds what must hold of any text.
fn check(name: &str, seed: u64, bytes: Vec<u8>) {
    let (began, length) = (Instant::now(), bytes.len());
    let (mut tally, mut unread) = (Tally::default(), Vec::new());
    read_one(name, input::text(Cursor::new(bytes)), &mut tally, &mut unread);
    let report = verdict::report(&tally, &unread);
    assert!(!text(&report).is_empty());
    let understood: u64 = report.understood.values().sum();
    let is_good = report.verdict.level == Level::Ok;
    assert!(!is_good || understood > 0 && unread.is_empty(), "{name}, seed {seed}: {report:#?}");
    assert!(understood <= report.lines, "{name}, seed {seed}: {report:#?}");
    let took = began.elapsed();
    assert!(took < LONGEST, "{name}, seed {seed}: {length} bytes took {took:?}");
}

#[test]
fn damaged_samples_are_read_to_their_end() {
    let mut random = Random::new();
    let seed = random.seed;
    let bytes_of = [b'"', b'{', b'}', b'[', b'\\', b'=', 0, 0xff, b'\n', b' ', b'(', b'x'];
    let rows: Vec<Row> = rows().into_iter().filter(|row| folder().join(row.file).is_file()).collect();
    for row in &rows {
        let whole = std::fs::read(folder().join(row.file)).unwrap();
        check(row.file, seed, whole[..random.below(whole.len() + 1)].to_vec());
        let other = std::fs::read(folder().join(rows[random.below(rows.len())].file)).unwrap();
        let mut spliced = whole[..random.below(whole.len() + 1)].to_vec();
        spliced.extend_from_slice(&other[random.below(other.len())..]);
        check(row.file, seed, spliced);
        for _ in 0..EACH {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(6) {
                let (at, byte) = (random.below(bytes.len()), bytes_of[random.below(bytes_of.len())]);
                match random.below(3) {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at.min(bytes.len()), byte),
                }
            }
            check(row.file, seed, bytes);
        }
    }
}

#[test]
fn texts_of_pieces_and_bytes_of_chance_are_read_to_their_end() {
    let mut random = Random::new();
    let seed = random.seed;
    for _ in 0..TEXTS {
        let pieces = random.below(80);
        let text: String = (0..pieces).map(|_| PIECES[random.below(PIECES.len())]).collect();
        check("pieces", seed, text.into_bytes());
        let length = random.below(600);
        check("bytes", seed, (0..length).map(|_| random.below(256) as u8).collect());
    }
}

#[test]
fn a_long_line_takes_no_longer_for_what_is_in_it() {
    for piece in PIECES {
        let text = piece.replace('\n', " ").repeat(LONG / piece.len());
        check(piece, 0, text.into_bytes());
    }
}

/// A pod that fails for weeks, after it has ended as often.
#[test]
fn one_pod_with_all_the_lines_is_judged_in_time() {
    let line = |minute: usize, what: &str| {
        let (day, hour, minute) = (1 + minute / 1440, minute / 60 % 24, minute % 60);
        let id = "a".repeat(64);
        format!(
            "time=\"2026-10-{day:02}T{hour:02}:{minute:02}:00Z\" level=error msg=\"StopPodSandbox for \\\"{id}\\\" {what}\"\n"
        )
    };
    let ends = (0..1_000).map(|minute| line(minute, "returns successfully"));
    let fails = (1_000..2_000).map(|minute| line(minute, "failed"));
    check("one pod", 0, ends.chain(fails).collect::<String>().into_bytes());
}
