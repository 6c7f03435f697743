//! A receiver that reads no further: what came before is still on its way to the disk, and its buffers are full.

use twindisk_core::{Event, Reading};

use crate::{
    node::slot_of,
    world::{Ev, World},
};

impl World {
    /// Whether the next frame from `side` finds no buffer: what came before is still on its way to the disk.
    pub(crate) fn has_no_room(&self, pair: (usize, usize), side: usize) -> bool {
        let Some(link) = &self.pairs[&pair].link else {
            return false;
        };
        let (other, to) = (&link.sides[1 - side], [pair.1, pair.0][side]);
        let reads = other.up && !other.down && other.run == self.nodes[to].run;
        let payload = link.sides[side].sent.front();
        let blocks = payload.and_then(|sent| sent.payload.as_ref());
        let (room, held) = (self.swarm.receive_blocks, self.nodes[to].bufs.received());
        let needed = blocks.map_or(0, |blocks| blocks.len() as u64);
        reads && room > 0 && needed > 0 && held > 0 && held + needed > room
    }

    /// The receiver of what `side` sends reads no further.
    pub(crate) fn pause_reading(&mut self, pair: (usize, usize), side: usize) {
        let (from, to) = ([pair.0, pair.1][side], [pair.1, pair.0][side]);
        let link = self.link_mut(pair);
        link.sides[side].held += 1;
        link.sides[1 - side].paused = true;
        let id = link.id;
        self.deliver(
            to,
            Event::Reading {
                peer: slot_of(to, from),
                link: id,
                reading: Reading::Paused,
            },
        );
    }

    /// A node has given buffers back: it reads on.
    pub(crate) fn read_on(&mut self, number: usize) {
        if self.swarm.receive_blocks == 0 {
            return;
        }
        let run = self.nodes[number].run;
        for pair in self.pairs_of(number) {
            let side = usize::from(pair.1 == number);
            let peer = [pair.1, pair.0][side];
            let link = &mut self.pair_mut(pair).link;
            let Some(link) = link.as_mut().filter(|link| link.sides[side].paused) else {
                continue;
            };
            let (id, mine) = (link.id, &mut link.sides[side]);
            mine.paused = false;
            if mine.run == run && !mine.down {
                let event = Event::Reading {
                    peer: slot_of(number, peer),
                    link: id,
                    reading: Reading::Resumed,
                };
                self.tell_core(number, 0, event);
            }
            self.release_arrivals(pair, 1 - side);
        }
    }

    /// What came due and was held up arrives now.
    pub(crate) fn release_arrivals(&mut self, pair: (usize, usize), side: usize) {
        let Some(link) = &mut self.pair_mut(pair).link else {
            return;
        };
        let (link, held) = (link.id, core::mem::take(&mut link.sides[side].held));
        for _ in 0..held {
            self.after(0, Ev::Arrive { pair, link, side });
        }
    }
}
