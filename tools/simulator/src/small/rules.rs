//! What was promised to the client of a small world, and the question that is asked of each of its states.

use super::{
    machine::{Stamp, name},
    search::Walk as _,
    step::Step,
    world::World,
};

/// What the client was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    writes: Vec<Write>,
    /// Who completed something last, in which term.
    last: Option<(u64, usize)>,
}

/// A write; its stamp is its place in the list, from 1 on.
#[derive(Clone, Debug)]
struct Write {
    block: u64,
    acknowledged: bool,
    /// It is promised to outlive a loss of power.
    flushed: bool,
    /// Nodes that lost power after it was acknowledged and before it was flushed.
    lost: [bool; 2],
}

impl Book {
    /// A write is asked for; its stamp.
    pub(super) fn written(&mut self, block: u64) -> Stamp {
        self.writes.push(Write {
            block,
            acknowledged: false,
            flushed: false,
            lost: [false; 2],
        });
        self.writes.len() as Stamp
    }

    /// A write is acknowledged.
    pub(super) fn acknowledge(&mut self, stamp: Stamp, flushed: bool) {
        let write = &mut self.writes[stamp as usize - 1];
        write.acknowledged = true;
        write.flushed = flushed;
    }

    /// The writes that are acknowledged.
    pub(super) fn acknowledged(&self) -> Vec<Stamp> {
        (1..)
            .zip(&self.writes)
            .filter(|(_, write)| write.acknowledged)
            .map(|(stamp, _)| stamp)
            .collect()
    }

    /// A flush that began when these were acknowledged is.
    pub(super) fn flushed(&mut self, stamps: &[Stamp]) {
        for stamp in stamps {
            self.writes[*stamp as usize - 1].flushed = true;
        }
    }

    /// A node loses its power, and the other one's disk reads `kept`: what only its own held and was not flushed is lost to
    /// both, as the contract says.
    pub(super) fn power_lost(&mut self, number: usize, kept: &[Stamp]) {
        for (stamp, write) in (1..).zip(&mut self.writes) {
            let unflushed = write.acknowledged && !write.flushed;
            write.lost[number] |= unflushed;
            write.lost[1 - number] |= unflushed && kept[write.block as usize] < stamp;
        }
    }

    /// S3: a node completes something in a term.
    pub(super) fn acted(&mut self, number: usize, term: u64) -> Result<(), String> {
        let before = self.last.replace((term, number));
        match before {
            Some((last, other)) if term < last || (term == last && other != number) => {
                Err(format!(
                    "S3: {} completes a request in term {term}, after {} did in term {last}",
                    name(number),
                    name(other)
                ))
            }
            _ => Ok(()),
        }
    }

    /// The oldest write that a node may show in a block if it serves: 0 if there is none.
    fn required(&self, number: usize, block: u64) -> Stamp {
        (1..)
            .zip(&self.writes)
            .filter(|(_, write)| {
                write.block == block && write.acknowledged && (write.flushed || !write.lost[number])
            })
            .map(|(stamp, _)| stamp)
            .max()
            .unwrap_or(0)
    }
}

impl World {
    /// S1, before it happens: if the other node were truthfully fenced now, would this one be promoted, and does it hold
    /// everything that was acknowledged?
    ///
    /// # Errors
    /// What would be missing.
    pub(super) fn would_keep(&self, number: usize) -> Result<(), String> {
        let mut world = self.clone();
        world.die(1 - number, true);
        if world.nodes[number].replica.is_none() {
            world.step(Step::Start(number))?;
        }
        world.rest()?;
        if !world.nodes[number].export_open {
            world.vouch(number)?;
            world.rest()?;
        }
        if !world.nodes[number].export_open {
            return Ok(());
        }
        // Its own operations are over: what it reads now is what its clients would read.
        for block in 0..world.nodes[number].size() {
            let (reads, required) = (
                world.nodes[number].reads(block),
                self.book.required(number, block as u64),
            );
            if reads < required {
                return Err(format!(
                    "S1: if {} were fenced now, {} would serve write {reads} in block {block}; write {required} was \
                     acknowledged",
                    name(1 - number),
                    name(number)
                ));
            }
        }
        Ok(())
    }

    /// What must hold when nothing goes on by itself any more: replicas that call each other equal are.
    ///
    /// # Errors
    /// Where they differ.
    pub(super) fn are_equal(&self) -> Result<(), String> {
        let equal = (0..2).all(|number| {
            self.status(number).is_some_and(|status| {
                status.peers.iter().all(|peer| {
                    peer.connection == twindisk_core::ConnectionState::Established
                        && peer.dirty_bytes == 0
                })
            })
        });
        if !equal || !self.requests.is_empty() {
            return Ok(());
        }
        for block in 0..self.nodes[0].size() {
            let [ann, bob] = [0, 1].map(|number| self.nodes[number].reads(block));
            if ann != bob {
                return Err(format!(
                    "S6: both call each other equal, and block {block} has write {ann} and write {bob}"
                ));
            }
        }
        Ok(())
    }
}
