//! The whole vocabulary: what the guard is told ([`Input`]) and what it wants done ([`Output`]).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::exit::Exit;
use crate::refusal::Refusal;

/// A request that waits for its one answer; numbered by the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request of ours to the real shim; numbered by the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One process: a container's init (`exec` empty) or an exec'd one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// The container's id.
    pub container: String,
    /// The exec id, empty for init.
    pub exec: String,
}

impl ProcessId {
    /// Init of `container`.
    pub fn init(container: &str) -> Self {
        Self { container: container.into(), exec: String::new() }
    }

    /// Whether this is a container's init.
    pub fn is_init(&self) -> bool {
        self.exec.is_empty()
    }
}

/// What a Create or Exec said about a process, kept to answer State from the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The bundle (empty for an exec'd process, as the real shim answers its container's).
    pub bundle: String,
    /// Path of the stdin FIFO.
    pub stdin: String,
    /// Path of the stdout FIFO.
    pub stdout: String,
    /// Path of the stderr FIFO.
    pub stderr: String,
    /// Whether it has a terminal.
    pub terminal: bool,
}

/// What /proc says of the sentry at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentry {
    /// It can run, as far as can be seen.
    Runs,
    /// It is stopped or frozen: whatever asks it hangs.
    Stopped,
    /// It is dead or unknown.
    Dead,
}

/// A request's method with what the guard decides on; everything else stays bytes in the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create a container.
    Create(String, About),
    /// Start init or an exec'd process.
    Start(ProcessId),
    /// Add an exec'd process.
    Exec(ProcessId, About),
    /// State, with what /proc says meanwhile.
    State(ProcessId, Sentry),
    /// Pids of a container, with what /proc says meanwhile.
    Pids(String, Sentry),
    /// Connect.
    Connect(String),
    /// Stats of a container.
    Stats(String),
    /// Update of a container's resources.
    Update(String),
    /// Pause.
    Pause(String),
    /// Resume.
    Resume(String),
    /// Checkpoint.
    Checkpoint(String),
    /// Terminal size.
    ResizePty(ProcessId),
    /// Close of stdin.
    CloseIo(ProcessId),
    /// Wait for the exit.
    Wait(ProcessId),
    /// A signal; `all` is the request's own flag.
    Kill {
        /// To whom.
        process: ProcessId,
        /// The signal's number.
        signal: u32,
        /// To every process of the container.
        all: bool,
    },
    /// Delete of a process that has ended.
    Delete(ProcessId),
    /// Shutdown of the shim, sent after a container's Delete.
    Shutdown,
    /// Private: `start` reserves a place for one more container.
    Join(String),
    /// Private: `delete` has a container ended that may still run.
    End(String),
    /// Private: an operator has the sandbox ended, wedged or not.
    Reap,
}

/// What the real shim said to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success, with what the guard wants to know of it.
    Done(Told),
    /// An error status. `not_found` is gRPC code 5.
    Failed {
        /// The process is unknown to the real shim or has ended.
        not_found: bool,
    },
    /// The connection ended before the answer.
    Lost,
}

/// The decoded part of a successful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing of interest.
    Nothing,
    /// Create or Start: the pid.
    Pid(u32),
    /// State.
    State {
        /// The status.
        status: Status,
        /// The pid.
        pid: u32,
    },
    /// Wait or Delete: the exit.
    Exit(Exit),
}

/// A task's status on the wire (containerd api/types/task/task.proto).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not known.
    Unknown,
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Stopped,
    /// Paused.
    Paused,
    /// Being paused.
    Pausing,
}

/// An event from the real shim; the shim keeps its bytes until the guard has said what to do with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `/tasks/exit`.
    Exit(ProcessId, Exit),
    /// `/tasks/start`, `/tasks/exec-started`, `/tasks/paused`, `/tasks/resumed` and their kin: what only a
    /// living process can do.
    Alive(ProcessId),
    /// Anything else.
    Other,
}

