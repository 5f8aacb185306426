//! Where things of one pod lie: the guard's socket, its private folder, the lock that `start` and `delete`
//! take. All are named by one hash, so that whoever knows address, namespace and sandbox finds them.
//!
//! gVisor's shim hashes `Join(address, namespace, id)` into the same `/run/containerd/s`, with `debug`
//! appended when containerd logs at debug level (`pkg/shim/v1/manager.go`). Equal names would be fatal: the
//! shim's `start` would take the guard for a running shim, and it unlinks its own socket's name at exit.
//! Hence `guard` is appended here; ids cannot contain a slash, so no two names meet.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use runsc_guard_sandbox::PARAMS;
use runsc_guard_sandbox::processes::process::guard_name;
use runsc_guard_sandbox::teardown::release;

/// Where the last words of guards are heard, if somebody listens: beside their folders.
const FINAL_METRICS: &str = "metrics.sock";
/// The longest path that `sun_path` takes with its NUL; Go refuses one byte earlier, and the real shim is Go.
const SUN_PATH: usize = 106;
/// containerd's `identifiers.Validate`.
const LONGEST_ID: usize = 76;

/// The two folders below which everything lies; tests have their own.
#[derive(Clone, Debug)]
pub struct Base {
    /// The guards' private folders.
    pub runtime: PathBuf,
    /// Sockets that containerd dials, where it does not name another folder.
    pub sockets: PathBuf,
}

impl Default for Base {
    fn default() -> Self {
        Self { runtime: "/run/runsc-guard".into(), sockets: "/run/containerd/s".into() }
    }
}

impl Base {
    /// Where guards send what they have counted when they end.
    pub fn final_metrics(&self) -> PathBuf {
        self.runtime.join(FINAL_METRICS)
    }
}

/// Names that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlaceError {
    /// containerd would not have let it through.
    #[error(
        "{what} \"{}\" is not one that containerd gives: 1 to 76 letters, digits, '_', '-' and '.', \
         beginning with a letter or digit", shown(.value)
    )]
    Name {
        /// What it names.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// `sun_path` is short.
    #[error("socket path {} is {} bytes long, the kernel takes {SUN_PATH}; set a shorter socket \
             directory in containerd", .0.display(), .0.as_os_str().len())]
    SocketPath(PathBuf),
    /// Relative to what?
    #[error("socket directory {} is not an absolute path", .0.display())]
    SocketDir(PathBuf),
}

fn shown(value: &str) -> String {
    value.escape_debug().take(100).collect()
}

/// Refuses names that could leave their folder (`..`, `/`), hide (a leading dot) or overflow.
pub fn check_name(what: &'static str, value: &str) -> Result<(), PlaceError> {
    let good = value.len() <= LONGEST_ID
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if good { Ok(()) } else { Err(PlaceError::Name { what, value: value.to_owned() }) }
}

/// Whether a file may be one of a pod's, or a shim's socket, by its name. What else lies beside those is another's.
pub fn is_hash(name: &OsStr) -> bool {
    name.len() == 64 && name.as_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// Where one pod's things lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The guard's socket, which containerd dials.
    pub socket: PathBuf,
    /// The guard's private folder, mode 0700; the real shim's working directory.
    pub folder: PathBuf,
    /// Held by `start` and `delete` while they change who guards the pod. Outside the folder, which goes.
    pub lock: PathBuf,
}

impl Place {
    /// The place of the sandbox `group` in `namespace` of the containerd at `address`.
    pub fn of(
        base: &Base,
        address: &str,
        namespace: &str,
        group: &str,
        socket_dir: Option<&Path>,
    ) -> Result<Self, PlaceError> {
        check_name("namespace", namespace)?;
        check_name("id", group)?;
        let sockets = socket_dir.unwrap_or(&base.sockets);
        if !sockets.is_absolute() {
            return Err(PlaceError::SocketDir(sockets.to_owned()));
        }
        let name = guard_name(address, namespace, group);
        let place = Self {
            socket: sockets.join(&name),
            lock: base.runtime.join(format!("{name}.lock")),
            folder: base.runtime.join(name),
        };
        for path in [&place.socket, &place.real_shim_socket(), &place.events_socket()] {
            if path.as_os_str().len() > SUN_PATH {
                return Err(PlaceError::SocketPath(path.clone()));
            }
        }
        Ok(place)
    }

    /// The address that containerd is told.
    pub fn address(&self) -> String {
        address_of(&self.socket)
    }

