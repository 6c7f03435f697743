//! `/metrics`: what is known, for Prometheus. What a replica says is left out while it does not answer:
//! a number that is old looks like one that is true.

mod page;
mod votes;
mod walks;

use twindisk_control::words::{CONNECTIONS, DISKS, ROLES, connection, disk, role};
use twindisk_core::{Histogram, Latency, Stages, Status};
use twindisk_fencing_core::{Failover, PeerIndex, as_ms};

use super::{
    health::{Question, judge},
    published::View,
};
use crate::words::{SERVICES, services};
use page::{Page, Sample};

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is known.
pub(crate) fn render(view: &View<'_>) -> String {
    let mut page = Page::default();
    page.agent(view);
    page.heartbeats(view);
    page.fencing(view);
    page.takeovers(view);
    page.votes(view);
    page.verdicts(view);
    let serve = view.serve();
    page.gauge(
        "twindisk_serve_up",
        "Whether twindisk serve answers the agent. While it does not, nothing that replicas say is here.",
        [([], truth(serve.is_ok()))],
    );
    if let Ok(status) = serve {
        let resources = status.resources.iter();
        let replicas: Vec<(&str, &Status)> = resources
            .filter_map(|one| Some((one.name.as_str(), one.replica.as_ref()?)))
            .collect();
        page.replicas(&replicas);
        page.requests(&replicas);
        page.latencies(&replicas);
        page.peers(&replicas);
        page.walks(&replicas);
    }
    page.0
}

impl Page {
    fn agent(&mut self, view: &View<'_>) {
        let (status, tally) = (&view.said.reply.status, &view.said.tally);
        self.gauge(
            "twindisk_build_info",
            "The node, and the version of its agent; always 1.",
            [(
                [
                    ("node", &*status.node),
                    ("version", env!("CARGO_PKG_VERSION")),
                ],
                1.0,
            )],
        );
        self.gauge(
            "twindisk_agent_loop_age_seconds",
            "Since the agent's loop last told what it decides by: more than a moment, and it stands still.",
            [([], view.loop_age().as_secs_f64())],
        );
        self.gauge(
            "twindisk_agent_maintenance",
            "Whether a person has told the agent to decide nothing.",
            [([], truth(status.maintenance))],
        );
        self.gauge(
            "twindisk_agent_blocked",
            "Whether automatic failover waits for a person after too many failovers.",
            [([], truth(status.blocked))],
        );
        self.gauge(
            "twindisk_agent_warnings",
            "Standing reasons why automatic failover is not to be relied on.",
            [([], view.said.reply.warnings.len() as f64)],
        );
        self.gauge(
            "twindisk_agent_clients_reachable",
            "Whether a ping target answers; left out when there is none.",
            status
                .clients_reachable
                .map(|reachable| ([], truth(reachable))),
        );
        self.counter(
            "twindisk_agent_reports_total",
            "What the agent has reported since it started, by how much it matters.",
            [
                ([("level", "info")], tally.infos as f64),
                ([("level", "warning")], tally.warnings as f64),
                ([("level", "alarm")], tally.alarms as f64),
            ],
        );
    }

    fn heartbeats(&mut self, view: &View<'_>) {
        let status = &view.said.reply.status;
        let paths = || {
            status.peers.iter().flat_map(|peer| {
                let paths = peer.paths.iter();
                paths.map(|path| ([("peer", &*peer.name), ("path", &*path.path)], path))
            })
        };
        let warn = as_ms(status.profile.warn());
        self.gauge(
            "twindisk_heartbeat_up",
            "Whether the peer is heard over this path: within the last four intervals.",
            paths().map(|(labels, path)| {
                let heard = path.silent_ms.is_some_and(|silent| silent < warn);
                (labels, truth(heard))
            }),
        );
        self.gauge(
            "twindisk_heartbeat_silence_seconds",
            "Since the peer was last heard over this path; left out when it never was.",
            paths().filter_map(|(labels, path)| Some((labels, seconds(path.silent_ms?)))),
        );
        self.gauge(
            "twindisk_heartbeat_heard_there",
            "Whether the peer says that it hears this node over this path.",
            paths().map(|(labels, path)| (labels, truth(path.heard_there))),
        );
    }

