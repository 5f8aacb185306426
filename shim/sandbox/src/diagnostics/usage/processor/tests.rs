use super::*;
use std::fs;

fn hierarchy(mountinfo: &str, unified: bool) -> Hierarchy {
    Hierarchy::read(mountinfo.as_bytes(), |_| unified).unwrap()
}

const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /docker/x /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
";

#[test]
fn v1_counts_in_the_hierarchy_of_cpuacct() {
    let host = hierarchy(HYBRID, false);
    assert_eq!(host.root, Path::new("/sys/fs/cgroup"));
    let path = |text: &str| host.path(text);
    assert_eq!(path("4:memory:/m\n3:cpu,cpuacct:/k/c1\n0::/u\n"), Some("k/c1".into()));
    assert_eq!(path("3:cpuacct:/\n"), Some("".into()));
    // runsc looks in the root then.
    assert_eq!(path("4:memory:/m\n"), Some("".into()));
    // systemd's form on v1: "invalid cgroups file".
    assert_eq!(path("3:cpu,cpuacct:/k.slice:cri-containerd:c1\n"), None);
}

#[test]
fn v2_counts_in_the_cgroup_above() {
    let host = hierarchy("35 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", true);
    assert_eq!(host.path("0::/kubepods.slice/pod1/c1\n"), Some("kubepods.slice/pod1/c1".into()));
    let folder = tempfile::tempdir().unwrap();
    let host = Hierarchy { root: folder.path().to_owned(), ..host };
    fs::create_dir(folder.path().join("pod1")).unwrap();
    fs::write(folder.path().join("pod1/cpu.stat"), "usage_usec 1234\nuser_usec 1000\n").unwrap();
    fs::write(folder.path().join("cpu.stat"), "usage_usec 99\n").unwrap();
    assert_eq!(host.time("0::/pod1/c1\n"), Some(1_234_000));
    assert_eq!((host.time("0::/c1\n"), host.time("0::/\n")), (Some(99_000), Some(99_000)));
    assert_eq!(host.time("0::/gone/c1\n"), None);
}

#[test]
fn a_part_that_is_mounted_is_left_out_of_the_path() {
    let host =
        hierarchy("32 30 0:28 /node /sys/fs/cgroup/cpuacct rw x:1 - cgroup cgroup rw,cpuacct\n", false);
    assert_eq!((host.path("3:cpuacct:/node/c1\n"), host.path("3:cpuacct:/c1\n")), (Some("c1".into()), None));
    assert_eq!(root_of(Path::new("/dev/cgroup")), Path::new("/dev/cgroup"));
}

#[test]
fn v1_reads_what_the_kernel_counts() {
    let folder = tempfile::tempdir().unwrap();
    let host = Hierarchy { root: folder.path().to_owned(), unified: false, parts: vec!["/".into()] };
    fs::create_dir_all(folder.path().join("cpuacct/k/c1")).unwrap();
    assert_eq!(host.time("3:cpuacct:/k/c1\n"), None);
    fs::write(folder.path().join("cpuacct/k/c1/cpuacct.usage"), "41\n").unwrap();
    assert_eq!(host.time("3:cpuacct:/k/c1\n"), Some(41));
    // This process is somewhere, and has used something, unless nothing counts here.
    let me = std::process::id() as i32;
    assert_eq!(
        time_of(me).is_some(),
        Hierarchy::mounted().time(&fs::read_to_string("/proc/self/cgroup").unwrap()).is_some()
    );
}
