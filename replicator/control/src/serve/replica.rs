//! One running resource as the control plane sees it: the thread it talks to and what that thread has told.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};
use twindisk_core::{
    Command, CommandReply, ExportState, LinkIntent, Refusal, RefusalCode, Report, Status,
};
use twindisk_engine::{Host, Input, InputSender, Notice};
use twindisk_format::{
    ids::{NodeId, ResourceId, Slot},
    limits::BLOCK_BYTES,
};

use super::{
    events::{Events, Happened},
    exports::Bound,
};
use crate::{
    config::{Member, Resource},
    limits,
};

/// A resource that was started.
pub(crate) struct Replica {
    /// As configured.
    pub(crate) resource: Resource,
    /// This node's part.
    pub(crate) member: Member,
    /// What peers call it.
    pub(crate) id: ResourceId,
    /// Its peers in slot order.
    pub(crate) peers: Vec<Peer>,
    sender: InputSender,
    export: RefCell<ExportState>,
    bound: Cell<Bound>,
    halted: RefCell<Option<String>>,
    halt: Notify,
    opened: Notify,
    notices: Arc<NoticeBox>,
}

/// One peer of a resource, for whoever makes connections.
pub(crate) struct Peer {
    pub(crate) slot: Slot,
    pub(crate) node: NodeId,
    pub(crate) name: String,
    wanted: Cell<bool>,
    linked: Cell<bool>,
    /// No connection is made or taken before: those before it came to nothing.
    not_before: Cell<Option<Instant>>,
    changed: Notify,
}

impl Peer {
    /// A peer to which no connection is wanted yet.
    pub(crate) fn new(slot: Slot, node: NodeId, name: String) -> Self {
        Self {
            slot,
            node,
            name,
            wanted: Cell::new(false),
            linked: Cell::new(false),
            not_before: Cell::new(None),
            changed: Notify::new(),
        }
    }

    /// Whether the replica takes a connection to it now.
    pub(crate) fn wanted(&self) -> bool {
        self.wanted.get() && self.waits_for().is_zero()
    }

    /// How long it is to be left alone.
    pub(crate) fn waits_for(&self) -> Duration {
        let until = self.not_before.get();
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Whether a connection is to be made now.
    pub(crate) fn missing(&self) -> bool {
        self.wanted.get() && !self.linked.get()
    }

    /// A connection was handed to the replica.
    pub(crate) fn handed_over(&self) {
        self.linked.set(true);
    }

    /// Comes back when a connection is to be made.
    pub(crate) async fn until_missing(&self) {
        while !self.missing() {
            self.changed.notified().await;
        }
    }

    fn set(&self, wanted: bool, linked: bool) {
        self.wanted.set(wanted);
        self.linked.set(linked);
        self.changed.notify_one();
    }
}

impl Replica {
    /// What talks to the thread behind `sender`; its notices come through `notices`.
    pub(crate) fn new(parts: Parts, sender: InputSender, notices: Arc<NoticeBox>) -> Rc<Self> {
        let Parts {
            resource,
            member,
            id,
            peers,
        } = parts;
        Rc::new(Self {
            resource,
            member,
            id,
            peers,
            sender,
            export: RefCell::new(ExportState::Closed {
                why: "this node is standby: only the primary serves clients".to_owned(),
            }),
            bound: Cell::new(Bound::NotKnown),
            halted: RefCell::default(),
            halt: Notify::new(),
            opened: Notify::new(),
            notices,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.resource.name
    }

    /// What clients may have now.
    pub(crate) fn export(&self) -> ExportState {
        self.export.borrow().clone()
    }

    /// To what clients may be bound now.
    pub(crate) const fn bound(&self) -> Bound {
        self.bound.get()
    }

    /// Why it has stopped, if it has.
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.borrow().clone()
    }

    /// Comes back when it has stopped.
    pub(crate) async fn until_halted(&self) {
        while self.halted.borrow().is_none() {
            self.halt.notified().await;
        }
        // Several may wait.
        self.halt.notify_one();
    }

    /// Comes back when clients may connect, or never will.
    pub(crate) async fn until_open(&self) {
        while matches!(*self.export.borrow(), ExportState::Closed { .. }) && self.halted().is_none()
        {
            self.opened.notified().await;
        }
    }

    /// Hands something to its thread.
    pub(crate) fn send(&self, input: Input) -> Result<(), String> {
        self.sender.send(input).map_err(|error| error.to_string())
    }

    /// Has a command carried out.
    pub(crate) async fn command(&self, command: Command) -> Result<CommandReply, Refusal> {
        let (done, outcome) = oneshot::channel();
        // Gone with this future, when whoever asked is.
        let caller = Arc::new(());
        let waits = Arc::downgrade(&caller);
        let input = Input::Command {
            command,
            done: Box::new(move |result| {
                let _ = done.send(result);
            }),
            wanted: Box::new(move || waits.strong_count() > 0),
        };
        self.send(input).map_err(|why| self.interrupted(why))?;
        match outcome.await {
            Ok(result) => result,
            Err(_) => Err(self.interrupted("the replica ended before it answered".to_owned())),
        }
    }

    /// What it says of itself.
    pub(crate) async fn status(&self) -> Result<Status, String> {
        if let Some(why) = self.halted() {
            return Err(why);
        }
        let (done, answer) = oneshot::channel();
        self.send(Input::Status(Box::new(move |status| {
            let _ = done.send(status);
        })))?;
        match timeout(limits::STATUS_TIMEOUT, answer).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(_)) => Err("the replica ended before it answered".to_owned()),
            Err(_) => Err(format!(
                "the replica's thread did not answer in {} ms: its I/O loop is stuck",
                limits::STATUS_TIMEOUT.as_millis()
            )),
        }
    }

