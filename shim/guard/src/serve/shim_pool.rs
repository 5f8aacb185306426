//! Which real shim holds which container. Whatever differs between gVisor's versions is decided here, and the rest
//! of the guard sees one real shim that holds all containers of its pod.
//!
//! gVisor's shim does that since release-20260126.0 (its commit eca1f2af7). Before, it has a single task, ignores
//! the ids in requests, and ends at any Shutdown (pkg/shim/v1/service.go): a second Create would overwrite the first.
//! There each container gets a real shim of its own. Which kind it is, is asked once the first container is
//! created, with the State of an id that nothing can have: only one that looks ids up answers NOT_FOUND.

use std::path::PathBuf;

use runsc_guard_core::io::Method;
use runsc_guard_proto::protobuf::rt::skip_field_for_tag;
use runsc_guard_proto::protobuf::{self, CodedInputStream, Message as _};
use runsc_guard_proto::service;
use runsc_guard_proto::task::{DeleteRequest, StateRequest};
use ttrpc::{Code, Request, Response};

use super::decode;
use runsc_guard_node::paths::Place;

/// No container can be called that (containerd pkg/identifiers).
const NOBODY: &str = "?";

/// Number of a real shim, never used twice under one guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShimId(u32);

impl ShimId {
    /// The one that the guard starts with.
    pub(crate) const FIRST: Self = Self(0);

    /// Where it serves.
    pub(crate) fn socket(self, place: &Place) -> PathBuf {
        // Not longer than the first one's, whose length was checked.
        if self == Self::FIRST { place.real_shim_socket() } else { place.folder.join(format!("s{}", self.0)) }
    }
}

/// How many containers a real shim of this version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Not asked: nothing is created yet.
    Unknown,
    /// Asked.
    Asked,
    /// All of a pod.
    Several,
    /// A single one.
    One,
}

/// One real shim.
#[derive(Debug)]
struct Shim {
    id: ShimId,
    /// The container that it holds, or is about to; of several the first.
    container: Option<String>,
    /// It was told to go.
    dismissed: bool,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this one.
    To(ShimId),
    /// To a new one, which is to be started.
    New(ShimId),
    /// To each of them.
    All(Vec<ShimId>),
    /// Nowhere until it is known what a real shim holds.
    Later,
    /// No real shim has that container.
    Unknown,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// Ask this one what it holds, with [`question()`].
    Ask(ShimId),
    /// Tell this one to go.
    Dismiss(ShimId),
    /// Send on what waits: there is room for it, or it is known where to.
    Unpark,
}

/// A child that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It went as it was told, and others are left.
    Expected,
    /// The pod is without a real shim that it needs, or without any.
    Shim,
}

/// All real shims of the pod.
#[derive(Debug)]
pub(crate) struct ShimPool {
    holds: Holds,
    shims: Vec<Shim>,
    next: u32,
}

impl ShimPool {
    /// With the first real shim.
    pub(crate) fn new() -> Self {
        let first = Shim { id: ShimId::FIRST, container: None, dismissed: false };
        Self { holds: Holds::Unknown, shims: vec![first], next: 1 }
    }

    /// Where a request goes. A new real shim counts from here on; if it cannot be started it is [`ShimPool::lost`].
    pub(crate) fn route(&mut self, method: Method, payload: &[u8]) -> Route {
        match (self.holds, method) {
            (Holds::One, Method::Shutdown) => {
                self.shims.iter_mut().for_each(|shim| shim.dismissed = true);
                Route::All(self.shims.iter().map(|shim| shim.id).collect())
            }
            (Holds::One, _) => {
                let container = container(payload);
                match (self.holder(&container), method) {
                    (Some(shim), _) => Route::To(shim.id),
                    (None, Method::Create) => Route::New(self.add(container)),
                    (None, _) => Route::Unknown,
                }
            }
            (Holds::Unknown | Holds::Asked, Method::Create) => {
                let container = container(payload);
                let Some(first) = self.shims.first_mut() else { return Route::To(ShimId::FIRST) };
                if first.container.get_or_insert_with(|| container.clone()) == &container {
                    Route::To(ShimId::FIRST)
                } else {
                    Route::Later
                }
            }
            _ => Route::To(ShimId::FIRST),
        }
    }

