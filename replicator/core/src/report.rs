//! What a replica says of itself.

use twindisk_format::{
    ids::{Slot, SlotSet, Term},
    superblock::{ConflictKind, Standing},
};

use crate::{
    Activity, ConflictStatus, DiskState, Missing, OnPeerLoss, PeerStatus, Progress, Promotion,
    ReceiptStatus, RefusalCode, Role, Status, Suspension, Time,
    limits::{SCORE_OF_PRIMARY, SCORE_OF_STANDBY},
    mutants::Mutant,
    mutation::Stage,
    peer::{FollowStep, Phase},
    replica::Replica,
    sweep::Purpose,
};

impl Replica {
    /// Everything an operator may want to know. Not for the data path: it allocates.
    #[must_use]
    pub fn status(&self, now: Time) -> Status {
        let superblock = self.store.get();
        Status {
            role: self.role,
            term: superblock.term.0,
            disk: self.disk,
            disk_why: (!self.disk_is_up_to_date()).then(|| self.disk_why.clone()),
            size_bytes: superblock.size_blocks * 4096,
            export_open: self.export_open,
            binding: superblock.binding,
            suspended: self.suspended.as_ref().map(|suspended| Suspension {
                why: suspended.why.clone(),
                release: suspended.release.clone(),
                for_ms: millis(now, suspended.since),
                code: self.suspension_code(),
                missing: self.named(self.missing(), now),
            }),
            no_space: self.no_space_now(now),
            generation: superblock.lineage.newest().map(|generation| {
                format!(
                    "{}/{:016x}/{}",
                    generation.term, generation.id.0, generation.node
                )
            }),
            generations: superblock.lineage.generations().len(),
            in_sync: self.in_sync_nodes().iter().map(|node| node.0).collect(),
            still_writing: self.has_unwritten(),
            promote_needs: self.promote_needs(),
            promotion: Some(self.promotion(now)),
            on_peer_loss: self.config.on_peer_loss,
            peers: self
                .slots()
                .map(|slot| self.peer_status(slot, now))
                .collect(),
            activity: self.activity(now),
            latency: self.latency.clone(),
            warnings: self.warnings(now),
            faults: self.faults(now),
        }
    }

    fn peer_status(&self, slot: Slot, now: Time) -> PeerStatus {
        let peer = self.peer(slot);
        let record = self.store.peer(slot);
        let said = peer.said.as_ref().filter(|_| peer.link.is_some());
        PeerStatus {
            node: peer.node.0,
            name: peer.name.clone(),
            protocol: peer.protocol,
            connection: peer.connection(),
            connection_why: peer.why.clone(),
            met: peer.met,
            lost_ms: self.lost_ms(slot, now),
            role: said.map(|said| {
                if said.primary {
                    Role::Primary
                } else {
                    Role::Standby
                }
            }),
            disk: self.peer_disk(slot),
            in_sync: record.standing.is_counted(),
            standing: self.shown_standing(slot),
            joining_why: self.joining_why(slot),
            dirty_bytes: peer.bitmap.dirty() * 4096,
            unstable_bytes: peer.sent.unstable_blocks * 4096,
            in_flight: peer.sent.in_flight,
            oldest_ms: peer.sent.oldest().map_or(0, |since| millis(now, since)),
            unread: peer.link.is_some_and(|link| link.paused.is_some()),
            receipt: record
                .receipt
                .filter(|_| self.receipt_holds(slot))
                .map(|receipt| ReceiptStatus {
                    kind: format!("{:?}", receipt.kind).to_lowercase(),
                    term: receipt.term.0,
                }),
            conflict: record.conflict.map(|conflict| ConflictStatus {
                kind: match conflict.kind {
                    ConflictKind::SplitBrain => "split-brain",
                    ConflictKind::Unrelated => "unrelated",
                    ConflictKind::Rewound => "rewound",
                }
                .into(),
                why: self.conflict_sentence(slot).unwrap_or_default(),
            }),
            progress: self.progress(slot, now),
            latency: peer.latency.clone(),
        }
    }

