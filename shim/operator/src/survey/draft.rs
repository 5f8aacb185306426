//! Which sandboxes there are: from runsc's files, guards' folders and what processes claim, as far as it is proved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runsc_guard_sandbox::processes::process::{Claim, Role};
use runsc_guard_sandbox::processes::proof::{Named, Standing};
use runsc_guard_sandbox::resources::spec;

use super::evidence::Evidence;
use super::guards::Known;
use super::records::Records;
use super::table::Table;
use crate::args::Scope;

/// A sandbox by name, before anything is known of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// runsc's root.
    pub(super) root: PathBuf,
    /// The sandbox's id.
    pub(super) id: String,
    /// Containers with what is known of their bundles.
    pub(super) members: BTreeMap<String, Option<PathBuf>>,
    /// Processes that are proved to be of it, by their roles.
    pub(super) proved: BTreeMap<i32, Role>,
    /// Processes of root's that say they are of it, which nothing proves.
    pub(super) claimants: BTreeMap<i32, Role>,
    /// Those whom runsc's files name.
    pub(super) named: Vec<Named>,
    /// runsc's files tell of it.
    pub(super) recorded: bool,
    /// Guards whose folders tell of it, or of another one of that id.
    pub(super) guards: Vec<Known>,
}

#[derive(Default)]
struct Drafts(BTreeMap<(PathBuf, String), Draft>);

impl Drafts {
    fn of(&mut self, root: &Path, id: &str) -> &mut Draft {
        let new = || Draft { root: root.to_owned(), id: id.to_owned(), ..Draft::default() };
        self.0.entry((root.to_owned(), id.to_owned())).or_insert_with(new)
    }
}

/// Every sandbox in scope that runsc's files, guards or processes tell of.
pub(super) fn drafts(scope: &Scope, table: &Table, guards: &[Known], records: &mut Records) -> Vec<Draft> {
    // A claim about a folder that a stranger may have made proves nothing.
    let claims: Vec<(i32, &Claim, Option<PathBuf>)> =
        table.claims().map(|(pid, claim)| (pid, claim, records.read(&claim.root))).collect();
    let mut drafts = Drafts::default();
    // Which sandbox a container is in, as runsc's files have it.
    let mut homes: BTreeMap<(&Path, &str), &str> = BTreeMap::new();
    for (root, container, sandbox) in records.containers() {
        let draft = drafts.of(root, sandbox);
        draft.recorded = true;
        draft.members.entry(container.to_owned()).or_default();
        homes.insert((root, container), sandbox);
    }
    for (root, sandbox, named) in records.named() {
        drafts.of(root, sandbox).named.push(named.clone());
    }
    for known in guards {
        let params = &known.params;
        let draft = drafts.of(&records.place(&params.runsc_root()), &params.sandbox);
        let bundle = draft.members.entry(params.container.clone()).or_default();
        *bundle = Some(params.bundle.clone());
        draft.guards.push(known.clone());
    }
    let evidence = Evidence::new(table, guards);
    for (pid, claim, trusted) in &claims {
        let root = trusted.as_ref().unwrap_or(&claim.root);
        let bundle = claim.bundle.as_deref().and_then(|bundle| records.bundle(bundle, &claim.container));
        let home = homes.get(&(root.as_path(), claim.container.as_str())).map(|home| (*home).to_owned());
        let home = home.or_else(|| unrecorded_home(claim, bundle.as_deref()));
        let Some(sandbox) = home else { continue };
        let is_proved = trusted.is_some() && {
            let named = records
                .named()
                .filter(|(at, id, _)| *at == root.as_path() && *id == sandbox)
                .map(|(.., one)| one);
            evidence.proves(*pid, claim, &sandbox, named)
        };
        if !is_proved && table.standing(*pid) != Standing::Root {
            continue;
        }
        let draft = drafts.of(root, &sandbox);
        let claimed = if is_proved { &mut draft.proved } else { &mut draft.claimants };
        claimed.insert(*pid, claim.role.clone());
        let known = draft.members.entry(claim.container.clone()).or_default();
        *known = known.take().or(bundle);
    }
    for draft in drafts.0.values_mut() {
        let silent = draft.named.iter().filter(|named| !draft.proved.contains_key(&named.pid));
        let silent: Vec<_> = silent.filter(|named| evidence.is_meant(named)).cloned().collect();
        draft.proved.extend(silent.into_iter().map(|named| (named.pid, named.role)));
    }
    let in_scope = |draft: &Draft| {
        let name = scope.namespace.as_ref();
        name.is_none_or(|name| draft.root.file_name().is_some_and(|last| last == name.as_str()))
    };
    drafts.0.into_values().filter(in_scope).collect()
}

/// The sandbox of what runsc has written nothing about: it is being created, or its files are lost. Commands
/// about something that is no container of a sandbox say nothing.
fn unrecorded_home(claim: &Claim, bundle: Option<&Path>) -> Option<String> {
    let by_bundle = || match bundle.map(spec::membership) {
        Some(Ok(spec::Membership::MemberOf(sandbox))) => sandbox,
        _ => claim.container.clone(),
    };
    match &claim.role {
        Role::Sentry => Some(claim.container.clone()),
        Role::Gofer => Some(by_bundle()),
        Role::Runsc(command) if command == "create" => Some(by_bundle()),
        _ => None,
    }
}
