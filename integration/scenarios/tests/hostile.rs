//! Hostile and broken input: what containerd, a pod's author or a full disk may put before the guard. Each ends
//! in a clear error, in bounded memory, with nothing lost (rules 5 and 6).

use anyhow::{Context as _, Result, ensure};
use containerd_shim_protos::{protobuf::Message as _, shim::shim as task};
use harness::{
    Handler, Host, SHORTLY,
    binary::{self, options},
    eventually,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
    process::Process,
    promise::{ESCALATION, QUERY},
    promised, run,
    wire::{REQUEST, TASK, Wire, frame, request},
};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Pid, Resource, Rlimit, prlimit},
};
use std::{
    fs,
    io::Write as _,
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
/// What containerd gives `delete` when a guard has died.
const CLEANUP: Duration = Duration::from_secs(5);

/// A running container of this id, and its processes.
fn subject(host: &Host) -> Result<Sandbox> {
    host.ctr().start(&host.handler("guarded")?, "subject", &["sleep", "1000"])?;
    Sandbox::of(host, "subject")
}

fn guard_of(sandbox: &Sandbox) -> Result<&Process> {
    sandbox.guard.as_ref().context("no guard")
}

fn resident_kib(process: &Process) -> Result<u64> {
    process.status_number("VmRSS").with_context(|| format!("gone: {process}"))
}

/// A folder to pass for a bundle.
fn bundle(host: &Host, name: &str, config: Option<&[u8]>) -> Result<PathBuf> {
    let bundle = host.path().join(name);
    fs::create_dir(&bundle)?;
    if let Some(config) = config {
        fs::write(bundle.join("config.json"), config)?;
    }
    Ok(bundle)
}

/// `start` fails in one line that says this, and `delete` has nothing to complain of.
fn start_is_refused(host: &Host, bundle: &Path, id: &str, stdin: &[u8], says: &str) -> Result<()> {
    let mut start = binary::command(host, "k8s.io", id, bundle)?;
    let refused = run(start.arg("start"), stdin, SHORTLY)?;
    ensure!(!refused.timed_out() && refused.code() == Some(1), "{refused:?}");
    ensure!(refused.stdout.is_empty() && refused.stderr.lines().count() == 1, "{refused:?}");
    ensure!(
        refused.stderr.contains(says) && refused.stderr.len() < 1000,
        "it does not say {says}: {refused:?}"
    );
    binary::delete(host, "k8s.io", id, bundle)?;
    Ok(())
}

#[test]
fn ids_that_containerd_would_not_give_start_nothing() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let bundle = bundle(&host, "bundle", Some(b"{}"))?;
    let long = "a".repeat(200);
    for id in ["..", "../../etc", "a/b", "/etc/passwd", ".hidden", "a b", "a\nb", "käse", "日本", &long] {
        start_is_refused(&host, &bundle, id, b"", "is not one that containerd gives")?;
    }
    // A sandbox that another container names for its own is no better.
    let kin = r#"{"annotations":{"io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.sandbox-id":"../../../etc"}}"#;
    fs::write(bundle.join("config.json"), kin)?;
    start_is_refused(&host, &bundle, "member", b"", "is not one that containerd gives")?;
    assert_nothing_left(&host, &before, SHORTLY)
}