    fn promotion(&self, now: Time) -> Promotion {
        let refused = match self.role {
            Role::Primary => None,
            Role::Standby => self.may_promote(false, None).err(),
        };
        let code = refused.map(|no| no.cause.code());
        let newest = self.disk_is_up_to_date() && code != Some(RefusalCode::Conflict);
        Promotion {
            score: match self.role {
                Role::Primary => Some(SCORE_OF_PRIMARY),
                Role::Standby => newest.then_some(SCORE_OF_STANDBY),
            },
            code,
            missing: match self.role {
                Role::Primary => Vec::new(),
                Role::Standby => self.named(self.without_right(), now),
            },
        }
    }

    fn named(&self, slots: SlotSet, now: Time) -> Vec<Missing> {
        let missing = |slot| Missing {
            node: self.peer(slot).name.clone(),
            met: self.peer(slot).met,
            lost_ms: self.lost_ms(slot, now),
        };
        slots.iter().map(missing).collect()
    }

    fn lost_ms(&self, slot: Slot, now: Time) -> Option<u64> {
        let peer = self.peer(slot);
        peer.link.is_none().then(|| millis(now, peer.since))
    }

    /// How a peer stands to the set, as an operator sees it: a whole copy that is not counted on yet is joining.
    fn shown_standing(&self, slot: Slot) -> Standing {
        match self.store.peer(slot).standing {
            Standing::Out | Standing::Copy if self.is_whole_copy(slot) => Standing::Joining,
            Standing::Out | Standing::Copy => Standing::Out,
            Standing::Joining => Standing::Joining,
            Standing::In => Standing::In,
        }
    }

    /// Why an equal peer is not in yet, and what would take it in.
    pub(crate) fn joining_why(&self, slot: Slot) -> Option<String> {
        let away = self.growth_waits_for(slot);
        if !self.is_whole_copy(slot) || away.is_empty() {
            return None;
        }
        let names: Vec<&str> = away.iter().map(|slot| &*self.peer(slot).name).collect();
        let names = names.join(", ");
        Some(format!(
            "{} is equal, and is counted on once {names} of the in-sync set knows of it: that ends when {names} comes \
             back, or with a receipt about it",
            self.peer(slot).name
        ))
    }

    /// The peer's disk, as far as it is known.
    fn peer_disk(&self, slot: Slot) -> Option<DiskState> {
        use twindisk_format::superblock::StoredDisk;
        let peer = self.peer(slot);
        match &peer.phase {
            Phase::Established => Some(DiskState::UpToDate),
            Phase::Leading { reason, .. } if reason.resync => Some(DiskState::Inconsistent),
            _ => peer.said.as_ref().map(|said| match said.disk {
                StoredDisk::Failed => DiskState::Failed,
                StoredDisk::Inconsistent => DiskState::Inconsistent,
                StoredDisk::Outdated => DiskState::Outdated,
                StoredDisk::UpToDate if said.up_to_date => DiskState::UpToDate,
                StoredDisk::UpToDate => DiskState::Consistent,
            }),
        }
    }

    fn progress(&self, slot: Slot, now: Time) -> Option<Progress> {
        let peer = self.peer(slot);
        if let Some(sweep) = &peer.sweep {
            let kind = match sweep.purpose {
                Purpose::Resync { .. } => "resync-source",
                Purpose::Verify { .. } => "verify-source",
            };
            return Some(Progress {
                kind: kind.into(),
                done_bytes: sweep.done_blocks * 4096,
                total_bytes: sweep.total_blocks.max(sweep.done_blocks) * 4096,
                elapsed_ms: millis(now, sweep.started),
                sent_bytes: sweep.sent_blocks * 4096,
                equal_bytes: sweep.equal_blocks * 4096,
                different_bytes: sweep.different_blocks * 4096,
            });
        }
        let target = matches!(
            peer.phase,
            Phase::Following {
                step: FollowStep::Target,
                ..
            }
        );
        target.then(|| Progress {
            kind: "resync-target".into(),
            done_bytes: 0,
            total_bytes: 0,
            elapsed_ms: 0,
            sent_bytes: 0,
            equal_bytes: 0,
            different_bytes: 0,
        })
    }

