//! Deliberate bugs, so that we know that the simulator's checker bites: it must find every one of them.
//!
//! Only with the feature `mutants`, which only `twindisk-simulator` turns on. Without it [`Replica::mutant`] is a
//! constant `false`, and nothing of a mutant is in the program. A build of the whole workspace unifies features; even
//! there a mutant is on only in a replica made by [`Replica::with_mutant`], which only the simulator calls. Both are
//! checked by the `tidy` test.

use twindisk_format::{
    control::PeerState,
    ids::{BlockRange, Slot},
    lineage::Relation,
    superblock::Lack,
};

use crate::{
    compare::{Reason, Side, Verdict, compare},
    replica::Replica,
};

macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $name:ident: $rule:literal,)+) => {
        /// A deliberate bug. `mutants.rs` says how it is kept out of production.
        #[cfg_attr(not(feature = "mutants"), expect(unreachable_pub, reason = "only the simulator names one"))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $what])+ $name,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The rule that it breaks: its name, or the chapter, in `replicator/RULES.md`.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => $rule,)+
                }
            }

            /// What it does, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($what,)+).trim_ascii_start(),)+
                }
            }
        }
    };
}

mutants! {
    /// What a peer says of terms counts before it is known to be related.
    TermBeforeIdentity: "generations",
    /// A conflict with a peer is not stored.
    ConflictIsForgotten: "R11",
    /// A node is promoted although it is in conflict with a peer.
    PromoteInConflict: "R11",
    /// A peer in conflict releases whom it has the number of.
    StrangersRelease: "R11",
    /// What a peer says of how often its superblock was written is not remembered.
    MomentUnheard: "generations",
    /// Devices of different sizes hide a conflict.
    SizeBeforeIdentity: "R11",
    /// A term that can't be is stored.
    AnyTermGoes: "generations",
    /// A primary forgets the generation in which it is one.
    PrimaryForgets: "R2",
    // The way of a write.
    /// A write is acknowledged without the answers of the in-sync peers.
    AckWithoutPeers: "R1",
    /// A FUA write counts as done when a protocol B peer has received it.
    ReceivedIsEnoughForFua: "R1",
    /// A standby says that a write is written when it has received it.
    AnswerBeforeWritten: "R1",
    /// A write does not wait until its extents are in the stored activity log.
    WriteBeforeActivityLog: "dirty bits",
    /// A standby applies a write before the flush that it depends on is stable.
    IgnoreDependency: "S4",
    /// Overlapping mutations run at the same time.
    NoRangeLocks: "writes",

    // Flushes.
    /// A flush does not wait for the peers.
    FlushWithoutPeers: "R1",
    /// A flush does not wait for this node's own disk.
    FlushWithoutOwnDisk: "R1",
    /// A flush shares a disk flush that had begun before it.
    ShareEarlierFlush: "R1",
    /// A peer's flush overtakes the writes that were sent before it.
    FlushOvertakesWrites: "R1",
    /// A flush that failed is tried again, and then believed.
    RetryFailedFlush: "writes",
    /// What a lost peer had not made stable is forgotten.
    ForgetUnstable: "S5",
    /// What a lost peer has stable, and may not remember, is taken for equal.
    ForgetFresh: "S5",
    /// What a peer may lack that is rolled back unnoticed is called stable everywhere.
    StableUnremembered: "S5",
    /// Standbys are not told how far another one had come that is equal.
    SeenUntold: "generations",
    /// Who joins keeps what it knew of a third one before.
    SeenKept: "generations",
    /// That a rollback was made good is not remembered.
    MadeGoodForgotten: "generations",
    /// A flush waits for a peer that is lost, though nothing there was left to make stable.
    FlushWaitsForTheLost: "S6",

    // Dirty bits and the activity log.
    /// The same newest generation on both sides clears the dirty bits.
    ClearBitsOnIdentity: "dirty bits",
    /// Dirty bits are cleared when resync has sent the blocks.
    ClearBitsAtSend: "dirty bits",
    /// No dirty bits for a peer that is not connected.
    NoBitsForLost: "S5",
    /// An extent leaves the activity log before its writes are stable everywhere.
    EvictUnstableExtent: "dirty bits",
    /// An extent leaves the activity log before its dirty bits are stored.
    EvictBeforeBitsStored: "dirty bits",
    /// After a crash the active extents are taken for clean.
    IgnoreExtentsAtBoot: "dirty bits",
    /// A bitmap page that is torn or rotten means "clean".
    TrustBrokenBitmap: "dirty bits",
    /// What the lost primary sent last is not remembered as dirty for the other standbys.
    ForgetRecent: "S5",
    /// A member that showed up for a moment is taken to have everything when it is lost again.
    GlimpseMakesEqual: "S5",
    /// A standby overwrites another one before it is recorded as at rest.
    LeadUnrested: "S1",

    // Resync.
    /// During a resync a live write is only marked as dirty, also behind the cursor.
    MarkBehindCursor: "S5",
    /// A block that resync is reading is not locked against live writes.
    NoLockInResync: "S5",
    /// A target is in sync before what it received is stable.
    JoinBeforeStable: "R1",
    /// A target is not recorded as Inconsistent before blocks are overwritten.
    ResyncOntoOutdated: "S4",
    /// A disk whose flush had failed is believed where it reads as equal.
    CompareFailedDisk: "writes",

    // Terms and roles.
    /// Who hears a lower term goes back to it.
    AcceptLowerTerm: "R4",
    /// A primary that hears a higher term goes on.
    IgnoreHigherTerm: "R4",
    /// The device opens before the new term is stored.
    OpenBeforeTermStored: "R2",
    /// An Outdated disk is promoted.
    PromoteOutdated: "R3",
    /// An Inconsistent disk is promoted.
    PromoteInconsistent: "R3",
    /// A node grants a term as what it is about to be, before that is stored.
    GrantOfTheMoment: "R2",
    /// A node is promoted without a right about its missing peers.
    PromoteWithoutRight: "R2",
    /// Clients of a role that ended are served again when it comes back, whatever others wrote meanwhile.
    ServeClientsOfTheRoleBefore: "R17",
    /// Clients are served again after a loss of power that may have taken what they had written.
    ServeClientsOfBeforePowerLoss: "R17",
    /// A disk is UpToDate at boot, compared with nobody.
    BootUpToDate: "R5",
    /// A receipt is good for ever: in later terms, after a restart, and when the peer has come back.
    ReceiptIsForEver: "R2",
    /// A node releases itself and does not record itself as Outdated.
    ReleaseWithoutOutdated: "R3",
    /// A node releases itself before it has stored that it is Outdated.
    ReleaseBeforeStored: "R3",
    /// The in-sync set grows though a member is away.
    GrowUnheard: "R14",
    /// One that has not said yet that it has joined is gone on with as if it had.
    JoinerIsACopy: "R14",
    /// A copy that nobody counted on is believed to have everything, also one that is being taken into the in-sync set.
    CopyHasEverything: "R14",
    /// A lost link is taken for a receipt.
    SilenceIsReceipt: "R1",
    /// A primary goes on without a replica in the old term and generation.
    NoNewGeneration: "generations",
    /// Confirmations of an older term count, and nobody waits for the members to store a change.
    OldConfirmationCounts: "R1",
    /// A primary goes on alone before what is in its disk's cache is stable.
    LeaveBeforeStable: "S1",
    /// A standby is recorded as at rest before everything is stable.
    RestBeforeStable: "S1",
    /// A standby writes what its primary sends while its superblock still says that it is at rest.
    ApplyAtRest: "S1",
    /// A replica that comes to rest forgets a crash that no comparison has made good.
    RestForgetsCrash: "generations",

    // When two meet.
    /// A side is set aside although the one that leads has not written what it received.
    LeadUnwritten: "R16",
    /// A replica says that its copy can take over before it has written what it received.
    OfferUnwritten: "R16",
    /// A copy that is none any more does not say so to a primary that has none of its own and counts on it.
    CountedOnInVain: "S6",
    /// A copy is led in an older epoch than it has stored.
    LeadInAnOlderEpoch: "S6",
    /// A standby follows one that has a primary, and is outdated before that primary knows.
    FollowAFollower: "R14",
    /// The side that is behind leads.
    WrongSideLeads: "generations",
    /// That a side crashed is not looked at.
    IgnoreCrash: "generations",
    /// That a side lost its power, and the other one only its process, is not looked at.
    IgnoreLostPower: "generations",
    /// A split brain is merged without a person.
    MergeSplitBrain: "R11",
    /// Changes are given up without being saved.
    DiscardUnsaved: "R11",

    // Reads, disks, sizes, clients.
    /// A frozen primary answers reads for ever.
    ReadAfterLease: "R9",
    /// Beside a witness a primary tells clients past its lease what is done.
    CompleteAfterLease: "S3",
    /// The read lease counts from the arrival of a frame, or from a connection alone.
    LeaseFromArrival: "R9",
    /// Who takes over by the arbiter's word does not wait until the other one answers no read any more.
    OpenWithinLease: "R9",
    /// That a node was powered off is a right beside a witness.
    FenceBesideArbiter: "R8",
    /// A peer counts as silent while this side does not read from it.
    CountUnreadSilence: "silence",
    /// A primary whose disk failed goes on as if it had not.
    AckWithFailedDisk: "R1",
    /// A write that finds no space is a failure of the disk.
    NoSpaceIsDeath: "R13",
    /// A write that finds no space counts as written.
    NoSpaceIsWritten: "R13",
    /// A write that found no space is not tried again.
    NoSpaceForEver: "R13",
    /// A write that waits for space does not keep its range.
    NoSpaceUnlocks: "writes",
    /// A resync begins while what came before it still waits for space.
    ResyncWithoutSpace: "R13",
    /// A standby that finds no space for what it said to have received is promoted without it.
    PromoteUnwritten: "R16",
    /// Quiet metadata is not probed.
    NoProbe: "dirty bits",
    /// A standby that withdraws, since it can't store that it leaves, goes on as if it had not.
    WithdrawInWordsOnly: "R3",
    /// That a member has withdrawn is held against it in later sets too.
    WithdrawalIsForEver: "R1",
    /// A disk that has failed goes on as the source of resyncs and verifies.
    FailedDiskLeads: "R16",
    /// What was read from a disk that has failed meanwhile is served, compared, saved, and sent around unaligned writes.
    FailedDiskIsRead: "R16",
    /// Who is led by a former primary takes its last generation for one that every member knows.
    JoinUnconfirmed: "R11",
    /// The members of a promotion take its generation for one that every member knows.
    PromotionIsConfirmed: "R11",
    /// What the first write of a primary says about its generation is not stored.
    WritesConfirmNothing: "R11",
    /// Protocol B: a primary without a disk acknowledges what its peers have only received.
    ReceivedIsACopy: "R1",
    /// A client's read that a peer answers shows what is acknowledged to nobody yet.
    ReadUnacknowledged: "S1",
    /// A resize is not given up with the role.
    ResizeOutlivesTheRole: "S6",
    /// Zeros of a resize that came to nothing wait for a peer that is lost.
    ZerosWaitForTheLost: "R10",
    /// What a resize adds is not zeroed.
    ResizeWithoutZeroing: "S2",
    /// What a dropped connection had asked for is done later, behind what newer ones ask for.
    GhostWrites: "writes",
}

