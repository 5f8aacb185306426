use std::ffi::OsString;

use containerd_shim::bootstrap::Extension;

use super::*;

fn args(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn target() -> Target {
    Target {
        namespace: "k8s.io".into(),
        id: "pod1".into(),
        address: "/run/containerd/containerd.sock".into(),
        ..Target::default()
    }
}

fn options(type_url: &str, path: &str) -> Any {
    let options = Options {
        type_url: "io.containerd.runsc.v1.options".into(),
        config_path: path.into(),
        ..Options::default()
    };
    Any { type_url: type_url.into(), value: options.write_to_bytes().unwrap(), ..Any::default() }
}

fn params(version: &str, extensions: Vec<Any>) -> BootstrapParams {
    let extensions = extensions
        .into_iter()
        .map(|any| Extension { value: Some(any).into(), ..Extension::default() })
        .collect();
    BootstrapParams {
        instance_id: "pod1".into(),
        namespace: "k8s.io".into(),
        containerd_version: version.into(),
        containerd_ttrpc_address: "/run/c.ttrpc".into(),
        socket_dir: Some("/run/s".into()),
        extensions,
        ..BootstrapParams::default()
    }
}

#[test]
fn containerds_own_command_lines() {
    let start = "-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary \
                 /usr/bin/containerd -id pod1 start";
    assert_eq!(parse(&args(start)).unwrap(), Invocation::Start(target()));
    let delete = "-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary \
                  /usr/bin/containerd -id pod1 -bundle /b -debug delete";
    let expected = Target { bundle: "/b".into(), debug: true, ..target() };
    assert_eq!(parse(&args(delete)).unwrap(), Invocation::Delete(expected));
    let serve = "-namespace k8s.io -id pod1 -address /run/containerd/containerd.sock";
    assert_eq!(parse(&args(serve)).unwrap(), Invocation::Serve(target()));
    assert_eq!(parse(&args("-info")).unwrap(), Invocation::Info);
    assert_eq!(parse(&args("-v")).unwrap(), Invocation::Version(Asker::Either));
    assert_eq!(parse(&args("-version")).unwrap(), Invocation::Version(Asker::Either));
    let version = "-namespace k8s.io -address /run/containerd/containerd.sock -v";
    assert_eq!(parse(&args(version)).unwrap(), Invocation::Version(Asker::Program));
}

#[test]
fn a_person_asks_for_help_and_version() {
    for line in ["-h", "--h", "-help", "--help", "help", "-v -h", "--version --help", "-id pod1 --help start"]
    {
        assert_eq!(parse(&args(line)).unwrap(), Invocation::Help, "{line}");
    }
    for line in ["--version", "--v", "--version=true"] {
        assert_eq!(parse(&args(line)).unwrap(), Invocation::Version(Asker::Person), "{line}");
    }
    let named = parse(&args("-namespace n -id -h start")).unwrap();
    assert!(matches!(named, Invocation::Start(_)), "the value of another flag asks for nothing");
    assert!(matches!(parse(&args("-id pod1 help")), Err(CliError::Action(_))));
    assert!(matches!(parse(&[]), Err(CliError::Nothing)));
}

#[test]
fn anything_else_is_one_line() {
    for line in ["-id pod1 frobnicate", "-nonsense", "-id"] {
        let error = parse(&args(line)).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error:?}");
    }
}

#[test]
fn stdin_empty() {
    let got = bootstrap(&target(), Some("/run/c.ttrpc".into()), b"");
    assert_eq!(got, Bootstrap { ttrpc_address: "/run/c.ttrpc".into(), ..Bootstrap::default() });
}

#[test]
fn stdin_any_with_and_without_a_host_in_its_type() {
    for type_url in ["runtimeoptions.v1.Options", "type.googleapis.com/runtimeoptions.v1.Options"] {
        let stdin = options(type_url, "/etc/runsc.toml").write_to_bytes().unwrap();
        let got = bootstrap(&target(), None, &stdin);
        assert_eq!(got.config_path, Some("/etc/runsc.toml".into()), "{type_url}");
        assert_eq!(got.reply, Reply::Plain);
        assert_eq!(config_path(&stdin), Some("/etc/runsc.toml".into()));
    }
}

#[test]
fn stdin_any_of_another_type_or_without_a_path() {
    for any in [options("containerd.runc.v1.Options", "/x"), options("runtimeoptions.v1.Options", "")] {
        let got = bootstrap(&target(), None, &any.write_to_bytes().unwrap());
        assert_eq!(got.config_path, None);
    }
}

#[test]
fn stdin_any_is_not_taken_for_bootstrap_params() {
    let named_like_the_type = Target { id: "runtimeoptions.v1.Options".into(), ..target() };
    let stdin = options("runtimeoptions.v1.Options", "/x").write_to_bytes().unwrap();
    assert_eq!(bootstrap(&named_like_the_type, None, &stdin).config_path, Some("/x".into()));
}

#[test]
fn stdin_bootstrap_params() {
    let other = options("containerd.io/cri.v1.PodSandboxConfig", "/wrong");
    let ours = options("runtimeoptions.v1.Options", "/etc/runsc.toml");
    let stdin = params("v2.4.2", vec![other, ours]).write_to_bytes().unwrap();
    let expected = Bootstrap {
        reply: Reply::Version3,
        socket_dir: Some("/run/s".into()),
        ttrpc_address: "/run/c.ttrpc".into(),
        config_path: Some("/etc/runsc.toml".into()),
    };
    assert_eq!(bootstrap(&target(), Some("/env".into()), &stdin), expected);
}

#[test]
fn stdin_bootstrap_params_with_an_unknown_level_and_little_else() {
    let mut message = params("", Vec::new());
    message.log_level = runsc_guard_proto::protobuf::EnumOrUnknown::from_i32(-7);
    message.socket_dir = Some(String::new());
    message.containerd_ttrpc_address = String::new();
    let got = bootstrap(&target(), Some("/env".into()), &message.write_to_bytes().unwrap());
    assert_eq!(got, Bootstrap { ttrpc_address: "/env".into(), ..Bootstrap::default() });
}

#[test]
fn stdin_junk() {
    for junk in [&b"\xff\xff\xff"[..], b"hello", b"\n\x05abc", &[0; 100]] {
        let got = bootstrap(&target(), Some("/env".into()), junk);
        assert_eq!(got, Bootstrap { ttrpc_address: "/env".into(), ..Bootstrap::default() });
    }
}

#[test]
fn versions() {
    for version in ["v2.4.2", "2.4.2+unknown", "2.4.0", "2.10.1", "v3.0.0-beta.1.m", "2.4.2~ds1"] {
        let expected = if version.starts_with("v3") { Reply::Plain } else { Reply::Version3 };
        assert_eq!(decide_reply(Some(version)), expected, "{version}");
    }
    for version in ["v2.3.4", "1.7.35", "v2.4.0-beta.0", "2.4.0~rc1", "2.4", "", "unknown", "v", "2.x.1"] {
        assert_eq!(decide_reply(Some(version)), Reply::Plain, "{version}");
    }
    assert_eq!(decide_reply(None), Reply::Plain);
}

#[test]
fn replies_as_containerd_reads_them() {
    assert_eq!(Reply::Plain.encode("unix:///s"), b"unix:///s");
    let result = BootstrapResult::parse_from_bytes(&Reply::Version3.encode("unix:///s")).unwrap();
    assert_eq!(
        (result.version, result.address.as_str(), result.protocol.as_str()),
        (3, "unix:///s", "ttrpc")
    );
}