#[test]
fn a_spec_that_is_none_and_a_configuration_that_is_no_file_are_refused_at_once() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let large = format!(r#"{{"annotations":{{"a":"{}"}}}}"#, "x".repeat(20 << 20));
    let deep = "[".repeat(1 << 20);
    for (name, config, says) in [
        ("absent", None, "no such file"),
        ("empty", Some(&b""[..]), "cannot be read"),
        ("text", Some(b"not JSON"), "cannot be read"),
        ("kind", Some(br#"{"annotations":[]}"#), "cannot be read"),
        ("deep", Some(deep.as_bytes()), "cannot be read"),
        ("large", Some(large.as_bytes()), "is larger than"),
    ] {
        let bundle = bundle(&host, name, config)?;
        start_is_refused(&host, &bundle, name, b"", says).with_context(|| name)?;
    }
    let fifo = bundle(&host, "fifo", None)?;
    run(Command::new("mkfifo").arg(fifo.join("config.json")), b"", SHORTLY)?.ok()?;
    start_is_refused(&host, &fifo, "fifo", b"", "is a FIFO")?;

    let sound = bundle(&host, "sound", Some(b"{}"))?;
    for (path, says) in [
        (fifo.join("config.json"), "is a FIFO"),
        (fifo.clone(), "is a directory"),
        (fifo.join("none"), "no such file"),
        ("/dev/zero".into(), "is a special file"),
        ("relative".into(), "must be an absolute path"),
    ] {
        start_is_refused(&host, &sound, "sound", &options(&path), says)?;
    }
    let junk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(host.path().join("junk.toml"), &junk)?;
    start_is_refused(&host, &sound, "sound", &options(&host.path().join("junk.toml")), "not UTF-8")?;
    assert_nothing_left(&host, &before, SHORTLY)
}

/// `ctr task rm -f` of a wedged container with one annotation; how long it took and what the guard logged.
fn wedged_with(handler: Handler, annotation: &str) -> Result<(Duration, String)> {
    let host = Host::with([handler])?;
    let before = Resources::of(&host);
    let ctr = host.ctr();
    let annotation = format!("io.containerd.runsc-guard.{annotation}");
    let flags = ["--detach", "--null-io", "--annotation", &annotation];
    let args = ctr.run_args(&host.handler("h")?, &flags, "subject", &["sleep", "1000"]);
    run(&mut ctr.command(&args), b"", Duration::from_secs(60))?.ok()?;
    Sandbox::of(&host, "subject")?.stop_sentry()?;
    let began = Instant::now();
    ctr.force_delete_task("subject", Duration::from_secs(40))?.ok()?;
    let took = began.elapsed();
    ctr.delete_container("subject")?;
    assert_nothing_left(&host, &before, SHORTLY)?;
    let log = host.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("annotations that are ignored")).collect();
    println!("{annotation}: ended after {took:?}: {said:?}");
    Ok((took, said.join("\n")))
}

#[test]
fn a_pod_may_shorten_its_deadline_and_never_lengthen_it() -> Result<()> {
    let handler = |kill: &str| Handler::guarded("h").guard("kill_deadline", kill);
    let allowed = |kill: &str| handler(kill).guard("allow_annotations", "true");
    let within = |deadline| QUERY + Duration::from_secs(deadline) + ESCALATION;
    let (took, said) = wedged_with(allowed("\"30s\""), "kill-deadline=1s")?;
    ensure!(took <= within(1) && said.is_empty(), "{took:?} {said}");
    let (took, said) = wedged_with(allowed("\"2s\""), "kill-deadline=1h")?;
    ensure!(took <= within(2), "{took:?}");
    ensure!(said.lines().count() == 1 && said.contains("is longer than the operator's"), "{said}");
    let (took, said) = wedged_with(handler("\"4s\""), "kill-deadline=200ms")?;
    ensure!(took >= Duration::from_secs(4) && said.is_empty(), "{took:?} {said}");
    Ok(())
}

fn about_subject() -> task::ConnectRequest {
    task::ConnectRequest { id: "subject".to_owned(), ..Default::default() }
}

#[test]
fn broken_frames_are_answered_or_end_their_connection_and_nothing_else() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let sandbox = subject(&host)?;
    let namespace = host.tag().to_owned();
    let connect = || Wire::connect(&host, &namespace, "subject");

    let mut wire = connect()?;
    let ask = about_subject();
    wire.send(&request(1, "no.such.Service", "Connect", &ask)?)?;
    wire.send(&request(3, TASK, "Explode", &ask)?)?;
    wire.send(&frame(REQUEST, 5, 3, b"\xff\xff\xff"))?;
    wire.send(&request(4, TASK, "Connect", &ask)?)?;
    let mut garbage = ttrpc::Request { service: TASK.into(), method: "State".into(), ..Default::default() };
    garbage.payload = vec![0xff; 100];
    let garbage = garbage.write_to_bytes()?;
    wire.send(&frame(REQUEST, 7, garbage.len() as u32, &garbage))?;
    // Larger than any message may be, and of a kind that nobody knows.
    wire.send(&frame(REQUEST, 9, 5 << 20, &vec![0; 5 << 20]))?;
    wire.send(&frame(77, 11, 4, b"what"))?;
    wire.send(&request(13, TASK, "Connect", &ask)?)?;
    wire.send(&request(15, "containerd.runtime.sandbox.v1.Sandbox", "SandboxStatus", &ask)?)?;
    let mut replies: Vec<_> = (0..8).map(|_| wire.reply()).collect::<Result<_>>()?;
    replies.sort_by_key(|reply| reply.stream);
    let codes: Vec<_> = replies.iter().map(|reply| (reply.stream, reply.code)).collect();
    println!("{replies:?}");
    ensure!(
        codes
            == [
                (1, UNIMPLEMENTED),
                (3, UNIMPLEMENTED),
                (4, INVALID_ARGUMENT),
                (5, INVALID_ARGUMENT),
                (7, INVALID_ARGUMENT),
                (9, RESOURCE_EXHAUSTED),
                (13, 0),
                (15, UNIMPLEMENTED)
            ],
        "{replies:?}"
    );
    let undecodable = replies.iter().find(|reply| reply.stream == 7).context("no reply")?;
    ensure!(undecodable.message.starts_with("guard: State cannot be decoded"), "{undecodable:?}");

    for cut in [&b"\0"[..], &frame(REQUEST, 1, 1000, b"half"), &frame(REQUEST, 1, u32::MAX, b"no end")] {
        connect()?.send(cut)?;
    }
    let resident = resident_kib(guard_of(&sandbox)?)?;
    println!("the guard after broken frames: {resident} KiB");
    ensure!(resident < 48 << 10, "{resident} KiB");
    host.ctr().exec("subject", "alive", &["true"], b"", SHORTLY)?.ok()?;
    host.ctr().remove("subject")?;
    assert_nothing_left(&host, &before, SHORTLY)
}

