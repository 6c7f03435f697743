//! The core's decisions by name: which row of a table was taken, which reason a refusal had. Counted for whoever wants
//! to know what was reached; nothing is ever decided by a count.
//!
//! A promise that no run ever came to is a promise nobody tested: the simulator's test fails for each name that its
//! runs do not reach.

use crate::RefusalCode;

/// An enum with a closed list of names.
macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($group:literal { $($name:ident: $text:literal,)* })* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[doc = $text] $name,)*)*
        }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// What kind of decision it is.
            #[must_use]
            pub const fn group(self) -> &'static str {
                match self {
                    $($(Self::$name => $group,)*)*
                }
            }

            /// Its name among those, the same for ever and without names of nodes.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $($(Self::$name => $text,)*)*
                }
            }
        }
    };
}

names! {
    /// A decision of the core, other than to refuse a command.
    Mark {
        "lineage" {
            Unrelated: "nothing in common: unrelated",
            SplitBrain: "both went on from a common generation: split brain",
            NoDataAnywhere: "no data on either side: wait",
            NewerNotWhole: "the newer one has no whole copy: wait",
            NeitherWhole: "same generation, no whole copy on either side: wait",
            Adopt: "the newer one has no copy of its own, the older one was counted on: it leads and adopts",
            AheadOfNoData: "the follower has no data yet: by hashes",
            AheadByBitmap: "the follower is of an older generation: by bitmap",
            AheadByHashes: "the follower is of an older generation, no base is known: by hashes",
            NotWholeByBitmap: "same generation, the follower's copy is not whole: by bitmap",
            NotWholeByHashes: "same generation, the follower's copy is not whole, no base is known: by hashes",
            PrimaryEqual: "same generation, the primary leads: in sync",
            PrimaryByBitmap: "same generation, the primary leads: by bitmap",
            PrimaryByHashes: "same generation, the primary leads, no base is known: by hashes",
            SurvivorEqual: "same generation, who outlived the one that counted on it leads: in sync",
            SurvivorByBitmap: "same generation, who outlived the one that counted on it leads: by bitmap",
            OutdatedEqual: "same generation, the follower is recorded as outdated: in sync",
            OutdatedByBitmap: "same generation, the follower is recorded as outdated: by bitmap",
            OutdatedByHashes: "same generation, the follower is recorded as outdated, no base is known: by hashes",
            SurvivorByHashes: "same generation, who outlived the one that counted on it leads, no base is known: by hashes",
            CrashedEqual: "same generation, the follower crashed: in sync",
            CrashedByBitmap: "same generation, the follower crashed: by bitmap",
            CrashedByHashes: "same generation, the follower crashed, no base is known: by hashes",
            LastPrimaryEqual: "same generation, who was primary last leads: in sync",
            LastPrimaryByBitmap: "same generation, who was primary last leads: by bitmap",
            LastPrimaryByHashes: "same generation, who was primary last leads, no base is known: by hashes",
            LowerNumberEqual: "same generation of a third node, the lower number leads: in sync",
            LowerNumberByBitmap: "same generation of a third node, the lower number leads: by bitmap",
            LowerNumberByHashes: "same generation of a third node, the lower number leads, no base is known: by hashes",
        }
        "rewound" {
            RewoundConflict: "one side was rolled back and has gone on: a conflict",
            RewoundByHashes: "same generation, the follower was rolled back: by hashes",
            Rewound: "this node was rolled back",
            PeerRewound: "a peer was rolled back",
            MadeGood: "made whole by one that knew of the time before",
            SeenTakenOver: "who joins takes over what its leader knows of a third node",
        }
        "wait" {
            TooSmall: "one device does not fit the other",
            PrimaryMakesEqual: "the primary has to make two standbys equal",
            PeersPrimaryMakesEqual: "the primary that the peer follows has to make the two equal",
            BroughtUpByAnother: "another node is bringing this one up to date",
            StillWriting: "who leads is still writing what it has received",
        }
        "bound clients" {
            BindingKept: "a promotion serves those of before: nobody else wrote meanwhile",
            BindingElsewhere: "ended: data that another node wrote comes here",
            BindingLostPower: "ended: what was not flushed may be gone with the power",
            BindingGivenUp: "ended: what was written since a fork is given up",
            BindingForced: "ended: promoted by force",
        }
        "request refused" {
            NotPrimary: "this node is not primary",
            GivingUp: "this node is giving up its role",
            HeldTooMany: "too many requests wait already",
            BeyondDevice: "beyond the device",
        }
        "read" {
            ReadByLease: "answered while suspended, under the lease",
            ReadHeld: "held while suspended, the lease is over",
            ReadBehindWrite: "waits for an acknowledgement, a peer is to answer",
        }
        "suspended" {
            InSyncLost: "an in-sync replica is lost without proof",
            LastCopyLost: "the last copy is lost",
        }
        "no space" {
            NoSpace: "a write waits, and is tried again",
            NoSpaceToRepair: "a block that could not be read stays so, a peer has it",
            LeftForSpace: "a standby leaves, its primary goes on",
            ResyncForSpace: "a resync waits until what came before it is written",
        }
        "conflict" {
            ConflictStored: "found, and stored",
            ConflictOver: "over, the two are related",
            StrangerUnheard: "what a peer in conflict says is not heard",
        }
        "stepped down" {
            HeardHigherTerm: "a peer speaks in a higher term",
            HasNewerData: "a peer has newer data",
        }
        "grant refused" {
            GrantPrimary: "this node is primary",
            GrantFollows: "this node is connected to another primary",
            GrantTerm: "this node is in that term already",
            GrantPromoting: "this node is being promoted itself",
            GrantNewer: "this node has newer data",
        }
        "peer refused" {
            HandOverUnable: "this node can't hand over now",
            TakeOverBusy: "this node can't take over now",
            ResizeUnfollowed: "this node does not follow who resizes",
            NoRoomForSize: "there is no room for that size",
            DiscardUnable: "this node can't give up its changes now",
        }
        "metadata" {
            MetadataProbed: "written once more: nothing was for a while",
            MetadataHangs: "a standby's hangs: it withdraws",
        }
        "in-sync set" {
            LeaveNotStored: "it does not shrink: that can't be stored by anybody",
            MemberWithdraws: "a member can't store that it leaves, and says so to its primary",
            GrowthPutOff: "it does not grow: a member or the joiner was lost",
            GrantEndsChange: "this node has granted a term: its own change ends",
            GrowthWaits: "an equal copy waits for a member that is away",
            MembershipLate: "what has come of a change is told in a term that is over",
            SetGrew: "every member has stored it, the joiner last: it grows",
        }
        "connection dropped" {
            MembershipParting: "in-sync set: this node is leaving",
            MembershipStranger: "in-sync set: a node of it is not known here",
            MembershipTerm: "in-sync set: it speaks for a lower term",
            MembershipEpoch: "in-sync set: it speaks for an older epoch",
            MembershipUnaware: "in-sync set: it does not know that this node has the newest data",
            MembershipUnfollowed: "in-sync set: this node does not follow it",
            MembershipLineage: "in-sync set: its lineage does not contain this node's",
            MembershipSize: "in-sync set: its device is too large",
            MembershipDirty: "in-sync set: blocks here are dirty",
            MutationTerm: "mutation: of another term",
            MutationUnfollowed: "mutation: this node does not follow it",
            MutationOrder: "mutation: out of order",
            MutationBeyond: "mutation: beyond the device",
            NotWanted: "disconnected by the operator",
            Replaced: "a new connection has taken its place",
            SaidTwice: "it said twice what it has",
            ChangedMeanwhile: "this node has changed while the two compared",
            PrimaryInstead: "a primary brings this node up to date instead",
            AnotherLeads: "another node brings this one up to date",
            ReadyUnasked: "it was ready though nobody had asked",
            BecameDirty: "blocks became dirty while the two compared",
            BegunUnready: "it began a resync though this node was not ready",
            ResyncTooLarge: "resync: its device is too large",
            ResyncNoMetadata: "resync: this node's metadata can't be written",
            BegunUnasked: "it began a resync that was not asked for",
            MeetAsPrimary: "meeting it again as primary",
            OtherSideParts: "the other side disconnects",
            SteppedDown: "this node has stepped down",
            MeetAgain: "more is known than when the two compared",
            Outrun: "a third one has told more than it had said itself",
            LeftDuringSweep: "it left while it was compared with",
            SplitBrainResolved: "the split brain was resolved",
            RecentLost: "the primary is lost: two standbys may differ",
            ComparedUnasked: "it answered a comparison that was not asked for",
            Unreadable: "a block can't be read for a resync or verify",
            SourceFailed: "the disk of a resync's source has failed",
            CompareImpossible: "it asked to compare what can't be",
            ResyncAsked: "the operator asked for a resync",
            Goodbye: "it said goodbye",
            Silent: "it was silent for too long",
            Undecided: "nothing came of comparing for too long",
            Unanswered: "it left a request unanswered",
            TermJump: "it names a term that can't be",
            EpochJump: "it names an epoch of the in-sync set that can't be",
            SeqJump: "it numbers a write or flush as can't be",
            LineageImpossible: "it names a lineage that can't be",
            SizeImpossible: "it names a size that can't be",
            SpokeEarly: "it did not begin with what it has",
            AnsweredUnasked: "it answered what it was not asked",
            TakeOverUnasked: "it wants to hand a role over that it did not have",
            ResizeUnasked: "it wants a size stored that it has not asked room for",
            AskedTooMuch: "it asked for more than may wait here",
            MomentJump: "it names a count of superblocks that can't be",
            NotRead: "this side could not read from it for too long",
            ReceiptUnanswered: "it is said to be off, and does not answer",
        }
        "suspension" {
            GaveUpSuspended: "it lasted too long: what waits fails, and the role is given up",
        }
        "silence" {
            Unread: "not counted while this side does not read",
            StoodStill: "not counted for the time that this node itself stood still",
            BackOff: "the next connection waits: those before it came to nothing",
        }
    }
}

