//! runsc: whether it is there, which version, and which hangs that version is known for.

use std::collections::BTreeSet;
use std::path::Path;

use crate::commands::doctor::facts::{Facts, Parts};
use crate::commands::doctor::finding::Finding;
use crate::gvisor::{Built, packaged};
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
        Err(_) if !parts.trusted => return vec![untrusted(parts, &path.to_string())],
        Err(why) => {
            let what = format!("{path}: {why}: no sandbox starts with it");
            return vec![Finding::fail(ABOUT, what, format!("{path} --version; install runsc anew"))];
        }
    };
    let mut findings = match (packaged::by_itself(told), &parts.built) {
        (Some(release), _) => vec![hangs(release, &format!("{path}, {release}"))],
        (None, Some(built)) => vec![dated(built, &path.to_string())],
        (None, None) => vec![Finding::warn(
            ABOUT,
            format!(
                "{path} does not tell its release ({:?}), nor does its package: which hangs it has is not known",
                packaged::word(told)
            ),
            "install a release of gVisor: https://gvisor.dev/docs/user_guide/install",
        )],
    };
    findings.extend(parts.missing.as_deref().map(incomplete));
    findings
}

/// What anybody but root may have put there is not run.
fn untrusted(parts: &Parts, path: &str) -> Finding {
    let told = parts.built.as_ref().map(|built| format!("; it is of {} by {}", built.release, built.by));
    Finding::warn(
        ABOUT,
        format!(
            "{path} or a folder above it can be replaced by others than root, who could run what they like as root{}; \
             it was not run to ask for its version",
            told.unwrap_or_default()
        ),
        format!("chown root and chmod go-w {path} and the folders above it"),
    )
}

fn dated(built: &Built, path: &str) -> Finding {
    hangs(built.release, &format!("{path}, {} by {}", built.release, built.by))
}

fn incomplete(missing: &Path) -> Finding {
    let what = format!(
        "{} is missing: this runsc falls back to slower copies of its own, which later releases no longer have",
        missing.display()
    );
    Finding::warn(ABOUT, what, "unpack all of gVisor's release tarball beside runsc, gvisor-bin/ included")
}

fn hangs(release: Release, about: &str) -> Finding {
    let age = if release.is_unknown() {
        format!("; the table was read {}, yours is newer", known::read())
    } else {
        String::new()
    };
    let (open, mended): (Vec<&Hang>, Vec<&Hang>) =
        known::unfixed_in(release).partition(|hang| hang.is_open());
    let names = open.iter().map(|hang| hang.id.as_str()).collect::<Vec<_>>().join(", ");
    if mended.is_empty() {
        return Finding::ok(
            ABOUT,
            format!("{about}, no hang that a newer one mends (open upstream: {names}{age})"),
        );
    }
    let what = format!(
        "{about}, is known to hang in {} ways that are mended upstream{age}; the guard ends such pods",
        mended.len()
    );
    let unreleased = mended.iter().any(|hang| hang.fixed.is_none());
    let remedy = match mended.iter().filter_map(|hang| hang.fixed).max() {
        Some(fixed) if unreleased => {
            format!("install {fixed} or, better, the newest: the more of those below are fixed")
        }
        Some(fixed) => format!("install {fixed} or later"),
        None => format!(
            "none was released yet in {} that mends them: look for a newer one, and guard every gVisor handler",
            known::read()
        ),
    };
    Finding { hangs: mended, ..Finding::warn(ABOUT, what, remedy) }
}
