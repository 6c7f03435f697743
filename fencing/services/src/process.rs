//! Runs one command in a process group of its own, which never outlives its deadline or the future that runs it.

use std::{
    io::{self, PipeReader},
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    process::{Child, Command},
    time::{Instant, timeout, timeout_at},
};

use crate::{error::Problem, limits};

/// What each command finds in its environment.
#[derive(Clone, Debug)]
pub(crate) struct Environment(pub(crate) Vec<(&'static str, String)>);

impl Environment {
    /// What the processes of a service carry, and nothing else does: not those of another cluster, or of another node, on
    /// the same host.
    pub(crate) fn marks(&self) -> Vec<String> {
        let marks = self.0.iter().filter(|(key, _)| MARKS.contains(key));
        marks.map(|(key, value)| format!("{key}={value}")).collect()
    }
}

/// A command that ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// The end of what it printed.
    pub(crate) output: String,
}

/// Runs `words` to its end, whatever that is.
///
/// What a successful command leaves behind (a daemon) lives on; after any other end, and when the future is dropped,
/// its whole process group is killed.
pub(crate) async fn run(
    words: &[String],
    environment: &Environment,
    within: Duration,
) -> Result<Finished, Problem> {
    let deadline = Instant::now() + within;
    let (program, arguments) = words.split_first().expect("the configuration checks it");
    let spawn = |source| Problem::Spawn {
        program: program.clone(),
        source,
    };
    let (reader, writer) = io::pipe().map_err(spawn)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment.0.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(spawn)?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    for ours in NOT_FOR_CHILDREN {
        command.env_remove(ours);
    }
    let mut output = Output::new(reader).map_err(spawn)?;
    let mut child = command.spawn().map_err(spawn)?;
    // It holds the pipe's other end open.
    drop(command);
    let mut group = Group::of(&child);
    let ended = timeout_at(deadline, output.until_end_of(&mut child)).await;
    match ended {
        Ok(Ok(status)) => {
            output.drain();
            if status.success() {
                group.spare();
                let text = output.text();
                output.discard_rest();
                return Ok(Finished {
                    status,
                    output: text,
                });
            }
            Ok(Finished {
                status,
                output: output.text(),
            })
        }
        Ok(Err(source)) => Err(Problem::system(format!("waiting for {program}"), source)),
        Err(_) => {
            group.kill();
            // Reaped here if it dies; one that is stuck in the kernel is left to the runtime.
            let _ = timeout(limits::KILL_GRACE, child.wait()).await;
            output.drain();
            Err(Problem::TimedOut {
                command: words.join(" "),
                within,
                output: output.text(),
            })
        }
    }
}

/// Runs `words`, which must succeed, and gives what it printed.
pub(crate) async fn succeed(
    words: &[String],
    environment: &Environment,
    within: Duration,
) -> Result<String, Problem> {
    let finished = run(words, environment, within).await?;
    if finished.status.success() {
        return Ok(finished.output);
    }
    Err(Problem::Failed {
        command: words.join(" "),
        how: finished.status.to_string(),
        output: finished.output,
    })
}

/// Kills a command's process group unless it is spared.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        )
    }

    fn spare(&mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // An empty group is no error: all of it is gone.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a command prints, on both streams, in their order.
struct Output {
    pipe: Option<Receiver>,
    kept: Vec<u8>,
    cut: bool,
}

impl Output {
    fn new(reader: PipeReader) -> io::Result<Self> {
        Ok(Self {
            pipe: Some(Receiver::from_owned_fd(OwnedFd::from(reader))?),
            kept: Vec::new(),
            cut: false,
        })
    }

    /// Reads while the command runs, so that a full pipe never stops it.
    async fn until_end_of(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut buffer = [0; limits::OUTPUT_BYTES];
        loop {
            let Some(pipe) = &mut self.pipe else {
                return child.wait().await;
            };
            tokio::select! {
                status = child.wait() => return status,
                read = pipe.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => self.pipe = None,
                    Ok(bytes) => self.keep(buffer.get(..bytes).unwrap_or_default()),
                },
            }
        }
    }

    /// What the command had written when it ended is in the pipe now; a daemon that it left may hold the pipe open for
    /// ever, so nobody waits for its end. The pipe's size bounds the loop, but for a daemon that floods it.
    fn drain(&mut self) {
        let mut buffer = [0; limits::OUTPUT_BYTES];
        for _ in 0..DRAIN_READS {
            match self.pipe.as_ref().map(|pipe| pipe.try_read(&mut buffer)) {
                Some(Ok(bytes @ 1..)) => self.keep(buffer.get(..bytes).unwrap_or_default()),
                _ => return,
            }
        }
    }

    /// A daemon that goes on printing would die of a closed pipe.
    fn discard_rest(self) {
        let Some(mut pipe) = self.pipe else { return };
        tokio::spawn(async move {
            let mut buffer = [0; limits::OUTPUT_BYTES];
            while matches!(pipe.read(&mut buffer).await, Ok(1..)) {}
        });
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if let Some(surplus @ 1..) = self.kept.len().checked_sub(limits::OUTPUT_BYTES) {
            self.kept.drain(..surplus);
            self.cut = true;
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let cut = if self.cut { "… " } else { "" };
        format!("{cut}{}", text.trim_end())
    }
}

/// See [`Environment::marks`].
const MARKS: [&str; 4] = [
    "TWINDISK_CLUSTER",
    "TWINDISK_NODE",
    "TWINDISK_RESOURCE",
    "TWINDISK_SERVICE",
];

/// What systemd tells this process alone: a command that took it for its own would speak in our name.
const NOT_FOR_CHILDREN: &[&str] = &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// A pipe holds 64 KiB unless somebody enlarged it.
const DRAIN_READS: usize = 64;

#[cfg(test)]
mod tests;
