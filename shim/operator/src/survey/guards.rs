//! The guards of this node: what each was told when it started (`params.json` in its folder), whether it lives,
//! and what it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use runsc_guard_node::client::{self, AskError};
use runsc_guard_node::params::{self, ServeParams};
use runsc_guard_node::paths::{Base, Place};
use runsc_guard_node::view;
use runsc_guard_proto::guard::{self as wire, StatusRequest, StatusResponse};
use runsc_guard_sandbox::sys::identity::Identity;

use super::sight::{self, Blind};
use crate::survey::model::{Guard, GuardsContainer, Sign, Waiting, Word};

/// One guard's time to say something; it says it from memory.
pub(crate) const ANSWER: Duration = Duration::from_millis(300);
/// One question needs little stack.
const STACK: usize = 128 * 1024;

/// A guard's folder.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// What it was told.
    pub(crate) params: ServeParams,
    /// Which process it is, if that lives.
    pub(crate) process: Option<Identity>,
    /// Why it cannot be told whether it does.
    pub(crate) untold: Option<String>,
}

/// Every guard that has left its folder.
pub(crate) fn known() -> Result<Vec<Known>, Blind> {
    let folders = sight::entries(&Base::default().runtime)?;
    Ok(folders.iter().filter_map(|folder| Known::in_folder(folder)).collect())
}

/// The living guard of a sandbox that had none; an error where that cannot be told.
pub(crate) fn living(runsc_root: &Path, sandbox: &str) -> Result<Option<Identity>> {
    let all = known()?;
    let is_its = |one: &&Known| one.params.sandbox == sandbox && one.params.runsc_root() == runsc_root;
    let its: Vec<&Known> = all.iter().filter(is_its).collect();
    if let Some(why) = its.iter().find_map(|one| one.untold.as_deref()) {
        bail!("{why}");
    }
    Ok(its.iter().find_map(|one| one.process))
}

impl Known {
    fn in_folder(folder: &Path) -> Option<Self> {
        let nameless = Place { socket: PathBuf::new(), folder: folder.to_owned(), lock: PathBuf::new() };
        let params = ServeParams::of(&nameless).filter(|params| params.place.folder == folder)?;
        let (process, untold) = match params::guard_of(&params.place, None) {
            Ok(process) => (process, None),
            Err(error) => (None, Some(format!("{} cannot be read: {error}", params.place.guard().display()))),
        };
        Some(Self { params, process, untold })
    }
}

/// What the guards said, by their folders; those that have not, in time, are not in it.
type Words<T> = BTreeMap<PathBuf, Result<T, AskError>>;

/// Answers that are still coming in.
pub(crate) struct Asked<T> {
    answers: Receiver<(PathBuf, Result<T, AskError>)>,
    count: usize,
    deadline: Instant,
}

/// Asks every living guard the same question at the same time.
pub(crate) fn ask_all<T: Send + 'static>(
    guards: &[Known],
    question: fn(&Place) -> Result<T, AskError>,
) -> Asked<T> {
    let (told, answers) = mpsc::channel();
    let living = guards.iter().filter(|guard| guard.process.is_some());
    let count = living
        .filter(|guard| {
            let (told, place) = (told.clone(), guard.params.place.clone());
            let ask = move || {
                let word = question(&place);
                told.send((place.folder, word)).unwrap_or_default();
            };
            thread::Builder::new().stack_size(STACK).spawn(ask).is_ok()
        })
        .count();
    Asked { answers, count, deadline: Instant::now() + ANSWER + ANSWER / 2 }
}

impl<T> Asked<T> {
    /// What has come, by the deadline.
    pub(crate) fn collect(self) -> Words<T> {
        let mut words = Words::new();
        while words.len() < self.count {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let Ok((folder, word)) = self.answers.recv_timeout(left) else { break };
            words.insert(folder, word);
        }
        words
    }
}

/// What one guard says.
pub(crate) fn ask(place: &Place) -> Result<Word, AskError> {
    let request = StatusRequest::default();
    let answer: StatusResponse = client::ask(&place.socket, "Status", &request, Instant::now() + ANSWER)?;
    Ok(word(answer))
}

/// Notes what a guard has said, or that it has not.
pub(crate) fn tell(guard: &mut Guard, word: Option<&Result<Word, AskError>>) {
    let task = match guard {
        Guard::Silent(task, why) if why.is_empty() => task.clone(),
        // There is none to hear, or it is known why it cannot even be asked.
        _ => return,
    };
    *guard = match word {
        Some(Ok(word)) => Guard::Says(task, Box::new(word.clone())),
        Some(Err(error)) if is_unheard_of(error) => {
            Guard::Silent(task, "is of an older version that does not report its state".to_owned())
        }
        None | Some(Err(AskError::Silent(_))) => {
            Guard::Silent(task, format!("has not answered within {ANSWER:?}"))
        }
        Some(Err(error)) => Guard::Silent(task, error.to_string()),
    };
}

/// The guard does not know the method: it was started by an older version.
pub(crate) fn is_unheard_of(error: &AskError) -> bool {
    /// gRPC's UNIMPLEMENTED.
    const UNIMPLEMENTED: i32 = 12;
    matches!(error, AskError::Status { code: UNIMPLEMENTED, .. })
}

fn word(told: StatusResponse) -> Word {
    let sign = Some(told.sign.clone()).filter(|sign| !sign.is_empty());
    let sign = sign.map(|what| Sign { what, for_ms: Some(told.sign_ms_ago) });
    let container = |one: wire::ContainerStatus| GuardsContainer {
        exit_status: one.exit.as_ref().map(|exit| exit.exit_status),
        id: one.id,
        status: one.status,
        execs: one.execs,
    };
    Word {
        progress: view::progress(&told),
        stage: told.stage,
        escalating_ms: told.escalating_ms,
        sign,
        left: told.left,
        clocks: told.clocks.into_iter().map(waiting).collect(),
        requests: told.requests.into_iter().map(waiting).collect(),
        overdue: told.overdue.into_option().map(waiting),
        unanswered: Some(told.unanswered).filter(|method| !method.is_empty()),
        answered_ms_ago: told.answered_ms_ago,
        containers: told.containers.into_iter().map(container).collect(),
        last: told.last.into_iter().map(|one| (one.ms_ago, one.text)).collect(),
    }
}

fn waiting(one: wire::Waiting) -> Waiting {
    let asked = view::asked(&one);
    let about = if one.exec.is_empty() { one.container } else { format!("{}/{}", one.container, one.exec) };
    Waiting { asked, method: one.method, about, waited_ms: one.waited_ms, due_in_ms: one.due_in_ms }
}
