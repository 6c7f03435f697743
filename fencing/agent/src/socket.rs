//! The agent's own socket: people and scripts ask there.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::spawn_local,
    time::sleep,
};
use tracing::warn;

use crate::ask::{AgentAnswer, AgentAsk};

const MAX_LINE: u64 = 64 << 10;
/// Before the next connection is accepted when that failed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A question and where its answer goes.
pub(crate) type Question = (AgentAsk, oneshot::Sender<AgentAnswer>);

/// Listens; an earlier agent's socket file is replaced unless that still answers.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another agent of this node is running",
        ));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Passes questions on.
pub(crate) async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                spawn_local(async move { converse(stream, questions).await });
            }
            Err(error) => {
                // For want of file descriptors, most likely: trying at once would take the loop's time.
                warn!("a question can't be accepted: {error}");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut stream).take(MAX_LINE);
        if limited.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(ask) => {
                let (sender, receiver) = oneshot::channel();
                questions.send((ask, sender)).await.ok()?;
                receiver.await.ok()?
            }
            Err(error) => {
                AgentAnswer::Refused(format!("this is no question that an agent knows: {error}"))
            }
        };
        let mut text = serde_json::to_vec(&answer).ok()?;
        text.push(b'\n');
        stream.get_mut().write_all(&text).await.ok()?;
    }
}
