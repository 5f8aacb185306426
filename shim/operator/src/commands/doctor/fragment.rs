//! `--fix`: what containerd's configuration and the file that ConfigPath names need, to be put there by a person.
//! Pure; nothing is written.

use std::path::Path;

use super::facts::Facts;
use crate::containerd::distribution::Distribution;
use crate::containerd::docker;
use crate::containerd::files::{self, GUARDS_TYPE, TYPE_URL, Table};

/// The handler's name where there is none yet.
const NAME: &str = "runsc-guard";
/// Where Talos puts files for its CRI containerd; what is there is joined in order of name.
const TALOS: &str = "/etc/cri/conf.d";

/// Both files.
pub(crate) fn fragment(facts: &Facts) -> String {
    if facts.docker.is_some() {
        return dockers();
    }
    let is_talos = facts.distribution == Distribution::Talos || facts.settings_file.starts_with("/etc/cri");
    let (settings_file, usual) = if is_talos {
        (
            Path::new(TALOS).join("20-customization.part").display().to_string(),
            Path::new(TALOS).join("runsc-guard.toml"),
        )
    } else {
        (facts.place(&facts.settings_file, version(facts)), facts.distribution.runsc_config().to_owned())
    };
    let present = facts.handlers.iter().map(|one| &one.defined);
    // The file that gVisor's handler has already holds its flags, too.
    let guarded = present.clone().find(|one| one.guarded);
    let own = guarded.or_else(|| present.clone().next());
    let config_file = own.and_then(|one| one.config_path.clone()).unwrap_or(usual);
    let handler = match guarded {
        Some(one) if one.is_read(facts.containerd.major()) => {
            format!("# {}: {} has the guard, nothing to add.\n", one.place(), one.name)
        }
        other => containerds(facts, &settings_file, other.map_or(NAME, |one| &one.name), &config_file),
    };
    handler + "\n" + &guards(facts, &config_file)
}

/// Where there are no pods, but Docker.
fn dockers() -> String {
    let config = Distribution::Docker.runsc_config().display();
    format!(
        "# {}: add this, then systemctl restart docker.\n{{\n  \"runtimes\": {{\n    \"{NAME}\": {{\n      \"runtimeType\": \
         \"{GUARDS_TYPE}\",\n      \"options\": {{\n        \"TypeUrl\": \"{TYPE_URL}\",\n        \"ConfigPath\": \
         \"{config}\"\n      }}\n    }}\n  }}\n}}\n\n# {config}: every key of [guard] has a default.\n[guard]\n",
        docker::USUAL
    )
}

fn containerds(facts: &Facts, file: &str, name: &str, config_file: &Path) -> String {
    let version = version(facts);
    let settings = facts.settings.as_ref().ok().and_then(Option::as_ref);
    let mut head = match settings {
        None => format!("version = {version}\n"),
        Some(settings) if settings.version < 2 => format!("# First, {}.\n", files::RAISE),
        Some(_) => String::new(),
    };
    if version < 3 && facts.containerd.major() != Some(2) && !settings.is_some_and(|one| one.names_handlers) {
        // containerd 1 forgets its own handler as soon as a file names one, and CRI does not load without it.
        head += "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  runtime_type = \
                 \"io.containerd.runc.v2\"\n";
    }
    let tables = handler_tables(version, name, config_file);
    format!("# {file}: add this, then restart containerd (pods live on): {}\n{head}{tables}", facts.restart)
}

/// The tables that make the handler known to containerd, in a file of this version.
pub(crate) fn handler_tables(version: u32, name: &str, config_file: &Path) -> String {
    let handler = format!(
        "[plugins.\"{}\".containerd.runtimes.{}",
        Table::of_version(version).plugin(),
        files::key(name)
    );
    format!(
        "{handler}]\n  runtime_type = \"{GUARDS_TYPE}\"\n{handler}.options]\n  TypeUrl = \"{TYPE_URL}\"\n  ConfigPath = \
         {:?}\n",
        config_file.display().to_string(),
    )
}

/// That of the file that is there; else the newest that the running containerd takes.
fn version(facts: &Facts) -> u32 {
    match (&facts.settings, facts.containerd.major()) {
        (Ok(Some(settings)), _) => settings.version.max(2),
        (_, Some(1)) => 2,
        _ => 3,
    }
}

fn guards(facts: &Facts, file: &Path) -> String {
    let parts = facts.handlers.iter().map(|one| &one.parts).chain(&facts.unconfigured);
    let missing = parts.into_iter().any(|parts| parts.shim.is_err());
    let shim = if missing {
        "shim = \"/path/to/containerd-shim-runsc-v1\"   # not on containerd's PATH\n"
    } else {
        ""
    };
    format!(
        "# {}: every key of [guard] has a default; the rest of the file is gVisor's.\n[guard]\n{shim}",
        file.display()
    )
}