#[test]
fn a_caller_that_never_reads_costs_little_and_holds_nobody_up() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let sandbox = subject(&host)?;
    let guard = guard_of(&sandbox)?;
    let namespace = host.tag().to_owned();
    let before_kib = resident_kib(guard)?;

    // Two that never read: of one each request is answered at once, of the other none (nothing exits).
    let mut sent = Vec::new();
    let mut wires = Vec::new();
    for method in ["Connect", "Wait"] {
        let mut wire = Wire::connect(&host, &namespace, "subject")?;
        wire.stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        let mut count = 0_u32;
        while count < 400_000 && wire.send(&request(count * 2 + 1, TASK, method, &about_subject())?).is_ok() {
            count += 1;
        }
        sent.push(count);
        wires.push(wire);
    }
    let grown = resident_kib(guard)?.saturating_sub(before_kib);
    println!("unread: {sent:?} requests sent, the guard grew from {before_kib} by {grown} KiB");
    ensure!(sent.iter().all(|count| *count < 400_000), "nothing held these callers up: {sent:?}");
    ensure!(grown < 32 << 10, "{grown} KiB");
    host.ctr().exec("subject", "alive", &["true"], b"", SHORTLY)?.ok()?;

    // The one whose requests were answered gets every answer once it reads, each exactly once.
    let answered = wires.first_mut().context("no wire")?;
    let mut seen = std::collections::BTreeSet::new();
    // The last one may have been cut when its time was up.
    for _ in 0..sent[0] {
        ensure!(seen.insert(answered.reply()?.stream), "answered twice");
    }
    drop(wires);
    let mut wire = Wire::connect(&host, &namespace, "subject")?;
    let mut sender = Wire { stream: wire.stream.try_clone()? };
    let sending = std::thread::spawn(move || {
        (0..3000).try_for_each(|n| sender.send(&request(n * 2 + 1, TASK, "State", &about_subject())?))
    });
    let mut streams: Vec<u32> = (0..3000).map(|_| Ok(wire.reply()?.stream)).collect::<Result<_>>()?;
    sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    streams.sort_unstable();
    ensure!(streams.windows(2).all(|pair| pair[0] < pair[1]), "a request was answered twice");
    println!("the guard afterwards: {} KiB", resident_kib(guard)?);
    host.ctr().remove("subject")?;
    assert_nothing_left(&host, &before, SHORTLY)
}