    /// Where the real shim serves.
    pub fn real_shim_socket(&self) -> PathBuf {
        self.folder.join("shim.sock")
    }

    /// Where the real shim publishes its events.
    pub fn events_socket(&self) -> PathBuf {
        self.folder.join("events.sock")
    }

    /// The FIFO that the real shim logs into (its name is fixed: `log` in its working directory).
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What `start` tells the guard.
    pub fn params(&self) -> PathBuf {
        self.folder.join(PARAMS)
    }

    /// Which process the guard is.
    pub fn guard(&self) -> PathBuf {
        self.folder.join("guard.json")
    }

    /// Where the guard sends what it has counted when it ends.
    pub fn final_metrics(&self) -> PathBuf {
        self.folder.with_file_name(FINAL_METRICS)
    }

    /// Creates the folders, closed to everybody else.
    pub fn create(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        if let Some(sockets) = self.socket.parent() {
            builder.create(sockets)?;
        }
        builder.create(&self.folder)
    }

    /// Removes socket and folder, when nothing of the pod is left that needs them. The caller holds the lock:
    /// nobody makes them anew meanwhile, and who is killed amid this leaves a folder for the next to remove.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => release::remove_folder(&self.folder),
        }
    }

    /// Whether anything is left of it; the lock, which may be somebody's, does not count.
    pub fn is_left(&self) -> bool {
        self.folder.exists() || self.socket.exists()
    }
}

/// A socket's path as containerd writes it.
pub fn address_of(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ADDRESS: &str = "/run/containerd/containerd.sock";

    fn socket(namespace: &str, group: &str) -> PathBuf {
        Place::of(&Base::default(), ADDRESS, namespace, group, None).unwrap().socket
    }

    #[test]
    fn names_are_the_hash_of_four_parts_and_meet_nobody_elses() {
        let ours = socket("k8s.io", "pod1");
        // printf %s /run/containerd/containerd.sock/k8s.io/pod1/guard | sha256sum
        let expected = "/run/containerd/s/036f5394450e0039c0110d20be1975e442b842b8dddd71e46285617bed41e2c2";
        assert_eq!(ours, Path::new(expected));
        let theirs = containerd_shim::socket_address(ADDRESS, "k8s.io", "pod1");
        let debug = containerd_shim::socket_address(ADDRESS, "k8s.io", "pod1/debug");
        assert!(address_of(&ours) != theirs && address_of(&ours) != debug);
        assert!(ours != socket("k8s.io", "pod2") && ours != socket("moby", "pod1"));
    }

    #[test]
    fn containerds_socket_dir_is_used_and_measured() {
        let base = Base::default();
        let of = |dir: &str| Place::of(&base, ADDRESS, "a", "b", Some(Path::new(dir)));
        assert!(of("/run/s").unwrap().socket.starts_with("/run/s"));
        // 42 is what containerd itself allows (socket_linux.go).
        assert!(of(&format!("/{}", "x".repeat(40))).is_ok());
        let error = of(&format!("/{}", "x".repeat(41))).unwrap_err();
        assert!(error.to_string().contains("is 107 bytes long, the kernel takes 106"), "{error}");
        assert!(matches!(of("run/s"), Err(PlaceError::SocketDir(_))));
    }

    #[test]
    fn names_that_containerd_would_not_give() {
        let long = "a".repeat(77);
        for bad in ["", "..", ".hidden", "a/b", "/", "a\nb", "ä", "-id", "a b", &long] {
            let error = check_name("id", bad).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error:?}");
            assert!(Place::of(&Base::default(), ADDRESS, "a", bad, None).is_err());
            assert!(Place::of(&Base::default(), ADDRESS, bad, "a", None).is_err());
        }
        for good in ["a", "0123456789abcdef", "k8s.io", "a_b-c.d", &long[..76]] {
            check_name("id", good).unwrap();
        }
    }

    #[test]
    fn folders_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base { runtime: dir.path().join("r"), sockets: dir.path().join("s") };
        let place = Place::of(&base, ADDRESS, "a", "b", None).unwrap();
        place.create().unwrap();
        place.create().unwrap();
        for folder in [&base.runtime, &base.sockets, &place.folder] {
            let mode = std::fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        }
        fs::write(&place.socket, b"").unwrap();
        fs::write(place.params(), b"").unwrap();
        fs::create_dir_all(place.folder.join("made/by the real shim")).unwrap();
        place.remove().unwrap();
        place.remove().unwrap();
        for folder in [&base.runtime, &base.sockets] {
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        }
    }
}
