//! runsc: whether it is there, which version, and which hangs that version is known for.

use std::collections::BTreeSet;

use crate::commands::doctor::facts::{Facts, Parts};
use crate::commands::doctor::finding::Finding;
use crate::known::{self, Hang, Release};

const ABOUT: &str = "runsc";

/// Each runsc once, however many handlers run it.
pub(super) fn runsc(facts: &Facts) -> Vec<Finding> {
    let all = facts.handlers.iter().map(|one| &one.parts).chain(&facts.unconfigured);
    let mut seen = BTreeSet::new();
    all.filter(|parts| seen.insert(&parts.runsc)).flat_map(judge).chain(lone_shim(facts)).collect()
}

/// Where no handler speaks of it.
fn lone_shim(facts: &Facts) -> Option<Finding> {
    const ABOUT: &str = "shim";
    Some(match &facts.unconfigured.as_ref()?.shim {
        Ok(path) => Finding::ok(ABOUT, format!("gVisor's shim {}", path.display())),
        Err(why) => Finding::fail(
            ABOUT,
            format!("gVisor's shim is not found: {why}"),
            "install containerd-shim-runsc-v1 on containerd's PATH",
        ),
    })
}

fn judge(parts: &Parts) -> Vec<Finding> {
    let path = match &parts.runsc {
        Ok(path) => path.display(),
        Err(why) => {
            let remedy = "install runsc on containerd's PATH, or binary_name = \"/its/path\" in the file that \
                          ConfigPath names";
            return vec![Finding::fail(ABOUT, format!("not found: {why}"), remedy)];
        }
    };
    let told = match &parts.version {
        Ok(told) => told,
        Err(why) => {
            let what = format!("{path}: {why}: no sandbox starts with it");
            return vec![Finding::fail(ABOUT, what, format!("{path} --version; install runsc anew"))];
        }
    };
    let version =
        told.lines().find_map(|line| line.strip_prefix("runsc version ")).unwrap_or_default().trim();
    match Release::parse(version) {
        Some(release) => vec![hangs(release, &path.to_string())],
        None => vec![Finding::warn(
            ABOUT,
            format!("{path} does not tell its release ({version:?}): which hangs it has is not known"),
            "install a release of gVisor: https://gvisor.dev/docs/user_guide/install",
        )],
    }
}

fn hangs(release: Release, path: &str) -> Finding {
    let hangs: Vec<&Hang> = known::unfixed_in(release).collect();
    if hangs.is_empty() {
        return Finding::ok(ABOUT, format!("{path}, {release}, no known hang"));
    }
    let what =
        format!("{path}, {release}, is known to hang in {} ways; the guard ends such pods", hangs.len());
    let remedy = match hangs.iter().filter_map(|hang| hang.fixed).max() {
        Some(fixed) => format!("install {fixed} or later: the more of those below are fixed"),
        None => "nothing is released yet that fixes them: guard every gVisor handler".to_owned(),
    };
    Finding { hangs, ..Finding::warn(ABOUT, what, remedy) }
}
