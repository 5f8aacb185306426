//! Which processes are this sandbox's.
//!
//! While the guard lives, descent proves it: the guard started the real shim and is a child subreaper, so that
//! all of the sandbox is below it whatever else dies. When the guard is dead its orphans belong to some other
//! reaper, and [`proof`](super::proof) says which are proved by what; what descends from a proved process is proved as
//! well, and what another guard lives above is that guard's, whatever files say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Scope;
use super::identity::Identity;
use super::process::{Process, Role};
use super::procfs::{self, Stat};
use super::proof::Proof;

/// Children of the kernel's `kthreadd` are no processes.
const KTHREADD: i32 = 2;

/// Every living process proved to belong to the sandbox, parents before children. Never the guard, the caller
/// or the first process of the machine.
pub fn find(scope: &Scope) -> Vec<Process> {
    match scope.guard.filter(|guard| guard.pid > 1 && guard.is_alive()) {
        Some(guard) => below(scope, guard),
        None => by_command_line(scope),
    }
}

/// The living descendants of one process, itself not included, whatever they are.
pub fn descendants(of: Identity) -> Vec<Process> {
    below(&Scope::default(), of)
}

fn below(scope: &Scope, root: Identity) -> Vec<Process> {
    let stats = descend(root.pid).unwrap_or_else(|| closure(&snapshot(), BTreeSet::from([root.pid])));
    // The root's death in between would make its pid, and with it all this, worthless.
    if Identity::of(root.pid).ok() != Some(root) {
        return Vec::new();
    }
    describe(scope, stats)
}

/// Walks the `children` files: a few reads, however many processes the machine has. None where the kernel has
/// no such files.
fn descend(root: i32) -> Option<Vec<Stat>> {
    let (mut known, mut found) = (BTreeSet::from([root]), Vec::new());
    let mut queue = VecDeque::from([root]);
    while let Some(parent) = queue.pop_front() {
        let children = match procfs::children(parent) {
            Ok(children) => children?,
            Err(_) => continue,
        };
        for child in children {
            // Between the two reads the child may have ended and its pid gone to a stranger: its parent tells.
            let stat = Stat::of(child).ok().filter(|stat| known.contains(&stat.parent));
            if let Some(stat) = stat
                && known.insert(child)
            {
                queue.push_back(child);
                found.push(stat);
            }
        }
    }
    Some(found)
}

fn by_command_line(scope: &Scope) -> Vec<Process> {
    let (table, proof) = (snapshot(), Proof::of(scope));
    let (mut roots, mut guards) = (BTreeSet::new(), BTreeSet::new());
    for (pid, stat) in table.iter().filter(|(pid, stat)| **pid > 1 && proof.may_hold(stat)) {
        let argv = procfs::command_line(*pid).unwrap_or_default();
        if proof.is_another_guard(*pid, &argv) {
            guards.insert(*pid);
        } else if proof.holds(stat, &argv) {
            roots.insert(*pid);
        }
    }
    let mut stats: Vec<Stat> = roots.iter().filter_map(|pid| table.get(pid).cloned()).collect();
    stats.extend(closure(&table, roots));
    let guarded: BTreeSet<i32> = closure(&table, guards).iter().map(|stat| stat.identity.pid).collect();
    stats.retain(|stat| !guarded.contains(&stat.identity.pid));
    describe(scope, stats)
}

/// Every process of the machine but the kernel's own threads.
fn snapshot() -> BTreeMap<i32, Stat> {
    let pids = procfs::all().unwrap_or_default();
    let stats = pids.into_iter().filter_map(|pid| Stat::of(pid).ok());
    stats.filter(|stat| stat.parent != KTHREADD).map(|stat| (stat.identity.pid, stat)).collect()
}

/// What descends from `known`, generation by generation.
fn closure(table: &BTreeMap<i32, Stat>, mut known: BTreeSet<i32>) -> Vec<Stat> {
    let mut found: Vec<Stat> = Vec::new();
    loop {
        let is_new = |stat: &&Stat| known.contains(&stat.parent) && !known.contains(&stat.identity.pid);
        let generation: Vec<Stat> = table.values().filter(is_new).cloned().collect();
        if generation.is_empty() {
            return found;
        }
        known.extend(generation.iter().map(|stat| stat.identity.pid));
        found.extend(generation);
    }
}

fn describe(scope: &Scope, stats: Vec<Stat>) -> Vec<Process> {
    let me = Identity::me().ok();
    let mut roles: BTreeMap<i32, Role> = BTreeMap::new();
    let mut found = Vec::new();
    for stat in stats.into_iter().filter(|stat| !stat.is_dead() && stat.identity.pid > 1) {
        if Some(stat.identity) == me || Some(stat.identity) == scope.guard {
            continue;
        }
        let argv = procfs::command_line(stat.identity.pid).unwrap_or_default();
        let role = match scope.real_shim {
            Some(shim) if shim == stat.identity => Role::RealShim,
            _ => Role::of(&argv, scope, roles.get(&stat.parent)),
        };
        roles.insert(stat.identity.pid, role.clone());
        let Stat { identity, parent, comm, state, .. } = stat;
        found.push(Process { identity, parent, comm, state, role, argv });
    }
    found
}

#[cfg(test)]
mod tests;
