use super::*;

fn signs(line: &str, exe: &str) -> Signs {
    Signs {
        argv: line.split(' ').map(OsString::from).collect(),
        exe: exe.into(),
        path: "/usr/local/sbin:/usr/local/bin:/usr/bin".into(),
        ..Signs::default()
    }
}

#[test]
fn each_distribution_is_known_by_what_runs() {
    let k3s = "containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml";
    let rke2 = "containerd -c /var/lib/rancher/rke2/agent/etc/containerd/config.toml -a /run/k3s/containerd/containerd.sock \
                --state /run/k3s/containerd --root /var/lib/rancher/rke2/agent/containerd";
    let k0s = "/var/lib/k0s/bin/containerd --root=/var/lib/k0s/containerd --state=/run/k0s/containerd \
               --address=/run/k0s/containerd.sock --log-level=info --config=/etc/k0s/containerd.toml";
    let snap = "/snap/microk8s/6641/bin/containerd --config /var/snap/microk8s/6641/args/containerd.toml";
    let old_kops = "/usr/bin/containerd -c /etc/containerd/config-kops.toml --log-level=info";
    let talos = "/bin/containerd --address /run/containerd/containerd.sock --config /etc/cri/containerd.toml";
    let docker = "containerd --config /var/run/docker/containerd/containerd.toml";
    for (line, expected) in [
        (k3s, Distribution::K3s),
        (
            "containerd -c /mnt/agent/etc/containerd/config.toml -a /run/k3s/containerd/containerd.sock",
            Distribution::K3s,
        ),
        (rke2, Distribution::Rke2),
        (k0s, Distribution::K0s),
        (snap, Distribution::Microk8s),
        (old_kops, Distribution::Kops),
        (talos, Distribution::Talos),
        (docker, Distribution::Docker),
        ("/usr/bin/containerd", Distribution::Containerd),
    ] {
        assert_eq!(Distribution::of(&signs(line, "/usr/bin/containerd"), |_| false), expected, "{line}");
    }
    let usual = || signs("/usr/bin/containerd", "/usr/bin/containerd");
    let gardener = Signs { path: "/var/bin/containerruntimes:/usr/bin".into(), ..usual() };
    assert_eq!(Distribution::of(&gardener, |_| false), Distribution::Gardener);
    assert_eq!(Distribution::of(&usual(), |path| path == Path::new("/opt/kops")), Distribution::Kops);
    let own_data = Signs {
        unit: Some("rke2-agent".into()),
        ..signs("containerd -c /mnt/c.toml -a /run/k3s/containerd/containerd.sock", "/mnt/bin/containerd")
    };
    assert_eq!(Distribution::of(&own_data, |_| false), Distribution::Rke2);
}

#[test]
fn a_restart_is_told_in_the_distributions_own_words() {
    let restart = |of: Distribution, unit| of.restart(unit, |_| false);
    assert_eq!(restart(Distribution::K3s, Some("k3s-agent")), "systemctl restart k3s-agent");
    assert_eq!(
        restart(Distribution::K3s, Some("actions.runner")),
        "systemctl restart k3s",
        "never what it happens to be in"
    );
    let has = |of: Distribution, unit: &str| of.restart(None, |path| path == Path::new(unit));
    assert_eq!(
        has(Distribution::Rke2, "/etc/systemd/system/rke2-agent.service"),
        "systemctl restart rke2-agent"
    );
    assert_eq!(
        has(Distribution::K0s, "/etc/systemd/system/k0scontroller.service"),
        "systemctl restart k0scontroller"
    );
    assert_eq!(restart(Distribution::Microk8s, None), "snap restart microk8s.daemon-containerd");
    assert_eq!(restart(Distribution::Gardener, Some("ssh")), "systemctl restart containerd");
}

#[test]
fn what_is_rendered_is_not_the_place() {
    let place = |of: Distribution, text, version| of.place(of.config(), text, version);
    let template = |path: &str, base| Place::Template { file: path.into(), base };
    let base = Some("{{ template \"base\" . }}\n");
    let rancher = "/var/lib/rancher/k3s/agent/etc/containerd";
    assert_eq!(place(Distribution::K3s, "", 3), template(&format!("{rancher}/config-v3.toml.tmpl"), base));
    assert_eq!(place(Distribution::K3s, "", 2), template(&format!("{rancher}/config.toml.tmpl"), base));
    let snap = "/var/snap/microk8s/current/args/containerd-template.toml";
    assert_eq!(place(Distribution::Microk8s, "", 2), template(snap, None));
    let managed = "# k0s_managed=true\n# This ...\n";
    assert_eq!(place(Distribution::K0s, managed, 2), Place::Folder("/etc/k0s/containerd.d".into()));
    assert_eq!(place(Distribution::K0s, "version = 2\n", 2), Place::Itself, "its owner's");
    assert!(matches!(place(Distribution::Kops, "", 4), Place::Elsewhere(_)));
    assert_eq!(place(Distribution::Gardener, "", 3), Place::Itself);
}
