//! `install` and `uninstall`: the guard onto a node, and off it.
//!
//! ```text
//! node (containerd, its configuration as it reads it) --> plan (text in, text out; tried out) --> hand
//! ```
//!
//! Nothing is remembered between runs. What there is to do follows from what is there: files by their content,
//! blocks by their marks, a missing restart by what containerd has in memory. So a run that was killed is finished by
//! the next one, and one that finds all as it should be does nothing. Every refusal comes before the first change.
//!
//! In a container, the node's root is this process's own before it looks at anything (`--root`): so the node's
//! containerd, which may need its libraries, can be run. A restart by systemd needs nothing but systemd's socket.
//! Entering the namespaces of process 1 instead, as others do, would need the right to do anything.

use std::collections::{BTreeMap, BTreeSet};
use std::env::split_paths;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{AccessFlags, access, geteuid};
use runsc_guard_node::lock::Lock;
use runsc_guard_node::paths::Base;

use crate::args::{Install, Node, Uninstall};
use crate::commands::doctor;
use crate::containerd::dump;
use crate::containerd::files::{self, GUARD, TYPE_URL, Table};
use crate::containerd::live::Handler;
use crate::host;

mod hand;
mod living;
mod node;
mod plan;
mod programs;
mod running;
mod site;
mod text;
mod trial;
mod wedged;

use hand::{Hand, Kind, ensure_replaceable};
use living::needed;
use node::{Containerd, Overdue};
use plan::{Change, Plan, Settings};
use programs::Programs;
use site::Site;

/// Another run takes a minute or two where containerd comes up slowly.
const OTHER_RUN: Duration = Duration::from_secs(180);
/// Looking at what belongs to a handler.
const LOOKS: Duration = Duration::from_secs(10);

