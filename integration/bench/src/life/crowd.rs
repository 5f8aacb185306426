//! Many pods at once, as after a node's restart.

use super::rounds::Rounds;
use crate::{
    nodes::{Node, Side},
    section::Stage,
    subject::{LIMIT, Times, end_grouped, start, timed},
};
use anyhow::{Result, anyhow};
use harness::Pod;
use std::thread;

const ROUNDS: usize = 6;

/// Up to `pods`, so that the growth shows.
pub(crate) fn sizes(pods: usize) -> Vec<usize> {
    let mut sizes = vec![pods.div_ceil(10), pods.div_ceil(3), pods];
    sizes.dedup();
    sizes
}

pub(crate) fn measure(stage: &Stage<'_>, pods: usize) -> Result<Rounds> {
    let mut rounds = Rounds::default();
    for number in 0..ROUNDS.min(stage.options.pairs) {
        stage.say(format_args!("{pods} pods at once, round {number}"));
        rounds.add(stage, |node| live(node, pods, number))?;
    }
    Ok(rounds)
}

/// From the first request to the last answer.
fn live(node: &Node<'_>, pods: usize, round: usize) -> Result<Times> {
    let mut times = Times::new();
    let name = |number| format!("{}-crowd-{pods}-{round}-{number}", node.side.name());
    let names: Vec<String> = (0..pods).map(name).collect();
    let pods = timed(&mut times, "start", || each(&names, |name| Ok(start(node, name, 1)?.0)))?;
    if node.side == Side::Grouped {
        each(&pods, |pod| end_grouped(node, pod))?;
        return Ok(times);
    }
    timed(&mut times, "stop", || each(&pods, |pod| Ok(node.cri.stop_pod(pod, LIMIT)?)))?;
    timed(&mut times, "remove", || each(&pods, |pod: &Pod| node.cri.remove_pod(pod, LIMIT)))?;
    times.insert("whole life", times.values().sum());
    Ok(times)
}

/// All at the same time.
fn each<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(|| work(one))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowds_grow_and_none_comes_twice() {
        assert_eq!(sizes(50), [5, 17, 50]);
        assert_eq!(sizes(3), [1, 3]);
        assert_eq!(sizes(1), [1]);
    }
}