    fn activity(&self, now: Time) -> Activity {
        let running = |mutation: &&crate::mutation::Mutation| mutation.stage != Stage::Frozen;
        let oldest = self
            .mutations
            .iter()
            .map(|(_, mutation)| mutation)
            .filter(running);
        let oldest = oldest.map(|mutation| mutation.began).min();
        Activity {
            requests: (self.mutations.len()
                + self.reads.len()
                + self.flushes.len()
                + self.held.len()) as u64,
            waiting: 0,
            oldest_ms: oldest.map_or(0, |began| millis(now, began)),
            disk_oldest_ms: self.oldest_op().map_or(0, |since| millis(now, since)),
            al_extents: self.al.len() as u64,
            al_writes: self.al.writes(),
            writes: self.counts.writes,
            reads: self.counts.reads,
            flushes: self.counts.flushes,
            disk_flushes: self.counts.disk_flushes,
            written_bytes: self.counts.written_bytes,
            read_bytes: self.counts.read_bytes,
        }
    }

    fn warnings(&self, now: Time) -> Vec<String> {
        let mut warnings = self.stalls(now);
        if let Some(space) = self.no_space_now(now) {
            let (why, release, seconds) = (space.why, space.release, space.for_ms / 1000);
            let writes = space.writes;
            warnings.push(format!(
                "{why} ({writes} writes wait, for {seconds} s): {release}"
            ));
        }
        if self.config.on_peer_loss == OnPeerLoss::Continue {
            warnings.push(
                "on-peer-loss = \"continue\" is UNSAFE: a primary goes on without proof that no \
                 other node is primary"
                    .into(),
            );
        }
        warnings.extend(self.slots().filter_map(|slot| self.conflict_sentence(slot)));
        warnings.extend(self.failures());
        if self.role == Role::Primary && self.store.in_sync().is_empty() && !self.peers.is_empty() {
            warnings
                .push("no other node has the newest data: if this one is lost, it is lost".into());
        }
        warnings.extend(self.slots().filter_map(|slot| self.joining_why(slot)));
        if self.role == Role::Primary && !self.disk_attached() {
            warnings.push("serving without a local disk, through the peers".into());
        }
        warnings
    }

    /// Every decision of the core by kind and name, and how often it was taken since the start.
    pub fn decisions(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.marks.all()
    }

    /// Panics when a rule is broken. The simulator calls it after every event.
    pub fn check_invariants(&self) {
        let superblock = self.store.get();
        if self.role == Role::Primary {
            assert!(superblock.primary, "a primary is recorded as one");
            assert!(
                superblock.lineage.newest().is_some_and(
                    |newest| newest.term == superblock.term && newest.node == superblock.node
                ),
                "a primary writes its own generation, in its own term"
            );
            assert!(self.export_open, "a primary serves");
        } else {
            assert!(!self.export_open, "only a primary serves");
        }
        if let Some(binding) = superblock.binding {
            let generations = superblock.lineage.generations().iter();
            let mut since = generations.skip_while(|generation| generation.id != binding.id);
            assert!(
                // Of old generations only their names are kept.
                since.all(|one| one.term == Term(0) || one.node == superblock.node)
                    || self.mutant(Mutant::ServeClientsOfTheRoleBefore),
                "R17: nobody else has written since the role began to which clients are bound"
            );
        } else {
            assert_eq!(
                self.role,
                Role::Standby,
                "R17: clients of a primary can be bound"
            );
        }
        for peer in &self.peers {
            let mut last = None;
            for entry in &peer.sent.unstable {
                assert!(last < Some(entry.seq), "unstable ranges are in order");
                last = Some(entry.seq);
            }
            if peer.link.is_none() {
                assert_eq!(peer.phase, Phase::Down, "no phase without a link");
                assert!(
                    peer.sent.unstable.is_empty(),
                    "what was unstable is dirty without a link"
                );
                assert!(
                    peer.fresh.first().is_none(),
                    "what may not be remembered is dirty without a link"
                );
                assert!(peer.confirmed.is_none(), "nobody confirms without a link");
            }
            let closing = peer.link.is_some_and(|link| link.closing);
            if peer.phase == Phase::Established && self.role == Role::Primary && !closing {
                assert_eq!(peer.bitmap.dirty(), 0, "an equal peer has no dirty blocks");
            }
        }
        for (index, mutation) in &self.mutations {
            assert!(mutation.lock.is_some() || matches!(mutation.stage, Stage::Settled { .. }));
            if mutation.stage == Stage::Frozen {
                assert!(
                    self.frozen.contains(&index),
                    "a frozen mutation is remembered"
                );
            }
        }
    }
}

fn millis(now: Time, since: Time) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}