names! {
    /// Why a command was refused, or what was under way for it given up.
    Cause {
        "refused" {
            RolesBusy: "any: a change of roles is under way",
            PrimaryAlready: "promote: this node is primary already",
            PeerIsPrimary: "promote: a connected peer is primary",
            NoData: "promote: there is no data here",
            Saving: "promote: this node is giving up its changes",
            Joining: "promote: this node is joining the in-sync set",
            DiskNotUpToDate: "promote: the disk is not UpToDate (R2, R3, R5)",
            StillWriting: "promote: what was received is still being written",
            NoRight: "promote: a right is missing (R2)",
            Conflict: "promote: in conflict with a peer (R11)",
            OutrunByPeer: "promote: a peer asked at the same time and comes first",
            TermRefused: "promote: a peer refused the term",
            TermPassed: "promote: a higher term was heard",
            PromotionNotStored: "promote: the term can't be stored",
            JoinedMeanwhile: "promote: a node joined the in-sync set while peers were asked",
            SetChanged: "promote: the in-sync set changed while peers were asked (R15)",
            RightGone: "promote: a right was gone when it was to be used (R15)",
            DiskFailedMeanwhile: "promote: the disk failed while peers were asked",
            LostWhileAsking: "promote: a peer was lost while it was asked",
            StandbyAlready: "demote: this node is standby already",
            DemoteSuspended: "demote: I/O is suspended",
            DrainTooLong: "demote: requests could not be finished in time",
            SwitchoverSuspended: "switchover: I/O is suspended",
            NobodyToHandTo: "switchover: nobody could take over",
            SeveralToHandTo: "switchover: several could take over",
            NobodyToTakeFrom: "switchover: nobody to take over from",
            LostInHandover: "switchover: the peer was lost before it took over",
            TakeOverRefused: "switchover: the peer refused to take over",
            PeerTooSlow: "promote, switchover: a peer did not answer in time",
            SteppedDown: "any: this node has stepped down",
            InterruptedByStop: "any: this node is being stopped",
            ReceiptConnected: "receipt: the node is connected, and answers",
            ReceiptAsking: "receipt: the node is just being asked for another one",
            ReceiptMetSince: "receipt: the two have met since",
            OtherArbiter: "receipt: the resource has another arbiter (R8)",
            OutdateNewest: "outdate: nobody else has what this node has",
            ReceiptNotNeeded: "receipt: no right about it is needed",
            ReceiptNotStorable: "receipt: the metadata can't be written",
            OutdatePrimary: "outdate: this node is primary",
            OutdateNoDisk: "outdate: there is no disk to record it on",
            OutdateConnected: "outdate: a peer is connected",
            TrustNotConsistent: "trust: the copy is not Consistent",
            TrustConnected: "trust: a peer is connected",
            VerifyBeyond: "verify: beyond the device",
            VerifyOnStandby: "verify: a peer is primary",
            VerifyNoDisk: "verify: there is no disk to compare with",
            VerifyNobody: "verify: nobody to compare with",
            NoVerify: "verify stop: none is running",
            ResyncNotNow: "resync: the peer is in sync, or not connected",
            ResizeNotNow: "resize: not primary, or suspended",
            ResizeNotEqual: "resize: a peer is not connected and equal",
            ResizeBusy: "resize: one is under way",
            ResizeSize: "resize: no size to grow to",
            ResizeRefused: "resize: a peer refused",
            ResizePeerLost: "resize: a peer was lost",
            ResizeSteppedDown: "resize: this node stops being primary",
            ResizeNotStored: "resize: the new size can't be stored",
            ResizeNotZeroed: "resize: the new blocks can't be zeroed",
            DiscardNobody: "discard: no split brain",
            DiscardPrimary: "discard: this node is primary",
            DiscardBusy: "discard: something else is under way",
            DiscardFollows: "discard: this node follows the primary",
            DiscardNoDisk: "discard: there is no disk",
            NotSaved: "discard: the changes can't be saved",
            StoppingAlready: "stop: it is being stopped already",
        }
    }
}

