//! Where metadata lies, and reading and writing it block by block.
//!
//! Internal metadata takes the last blocks of the backing device. Its length follows from the device's size and the
//! number of peers, so the superblock is found by trying each number of peers; a device that changed its size since
//! has its metadata nowhere that could be computed, and is refused.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use twindisk_format::{
    layout::Layout,
    limits::{BLOCK_BYTES, MAX_DEVICE_BLOCKS, MAX_PEERS},
    meta_block::{Fault, MetaBlock},
    metadata::{self, Loaded},
    superblock::Superblock,
};

use super::{Access, AlignedBlock, Backing, StoreError};

/// The metadata of one replica, in a file or device of its own or at the end of the backing device.
#[derive(Clone, Debug)]
pub struct Metadata {
    on: Arc<Backing>,
    first_block: u64,
    internal: bool,
}

impl Metadata {
    /// The metadata in a file or device of its own.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn external(path: &Path, access: Access) -> Result<Self, StoreError> {
        Ok(Self {
            on: Arc::new(Backing::open(path, access)?),
            first_block: 0,
            internal: false,
        })
    }

    /// The metadata at the end of `backing`.
    ///
    /// # Errors
    /// When none is found there.
    pub fn internal(backing: &Arc<Backing>) -> Result<Self, StoreError> {
        let blocks = backing.blocks()?;
        let mut why = Fault::Empty;
        for peers in 0..=MAX_PEERS {
            let Some(data_blocks) = internal_data_blocks(blocks, peers) else {
                continue;
            };
            let candidate = Self {
                on: Arc::clone(backing),
                first_block: data_blocks,
                internal: true,
            };
            for copy in 0..2 {
                let block = candidate
                    .read(u64::from(copy))
                    .map_err(|source| backing.io_error("reading metadata of", source))?;
                match Superblock::decode(copy, &block) {
                    Ok((found, _)) if found.peers.len() == peers => return Ok(candidate),
                    // Another layout's superblock can't stand here by chance.
                    Ok(_) | Err(Fault::Empty | Fault::Foreign) => {}
                    Err(fault) => why = fault,
                }
            }
        }
        Err(StoreError::NoInternalMetadata {
            path: backing.path().into(),
            why,
        })
    }

    /// Makes fresh metadata in a file of its own (created if missing) or on a device. Everything that was there is
    /// lost.
    ///
    /// # Errors
    /// When it can't be written or has no room.
    pub fn create_external(path: &Path, superblock: &Superblock) -> Result<Self, StoreError> {
        let needs_blocks = Layout::of(superblock).total_blocks();
        create_file(path, needs_blocks)?;
        let created = Self::external(path, Access::Exclusive)?;
        let has_blocks = created.on.blocks()?;
        if has_blocks < needs_blocks {
            return Err(StoreError::TooSmall {
                path: path.into(),
                has_blocks,
                needs_blocks,
            });
        }
        created.write_all(superblock)?;
        Ok(created)
    }

    /// Makes fresh metadata at the end of `backing`. `superblock.max_size_blocks` must be what
    /// [`Metadata::internal_data_blocks`] says.
    ///
    /// # Errors
    /// When it can't be written, has no room, or the size does not fit.
    pub fn create_internal(
        backing: &Arc<Backing>,
        superblock: &Superblock,
    ) -> Result<Self, StoreError> {
        let data_blocks = Self::internal_data_blocks(backing, superblock.peers.len())?;
        if superblock.max_size_blocks != data_blocks {
            return Err(StoreError::TooSmall {
                path: backing.path().into(),
                has_blocks: data_blocks,
                needs_blocks: superblock.max_size_blocks,
            });
        }
        let created = Self {
            on: Arc::clone(backing),
            first_block: data_blocks,
            internal: true,
        };
        created.write_all(superblock)?;
        Ok(created)
    }

    /// How many blocks of `backing` are left for data beside internal metadata for so many peers.
    ///
    /// # Errors
    /// When there is no room for both.
    pub fn internal_data_blocks(backing: &Backing, peers: usize) -> Result<u64, StoreError> {
        let has_blocks = backing.blocks()?;
        internal_data_blocks(has_blocks, peers).ok_or_else(|| StoreError::TooSmall {
            path: backing.path().into(),
            has_blocks,
            needs_blocks: Layout::new(1, peers).total_blocks() + 1,
        })
    }

    /// Reads everything. Call it before the first write.
    ///
    /// # Errors
    /// When the device fails or no superblock can be trusted.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        // What is read here may lie in a cache only, and the first write may rely on it being stable.
        self.on
            .sync()
            .map_err(|source| self.on.io_error("flushing", source))?;
        let mut ahead = ReadAhead::new(self);
        metadata::load(|block| ahead.read(block)).map_err(|source| StoreError::Metadata {
            path: self.on.path().into(),
            source: Box::new(source),
        })
    }

    /// Reads a block of the metadata.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&self, block: u64) -> io::Result<Box<MetaBlock>> {
        let data = self.on.read_block(self.first_block + block)?;
        Ok(Box::new(data.0))
    }

    /// Writes a block of the metadata. It is stable only after `sync`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn write(&self, block: u64, data: &MetaBlock) -> io::Result<()> {
        let data = Box::new(AlignedBlock(*data));
        self.on.write_block(self.first_block + block, &data)
    }

    /// Makes everything written stable.
    ///
    /// # Errors
    /// When the device fails; what was written before is then unknown.
    pub fn sync(&self) -> io::Result<()> {
        self.on.sync()
    }

    /// Writes every block anew, as for a device that never held metadata.
    fn write_all(&self, superblock: &Superblock) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            let mut before = None;
            for (block, data) in metadata::create(superblock) {
                // The wiped superblocks must be stable before the rest is written, and the rest before they are.
                if before.is_some_and(|before| before == 1 || block < before) {
                    self.sync()?;
                }
                self.write(block, &data)?;
                before = Some(block);
            }
            self.sync()
        };
        write().map_err(|source| self.on.io_error("writing metadata to", source))
    }

    /// What it lies on.
    #[must_use]
    pub const fn on(&self) -> &Arc<Backing> {
        &self.on
    }

    /// The first of its blocks there.
    #[must_use]
    pub const fn first_block(&self) -> u64 {
        self.first_block
    }

    /// Whether it lies at the end of the backing device.
    #[must_use]
    pub const fn is_internal(&self) -> bool {
        self.internal
    }
}

