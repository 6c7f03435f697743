//! Both sides went on from a common generation. Nothing is mixed before a person has said whose changes are given up
//! (R11), and what is given up is kept in a file first.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{GenerationId, Slot, Term},
    lineage::Generation,
    superblock::{ConflictKind, Lack, Seen},
};

use crate::{
    Action, Cause, CommandId, Mark, OpId, Report, Role,
    mutants::Mutant,
    peer::Phase,
    replica::{Op, Replica, Then},
};

/// This side's changes are being copied into a file before they are given up.
#[derive(Clone, Debug)]
pub(crate) struct Saving {
    command: Option<CommandId>,
    keep: Slot,
    last_common: GenerationId,
    fork_term: Term,
    /// The newest of the generations that are given up: another one means that this node has found its place meanwhile.
    newest: Option<Generation>,
    path: Option<String>,
}

impl Replica {
    /// The peer's lineage and ours fork.
    pub(crate) fn split_brain(&mut self, slot: Slot, last_common: Generation) {
        let changed_here = self.peer(slot).bitmap.dirty();
        let changed_there = self
            .peer(slot)
            .said
            .as_ref()
            .map_or(0, |said| said.dirty_blocks);
        let peer = self.peer(slot).node.0;
        let last_common_term = last_common.term.0;
        let why = format!(
            "both went on after term {last_common_term}: {changed_here} blocks changed here, \
             {changed_there} there; `twindisk resolve --discard NODE` gives up one side's changes"
        );
        self.set_phase(slot, Phase::SplitBrain { last_common }, why);
        self.report(Report::SplitBrain {
            peer,
            last_common_term,
            changed_here,
            changed_there,
        });
    }

    /// One of the two was rolled back, and went on from there: what the other one has of the time between is nowhere else.
    pub(crate) fn rewound_and_gone_on(&mut self, slot: Slot, last_common: Generation) {
        let said = self.peer(slot).said.as_ref();
        let here = said.is_some_and(|said| !self.remembers(said.seen));
        let who = if here {
            "this node"
        } else {
            &*self.peer(slot).name
        };
        let why = format!(
            "{who} was rolled back to an older state and went on from there; `twindisk resolve --discard NODE` gives up \
             one side's changes"
        );
        self.set_phase(slot, Phase::SplitBrain { last_common }, why);
    }

    /// The operator decides a split brain.
    pub(crate) fn discard(&mut self, id: CommandId, peer: Option<Slot>, keep: Option<Slot>) {
        let wanted = peer.or(keep);
        let split: Vec<Slot> = self
            .slots()
            .filter(|slot| matches!(self.peer(*slot).phase, Phase::SplitBrain { .. }))
            .filter(|slot| wanted.is_none_or(|wanted| wanted == *slot))
            .collect();
        let [slot] = split[..] else {
            return self.refuse_command(
                id,
                Cause::DiscardNobody,
                "no connected peer is in split brain with this node, or several are",
                "`twindisk status` shows the peers; name one",
            );
        };
        if peer.is_some() {
            self.send(slot, Frame::Control(ControlMessage::Discard));
            let name = self.peer(slot).name.clone();
            return self.done(
                id,
                format!("{name} was told to save its changes and to follow"),
            );
        }
        self.save_changes(Some(id), slot);
    }

    /// The other side was told to be kept.
    pub(crate) fn discard_asked(&mut self, slot: Slot) {
        if matches!(self.peer(slot).phase, Phase::SplitBrain { .. }) {
            self.save_changes(None, slot);
        }
    }

