//! Waiting for the end of something that takes long, with its progress on a terminal.

use std::{
    io::{IsTerminal, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde_json::{Map, Value};
use twindisk_control::{
    client::ClientError,
    protocol::{Answer, Ask, EventLine},
};

use crate::{ask::Context, exit::Failure, out, table::progress_line};

/// Events of one resource, taken before the command that causes them.
pub(super) struct Watch<'c> {
    context: &'c Context,
    resource: &'c str,
    events: mpsc::Receiver<Result<EventLine, ClientError>>,
}

impl<'c> Watch<'c> {
    /// From now on.
    pub(super) fn begin(context: &'c Context, resource: &'c str) -> Result<Self, Failure> {
        let mut client = context.client()?;
        let (sender, events) = mpsc::sync_channel(1024);
        let ask = Ask::Events {
            resource: Some(resource.to_owned()),
            recent: 0,
            follow: true,
        };
        // An answer to a first request shows that the stream stands before the caller goes on.
        client.status(Some(resource))?;
        thread::spawn(move || {
            let mut next = client.ask(ask);
            loop {
                let line = match next {
                    Ok(Answer::Event(line)) => Ok(line),
                    Ok(_) => return,
                    Err(error) => Err(error),
                };
                let ended = line.is_err();
                if sender.send(line).is_err() || ended {
                    return;
                }
                next = client.next_answer();
            }
        });
        Ok(Self {
            context,
            resource,
            events,
        })
    }

    /// The fields of the next event of one of these kinds. Shows progress meanwhile.
    pub(super) fn wait_for(&self, kinds: &[&str]) -> Result<Map<String, Value>, Failure> {
        let shows = std::io::stderr().is_terminal();
        let mut shown = false;
        loop {
            match self.events.recv_timeout(Duration::from_millis(500)) {
                Ok(Ok(line)) => {
                    let kind = line.event.get("event").and_then(Value::as_str);
                    if kind.is_some_and(|kind| kinds.contains(&kind)) {
                        if shown {
                            out::to_errors(format_args!("\n"));
                        }
                        return Ok(line.event);
                    }
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::error("the stream of events ended early"));
                }
                Err(RecvTimeoutError::Timeout) if shows => {
                    if let Some(line) = self.progress()? {
                        out::to_errors(format_args!("\r\x1b[K{line}"));
                        let _ = std::io::stderr().flush();
                        shown = true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether anything is still under way.
    pub(super) fn busy(&self) -> Result<bool, Failure> {
        Ok(self.progress()?.is_some())
    }

    fn progress(&self) -> Result<Option<String>, Failure> {
        let status = self.context.client()?.status(Some(self.resource))?;
        let replica = status.resources.into_iter().find_map(|found| found.replica);
        Ok(replica.and_then(|replica| {
            replica.peers.iter().find_map(|peer| {
                let progress = peer.progress.as_ref()?;
                Some(progress_line(&peer.name, progress))
            })
        }))
    }
}

/// A number of an event.
pub(super) fn number(event: &Map<String, Value>, field: &str) -> u64 {
    event.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// Whether an event says that something got to its end.
pub(super) fn complete(event: &Map<String, Value>) -> bool {
    event.get("complete").and_then(Value::as_bool) == Some(true)
}