    fn fencing(&mut self, view: &View<'_>) {
        let tally = &view.said.tally;
        let peers = || view.said.reply.status.peers.iter();
        // The settings and the status have the peers in the same order.
        let monitored = || {
            peers().enumerate().filter_map(|(at, peer)| {
                let monitor = tally.monitors.get(&PeerIndex::new(at))?;
                Some(([("peer", &*peer.name)], peer, monitor))
            })
        };
        self.gauge(
            "twindisk_fence_configured",
            "Whether there is a way to power the peer off, where a failover waits for that.",
            peers()
                .filter(|peer| peer.can_fence || peer.needs_fence)
                .map(|peer| ([("peer", &*peer.name)], truth(peer.can_fence))),
        );
        self.gauge(
            "twindisk_fence_up",
            "Whether every fence device of the peer worked when it was asked last, once a minute.",
            monitored().map(|(labels, _, monitor)| (labels, truth(monitor.up))),
        );
        self.gauge(
            "twindisk_fence_monitor_timestamp_seconds",
            "When the fence devices of the peer were asked last, as seconds since 1970.",
            monitored().map(|(labels, _, monitor)| (labels, monitor.at as f64)),
        );
        self.gauge(
            "twindisk_fence_latency_seconds",
            "How long the slowest fence device of the peer took when it was asked last; left out when one does not work.",
            monitored()
                .filter(|(_, _, monitor)| monitor.up)
                .map(|(labels, peer, _)| (labels, seconds(peer.fence_latency_ms))),
        );
    }

    fn takeovers(&mut self, view: &View<'_>) {
        let status = &view.said.reply.status;
        let last = |name: &str| -> Option<&Failover> {
            let mut newest = status.failovers.iter().rev();
            newest.find(|one| one.resource == name)
        };
        let resources = || status.resources.iter().map(|one| &*one.name);
        self.counter(
            "twindisk_failovers_total",
            "Times that this node has taken the resource over: those that the agent remembered when it started, and since.",
            resources().map(|name| {
                let count = view.said.tally.failovers.get(name);
                ([("resource", name)], count.copied().unwrap_or(0) as f64)
            }),
        );
        self.gauge(
            "twindisk_last_failover_timestamp_seconds",
            "When this node took the resource over last, as seconds since 1970.",
            resources().filter_map(|name| Some(([("resource", name)], last(name)?.at as f64))),
        );
        self.gauge(
            "twindisk_last_failover_duration_seconds",
            "How long that took, from the loss of the peer to the promotion.",
            resources()
                .filter_map(|name| Some(([("resource", name)], seconds(last(name)?.took_ms)))),
        );
        let with_services = || view.members.iter().filter(|member| member.has_services);
        self.gauge(
            "twindisk_services",
            "The state of the resource's services on this node: 1 for the one it is in.",
            status
                .resources
                .iter()
                .filter(|one| with_services().any(|member| member.name == one.name))
                .flat_map(|one| {
                    SERVICES.map(|state| {
                        let labels = [("resource", &*one.name), ("state", services(state))];
                        (labels, truth(one.services == state))
                    })
                }),
        );
    }

    fn verdicts(&mut self, view: &View<'_>) {
        for (name, help, question) in [
            (
                "twindisk_primary",
                "What /primary/RESOURCE says: it is primary here, its I/O goes on, and its services are up.",
                Question::Primary,
            ),
            (
                "twindisk_standby",
                "What /standby/RESOURCE says: it could take over from the primary that it is connected to.",
                Question::Standby,
            ),
        ] {
            self.gauge(
                name,
                help,
                view.members.iter().map(|member| {
                    let verdict = judge(view, question, Some(&member.name));
                    let ok = verdict.is_some_and(|verdict| verdict.ok);
                    ([("resource", &*member.name)], truth(ok))
                }),
            );
        }
    }

