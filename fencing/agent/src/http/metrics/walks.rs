//! Resync and verify, while one is under way.

use twindisk_core::{Progress, Status};

use super::{Page, seconds};

impl Page {
    pub(super) fn walks(&mut self, replicas: &[(&str, &Status)]) {
        let walks = || {
            replicas.iter().flat_map(|(name, status)| {
                let peers = status.peers.iter();
                peers.filter_map(|peer| {
                    let progress: &Progress = peer.progress.as_ref()?;
                    let kind = ("kind", &*progress.kind);
                    Some(([("resource", *name), ("peer", &*peer.name), kind], progress))
                })
            })
        };
        self.gauge(
            "twindisk_sync_done_bytes",
            "What the resync or verify with the peer has done.",
            walks().map(|(labels, one)| (labels, one.done_bytes as f64)),
        );
        self.gauge(
            "twindisk_sync_left_bytes",
            "What it has still to do; left out where that is not known: the source knows it.",
            walks()
                .filter(|(_, one)| one.total_bytes > 0)
                .map(|(labels, one)| {
                    let left = one.total_bytes.saturating_sub(one.done_bytes);
                    (labels, left as f64)
                }),
        );
        self.gauge(
            "twindisk_sync_seconds",
            "Since it began.",
            walks().map(|(labels, one)| (labels, seconds(one.elapsed_ms))),
        );
    }
}
