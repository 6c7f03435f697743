//! Buffers and who owns them: a table from handles to memory, with pins for what the ring still sends.

use std::{io, ptr::NonNull};

use tracing::warn;
use twindisk_core::BufId;
use twindisk_format::limits::{BLOCK_BYTES, MAX_DATA_BLOCKS};

use crate::{
    BufferSizes,
    limits::{
        EDGE_BUFFERS, HASH_BUFFERS, META_BUFFERS, MIN_CLIENT_BYTES, MIN_PEER_BYTES,
        MIN_RESYNC_BYTES, ZERO_BUFFER_BLOCKS,
    },
    memory::Region,
    ring::Ring,
};

/// What memory is used for. Each use has its own, so that none can starve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Clients' requests.
    Client = 0,
    /// Payloads from peers.
    Peer = 1,
    /// Resync and verify: fixed handles, told to the core at the start.
    Resync = 2,
    /// The engine's own: hashes, edges of unaligned writes, metadata, zeros.
    Scratch = 3,
}

/// All memory for payloads of one resource.
pub(crate) struct Buffers {
    regions: [Region; CLASSES],
    table: Vec<Entry>,
    free: Vec<u32>,
    resync_bufs: u32,
    zeros: BufId,
}

#[derive(Clone, Copy)]
struct Entry {
    class: Class,
    /// First block within the region.
    first: u32,
    /// Number of blocks; 0 when the handle is free.
    blocks: u32,
    /// Sends that refer to it.
    pins: u16,
    /// Given up by its owner while pinned.
    doomed: bool,
    /// It came by a resync: where it is zeros, the device may have a hole.
    thin: bool,
    /// The checksum that was computed last: for which blocks, and its value. Void after any change of the contents.
    crc: Option<(u32, u32, u32)>,
}

impl Buffers {
    /// Sets everything aside and registers it on `ring` where allowed. Handles `0..resync_bufs()` are the resync
    /// buffers.
    pub(crate) fn new(sizes: BufferSizes, ring: &mut Ring) -> io::Result<Self> {
        let block_count = |bytes: usize, least: usize| {
            u32::try_from(bytes.max(least) / BLOCK_BYTES)
                .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
        };
        let resync_bufs = block_count(sizes.resync_bytes, MIN_RESYNC_BYTES)? / MAX_DATA_BLOCKS;
        let scratch =
            HASH_BUFFERS * MAX_DATA_BLOCKS + EDGE_BUFFERS * 2 + META_BUFFERS + ZERO_BUFFER_BLOCKS;
        let regions = [
            Region::map(block_count(sizes.client_bytes, MIN_CLIENT_BYTES)?)?,
            Region::map(block_count(sizes.peer_bytes, MIN_PEER_BYTES)?)?,
            Region::map(resync_bufs * MAX_DATA_BLOCKS)?,
            Region::map(scratch)?,
        ];
        if regions.iter().any(|region| !region.is_locked()) {
            warn!("payload memory can't be locked: raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity)");
        }
        let handles: u32 = regions.iter().map(Region::blocks).sum();
        let mut buffers = Self {
            regions,
            table: vec![FREE; handles as usize],
            free: (0..handles).rev().collect(),
            resync_bufs,
            zeros: BufId(u32::MAX),
        };
        buffers.register(ring);
        for index in 0..resync_bufs {
            let buf = buffers.take(Class::Resync, MAX_DATA_BLOCKS);
            assert_eq!(
                buf,
                Some(BufId(index)),
                "the first handles are the resync buffers"
            );
        }
        buffers.zeros = buffers
            .take(Class::Scratch, ZERO_BUFFER_BLOCKS)
            .expect("counted above");
        Ok(buffers)
    }

    fn register(&mut self, ring: &mut Ring) {
        let mut pieces = Vec::new();
        let mut firsts = [0; CLASSES];
        for (first, region) in firsts.iter_mut().zip(&self.regions) {
            *first = u16::try_from(pieces.len()).expect("pieces of 1 GiB");
            pieces.extend(region.pieces());
        }
        // SAFETY: the engine drops the ring before the buffers.
        match unsafe { ring.register_memory(&pieces) } {
            Ok(()) => {
                for (first, region) in firsts.into_iter().zip(&mut self.regions) {
                    region.set_registered(first);
                }
            }
            Err(error) => warn!(
                %error,
                "payload memory can't be registered with the ring: raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity)"
            ),
        }
    }