    /// Takes what the thread tells until it has stopped.
    pub(crate) async fn take_notices(&self, events: &Events) {
        loop {
            let (notices, lost) = self.notices.take();
            if lost > 0 {
                events.emit(Some(self.name()), &Happened::EventsLost { count: lost });
            }
            if notices.is_empty() && lost == 0 {
                self.notices.filled.notified().await;
            }
            for notice in notices {
                if self.take_notice(notice, events) {
                    return;
                }
            }
        }
    }

    /// The thread has ended, in whatever way.
    pub(crate) fn has_ended(&self, why: &str) {
        if self.halted.borrow().is_none() {
            *self.halted.borrow_mut() = Some(why.to_owned());
        }
        *self.export.borrow_mut() = ExportState::Closed {
            why: format!("the replica has stopped: {why}"),
        };
        for peer in &self.peers {
            peer.set(false, false);
        }
        self.halt.notify_one();
        self.opened.notify_one();
    }

    /// Whether this was the last one.
    fn take_notice(&self, notice: Notice, events: &Events) -> bool {
        let name = Some(self.name());
        match notice {
            Notice::Report(report) => events.emit(name, &report),
            Notice::Link { peer, intent } => {
                if let Some(peer) = self.peer(peer) {
                    match intent {
                        LinkIntent::Connect => {
                            // An operator who asks for it does not wait.
                            peer.not_before.set(None);
                            peer.set(true, peer.linked.get());
                        }
                        LinkIntent::Reconnect { wait, .. } => {
                            peer.not_before.set(Some(Instant::now() + wait));
                            peer.set(true, false);
                        }
                        LinkIntent::Disconnect { .. } => peer.set(false, false),
                    }
                }
            }
            Notice::LinkBroken { peer, why } => {
                if let Some(peer) = self.peer(peer) {
                    peer.set(peer.wanted.get(), false);
                    let peer = peer.name.clone();
                    events.emit(name, &Happened::LinkBroken { peer, why });
                }
            }
            Notice::Export(state) => {
                match &state {
                    ExportState::Open { size_blocks } => {
                        let size_bytes = size_blocks * BLOCK_BYTES as u64;
                        events.emit(name, &Happened::ExportOpened { size_bytes });
                    }
                    ExportState::Closed { why } => {
                        events.emit(name, &Happened::ExportClosed { why: why.clone() });
                    }
                }
                *self.export.borrow_mut() = state;
                self.opened.notify_one();
            }
            Notice::Bound(binding) => {
                self.bound.set(binding.map_or(Bound::None, Bound::To));
            }
            Notice::Halted { why } => {
                events.emit(name, &Happened::Halted { why: why.clone() });
                self.has_ended(&why);
                return true;
            }
        }
        false
    }

    fn peer(&self, slot: Slot) -> Option<&Peer> {
        self.peers.get(slot.index())
    }

    fn interrupted(&self, why: String) -> Refusal {
        Refusal {
            code: RefusalCode::Interrupted,
            why: self.halted().unwrap_or(why),
            next: "look at the log of `twindisk serve`, then start it again".to_owned(),
        }
    }
}

/// What a [`Replica`] is made of.
pub(crate) struct Parts {
    pub(crate) resource: Resource,
    pub(crate) member: Member,
    pub(crate) id: ResourceId,
    pub(crate) peers: Vec<Peer>,
}

/// Notices on their way from a resource's thread. Putting one in never blocks; when nobody takes them, reports are
/// counted instead of kept, while changes of links and exports stay.
#[derive(Default)]
pub(crate) struct NoticeBox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    lost_reports: u64,
}

impl NoticeBox {
    fn take(&self) -> (VecDeque<Notice>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *waiting);
        (waiting.notices, waiting.lost_reports)
    }

    fn put(&self, notice: Notice) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.notices.len() >= limits::MAX_WAITING_NOTICES;
        if full
            && matches!(
                notice,
                Notice::Report(Report::Difference { .. } | Report::Warning { .. })
            )
        {
            waiting.lost_reports += 1;
        } else {
            waiting.notices.push_back(notice);
        }
        drop(waiting);
        self.filled.notify_one();
    }
}

/// The end of a [`NoticeBox`] that the resource's thread holds.
pub(crate) struct NoticeSender(pub(crate) Arc<NoticeBox>);

impl Host for NoticeSender {
    fn notice(&mut self, notice: Notice) {
        self.0.put(notice);
    }
}