fn limit_descriptors(process: &Process, soft: u64, hard: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(process.pid).context("no pid")?;
    let now = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(soft), maximum: hard });
    now.map(drop).context("prlimit")
}

/// The lowest number that is free: with that for a limit, none can be opened.
fn lowest_free_descriptor(process: &Process) -> u64 {
    let folder = PathBuf::from(format!("/proc/{}/fd", process.pid));
    (0..).find(|number: &u64| folder.join(number.to_string()).symlink_metadata().is_err()).unwrap_or_default()
}

#[test]
fn connections_never_take_the_last_descriptors_and_a_soft_limit_stops_nothing() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let sandbox = subject(&host)?;
    let guard = guard_of(&sandbox)?;
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    limit_descriptors(guard, 80, hard)?;
    let socket = host.shim_socket(host.tag(), "subject")?;
    let crowd: Vec<_> = (0..100).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    eventually(SHORTLY, "the guard says so", || {
        host.log().contains("no more connections for now").then_some(())
    })?;
    ensure!(lowest_free_descriptor(guard) <= 50, "{} of 80 are taken", lowest_free_descriptor(guard));
    let cpu = || -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", guard.pid))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    let ticks = cpu()?;
    host.ctr().exec("subject", "alive", &["sleep", "1"], b"", SHORTLY)?.ok()?;
    let spent = cpu()? - ticks;
    println!("{} connections asked for, {spent} ticks spent in a second", crowd.len());
    ensure!(spent < 50, "it spins: {spent} ticks in a second");

    // None at all, softly: the escalation takes what the hard limit allows.
    sandbox.stop_sentry()?;
    limit_descriptors(guard, lowest_free_descriptor(guard), hard)?;
    host.ctr().force_delete_task("subject", Duration::from_secs(30))?.ok()?;
    host.ctr().delete_container("subject")?;
    drop(crowd);
    assert_nothing_left(&host, &before, SHORTLY)
}

#[test]
fn a_guard_without_descriptors_ends_its_sandbox_and_says_what_it_needs() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let sandbox = subject(&host)?;
    let guard = guard_of(&sandbox)?;
    sandbox.stop_sentry()?;
    let open = lowest_free_descriptor(guard);
    limit_descriptors(guard, open, Some(open))?;
    let ctr = host.ctr();
    // By the descriptors that it holds of sentry and real shim: it takes none to send a signal.
    let began = Instant::now();
    let asked = std::thread::scope(|scope| {
        let deleted = scope.spawn(|| ctr.force_delete_task("subject", Duration::from_secs(8)));
        sandbox.sentry.gone_within(QUERY + Duration::from_secs(2) + ESCALATION)?;
        println!("the sentry is gone after {:?}", began.elapsed());
        deleted.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    });
    println!("deleted: {:?}", asked?);
    eventually(SHORTLY, "it says why", || host.log().contains("no file descriptors are left").then_some(()))?;
    // Whatever else it cannot do: containerd's `delete` finishes the job.
    guard.signal(rustix::process::Signal::KILL)?;
    promised(CLEANUP, "forgotten", || ctr.delete_container("subject").ok())?;
    assert_nothing_left(&host, &before, SHORTLY)
}

