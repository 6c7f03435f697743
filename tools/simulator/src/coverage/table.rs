//! The rows.

use twindisk_core::{Cause, Mark};

use super::{Must, Row};

const HONEST: Must = Must::NeverBe("a replica that keeps to the rules never does that to another");

const WITH_AGENTS: Must = Must::Luck("it is drawn for pairs with agents alone");

/// Rows that need not be reached, or must not be, and why they stand here all the same.
pub(super) const EXCEPTIONS: &[(&str, &str, Must)] = &[
    exception(
        Mark::BeyondDevice,
        Must::NeverBe("drivers check a client's range against the size that was exported"),
    ),
    exception(
        Mark::NotPrimary,
        Must::Luck("a request crosses the closing of the device; drivers shut connections then"),
    ),
    (
        "failure",
        "NotPrimary",
        Must::Luck("a request crosses the closing of the device; drivers shut connections then"),
    ),
    ("fault", "hung I/O", WITH_AGENTS),
    ("agent", "kill", WITH_AGENTS),
    (
        "connection",
        "SyncTarget to Waiting",
        Must::Luck(
            "the disk of a resync's source fails: the last whole copy, unless there are three",
        ),
    ),
    (
        "disk",
        "UpToDate to Consistent",
        Must::Luck(
            "a standby that has taken another one in is lost, and a third has yet to hear that this is complete",
        ),
    ),
    exception(
        Mark::CrashedEqual,
        Must::Luck("one that does not count on the other crashed with an empty activity log"),
    ),
    exception(
        Mark::CrashedByHashes,
        Must::Luck(
            "one of two standbys crashed that have no common base, as after a new device, in the same generation",
        ),
    ),
    exception(Mark::MomentJump, HONEST),
    exception(
        Mark::MembershipLineage,
        Must::Luck(
            "who has begun a generation of its own is being promoted, or primary, and follows nobody",
        ),
    ),
    exception(Mark::EpochJump, HONEST),
    exception(Mark::SeqJump, HONEST),
    exception(Mark::LineageImpossible, HONEST),
    exception(Mark::SizeImpossible, HONEST),
    exception(Mark::SpokeEarly, HONEST),
    exception(Mark::AnsweredUnasked, HONEST),
    exception(Mark::TakeOverUnasked, HONEST),
    exception(Mark::ResizeUnasked, HONEST),
    exception(Mark::AskedTooMuch, HONEST),
    exception(
        Mark::CompareImpossible,
        Must::Luck("hashes arrive between a disk's failure and the word of it"),
    ),
    refusal(
        Cause::SteppedDown,
        Must::Luck("a primary is overruled while it is giving its role up"),
    ),
    refusal(
        Cause::ResizeNotStored,
        Must::Luck("the metadata fails at the last step of a resize"),
    ),
    exception(
        Mark::ResyncNoMetadata,
        Must::Luck("a node whose metadata has failed is asked to follow before it is restarted"),
    ),
    exception(
        Mark::ResizeUnfollowed,
        Must::Luck("a resize crosses a standby's parting from its primary"),
    ),
    refusal(
        Cause::DiscardFollows,
        Must::Luck(
            "one of three finds its place while a split brain with another is being resolved",
        ),
    ),
    exception(
        Mark::MembershipDirty,
        Must::Luck("two standbys lose their primary between their comparison and their joining"),
    ),
    exception(
        Mark::BecameDirty,
        Must::Luck("a client writes while two that are equal compare"),
    ),
    exception(
        Mark::GrantPrimary,
        Must::Luck("a request for the term crosses the news that the other one is primary"),
    ),
    exception(
        Mark::MembershipParting,
        Must::Luck("the news of an in-sync set crosses the word of a node that leaves"),
    ),
    exception(
        Mark::MembershipSize,
        Must::NeverBe("the comparison refuses what does not fit before anybody follows"),
    ),
    exception(
        Mark::ResyncTooLarge,
        Must::NeverBe("the comparison refuses what does not fit before anybody follows"),
    ),
    exception(
        Mark::MutationTerm,
        Must::Luck("a write crosses a third node's word of a higher term"),
    ),
    exception(Mark::MutationOrder, HONEST),
    exception(Mark::MutationBeyond, HONEST),
    exception(
        Mark::Replaced,
        Must::NeverBe("drivers report the old connection as gone before the new one"),
    ),
    exception(Mark::SaidTwice, HONEST),
    exception(Mark::ReadyUnasked, HONEST),
    exception(Mark::BegunUnready, HONEST),
    exception(Mark::BegunUnasked, HONEST),
    exception(Mark::ComparedUnasked, HONEST),
    refusal(
        Cause::TermPassed,
        Must::Luck("a higher term is heard between the last grant and its use"),
    ),
    exception(
        Mark::MembershipStranger,
        Must::NeverBe("the nodes of a simulated cluster have one configuration"),
    ),
    exception(
        Mark::MembershipEpoch,
        Must::Luck("two standbys lead a third one at the same time"),
    ),
    exception(
        Mark::MembershipUnaware,
        Must::Luck(
            "a standby that has met everybody is told what it is by one that has not, and does not count on it",
        ),
    ),
    exception(
        Mark::GrantNewer,
        Must::Luck("a candidate asks for the term before the two have compared what they have"),
    ),
    refusal(
        Cause::Joining,
        Must::Luck("a promotion is asked for while what a joiner was told is being stored"),
    ),
    (
        "connection",
        "Waiting to Established",
        Must::Luck("a membership that was being stored is stored after the leader has left"),
    ),
    exception(
        Mark::GrowthPutOff,
        Must::Luck("a member is lost between the question and its answer"),
    ),
    exception(
        Mark::GrantEndsChange,
        Must::Luck("a term is asked for while another standby changes the set"),
    ),
    refusal(
        Cause::RightGone,
        Must::Luck("a right is gone between the last grant and its use"),
    ),
    refusal(
        Cause::SetChanged,
        Must::Luck("the set changes between the question for a term and its use"),
    ),
    refusal(
        Cause::JoinedMeanwhile,
        Must::Luck("a node joins while peers are asked for the term"),
    ),
    refusal(
        Cause::ResizeSteppedDown,
        Must::Luck("a primary steps down while what a resize has added is being zeroed"),
    ),
    refusal(
        Cause::ResizeNotZeroed,
        Must::NeverBe("a cluster of the simulator has peers, and one of them has zeroed it"),
    ),
    refusal(
        Cause::DiscardNoDisk,
        Must::Luck("the disk of one side of a split brain fails"),
    ),
];