/// Which deliberate bug is on, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutated(#[cfg(feature = "mutants")] Option<Mutant>);

impl Mutated {
    /// Whether it is this one.
    #[cfg(feature = "mutants")]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.0 == Some(mutant)
    }

    /// Whether it is this one: never.
    #[cfg(not(feature = "mutants"))]
    pub(crate) const fn is(self, _: Mutant) -> bool {
        false
    }
}

/// What these two lack is believed to be no more than this.
fn forget_above(most: Lack, mine: &mut PeerState, theirs: &mut PeerState) {
    for state in [mine, theirs] {
        state.lack = state.lack.min(most);
    }
}

impl Replica {
    /// Whether the core has this bug now.
    pub(crate) fn mutant(&self, mutant: Mutant) -> bool {
        self.mutated.is(mutant)
    }

    /// What two nodes said to each other, as a mutant understands it.
    pub(crate) fn mutate_statements(
        &mut self,
        slot: Slot,
        mine: &mut PeerState,
        theirs: &mut PeerState,
    ) {
        if self.mutant(Mutant::IgnoreCrash) {
            forget_above(Lack::Nothing, mine, theirs);
        }
        if self.mutant(Mutant::IgnoreLostPower) {
            forget_above(Lack::UnderWay, mine, theirs);
        }
        if self.mutant(Mutant::CopyHasEverything) {
            for state in [&mut *mine, &mut *theirs] {
                if state.lack == Lack::Anything {
                    state.lack = Lack::Nothing;
                }
            }
        }
        let same = mine.lineage.relation(&theirs.lineage) == Relation::Same;
        if self.mutant(Mutant::ClearBitsOnIdentity) && same {
            (mine.dirty_blocks, theirs.dirty_blocks) = (0, 0);
            let size = self.size_blocks();
            let bitmap = &mut self.peer_mut(slot).bitmap;
            bitmap.clear(BlockRange::new(0, size as u32));
        }
    }

    /// What a mutant makes of a comparison.
    pub(crate) fn mutate_verdict(&self, me: Side<'_>, it: Side<'_>, right: Verdict) -> Verdict {
        let merged = Reason {
            row: crate::Mark::SplitBrain,
            resync: true,
            full: true,
            coarse: false,
            adopt: false,
            why: "a split brain is merged",
        };
        match right {
            Verdict::SplitBrain { .. } if self.mutant(Mutant::MergeSplitBrain) => {
                if me.node < it.node {
                    Verdict::Lead(merged)
                } else {
                    Verdict::Follow(merged)
                }
            }
            _ if self.mutant(Mutant::WrongSideLeads) => compare(it, me),
            right => right,
        }
    }

    /// A replica with a deliberate bug.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn with_mutant(
        now: crate::Time,
        start: crate::Start,
        metadata: twindisk_format::metadata::Loaded,
        mutant: Option<Mutant>,
    ) -> Self {
        Self::build(now, start, metadata, Mutated(mutant))
    }
}
