//! The control socket: requests in, answers out, one JSON object a line.

use std::{cell::Cell, os::fd::AsFd, rc::Rc};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::broadcast::error::RecvError,
};

use super::{events::Happened, nbd::pause_after, node::Node};
use crate::{
    limits,
    protocol::{Answer, Ask, EventLine, Failed, Request, VERSION},
};

/// Accepts operators for ever.
pub(crate) async fn accept(listener: &UnixListener, node: &Rc<Node>) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok((socket, _)) if open.get() < limits::MAX_CONTROL_CONNECTIONS => {
                let node = Rc::clone(node);
                let open = Rc::clone(&open);
                open.set(open.get() + 1);
                tokio::task::spawn_local(async move {
                    if let Err(error) = converse(socket, &node).await {
                        tracing::debug!(%error, "an operator's connection ended");
                    }
                    open.set(open.get() - 1);
                });
            }
            Ok(_) => tracing::warn!("too many connections to the control socket"),
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn converse(socket: UnixStream, node: &Rc<Node>) -> std::io::Result<()> {
    let uid = socket.peer_cred().ok().map(|credentials| credentials.uid());
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let limit = limits::MAX_REQUEST_BYTES as u64;
        (&mut reader)
            .take(limit)
            .read_until(b'\n', &mut line)
            .await?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() >= limits::MAX_REQUEST_BYTES {
            let error = failed(
                "the request is too long",
                "requests are one short line of JSON",
            );
            return send(&mut writer, &error).await;
        }
        match understand(&line) {
            Ok(Ask::Events {
                resource,
                recent,
                follow,
            }) => {
                return stream_events(&mut writer, node, resource.as_deref(), (recent, follow))
                    .await;
            }
            Ok(Ask::Status { resource }) => {
                let answer = node.status(resource.as_deref()).await;
                send(&mut writer, &answer).await?;
            }
            Ok(ask) => {
                let answer = tokio::select! {
                    biased;
                    () = hung_up(writer.as_ref()) => caller_gone(),
                    answer = node.carry_out(&ask) => answer,
                };
                record(node, &ask, uid, &answer);
                send(&mut writer, &answer).await?;
            }
            Err(answer) => send(&mut writer, &answer).await?,
        }
    }
}

/// Comes back when the other side has closed its socket. (One that has only said its last word still hears.)
async fn hung_up(socket: &UnixStream) {
    loop {
        let mut ask = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        let gone = poll(&mut ask, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        if gone {
            return;
        }
        tokio::time::sleep(limits::CALLER_LOOK).await;
    }
}

/// Whoever asked may have called it failed, and done something else since.
fn caller_gone() -> Answer {
    failed(
        "whoever asked has gone: it is not carried out, unless it had begun",
        "ask again, if it is still wanted",
    )
}

fn understand(line: &[u8]) -> Result<Ask, Answer> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let how = "send one JSON object a line: {\"version\":1,\"command\":\"status\"}";
    match serde_json::from_slice::<Version>(line) {
        Ok(Version { version }) if version != VERSION => Err(failed(
            &format!("the request has version {version}, this process speaks {VERSION}"),
            "use the `twindisk` of the same version as the running `twindisk serve`",
        )),
        Ok(_) => serde_json::from_slice::<Request>(line)
            .map(|request| request.ask)
            .map_err(|error| failed(&format!("the request is not understood: {error}"), how)),
        Err(error) => Err(failed(&format!("this is no request: {error}"), how)),
    }
}

async fn stream_events(
    writer: &mut OwnedWriteHalf,
    node: &Rc<Node>,
    resource: Option<&str>,
    (recent, follow): (usize, bool),
) -> std::io::Result<()> {
    let (past, mut live) = node.events.subscribe(resource, recent);
    for line in past {
        send(writer, &Answer::Event(line)).await?;
    }
    if !follow {
        return send(writer, &Answer::End {}).await;
    }
    let about_us = |line: &EventLine| resource.is_none() || line.resource.as_deref() == resource;
    loop {
        match live.recv().await {
            Ok(line) if about_us(&line) => send(writer, &Answer::Event(line)).await?,
            Ok(_) => {}
            Err(RecvError::Lagged(count)) => {
                // The reader is told of the gap; the file has what it missed.
                let lost = node.events.line(None, &Happened::EventsLost { count });
                send(writer, &Answer::Event(lost)).await?;
            }
            Err(RecvError::Closed) => return send(writer, &Answer::End {}).await,
        }
    }
}

fn record(node: &Rc<Node>, ask: &Ask, uid: Option<u32>, answer: &Answer) {
    let outcome = match answer {
        Answer::Done(reply) => reply.message.clone(),
        Answer::Refused(refusal) => format!("refused: {}", refusal.why),
        Answer::Error(error) => format!("failed: {}", error.why),
        Answer::Status(_) | Answer::Event(_) | Answer::End {} => return,
    };
    let happened = Happened::Command {
        command: serde_json::to_value(ask).unwrap_or_default(),
        uid,
        outcome,
    };
    node.events.emit(ask.resource(), &happened);
}

/// An answer that says why something could not be asked.
pub(crate) fn failed(why: &str, next: &str) -> Answer {
    Answer::Error(Failed {
        why: why.to_owned(),
        next: next.to_owned(),
    })
}

async fn send(writer: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(std::io::Error::other)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
