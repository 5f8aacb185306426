//! Which processes are this sandbox's.
//!
//! While the guard lives, descent proves it: the guard started the real shim and is a child subreaper, so that
//! all of the sandbox is below it whatever else dies. When the guard is dead its orphans belong to some other
//! reaper: then the guard's record proves those that it has seen below it, by their start times, and
//! [`proof`](crate::processes::proof) says which others are proved by what; what descends from a proved process is proved as
//! well, and what another guard lives above is that guard's, whatever files say.
//!
//! A command line may never be told ([`bounded`]), so that killing does not begin with one:
//! [`at_once`] gives whom descent and record prove.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;

use crate::Scope;
use crate::processes::exempt::is_exempt;
use crate::processes::process::{Process, Role};
use crate::processes::proof::Proof;
use crate::sys::bounded;
use crate::sys::identity::Identity;
use crate::sys::identity::Stat;
use crate::sys::procfs;

/// Children of the kernel's `kthreadd` are no processes.
const KTHREADD: i32 = 2;
/// What the kernel calls those that runsc has started of itself and left running: sentry, gofers and execs come of
/// /proc/self/exe (`specutils.ExePath`), or the sentry of a program of its own, with a network stack of others' or without,
/// and what becomes it. The kernel keeps 15 letters.
const OF_ITSELF: [&str; 4] = ["exe", "gvisor_sentry", "gvisor_sentry_p", "gvisor-sentry-p"];

/// Whether the kernel's name for a process is that of one which runsc has started of itself, a sentry say. It is all that
/// is told of one whose memory is gone or held.
pub fn is_of_itself(comm: &str) -> bool {
    OF_ITSELF.contains(&comm)
}

/// Every living process proved to belong to the sandbox, parents before children. Never the guard, the caller
/// or the first process of the machine.
pub fn find(scope: &Scope) -> Vec<Process> {
    let stats = match living_guard(scope) {
        Some(guard) => below(guard),
        None => by_proof(scope),
    };
    describe(scope, stats, |pid| bounded::command_line(pid).unwrap_or_default())
}

/// Those of them that are proved without a look that could hang. Roles are as far as the kernel tells: what runsc has
/// started of itself counts as the sentry, and what descends from such a one as its stub.
pub fn at_once(scope: &Scope) -> Vec<Process> {
    let stats = match living_guard(scope) {
        Some(guard) => below(guard),
        None => {
            let table = snapshot();
            let roots = recorded(scope, &table);
            with_descendants(&table, roots)
        }
    };
    describe(scope, stats, |_| Vec::new())
}

/// What is to be known of its processes before anything is killed: of those that need no look that could hang, and only
/// where there are none (the record is an older guard's) of all.
pub fn before_a_blow(scope: &Scope) -> Vec<Process> {
    let found = at_once(scope);
    if found.is_empty() { find(scope) } else { found }
}

/// The living descendants of one process, itself not included, whatever they are.
pub fn descendants(of: Identity) -> Vec<Process> {
    describe(&Scope::default(), below(of), |_| Vec::new())
}

fn living_guard(scope: &Scope) -> Option<Identity> {
    scope.guard.filter(|guard| guard.pid > 1 && guard.is_alive())
}

