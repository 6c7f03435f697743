//! The event log: every state change with its reason, in a file, in memory for late subscribers, and live.
//!
//! The file is written by a task of its own: a state directory that hangs delays the log, never the control plane.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc};
use tokio_uring::fs::File;

use crate::{clock, config::Node, limits, protocol::EventLine};

/// Takes events and hands them on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    shared: Rc<Shared>,
}

struct Shared {
    node: String,
    recent: RefCell<VecDeque<EventLine>>,
    live: broadcast::Sender<EventLine>,
    file: RefCell<Option<mpsc::Sender<String>>>,
}

/// What the control plane itself has to tell; what a replica tells is `twindisk_core::Report`.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub(crate) enum Happened {
    /// The process began to serve.
    Started { pid: u32, program: String },
    /// The process was asked to stop.
    Stopping { why: String },
    /// A resource could not be started, or has stopped.
    Halted { why: String },
    /// Clients may connect.
    ExportOpened { size_bytes: u64 },
    /// Clients may not.
    ExportClosed { why: String },
    /// A connection to a peer ended.
    LinkBroken { peer: String, why: String },
    /// A peer can't be reached; said once until it changes.
    PeerUnreachable { peer: String, why: String },
    /// Somebody who is no peer knocked.
    PeerRefused {
        from: String,
        why: String,
        /// Refusals since the last one that was told.
        untold_before: u64,
    },
    /// An operator's command and what came of it.
    Command {
        command: Value,
        uid: Option<u32>,
        outcome: String,
    },
    /// The log could not keep up.
    EventsLost { count: u64 },
}

impl Events {
    /// Without a file until [`Self::write_to`].
    pub(crate) fn new(node: &str) -> Self {
        let (live, _) = broadcast::channel(limits::MAX_RECENT_EVENTS);
        Self {
            shared: Rc::new(Shared {
                node: node.to_owned(),
                recent: RefCell::default(),
                live,
                file: RefCell::default(),
            }),
        }
    }

    /// Also to the node's event log. The task ends when [`Self::close`] was called and everything is written.
    pub(crate) fn write_to(&self, node: &Node) -> io::Result<tokio::task::JoinHandle<()>> {
        let (sender, lines) = mpsc::channel(limits::MAX_RECENT_EVENTS);
        let log = LogFile::open(&node.event_log, node.event_log_bytes)?;
        *self.shared.file.borrow_mut() = Some(sender);
        Ok(tokio::task::spawn_local(log.run(lines)))
    }

    /// No more events go to the file.
    pub(crate) fn close(&self) {
        self.shared.file.borrow_mut().take();
    }

    /// An event with its time and place.
    pub(crate) fn line(&self, resource: Option<&str>, event: &impl Serialize) -> EventLine {
        let event = match serde_json::to_value(event) {
            // All names that operators read have hyphens, in the configuration, in `status` and here.
            Ok(Value::Object(fields)) => fields
                .into_iter()
                .map(|(name, value)| (name.replace('_', "-"), value))
                .collect(),
            Ok(other) => Map::from_iter([("value".to_owned(), other)]),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        EventLine {
            time: clock::now_text(),
            node: self.shared.node.clone(),
            resource: resource.map(str::to_owned),
            event,
        }
    }

    /// Something happened.
    pub(crate) fn emit(&self, resource: Option<&str>, event: &impl Serialize) {
        let line = self.line(resource, event);
        let text = serde_json::to_string(&line).unwrap_or_default();
        tracing::info!(resource, "{}", for_eyes(&line.event));
        // Nobody may be listening; a full queue to the file shows as a gap that the next line does not hide.
        let _ = self.shared.live.send(line.clone());
        if let Some(file) = self.shared.file.borrow().as_ref()
            && file.try_send(text).is_err()
        {
            tracing::warn!("the event log cannot keep up: an event was not written");
        }
        let mut recent = self.shared.recent.borrow_mut();
        if recent.len() == limits::MAX_RECENT_EVENTS {
            recent.pop_front();
        }
        recent.push_back(line);
    }

    /// The last `count` events, of one resource if it is named, and what comes after them.
    pub(crate) fn subscribe(
        &self,
        resource: Option<&str>,
        count: usize,
    ) -> (Vec<EventLine>, broadcast::Receiver<EventLine>) {
        let recent = self.shared.recent.borrow();
        let mut past: Vec<EventLine> = recent
            .iter()
            .rev()
            .filter(|line| resource.is_none() || line.resource.as_deref() == resource)
            .take(count)
            .cloned()
            .collect();
        past.reverse();
        (past, self.shared.live.subscribe())
    }
}

/// The kind and its fields, for the log.
fn for_eyes(event: &Map<String, Value>) -> String {
    let kind = event.get("event").and_then(Value::as_str);
    let mut text = kind.unwrap_or_default().to_owned();
    for (name, value) in event.iter().filter(|(name, _)| *name != "event") {
        text += &format!(" {name}={value}");
    }
    text
}

/// The file, and the one before it.
struct LogFile {
    path: PathBuf,
    file: File,
    offset: u64,
    max_bytes: u64,
}

impl LogFile {
    fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(false)
            .write(true)
            .truncate(false)
            .mode(0o640)
            .open(path)?;
        Ok(Self {
            offset: file.metadata()?.len(),
            file: File::from_std(file),
            path: path.to_owned(),
            max_bytes,
        })
    }

    async fn run(mut self, mut lines: mpsc::Receiver<String>) {
        let mut failing = false;
        while let Some(mut text) = lines.recv().await {
            text.push('\n');
            match self.append(text).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(path = %self.path.display(), %error, "the event log cannot be written");
                }
                Err(_) => {}
            }
        }
    }

    async fn append(&mut self, text: String) -> io::Result<()> {
        if self.offset >= self.max_bytes {
            self.rotate()?;
        }
        let bytes = text.into_bytes();
        let length = bytes.len() as u64;
        self.file.write_all_at(bytes, self.offset).await.0?;
        self.offset += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        fs::rename(&self.path, old)?;
        *self = Self::open(&self.path, self.max_bytes)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twindisk_core::{Report, Role};

    #[test]
    fn events_reach_file_memory_and_subscribers_and_the_file_is_turned_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        tokio_uring::start(async {
            let events = Events::new("alpha");
            let log = LogFile::open(&path, 300).unwrap();
            let (sender, lines) = mpsc::channel(16);
            *events.shared.file.borrow_mut() = Some(sender);
            let writer = tokio::task::spawn_local(log.run(lines));
            let (_, mut live) = events.subscribe(None, 0);
            for term in 0..4 {
                let report = Report::Role {
                    role: Role::Primary,
                    term,
                    why: "a test".into(),
                };
                events.emit(Some("r0"), &report);
            }
            events.emit(None, &Happened::Stopping { why: "end".into() });
            assert_eq!(live.recv().await.unwrap().event["term"], 0);
            let (past, _) = events.subscribe(Some("r0"), 2);
            assert_eq!(past.len(), 2);
            assert_eq!(past[1].event["term"], 3);
            let ended = Report::ResyncEnded {
                peer: 1,
                sent_blocks: 2,
                equal_blocks: 3,
                complete: true,
            };
            assert_eq!(events.line(None, &ended).event["sent-blocks"], 2);
            events.close();
            writer.await.unwrap();
        });
        let new = fs::read_to_string(&path).unwrap();
        let old = fs::read_to_string(dir.path().join("events.jsonl.1")).unwrap();
        assert_eq!(old.lines().count() + new.lines().count(), 5);
        for line in old.lines().chain(new.lines()) {
            serde_json::from_str::<EventLine>(line).unwrap();
        }
    }
}
