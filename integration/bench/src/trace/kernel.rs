//! The kernel's own record: a trace buffer of ours, beside whatever else is traced on this machine.

use anyhow::{Context as _, Result, anyhow};
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    thread,
};

const INSTANCES: &str = "/sys/kernel/tracing/instances";
/// Ends a recording.
const END: &str = "rg-end";
/// What every other mark begins with.
pub(super) const MARK: &str = "rg ";

/// Something that happened, and when: seconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happened {
    pub(super) at: f64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A thread or a process.
    Fork {
        parent: i32,
        child: i32,
    },
    /// With the arguments, if somebody looked in time.
    Exec {
        pid: i32,
        file: String,
        args: Vec<String>,
    },
    Exit {
        pid: i32,
    },
    /// Words of a mark.
    Mark(Vec<String>),
}

/// An instance of the kernel's tracing; it goes with this.
pub(super) struct Tracing {
    folder: PathBuf,
}

impl Tracing {
    pub(super) fn start() -> Result<Self> {
        let folder = Path::new(INSTANCES).join(format!("rg-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{}: is tracefs mounted on /sys/kernel/tracing?", folder.display()))?;
        let tracing = Self { folder };
        tracing.write("trace_clock", "mono")?;
        tracing.write("buffer_size_kb", "8192")?;
        for event in ["fork", "exec", "exit"] {
            tracing.write(&format!("events/sched/sched_process_{event}/enable"), "1")?;
        }
        Ok(tracing)
    }

    /// Whatever is written there stands in the buffer, with its time.
    pub(super) fn marker(&self) -> PathBuf {
        self.folder.join("trace_marker")
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Does `work` between two marks.
    pub(super) fn step<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.write("trace_marker", &format!("{MARK}begin {name}"))?;
        let done = work();
        self.write("trace_marker", &format!("{MARK}end {name}"))?;
        done
    }

    /// What happens on this machine while `work` is done.
    pub(super) fn record<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Happened>)> {
        self.write("trace", "")?;
        let pipe = BufReader::new(std::fs::File::open(self.folder.join("trace_pipe"))?);
        // It is read at once: of a process that has ended nobody can tell the arguments.
        let reader = thread::spawn(move || {
            let lines = pipe.lines().map_while(Result::ok).take_while(|line| !line.ends_with(END));
            lines.filter_map(|line| parse(&line)).map(with_arguments).collect::<Vec<_>>()
        });
        let done = work();
        self.write("trace_marker", END)?;
        let happened = reader.join().map_err(|_| anyhow!("the reader panicked"))?;
        Ok((done?, happened))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        // The recorders may still have its marker open: a moment later they have not.
        let _ = harness::eventually(std::time::Duration::from_secs(5), "the trace buffer goes", || {
            std::fs::remove_dir(&self.folder).ok()
        });
    }
}

/// `COMM-PID [CPU] FLAGS TIME: EVENT: FIELDS`; what is no event of ours is nothing.
fn parse(line: &str) -> Option<Happened> {
    let (_, rest) = line.split_once("] ")?;
    let mut parts = rest.trim_start().splitn(3, ": ");
    let at = parts.next()?.split_whitespace().last()?.parse().ok()?;
    let (event, fields) = (parts.next()?, parts.next()?);
    let number = |name: &str| -> Option<i32> {
        let start = fields.rfind(&format!(" {name}="))? + name.len() + 2;
        fields[start..].split(' ').next()?.parse().ok()
    };
    let what = match event {
        "sched_process_fork" => What::Fork { parent: number("pid")?, child: number("child_pid")? },
        "sched_process_exec" => {
            let file = fields.strip_prefix("filename=")?.split(" pid=").next()?.to_owned();
            What::Exec { pid: number("pid")?, file, args: Vec::new() }
        }
        "sched_process_exit" => What::Exit { pid: number("pid")? },
        "tracing_mark_write" => {
            What::Mark(fields.strip_prefix(MARK)?.split(' ').map(str::to_owned).collect())
        }
        _ => return None,
    };
    Some(Happened { at, what })
}

fn with_arguments(mut happened: Happened) -> Happened {
    if let What::Exec { pid, args, .. } = &mut happened.what
        && let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline"))
    {
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        *args = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    }
    happened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_buffer_are_read() {
        let fork = "      containerd-12      [001] ..... 17.000250: sched_process_fork: comm=contain erd pid=12 \
            child_comm=containerd child_pid=34";
        let what = What::Fork { parent: 12, child: 34 };
        assert_eq!(parse(fork), Some(Happened { at: 17.00025, what }));
        let exec = "  runsc-34 [000] ..... 17.5: sched_process_exec: filename=/a b/runsc pid=34 old_pid=34";
        let what = What::Exec { pid: 34, file: "/a b/runsc".to_owned(), args: Vec::new() };
        assert_eq!(parse(exec), Some(Happened { at: 17.5, what }));
        let exit =
            " runsc-34 [000] ..... 18.0: sched_process_exit: comm=runsc pid=34 prio=120 group_dead=true";
        assert_eq!(parse(exit), Some(Happened { at: 18.0, what: What::Exit { pid: 34 } }));
        let mark = " bench-9 [000] ..... 18.5: tracing_mark_write: rg begin RunPodSandbox";
        let what = What::Mark(vec!["begin".to_owned(), "RunPodSandbox".to_owned()]);
        assert_eq!(parse(mark), Some(Happened { at: 18.5, what }));
        assert_eq!(parse("CPU:1 [LOST 3 EVENTS]"), None);
    }
}
