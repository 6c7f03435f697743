//! What has failed, or hangs, of this node's disks and of those of the peers that are connected: what a person is to be told
//! on both nodes at once, while there is a choice.

use twindisk_format::superblock::StoredDisk;

use crate::{DiskState, Time, limits::PROBES_PER_REQUEST_TIMEOUT, replica::Replica};

impl Replica {
    /// Each in a sentence that stays the same for as long as it lasts.
    pub(crate) fn faults(&self, now: Time) -> Vec<String> {
        let mut faults = self.failures();
        let patience = self.config.timings.request_timeout / PROBES_PER_REQUEST_TIMEOUT;
        let stuck = |since: Option<Time>| since.is_some_and(|since| now.since(since) >= patience);
        if stuck(self.oldest_op()) {
            faults.push(
                "the disk or metadata device of this node does not finish an operation: look for it in the kernel's log"
                    .into(),
            );
        }
        let peers = self.peers.iter().filter(|peer| peer.link.is_some());
        faults.extend(peers.filter(|peer| stuck(peer.sent.oldest())).map(|peer| {
            let name = &peer.name;
            format!("{name} is connected and does not finish a write or flush: its disk is slow or hangs")
        }));
        faults
    }

    /// What has failed, not counting what hangs.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.metadata_failed {
            failures.push(
                "the metadata of this node can't be written: a failover to it would be refused; replace its disk, or start \
                 `twindisk serve` anew once it works"
                    .into(),
            );
        } else if self.has_withdrawn() {
            failures.push(
                "the metadata device of this node hangs: it has left the in-sync set, and a failover to it would be \
                 refused until it works"
                    .into(),
            );
        } else if self.disk == DiskState::Failed {
            failures.push(
                "the disk of this node has failed: a failover to it would be refused; replace it"
                    .into(),
            );
        }
        let peers = self.peers.iter().filter(|peer| peer.link.is_some());
        let failed = peers.filter(|peer| {
            let said = peer.said.as_ref();
            said.is_some_and(|said| said.disk == StoredDisk::Failed)
        });
        let failed = failed.map(|peer| &peer.name);
        // A primary that does not count on itself serves through others.
        let led = self.follows().filter(|slot| {
            self.stored_up_to_date() && !self.store.peer(*slot).standing.is_counted()
        });
        failures.extend(failed.chain(led.map(|slot| &self.peer(slot).name)).map(|name| {
            format!(
                "the disk or the metadata of {name} has failed: a failover to it would be refused; replace its disk, or \
                 start `twindisk serve` there anew once it works"
            )
        }));
        failures
    }
}