const fn exception(mark: Mark, must: Must) -> (&'static str, &'static str, Must) {
    (mark.group(), mark.text(), must)
}

const fn refusal(cause: Cause, must: Must) -> (&'static str, &'static str, Must) {
    (cause.group(), cause.text(), must)
}

/// Everything that stands in the table, in order.
pub(super) fn rows() -> Vec<Row> {
    let decisions = Mark::ALL
        .iter()
        .map(|mark| (mark.group(), mark.text()))
        .chain(Cause::ALL.iter().map(|cause| (cause.group(), cause.text())));
    let seen = SEEN
        .iter()
        .flat_map(|(kind, names)| names.iter().map(move |name| (*kind, *name)));
    decisions
        .chain(seen)
        .map(|(kind, name)| Row {
            kind,
            name,
            must: EXCEPTIONS
                .iter()
                .find(|exception| (exception.0, exception.1) == (kind, name))
                .map_or(Must::BeReached, |exception| exception.2),
        })
        .collect()
}

/// What is seen from outside of a core.
const SEEN: &[(&str, &[&str])] = &[
    (
        "disk at the start",
        &[
            "Failed",
            "Inconsistent",
            "Outdated",
            "Consistent",
            "UpToDate",
        ],
    ),
    (
        "disk",
        &[
            "Failed to Inconsistent",
            "Inconsistent to Failed",
            "Inconsistent to Outdated",
            "Inconsistent to Consistent",
            "Inconsistent to UpToDate",
            "Outdated to Failed",
            "Outdated to Inconsistent",
            "Outdated to Consistent",
            "Outdated to UpToDate",
            "Consistent to Failed",
            "Consistent to Outdated",
            "Consistent to UpToDate",
            "UpToDate to Failed",
            "UpToDate to Outdated",
            "UpToDate to Consistent",
        ],
    ),
    (
        "connection",
        &[
            "Standalone to Connecting",
            "Connecting to Standalone",
            "Connecting to Negotiating",
            "Negotiating to Standalone",
            "Negotiating to Connecting",
            "Negotiating to Waiting",
            "Negotiating to SyncSource",
            "Negotiating to SyncTarget",
            "Negotiating to Established",
            "Negotiating to SplitBrain",
            "Negotiating to Unrelated",
            "Waiting to Standalone",
            "Waiting to Connecting",
            "Waiting to Established",
            "SyncSource to Standalone",
            "SyncSource to Connecting",
            "SyncSource to Negotiating",
            "SyncSource to Waiting",
            "SyncTarget to Standalone",
            "SyncTarget to Connecting",
            "SyncTarget to Waiting",
            "SyncTarget to Established",
            "Established to Standalone",
            "Established to Connecting",
            "Established to Waiting",
            "SplitBrain to Connecting",
            "SplitBrain to Standalone",
            "Unrelated to Connecting",
        ],
    ),
    ("role", &["Primary", "Standby"]),
    (
        "receipt",
        &["release", "fence", "arbiter", "operator", "withdrawal"],
    ),
    ("failure", &["Io", "NotPrimary", "Shutdown"]),
    (
        "report",
        &[
            "role",
            "disk",
            "connection",
            "suspended",
            "resumed",
            "in-sync",
            "receipt",
            "resync-started",
            "resync-ended",
            "verify-ended",
            "difference",
            "split-brain",
            "conflict",
            "read-repaired",
            "resized",
            "no-space",
            "space-again",
            "warning",
        ],
    ),
    ("halt", &["stopped by the operator"]),
    (
        "event",
        &[
            "client request",
            "client's connection closed",
            "disk operation done",
            "disk operation failed",
            "metadata written",
            "metadata not written",
            "link up",
            "link down",
            "reading paused",
            "reading resumed",
            "frame",
            "sent",
            "command",
            "capacity",
            "blocks saved",
            "blocks not saved",
            "tick",
        ],
    ),
    (
        "action",
        &[
            "disk: read",
            "disk: write",
            "disk: zero",
            "disk: flush",
            "disk: fill edges",
            "disk: fill edges from a buffer",
            "disk: copy",
            "disk: hash",
            "write metadata",
            "send: Write",
            "send: Zero",
            "send: Flush",
            "send: Received",
            "send: Written",
            "send: Stable",
            "send: Read",
            "send: ReadReply",
            "send: ReadFailed",
            "send: Hash",
            "send: Differ",
            "send: Bits",
            "send: Ping",
            "send: Pong",
            "send: State",
            "send: Ready",
            "send: BeginResync",
            "send: ResyncBegun",
            "send: Membership",
            "send: MembershipStored",
            "send: TermRequest",
            "send: TermGranted",
            "send: TermRefused",
            "send: SwitchoverRequest",
            "send: TakeOver",
            "send: Refused",
            "send: Released",
            "send: ReleaseStored",
            "send: DiskFailed, stored",
            "send: DiskFailed, not stored",
            "send: Resize",
            "send: Resized",
            "send: Discard",
            "send: Moment",
            "send: Seen",
            "send: Goodbye",
            "complete a request",
            "fail a request",
            "forget a request",
            "release a buffer",
            "link: connect",
            "link: reconnect",
            "link: disconnect",
            "open the device",
            "close the device",
            "bind clients",
            "end what clients are bound to",
            "obey a command",
            "refuse a command",
            "probe the capacity",
            "save blocks",
            "report",
            "halt",
        ],
    ),
    (
        "fault",
        &[
            "process crash",
            "power loss",
            "blackout",
            "connection cut",
            "partition",
            "one-way block",
            "flapping",
            "pause",
            "slow or stuck disk",
            "unreadable block",
            "disk error",
            "metadata error",
            "metadata rot",
            "foolish command",
            "hung I/O",
            "error of any disk",
            "failing reads",
            "misplaced metadata write",
            "no space on a node",
            "no space on any node",
            "snapshot",
            "return to a snapshot",
            "node rolled back",
            "metadata that dies in silence",
            "rot found by a verify",
            "bit flipped on the wire",
        ],
    ),
    ("agent", &["kill"]),
    (
        "operator",
        &[
            "fence",
            "dead fence device",
            "fence without status",
            "promote",
            "demote",
            "switchover",
            "connect",
            "disconnect",
            "receipt",
            "outdate",
            "trust",
            "verify",
            "verify stop",
            "resync",
            "resize",
            "discard",
            "stop",
        ],
    ),
];
