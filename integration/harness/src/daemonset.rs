//! The DaemonSet of hack/kubernetes, one container at a time, as a kubelet would run it: its mounts, its root file
//! system, its capabilities and its command line, all read from the plain manifests. Only places that here are
//! others (and the service manager) are put in.

use crate::checkout;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// The DaemonSet.
#[derive(Debug)]
pub struct DaemonSet {
    spec: Value,
    image: PathBuf,
}

impl DaemonSet {
    /// Reads the manifests; `places` are pairs of what stands there and what it is here. `image` is the folder with
    /// the image's files.
    pub fn read(image: &Path, places: &[(&str, &str)]) -> Result<Self> {
        let file = checkout().join("hack/kubernetes/runsc-guard.yaml");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let documents = serde_yaml_ng::Deserializer::from_str(&text)
            .map(|document| Ok(serde::Deserialize::deserialize(document)?))
            .collect::<Result<Vec<Value>>>()?;
        let set = documents.iter().find(|one| one["kind"] == "DaemonSet").context("no DaemonSet")?;
        let mut spec = set["spec"]["template"]["spec"].to_string();
        for (there, here) in places {
            spec = spec.replace(there, here);
        }
        Ok(Self { spec: serde_json::from_str(&spec)?, image: image.to_owned() })
    }

    /// The command of one of its containers; with `args`, these instead of its own. `root` is an empty folder.
    pub fn container(&self, name: &str, args: Option<&[&str]>, root: &Path) -> Result<Command> {
        let containers = ["initContainers", "containers"].iter().flat_map(|kind| list(&self.spec[kind]));
        let container = containers.into_iter().find(|one| one["name"] == name);
        let container = container.with_context(|| format!("no container {name}"))?;
        let at = |path: &str| format!("{}{path}", root.display());
        let mut script = format!(
            "set -e\nmount -t tmpfs tmpfs {0}\ncp {1}/* {0}/\nmkdir {0}/proc\nmount --rbind /proc {0}/proc\n",
            root.display(),
            self.image.display()
        );
        let mut mounts: Vec<&Value> = list(&container["volumeMounts"]).collect();
        mounts.sort_by_key(|mount| text(&mount["mountPath"]).len());
        for mount in mounts {
            let volume = list(&self.spec["volumes"]).find(|volume| volume["name"] == mount["name"]);
            let source = &volume.context("no such volume")?["hostPath"];
            let (from, to) = (text(&source["path"]), at(text(&mount["mountPath"])));
            if source["type"] == "DirectoryOrCreate" {
                std::fs::create_dir_all(from)?;
            }
            // The node's root is the one that is not there yet.
            writeln!(script, "mkdir -p {to}\nmount --rbind {from} {to}")?;
            if mount["readOnly"] == true {
                writeln!(script, "mount -o remount,bind,ro {to}")?;
            }
        }
        let security = &container["securityContext"];
        if security["readOnlyRootFilesystem"] == true {
            writeln!(script, "mount -o remount,ro {}", root.display())?;
        }
        let added =
            list(&security["capabilities"]["add"]).map(|one| format!(",+{}", text(one).to_lowercase()));
        let added: String = added.collect();
        writeln!(
            script,
            "exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --no-new-privs --bounding-set=-all{added} chroot {} \"$@\"",
            root.display()
        )?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]);
        command.args(list(&container["command"]).map(text));
        match args {
            Some(args) => command.args(args),
            None => command.args(list(&container["args"]).map(text)),
        };
        Ok(command)
    }

    /// The same for the other mode of the chart, which differs by its name and by what only `install` takes.
    pub fn uninstalling(mut self) -> Self {
        for container in self.spec["initContainers"].as_array_mut().into_iter().flatten() {
            container["name"] = "uninstall".into();
            let args = container["args"].as_array_mut().into_iter().flatten();
            let args = args
                .filter(|arg| !text(arg).starts_with("--handler="))
                .map(|arg| if *arg == "install" { Value::from("uninstall") } else { arg.clone() });
            container["args"] = args.collect();
        }
        self
    }
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
