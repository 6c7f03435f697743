//! What clients were promised: rows whose commit was acknowledged, and those that may be there or not.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How many clients write at once.
pub(crate) const CLIENTS: u64 = 3;

/// What the clients write into.
pub(crate) fn tables() -> String {
    // The single-user server ends a statement at its line's end.
    let clients = (0..CLIENTS).map(|client| format!("({client}, 0)"));
    format!(
        "create table book (client int, n bigint, payload text, primary key (client, n))\n\
         create table last (client int primary key, n bigint)\n\
         insert into last values {}\n",
        clients.collect::<Vec<_>>().join(", ")
    )
}

/// A row of a client, and in the same transaction a second table that says which is its last.
pub(crate) fn transaction(client: u64, n: u64) -> String {
    format!(
        "begin\\; insert into book values ({client}, {n}, repeat(md5('{client}-{n}'), 16))\\; \
         update last set n = {n} where client = {client}\\; commit;\n\\echo {n}\n"
    )
}

/// What is asked of the server: the last row of each client, and all rows whose content is right.
pub(crate) const ALL: &str = "select 'last', client, n from last order by 2; \
     select 'row', client, n from book where payload = repeat(md5(client || '-' || n), 16); \
     select 'wrong', client, n from book where payload is distinct from repeat(md5(client || '-' || n), 16)";

/// Rows by client and number.
type Rows = BTreeSet<(u64, u64)>;

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    acknowledged: Rows,
    /// The last row that each client has begun.
    begun: [u64; CLIENTS as usize],
    /// When a transaction was begun and acknowledged.
    times: Vec<(Instant, Instant)>,
}

/// What is there, beside what was promised.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Rows that were acknowledged and are not there.
    pub(crate) missing: Vec<(u64, u64)>,
    /// What can't be: rows that nobody wrote, rows with a wrong content, transactions of which a part is there.
    pub(crate) strange: Vec<String>,
}

impl Book {
    /// A client begins with its next row.
    pub(crate) fn begin(&mut self, client: u64) -> u64 {
        let begun = &mut self.begun[client as usize];
        *begun += 1;
        *begun
    }

    /// It is committed.
    pub(crate) fn acknowledge(&mut self, client: u64, n: u64, begun: Instant) {
        self.acknowledged.insert((client, n));
        self.times.push((begun, Instant::now()));
    }

    /// Everything that is promised so far.
    pub(crate) fn promised(&self) -> Rows {
        self.acknowledged.clone()
    }

    /// How many transactions that were begun after a moment are acknowledged.
    pub(crate) fn since(&self, moment: Instant) -> usize {
        let times = self.times.iter().rev();
        times.filter(|(begun, _)| *begun >= moment).count()
    }

    /// The longest time after a moment without any acknowledgement.
    pub(crate) fn longest_gap(&self, moment: Instant) -> Duration {
        let mut acknowledged: Vec<Instant> = self.times.iter().map(|(_, when)| *when).collect();
        acknowledged.retain(|when| *when > moment);
        acknowledged.insert(0, moment);
        acknowledged.sort_unstable();
        let gaps = acknowledged.windows(2).map(|two| two[1] - two[0]);
        gaps.max().unwrap_or_default()
    }

    /// Compares what the server answered to [`ALL`] with what had been promised before it was asked.
    pub(crate) fn judge(&self, promised: &Rows, answer: &str) -> Verdict {
        let mut verdict = Verdict::default();
        let mut there = Rows::new();
        let mut last = Vec::new();
        for line in answer.lines() {
            let words: Vec<&str> = line.split('|').collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
            match (words.first(), number(1), number(2)) {
                (Some(&"row"), Some(client), Some(n)) => drop(there.insert((client, n))),
                (Some(&"last"), Some(client), Some(n)) => last.push((client, n)),
                _ => verdict.strange.push(line.to_owned()),
            }
        }
        verdict.missing = promised.difference(&there).copied().collect();
        for &(client, n) in &there {
            if self
                .begun
                .get(client as usize)
                .is_none_or(|begun| n > *begun)
            {
                verdict
                    .strange
                    .push(format!("nobody wrote row {n} of {client}"));
            }
        }
        if last.len() as u64 != CLIENTS {
            verdict
                .strange
                .push(format!("{last:?} are not all clients"));
        }
        for (client, n) in last {
            // Both were asked for one after the other, while clients went on.
            let rows = there.range((client, 0)..=(client, u64::MAX));
            let newest = rows.last().map_or(0, |(_, n)| *n);
            if n > newest || (n != 0 && !there.contains(&(client, n))) {
                verdict.strange.push(format!(
                    "the last row of {client} is {newest}, and {n} is said"
                ));
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rows: u64) -> Book {
        let mut book = Book::default();
        for _ in 0..rows {
            let n = book.begin(1);
            book.acknowledge(1, n, Instant::now());
        }
        book
    }

    #[test]
    fn what_is_missing_or_wrong_is_found() {
        let mut book = written(3);
        let promised = book.promised();
        let good = "last|0|0\nlast|1|3\nlast|2|0\nrow|1|1\nrow|1|2\nrow|1|3\n";
        assert_eq!(book.judge(&promised, good), Verdict::default());
        let lost = good.replace("row|1|2\n", "");
        assert_eq!(book.judge(&promised, &lost).missing, [(1, 2)]);
        assert_eq!(book.judge(&promised, "").missing.len(), 3);
        assert_eq!(book.judge(&promised, "").strange.len(), 1);
        let half = good.replace("last|1|3", "last|1|4");
        assert_eq!(book.judge(&promised, &half).strange.len(), 1);
        let more = good.to_owned() + "row|1|4\n";
        assert_eq!(
            book.judge(&promised, &more).strange.len(),
            1,
            "nobody began it"
        );
        book.begin(1);
        assert_eq!(
            book.judge(&promised, &more),
            Verdict::default(),
            "it was under way"
        );
        let wrong = good.to_owned() + "wrong|1|2\n";
        assert_eq!(book.judge(&promised, &wrong).strange, ["wrong|1|2"]);
    }
}