    /// Number of resync buffers; their handles start at 0.
    pub(crate) const fn resync_bufs(&self) -> u32 {
        self.resync_bufs
    }

    /// A block run of zeros, shared by all. Nobody writes to it.
    pub(crate) const fn zeros(&self) -> BufId {
        self.zeros
    }

    /// Takes a buffer of `blocks` adjacent blocks.
    pub(crate) fn take(&mut self, class: Class, blocks: u32) -> Option<BufId> {
        let first = self.regions[class as usize].take(blocks)?;
        let id = self.free.pop().expect("as many handles as blocks");
        self.table[id as usize] = Entry {
            class,
            first,
            blocks,
            ..FREE
        };
        Some(BufId(id))
    }

    /// Gives a buffer up. Resync buffers stay with the core for ever and are not given up.
    pub(crate) fn give_back(&mut self, buf: BufId) {
        if buf.0 < self.resync_bufs {
            return;
        }
        let entry = self.entry_mut(buf);
        assert!(!entry.doomed, "{buf:?} was given up twice");
        if entry.pins > 0 {
            entry.doomed = true;
            return;
        }
        self.recycle(buf);
    }

    /// Keeps a buffer until `unpin`, even when it is given up meanwhile.
    pub(crate) fn pin(&mut self, buf: BufId) {
        self.entry_mut(buf).pins += 1;
    }

    pub(crate) fn unpin(&mut self, buf: BufId) {
        let entry = self.entry_mut(buf);
        entry.pins = entry.pins.checked_sub(1).expect("pinned before");
        if entry.pins == 0 && entry.doomed {
            self.recycle(buf);
        }
    }

    fn recycle(&mut self, buf: BufId) {
        let entry = std::mem::replace(self.entry_mut(buf), FREE);
        self.regions[entry.class as usize].give_back(entry.first, entry.blocks);
        self.free.push(buf.0);
    }

    /// The address of `len` bytes from byte `offset` of the buffer on. For operations on the ring.
    pub(crate) fn address(&self, buf: BufId, offset: usize, len: usize) -> NonNull<u8> {
        let entry = self.entry(buf);
        assert!(
            offset + len <= entry.blocks as usize * BLOCK_BYTES,
            "{len} bytes at {offset} are outside of {buf:?} with {} blocks",
            entry.blocks
        );
        self.regions[entry.class as usize].address(entry.first, offset, len)
    }

    /// The registered piece of memory that holds these bytes.
    pub(crate) fn piece(&self, buf: BufId, address: NonNull<u8>, len: usize) -> Option<u16> {
        self.regions[self.entry(buf).class as usize].piece(address, len)
    }

    /// Bytes of a buffer that no operation on the ring writes to.
    pub(crate) fn bytes(&self, buf: BufId, offset: usize, len: usize) -> &[u8] {
        let address = self.address(buf, offset, len);
        // SAFETY: inside the mapping; the engine is one thread, and its owner reads a buffer only when no receive or
        // disk read into it is under way.
        unsafe { std::slice::from_raw_parts(address.as_ptr(), len) }
    }