impl Cause {
    /// For programs.
    pub(crate) const fn code(self) -> RefusalCode {
        match self {
            Self::OutdatePrimary
            | Self::VerifyOnStandby
            | Self::ResizeNotNow
            | Self::DiscardFollows
            | Self::DiscardPrimary => RefusalCode::WrongRole,
            Self::NoData
            | Self::DiskNotUpToDate
            | Self::DiskFailedMeanwhile
            | Self::VerifyNoDisk
            | Self::TrustNotConsistent
            | Self::DiscardNoDisk => RefusalCode::DiskNotUpToDate,
            Self::NoRight => RefusalCode::NoRight,
            Self::Conflict => RefusalCode::Conflict,
            Self::NobodyToHandTo
            | Self::NobodyToTakeFrom
            | Self::VerifyNobody
            | Self::ResizeNotEqual => RefusalCode::PeerNotConnected,
            Self::PeerIsPrimary => RefusalCode::PeerIsPrimary,
            Self::ReceiptConnected | Self::ReceiptMetSince => RefusalCode::PeerAnswers,
            Self::TermRefused | Self::TermPassed | Self::TakeOverRefused | Self::ResizeRefused => {
                RefusalCode::PeerRefused
            }
            Self::RolesBusy
            | Self::Saving
            | Self::Joining
            | Self::StillWriting
            | Self::OutrunByPeer
            | Self::ReceiptAsking
            | Self::ResizeBusy
            | Self::DiscardBusy
            | Self::StoppingAlready => RefusalCode::Busy,
            Self::PrimaryAlready
            | Self::StandbyAlready
            | Self::ReceiptNotNeeded
            | Self::NoVerify
            | Self::DiscardNobody => RefusalCode::NothingToDo,
            Self::SeveralToHandTo
            | Self::OutdateConnected
            | Self::OutdateNewest
            | Self::OtherArbiter
            | Self::TrustConnected
            | Self::VerifyBeyond
            | Self::ResyncNotNow
            | Self::ResizeSize => RefusalCode::BadArgument,
            Self::DemoteSuspended | Self::DrainTooLong | Self::SwitchoverSuspended => {
                RefusalCode::Suspended
            }
            Self::LostWhileAsking
            | Self::JoinedMeanwhile
            | Self::RightGone
            | Self::SetChanged
            | Self::LostInHandover
            | Self::PeerTooSlow
            | Self::SteppedDown
            | Self::InterruptedByStop
            | Self::ResizePeerLost
            | Self::ResizeSteppedDown
            | Self::ResizeNotZeroed
            | Self::NotSaved => RefusalCode::Interrupted,
            Self::PromotionNotStored
            | Self::ReceiptNotStorable
            | Self::ResizeNotStored
            | Self::OutdateNoDisk => RefusalCode::Metadata,
        }
    }
}

/// A refusal on its way to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct No {
    pub(crate) cause: Cause,
    /// In a sentence.
    pub(crate) why: String,
    /// What to do next.
    pub(crate) next: String,
}

/// How often each decision was taken since the start of a replica.
#[derive(Clone)]
pub(crate) struct Marks {
    marks: [u64; Mark::ALL.len()],
    causes: [u64; Cause::ALL.len()],
}

/// A replica that prints alike goes on alike: what was only counted is left out.
impl core::fmt::Debug for Marks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            marks: [0; Mark::ALL.len()],
            causes: [0; Cause::ALL.len()],
        }
    }
}

impl Marks {
    pub(crate) const fn mark(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    pub(crate) const fn refuse(&mut self, cause: Cause) {
        self.causes[cause as usize] += 1;
    }

    /// Kind, name and count of every decision.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let marks = Mark::ALL.iter().zip(&self.marks);
        let causes = Cause::ALL.iter().zip(&self.causes);
        marks
            .map(|(mark, count)| (mark.group(), mark.text(), *count))
            .chain(causes.map(|(cause, count)| (cause.group(), cause.text(), *count)))
    }
}
