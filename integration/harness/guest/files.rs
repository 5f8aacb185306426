//! What a container of a scenario does with one file: `files VERB FILE`, again and again until it is killed. A program
//! of its own, because no shell maps files. No crates: `build.rs` compiles it statically for the image.

use std::{
    env,
    ffi::{c_int, c_void},
    fs::File,
    os::{fd::AsRawFd, unix::fs::FileExt},
    process::exit,
    ptr, slice, thread,
    time::Duration,
};

const PAGE: usize = 4096;
/// As many as the file has.
const PAGES: usize = 8;
const LENGTH: usize = PAGES * PAGE;

const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const MS_SYNC: c_int = 4;

unsafe extern "C" {
    fn mmap(at: *mut c_void, length: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64)
    -> *mut c_void;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
    fn msync(at: *mut c_void, length: usize, flags: c_int) -> c_int;
}

/// The file in memory, shared.
struct Map(*mut c_void);

impl Map {
    fn of(file: &File) -> Self {
        // SAFETY: a new mapping of an open file, at an address of the kernel's choice.
        let at = unsafe { mmap(ptr::null_mut(), LENGTH, PROT_READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        if at.addr() == usize::MAX {
            eprintln!("files: mmap: {}", std::io::Error::last_os_error());
            exit(1);
        }
        Self(at)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped for reading and writing, so long, until the drop.
        unsafe { slice::from_raw_parts_mut(self.0.cast::<u8>(), LENGTH) }
    }

    /// Makes every page dirty.
    fn store(&mut self, byte: u8) {
        self.bytes().fill(byte);
    }

    fn sync(&self) {
        // SAFETY: what is mapped there is this value's.
        unsafe { msync(self.0, LENGTH, MS_SYNC) };
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into it any more.
        unsafe { munmap(self.0, LENGTH) };
    }
}

/// Says so beside the file, and does nothing any more.
fn done(path: &str) -> ! {
    File::create(format!("{path}.done")).unwrap();
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

fn main() {
    let [_, verb, path] = env::args().collect::<Vec<_>>().try_into().unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let letters = (b'a'..=b'z').cycle();
    let write = |byte| file.write_all_at(&[byte; LENGTH], 0).unwrap();
    match verb.as_str() {
        // Dirty pages where there is a writeback cache; each time a request where there is none.
        "write" => letters.for_each(|byte| {
            write(byte);
            thread::sleep(Duration::from_millis(10));
        }),
        "fsync" => letters.for_each(|byte| {
            write(byte);
            file.sync_all().unwrap();
        }),
        "msync" => {
            let mut map = Map::of(&file);
            for byte in letters {
                map.store(byte);
                map.sync();
            }
        }
        "munmap" => letters.for_each(|byte| Map::of(&file).store(byte)),
        // Dirty pages until the end, made dirty again whenever they have been written.
        "store" => {
            let mut map = Map::of(&file);
            for byte in letters {
                map.store(byte);
                thread::sleep(Duration::from_millis(1));
            }
        }
        // Dirty pages until the end.
        "store-once" => {
            let mut map = Map::of(&file);
            map.store(b'x');
            done(&path)
        }
        // The same in every other page, each of which is written back by a request of its own.
        "store-apart" => {
            let mut map = Map::of(&file);
            map.bytes().chunks_mut(PAGE).step_by(2).for_each(|page| page.fill(b'x'));
            done(&path)
        }
        _ => exit(2),
    }
}
