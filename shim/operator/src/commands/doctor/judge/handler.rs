//! One runtime handler: what it names, and whether that is there.

use crate::commands::doctor::facts::{Handler, Kernel};
use crate::commands::doctor::finding::Finding;
use crate::containerd::files::TYPE_URL;
use crate::gvisor::config::Mistake;

pub(super) fn handler(one: &Handler, kernel: &Kernel) -> Vec<Finding> {
    let about = format!("handler {}", one.defined.name);
    let mut findings = Vec::new();
    if one.defined.guarded {
        findings.push(match &one.guard {
            Ok(path) => Finding::ok(&about, format!("guard {}", path.display())),
            Err(why) => Finding::fail(
                &about,
                format!("containerd does not find the guard: {why}"),
                "put containerd-shim-runsc-guard-v2 into a folder on containerd's PATH, mode 0755",
            ),
        });
        findings.push(config(&about, one));
        findings.extend(reports(&about, one));
    }
    findings.extend(one.mistakes.iter().map(|mistake| told(&about, one, mistake)));
    findings.extend(type_url(&about, one));
    findings.push(shim(&about, one));
    findings.extend(platform(&about, one, kernel));
    findings
}

fn config(about: &str, one: &Handler) -> Finding {
    match (&one.config, &one.defined.config_path) {
        (Ok(_), Some(file)) => Finding::ok(about, format!("ConfigPath {}, [guard] is valid", file.display())),
        (Ok(_), None) => Finding::ok(about, "no ConfigPath: the guard and gVisor have their defaults"),
        (Err(why), _) => Finding::fail(
            about,
            format!("no pod starts: {why}"),
            "mend that line or file (every key of [guard] has a default); living pods keep what they have",
        ),
    }
}

/// What gVisor does not read, or refuses.
fn told(about: &str, one: &Handler, mistake: &Mistake) -> Finding {
    let Mistake { line, key, what, remedy, fatal } = mistake;
    let what = format!("{}:{line}: {key}: {what}", config_file(one));
    if *fatal { Finding::fail(about, what, remedy) } else { Finding::warn(about, what, remedy) }
}

/// Where the configuration is bad, nobody knows the folder.
fn reports(about: &str, one: &Handler) -> Option<Finding> {
    let folder = one.config.as_ref().ok()?.report_dir.display();
    Some(match &one.reports {
        Ok(()) => Finding::ok(about, format!("reports go to {folder}")),
        Err(why) => Finding::fail(
            about,
            format!("reports cannot be written to {folder}: {why}"),
            format!("make it writable, or report_dir under [guard] in {}", config_file(one)),
        ),
    })
}

fn config_file(one: &Handler) -> String {
    let file = one.defined.config_path.as_ref();
    file.map_or("the file that ConfigPath names".to_owned(), |file| file.display().to_string())
}

/// Without options nothing is typed.
fn type_url(about: &str, one: &Handler) -> Option<Finding> {
    one.defined.config_path.as_ref()?;
    let url = one.defined.type_url.as_deref().unwrap_or_default();
    (url != TYPE_URL).then(|| {
        let what = format!("TypeUrl is {url:?}: gVisor's shims before 2026-05 refuse it");
        let options = format!("options of {} in {}", one.defined.name, one.defined.place());
        Finding::warn(about, what, format!("TypeUrl = \"{TYPE_URL}\" in the {options}"))
    })
}

fn shim(about: &str, one: &Handler) -> Finding {
    match &one.parts.shim {
        Ok(path) => Finding::ok(about, format!("gVisor's shim {}", path.display())),
        Err(why) => Finding::fail(
            about,
            format!("gVisor's shim is not found: {why}"),
            format!(
                "install containerd-shim-runsc-v1 on containerd's PATH, or shim = \"/its/path\" under [guard] in {}",
                config_file(one)
            ),
        ),
    }
}

fn platform(about: &str, one: &Handler, kernel: &Kernel) -> Option<Finding> {
    // One that is none is told where it stands.
    let name = one.platform.as_deref().filter(|name| ["systrap", "kvm", "ptrace"].contains(name))?;
    let file = config_file(one);
    let systrap = format!("platform = \"systrap\" under [runsc_config] in {file}");
    Some(match name {
        "kvm" if !kernel.kvm => {
            let what = "platform kvm, and there is no /dev/kvm: no sandbox starts";
            Finding::fail(about, what, format!("modprobe kvm_intel or kvm_amd; or {systrap}"))
        }
        "ptrace" => Finding::warn(about, "platform ptrace, which gVisor gives up and is slow", systrap),
        _ => Finding::ok(about, format!("platform {name}")),
    })
}
