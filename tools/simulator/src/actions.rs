//! What a core asks for, done: the part of an engine, with a checker looking over its shoulder.

use twindisk_core::{Action, Arbiter, ConnectionState, Event, ExportState, LinkId, RequestId};
use twindisk_format::{
    binding::Binding,
    frame::{Envelope, Frame},
    lineage::Relation,
    superblock::Superblock,
};

use crate::{
    checker::{Violation, book::Rights, promises},
    client::Kind,
    content::SECTORS,
    node::name,
    story,
    swarm::US,
    trace::tell,
    world::{Ev, World},
};

/// Changes of roles that there never are in a run: a term that is ahead by more is none.
const MOST_TERMS: u64 = 1 << 32;

impl World {
    /// Does one thing that a core asked for.
    pub(crate) fn act(&mut self, number: usize, action: Action) {
        if self.nodes[number].replica.is_none() {
            return; // It halted, or a contract was broken.
        }
        if self.trace.is_on() {
            let now = self.now;
            let text = format!("{} -> {}", name(number), story::action(&action));
            self.trace.line(now, &text);
        }
        self.trace.mix(kind_of(&action));
        self.coverage.reach("action", story::action_kind(&action));
        match action {
            Action::Disk { op, io } => {
                self.trace.mix(op.0);
                self.begin_disk(number, op, io);
            }
            Action::MetaWrite { op, block, data } => {
                self.trace.mix(block);
                self.begin_meta(number, op, block, data);
                self.interesting(number);
            }
            Action::Send {
                peer,
                link,
                envelope,
                payload,
            } => {
                let peer = self.peer_in(number, peer);
                self.check_frame(number, (peer, link), &envelope);
                let control = matches!(envelope.frame, Frame::Control(_));
                self.send(number, (peer, link), envelope, payload);
                if control {
                    self.interesting(number);
                }
            }
            Action::Complete { request, result } => {
                self.trace.mix(request.0);
                self.complete(number, request, result.is_ok());
                if let Err(failure) = result {
                    self.coverage.reach("failure", &format!("{failure:?}"));
                }
            }
            Action::Forget { request } => self.forget(number, request),
            Action::Release { buf } => {
                let result = self.nodes[number].bufs.release(buf);
                self.contract(number, result);
                self.read_on(number);
            }
            Action::Link { peer, intent } => {
                let peer = self.peer_in(number, peer);
                self.link_intent(number, peer, &intent);
            }
            Action::Export(state) => self.export(number, &state),
            Action::Bound(binding) => self.bound(number, binding),
            Action::Reply { id, result } => {
                self.replied(number, id, result.map(drop));
            }
            Action::ProbeCapacity { op } => {
                let blocks = self.nodes[number].disk.blocks();
                self.tell_core(number, 50 * US, Event::Capacity { op, blocks });
            }
            Action::SaveBlocks { op, .. } => {
                let full = self.dice.nemesis.chance(self.swarm.faults.full);
                let left = &mut self.nodes[number].trouble.fail_saves;
                let result = if full || *left > 0 {
                    *left = left.saturating_sub(1);
                    Err("no space left on the device".to_owned())
                } else {
                    Ok("saved-blocks".to_owned())
                };
                self.nodes[number].saved = result.is_ok();
                self.tell_core(number, 500 * US, Event::Saved { op, result });
            }
            Action::Report(report) => self.report(number, &report),
            Action::Halt { why } => {
                tell!(self, "{} halts: {why}", name(number));
                self.coverage.reach("halt", &why);
                self.stop_process(number, "halted");
                self.drop_in_flight(number);
            }
        }
    }

    /// Something reaches a node's core after a while.
    pub(crate) fn tell_core(&mut self, number: usize, delay: u64, event: Event) {
        let run = self.nodes[number].run;
        self.after(
            delay,
            Ev::Core {
                node: number,
                run,
                event: Box::new(event),
            },
        );
    }

