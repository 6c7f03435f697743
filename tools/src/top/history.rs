//! What changed from one snapshot to the next: how often, how fast, and where the time went.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use twindisk_control::protocol::NodeStatus;
use twindisk_core::{Activity, Histogram, Stages, Status};

use super::snapshot::Snapshot;

/// Intervals that are remembered: as many as a graph shows.
const KEPT: usize = 60;

/// Intervals over which the rate of a resync is taken: it changes with what clients do.
const RATE_OVER: usize = 10;

/// A resource, and what of it.
type Key = (String, String);

/// The last snapshots, as far as they tell something together.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Process and time of the last one: counts begin anew with the process.
    last: Option<(u32, Duration)>,
    stages: BTreeMap<Key, Series>,
    counts: BTreeMap<String, Activity>,
    rates: BTreeMap<String, Rates>,
    /// When a resync or verify had done how much.
    done: BTreeMap<Key, VecDeque<(Duration, u64)>>,
}

/// A second's worth of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) writes: f64,
    pub(super) reads: f64,
    pub(super) flushes: f64,
    pub(super) written_bytes: f64,
    pub(super) read_bytes: f64,
}

#[derive(Debug, Default)]
struct Series {
    /// Count and sum of the last snapshot.
    last: Option<(u64, u64)>,
    means_ns: VecDeque<Option<u64>>,
}

impl Series {
    fn take(&mut self, histogram: &Histogram) {
        let now = (histogram.count(), histogram.sum_ns());
        if let Some((count, sum)) = self.last {
            let done = now.0.saturating_sub(count);
            let mean = now.1.wrapping_sub(sum).checked_div(done);
            if self.means_ns.len() == KEPT {
                self.means_ns.pop_front();
            }
            self.means_ns.push_back(mean);
        }
        self.last = Some(now);
    }
}

impl History {
    /// Takes the next snapshot in.
    pub(super) fn take(&mut self, snapshot: &Snapshot) {
        let Ok(status) = &snapshot.serve else {
            return;
        };
        if self.last.is_some_and(|(pid, _)| pid != status.pid) {
            *self = Self::default();
        }
        let before = self.last.map(|(_, since)| since);
        self.last = Some((status.pid, snapshot.since));
        self.rates.clear();
        let elapsed = before.map(|before| snapshot.since.saturating_sub(before).as_secs_f64());
        for (name, replica) in replicas(status) {
            self.latency(name, replica);
            let now = replica.activity;
            let last = self.counts.insert(name.to_owned(), now);
            if let (Some(last), Some(seconds)) = (last, elapsed.filter(|seconds| *seconds > 0.0)) {
                self.rates
                    .insert(name.to_owned(), rates(&last, &now, seconds));
            }
            self.progress(name, replica, snapshot.since);
        }
    }

    fn latency(&mut self, name: &str, replica: &Status) {
        let mut take = |what: &str, histogram: &Histogram| {
            let key = (name.to_owned(), what.to_owned());
            self.stages.entry(key).or_default().take(histogram);
        };
        let latency = &replica.latency;
        for (what, Stages { wait, disk, total }) in [
            ("write", &latency.write),
            ("read", &latency.read),
            ("flush", &latency.flush),
            ("apply", &latency.apply),
        ] {
            take(what, total);
            take(&format!("{what} wait"), wait);
            take(&format!("{what} disk"), disk);
        }
        for peer in &replica.peers {
            take(&format!("write {}", peer.name), &peer.latency.write);
            take(&format!("flush {}", peer.name), &peer.latency.flush);
        }
    }

    fn progress(&mut self, name: &str, replica: &Status, since: Duration) {
        for peer in &replica.peers {
            let key = (name.to_owned(), peer.name.clone());
            let Some(progress) = &peer.progress else {
                self.done.remove(&key);
                continue;
            };
            let done = self.done.entry(key).or_default();
            if done
                .back()
                .is_some_and(|(_, before)| *before > progress.done_bytes)
            {
                done.clear(); // Another one has begun.
            }
            if done.len() > RATE_OVER {
                done.pop_front();
            }
            done.push_back((since, progress.done_bytes));
        }
    }

    /// Means of the last intervals, the newest last.
    pub(super) fn means_ns(&self, resource: &str, what: &str) -> Vec<Option<u64>> {
        let key = (resource.to_owned(), what.to_owned());
        let series = self.stages.get(&key);
        series.map_or_else(Vec::new, |series| series.means_ns.iter().copied().collect())
    }

    /// What was done in the last interval; `None` before there was one.
    pub(super) fn rates(&self, resource: &str) -> Option<Rates> {
        self.rates.get(resource).copied()
    }

    /// Bytes a second of a resync or verify with this peer lately; `None` before it is known.
    pub(super) fn progress_rate(&self, resource: &str, peer: &str) -> Option<u64> {
        let done = self.done.get(&(resource.to_owned(), peer.to_owned()))?;
        let ((began, from), (ended, to)) = (done.front()?, done.back()?);
        let seconds = ended.saturating_sub(*began).as_secs_f64();
        (seconds > 0.0).then(|| ((to - from) as f64 / seconds) as u64)
    }
}

fn rates(last: &Activity, now: &Activity, seconds: f64) -> Rates {
    let rate = |last: u64, now: u64| now.saturating_sub(last) as f64 / seconds;
    Rates {
        writes: rate(last.writes, now.writes),
        reads: rate(last.reads, now.reads),
        flushes: rate(last.flushes, now.flushes),
        written_bytes: rate(last.written_bytes, now.written_bytes),
        read_bytes: rate(last.read_bytes, now.read_bytes),
    }
}

/// The replicas that say something of themselves.
fn replicas(status: &NodeStatus) -> impl Iterator<Item = (&str, &Status)> {
    let resources = status.resources.iter();
    resources.filter_map(|one| Some((&*one.name, one.replica.as_ref()?)))
}
