//! R4 and R9: what a node has heard from its peers, and when, decides what it may still answer.

use std::collections::{BTreeSet, VecDeque};

use twindisk_core::LinkId;
use twindisk_format::{
    frame::{Envelope, Frame},
    ids::Seq,
};

use super::Violation;

/// What every node's process has heard since it started.
#[derive(Debug)]
pub(crate) struct Heard {
    nodes: Vec<Ears>,
}

#[derive(Clone, Debug)]
struct Ears {
    /// The highest term that anybody spoke in.
    term: u64,
    /// When each node was there last, for certain: the sending of the last question that it answered.
    when: Vec<u64>,
    /// When the questions were sent that each has not answered.
    asked: Vec<VecDeque<u64>>,
    /// When each node was connected last.
    connected: Vec<u64>,
    /// The highest term that it spoke in itself.
    spoke: u64,
    /// Mutations that came in a term below that.
    stale: BTreeSet<(LinkId, Seq)>,
}

impl Heard {
    pub(crate) fn new(nodes: usize) -> Self {
        let ears = Ears {
            term: 0,
            when: vec![0; nodes],
            asked: vec![VecDeque::new(); nodes],
            connected: vec![0; nodes],
            spoke: 0,
            stale: BTreeSet::new(),
        };
        Self {
            nodes: vec![ears; nodes],
        }
    }

    /// A process starts: it knows of nobody.
    pub(crate) fn started(&mut self, node: usize) {
        let ears = &mut self.nodes[node];
        (ears.term, ears.spoke) = (0, 0);
        ears.stale.clear();
        ears.when.fill(0);
        ears.asked.iter_mut().for_each(VecDeque::clear);
    }

    /// A connection to a peer stands.
    pub(crate) fn connected(&mut self, now: u64, node: usize, peer: usize) {
        let ears = &mut self.nodes[node];
        ears.connected[peer] = now;
        ears.asked[peer].clear();
    }

    /// When a node and a peer were connected last.
    pub(crate) fn when_connected(&self, node: usize, peer: usize) -> u64 {
        self.nodes[node].connected[peer]
    }

    /// A peer speaks.
    pub(crate) fn spoken(&mut self, node: usize, peer: usize, envelope: &Envelope) {
        let ears = &mut self.nodes[node];
        if envelope.frame == Frame::Pong
            && let Some(asked) = ears.asked[peer].pop_front()
        {
            ears.when[peer] = asked;
        }
    }

    /// A peer speaks in a term that counts here.
    pub(crate) fn hears_term(&mut self, node: usize, term: u64) {
        let ears = &mut self.nodes[node];
        ears.term = ears.term.max(term);
    }

    /// A node asks a peer whether it is there.
    pub(crate) fn asks(&mut self, now: u64, node: usize, peer: usize) {
        self.nodes[node].asked[peer].push_back(now);
    }

    /// A node speaks.
    pub(crate) fn speaks(&mut self, node: usize, term: u64) {
        let ears = &mut self.nodes[node];
        ears.spoke = ears.spoke.max(term);
    }

    /// A node has given up its fork, and the terms that it spoke in there.
    pub(crate) fn gave_up(&mut self, node: usize) {
        let ears = &mut self.nodes[node];
        (ears.term, ears.spoke) = (0, 0);
        ears.stale.clear();
    }

    /// A mutation comes to a node.
    pub(crate) fn mutation(&mut self, node: usize, link: LinkId, seq: Seq, term: u64) {
        let ears = &mut self.nodes[node];
        if term < ears.spoke {
            ears.stale.insert((link, seq));
        }
    }

    /// R4: a node answers no mutation of a term lower than one that it had spoken in by then.
    pub(crate) fn check_answer(
        &self,
        node: usize,
        link: LinkId,
        seq: Seq,
    ) -> Result<(), Violation> {
        if self.nodes[node].stale.contains(&(link, seq)) {
            let story =
                format!("node {node} takes mutation {seq}, which came in a term that has passed");
            return Err(Violation::new("R4", story));
        }
        Ok(())
    }

    /// R4: a node that completes something for a client in `term` has heard no higher one.
    pub(crate) fn check_term(&self, node: usize, term: u64) -> Result<(), Violation> {
        let heard = self.nodes[node].term;
        if heard > term {
            let story = format!(
                "node {node} completes a write in term {term} although a peer has spoken to it in term {heard}"
            );
            return Err(Violation::new("R4", story));
        }
        Ok(())
    }

    /// R9: a frozen node that answers a read asked for at `invoke` was answered by everyone in `missing` a question
    /// that it had sent within the lease: how long the answer was on its way, and lay there unread, does not count.
    pub(crate) fn check_lease(
        &self,
        node: usize,
        invoke: u64,
        missing: impl IntoIterator<Item = usize>,
        lease: u64,
    ) -> Result<(), Violation> {
        for peer in missing {
            let heard = self.nodes[node].when[peer];
            // Clocks drift, by less than this.
            if invoke > heard + lease + lease / 100 + 1000 {
                let story = format!(
                    "node {node} is frozen and answers a read asked for at {invoke} ns although the last question \
                     that node {peer} has answered was sent at {heard} ns, and its lease is of {lease} ns"
                );
                return Err(Violation::new("R9", story));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use twindisk_format::ids::Term;

    use super::*;

    #[test]
    fn a_higher_term_ends_completions_and_silence_ends_the_lease() {
        let mut heard = Heard::new(2);
        let says = |frame| Envelope {
            term: Term(4),
            stable: Seq(0),
            frame,
        };
        heard.asks(1_000_000, 0, 1);
        heard.spoken(0, 1, &says(Frame::Ping));
        assert!(heard.check_lease(0, 1_100_000, [1], 600_000).is_err());
        heard.spoken(0, 1, &says(Frame::Pong));
        heard.hears_term(0, 4);
        heard.check_term(0, 4).expect("the same term");
        assert!(heard.check_term(0, 3).is_err());
        heard
            .check_lease(0, 1_500_000, [1], 600_000)
            .expect("answered just now");
        assert!(heard.check_lease(0, 1_700_000, [1], 600_000).is_err());
        heard.started(0);
        heard.check_term(0, 1).expect("a new process");
    }
}
