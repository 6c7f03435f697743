//! What a core reports of itself, against what the checker knows.

use twindisk_core::{ConnectionState, DiskState, Report};
use twindisk_format::superblock::StoredDisk;

use crate::{
    checker::{Violation, sector::Held},
    node::{name, slot_of},
    world::World,
};

impl World {
    pub(crate) fn report(&mut self, number: usize, report: &Report) {
        let kind = match report {
            Report::Role { role, term, .. } => {
                self.nodes[number].term = *term;
                self.nodes[number].suspended = false;
                self.coverage.reach("role", &format!("{role:?}"));
                "role"
            }
            Report::Disk { disk, .. } => {
                let before = std::mem::replace(&mut self.nodes[number].disk_state, *disk);
                self.coverage
                    .reach("disk", &format!("{before:?} to {disk:?}"));
                self.nodes[number].diskless =
                    matches!(disk, DiskState::Failed | DiskState::Diskless);
                if *disk == DiskState::Failed && !self.nodes[number].failed {
                    let story = format!("{} gives up a disk that did not fail", name(number));
                    self.violate(Violation::new("R13", story));
                }
                if matches!(disk, DiskState::Failed | DiskState::Diskless) {
                    self.book.lose(self.now, number, |_| Held::Nothing);
                }
                "disk"
            }
            Report::Connection { peer, state, .. } => {
                if self.nodes[number].rewound && *state == ConnectionState::Established {
                    // By another one, that is, and not with one that it has brought up itself.
                    let disk = &self.nodes[number].disk;
                    let lacks = self.book.check_member(self.now, number, disk).is_err();
                    self.nodes[number].rewound = lacks;
                }
                let slot = slot_of(number, usize::from(*peer)).index();
                let connections = &mut self.nodes[number].connections;
                // What the core reports while it starts comes before anybody has looked at it.
                let before = connections
                    .get_mut(slot)
                    .map_or(*state, |before| std::mem::replace(before, *state));
                let equal = ConnectionState::Established;
                if before == equal && *state != equal {
                    self.nodes[number].parted[slot] = self.now;
                }
                self.coverage
                    .reach("connection", &format!("{before:?} to {state:?}"));
                "connection"
            }
            Report::Suspended { .. } => {
                self.nodes[number].suspended = true;
                self.nodes[number].suspended_at = self.now;
                "suspended"
            }
            Report::Resumed { .. } => {
                self.nodes[number].suspended = false;
                "resumed"
            }
            Report::InSync {
                term,
                nodes,
                joining,
                epoch,
                ..
            } => {
                // A standby may say later what it has known for long.
                let told = self.told_sets.range(..=*epoch).next_back();
                let told = told.map(|(_, nodes)| nodes.clone());
                self.told_sets.insert(*epoch, nodes.clone());
                self.nodes[number].term = *term;
                let before = core::mem::replace(&mut self.nodes[number].in_sync, nodes.clone());
                let joined = core::mem::replace(&mut self.nodes[number].joining, joining.clone());
                let node = &self.nodes[number];
                let claims = node.export.is_some() || node.disk_state == DiskState::UpToDate;
                if !claims || !self.terms.may_complete_in(*term) {
                    // A standby that does not say to have the newest, or one that others have gone on without, which it
                    // does not know yet: its set promises nothing.
                    self.coverage.reach("report", "in-sync");
                    return self.interesting(number);
                }
                // R14: a member that comes back recorded as outdated joins once more. It is counted on meanwhile, and leaves
                // only by a right, like every member: that is when the set shrinks.
                let stays = |node: &u8| nodes.contains(node) || joining.contains(node);
                // What a standby says of the set it was told.
                if self.nodes[number].export.is_some()
                    && nodes.contains(&(number as u8))
                    && !before.iter().chain(&joined).all(stays)
                {
                    // With fewer replicas that are waited for, what the others had acknowledged must not hang on a cache.
                    let disk = &self.nodes[number].disk;
                    let result = self.book.check_member(self.now, number, disk);
                    self.check(result);
                }
                let invoke = self.book.flush_seen_before(self.now);
                for member in nodes {
                    let node = usize::from(*member);
                    let is_news = !before
                        .iter()
                        .chain(told.iter().flatten())
                        .any(|node| node == member);
                    if self.nodes[node].rewound && !is_news {
                        continue; // It has forgotten what it had answered, and is not here to say so.
                    }
                    let disk = &self.nodes[node].disk;
                    let result = self.book.check_member(invoke, node, disk);
                    // R14: who joins has stored that it is whole. A node may name one that it has counted on all the time and never
                    // told of: that one leaves, and is brought up first.
                    let whole = self.nodes[node].meta.superblock();
                    let whole = whole.is_some_and(|stored| stored.disk == StoredDisk::UpToDate);
                    // Nor does one join whose disk has just failed, which nobody has heard yet.
                    let failed = self.nodes[node].diskless;
                    let joins = is_news && whole && !failed && !self.swarm.lossy;
                    let doomed = disk.doomed().filter(|_| joins);
                    self.check(result);
                    if let Some(sector) = doomed {
                        let story = format!(
                            "{} joins, but sector {sector} of it was in the cache when a flush failed, and is not \
                             written since",
                            name(node)
                        );
                        self.violate(Violation::new("R1", story));
                    }
                }
                "in-sync"
            }
            Report::NoSpace { .. } => "no-space",
            Report::SpaceAgain => "space-again",
            Report::Receipt { kind, .. } => {
                self.coverage.reach("receipt", kind);
                "receipt"
            }
            Report::ResyncStarted { .. } => "resync-started",
            Report::ResyncEnded { .. } => "resync-ended",
            Report::VerifyEnded {
                different_blocks, ..
            } => {
                self.found_different += *different_blocks;
                // What can't be read counts as different.
                if self.rots {
                    // That is looked at where it is begun.
                } else if *different_blocks > 0 && !self.swarm.lossy && !self.nemesis.spoiled {
                    self.violate(Violation::new(
                        "S5",
                        format!(
                            "a verify by {} found {different_blocks} differing blocks",
                            name(number)
                        ),
                    ));
                }
                "verify-ended"
            }
            Report::Difference { .. } => "difference",
            Report::SplitBrain { .. } | Report::Conflict { .. } => {
                if !self.swarm.lossy {
                    self.violate(Violation::new(
                        "R11",
                        format!(
                            "{} reports a split brain or another conflict, though nobody forced anything: {report:?}",
                            name(number)
                        ),
                    ));
                }
                if matches!(report, Report::SplitBrain { .. }) {
                    "split-brain"
                } else {
                    "conflict"
                }
            }
            Report::ReadRepaired { .. } => "read-repaired",
            Report::Resized { .. } => "resized",
            Report::Warning { .. } => "warning",
        };
        self.coverage.reach("report", kind);
        if !matches!(report, Report::Warning { .. } | Report::Difference { .. }) {
            self.interesting(number);
        }
    }
}
