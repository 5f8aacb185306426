//! Where and how pods run beside the ordinary: kinds of containers, the node's namespaces, what changes under a running
//! pod. `hack/docs/environments.md` is the table of it.

mod changes;
mod containers;
mod hierarchy;
mod namespaces;

use anyhow::{Context as _, Result, ensure};
use harness::{
    Cri, Handler, Host, Pod, PodContainer, SOON, Transcript,
    faults::Sandbox,
    leaks::{Resources, assert_nothing_left},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// What a pod whose sentry is stopped may take: State, which containerd asks first (1 s), `kill_deadline`, the escalation.
const LIMIT: Duration = Duration::from_secs(1 + 2 + 2);
/// And where a sibling lives whom nobody has asked to end: that the sentry is silent is measured over five seconds, which is
/// longer than this `kill_deadline`, and the last question has its second.
const WITH_SIBLINGS: Duration = Duration::from_secs(1 + 5 + 1 + 2);

/// The deadlines of these scenarios.
fn quick(name: &str) -> Handler {
    Handler::quick(name, "2s").guard("create_deadline", "\"5s\"")
}

/// A pod in the middle of its life: its containers that run, in the order in which a kubelet stops them.
struct Running {
    pod: Pod,
    containers: Vec<PodContainer>,
}

impl Running {
    fn of(pod: Pod, containers: impl IntoIterator<Item = PodContainer>) -> Self {
        Self { pod, containers: containers.into_iter().collect() }
    }

    /// The end of a healthy pod.
    fn end(&self, cri: &Cri, notes: &mut Transcript) -> Result<()> {
        for container in &self.containers {
            let stopped =
                cri.stop_container(container, 0, SOON).map_err(|status| status.message().to_owned());
            notes.note("StopContainer", format!("{stopped:?}"));
            ensure!(state(cri, container)? == 2, "it is not called exited");
        }
        cri.end_pod(&self.pod)
    }

    /// Stops the sentry; the pod is gone by the deadline all the same.
    fn end_stopped(&self, host: &Host, cri: &Cri) -> Result<()> {
        Sandbox::of(host, &self.pod.id)?.stop_sentry()?;
        self.end_wedged(cri)
    }

    /// The end of a wedged pod, asked for as a kubelet does: again and again.
    fn end_wedged(&self, cri: &Cri) -> Result<()> {
        let limit = if self.containers.len() > 1 { WITH_SIBLINGS } else { LIMIT };
        let began = Instant::now();
        let ask = |what: &str, ask: &dyn Fn() -> Result<(), tonic::Status>| {
            while let Err(error) = ask() {
                ensure!(
                    began.elapsed() < limit * 4,
                    "{what} is still refused after {:?}: {error}",
                    began.elapsed()
                );
                thread::yield_now();
            }
            Ok(())
        };
        for container in &self.containers {
            ask("StopContainer", &|| cri.stop_container(container, 0, limit))?;
        }
        ask("StopPodSandbox", &|| cri.stop_pod(&self.pod, limit))?;
        let took = began.elapsed();
        println!("sentry stopped: ended in {took:?}");
        ensure!(took <= limit, "the guard was late: {took:?}");
        cri.remove_pod(&self.pod, SOON)
    }
}

/// One pod's life up to a moment of interest, what it was told noted.
type Life = fn(&Host, &Cri, &str, &mut Transcript) -> Result<Running>;

/// Both handlers tell such a pod the same; and one whose sentry is stopped at that moment is ended by the guard's
/// deadline. Nothing is left of either.
fn alike_and_ended(life: Life) -> Result<()> {
    let host = Host::pair(quick("guarded"))?;
    let cri = host.cri()?;
    let told = |handler: &str| -> Result<Transcript> {
        let mut notes = Transcript::default();
        let running =
            life(&host, &cri, handler, &mut notes).with_context(|| format!("{handler}, after:\n{notes}"))?;
        running.end(&cri, &mut notes).with_context(|| format!("{handler}, after:\n{notes}"))?;
        Ok(notes)
    };
    let unguarded = told("unguarded")?;
    println!("unguarded:\n{unguarded}");
    // What gVisor's own shim leaves is its own affair.
    let before = Resources::of(&host);
    unguarded.assert_same(&told("guarded")?)?;
    assert_nothing_left(&host, &before, SOON)?;

    let running = life(&host, &cri, "guarded", &mut Transcript::default())?;
    running.end_stopped(&host, &cri)?;
    assert_nothing_left(&host, &before, SOON)
}

/// CRI's word for a container: 0 created, 1 running, 2 exited, -1 unknown to it.
fn state(cri: &Cri, container: &PodContainer) -> Result<i32> {
    let all = cri.containers(SOON)?;
    Ok(all.iter().find(|(id, _)| *id == container.id).map_or(-1, |(_, state)| *state))
}
