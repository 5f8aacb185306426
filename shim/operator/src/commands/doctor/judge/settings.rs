//! What containerd is told of handlers: whether it reads it, whether its program makes the same of it, and whether the one
//! that runs has it in memory. Where a node has Docker only, what Docker is told.

use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::containerd::docker::{self, Docker};
use crate::containerd::files::{self, GUARDS_TYPE, Handler, Settings, Table};

const ABOUT: &str = "handlers";
const PRINTS: &str = "runsc-guard doctor --fix prints what is missing";

pub(super) fn settings(facts: &Facts) -> Vec<Finding> {
    let file = facts.settings_file.display();
    let settings = match &facts.settings {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let what = format!("no {file}: containerd has its defaults, and no handler of gVisor's");
            let remedy = format!("runsc-guard doctor --fix prints what {file} needs");
            return vec![Finding::fail(ABOUT, what, remedy)];
        }
        Err(why) => {
            return vec![Finding::fail(ABOUT, why, "mend the file, or name another: --containerd-config")];
        }
    };
    if let Some(Err(why)) = &facts.merged {
        let what =
            format!("containerd does not take {}, and would not start with it: {why}", names(settings));
        return vec![Finding::fail(ABOUT, what, "mend it; `containerd config dump` must print it")];
    }
    match (&facts.docker, settings.has_no_cri()) {
        (Some(docker), _) => dockers(docker.as_ref()),
        (None, Some(place)) => {
            let what = format!(
                "{place}: disabled_plugins switches CRI off, and Docker is not there: no pod runs here"
            );
            vec![Finding::fail(
                ABOUT,
                what,
                format!("take CRI out of disabled_plugins in {place}, then {}", facts.restart),
            )]
        }
        (None, None) => pods(facts, settings),
    }
}

/// Handlers that pods name.
fn pods(facts: &Facts, settings: &Settings) -> Vec<Finding> {
    let major = facts.containerd.major();
    let mut findings: Vec<Finding> =
        settings.handlers.iter().filter(|one| !one.is_read(major)).map(misplaced).collect();
    findings.extend(settings.lost.iter().map(|(one, by)| {
        let what = format!(
            "{}: containerd 1 forgets {}, since {} brings a whole [plugins.\"{}\"], which it puts in place of this one",
            one.place(),
            one.name,
            by.display(),
            one.table.plugin()
        );
        Finding::fail(ABOUT, what, format!("one file for all of that table, or containerd 2: move {} to {}", one.name, by.display()))
    }));
    if let Some(Err(why)) = &facts.memory {
        let remedy =
            format!("mend what containerd's log says of io.containerd.grpc.v1.cri, then {}", facts.restart);
        findings.push(Finding::fail(ABOUT, format!("CRI does not say which handlers it has: {why}"), remedy));
    }
    let read = || settings.handlers.iter().filter(|one| one.is_read(major));
    if !read().any(|one| one.guarded) {
        let what = format!("no handler with the guard in {}: no pod is guarded", names(settings));
        findings.push(Finding::fail(ABOUT, what, PRINTS));
    }
    findings.extend(read().filter(|one| one.guarded).filter_map(|one| unknown(facts, one)));
    for one in read().filter(|one| !one.guarded) {
        let what =
            format!("{} is gVisor's shim without the guard: its pods can hang in Terminating", one.name);
        let path = if one.shim_path.is_some() { " without a runtime_path, which would win," } else { "" };
        let remedy = format!(
            "runtime_type = \"{GUARDS_TYPE}\"{path} in {}, then {}; pods that run keep what they have",
            facts.place(&one.file, one.version),
            facts.restart
        );
        findings.push(Finding::warn(ABOUT, what, remedy));
    }
    findings
}

/// One that stands in a file, and that containerd does not make of its files, or does not have.
fn unknown(facts: &Facts, one: &Handler) -> Option<Finding> {
    let (place, name, restart) = (one.place(), &one.name, &facts.restart);
    if let Some(Ok(merged)) = &facts.merged
        && !merged.handlers().contains_key(name)
    {
        let what = format!(
            "{place}: {name} stands there, and containerd makes nothing of it when it reads its files"
        );
        return Some(Finding::fail(
            ABOUT,
            what,
            "`containerd config dump` prints what it reads: is another file's table in its place?",
        ));
    }
    let memory = facts.memory.as_ref()?.as_ref().ok()?;
    let options = |path: &str| one.config_path.as_deref().is_none_or(|own| own == std::path::Path::new(path));
    let what = match memory.get(name) {
        Some(has) if has.options.as_ref().is_none_or(|has| options(&has.config_path)) => return None,
        Some(_) => format!(
            "{place}: the running containerd still has another ConfigPath for {name}: it was started before"
        ),
        None => format!(
            "{place}: the running containerd does not know {name}: it was started before; its pods do not start"
        ),
    };
    Some(Finding::fail(ABOUT, what, format!("{restart}; pods live on")))
}

/// Runtimes of Docker's, where there are no pods.
fn dockers(docker: Result<&Docker, &String>) -> Vec<Finding> {
    let file = docker::USUAL;
    let docker = match docker {
        Ok(docker) => docker,
        Err(why) => return vec![Finding::fail(ABOUT, why, "mend it: Docker does not start with it")],
    };
    let mut findings =
        vec![Finding::ok(ABOUT, "CRI is switched off, and Docker is there: no pods, its containers only")];
    if !docker.handlers.iter().any(|one| one.guarded) {
        let what = format!("{file} has no runtime with the guard");
        let remedy = format!(
            "docker run --runtime {GUARDS_TYPE} works all the same, with every key at its default; or \"runtimes\": \
             {{\"runsc-guard\": {{\"runtimeType\": \"{GUARDS_TYPE}\"}}}} in it, then systemctl restart docker"
        );
        findings.push(Finding::warn(ABOUT, what, remedy));
    }
    let plain = docker
        .handlers
        .iter()
        .filter(|one| !one.guarded)
        .map(|one| (&one.name, "gVisor's shim without the guard"));
    let wrapped = docker.wrapped.iter().map(|name| (name, "runsc under runc's shim, without the guard"));
    for (name, what) in plain.chain(wrapped) {
        let remedy = format!(
            "\"runtimeType\": \"{GUARDS_TYPE}\" for {name} in {file}, instead of a path; then systemctl restart docker"
        );
        findings.push(Finding::warn(ABOUT, format!("{name} is {what}: its containers can hang"), remedy));
    }
    findings
}

fn misplaced(one: &Handler) -> Finding {
    let right = Table::of_version(one.version.max(2));
    let what = format!(
        "{}: {} stands in [plugins.\"{}\"], which containerd does not read in a file of version {}",
        one.place(),
        one.name,
        one.table.plugin(),
        one.version
    );
    let remedy = if one.version < 2 {
        format!("{} in {}", files::RAISE, one.file.display())
    } else {
        format!("move it to [plugins.\"{}\".containerd.runtimes.{}]", right.plugin(), files::key(&one.name))
    };
    Finding::fail(ABOUT, what, remedy)
}

fn names(settings: &Settings) -> String {
    let files: Vec<String> = settings.files.iter().map(|file| file.display().to_string()).collect();
    files.join(", ")
}
