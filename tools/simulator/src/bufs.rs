//! The driver's buffers: who may use which until when. Finds use after release, double release, leaks, and two
//! operations on the same part of a buffer of which one writes it.

use std::collections::BTreeMap;

use twindisk_core::{BufId, LinkId, OpId};

use crate::content::{Block, ZERO_BLOCK};

/// All buffers of one node's process.
#[derive(Debug, Default)]
pub(crate) struct Bufs {
    bufs: BTreeMap<u32, Buf>,
    next: u32,
}

/// What a buffer was allocated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client's write: the core releases it.
    ClientWrite,
    /// A client's read: comes back with the completion.
    ClientRead,
    /// A frame from a peer: the core releases it.
    Peer,
    /// Set aside for resync and verify: the core's for ever.
    Resync,
}

/// What uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// An operation under way.
    Op(OpId),
    /// A frame that is not yet sent.
    Link(LinkId),
}

#[derive(Debug)]
struct Buf {
    purpose: Purpose,
    blocks: Vec<Block>,
    uses: Vec<Use>,
}

#[derive(Debug)]
struct Use {
    user: User,
    first: u32,
    blocks: u32,
    writes: bool,
}

impl Bufs {
    /// Buffers of a process with `resync` of them set aside, numbered from 0.
    pub(crate) fn new(resync: u32, blocks_each: usize) -> Self {
        let mut bufs = Self::default();
        for _ in 0..resync {
            bufs.allocate(Purpose::Resync, vec![ZERO_BLOCK; blocks_each]);
        }
        bufs
    }

    /// A new buffer. Handles are never used twice, so that a stale one is found.
    pub(crate) fn allocate(&mut self, purpose: Purpose, blocks: Vec<Block>) -> BufId {
        let id = self.next;
        self.next += 1;
        let buf = Buf {
            purpose,
            blocks,
            uses: Vec::new(),
        };
        self.bufs.insert(id, buf);
        BufId(id)
    }

    /// Blocks that hold what peers have sent.
    pub(crate) fn received(&self) -> u64 {
        let peers = self
            .bufs
            .values()
            .filter(|buf| buf.purpose == Purpose::Peer);
        peers.map(|buf| buf.blocks.len() as u64).sum()
    }

    /// Begins a use of `blocks` blocks from `first` on.
    pub(crate) fn begin(
        &mut self,
        id: BufId,
        user: User,
        part: (u32, u32),
        writes: bool,
    ) -> Result<(), String> {
        let buf = self.get_mut(id)?;
        let (first, blocks) = part;
        if u64::from(first) + u64::from(blocks) > buf.blocks.len() as u64 {
            return Err(format!(
                "{id:?} holds {} blocks, {blocks} from {first} on were asked for",
                buf.blocks.len()
            ));
        }
        let clash = buf.uses.iter().find(|other| {
            (writes || other.writes)
                && first < other.first + other.blocks
                && other.first < first + blocks
        });
        if let Some(other) = clash {
            return Err(format!(
                "{id:?} is used by {user:?} while {:?} uses it",
                other.user
            ));
        }
        buf.uses.push(Use {
            user,
            first,
            blocks,
            writes,
        });
        Ok(())
    }

    /// Ends one use. A buffer that is gone had a violation reported already.
    pub(crate) fn end(&mut self, id: BufId, user: User) {
        if let Some(buf) = self.bufs.get_mut(&id.0)
            && let Some(at) = buf.uses.iter().position(|other| other.user == user)
        {
            buf.uses.swap_remove(at);
        }
    }

    /// Ends every use by a link that is gone.
    pub(crate) fn end_link(&mut self, link: LinkId) {
        for buf in self.bufs.values_mut() {
            buf.uses.retain(|other| other.user != User::Link(link));
        }
    }

    /// Reads one block.
    pub(crate) fn block(&self, id: BufId, index: u32) -> Result<Block, String> {
        let buf = self
            .bufs
            .get(&id.0)
            .ok_or_else(|| format!("{id:?} is used after its release"))?;
        buf.blocks
            .get(index as usize)
            .copied()
            .ok_or_else(|| format!("{id:?} has no block {index}"))
    }

    /// One block to write to.
    pub(crate) fn block_mut(&mut self, id: BufId, index: u32) -> Result<&mut Block, String> {
        self.get_mut(id)?
            .blocks
            .get_mut(index as usize)
            .ok_or_else(|| format!("{id:?} has no block {index}"))
    }

    /// Blocks `first` to `first + count`.
    pub(crate) fn blocks(&self, id: BufId, first: u32, count: u32) -> Result<Vec<Block>, String> {
        (first..first + count)
            .map(|index| self.block(id, index))
            .collect()
    }

    /// The core is done with a write's or a frame's buffer.
    pub(crate) fn release(&mut self, id: BufId) -> Result<(), String> {
        let buf = self.get_mut(id)?;
        if !matches!(buf.purpose, Purpose::ClientWrite | Purpose::Peer) {
            return Err(format!("{id:?} ({:?}) is not to be released", buf.purpose));
        }
        self.free(id)
    }

    /// A read's buffer comes back with its completion.
    pub(crate) fn give_back(&mut self, id: BufId) -> Result<Vec<Block>, String> {
        let blocks = self.get_mut(id)?.blocks.clone();
        self.free(id)?;
        Ok(blocks)
    }

    /// Buffers that should not be there when nothing is under way.
    pub(crate) fn leaked(&self) -> Vec<String> {
        self.bufs
            .iter()
            .filter(|(_, buf)| buf.purpose != Purpose::Resync || !buf.uses.is_empty())
            .map(|(id, buf)| format!("{id} ({:?}, used by {:?})", buf.purpose, buf.uses))
            .collect()
    }

    fn free(&mut self, id: BufId) -> Result<(), String> {
        let buf = self.get_mut(id)?;
        if let Some(busy) = buf.uses.first() {
            return Err(format!("{id:?} is released while {:?} uses it", busy.user));
        }
        self.bufs.remove(&id.0);
        Ok(())
    }

    fn get_mut(&mut self, id: BufId) -> Result<&mut Buf, String> {
        self.bufs
            .get_mut(&id.0)
            .ok_or_else(|| format!("{id:?} is used after its release"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_under_use_is_found() {
        let mut bufs = Bufs::default();
        let id = bufs.allocate(Purpose::ClientWrite, vec![ZERO_BLOCK; 4]);
        bufs.begin(id, User::Op(OpId(1)), (0, 4), false)
            .expect("free");
        assert!(bufs.release(id).is_err());
        bufs.end(id, User::Op(OpId(1)));
        bufs.release(id).expect("nobody uses it");
        assert!(bufs.release(id).is_err());
        assert!(bufs.leaked().is_empty());
    }

    #[test]
    fn writers_exclude_others_on_the_same_part() {
        let mut bufs = Bufs::default();
        let id = bufs.allocate(Purpose::Peer, vec![ZERO_BLOCK; 4]);
        bufs.begin(id, User::Op(OpId(1)), (0, 2), true)
            .expect("free");
        assert!(bufs.begin(id, User::Op(OpId(2)), (1, 1), false).is_err());
        bufs.begin(id, User::Op(OpId(3)), (2, 2), false)
            .expect("another part");
    }
}
