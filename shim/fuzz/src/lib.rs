//! What every target has around it: the door into the shim, and a bound on the memory that an input costs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[doc(hidden)]
pub use libfuzzer_sys;

/// The most that a run may have allocated at once: this for any input (a frame is read into a buffer of the
/// length that its header names, ttrpc's largest of 4 MiB; a field is read into one of its length, the protobuf
/// crate's largest of 10 MB) ...
const BASE: usize = 16 << 20;
/// ... and so much for each of its bytes: a protobuf or TOML element of two bytes becomes a value of some hundred.
const PER_BYTE: usize = 2048;

/// A fuzz target that goes through the shim's door of the same name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::bounded(data, guard::fuzzing::$name));
    };
}

/// Runs `target` on `data` and fails where it allocated more than the size of the input explains.
pub fn bounded(data: &[u8], target: fn(&[u8])) {
    LIVE.set(0);
    PEAK.set(0);
    target(data);
    let (peak, most) = (PEAK.get(), BASE + PER_BYTE * data.len());
    assert!(peak <= most, "{} bytes of input made {peak} bytes live at once, more than {most}", data.len());
}

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed, since the run began.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(freed: usize, allocated: usize) {
    // What was allocated before the run and is freed in it would make this negative.
    let live = LIVE.get().saturating_sub(freed).saturating_add(allocated);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
