//! What is known of each container and each process in it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::io::{CallId, ProcessId, ProcessSpec};

pub(crate) mod container;
pub(crate) mod deadline;
pub(crate) mod process;
pub(crate) mod query;
pub(crate) mod signals;

pub(crate) use container::{Container, Teardown};
pub(crate) use deadline::{Deadline, Effect};
pub(crate) use process::{Life, Process};
pub(crate) use query::Query;
pub(crate) use signals::{SIGKILL, Signal};

/// All containers of the sandbox.
#[derive(Debug, Default)]
pub(crate) struct Tasks(BTreeMap<String, Container>);

impl Tasks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn container(&self, id: &str) -> Option<&Container> {
        self.0.get(id)
    }

    pub(crate) fn container_mut(&mut self, id: &str) -> Option<&mut Container> {
        self.0.get_mut(id)
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = (&String, &Container)> {
        self.0.iter()
    }

    pub(crate) fn containers_mut(&mut self) -> impl Iterator<Item = &mut Container> {
        self.0.values_mut()
    }

    /// The ids of every container, for walks that change them.
    pub(crate) fn container_ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn add_container(&mut self, id: String, container: Container) {
        self.0.insert(id, container);
    }

    /// Adds an exec; false where there is no such container.
    pub(crate) fn add_exec(&mut self, id: &ProcessId, born: CallId, about: ProcessSpec) -> bool {
        let container = self.0.get_mut(&id.container);
        container
            .map(|container| container.execs.insert(id.exec.clone(), Process::new(born, about)))
            .is_some()
    }

    pub(crate) fn get(&self, id: &ProcessId) -> Option<&Process> {
        let container = self.0.get(&id.container)?;
        if id.is_init() { Some(&container.init) } else { container.execs.get(&id.exec) }
    }

    pub(crate) fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Process> {
        let container = self.0.get_mut(&id.container)?;
        if id.is_init() { Some(&mut container.init) } else { container.execs.get_mut(&id.exec) }
    }

    pub(crate) fn remove(&mut self, id: &ProcessId) -> Option<Process> {
        if id.is_init() {
            self.0.remove(&id.container).map(|container| container.init)
        } else {
            self.0.get_mut(&id.container)?.execs.remove(&id.exec)
        }
    }

    /// Every process of every container.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        self.0.iter().flat_map(|(id, container)| {
            container
                .processes()
                .map(move |(exec, process)| (ProcessId { container: id.clone(), exec: exec.into() }, process))
        })
    }

    /// The ids of a container's execs; none for an exec.
    pub(crate) fn execs_of(&self, id: &ProcessId) -> Vec<ProcessId> {
        let container = self.0.get(&id.container).filter(|_| id.is_init());
        let execs = container.into_iter().flat_map(|container| container.execs.keys());
        execs.map(|exec| ProcessId { container: id.container.clone(), exec: exec.clone() }).collect()
    }

    /// The ids of every process, for walks that change them.
    pub(crate) fn ids(&self) -> Vec<ProcessId> {
        self.processes().map(|(id, _)| id).collect()
    }
}
