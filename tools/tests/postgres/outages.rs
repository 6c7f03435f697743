//! How long clients of the database had to wait, as a table.

use std::time::{Duration, Instant};

use crate::{harness::random::number, site::Site};

/// How often each kind of failure comes.
pub(crate) fn rounds() -> u64 {
    number("TWINDISK_POSTGRES_ROUNDS").unwrap_or(1)
}

/// Each round on a pair of its own: a node that shoots the other one again and again is damped.
pub(crate) fn each_anew(test: &str, of: &'static str, round: impl Fn(Site, &mut Outages)) {
    let mut outages = Outages::new(of);
    for _ in 0..rounds() {
        let Some(site) = Site::start(test) else {
            return;
        };
        round(site, &mut outages);
    }
    outages.print();
}

/// The table.
pub(crate) struct Outages {
    of: &'static str,
    rows: Vec<Duration>,
}

impl Outages {
    pub(crate) const fn new(of: &'static str) -> Self {
        Self {
            of,
            rows: Vec::new(),
        }
    }

    /// Waits until clients get on with what they began after `back`, and enters the longest time without an
    /// acknowledgement since `moment`.
    pub(crate) fn enter(&mut self, site: &Site, moment: Instant, back: Instant) {
        site.until_served(back);
        let gap = site.clients.book().longest_gap(moment);
        println!("{}: {:.2} s without a commit", self.of, gap.as_secs_f64());
        self.rows.push(gap);
    }

    /// For people: `cargo test … -- --nocapture`.
    pub(crate) fn print(mut self) {
        self.rows.sort_unstable();
        let [first, .., last] = self.rows.as_slice() else {
            return;
        };
        let median = self.rows[self.rows.len() / 2];
        println!(
            "{}: {} rounds, without a commit for: least {:.2} s, median {:.2} s, most {:.2} s",
            self.of,
            self.rows.len(),
            first.as_secs_f64(),
            median.as_secs_f64(),
            last.as_secs_f64()
        );
    }
}