    fn replicas(&mut self, replicas: &[(&str, &Status)]) {
        self.gauge(
            "twindisk_role",
            "The role of the replica: 1 for the one it has.",
            replicas.iter().flat_map(|(name, status)| {
                ROLES.map(|one| {
                    let labels = [("resource", *name), ("role", role(one))];
                    (labels, truth(status.role == one))
                })
            }),
        );
        self.gauge(
            "twindisk_term",
            "The term that the replica has accepted.",
            each(replicas, |status| status.term as f64),
        );
        self.gauge(
            "twindisk_disk_state",
            "The state of the backing device: 1 for the one it is in.",
            replicas.iter().flat_map(|(name, status)| {
                DISKS.map(|state| {
                    let labels = [("resource", *name), ("state", disk(state))];
                    (labels, truth(status.disk == state))
                })
            }),
        );
        self.gauge(
            "twindisk_size_bytes",
            "The size of the device.",
            each(replicas, |status| status.size_bytes as f64),
        );
        self.gauge(
            "twindisk_export_open",
            "Whether clients may open the device.",
            each(replicas, |status| truth(status.export_open)),
        );
        self.gauge(
            "twindisk_suspended",
            "Whether I/O waits: for a peer, or for a receipt about it.",
            each(replicas, |status| truth(status.suspended.is_some())),
        );
        self.gauge(
            "twindisk_suspended_seconds",
            "Since when I/O waits; 0 when it does not.",
            each(replicas, |status| {
                seconds(status.suspended.as_ref().map_or(0, |one| one.for_ms))
            }),
        );
        self.gauge(
            "twindisk_writes_without_space",
            "Writes that wait for space beneath the node.",
            each(replicas, |status| {
                status
                    .no_space
                    .as_ref()
                    .map_or(0.0, |one| one.writes as f64)
            }),
        );
        self.gauge(
            "twindisk_warnings",
            "Things that the replica wants a person to know.",
            each(replicas, |status| status.warnings.len() as f64),
        );
    }

    fn requests(&mut self, replicas: &[(&str, &Status)]) {
        self.gauge(
            "twindisk_requests_in_flight",
            "Client requests that are not answered yet.",
            each(replicas, |status| status.activity.requests as f64),
        );
        self.gauge(
            "twindisk_requests_waiting",
            "Client requests that wait for memory.",
            each(replicas, |status| status.activity.waiting as f64),
        );
        self.gauge(
            "twindisk_oldest_request_seconds",
            "Age of the oldest write that is not answered yet, or of a request that waits for memory; 0 when there is none.",
            each(replicas, |status| seconds(status.activity.oldest_ms)),
        );
        self.gauge(
            "twindisk_activity_log_extents",
            "Extents that are hot in the activity log.",
            each(replicas, |status| status.activity.al_extents as f64),
        );
        self.counter(
            "twindisk_activity_log_writes_total",
            "Metadata blocks of the activity log written since twindisk serve started.",
            each(replicas, |status| status.activity.al_writes as f64),
        );
        self.counter(
            "twindisk_writes_total",
            "Writes (discards and zeroes too) answered since twindisk serve started.",
            each(replicas, |status| status.activity.writes as f64),
        );
        self.counter(
            "twindisk_reads_total",
            "Reads answered since twindisk serve started.",
            each(replicas, |status| status.activity.reads as f64),
        );
        self.counter(
            "twindisk_written_bytes_total",
            "Bytes of writes (discards and zeroes too) acknowledged since twindisk serve started, in whole blocks.",
            each(replicas, |status| status.activity.written_bytes as f64),
        );
        self.counter(
            "twindisk_read_bytes_total",
            "Bytes read for clients since twindisk serve started, in whole blocks.",
            each(replicas, |status| status.activity.read_bytes as f64),
        );
        self.counter(
            "twindisk_flushes_total",
            "Flushes of clients answered since twindisk serve started.",
            each(replicas, |status| status.activity.flushes as f64),
        );
        self.counter(
            "twindisk_disk_flushes_total",
            "Flushes that the backing device was asked for since twindisk serve started.",
            each(replicas, |status| status.activity.disk_flushes as f64),
        );
    }

