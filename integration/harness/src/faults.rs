//! Ways to wedge a sandbox, all with real parts. Each looks only among the processes and files of its own host.

mod full;
mod fuse;
mod prewarmer;
mod runsc;
mod sandbox;
mod signals;
mod volume;

pub use full::Full;
pub use fuse::{await_held, hang_fuse, hold_mmap_lock, is_command_line_held};
pub use prewarmer::{await_prewarmer, stuck_prewarmer};
pub use runsc::{
    hanging_runsc, hold_lock, late_wait, mistaken_events, pause, renamed_field, resume, slow_create,
};
pub use sandbox::{Sandbox, guard, guards_name};
pub use signals::{stop, terminate};
pub use volume::{
    HAS_READ, READS_ROOTFS, READS_VOLUME, VOLUME, WRITABLE, fuse_rootfs, fuse_volume, uses_file, volume_flag,
    writable_volume, writable_volume_flag,
};