    /// What follows when `shim` has answered to what it was asked; `done` if that went well.
    pub(crate) fn answered(&mut self, shim: ShimId, method: Method, payload: &[u8], done: bool) -> Next {
        match (self.holds, method, done) {
            (Holds::Unknown, Method::Create, true) => {
                self.holds = Holds::Asked;
                Next::Ask(shim)
            }
            (Holds::Unknown, Method::Create, false) => self.unanswered(method),
            (Holds::One, Method::Create, false) => self.vacated(shim),
            (Holds::One, Method::Delete, true) if is_of_init(payload) => self.vacated(shim),
            _ => Next::Nothing,
        }
    }

    /// Whether an answer to `method` means anything here, so that its request must be remembered.
    pub(crate) fn minds(&self, method: Method) -> bool {
        self.holds != Holds::Several && matches!(method, Method::Create | Method::Delete)
    }

    /// The answer to [`question()`]. One that says neither is taken for today's version's.
    pub(crate) fn told(&mut self, answer: &Response) -> Next {
        let status = answer.status();
        if decode::is_success(answer) {
            self.holds = Holds::One;
            return Next::Unpark;
        }
        if status.code() != Code::NOT_FOUND {
            log::warn!("the real shim does not say how many containers it holds: {}", status.message());
        }
        self.holds = Holds::Several;
        Next::Unpark
    }

    /// What follows when no answer will come any more to a Create, or to the State of [`question()`].
    pub(crate) fn unanswered(&mut self, method: Method) -> Next {
        match (self.holds, method) {
            // Of the first container nothing is there, so that another one may be the first.
            (Holds::Unknown, Method::Create) => {
                self.shims.iter_mut().for_each(|first| first.container = None);
                Next::Unpark
            }
            (Holds::Asked, Method::State) => {
                self.holds = Holds::Several;
                Next::Unpark
            }
            _ => Next::Nothing,
        }
    }

    /// A real shim has ended, or was not to be started.
    pub(crate) fn lost(&mut self, id: ShimId) -> Loss {
        let dismissed = self.shims.iter().any(|shim| shim.id == id && shim.dismissed);
        self.shims.retain(|shim| shim.id != id);
        if dismissed && !self.shims.is_empty() { Loss::Expected } else { Loss::Shim }
    }

    fn holder(&self, container: &str) -> Option<&Shim> {
        self.shims.iter().find(|shim| shim.container.as_deref() == Some(container))
    }

    fn add(&mut self, container: String) -> ShimId {
        let id = ShimId(self.next);
        self.next += 1;
        self.shims.push(Shim { id, container: Some(container), dismissed: false });
        id
    }

    /// The last real shim stays until the guard itself goes.
    fn vacated(&mut self, id: ShimId) -> Next {
        let others = self.shims.iter().any(|shim| shim.id != id && !shim.dismissed);
        let Some(shim) = self.shims.iter_mut().find(|shim| shim.id == id) else { return Next::Nothing };
        shim.container = None;
        shim.dismissed = others;
        if others { Next::Dismiss(id) } else { Next::Nothing }
    }
}

/// The State that tells what a real shim holds.
pub(crate) fn question() -> Request {
    let state = StateRequest { id: NOBODY.to_owned(), ..StateRequest::default() };
    let mut request = Request::new();
    request.service = service::TASK_V2.to_owned();
    request.method = Method::State.as_str().to_owned();
    request.payload = state.write_to_bytes().unwrap_or_default();
    request
}

/// The container of a request: the first field of each of the Task API's messages. It is read by itself: a message that
/// has no other field would keep those of each request as unknown ones, in a table that is allocated for it.
fn container(payload: &[u8]) -> String {
    const ID: u32 = (1 << 3) | 2;
    let read = || -> protobuf::Result<String> {
        let (mut input, mut id) = (CodedInputStream::from_bytes(payload), String::new());
        while let Some(tag) = input.read_raw_tag_or_eof()? {
            match tag {
                ID => id = input.read_string()?,
                other => skip_field_for_tag(other, &mut input)?,
            }
        }
        Ok(id)
    };
    read().unwrap_or_default()
}

/// Whether this is the Delete of a container, not of an exec.
fn is_of_init(delete: &[u8]) -> bool {
    DeleteRequest::parse_from_bytes(delete).is_ok_and(|request| request.exec_id.is_empty())
}

#[cfg(test)]
mod tests;