fn below(root: Identity) -> Vec<Stat> {
    let stats = descend(root.pid).unwrap_or_else(|| closure(&snapshot(), BTreeSet::from([root.pid])));
    // The root's death in between would make its pid, and with it all this, worthless.
    if Identity::of(root.pid).ok() == Some(root) { stats } else { Vec::new() }
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
            let stat = stat.filter(|stat| !is_exempt(stat.identity));
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

/// Without the guard: from those that its record names, and those that are proved otherwise.
fn by_proof(scope: &Scope) -> Vec<Stat> {
    let (table, proof) = (snapshot(), Proof::of(scope));
    let (mut roots, mut guards) = (recorded(scope, &table), BTreeSet::new());
    // Below these nobody is asked: it is known already whose that is, and stubs are what hangs.
    let mut known = roots.clone();
    for (pid, stat) in top_down(&table).into_iter().filter_map(|pid| Some((pid, table.get(&pid)?))) {
        if known.contains(&pid) || known.contains(&stat.parent) {
            known.insert(pid);
            continue;
        }
        if !proof.may_hold(stat) {
            continue;
        }
        let argv = bounded::command_line(pid).unwrap_or_default();
        if proof.is_another_guard(pid, &argv) {
            guards.insert(pid);
        } else if proof.holds(stat, &argv) {
            roots.insert(pid);
        } else if Role::of(&argv, scope, None) != Role::Sentry {
            continue;
        }
        known.insert(pid);
    }
    let mut stats = with_descendants(&table, roots);
    let guarded: BTreeSet<i32> = closure(&table, guards).iter().map(|stat| stat.identity.pid).collect();
    stats.retain(|stat| !guarded.contains(&stat.identity.pid));
    stats
}

/// The living processes that the guard has seen below it.
fn recorded(scope: &Scope, table: &BTreeMap<i32, Stat>) -> BTreeSet<i32> {
    let seen = scope.sentry.iter().chain(&scope.gofers);
    let lives = |one: &&Identity| table.get(&one.pid).is_some_and(|stat| stat.identity == **one);
    seen.filter(lives).map(|one| one.pid).filter(|pid| *pid > 1).collect()
}

/// Parents before children.
fn top_down(table: &BTreeMap<i32, Stat>) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for stat in table.values().filter(|stat| table.contains_key(&stat.parent)) {
        children.entry(stat.parent).or_default().push(stat.identity.pid);
    }
    let is_root = |stat: &&Stat| !table.contains_key(&stat.parent);
    let mut order: Vec<i32> = table.values().filter(is_root).map(|stat| stat.identity.pid).collect();
    let mut next = 0;
    while let Some(pid) = order.get(next) {
        order.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    order.retain(|pid| *pid > 1);
    order
}

/// Every process of the machine but the kernel's own threads.
fn snapshot() -> BTreeMap<i32, Stat> {
    let pids = procfs::all().unwrap_or_default();
    let stats = pids.into_iter().filter_map(|pid| Stat::of(pid).ok());
    let is_one = |stat: &Stat| stat.parent != KTHREADD && !is_exempt(stat.identity);
    stats.filter(is_one).map(|stat| (stat.identity.pid, stat)).collect()
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

fn with_descendants(table: &BTreeMap<i32, Stat>, roots: BTreeSet<i32>) -> Vec<Stat> {
    let mut stats: Vec<Stat> = roots.iter().filter_map(|pid| table.get(pid).cloned()).collect();
    stats.extend(closure(table, roots));
    stats
}

fn describe(scope: &Scope, stats: Vec<Stat>, argv_of: impl Fn(i32) -> Vec<OsString>) -> Vec<Process> {
    let me = Identity::me().ok();
    let mut roles: BTreeMap<i32, Role> = BTreeMap::new();
    let mut found = Vec::new();
    for stat in stats.into_iter().filter(|stat| !stat.is_dead() && stat.identity.pid > 1) {
        if Some(stat.identity) == me || Some(stat.identity) == scope.guard {
            continue;
        }
        let parent = roles.get(&stat.parent);
        let (role, argv) = if scope.real_shim == Some(stat.identity) {
            (Role::RealShim, argv_of(stat.identity.pid))
        } else if matches!(parent, Some(Role::Sentry | Role::Stub)) {
            // Nobody reads the memory of one that runs guest code.
            (Role::Stub, Vec::new())
        } else {
            let argv = argv_of(stat.identity.pid);
            let told = Role::of(&argv, scope, parent);
            let of_itself =
                scope.sentry == Some(stat.identity) || argv.is_empty() && is_of_itself(&stat.comm);
            (if of_itself { Role::Sentry } else { told }, argv)
        };
        roles.insert(stat.identity.pid, role.clone());
        let Stat { identity, parent, comm, state, .. } = stat;
        found.push(Process { identity, parent, comm, state, role, argv });
    }
    found
}

#[cfg(test)]
mod tests;
