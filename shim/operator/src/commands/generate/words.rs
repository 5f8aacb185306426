//! What the forms of the configuration reference have in common, beside the keys.

use runsc_guard_node::config::Config;

pub(super) const INTRODUCTION: [&str; 3] = [
    "The guard reads the table `[guard]` of the TOML file that `ConfigPath` names for its runtime handler in \
     containerd's configuration. It is the same file that gVisor's shim reads, which ignores tables that it does not \
     know. Every key has a default. Without `ConfigPath` there is no file; one that it names must exist, and an empty \
     one will do.",
    "A wrong key, type, unit or value fails the start of a sandbox with one line that names file, line, key and what \
     is accepted, and fails nothing else: a guard that runs keeps the configuration that it started with, for \
     containers that come later too. So a change holds for pods that start after it.",
    "Durations are strings such as \"1500ms\", \"10s\" or \"1m 30s\". A deadline counts from the first request for an \
     effect; its default fits what containerd and kubelet allow, and so do its bounds.",
];

pub(super) const ANNOTATIONS: [&str; 3] = [
    "With `allow_annotations = true` a pod may shorten its own deadlines, to 100ms at least, and lengthen none; one \
     that is not heeded is told in containerd's log and fails nothing. Those of the pod's sandbox count.",
    "containerd's CRI plugin hands on only the annotations that the handler's table lists: \
     `pod_annotations = [\"io.containerd.runsc-guard.*\"]`.",
    "`runsc-guard install` keeps what is added to the handler's table. Of gVisor's own handler it takes over \
     `ConfigPath` and nothing else: what else stands there (`pod_annotations`, `snapshotter`, `base_runtime_spec`) is \
     to be added to the guard's, too.",
];

/// Those outside of `[guard]` that the guard heeds, too.
pub(super) fn gvisors() -> String {
    let Config { runsc_root, runsc_binary, .. } = Config::default();
    format!(
        "`root` (default {runsc_root:?}) and `binary_name` (default {runsc_binary:?}), at the top of the same file, and \
         `root` in `[runsc_config]`, which wins and to which no namespace is appended: the guard looks where gVisor's \
         shim and runsc look. Paths there must be absolute (`shared-root` in `[runsc_config]`, too), since what is \
         relative begins in another folder under the guard, and no key may stand there a second time in capitals. All \
         else is gVisor's business, and gVisor says what is wrong with it."
    )
}