    fn latencies(&mut self, replicas: &[(&str, &Status)]) {
        self.histogram(
            "twindisk_request_duration_seconds",
            "How long requests took since twindisk serve started, by stage: wait until they were issued, then the local disk; \
             total until they were answered. Operation apply is what a standby does for its primary.",
            replicas.iter().flat_map(|(name, status)| {
                let operations = operations(&status.latency).into_iter();
                operations.flat_map(|(operation, stages)| {
                    by_stage(stages).map(|(stage, histogram)| {
                        let operation = ("operation", operation);
                        (
                            [("resource", *name), operation, ("stage", stage)],
                            histogram,
                        )
                    })
                })
            }),
        );
        self.histogram(
            "twindisk_peer_duration_seconds",
            "How long the peer took to answer since twindisk serve started: a write that was sent to it, a flush.",
            replicas.iter().flat_map(|(name, status)| {
                status.peers.iter().flat_map(|peer| {
                    let latency = &peer.latency;
                    [("write", &latency.write), ("flush", &latency.flush)].map(
                        |(operation, histogram)| {
                            let peer = ("peer", &*peer.name);
                            (
                                [("resource", *name), peer, ("operation", operation)],
                                histogram,
                            )
                        },
                    )
                })
            }),
        );
    }

    fn peers(&mut self, replicas: &[(&str, &Status)]) {
        let peers = || {
            replicas.iter().flat_map(|(name, status)| {
                let peers = status.peers.iter();
                peers.map(|peer| ([("resource", *name), ("peer", &*peer.name)], peer))
            })
        };
        self.gauge(
            "twindisk_peer_connection",
            "The connection to the peer: 1 for the state it is in.",
            peers().flat_map(|([resource, name], peer)| {
                CONNECTIONS.map(|state| {
                    let labels = [resource, name, ("state", connection(state))];
                    (labels, truth(peer.connection == state))
                })
            }),
        );
        self.gauge(
            "twindisk_peer_in_sync",
            "Whether the peer belongs to the in-sync set: no write is acknowledged without it.",
            peers().map(|(labels, peer)| (labels, truth(peer.in_sync))),
        );
        self.gauge(
            "twindisk_peer_dirty_bytes",
            "What the peer lacks, as far as this node knows.",
            peers().map(|(labels, peer)| (labels, peer.dirty_bytes as f64)),
        );
        self.gauge(
            "twindisk_peer_unstable_bytes",
            "What was sent to the peer and is not known to be stable there.",
            peers().map(|(labels, peer)| (labels, peer.unstable_bytes as f64)),
        );
        self.gauge(
            "twindisk_peer_in_flight",
            "Writes that were sent to the peer and are not answered yet.",
            peers().map(|(labels, peer)| (labels, peer.in_flight as f64)),
        );
    }
}

/// A sample for each replica.
fn each<'a>(
    replicas: &[(&'a str, &Status)],
    value: impl Fn(&Status) -> f64,
) -> impl Iterator<Item = Sample<'a, 1>> {
    replicas
        .iter()
        .map(move |(name, status)| ([("resource", *name)], value(status)))
}

const fn operations(latency: &Latency) -> [(&str, &Stages); 4] {
    [
        ("write", &latency.write),
        ("read", &latency.read),
        ("flush", &latency.flush),
        ("apply", &latency.apply),
    ]
}

const fn by_stage(stages: &Stages) -> [(&str, &Histogram); 3] {
    [
        ("wait", &stages.wait),
        ("disk", &stages.disk),
        ("total", &stages.total),
    ]
}

const fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests;