    /// Bytes of a buffer that no operation on the ring refers to. Voids the remembered checksum.
    pub(crate) fn bytes_mut(&mut self, buf: BufId, offset: usize, len: usize) -> &mut [u8] {
        assert_ne!(buf, self.zeros, "the shared zeros are never written");
        self.changed(buf);
        let address = self.address(buf, offset, len);
        // SAFETY: as for `bytes`; `&mut self` keeps other borrows of this table away.
        unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), len) }
    }

    /// Copies received bytes to byte `offset` of a buffer.
    pub(crate) fn write(&mut self, buf: BufId, offset: usize, bytes: &[u8]) {
        let to = self.bytes_mut(buf, offset, bytes.len());
        // In pieces below the length from which on the C library uses `rep movsb`: that is 20 times slower on some
        // CPUs when source and target lie 1 to 31 bytes apart in their pages, and headers of 28 bytes see to it that
        // some payloads do.
        for (to, from) in to.chunks_mut(COPY_BYTES).zip(bytes.chunks(COPY_BYTES)) {
            to.copy_from_slice(from);
        }
    }

    /// Copies bytes from one buffer to another.
    pub(crate) fn copy(&mut self, from: (BufId, usize), to: (BufId, usize), len: usize) {
        assert_ne!(from.0, to.0, "a copy within one buffer");
        self.changed(to.0);
        let source = self.address(from.0, from.1, len);
        let target = self.address(to.0, to.1, len);
        // SAFETY: both are inside their buffers and different buffers never overlap.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), len) };
    }

    /// The contents change: by a receive, a read from the disk or this crate's own hand.
    pub(crate) fn changed(&mut self, buf: BufId) {
        self.entry_mut(buf).crc = None;
    }

    /// The checksum of `blocks` blocks from block `at` on: computed once for as long as the contents stay.
    pub(crate) fn crc(&mut self, buf: BufId, at: u32, blocks: u32) -> u32 {
        if let Some((known_at, known_blocks, crc)) = self.entry(buf).crc
            && (known_at, known_blocks) == (at, blocks)
        {
            return crc;
        }
        let crc = crc32fast::hash(self.bytes(
            buf,
            at as usize * BLOCK_BYTES,
            blocks as usize * BLOCK_BYTES,
        ));
        self.entry_mut(buf).crc = Some((at, blocks, crc));
        crc
    }

    /// Remembers a checksum that was verified on arrival.
    pub(crate) fn set_crc(&mut self, buf: BufId, blocks: u32, crc: u32) {
        self.entry_mut(buf).crc = Some((0, blocks, crc));
    }

    /// What is in it came by a resync.
    pub(crate) fn set_thin(&mut self, buf: BufId) {
        self.entry_mut(buf).thin = true;
    }

    /// Whether what is in it came by a resync.
    pub(crate) fn is_thin(&self, buf: BufId) -> bool {
        self.entry(buf).thin
    }

    /// Blocks that are free for a use.
    pub(crate) fn free_blocks(&self, class: Class) -> u32 {
        self.regions[class as usize].free_blocks()
    }

    fn entry(&self, buf: BufId) -> &Entry {
        let entry = &self.table[buf.0 as usize];
        assert!(entry.blocks > 0, "{buf:?} is not in use");
        entry
    }

    fn entry_mut(&mut self, buf: BufId) -> &mut Entry {
        let entry = &mut self.table[buf.0 as usize];
        assert!(entry.blocks > 0, "{buf:?} is not in use");
        entry
    }
}

const CLASSES: usize = 4;

const COPY_BYTES: usize = 2048;

const FREE: Entry = Entry {
    class: Class::Scratch,
    first: 0,
    blocks: 0,
    pins: 0,
    doomed: false,
    thin: false,
    crc: None,
};

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> BufferSizes {
        BufferSizes {
            client_bytes: 0,
            peer_bytes: 0,
            resync_bytes: 0,
        }
    }

    fn buffers() -> Buffers {
        let mut ring = Ring::new(4).expect("ring");
        Buffers::new(small(), &mut ring).expect("buffers")
    }

    #[test]
    fn a_pinned_buffer_outlives_its_owner() {
        let mut buffers = buffers();
        let free = buffers.free_blocks(Class::Client);
        let buf = buffers.take(Class::Client, 5).expect("room");
        buffers.pin(buf);
        buffers.pin(buf);
        buffers.give_back(buf);
        assert_eq!(buffers.free_blocks(Class::Client), free - 5);
        buffers.unpin(buf);
        assert_eq!(buffers.free_blocks(Class::Client), free - 5);
        buffers.unpin(buf);
        assert_eq!(buffers.free_blocks(Class::Client), free);
    }

    #[test]
    fn a_checksum_is_remembered_until_the_contents_change() {
        let mut buffers = buffers();
        let buf = buffers.take(Class::Client, 2).expect("room");
        buffers.bytes_mut(buf, 0, 2 * BLOCK_BYTES).fill(7);
        let first = buffers.crc(buf, 0, 2);
        assert_eq!(first, crc32fast::hash(&[7; 2 * BLOCK_BYTES]));
        assert_eq!(buffers.crc(buf, 1, 1), crc32fast::hash(&[7; BLOCK_BYTES]));
        buffers.bytes_mut(buf, 0, 1).fill(8);
        assert_ne!(buffers.crc(buf, 0, 2), first);
    }

    #[test]
    fn resync_buffers_come_first_and_stay() {
        let mut buffers = buffers();
        assert!(buffers.resync_bufs() >= 2);
        buffers.give_back(BufId(0));
        assert_eq!(buffers.bytes(BufId(0), 0, 1), [0]);
        assert_eq!(buffers.take(Class::Resync, 1), None);
        assert!(
            buffers
                .bytes(buffers.zeros(), 0, BLOCK_BYTES)
                .iter()
                .all(|&byte| byte == 0)
        );
    }
}
