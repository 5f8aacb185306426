use super::*;

/// The files of a process that the kernel may read under a lock which that process holds forever.
const HANG: [&str; 12] = [
    "cmdline",
    "environ",
    "auxv",
    "maps",
    "smaps",
    "smaps_rollup",
    "numa_maps",
    "map_files",
    "mem",
    "pagemap",
    "stack",
    "fdinfo",
];

/// Not the pids of processes: nobody else may ask them meanwhile.
const NOBODY: i32 = -17;

#[test]
fn who_does_not_answer_is_left_behind_and_not_asked_again() {
    let (release, held) = mpsc::channel::<()>();
    let begun = Instant::now();
    let hung = ask(NOBODY, move || held.recv().is_ok());
    assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
    let first = begun.elapsed();
    assert!(first >= PATIENCE && first < STARVED, "{first:?}");
    let again = Instant::now();
    assert_eq!(ask(NOBODY, || 1).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(again.elapsed() < PATIENCE);
    // Others are, by a thread of their own.
    assert_eq!(ask(NOBODY - 1, || 2).unwrap(), 2);
    release.send(()).unwrap();
    while ask(NOBODY, || 3).is_err() {
        thread::yield_now();
    }
}

#[test]
fn one_thread_looks_for_one_who_asks() {
    let thread = || nix::unistd::gettid().as_raw();
    let (first, second) = (ask(NOBODY - 2, thread).unwrap(), ask(NOBODY - 3, thread).unwrap());
    assert_eq!(first, second);
    assert_ne!(first, thread());
}

#[test]
fn one_that_has_ended_for_want_of_work_is_replaced() {
    let mut reader = None;
    let (done, told) = mpsc::channel();
    let look = |done: mpsc::Sender<()>| -> Look { Box::new(move || done.send(()).unwrap()) };
    give(&mut reader, look(done.clone())).unwrap();
    told.recv().unwrap();
    reader.as_mut().unwrap().looks = mpsc::sync_channel(0).0;
    give(&mut reader, look(done)).unwrap();
    told.recv().unwrap();
}

#[test]
fn a_look_that_is_given_to_one_who_leaves_is_taken_by_another() {
    let (looks, given) = mpsc::sync_channel(0);
    READER.set(Some(Reader { looks, thread: Arc::default() }));
    // It has waited in vain, and goes.
    let leaves = thread::spawn(move || {
        thread::sleep(PATIENCE / 2);
        drop(given);
    });
    assert_eq!(ask(NOBODY - 4, || 4).unwrap(), 4);
    leaves.join().unwrap();
}

#[test]
fn no_other_file_reads_what_may_hang() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders =
        ["src", "../node/src", "../guard/src", "../operator/src"].map(|source| here.join(source)).to_vec();
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("sys/bounded.rs") && !path.ends_with("sys/bounded/tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                read += 1;
                for name in HANG {
                    let named = ["\"", "/"].map(|before| format!("{before}{name}\""));
                    let found = named.iter().find(|named| text.contains(named.as_str()));
                    assert_eq!(found, None, "{}", path.display());
                }
            }
        }
    }
    assert!(read > 100, "{read}");
}
