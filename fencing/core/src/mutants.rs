//! Deliberate bugs, so that we know that the simulator's checker bites: it must find every one of them.
//!
//! Only with the feature `mutants`, which only `twindisk-simulator` turns on. Without it [`Agent::mutant`] is a constant
//! `false`. Even in a build of the whole workspace, which unifies features, only an agent made by [`Agent::with_mutant`] has
//! a bug, and only the simulator calls that. The `tidy` test checks both.

use crate::{Agent, BeatResource, MemberIndex, ResourceIndex};

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

            /// The rule that it breaks: its name in `replicator/RULES.md`, or the chapter of `fencing/ARCHITECTURE.md`.
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
    // A shot.
    /// The reason for a shot is not looked at again right before it.
    FireWithoutLastLook: "R6",
    /// A shot is fired before the intent to fire it is stored.
    FireBeforeIntentStored: "R6",
    /// The intent to fire is forgotten when the shot is fired, not when its end is known.
    ForgetIntentEarly: "R6",
    /// A shot that failed is taken for one that hit.
    FailedShotIsProof: "R2",
    /// Power that reads as off once is off.
    OneReadingIsEnough: "R6",
    /// What the power of a node read as counts though the node was heard since.
    ReadBesideBeats: "R6",
    /// Power that was read as off says something of a node that has connected since.
    MeetingsAfterReading: "R6",
    /// A device is believed that was never seen to read on.
    NeverReadOn: "R6",
    /// Power that was read as off once says so for ever.
    OffIsForEver: "R14",
    /// A standby does not wait in the race.
    NoPlaceInRace: "R7",
    /// Who notices a loss late begins a time table of its own.
    LateForTheRace: "R7",
    /// A process is killed that stands still for a moment.
    HastyKill: "hung I/O",

    // The arbiter.
    /// A node goes on without the other one when it asks the arbiter, not when that has granted it.
    ActBeforeGrant: "R8",
    /// A primary has the arbiter name its standby before that is equal.
    PublishEarly: "R8",
    /// A primary has the arbiter name its standby although somebody was granted a later term.
    PublishPastTerm: "R8",
    /// Whom the record does not name claims the next term all the same.
    ClaimUnnamed: "R8",
    /// A term that was granted and not used is not given back.
    KeepUnusedGrant: "R8",

    // Services.
    /// The role is handed over although services run.
    HandOverWithServices: "R12",
    /// A watchdog is fed while services stay that have to be gone.
    FeedWhileServicesStay: "R10",
    /// A node is promoted although the services of the other one are not known to be down.
    IgnorePeersServices: "R12",
    /// Services are started although those of the other node are not known to be down.
    StartBesidePeers: "R12",
    /// A node releases its replica to the peer while its own services run.
    ReleaseWithServices: "R12",

    // One resource taken for another.
    /// That the peer's agent has released one resource counts for the others.
    ReleaseOfOther: "R2",
    /// What the peer says of the first resource is taken for all.
    SaidOfFirst: "R12",
    /// Whether services are down is asked of those of the first resource.
    ServicesOfFirst: "R12",
    /// A shot is a receipt for the first resource alone.
    ShotOfFirst: "the way of a failover",
    /// A conflict of one resource keeps all from being decided.
    ConflictOfAny: "the way of a failover",

    // One member of three taken for another.
    /// That one node was powered off is a receipt about every other one.
    ProofOfAny: "R2",
    /// That the services of one node are down counts for all others.
    FreedOfAny: "R12",
    /// A standby has a primary fenced that another standby is connected to.
    IgnoreWhoFollows: "R6",
    /// A standby waits for ever for one that comes before it.
    WaitForEver: "the way of a failover",

    // The service goes on.
    /// The peer is asked for a release only when its process is gone, not when it is a standby again.
    AskOnlyTheGone: "release",
    /// Nobody is told that nobody takes writes.
    SilentWithoutService: "alarms",
    /// Services that did not come up or go down are not tried again.
    ServicesOnce: "services",
    /// Services that end by themselves stay down.
    EndsAreIgnored: "services",
    /// Services that a node has given up are given back to it.
    GivenBack: "services",
}

/// The bug that an agent has, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutated(#[cfg(feature = "mutants")] Option<Mutant>);

impl Agent {
    /// The resource, or with this bug the first one.
    pub(crate) fn or_first(&self, mutant: Mutant, resource: ResourceIndex) -> ResourceIndex {
        if self.mutant(mutant) {
            return ResourceIndex::new(0);
        }
        resource
    }

    /// With this bug: the peer's agent has released another resource.
    pub(crate) fn has_released_other(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let config = &self.config.resources[resource];
        let beat = self.peers[self.peer_of(resource, member)].beat.as_ref();
        let other = |said: &BeatResource| said.name != config.name && said.released.is_asked();
        self.mutant(Mutant::ReleaseOfOther)
            && beat.is_some_and(|beat| beat.resources.iter().any(other))
    }

    /// Whether the core has this bug now.
    #[cfg(feature = "mutants")]
    pub(crate) fn mutant(&self, mutant: Mutant) -> bool {
        self.mutated.0 == Some(mutant)
    }

    /// Whether the core has this bug now: never.
    #[cfg(not(feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) const fn mutant(&self, _: Mutant) -> bool {
        false
    }

    /// An agent with a deliberate bug.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn with_mutant(mut self, mutant: Option<Mutant>) -> Self {
        self.mutated = Mutated(mutant);
        self
    }
}