    fn export(&mut self, number: usize, state: &ExportState) {
        match state {
            ExportState::Open { size_blocks } => {
                let before = self.nodes[number].export.replace(*size_blocks);
                match before {
                    None => {
                        self.check_opening(number);
                        self.check_clients_of_role(number);
                        self.check_bound(number);
                    }
                    Some(before) => self.check_added(number, before..*size_blocks),
                }
                self.check_served(number);
            }
            ExportState::Closed { .. } => {
                self.nodes[number].export = None;
                self.nodes[number].forgot = false;
                self.close_connections(number);
            }
        }
        self.interesting(number);
    }

    fn bound(&mut self, number: usize, binding: Option<Binding>) {
        let node = &mut self.nodes[number];
        let changed = node.binding != binding;
        node.binding = binding;
        if node.export.is_some() && changed {
            let story = format!("{} binds its clients anew while they work", name(number));
            self.violate(Violation::new("R17", story));
        }
    }

    /// R17 for a node whose device opens.
    fn check_bound(&mut self, number: usize) {
        let node = &self.nodes[number];
        let Some(binding) = node.binding else {
            let story = format!("{} opens its device and binds nobody", name(number));
            return self.violate(Violation::new("R17", story));
        };
        let disk = (!node.diskless).then_some(&node.disk);
        let next_write = self.book.next_write();
        let result = self.bindings.opens(binding, next_write, (&self.book, disk));
        self.check(result);
    }

    /// What a node says must be so, and be stored.
    fn check_frame(&mut self, number: usize, to: (usize, LinkId), envelope: &Envelope) {
        let (peer, link) = to;
        let result = match &envelope.frame {
            Frame::Control(message) => {
                let durable = self.nodes[number].meta.superblock();
                promises::check_message(number, message, durable.as_ref())
            }
            Frame::Received { seq } | Frame::Written { seq } => {
                self.heard.check_answer(number, link, *seq)
            }
            _ => Ok(()),
        };
        self.check(result);
        // The term of a node without data is of a former life, and may go back.
        let stored = self.nodes[number].meta.superblock();
        if self.nodes[number].saved {
            self.heard.gave_up(number);
        } else if stored.is_none_or(|superblock| superblock.lineage.newest().is_some()) {
            self.heard.speaks(number, envelope.term.0);
        }
        if envelope.frame == Frame::Ping {
            self.heard.asks(self.now, number, peer);
        }
    }

    /// R2 and S3 for a node that was promoted.
    fn check_opening(&mut self, number: usize) {
        let node = &self.nodes[number];
        let durable = node.meta.superblock();
        let result = promises::check_opening(number, node.term, durable.as_ref());
        self.check(result);
        // One that has no copy completes nothing without every node of its set, and those are asked.
        let other = (0..self.nodes.len()).find(|other| {
            let node = &self.nodes[*other];
            *other != number && node.export.is_some() && node.in_sync.contains(&(*other as u8))
        });
        // A node that stands still, or is cut off, keeps its device open while the arbiter gives the term to another: the
        // term counts.
        let granted = self.operator.arbiter == Some(number);
        if let Some(other) = other
            && !self.swarm.lossy
            && !granted
            && self.swarm.arbiter == Arbiter::Fence
        {
            let story = format!(
                "{} opens its device while that of {} is open",
                name(number),
                name(other)
            );
            self.violate(Violation::new("S3", story));
        }
    }

    /// S2: what a resize has added reads as zeros, whichever replica of the set it is read from, and whenever.
    fn check_added(&mut self, number: usize, blocks: core::ops::Range<u64>) {
        let sectors = blocks.start * SECTORS..blocks.end * SECTORS;
        for member in self.nodes[number].in_sync.clone() {
            let disk = &self.nodes[usize::from(member)].disk;
            if let Some(sector) = sectors.clone().find(|sector| disk.durable(*sector) != 0) {
                let story = format!(
                    "{} shows its device grown to {} blocks, but sector {sector} of node {member} is no zeros",
                    name(number),
                    blocks.end
                );
                return self.violate(Violation::new("S2", story));
            }
        }
    }