/// Reads in large pieces what is asked for block by block: bitmaps are long.
struct ReadAhead<'a> {
    metadata: &'a Metadata,
    first: u64,
    blocks: Vec<AlignedBlock>,
    /// The piece could be read.
    valid: bool,
}

impl<'a> ReadAhead<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        Self {
            metadata,
            first: 0,
            blocks: vec![AlignedBlock([0; BLOCK_BYTES]); READ_AHEAD_BLOCKS],
            valid: false,
        }
    }

    fn read(&mut self, block: u64) -> io::Result<Box<MetaBlock>> {
        if let Some(found) = self.find(block) {
            return Ok(found);
        }
        let first = self.metadata.first_block + block;
        self.first = block;
        self.valid = self
            .metadata
            .on
            .read_blocks(first, &mut self.blocks)
            .is_ok();
        // Near the end, or where something can't be read, each block stands for itself.
        self.find(block)
            .map_or_else(|| self.metadata.read(block), Ok)
    }

    fn find(&self, block: u64) -> Option<Box<MetaBlock>> {
        let index = block.checked_sub(self.first).filter(|_| self.valid)?;
        let found = self.blocks.get(usize::try_from(index).ok()?)?;
        Some(Box::new(found.0))
    }
}

/// The most blocks of data that fit beside their own metadata.
fn internal_data_blocks(device_blocks: u64, peers: usize) -> Option<u64> {
    let fits = |data: u64| data + Layout::new(data, peers).total_blocks() <= device_blocks;
    let device_blocks = device_blocks.min(MAX_DEVICE_BLOCKS);
    let mut data = device_blocks.checked_sub(Layout::new(device_blocks, peers).total_blocks())?;
    // That was reckoned with the metadata of the whole device, which is a little too much.
    while fits(data + 1) && data < MAX_DEVICE_BLOCKS {
        data += 1;
    }
    (data > 0).then_some(data)
}

fn create_file(path: &Path, blocks: u64) -> Result<(), StoreError> {
    let io_error = |doing| {
        move |source| StoreError::Io {
            doing,
            path: path.into(),
            source,
        }
    };
    if path.exists() {
        return Ok(());
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("creating"))?;
    file.set_len(blocks * BLOCK_BYTES as u64)
        .map_err(io_error("extending"))
}

const READ_AHEAD_BLOCKS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_metadata_takes_as_little_as_it_can() {
        for device in [10, 1000, 31_744, 1 << 20, (1 << 28) + 12_345] {
            for peers in 0..=MAX_PEERS {
                let Some(data) = internal_data_blocks(device, peers) else {
                    assert!(device < 12, "{device} blocks are enough");
                    continue;
                };
                let total = |data| data + Layout::new(data, peers).total_blocks();
                assert!(total(data) <= device);
                assert!(total(data + 1) > device);
            }
        }
        assert_eq!(internal_data_blocks(3, 1), None);
    }
}
