//! What the core asks for, done.

use twindisk_core::{Action, DiskIo, LinkIntent, OpId};
use twindisk_format::ids::{BlockRange, Slot};

use super::{Engine, Event, Notice};
use crate::save;

impl Engine {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Disk { op, io } => self.disk_io(op, io),
            Action::MetaWrite { op, block, data } => self.meta.write(op, block, data),
            Action::Send {
                peer,
                link,
                envelope,
                payload,
            } => {
                let (links, mut context) = self.links();
                links.send(peer, link, envelope, payload, &mut context);
            }
            Action::Complete { request, result } => {
                let (clients, mut context) = self.clients();
                clients.completed(request, result, &mut context);
            }
            Action::Forget { request } => {
                let (clients, mut context) = self.clients();
                clients.forgotten(request, &mut context);
            }
            Action::Release { buf } => self.buffers.give_back(buf),
            Action::Link { peer, intent } => self.link_intent(peer, intent),
            Action::Export(state) => {
                let (clients, mut context) = self.clients();
                clients.set_export(&state, &mut context);
                self.host.notice(Notice::Export(state));
            }
            Action::Bound(binding) => {
                self.clients().0.set_binding(binding);
                self.host.notice(Notice::Bound(binding));
            }
            Action::Reply { id, result } => {
                // An answer that nobody waits for would be a bug of the core; it harms nobody.
                if let Some(done) = self.commands.remove(&id) {
                    done(result);
                }
            }
            Action::ProbeCapacity { op } => self.probe_capacity(op),
            Action::SaveBlocks { op, ranges } => self.save_blocks(op, ranges),
            Action::Report(report) => self.host.notice(Notice::Report(report)),
            Action::Halt { why } => self.halted = Some(why),
        }
    }

    fn disk_io(&mut self, op: OpId, io: DiskIo) {
        let (disk, mut context) = self.disk();
        if let Some(ended) = disk.start(op, io, &mut context) {
            self.disk_done(ended);
        }
    }

    fn link_intent(&mut self, peer: Slot, intent: LinkIntent) {
        let (links, mut context) = self.links();
        links.intend(peer, &intent, &mut context);
        self.host.notice(Notice::Link { peer, intent });
    }

    /// A backing device with external metadata may have grown.
    fn probe_capacity(&mut self, op: OpId) {
        let blocks = if self.metadata.is_internal() {
            self.metadata.first_block()
        } else {
            // A device that can't be measured has not grown.
            self.backing.blocks().unwrap_or(0).min(self.max_size_blocks)
        };
        self.disk.grow(blocks);
        self.events.push_back(Event::Capacity { op, blocks });
    }

    fn save_blocks(&mut self, op: OpId, ranges: Vec<BlockRange>) {
        let job = save::Job {
            op,
            ranges,
            backing: self.backing.clone(),
            directory: self.discard_dir.clone(),
            done: self.sender.clone(),
        };
        if let Err(why) = save::spawn(job) {
            let result = Err(why);
            self.events.push_back(Event::Saved { op, result });
        }
    }
}
