//! How long clients had to wait, as a table.

use std::time::{Duration, Instant};

use crate::{harness::arena::Arena, observer::Observer};

/// Far more than any takeover takes, on a machine that is busy with other things, too.
pub(crate) const MOST: Duration = Duration::from_secs(15);

/// The table.
pub(crate) struct Outages {
    of: String,
    most: Duration,
    rows: Vec<(&'static str, Duration)>,
}

impl Outages {
    pub(crate) fn new(of: &str) -> Self {
        Self::bounded(of, MOST)
    }

    /// The same where more is to be expected.
    pub(crate) fn bounded(of: &str, most: Duration) -> Self {
        Self {
            of: of.to_owned(),
            most,
            rows: Vec::new(),
        }
    }

    /// Waits until `node` accepts a write that was sent after `moment`, and enters how long that took.
    pub(crate) fn until_accepted(
        &mut self,
        arena: &Arena,
        observer: &Observer,
        node: &'static str,
        moment: Instant,
    ) {
        let accepted = crate::harness::eventually(
            &format!("{node} accepts writes"),
            || arena.logs(),
            || observer.first_after(node, moment),
        );
        let outage = accepted - moment;
        assert!(
            outage < self.most,
            "{}: {outage:?}\n{}",
            self.of,
            arena.logs()
        );
        self.rows.push((node, outage));
    }

    /// For people: `cargo test … -- --nocapture`.
    pub(crate) fn print(&self) {
        println!("{}: client outage", self.of);
        for (round, (node, outage)) in (1..).zip(&self.rows) {
            println!(
                "  {round:>3}  to {node:<5}  {:>6.2} s",
                outage.as_secs_f64()
            );
        }
        println!("  median      {:>8.2} s", self.median().as_secs_f64());
    }

    pub(crate) fn least(&self) -> Duration {
        let rows = self.rows.iter().map(|(_, outage)| *outage);
        rows.min().unwrap_or(self.most)
    }

    fn median(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.rows.iter().map(|(_, outage)| *outage).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }
}