/// What the shim reports to the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request came in. `caller` is the caller's own timeout, if it set one.
    Request {
        /// Its number, never used before.
        id: RequestId,
        /// What it asks for.
        op: Op,
        /// The caller's timeout.
        caller: Option<Duration>,
    },
    /// The caller of a request is gone; no answer is possible any more.
    Abandoned(RequestId),
    /// A call came back.
    Returned(CallId, Outcome),
    /// The real shim published an event.
    Event(Event),
    /// The real shim's process ended.
    RealShimExited,
    /// The real shim's process ended as one does that was sent SIGTERM.
    RealShimLeft,
    /// The node goes down: SIGTERM was sent, and containerd is gone or the service manager has come to the end.
    Terminate,
    /// A question to the sentry ended.
    Probed(Heard),
    /// A step of the ladder ended.
    Rung(RungDone),
    /// The processes that could not be killed are dead at last.
    RemnantsDied,
    /// The last connection to the guard has ended.
    Deserted,
    /// What a look for containerd's memory found.
    Recalled(Recalled),
    /// Time has passed; harmless when early or repeated.
    Tick,
}

/// Whether containerd knows the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// A bundle is there, and somebody is connected.
    Known,
    /// It cannot be said.
    Unclear,
    /// No bundle is there, and containerd, asked, knows none of its tasks.
    Forgotten,
}

/// What one question to the sentry has shown in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The sentry answers.
    Answers,
    /// It was paused on purpose: it answers, but whatever is sent to its tasks waits.
    Paused,
    /// No answer in the time given, but /proc shows that it is at work or held back: its processor time grows, it is
    /// runnable, or its cgroup throttles it. That is not silence.
    Slow,
    /// No answer, and /proc shows it stopped, frozen, or not using its processor.
    Nothing,
}

/// How a step of the ladder ended. `left` are words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RungDone {
    /// Rung 1.
    Evidence,
    /// Rung 2: what still lives, and when that was seen (nanoseconds since the epoch).
    SandboxKilled {
        /// What still lives.
        left: Vec<String>,
        /// The real shim cannot tell how it ended, however long it is given: it is stopped itself.
        mute: bool,
    },
    /// Rung 3.
    AllKilled {
        /// What still lives.
        left: Vec<String>,
        /// When that was seen, in nanoseconds since the epoch.
        at_ns: u64,
    },
    /// What one container's Create began is killed; `stuck` says where it hung.
    CreateKilled {
        /// The container.
        container: String,
        /// Where it hung, in words for the operator.
        stuck: String,
    },
    /// One container that had ended is released by itself.
    ReleasedOne {
        /// The container.
        container: String,
        /// What is left, and who holds it.
        left: Vec<String>,
        /// When that was seen, in nanoseconds since the epoch.
        at_ns: u64,
    },
    /// Rungs 4 and 5: released, and what is left all the same.
    Released {
        /// What is left.
        left: Vec<String>,
    },
    /// Rung 6: what was still stuck at the end of the attempt.
    Freed {
        /// What lives on.
        left: Vec<String>,
        /// It is being watched whether what holds it up hangs or is slow: the next attempt is due soon.
        undecided: bool,
    },
    /// The watchdog has looked.
    Watched,
}

/// Which connection to the real shim a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The shared one.
    Control,
    /// The shared one for Waits, which must survive everything else.
    Wait,
    /// One of its own, so that cancelling it reaches the real shim (signals).
    Own,
}

/// What the guard wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer a request: exactly one for each that came in and was not abandoned.
    Reply(RequestId, Answer),
    /// Send a request's own bytes on. `timeout` goes with them; the call comes back when the real shim
    /// answers, however late.
    Forward {
        /// The call's number.
        call: CallId,
        /// Whose bytes.
        request: RequestId,
        /// For `timeout_nano`.
        timeout: Duration,
        /// By which connection.
        lane: Lane,
    },
    /// Send a request of the guard's own.
    Call {
        /// The call's number.
        call: CallId,
        /// What.
        own: OwnCall,
        /// For `timeout_nano`.
        timeout: Duration,
    },
    /// Give a call up (close its connection); nothing comes back.
    Cancel(CallId),
    /// Publish the event that has just come in, as it came in or with the guard's exit in its place.
    Publish(Publication),
    /// Ask the sentry, past the real shim, whether it answers within this time, and look at it meanwhile; answered by
    /// [`Input::Probed`]. Like every step it is given up when it does not come back.
    Probe(Duration),
    /// Take a step within this time; answered by [`Input::Rung`], or given up some time after.
    Rung(Rung, Duration),
    /// Look whether containerd still knows the sandbox; answered by [`Input::Recalled`].
    Recall,
    /// Unlink the socket: nobody can join any more.
    StopListening,
    /// Write the record: members or exits have changed.
    Save,
    /// Tell the operator.
    Note(Note),
    /// End the process, after the answers are out.
    Quit,
}

