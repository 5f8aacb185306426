//! Sandboxes for the tests of others.

use super::*;

/// A healthy unguarded sandbox.
pub(crate) fn found(id: &str) -> Found {
    let task = |pid, role| Task {
        identity: Identity { pid, start_time: 1 },
        role,
        state: 'S',
        age_ms: 60_000,
        frozen: None,
    };
    Found {
        namespace: "k8s.io".into(),
        id: id.into(),
        runsc_root: "/run/containerd/runsc/k8s.io".into(),
        pod: None,
        containers: vec![
            Container { id: id.into(), bundle: "/b/root".into() },
            Container { id: format!("app-of-{id}"), bundle: "/b/app".into() },
        ],
        version: None,
        runsc: None,
        status: Some("running".into()),
        guard: Guard::None,
        place: None,
        real_shims: vec![task(10, Role::RealShim)],
        unplaced: Vec::new(),
        sentry: Some(task(11, Role::Sentry)),
        answers: false,
        killed: false,
        others: vec![task(12, Role::Gofer), task(13, Role::Runsc("wait".into()))],
        pids: 20,
        rss_bytes: 30 << 20,
        managed: true,
        forgotten: false,
        proved: true,
    }
}

pub(crate) fn sandbox(id: &str, state: State) -> Sandbox {
    Sandbox { state, signs: Vec::new(), found: found(id) }
}