/// Puts the guard onto the node.
pub(crate) fn install(root: &Path, args: &Install) -> Result<ExitCode> {
    let programs = Programs::beside_this_one()?;
    host::enter_root(root)?;
    let (hand, _lock) = begin(&args.node)?;
    let site = Site::of(&args.node);
    let containerd = Containerd::find(&site)?;
    let settings = Settings::read(&containerd)?;
    let config_path = settings.config_path(&containerd, &args.handler, args.runsc_config.clone());
    let plan = settings.with(&containerd, &args.handler, &config_path)?;
    check(&containerd, &site, &args.handler, &config_path)?;
    if let Plan::Ours(change) = &plan {
        ensure_replaceable(&change.path, change.content.as_deref())?;
    }
    let before = containerd.handlers()?;
    let knows = |handlers: &BTreeMap<String, Handler>| {
        handlers.get(&args.handler).is_some_and(|one| one.is_guard_with(&config_path))
    };
    if before.as_ref().is_some_and(|before| !knows(before)) {
        wedged::clear_the_way(hand, root, &site, &containerd.state_folder(&settings.dump), &config_path)?;
    }

    programs.place(hand, &site.place, &containerd.path)?;
    if fs::read_to_string(&config_path).is_ok_and(|there| there != text::RUNSC_CONFIG) {
        hand.say("gVisor", &format!("{} is its owner's: left as it is", config_path.display()));
    } else {
        hand.place("gVisor", &config_path, text::RUNSC_CONFIG.as_bytes(), Kind::Text, |_| Ok(()))?;
    }
    match &plan {
        Plan::Owners => hand.say("handler", &format!("{} is its owner's: left as it is", args.handler)),
        Plan::Ours(change) => apply(hand, "handler", change)?,
    }
    let Some(before) = before else {
        hand.say("containerd", "does not run: it will know the handler when it does");
        return Ok(ExitCode::SUCCESS);
    };
    if knows(&before) {
        hand.say("containerd", &format!("knows {}", args.handler));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(restart) = restart(hand, &site) else { return Ok(ExitCode::SUCCESS) };
    let Err(error) = containerd.restart(restart, knows) else {
        hand.say("containerd", &format!("restarted, knows {}", args.handler));
        return Ok(ExitCode::SUCCESS);
    };
    if plan == Plan::Owners || error.is::<Overdue>() {
        return Err(error);
    }
    // It has read what it is told now and is not well with it, however good it looked.
    hand.say("containerd", &format!("{error:#}; taking the handler out again"));
    if let Some((change, _)) = Settings::read(&containerd)?.without(&containerd)? {
        apply(hand, "handler", &change)?;
    }
    let back = containerd.restart(restart, |handlers| !knows(handlers));
    back.context("containerd is not well without the handler either")?;
    Err(error.context("containerd was restarted without the handler again"))
}

/// Takes it away.
pub(crate) fn uninstall(root: &Path, args: &Uninstall) -> Result<ExitCode> {
    if args.check {
        ensure!(geteuid().is_root(), "must be run as root");
        let site = Site::of(&args.node);
        let state = site.found.containerd.process.as_ref().and_then(node::state);
        let state = state.unwrap_or_else(|| dump::STATE.into());
        return ensure_unneeded(&state, &site.place.guard()).map(|()| ExitCode::SUCCESS);
    }
    let (hand, _lock) = begin(&args.node)?;
    let site = Site::of(&args.node);
    let guard = site.place.guard();
    let containerd = Containerd::find(&site)?;
    let settings = Settings::read(&containerd)?;
    let state = containerd.state_folder(&settings.dump);
    let unneeded = || if args.force { Ok(()) } else { ensure_unneeded(&state, &guard) };
    unneeded()?;
    let change = settings.without(&containerd)?;
    if let Some((change, _)) = &change {
        ensure_replaceable(&change.path, change.content.as_deref())?;
    }
    let after = change.as_ref().map_or(&settings.dump, |(_, after)| after);
    let stay: Vec<String> = after.guarded().into_keys().collect();
    let is_stale = |name: &String, one: &Handler| one.is_guard() && !stay.contains(name);
    let before = containerd.handlers()?.unwrap_or_default();
    let stale: Vec<_> = before.iter().filter(|(name, one)| is_stale(name, one)).collect();
    let of_stale = stale.iter().filter_map(|(_, one)| one.config_path()).map(Path::to_owned);
    let mut config_paths: BTreeSet<PathBuf> = settings.dump.guarded().into_values().chain(of_stale).collect();
    config_paths.insert(containerd.distribution.runsc_config().into());
    if let (false, Some(guards)) = (stale.is_empty(), config_paths.first()) {
        wedged::clear_the_way(hand, root, &site, &state, guards)?;
    }
    if let Some((change, _)) = &change {
        apply(hand, "handler", change)?;
    }
    if !stale.is_empty() {
        match restart(hand, &site) {
            Some(command) => {
                containerd.restart(command, |now| !now.iter().any(|(name, one)| is_stale(name, one)))?;
                hand.say("containerd", "restarted, does not know the handler any more");
            }
            None if hand.dry_run => {}
            None => bail!("the programs stay until containerd has been restarted; then run this again"),
        }
    }
    ensure!(
        stay.is_empty(),
        "the programs stay: containerd has the handler {} by somebody else",
        stay.join(", ")
    );
    unneeded().context("the programs stay")?;
    // Not before: as long as containerd has a handler that names it, no pod starts without it.
    for path in config_paths {
        match fs::read_to_string(&path) {
            Ok(text) if text == text::RUNSC_CONFIG && !after.relies_on(&path) => {
                hand.remove("gVisor", &path)?
            }
            Ok(_) => hand.say("gVisor", &format!("{} is its owner's: left as it is", path.display())),
            Err(_) => {}
        }
    }
    site.place.clear(hand)?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing of this node needs the guard's program: neither what containerd, with its bundles below `state`, has not
/// cleaned up after, nor a process that runs it.
fn ensure_unneeded(state: &Path, guard: &Path) -> Result<()> {
    let needed = needed(state, guard).context("whether a guard runs cannot be seen")?;
    ensure!(
        needed.is_empty(),
        "guarded pods are there: containerd needs {} to clean up after\n  {}",
        guard.display(),
        needed.join("\n  ")
    );
    Ok(())
}

/// Keeps others of its kind out.
fn begin(node: &Node) -> Result<(Hand, Lock)> {
    ensure!(geteuid().is_root(), "must be run as root");
    let lock = Lock::take(&Base::default().runtime.join("install.lock"), Instant::now() + OTHER_RUN)?;
    Ok((Hand { dry_run: node.dry_run }, lock))
}

/// Whether sandboxes would work here with this handler, as `doctor` judges it, and containerd would find the guard.
fn check(containerd: &Containerd, site: &Site, handler: &str, config_path: &Path) -> Result<()> {
    let folder = &site.place.folder;
    if !site.place.is_anothers {
        ensure_writable(folder, &containerd.path)?;
    }
    let real = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
    let is_it = |one: &PathBuf| fs::canonicalize(one).is_ok_and(|one| one == real);
    match split_paths(&containerd.path).find(|one| is_it(one) || one.join(GUARD).is_file()) {
        Some(first) if is_it(&first) => {}
        Some(other) => {
            bail!("containerd would take the {GUARD} in {}: remove it, or --bin-dir", other.display())
        }
        None => bail!(
            "containerd does not look into {}: --bin-dir must be one of {}",
            folder.display(),
            containerd.path.display()
        ),
    }
    let into = config_path.parent().unwrap_or(config_path);
    ensure!(
        into.is_dir(),
        "there is no folder {0}: mkdir -p {0}, or --runsc-config; nothing was changed",
        into.display()
    );
    let defined = files::Handler {
        name: handler.to_owned(),
        file: containerd.config.clone(),
        line: 0,
        version: 2,
        table: Table::of_version(2),
        guarded: true,
        shim_path: None,
        type_url: Some(TYPE_URL.to_owned()),
        config_path: Some(config_path.to_owned()).filter(|path| path.exists()),
    };
    let mut looked = doctor::look_at_handler(defined, &containerd.path, Instant::now() + LOOKS);
    // It is about to be there; and here the node's disks may be read-only.
    (looked.guard, looked.reports) = (Ok(folder.join(GUARD)), Ok(()));
    let unfit = doctor::unfit(&looked, &doctor::look_at_kernel());
    let line =
        |one: &doctor::Finding| format!("\n  {}: {}", one.what, one.remedy.as_deref().unwrap_or_default());
    let lines: String = unfit.iter().map(line).collect();
    ensure!(unfit.is_empty(), "this node is not fit for it:{lines}");
    Ok(())
}

fn apply(hand: Hand, about: &str, change: &Change) -> Result<()> {
    match &change.content {
        Some(content) => {
            if let Some(folder) = change.path.parent().filter(|folder| !hand.dry_run && !folder.is_dir()) {
                fs::create_dir(folder).with_context(|| folder.display().to_string())?;
            }
            hand.place(about, &change.path, content.as_bytes(), Kind::Text, |_| Ok(()))
        }
        None => {
            hand.remove(about, &change.path)?;
            // k3s' folder, which `install` has made; one that holds anything else stays.
            let made = change.path.parent().filter(|folder| folder.to_string_lossy().ends_with(".toml.d"));
            drop(made.filter(|_| !hand.dry_run).map(fs::remove_dir));
            Ok(())
        }
    }
}

/// Before anything is changed: on some systems the usual folder is part of the system's image.
fn ensure_writable(folder: &Path, path: &OsStr) -> Result<()> {
    let writable = access(folder, AccessFlags::W_OK);
    writable.with_context(|| {
        let there = folder.display();
        format!(
            "{there} cannot be written, so the guard does not go there: name another folder that is on containerd's PATH \
             ({}) by --bin-dir (in the chart node.binDir); nothing was changed",
            path.display()
        )
    })
}

/// The command that restarts containerd, if it is to be run.
fn restart(hand: Hand, site: &Site) -> Option<&str> {
    if site.restarts && !hand.dry_run {
        return Some(&site.restart);
    }
    let to_do = if site.restarts { "would be restarted" } else { "must be restarted" };
    hand.say("containerd", &format!("{to_do}, pods live on: {}", site.restart));
    None
}