    /// Identity before authority: whether what one node says of terms counts for another. It does not if they are not
    /// related, if it has no data, or if so many terms there never were.
    pub(crate) fn has_authority(&self, from: usize, to: usize, term: u64) -> bool {
        // Who hears it compares with what it holds for true. A generation that it has begun and is still storing is part
        // of that: against one that was forced meanwhile it is a fork (R11), although nothing was completed in it.
        let replica = self.nodes[to].replica.as_ref();
        let mine = replica.map(|replica| replica.superblock().clone());
        let (Some(mut theirs), Some(mut mine)) = (self.nodes[from].meta.superblock(), mine) else {
            return true;
        };
        let forked = |mine: &Superblock, theirs: &Superblock| {
            let relation = mine.lineage.relation(&theirs.lineage);
            matches!(relation, Relation::Forked { .. } | Relation::Unrelated)
        };
        if forked(&mine, &theirs) {
            for superblock in [&mut mine, &mut theirs] {
                if superblock.unconfirmed {
                    superblock.lineage.forget_newest();
                }
            }
        }
        // Who speaks says what it holds for true as well: a fork that it is still storing is one.
        let said = self.nodes[from].replica.as_ref();
        let fork = said
            .is_some_and(|said| !said.superblock().unconfirmed && forked(&mine, said.superblock()));
        let data = theirs.lineage.newest().is_some();
        let possible = term.saturating_sub(mine.term.0) <= MOST_TERMS;
        data && possible && !fork && !forked(&mine, &theirs)
    }

    /// R4 for a node that has just heard a peer speak in `term`: with a higher one than its own it serves no more.
    pub(crate) fn check_demoted(&mut self, number: usize, term: u64) {
        let node = &self.nodes[number];
        if node.export.is_none() || term <= node.term {
            return;
        }
        // What it reported last may be older than what it has.
        let own = node.status(self.now).map_or(term, |status| status.term);
        if term > own {
            let story = format!(
                "{} has heard of term {term} and goes on serving in term {own}",
                name(number)
            );
            self.violate(Violation::new("R4", story));
        }
    }

    /// R9 for a read that is being answered.
    fn check_lease(&mut self, number: usize, invoke: u64) {
        let node = &self.nodes[number];
        if !node.suspended || invoke < node.suspended_at {
            return;
        }
        let Some(status) = node.status(self.now) else {
            return;
        };
        // Who was still here when it was asked for was not what the node was frozen for: its answers count from then on.
        let missing = status.peers.iter().zip(&node.parted);
        let missing = missing.filter(|(peer, parted)| {
            peer.in_sync && peer.connection != ConnectionState::Established && **parted <= invoke
        });
        let missing = missing.map(|(peer, _)| usize::from(peer.node));
        let lease = self.swarm.timings.read_lease.as_nanos() as u64;
        let result = self.heard.check_lease(number, invoke, missing, lease);
        self.check(result);
    }

    /// A client's request is answered.
    fn complete(&mut self, number: usize, id: RequestId, ok: bool) {
        let Some(request) = self.clients.take(number, id) else {
            self.violate(Violation::new(
                "S7",
                format!("{} completes {id:?}, which it does not have", name(number)),
            ));
            return;
        };
        let invoke = request.invoke;
        match request.kind {
            Kind::Read { buf, first, count } => {
                let skip = request.skip;
                let result = self.nodes[number].bufs.give_back(buf);
                let Some(blocks) = self.contract(number, result) else {
                    return;
                };
                if ok && !request.closed {
                    self.check_lease(number, invoke);
                    let stamps = blocks.into_iter().flatten().skip(skip as usize);
                    let now = self.now;
                    let has_disk = !self.nodes[number].diskless;
                    for seen in (first..first + count).zip(stamps) {
                        let result = self.book.read(now, invoke, (number, has_disk), seen);
                        self.check(result);
                    }
                }
            }
            Kind::Write { write } if ok && !request.closed => {
                self.check_completion(number);
                let fua = self.book.is_fua(write);
                let rights = self.rights(number, invoke, fua);
                let in_sync = &self.nodes[number].in_sync;
                let disks: Vec<_> = self
                    .nodes
                    .iter()
                    .map(|node| {
                        // What one that lost its power meanwhile still holds by luck is nobody's to count on. Where only its
                        // process died, it is there.
                        let counts = in_sync.contains(&(node.number as u8))
                            && (node.last_drop < invoke || node.number == number);
                        counts.then_some(&node.disk)
                    })
                    .collect();
                let result = self.book.ack(self.now, write, &disks, rights);
                self.check(result);
                self.acknowledged_alone(self.book.sectors_of(write));
            }
            Kind::Write { write } => {
                let now = self.now;
                self.book.close(now, write);
            }
            Kind::Flush => {
                if ok && !request.closed {
                    self.check_completion(number);
                    for peer in self.nodes[number].in_sync.clone() {
                        let peer = usize::from(peer);
                        if self.nodes[peer].rewound {
                            continue; // It has forgotten what it had answered, and is not here to say so.
                        }
                        let result = self
                            .book
                            .check_flushed(invoke, peer, &self.nodes[peer].disk);
                        self.check(result);
                    }
                    self.book.flushed(self.now, invoke);
                }
            }
        }
        self.clients.answered(request.client);
    }

