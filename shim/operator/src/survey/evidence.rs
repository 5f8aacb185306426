//! Whether what a process claims to be is so.
//!
//! A sentry or gofer is proved by a file of root's that names its pid, or by a shim of gVisor's, a guard or a
//! `runsc create` above it, which root runs for that very container; where nobody is above it, by the program that it
//! runs and the namespaces that only root can have given it. A command of runsc's is root's own, with paths of ours.

use std::path::Path;

use runsc_guard_node::program;
use runsc_guard_sandbox::processes::process::{Claim, Role};
use runsc_guard_sandbox::processes::proof::{self, Named, Standing, Vantage};
use runsc_guard_sandbox::processes::trusted::Ground;
use runsc_guard_sandbox::sys::kernel::FileId;

use super::guards::Known;
use super::table::{Kind, Table};

/// What proves.
pub(crate) struct Evidence<'a> {
    table: &'a Table,
    vantage: Vantage,
    guards: Vec<(i32, &'a str)>,
    programs: Vec<FileId>,
}

impl<'a> Evidence<'a> {
    /// From what was seen.
    pub(crate) fn new(table: &'a Table, guards: &'a [Known]) -> Self {
        let living = |known: &'a Known| Some((known.process?.pid, known.params.sandbox.as_str()));
        Self {
            table,
            vantage: Vantage::new(),
            guards: guards.iter().filter_map(living).collect(),
            programs: programs(table, guards),
        }
    }

    /// Whether the process is of this sandbox, as it says.
    pub(crate) fn proves<'n>(
        &self,
        pid: i32,
        claim: &Claim,
        sandbox: &str,
        mut named: impl Iterator<Item = &'n Named>,
    ) -> bool {
        let Some(identity) = self.table.identity(pid) else { return false };
        match claim.role {
            Role::Sentry | Role::Gofer => {
                named.any(|named| named.is(identity) && named.role == claim.role)
                    || self.is_kept(pid, claim, sandbox)
                    || self.is_created(pid, claim)
                    || self.is_left(pid)
            }
            _ => self.is_command(pid) || self.is_kept(pid, claim, sandbox),
        }
    }

    /// Whether the process that a file of root's names is the one that was meant, though it says nothing, or something
    /// else: it is as old as the file has it, and runs gVisor where runsc would put it.
    pub(crate) fn is_meant(&self, named: &Named) -> bool {
        let runs = || {
            let claims = |claim: &Claim| claim.container == named.container && claim.role == named.role;
            matches!(self.table.kind(named.pid), Some(Kind::Claims(claim)) if claims(claim))
                || self.is_gvisors(named.pid)
        };
        self.table.identity(named.pid).is_some_and(|identity| named.is(identity)) && runs()
    }

    /// Below a guard of this sandbox, or a shim of gVisor's for it or this container.
    fn is_kept(&self, pid: i32, claim: &Claim, sandbox: &str) -> bool {
        self.table.ancestors(pid).any(|above| match self.table.kind(above) {
            Some(Kind::Shim { id, gvisors: true, .. }) => *id == claim.container || id == sandbox,
            Some(Kind::Guard) => self.guards.contains(&(above, sandbox)),
            _ => false,
        })
    }

    /// Below the `runsc create` of this container.
    fn is_created(&self, pid: i32, claim: &Claim) -> bool {
        self.table.ancestors(pid).any(|above| match self.table.kind(above) {
            Some(Kind::Claims(one)) => {
                matches!(&one.role, Role::Runsc(command) if command == "create" || command == "run")
                    && self.table.standing(above) == Standing::Root
                    && (&one.container, &one.root) == (&claim.container, &claim.root)
            }
            _ => false,
        })
    }

    /// Nobody keeps it, and it is what runsc starts, where runsc puts it.
    fn is_left(&self, pid: i32) -> bool {
        let is_keeper = |above: i32| {
            matches!(self.table.kind(above), Some(Kind::Guard | Kind::Shim { .. } | Kind::Claims(_)))
        };
        self.table.standing(pid) == Standing::Contained
            && self.is_gvisors(pid)
            && self.vantage.is_of_roots_making(pid)
            && !self.table.ancestors(pid).any(is_keeper)
    }

    /// Root's own command, about files of ours.
    fn is_command(&self, pid: i32) -> bool {
        self.table.standing(pid) == Standing::Root && self.vantage.shares_files(pid)
    }

    fn is_gvisors(&self, pid: i32) -> bool {
        proof::program(pid).is_some_and(|exe| self.programs.iter().any(|one| one.is_same(&exe)))
    }
}

/// The files that are known to be gVisor's: those that guards are told of, and those that root's own commands run.
fn programs(table: &Table, guards: &[Known]) -> Vec<FileId> {
    let ground = Ground::look();
    let mut told: Vec<&Path> = guards.iter().map(|known| known.params.config.runsc_binary.as_ref()).collect();
    told.push("runsc".as_ref());
    told.sort();
    told.dedup();
    let path = program::path();
    let installed = told.into_iter().flat_map(|binary| proof::runsc(binary, path.as_deref(), &ground));
    let mut all: Vec<FileId> = installed.map(|trusted| trusted.id).collect();
    for (pid, claim) in table.claims() {
        let is_command = matches!(claim.role, Role::Runsc(_)) && table.standing(pid) == Standing::Root;
        let running = proof::program(pid).filter(|_| is_command);
        // Not the shell of a script.
        let runs_runsc = |one: &FileId| !all.iter().any(|other| other.is_same(one));
        if running.is_some_and(|one| runs_runsc(&one))
            && let Some(trusted) = proof::program_path(pid, &ground)
            && trusted.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"runsc"))
        {
            all.push(trusted.id);
        }
    }
    all
}
