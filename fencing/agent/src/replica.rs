//! What the local replicas say of themselves: the control socket of `twindisk serve`, asked several times a second.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill as kill_process},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};
use tracing::{error, warn};
use twindisk_control::{
    limits::MAX_LINE_BYTES,
    protocol::{Answer, Ask, NodeStatus, Request, ResourceStatus, VERSION},
};
use twindisk_view as view;

/// How long `twindisk serve` has to answer a question about its state.
const PATIENCE: Duration = Duration::from_secs(2);

/// What could be learned.
#[derive(Debug)]
pub(crate) enum Look {
    /// It answered.
    Said(Box<NodeStatus>),
    /// Nobody listens: the process is gone.
    Gone,
    /// It does not answer, and is not known to be gone.
    Silent,
}

/// A connection that is kept.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    stream: Option<BufReader<UnixStream>>,
}

impl Watch {
    /// Asks for the status of everything.
    pub(crate) async fn look(&mut self, socket: &Path) -> Look {
        // A connection of an earlier process breaks: that alone says nothing of the next one.
        for _ in 0..2 {
            if self.stream.is_none() {
                match UnixStream::connect(socket).await {
                    Ok(stream) => self.stream = Some(BufReader::new(stream)),
                    Err(error) => return gone_or_silent(&error),
                }
            }
            let Some(stream) = &mut self.stream else {
                return Look::Silent;
            };
            match timeout(PATIENCE, exchange(stream, Ask::Status { resource: None })).await {
                Ok(Ok(Answer::Status(status))) => return Look::Said(status),
                Ok(Ok(_)) => return Look::Silent,
                Ok(Err(_)) => self.stream = None,
                Err(_) => {
                    self.stream = None;
                    return Look::Silent;
                }
            }
        }
        Look::Silent
    }
}

fn gone_or_silent(error: &io::Error) -> Look {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Look::Gone,
        _ => Look::Silent,
    }
}

/// Asks one thing on a connection of its own.
pub(crate) async fn ask(socket: &Path, ask: Ask, patience: Duration) -> Result<String, String> {
    let asked = async {
        let stream = UnixStream::connect(socket).await?;
        exchange(&mut BufReader::new(stream), ask).await
    };
    match timeout(patience, asked).await {
        Ok(Ok(Answer::Done(reply))) => Ok(reply.message),
        Ok(Ok(Answer::Refused(refusal))) => Err(format!("{} ({})", refusal.why, refusal.next)),
        Ok(Ok(Answer::Error(failed))) => Err(format!("{} ({})", failed.why, failed.next)),
        Ok(Ok(other)) => Err(format!("unexpected answer: {other:?}")),
        Ok(Err(error)) => Err(format!("twindisk serve does not answer: {error}")),
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

/// Kills it and says so: the disk of this resource has answered nothing for long.
pub(crate) async fn kill_hung(socket: PathBuf, resource: String, pid: u64) {
    match kill(&socket, pid).await {
        Ok(()) => warn!(resource, pid, "killed: its I/O stood still"),
        Err(why) => error!(resource, pid, "could not be killed: {why}"),
    }
}

/// Kills the process that listens on the socket, if its number is `pid`. That its number was given to another process
/// meanwhile is ruled out: the listener's is read from the socket right before.
///
/// # Errors
/// When there is nobody to kill, or it is not allowed.
async fn kill(socket: &Path, pid: u64) -> Result<(), String> {
    let connecting = timeout(PATIENCE, UnixStream::connect(socket)).await;
    let stream = connecting
        .map_err(|_| "its control socket takes nobody any more".to_owned())?
        .map_err(|error| format!("it is gone already: {error}"))?;
    // 0 is a process that can't be seen from here: one of another container.
    let listener = stream.peer_cred().ok().and_then(|peer| peer.pid());
    match listener.filter(|listener| *listener > 0) {
        Some(listener) if u64::from(listener.unsigned_abs()) == pid => {
            kill_process(Pid::from_raw(listener), Signal::SIGKILL)
                .map_err(|error| format!("process {pid}: {error}"))
        }
        Some(other) => Err(format!("process {other} has taken its place")),
        None => Err("its process can't be seen from here".to_owned()),
    }
}

async fn exchange(stream: &mut BufReader<UnixStream>, ask: Ask) -> io::Result<Answer> {
    let request = Request {
        version: VERSION,
        ask,
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await?;
    let mut answer = Vec::new();
    let mut limited = (&mut *stream).take(MAX_LINE_BYTES as u64);
    limited.read_until(b'\n', &mut answer).await?;
    if answer.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// What the process's answer says of one of its resources; one that it does not name has no replica.
pub(crate) fn said_of(pid: u32, resource: Option<&ResourceStatus>) -> view::Look<'_> {
    match resource {
        Some(resource) => match &resource.replica {
            Some(status) => view::Look::Said {
                run: u64::from(pid),
                status,
            },
            // The process answered for a replica that runs and did not: its thread is stuck, and nothing is gone.
            None if resource.running => view::Look::Silent,
            None => view::Look::Gone,
        },
        None => view::Look::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_stuck_is_no_process_that_is_gone() {
        let mut resource = ResourceStatus {
            name: "r0".into(),
            backing: String::new(),
            io: String::new(),
            metadata: String::new(),
            nbd: Vec::new(),
            bound_export: None,
            running: true,
            down: false,
            why: Some("its I/O loop is stuck".into()),
            replica: None,
        };
        let told = |resource: &ResourceStatus| view::news(&said_of(1, Some(resource)), &[2]);
        assert_eq!(told(&resource), None, "nothing new is known");
        resource.running = false;
        assert_eq!(told(&resource), Some(None), "it has stopped");
        assert_eq!(view::news(&said_of(1, None), &[2]), Some(None));
    }

    #[tokio::test]
    async fn only_the_process_that_listens_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("serve.sock");
        let why = kill(&socket, 1).await.expect_err("nobody listens");
        assert!(why.contains("gone already"), "{why}");
        // This process listens, and was not meant.
        let _listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        let why = kill(&socket, u64::from(std::process::id()) + 1)
            .await
            .expect_err("another one");
        assert!(why.contains("taken its place"), "{why}");
    }
}
