//! What `--help` says below the options.

pub(super) const EXAMPLES: &str = "\
Exit status: 2 for wrong usage; else as the help of each command says.

Examples:
  runsc-guard ls                        every gVisor sandbox on this node
  runsc-guard ls -o wide --watch        the same with signs and process ids, refreshed every 2 s
  runsc-guard show 3f2a                 details of the sandbox whose id begins with 3f2a
  runsc-guard reap --wedged --dry-run   what would be done about every sandbox that is stuck
  runsc-guard reap --wedged --yes       end them, without asking
  runsc-guard reports                   reports of sandboxes that were ended
  runsc-guard doctor                    check this node's setup, and whether a sandbox is stuck
  runsc-guard drill                     hang a throw-away pod, and measure how the guard ends it
  runsc-guard metrics --listen [::]:9750  metrics of this node, for Prometheus";

pub(super) const LS_EXAMPLES: &str = "\
States:
  starting    the container is being created
  running     no sign of a problem
  paused      paused by `runsc pause` or by containerd
  wedged      it cannot answer, or has not answered for too long; SIGN says why (`-o wide`, `show`)
  ending      its guard is ending it, or its last container was deleted
  ended       its processes are gone; containerd has not collected the exit status yet
  unkillable  SIGKILL was sent, but the kernel keeps a process of it alive
  orphaned    its shim or guard is dead, or containerd has forgotten it
  unknown     whether its guard or shim lives cannot be told from here; nothing is done to it
  unproven    a process claims to be a sandbox, but no shim and no file of runsc confirms it

Exit status: 0 the node was looked at, whatever the states; 1 it cannot be; 2 wrong usage.

Examples:
  runsc-guard ls                        a table
  runsc-guard ls -n k8s.io -o wide      only pods, with all signs and process ids
  runsc-guard ls -o json | jq '.[] | select(.state == \"wedged\") | .id'
  runsc-guard ls --watch=5              refreshed every 5 s";

pub(super) const SHOW_EXAMPLES: &str = "\
Exit status: 0 it is shown; 1 there is no such sandbox, more than one, or the node cannot be looked
at; 2 wrong usage.

Examples:
  runsc-guard show 3f2a                 by a unique prefix of its id or of the id of one of its containers
  runsc-guard show 3f2a -o json         for a bug report or a script";

pub(super) const REAP_EXAMPLES: &str = "\
Each sandbox is ended as its guard would end it at a deadline: reap records diagnostics in a
report; sends SIGKILL, through pidfds, to sentry, gofers and hung runsc commands, and to the real
shim if that does not exit by itself; then releases mounts, cgroups and files. A guard that is
alive is asked to do this itself, so that it reports the exits (137) to containerd. `--wedged`
ends only what is still wedged when looked at again and leaves three questions, each with a time
limit, unanswered.

Exit status: 0 everything was ended; 1 something is left, or was refused; 2 wrong usage.

Examples:
  runsc-guard reap 3f2a --dry-run       show what would be done
  runsc-guard reap 3f2a 77c1            end these two, after asking on the terminal
  runsc-guard reap --wedged --yes       end every wedged sandbox, without asking
  runsc-guard reap --orphaned -n k8s.io end sandboxes without shim or guard, in this namespace only";

pub(super) const REPORTS_EXAMPLES: &str = "\
Exit status: 0 the reports are shown, if there are any; 1 there is none of this ID, or a folder
cannot be read; 2 wrong usage.

Examples:
  runsc-guard reports                   one line per report, the newest last
  runsc-guard reports 3f2a              the reports of one sandbox, in full
  runsc-guard reports --follow          print new reports as they are written
  runsc-guard reports -o json           an array of the reports as they were written";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Each finding is ok, warn or fail, followed by what to do about it. doctor returns within 2 s, even
if part of the node hangs. Logs, in text or JSON, may come from another node; reading them takes
longer the larger they are.

Exit status: 0 no finding is fail; 1 at least one is; 2 wrong usage.

Examples:
  runsc-guard doctor                    check this node
  runsc-guard doctor -o json | jq '.[] | select(.level == \"fail\") | .remedy'
  runsc-guard doctor --fix              print what containerd's configuration needs
  journalctl -u kubelet -u containerd | runsc-guard doctor --logs -
  talosctl -n NODE logs cri | runsc-guard doctor --logs -";

pub(super) const CHECK_EXAMPLES: &str = "\
A problem is what does not end by itself: a sandbox that the kernel does not let die, one that
hangs where no living guard could end it, one whose shim or guard is dead, each at two looks a
second apart; and a node without the guard. A sandbox that hangs under a living guard is none: it
ends by its deadline once somebody wants its end. The first 80 bytes of the line tell what matters.

Exit status: 0 no problem; 1 a problem; 2 it cannot be said (as node-problem-detector's custom
plugins have it), also for wrong usage. With --nagios: 0 ok; 1 warning (orphaned, guard missing);
2 critical (stuck, unkillable); 3 it cannot be said.

Examples:
  runsc-guard check                     for node-problem-detector or a systemd timer
  runsc-guard check --nagios            for Nagios, Icinga, Checkmk
  runsc-guard check -n k8s.io           pods only";

pub(super) const DRILL_EXAMPLES: &str = "\
Run it after `install`, and whenever containerd, gVisor or the guard has changed. drill starts a
pod sandbox (or a task) of its own, stops its kernel with SIGSTOP, has containerd end it, and
measures how long that takes: promised are query_deadline + kill_deadline + 2 s. Then it removes
the sandbox and checks that nothing of it is left. It touches nothing else, and needs no image
but containerd's pause image (a task none at all) and no network. What a drill that was killed
has left is removed by the next one. The guard writes a report and counts an escalation, as for
any other sandbox.

In a container it needs the node's pids, --root, the node's /run/runsc-guard to write to, and the
capabilities SYS_CHROOT, SYS_PTRACE and KILL.

Exit status: 0 the promise was kept; 1 it was not, or the drill failed; 2 wrong usage;
128 + N interrupted by signal N (everything is removed first).

Examples:
  runsc-guard drill                     hang a pod under the guard, and see it end
  runsc-guard drill --unguarded         the same under gVisor's own shim, and see it hang
  runsc-guard drill --via task          without CRI, without an image
  runsc-guard drill -o json | jq .ended_ms";

pub(super) const METRICS_EXAMPLES: &str = "\
Without --listen, counters cover only guards that are running, each since its own start. With
--listen, the counts of guards that have exited stay in the sums for as long as the server runs.
GET /metrics returns OpenMetrics to a client that accepts it, as Prometheus does, and the older
Prometheus text format to others; GET /healthz returns 200 while the server runs. A dashboard and
alert rules are in hack/monitoring.

Exit status: 0 they were printed, or served until SIGTERM or SIGINT; 1 the node cannot be looked at,
or nothing can listen at ADDRESS; 2 wrong usage.

Examples:
  runsc-guard metrics                   print once, in OpenMetrics
  runsc-guard metrics -o prometheus     for node_exporter's textfile collector
  runsc-guard metrics --listen 127.0.0.1:9750
  runsc-guard metrics --listen unix:/run/runsc-guard-metrics.sock";