    fn save_changes(&mut self, command: Option<CommandId>, keep: Slot) {
        let Phase::SplitBrain { last_common } = self.peer(keep).phase else {
            return;
        };
        let refusal = if self.role == Role::Primary {
            let why = "this node is primary: demote it before its changes are given up";
            Some((Cause::DiscardPrimary, why))
        } else if self.saving.is_some() || self.job.is_some() {
            Some((Cause::DiscardBusy, "something else is under way"))
        } else if self.follows().is_some() {
            let why = "this node follows the primary: it has nothing of its own to give up";
            Some((Cause::DiscardFollows, why))
        } else if !self.disk_attached() {
            Some((Cause::DiscardNoDisk, "this node has no disk"))
        } else {
            None
        };
        if let Some((cause, why)) = refusal {
            match command {
                Some(id) => self.refuse_command(id, cause, why, "then try again"),
                None => {
                    self.marks.mark(Mark::DiscardUnable);
                    let why = why.to_owned();
                    self.send(keep, Frame::Control(ControlMessage::Refused { why }));
                }
            }
            return;
        }
        let ranges = self.peer(keep).bitmap.runs().collect();
        self.saving = Some(Saving {
            command,
            keep,
            last_common: last_common.id,
            fork_term: last_common.term,
            newest: self.store.get().lineage.newest(),
            path: None,
        });
        let op = self.op(Op::Save);
        if self.mutant(Mutant::DiscardUnsaved) {
            return self.saved(op, Ok("nowhere".into()));
        }
        self.act(Action::SaveBlocks { op, ranges });
    }

    /// The changes are in a file, or could not be kept: then nothing is given up.
    pub(crate) fn saved(&mut self, op: OpId, result: Result<String, String>) {
        assert_eq!(self.take_op(op), Op::Save, "the answer belongs to a save");
        let Some(mut saving) = self.saving.take() else {
            return;
        };
        let result = result.and_then(|path| {
            if !self.is_to_be_trusted() {
                // R16: what was copied may lack what was written last.
                Err(format!(
                    "the backing device failed while they were copied ({path} is not to be trusted)"
                ))
            } else if self.store.get().lineage.newest() == saving.newest
                && self.role == Role::Standby
            {
                Ok(path)
            } else {
                Err(format!(
                    "it has found its place among the others meanwhile ({path} is not needed)"
                ))
            }
        });
        match result {
            Ok(path) => {
                let (keep, last_common) = (saving.keep, saving.last_common);
                let term = saving.fork_term;
                saving.path = Some(path);
                self.saving = Some(saving);
                self.store.change(|superblock| {
                    superblock.lineage.cut_after(last_common);
                    // What it promised in its fork is given up with it: its terms dethrone nobody.
                    superblock.term = term.min(superblock.term);
                    superblock.unconfirmed = false;
                    // It has what was given up in place of what came after the fork's beginning.
                    superblock.lack = Lack::Anything;
                });
                let rewound = (self.store.peer(keep).conflict)
                    .is_some_and(|conflict| conflict.kind == ConflictKind::Rewound);
                if rewound {
                    // What differs no bitmap knows; and the peer's older state is to count from now on.
                    self.store.change(|superblock| {
                        superblock.rewound = true;
                        superblock.peers[keep.index()].seen = Seen::NEVER;
                    });
                }
                self.bound_to_a_fork();
                self.outdate("its changes were given up");
                self.store.then(Then::Discarded { slot: keep });
            }
            Err(error) => {
                let why = format!("this node's changes are kept, not given up: {error}");
                match saving.command {
                    Some(id) => self.refuse_command(
                        id,
                        Cause::NotSaved,
                        why,
                        "look at `twindisk status`; make room in the directory for discarded blocks if \
                         that was it, then try again",
                    ),
                    None => self.report(Report::Warning { what: why }),
                }
            }
        }
    }

    /// That the fork is given up can't be stored.
    pub(crate) fn discard_not_stored(&mut self) {
        let Some(saving) = self.saving.take() else {
            return;
        };
        let why = "this node's metadata can't be written".to_owned();
        match saving.command {
            Some(id) => {
                self.refuse_command(id, Cause::NotSaved, why, "replace the disk of this node");
            }
            None => self.report(Report::Warning { what: why }),
        }
    }

    /// The fork is given up durably: meet the peer again, behind it now.
    pub(crate) fn discarded(&mut self, slot: Slot) {
        let Some(saving) = self.saving.take() else {
            return;
        };
        let path = saving.path.unwrap_or_default();
        let message = format!("the changed blocks are kept in {path}; this node follows now");
        match saving.command {
            Some(id) => self.done(id, message),
            None => self.report(Report::Warning { what: message }),
        }
        let why = "the split brain was resolved";
        self.drop_link(slot, Mark::SplitBrainResolved, why);
    }
}