#[test]
fn planted_links_lead_nowhere() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let outside = host.path().join("outside");
    fs::create_dir(&outside)?;
    let treasure = |name: &str| -> Result<PathBuf> {
        let path = outside.join(name);
        fs::write(&path, "precious")?;
        Ok(path)
    };
    let sandbox = subject(&host)?;
    let guard = guard_of(&sandbox)?;
    let bundle = host.bundle(host.tag(), "subject");
    for name in
        ["runsc-guard.json".to_owned(), format!(".runsc-guard.json.{}", guard.pid), "address".to_owned()]
    {
        let link = bundle.join(&name);
        let _ = fs::remove_file(&link);
        symlink(treasure(&name)?, link)?;
    }
    let root = host.runsc_root(host.tag());
    for name in ["stray_sandbox:subject.state", "stray_sandbox:subject.lock"] {
        symlink(treasure(name)?, root.join(name))?;
    }
    let reports = host.path().join("reports");
    fs::create_dir_all(&reports)?;
    for number in 0..110 {
        symlink(treasure(&format!("{number}-ns-box.json"))?, reports.join(format!("{number}-ns-box.json")))?;
    }
    sandbox.stop_sentry()?;
    host.ctr().remove("subject")?;
    for entry in fs::read_dir(&outside)?.flatten() {
        let text = fs::read_to_string(entry.path())?;
        ensure!(text == "precious", "{}: {text}", entry.path().display());
    }
    ensure!(fs::read_dir(&outside)?.count() == 115, "something outside was removed");
    ensure!(fs::read_dir(&reports)?.count() <= 100, "too many reports");
    assert_nothing_left(&host, &before, SHORTLY)
}

/// A file system without room, for as long as this lives.
struct Full(PathBuf);

impl Full {
    fn mount(path: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        let options = std::ffi::CString::new(format!("size={size},mode=0700"))?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Self(path.to_owned()))
    }

    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.0.join(".filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        ensure!(fs::write(self.0.join(".more"), [0; 100]).is_err(), "there is room");
        fs::remove_file(self.0.join(".more")).context("the file that did not fit")
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

#[test]
fn a_full_disk_under_bundles_and_reports_stops_no_end() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let bundles = host.bundle(host.tag(), "subject");
    let bundles = Full::mount(bundles.parent().context("no parent")?, "2m")?;
    let reports = Full::mount(&host.path().join("reports"), "64k")?;
    reports.fill()?;
    let ctr = host.ctr();
    for guard_dies in [false, true] {
        let _ = fs::remove_file(bundles.0.join(".filler"));
        let sandbox = subject(&host)?;
        bundles.fill()?;
        sandbox.stop_sentry()?;
        if guard_dies {
            guard_of(&sandbox)?.signal(rustix::process::Signal::KILL)?;
            sandbox.sentry.gone_within(CLEANUP)?;
            eventually(SHORTLY, "forgotten", || ctr.delete_container("subject").ok())?;
        } else {
            ctr.remove("subject")?;
        }
    }
    let log = host.log();
    ensure!(log.contains("no report in"), "the missing report is not told");
    fs::remove_file(bundles.0.join(".filler"))?;
    drop((bundles, reports));
    assert_nothing_left(&host, &before, SHORTLY)
}

/// The guards' own folder is shared by all of a machine, so the full one is in a mount namespace of its own.
#[test]
fn a_full_runtime_folder_is_a_clear_error_of_start_and_none_of_delete() -> Result<()> {
    let host = Host::guarded("2s")?;
    let before = Resources::of(&host);
    let sound = bundle(&host, "sound", Some(b"{}"))?;
    for options in ["size=4k", "nr_inodes=2"] {
        let script = format!(
            "mkdir -p /run/runsc-guard && mount -t tmpfs -o {options} tmpfs /run/runsc-guard && \
             (head -c 1000000 /dev/zero > /run/runsc-guard/filler) 2>/dev/null; \"$@\"; code=$?; \
             test $(ls -A /run/runsc-guard | wc -l) = 1 || echo left: $(ls -A /run/runsc-guard) >&2; exit $code"
        );
        for what in ["start", "delete"] {
            let mut plain = binary::command(&host, "k8s.io", "sound", &sound)?;
            plain.arg("-bundle").arg(&sound).arg(what);
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c", &script, "sh"])
                .arg(plain.get_program())
                .args(plain.get_args());
            command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
            command.current_dir(&sound);
            let answer = run(&mut command, b"", SHORTLY)?;
            println!("{options}, {what}: {answer:?}");
            ensure!(!answer.timed_out() && !answer.stderr.contains("left:"), "{answer:?}");
            if what == "start" {
                ensure!(!answer.success() && answer.stderr.contains("No space left on device"), "{answer:?}");
            } else {
                answer.ok()?;
            }
        }
    }
    assert_nothing_left(&host, &before, SHORTLY)
}
