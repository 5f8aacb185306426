//! One sandbox of the demonstration: started, wedged, and asked to end as its owner would ask.

use crate::{stage::Stage, verdict::Ending};
use anyhow::Result;
use harness::{Cri, Ctr, Pod, PodContainer, eventually, faults::Sandbox, process::Process};
use std::time::{Duration, Instant};

/// How long both sides get. The unguarded one would take forever.
const PATIENCE: Duration = Duration::from_secs(15);
/// One StopPodSandbox: what `crictl` gives it unless told otherwise. A kubelet asks again and again, too.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(100);
/// What containerd has to answer about a sandbox that is gone.
const ANSWER: Duration = Duration::from_secs(5);
/// As much of an error as stands on one line.
const ERROR_WIDTH: usize = 100;
/// ListPodSandbox's word for a pod that runs.
const READY: i32 = 0;
/// An error of that length stands beside what failed, a longer one below.
const SHORT_ERROR: usize = 40;
/// CRI's ids are that long.
const ID_LENGTH: usize = 64;

/// The two cases.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A pod with one container, by CRI: what a kubelet does.
    Pod,
    /// A stand-alone container, by `ctr`.
    Container,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
        }
    }

    fn request(self) -> &'static str {
        match self {
            Self::Pod => "StopPodSandbox",
            Self::Container => "ctr task kill -s SIGKILL, ctr task rm",
        }
    }
}

/// Runs one case to its end and tells, besides that, what containerd would not forget afterwards.
pub(crate) fn run(stage: &Stage<'_>, kind: Kind) -> Result<(Ending, Option<String>)> {
    let say = |what: &str| stage.screen.say(stage.side, kind.name(), what);
    let starting = stage.screen.waiting(stage.side, kind.name());
    let subject = Subject::start(stage, kind)?;
    let sandbox = Sandbox::await_of(stage.host, subject.id())?;
    drop(starting);
    say(&format!("runs: {} processes, sentry {}", subject.processes(), sandbox.sentry.pid));
    sandbox.stop_sentry()?;
    say(&format!("sentry stopped (SIGSTOP), asking for the end: {}", kind.request()));

    let began = Instant::now();
    let (ended, tries) = ask_until_ended(stage, kind, &subject, &sandbox.sentry)?;
    let ending = Ending { ended, waited: began.elapsed(), processes_left: subject.processes() };
    let asked = if tries == 1 { "asked once".to_owned() } else { format!("asked {tries} times") };
    let unforgotten = match ended {
        Some(ended) => {
            say(&format!("ended in {:.1} s, {asked}", ended.as_secs_f64()));
            subject.forget()
        }
        None => {
            say(&format!("not ended after {:.1} s, {asked}", ending.waited.as_secs_f64()));
            None
        }
    };
    Ok((ending, unforgotten))
}

/// How long it took, if it came to an end, and how often it was asked for.
fn ask_until_ended(
    stage: &Stage<'_>,
    kind: Kind,
    subject: &Subject,
    sentry: &Process,
) -> Result<(Option<Duration>, u32)> {
    let _waiting = stage.screen.waiting(stage.side, kind.name());
    let began = Instant::now();
    let mut tries = 0;
    while let Some(left) = PATIENCE.checked_sub(began.elapsed()) {
        tries += 1;
        match subject.ask(left) {
            Ok(()) => {
                let gone = || !sentry.is_alive() && !subject.is_listed();
                // That it does not come to this is what the answer says.
                let _ = eventually(left, "gone", || (gone() || stage.interrupt.raised()).then_some(()));
                return Ok((gone().then(|| began.elapsed()), tries));
            }
            Err(why) if tries == 1 => {
                let (after, why) = (began.elapsed().as_secs_f64(), shortened(&why));
                let gap = if why.len() < SHORT_ERROR { " " } else { "\n                                 " };
                let what = format!("first try failed after {after:.1} s:{gap}{why}");
                stage.screen.say(stage.side, kind.name(), &what);
            }
            Err(_) => {}
        }
        stage.interrupt.pause(RETRY)?;
    }
    Ok((None, tries))
}

