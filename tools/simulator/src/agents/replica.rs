//! What an agent sees of its replica, and tells it.

use twindisk_core::{Command, ConnectionState, DiskState, Role, Status};
use twindisk_fencing_core::{Order, ReplicaView, Time};
use twindisk_format::superblock::{ReceiptKind, StoredDisk};

use crate::{
    node::{name, slot_of},
    trace::tell,
    world::World,
};

impl World {
    pub(super) fn agent_orders(&mut self, number: usize, order: Order) {
        let about = slot_of(number, 1 - number);
        let command = match &order {
            Order::Promote => Some(Command::Promote { force: None }),
            Order::ReceiptFenced { detail, met } => Some(Command::Receipt {
                about,
                kind: ReceiptKind::Fence,
                detail: detail.clone(),
                met: Some(*met),
            }),
            Order::ReceiptReleased { detail, met } => Some(Command::Receipt {
                about,
                kind: ReceiptKind::Release,
                detail: detail.clone(),
                met: Some(*met),
            }),
            Order::Outdate { offline: false } => Some(Command::Outdate),
            Order::Outdate { offline: true } => None,
            Order::HandOver => Some(Command::Switchover { to: Some(about) }),
        };
        let id = match command {
            Some(command) if self.nodes[number].replica.is_some() => {
                Some(self.command(number, command))
            }
            Some(_) => None,
            None => {
                self.outdate_offline(number);
                None
            }
        };
        let run = self.nodes[number].run;
        self.agents().nodes[number].order = Some((order, run, id));
    }

    fn outdate_offline(&mut self, number: usize) {
        if self.nodes[number].replica.is_none() {
            tell!(self, "{}: its agent records it as outdated", name(number));
            self.nodes[number].meta.edit(|superblock| {
                superblock.disk = superblock.disk.min(StoredDisk::Outdated);
            });
        }
    }

    /// Hands the agent what its replica says, and the answers to what it was told.
    pub(super) fn look(&mut self, number: usize, now: Time) {
        let run = self.nodes[number].run;
        if self.nodes[number].stopped_until > self.now {
            return; // It says nothing.
        }
        let view = self.nodes[number]
            .status(self.now)
            .map(|status| seen(run, &status));
        let gone = view.is_none();
        let answer = match &self.agents().nodes[number].order {
            None => None,
            Some((Order::Outdate { offline: true }, ..)) if gone => Some(Ok(())),
            Some((_, _, None)) => Some(Err("its process is gone".to_owned())),
            Some((_, asked, Some(_))) if gone || *asked != run => {
                Some(Err("its process has died".to_owned()))
            }
            Some((_, _, Some(id))) => {
                let id = *id;
                self.answer(id).map(|obeyed| {
                    if obeyed {
                        Ok(())
                    } else {
                        Err(self
                            .refusal(id)
                            .map_or_else(String::new, |refusal| refusal.why.clone()))
                    }
                })
            }
        };
        let node = &mut self.agents().nodes[number];
        let Some(agent) = &mut node.agent else {
            return;
        };
        agent.handle_replica(now, 0, view);
        if let Some(result) = answer {
            node.order = None;
            agent.handle_ordered(now, 0, result);
        }
    }
}

fn seen(run: u64, status: &Status) -> ReplicaView {
    let role = |role: Role| match role {
        Role::Primary => twindisk_fencing_core::Role::Primary,
        Role::Standby => twindisk_fencing_core::Role::Standby,
    };
    let peer = &status.peers[0];
    ReplicaView {
        run,
        role: role(status.role),
        term: status.term,
        // R16: nobody is asked to step aside for what is not written yet.
        up_to_date: status.disk == DiskState::UpToDate && !status.still_writing,
        can_promote: status.promote_needs.is_empty(),
        open: status.export_open,
        suspended: status.suspended.is_some(),
        linked: !matches!(
            peer.connection,
            ConnectionState::Connecting | ConnectionState::Standalone
        ),
        met: peer.met,
        peer_role: peer.role.map(role),
        peer_in_sync: peer.in_sync,
        progress: status.activity.reads + status.activity.writes + status.activity.flushes,
        oldest_ms: status.activity.disk_oldest_ms,
    }
}
