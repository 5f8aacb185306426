use super::*;
use crate::processes::process::Role;
use crate::sys::identity::{Identity, Stat};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process in a network namespace of its own, with a pair of links that are up.
struct Island(Child);

impl Island {
    fn new() -> Self {
        let script = "ip link add one type veth peer name two && ip link set one up && ip link set two up && \
                      ip link add three type bridge && ip link set three up && ip link set lo up && exec sleep 1000";
        let child =
            Command::new("unshare").args(["-n", "sh", "-c", script]).stdout(Stdio::null()).spawn().unwrap();
        let island = Self(child);
        let began = Instant::now();
        // At first it is still in the node's own.
        let ready = |links: String| links.contains("three") && links.contains("lo: <LOOPBACK,UP");
        // And the last `ip`, which is in there as well, is seen to work before it has ended.
        let is_alone = || Stat::of(island.pid()).is_ok_and(|stat| stat.comm == "sleep");
        while !(ready(island.links()) && is_alone()) {
            assert!(began.elapsed() < Duration::from_secs(20), "{}", island.links());
            thread::sleep(Duration::from_millis(10));
        }
        island
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    fn links(&self) -> String {
        let net = format!("--net=/proc/{}/ns/net", self.pid());
        let output = Command::new("nsenter").args([&net, "ip", "-o", "link"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn as_stuck(&self) -> StuckProcess {
        StuckProcess {
            identity: Identity::of(self.pid()).unwrap(),
            role: Role::Sentry,
            comm: "exe".into(),
            state: 'D',
            wchan: None,
            frozen: None,
            mount: None,
        }
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pod_links_go_and_others_are_set_down() {
    let island = Island::new();
    let done = release(&Scope::default(), &island.path(), &[island.as_stuck()]).unwrap();
    let links = island.links();
    assert!(!links.contains("one") && !links.contains("two"), "{links}");
    assert!(links.contains("three: <BROADCAST,MULTICAST>"), "{links}");
    assert!(links.contains("lo: <LOOPBACK,UP"), "{links}");
    assert!(done.iter().any(|word| word.starts_with("removed veth")), "{done:?}");
    assert!(done.contains(&"set down three".to_owned()), "{done:?}");
    assert!(release(&Scope::default(), &island.path(), &[island.as_stuck()]).unwrap().is_empty());
}

#[test]
fn a_stranger_keeps_the_network() {
    let island = Island::new();
    let before = island.links();
    let refused = release(&Scope::default(), &island.path(), &[]);
    assert!(matches!(refused, Err(NetworkError::Shared(pid)) if pid == island.pid()), "{refused:?}");
    assert_eq!(island.links(), before);
}

#[test]
fn the_nodes_network_is_never_touched() {
    let refused = release(&Scope::default(), Path::new("/proc/self/ns/net"), &[]);
    assert!(matches!(refused, Err(NetworkError::TheNodes)), "{refused:?}");
    // The first process may have more privileges than this one: then even its link cannot be followed.
    assert!(release(&Scope::default(), Path::new("/proc/1/ns/net"), &[]).is_err());
}

#[test]
fn what_is_no_network_namespace_is_refused_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [fifo.as_path(), folder.path(), Path::new("/proc/self/stat")] {
        assert!(matches!(release(&Scope::default(), path, &[]), Err(NetworkError::NoNamespace)));
    }
    assert!(release(&Scope::default(), &folder.path().join("absent"), &[]).is_err());
    assert!(release(&Scope::default(), Path::new("/proc/self/ns/mnt"), &[]).is_err());
}