/// A request of the guard's own to the real shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCall {
    /// Kill.
    Signal {
        /// To whom.
        process: ProcessId,
        /// The signal.
        signal: u32,
        /// To every process of the container.
        all: bool,
    },
    /// Delete.
    Delete(ProcessId),
    /// A request about this container that the real shim answers without a lock and without `runsc`: whether it
    /// answers anything at all.
    Greet(String),
    /// Shutdown.
    Shutdown,
}

/// What to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The event that has just come in.
    AsReceived,
    /// An exit that the guard has established.
    Exit(ProcessId, Exit),
}

/// A step of the ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// 1: look, do not touch.
    Evidence,
    /// 2: kill sentry, gofers and hung runsc commands.
    KillSandbox,
    /// 3: kill the real shim and every descendant.
    KillAll,
    /// Kill what one container's Create began.
    KillCreate(String),
    /// Release one container that has ended or never ran, and only that: the sandbox lives on.
    ReleaseOne(String),
    /// 4 and 5: release what the sandbox held and prove that nothing is left.
    Release,
    /// 6: take from what cannot be killed what it holds for others, and free it where nobody else is harmed.
    Free,
    /// No rung: look at a sandbox that is silent though nobody wants its end. As harmless as 1.
    Watch,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the real shim has just answered, byte for byte.
    Relay,
    /// Success without content.
    Done,
    /// State from the record.
    State {
        /// Which process.
        process: ProcessId,
        /// What is known of it.
        about: About,
        /// Its status.
        status: Status,
        /// Its pid.
        pid: u32,
        /// Its exit, if it has ended.
        exit: Option<Exit>,
    },
    /// Pids from the record.
    Pids(Vec<u32>),
    /// Connect: the task's pid (0 when there is no such task, as the real shim answers).
    Connect(u32),
    /// Wait.
    Waited(Exit),
    /// Delete, or End.
    Deleted(Exit),
    /// The guard's own error.
    Refused(Refusal),
}

/// What the operator is told, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A deadline passed: the ladder begins.
    Wedged {
        /// Which sign.
        why: Why,
        /// Since when the effect was waited for.
        waited: Duration,
    },
    /// The real shim is gone without having been told to go.
    RealShimDied,
    /// The node goes down, and its sandboxes with it.
    NodeGoesDown,
    /// The guard itself ran late by this much; every deadline has moved.
    Late(Duration),
    /// The sandbox is gone, this long after the ladder began; what is left all the same.
    Ended {
        /// Time since the ladder began.
        took: Duration,
        /// What is left.
        left: Vec<String>,
    },
    /// These cannot be killed.
    Unkillable(Vec<String>),
    /// A Create hung and was torn down.
    CreateStuck {
        /// Which container.
        container: String,
        /// Where it hung.
        stuck: String,
    },
    /// Delete of a container that had ended had no effect, and it was released by itself; what is left all the same.
    ReleasedOne {
        /// Which container.
        container: String,
        /// Since when the Delete had been waited for.
        waited: Duration,
        /// What is left, and who holds it.
        left: Vec<String>,
    },
    /// The sandbox has not answered for this long, and nobody wants its end.
    Silent(Duration),
    /// containerd has forgotten the sandbox: the guard ends it.
    Forgotten,
    /// One that was called silent answers again, after this long.
    Heard(Duration),
}

/// The sign by which a sandbox was found wedged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// SIGKILL had no effect; `acknowledged` tells whether the real shim answered it.
    KillWithoutExit {
        /// Whose.
        process: ProcessId,
        /// Whether the SIGKILL was acknowledged.
        acknowledged: bool,
    },
    /// Delete did not return.
    DeleteStuck(ProcessId),
    /// The root container's Create did not return.
    CreateStuck(String),
    /// The root container has ended, its sentry has not.
    SentryLingers,
    /// The real shim died.
    RealShimDied,
    /// An operator asked for its end.
    Reaped,
    /// It did not answer for so long that the watchdog ends it.
    Silent,
}
