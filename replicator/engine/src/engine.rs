//! The loop: wait for the ring, hand what happened to the core, do what it asks for, begin everything with one call.

mod act;
mod start;
mod stop;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use io_uring::opcode;
use twindisk_core::{CommandId, Event, Refusal, Replica, Time};
use twindisk_format::ids::Slot;

pub(crate) use self::start::start;
use crate::{
    CommandOutcome, Host, Input, Notice,
    buffers::Buffers,
    clients::{self, Clients},
    clock::Clock,
    disk::{self, Disk},
    links::{self, Links},
    mailbox::{Mailbox, Message, Sender},
    meta::{Meta, Stored},
    ring::{Completion, Ring, RingFile, Turn},
    spin::Spinner,
    store::{Backing, Metadata},
    tokens::{Kind, Token},
};

/// One resource's thread. Field order matters: the ring goes first, then the memory that it knew.
pub(crate) struct Engine {
    ring: Ring,
    buffers: Buffers,
    core: Replica,
    disk: Disk,
    meta: Meta,
    clients: Clients,
    links: Links,
    backing: Arc<Backing>,
    metadata: Metadata,
    /// The most blocks that the metadata has room for.
    max_size_blocks: u64,
    mailbox: Mailbox,
    mailbox_file: RingFile,
    /// Takes the eventfd's count.
    wakes: Box<[u8; 8]>,
    listening: bool,
    sender: Sender,
    host: Box<dyn Host>,
    commands: HashMap<CommandId, Box<dyn FnOnce(CommandOutcome) + Send>>,
    command_ids: u64,
    clock: Clock,
    now: Time,
    spinner: Spinner,
    /// What happened and has not been handed to the core.
    events: VecDeque<Event>,
    completions: Vec<Completion>,
    stored: Vec<Stored>,
    broken: Vec<(Slot, String)>,
    warnings: Vec<String>,
    discard_dir: PathBuf,
    halted: Option<String>,
}

impl Engine {
    /// Runs until the core halts.
    ///
    /// # Panics
    /// When the ring fails or an invariant breaks; the process must not survive that.
    pub(crate) fn run(mut self) {
        self.listen();
        self.take_actions();
        self.settle();
        while self.halted.is_none() {
            self.turn(self.timeout());
            if self
                .core
                .next_deadline()
                .is_some_and(|deadline| deadline <= self.now)
            {
                self.events.push_back(Event::Tick);
            }
            self.settle();
        }
        self.stop();
    }

    /// One call to the kernel, and everything that it brought.
    fn turn(&mut self, timeout: Option<Duration>) {
        let spin = self.spinner.budget();
        let mut completions = std::mem::take(&mut self.completions);
        let waited = self
            .ring
            .turn(timeout, spin, &mut completions)
            .unwrap_or_else(|error| panic!("the ring failed: {error}"));
        self.spinner.learn(waited);
        self.now = self.clock.now();
        // No ghost writes: who hung up is known before anything that others sent is executed.
        for &completion in completions.iter().filter(|done| is_hang_up(done)) {
            let (clients, mut context) = self.clients();
            clients.hung_up(completion, &mut context);
        }
        for completion in completions.drain(..).filter(|done| !is_hang_up(done)) {
            self.dispatch(completion);
        }
        self.completions = completions;
    }

    fn dispatch(&mut self, completion: Completion) {
        match completion.token.kind {
            Kind::Mailbox => {
                self.listening = false;
                // What comes after the end is dropped: sockets close, and whoever waits for an answer hears of it.
                if self.halted.is_none() {
                    while let Some(message) = self.mailbox.take() {
                        self.take_message(message);
                    }
                    self.listen();
                }
            }
            Kind::Disk => {
                let (disk, mut context) = self.disk();
                if let Some(ended) = disk.complete(completion, &mut context) {
                    self.disk_done(ended);
                }
            }
            Kind::Meta => {
                let (ring, buffers) = (&mut self.ring, &self.buffers);
                self.meta
                    .complete(completion, ring, buffers, &mut self.stored);
                for (op, result) in self.stored.drain(..) {
                    self.events.push_back(Event::MetaDone { op, result });
                }
            }
            Kind::ClientReceive => {
                let (clients, mut context) = self.clients();
                clients.received(completion, &mut context);
            }
            Kind::ClientSend => {
                let (clients, mut context) = self.clients();
                clients.sent(completion, &mut context);
            }
            Kind::LinkReceive => {
                let (links, mut context) = self.links();
                links.received(completion, &mut context);
            }
            Kind::LinkSend => {
                let (links, mut context) = self.links();
                links.sent(completion, &mut context);
            }
            Kind::ClientHangUp => unreachable!("handed in before"),
        }
    }

