//! What `--help` says below the options.

pub(super) const EXAMPLES: &str = "\
Examples:
  runsc-guard ls                        every gVisor sandbox on this node
  runsc-guard ls -o wide --watch        the same with signs and processes, again every 2 s
  runsc-guard show 3f2a                 all about the sandbox whose id begins with 3f2a
  runsc-guard reap --wedged --dry-run   what would be done about everything that is stuck
  runsc-guard reap --wedged --yes       do it, without asking
  runsc-guard reports                   what was seen of sandboxes before they were ended
  runsc-guard doctor                    is this node fit for the guard, and is something stuck
  runsc-guard metrics --listen [::]:9750  the node in numbers, for Prometheus";

pub(super) const LS_EXAMPLES: &str = "\
States:
  starting    its Create is under way
  running     nothing speaks against it
  paused      by `runsc pause`, or containerd's Pause
  wedged      it cannot answer, or has not for long; SIGN tells why (`-o wide`, `show`)
  ending      its guard is ending it, or it is being closed
  ended       its processes are gone; containerd has not collected the exit yet
  unkillable  SIGKILL was sent and the kernel keeps it alive
  orphaned    whoever started it (real shim, guard) is dead
  unproven    claims to be a sandbox; neither a shim nor runsc's files vouch for it

Examples:
  runsc-guard ls                        a table
  runsc-guard ls -n k8s.io -o wide      pods only, with signs, processes and the last answer
  runsc-guard ls -o json | jq '.[] | select(.state == \"wedged\") | .id'
  runsc-guard ls --watch=5              again every 5 s";

pub(super) const SHOW_EXAMPLES: &str = "\
Examples:
  runsc-guard show 3f2a                 by any unique prefix of the sandbox's id, or of a container's in it
  runsc-guard show 3f2a -o json         for a bug report or a script";

pub(super) const REAP_EXAMPLES: &str = "\
What is done is what the guard does at a deadline: evidence into a report; SIGKILL, through
pidfds, to sentry, gofers and hung runsc commands; then to the real shim where it does not go on
by itself; then mounts, cgroups and files. Where a guard lives, it does this itself, so that
containerd hears the exits (137) from it. `--wedged` takes only what is still wedged at a second
look and does not answer three bounded `runsc state`.

Exit status: 0 all is gone; 1 something is left, or was refused; 2 wrong usage.

Examples:
  runsc-guard reap 3f2a --dry-run       what would be done
  runsc-guard reap 3f2a 77c1            end these two; asks first on a terminal
  runsc-guard reap --wedged --yes       end all that is stuck, unasked
  runsc-guard reap --orphaned -n k8s.io only what nobody manages any more, only in this namespace";

pub(super) const REPORTS_EXAMPLES: &str = "\
Examples:
  runsc-guard reports                   one line for each, the newest last
  runsc-guard reports 3f2a              all that was seen of one sandbox
  runsc-guard reports --follow          tell of each as it comes
  runsc-guard reports -o json           as they were written, in an array";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Each line is ok, warn or fail, with what to do below it. It is done within 2 s, whatever hangs.
Logs, in text or JSON, may come from another node; reading them takes as long as they are.

Exit status: 0 nothing fails; 1 something does; 2 wrong usage.

Examples:
  runsc-guard doctor                    look at this node
  runsc-guard doctor -o json | jq '.[] | select(.level == \"fail\") | .remedy'
  runsc-guard doctor --fix              print what containerd's configuration needs
  journalctl -u kubelet -u containerd | runsc-guard doctor --logs -
  talosctl -n NODE logs cri | runsc-guard doctor --logs -";

pub(super) const METRICS_EXAMPLES: &str = "\
Printed once, counters cover the guards that live now, and what they counted since they began.
With --listen, what ended guards had counted stays in the sums for as long as the server runs.
GET /metrics gives OpenMetrics to who accepts it, as Prometheus does, and Prometheus's older text
format to others; GET /healthz says that the server is there. Dashboard and alert rules for them
are in hack/monitoring.

Examples:
  runsc-guard metrics                   one look, in OpenMetrics
  runsc-guard metrics -o prometheus     for node_exporter's textfile collector
  runsc-guard metrics --listen 127.0.0.1:9750
  runsc-guard metrics --listen unix:/run/runsc-guard-metrics.sock";