/// What a person needs of an error: from where the guard speaks, else the last line; ids by their beginning.
fn shortened(text: &str) -> String {
    let line = text.trim().lines().last().unwrap_or_default();
    let line = line.find("guard: ").map_or(line, |start| &line[start..]);
    let words = line.split(' ').map(|word| {
        let id = word.trim_matches('"');
        if id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            &id[..12]
        } else {
            word
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(ERROR_WIDTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

enum Subject {
    Pod { cri: Box<Cri>, pod: Box<Pod>, container: PodContainer },
    Container { ctr: Ctr, id: String },
}

impl Subject {
    fn start(stage: &Stage<'_>, kind: Kind) -> Result<Self> {
        let command = ["sleep", "100000"];
        match kind {
            Kind::Pod => {
                let cri = Box::new(stage.host.cri()?);
                let pod = cri.run_pod(stage.handler, "demo")?;
                let container = cri.run_container(&pod, "main", &command)?;
                Ok(Self::Pod { cri, pod: Box::new(pod), container })
            }
            Kind::Container => {
                // With the host's tag, so that no other process of this machine has it among its arguments.
                let (ctr, id) = (stage.host.ctr(), format!("{}-demo", stage.host.tag()));
                ctr.start(&stage.host.handler(stage.handler)?, &id, &command)?;
                Ok(Self::Container { ctr, id })
            }
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Pod { pod, .. } => &pod.id,
            Self::Container { id, .. } => id,
        }
    }

    /// How many processes there are of it: all that name it (shims, sentry, gofers, hung runsc commands), and what
    /// descends from those (the sentry's stubs). Unguarded, each container of a pod has a shim of its own.
    fn processes(&self) -> usize {
        let ids = match self {
            Self::Pod { pod, container, .. } => vec![&pod.id, &container.id],
            Self::Container { id, .. } => vec![id],
        };
        let names_it = |process: &Process| {
            process.args.iter().any(|arg| ids.iter().any(|id| arg.contains(*id)))
                && !process.args.first().is_some_and(|program| program.ends_with("/ctr"))
        };
        Process::with_descendants(names_it).iter().filter(|process| process.state != 'Z').count()
    }

    /// Asks once; why not, if not.
    fn ask(&self, left: Duration) -> Result<(), String> {
        match self {
            Self::Pod { cri, pod, .. } => {
                let limit = left.min(STOP_TIMEOUT);
                let began = Instant::now();
                cri.stop_pod(pod, limit).map_err(|status| match began.elapsed() {
                    took if took >= limit => "no answer".to_owned(),
                    _ => status.message().to_owned(),
                })
            }
            Self::Container { ctr, id } => {
                let began = Instant::now();
                // Where this fails the task may be gone already, which `rm` tells.
                let kill = ctr.kill(id, "SIGKILL", left).map_err(|error| error.to_string())?;
                let rm = ctr
                    .delete_task(id, left.saturating_sub(began.elapsed()))
                    .map_err(|error| error.to_string())?;
                match (rm.success(), kill.success()) {
                    (true, _) => Ok(()),
                    (false, true) => Err(rm.stderr),
                    (false, false) => Err(kill.stderr),
                }
            }
        }
    }

    /// containerd still calls it alive, or does not answer.
    fn is_listed(&self) -> bool {
        match self {
            Self::Pod { cri, pod, .. } => {
                !cri.pods(ANSWER).is_ok_and(|pods| !pods.contains(&(pod.id.clone(), READY)))
            }
            Self::Container { ctr, id } => {
                !ctr.tasks(ANSWER).is_ok_and(|tasks| tasks.iter().all(|task| task.id != *id))
            }
        }
    }

    /// Takes the ended sandbox out of containerd's records, and tells if containerd refuses.
    fn forget(&self) -> Option<String> {
        match self {
            Self::Pod { cri, pod, .. } => {
                // CRI still handles the container's exit when it calls the pod stopped, and refuses to remove
                // a container of which it does not know the exit: a kubelet asks again, too.
                let mut why = String::new();
                let removed = eventually(ANSWER, "the pod is removed", || {
                    cri.remove_pod(pod, ANSWER).map_err(|error| why = format!("{error:#}")).ok()
                });
                removed.err().map(|_| format!("pod not removed ({})", shortened(&why)))
            }
            Self::Container { ctr, id } => {
                let refusal = ctr.delete_container(id).err()?;
                Some(format!("container not removed ({})", shortened(&format!("{refusal:#}"))))
            }
        }
    }
}
