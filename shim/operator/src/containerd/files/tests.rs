use super::*;
use std::fs;

const V2: &str = r#"
    version = 2
    imports = ["conf.d/*.toml", "conf.d/a.toml"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      options = { SystemdCgroup = true }
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gvisor]
      runtime_type = "io.containerd.runsc.v1"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gvisor.options]
        ConfigPath = "/etc/containerd/old.toml"
    [timeouts]
      "io.containerd.timeout.task.state" = "1s"
"#;
const A: &str = r#"
    version = 2
    imports = ["../config.toml"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gvisor]
      runtime_type = "io.containerd.runsc-guard.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.gvisor.options]
        TypeUrl = "io.containerd.runsc.v1.options"
    [timeouts]
      "io.containerd.timeout.task.state" = "3s"
      "io.containerd.timeout.shim.cleanup" = "soon"
"#;

#[test]
fn imports_are_followed_and_later_files_win() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    fs::create_dir(folder.path().join("conf.d")).unwrap();
    fs::write(&main, V2).unwrap();
    fs::write(folder.path().join("conf.d/a.toml"), A).unwrap();
    let settings = Settings::load(&main, None).unwrap();
    assert_eq!((settings.version, settings.handlers.len()), (2, 1));
    let handler = &settings.handlers[0];
    assert!(handler.guarded && handler.name == "gvisor" && handler.table == Table::GrpcCri);
    assert_eq!(handler.config_path.as_deref(), Some(Path::new("/etc/containerd/old.toml")));
    assert_eq!(handler.type_url.as_deref(), Some("io.containerd.runsc.v1.options"));
    let default = Duration::from_secs(9);
    let timeout = |key: &str| settings.timeout(&format!("io.containerd.timeout.{key}"), default);
    assert_eq!(timeout("task.state"), Ok(Duration::from_secs(3)));
    assert_eq!(timeout("shim.shutdown"), Ok(default));
    assert_eq!(timeout("shim.cleanup"), Err("soon".to_owned()));
}

#[test]
fn handlers_of_all_generations_are_found_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let text = |plugin: &str, more: &str| {
        format!("version = 3\n[plugins.\"{plugin}\".containerd.runtimes.h]\n{more}")
    };
    let handlers = |plugin: &str, more: &str| {
        fs::write(&main, text(plugin, more)).unwrap();
        Settings::load(&main, None).unwrap().handlers
    };
    for table in [Table::Cri, Table::GrpcCri, Table::CriRuntime] {
        let found = handlers(table.plugin(), "runtime_type = \"io.containerd.runsc-guard.v2\"");
        assert_eq!((found.len(), found[0].table), (1, table));
    }
    let by_path = handlers("cri", "runtime_path = \"/opt/containerd-shim-runsc-guard-v2\"");
    assert!(by_path[0].guarded && by_path[0].shim_path.is_some());
    let typed = handlers("cri", "runtime_type = \"/opt/containerd-shim-runsc-v1\"");
    assert!(!typed[0].guarded && typed[0].shim_path.is_some());
    assert!(handlers("cri", "runtime_type = \"io.containerd.runc.v2\"").is_empty());
}

#[test]
fn what_containerd_would_refuse_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let error = || Settings::load(&main, None).unwrap_err().to_string();
    assert!(error().contains("config.toml: "), "{}", error());
    fs::write(&main, "version = 3\n[timeouts\n").unwrap();
    assert!(error().contains("line 2"), "{}", error());
    fs::write(&main, "version = 3\nimports = [\"missing.toml\"]\n").unwrap();
    assert!(error().contains("missing.toml"), "{}", error());
}

#[test]
fn containerd_1_forgets_what_an_imported_table_does_not_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let handler = |name: &str| {
        format!(
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}]\n  runtime_type = \"io.containerd.runsc-guard.v2\"\n"
        )
    };
    fs::write(&main, format!("version = 2\nimports = [\"b.toml\"]\n{}{}", handler("one"), handler("two")))
        .unwrap();
    fs::write(folder.path().join("b.toml"), format!("version = 2\n{}", handler("two"))).unwrap();
    let names = |major| {
        let settings = Settings::load(&main, Some(major)).unwrap();
        let lost: Vec<_> =
            settings.lost.iter().map(|(one, by)| (one.name.clone(), one.line, by.clone())).collect();
        (settings.handlers.iter().map(|one| one.name.clone()).collect::<Vec<_>>(), lost)
    };
    assert_eq!(names(2), (vec!["one".to_owned(), "two".to_owned()], vec![]));
    assert_eq!(names(1), (vec!["two".to_owned()], vec![("one".to_owned(), 3, folder.path().join("b.toml"))]));
    fs::write(
        folder.path().join("b.toml"),
        "version = 2\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true\n",
    )
    .unwrap();
    assert_eq!(names(1).0, ["one", "two"], "another plugin's table is not CRI's");
}

#[test]
fn each_thing_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("config.toml");
    let text = "version = 2\n\ndisabled_plugins = [\n  \"io.containerd.snapshotter.v1.zfs\",\n  \"cri\",\n]\n[timeouts]\n\
                \"io.containerd.timeout.task.state\" = \"+2s\"\n\n[plugins.cri.containerd.runtimes.h]\nruntime_type = \"io.containerd.runsc.v1\"\n";
    fs::write(&main, text).unwrap();
    let settings = Settings::load(&main, None).unwrap();
    let line = |place: &Place| place.line;
    assert_eq!(settings.has_no_cri().map(line), Some(5));
    assert_eq!(line(&settings.timeouts["io.containerd.timeout.task.state"].1), 8);
    assert_eq!(
        settings.timeout("io.containerd.timeout.task.state", Duration::ZERO),
        Ok(Duration::from_secs(2))
    );
    assert_eq!(settings.handlers[0].place().to_string(), format!("{}:10", main.display()));
}