    /// Hands everything that happened to the core and begins what follows from it, until nothing follows any more.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.events.pop_front() {
                self.core.handle(self.now, event);
                self.take_actions();
            }
            let (links, mut context) = self.links();
            links.flush(&mut context);
            let (clients, mut context) = self.clients();
            clients.flush(&mut context);
            self.meta.flush(&mut self.ring, &mut self.buffers);
            for (peer, why) in self.broken.drain(..) {
                self.host.notice(Notice::LinkBroken { peer, why });
            }
            if self.disk.has_writes() {
                self.write_cached();
            }
            if self.events.is_empty() {
                return;
            }
        }
    }

    /// What others wait for goes out first; then this thread does the writes that it does itself.
    fn write_cached(&mut self) {
        self.ring
            .submit()
            .unwrap_or_else(|error| panic!("the ring failed: {error}"));
        self.disk.begin_writes();
        loop {
            let (disk, mut context) = self.disk();
            let Some(completion) = disk.write_one(&mut context) else {
                // What was done here took its time, and the core is to see it.
                self.now = self.clock.now();
                return;
            };
            self.dispatch(completion);
        }
    }

    fn take_actions(&mut self) {
        while let Some(action) = self.core.poll_action() {
            self.act(action);
        }
    }

    fn disk_done(&mut self, ended: disk::Ended) {
        let disk::Ended { op, result } = ended;
        self.events.push_back(Event::DiskDone { op, result });
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Input(Input::Nbd(client)) => {
                let (clients, mut context) = self.clients();
                clients.add(client, &mut context);
            }
            Message::Input(Input::Peer(link)) => {
                let (links, mut context) = self.links();
                links.add(link, &mut context);
            }
            Message::Input(Input::Command { wanted, .. }) if !wanted() => {
                tracing::info!("a command is not carried out: nobody waits for it any more");
            }
            Message::Input(Input::Command { command, done, .. }) => {
                self.command_ids += 1;
                let id = CommandId(self.command_ids);
                self.commands.insert(id, done);
                self.events.push_back(Event::Command { id, command });
            }
            Message::Input(Input::Status(take)) => {
                let mut status = self.core.status(self.now);
                status.warnings.extend_from_slice(&self.warnings);
                self.clients.tell_waiting(&mut status.activity, self.now);
                take(status);
            }
            Message::Looked(looked) => {
                let (clients, mut context) = self.clients();
                for looked in looked {
                    clients.looked(looked, &mut context);
                }
            }
            Message::Saved { op, result } => self.events.push_back(Event::Saved { op, result }),
        }
    }

    fn listen(&mut self) {
        let address = self.wakes.as_mut_ptr();
        let entry = opcode::Read::new(self.mailbox_file.fd(), address, 8).build();
        let token = Token::new(Kind::Mailbox, 0, 0);
        // SAFETY: `wakes` is boxed, used for nothing else, and outlives the ring or is left behind.
        unsafe {
            self.ring
                .stage(Turn::Receive, self.mailbox_file, entry, token)
        };
        self.listening = true;
    }

    fn timeout(&self) -> Option<Duration> {
        [
            self.core.next_deadline(),
            self.clients.next_deadline(),
            self.links.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|deadline| deadline.since(self.now))
    }

    fn disk(&mut self) -> (&mut Disk, disk::Context<'_>) {
        let context = disk::Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            backing: &self.backing,
            now: self.now,
        };
        (&mut self.disk, context)
    }

    fn clients(&mut self) -> (&mut Clients, clients::Context<'_>) {
        let context = clients::Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            events: &mut self.events,
            disk: &self.disk,
            backing: &self.backing,
            now: self.now,
        };
        (&mut self.clients, context)
    }

    fn links(&mut self) -> (&mut Links, links::Context<'_>) {
        let context = links::Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            events: &mut self.events,
            broken: &mut self.broken,
            now: self.now,
        };
        (&mut self.links, context)
    }
}

fn is_hang_up(completion: &Completion) -> bool {
    completion.token.kind == Kind::ClientHangUp
}
