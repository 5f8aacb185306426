//! What the project is for, as its users see it: two pods hang in the same way, and kubectl is asked to delete both.

use crate::{
    cluster::Cluster,
    stage::{BARE, GRACE, GUARDED},
};
use anyhow::{Context as _, Result};
use harness::eventually;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// The guard's own deadline and the time of its steps.
const DEADLINE: Duration = Duration::from_secs(10);
const STEPS: Duration = Duration::from_secs(2);
/// What the kubelet takes beside.
const KUBELET: Duration = Duration::from_secs(8);
/// How much longer the other pod is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// Shows it; the last two lines are the verdict.
pub(crate) fn demonstrate(cluster: &Cluster) -> Result<ExitCode> {
    let began = Instant::now();
    let say = |what: &str| eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    cluster.create_bare_class()?;
    say("helm install: the guard comes onto the node");
    cluster.install_chart()?;
    for (name, class) in [("unguarded", BARE), ("guarded", GUARDED)] {
        cluster.start_pod(name, class)?;
        say(&format!("a pod of class {class} runs"));
    }
    for name in ["unguarded", "guarded"] {
        let sentry = cluster.wedge(name)?;
        say(&format!("gVisor's kernel of the pod {name}, process {sentry}, is stopped"));
    }

    say("kubectl delete pod unguarded guarded");
    let deleted = Instant::now();
    cluster.does("kubectl delete pod unguarded guarded --wait=false")?;
    let (limit, mut shown) = (Duration::from_secs(GRACE) + DEADLINE + STEPS + KUBELET, String::new());
    let ended = eventually(2 * limit, "the guarded pod is gone", || {
        let pods = cluster.does("kubectl get pods --no-headers -o custom-columns=NAME:.metadata.name,DELETED:.metadata.deletionTimestamp").ok()?;
        let line = names(&pods);
        if line != shown {
            say(&format!("kubectl get pods: {}", if line.is_empty() { "none" } else { &line }));
            shown = line;
        }
        cluster.get("pod guarded").ok()?.is_none().then(|| deleted.elapsed())
    })?;
    let left = cluster.sandbox("guarded")?;
    say(&format!("the other pod is watched until {} s after the deletion", (limit + WATCHED).as_secs()));
    let unguarded_ended = loop {
        if cluster.get("pod unguarded")?.is_none() {
            break Some(deleted.elapsed());
        }
        if deleted.elapsed() > limit + WATCHED {
            break None;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    for line in cluster.does("kubectl get pods")?.lines() {
        say(&format!("    {line}"));
    }
    let waited = deleted.elapsed();
    if unguarded_ended.is_none() {
        say("kubectl runsc_guard reap --wedged --yes");
        let reaped = Instant::now();
        cluster.does("kubectl runsc_guard reap --wedged --yes")?;
        let freed = cluster.gone("unguarded", limit).context("reap did not free it")?;
        say(&format!(
            "the pod unguarded is gone {:.1} s later",
            freed.as_secs_f64().min(reaped.elapsed().as_secs_f64())
        ));
    }

    match unguarded_ended {
        Some(took) => println!("unguarded  ended in {:.1} s", took.as_secs_f64()),
        None => println!(
            "unguarded  not ended after {:.1} s, Terminating until it was reaped",
            waited.as_secs_f64()
        ),
    }
    println!(
        "guarded    ended in {:.1} s (grace period {GRACE} s, deadline {} s), {}",
        ended.as_secs_f64(),
        DEADLINE.as_secs(),
        if left.is_none() { "residue none" } else { "its sandbox is left" }
    );
    let kept = ended <= limit && left.is_none() && unguarded_ended.is_none();
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names(pods: &str) -> String {
    let state = |line: &str| {
        let (name, deleted) = line.split_once(' ')?;
        let state = if deleted.trim() == "<none>" { "Running" } else { "Terminating" };
        Some(format!("{name} {state}"))
    };
    pods.lines().filter_map(state).collect::<Vec<_>>().join(", ")
}