    fn forget(&mut self, number: usize, id: RequestId) {
        let Some(request) = self.clients.take(number, id) else {
            self.violate(Violation::new(
                "S7",
                format!("{} forgets {id:?}, which it does not have", name(number)),
            ));
            return;
        };
        if !request.closed {
            // Right only if the device closes soon: see `has_converged`.
            self.nodes[number].forgot = true;
            if let Kind::Write { write } = request.kind {
                self.book.close(self.now, write);
            }
        }
        if let Kind::Read { buf, .. } = request.kind {
            let result = self.nodes[number].bufs.give_back(buf);
            self.contract(number, result);
        }
    }

    /// R4, S3 and S7 for a mutation or flush that is being acknowledged: by what the node had said up to then.
    fn check_completion(&mut self, number: usize) {
        let result = self.heard.check_term(number, self.nodes[number].term);
        self.check(result);
        if self.swarm.lossy {
            return;
        }
        let node = &self.nodes[number];
        if node.export.is_none() || node.suspended {
            let story = format!(
                "{} acknowledges a write although {}",
                name(number),
                if node.suspended {
                    "I/O is suspended"
                } else {
                    "its device is closed"
                },
            );
            self.violate(Violation::new("S7", story));
        }
        let result = self.terms.completed(number, self.nodes[number].term);
        self.check(result);
    }

    /// Which nodes must hold a write that is being acknowledged: those that the primary has announced to be in sync.
    fn rights(&self, number: usize, invoke: u64, fua: bool) -> Rights {
        use twindisk_core::Protocol;
        let mut rights = Rights {
            lost: true,
            ..Rights::default()
        };
        // Without a disk of its own a primary has told others to write it, and waits for that.
        let has_copy = self.nodes[number].in_sync.contains(&(number as u8));
        for node in &self.nodes[number].in_sync {
            let node = usize::from(*node);
            let bit = 1 << node;
            let own = node == number;
            // One that has had it, said so, and lost it with a flush that failed, is never promoted as it is.
            let failed = self.nodes[node].diskless && !own;
            let intact = self.nodes[node].last_loss < invoke && !failed;
            rights.lost &= failed || self.nodes[node].last_drop >= invoke;
            match self.swarm.protocol {
                _ if !intact => {}
                Protocol::C => rights.must |= bit,
                Protocol::A | Protocol::B if own => rights.must |= bit,
                // FUA is stable on every replica of the set, whatever the protocol.
                Protocol::B if fua || !has_copy => rights.must |= bit,
                Protocol::B => rights.received |= bit,
                Protocol::A => {}
            }
        }
        rights
    }
}

const fn kind_of(action: &Action) -> u64 {
    match action {
        Action::Disk { .. } => 1,
        Action::MetaWrite { .. } => 2,
        Action::Send { .. } => 3,
        Action::Complete { .. } => 4,
        Action::Forget { .. } => 5,
        Action::Release { .. } => 6,
        Action::Link { .. } => 7,
        Action::Export(_) => 8,
        Action::Reply { .. } => 9,
        Action::ProbeCapacity { .. } => 10,
        Action::SaveBlocks { .. } => 11,
        Action::Report(_) => 12,
        Action::Halt { .. } => 13,
        Action::Bound(_) => 14,
    }
}
