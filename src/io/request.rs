//! What a caller asks for.

use alloc::string::String;
use core::fmt;

/// A request that waits for its one answer; numbered by the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

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
pub struct ProcessSpec {
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
pub enum Request {
    /// Create a container.
    Create(String, ProcessSpec),
    /// Start init or an exec'd process.
    Start(ProcessId),
    /// Add an exec'd process.
    Exec(ProcessId, ProcessSpec),
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

impl Request {
    /// The method that this is.
    pub const fn method(&self) -> Method {
        match self {
            Self::Create(..) => Method::Create,
            Self::Start(_) => Method::Start,
            Self::Exec(..) => Method::Exec,
            Self::State(..) => Method::State,
            Self::Pids(..) => Method::Pids,
            Self::Connect(_) => Method::Connect,
            Self::Stats(_) => Method::Stats,
            Self::Update(_) => Method::Update,
            Self::Pause(_) => Method::Pause,
            Self::Resume(_) => Method::Resume,
            Self::Checkpoint(_) => Method::Checkpoint,
            Self::ResizePty(_) => Method::ResizePty,
            Self::CloseIo(_) => Method::CloseIo,
            Self::Wait(_) => Method::Wait,
            Self::Kill { .. } => Method::Kill,
            Self::Delete(_) => Method::Delete,
            Self::Shutdown => Method::Shutdown,
            Self::Join(_) => Method::Join,
            Self::End(_) => Method::End,
            Self::Reap => Method::Reap,
        }
    }
}

/// The methods of containerd's Task API, and the private ones of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// State of a process.
    State,
    /// Creates a container.
    Create,
    /// Starts a process.
    Start,
    /// Deletes a process that has ended.
    Delete,
    /// Process ids of a container.
    Pids,
    /// Pauses a container.
    Pause,
    /// Resumes a container.
    Resume,
    /// Checkpoints a container.
    Checkpoint,
    /// Sends a signal.
    Kill,
    /// Adds a process.
    Exec,
    /// Sets the size of a terminal.
    ResizePty,
    /// Closes stdin.
    CloseIo,
    /// Changes a container's resources.
    Update,
    /// Waits for an exit.
    Wait,
    /// Statistics of a container.
    Stats,
    /// Process ids of shim and task.
    Connect,
    /// Ends the shim.
    Shutdown,
    /// Private: `start` reserves a place.
    Join,
    /// Private: `delete` has a container ended.
    End,
    /// Private: an operator has the sandbox ended.
    Reap,
}

impl Method {
    /// The Task API, in the order of containerd's shim.proto.
    pub const TASK_API: [Self; 17] = [
        Self::State,
        Self::Create,
        Self::Start,
        Self::Delete,
        Self::Pids,
        Self::Pause,
        Self::Resume,
        Self::Checkpoint,
        Self::Kill,
        Self::Exec,
        Self::ResizePty,
        Self::CloseIo,
        Self::Update,
        Self::Wait,
        Self::Stats,
        Self::Connect,
        Self::Shutdown,
    ];

    /// The method of the Task API that has this name on the wire; `None` for one that containerd does not define.
    pub fn of_task_api(name: &str) -> Option<Self> {
        Self::TASK_API.into_iter().find(|method| method.as_str() == name)
    }

    /// Its name: on the wire where it is one of the Task API, and in words where it is private.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "State",
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Delete => "Delete",
            Self::Pids => "Pids",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Checkpoint => "Checkpoint",
            Self::Kill => "Kill",
            Self::Exec => "Exec",
            Self::ResizePty => "ResizePty",
            Self::CloseIo => "CloseIO",
            Self::Update => "Update",
            Self::Wait => "Wait",
            Self::Stats => "Stats",
            Self::Connect => "Connect",
            Self::Shutdown => "Shutdown",
            Self::Join => "Join",
            Self::End => "delete",
            Self::Reap => "Reap",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ProcessId {
    /// `container`, or `container/exec`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.container)?;
        if self.is_init() { Ok(()) } else { write!(f, "/{}", self.exec) }
    }
}
