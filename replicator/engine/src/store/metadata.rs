//! Where metadata lies, and reading and writing it block by block.
//!
//! Internal metadata takes the last blocks of the backing device. Its length follows from the device's size and the
//! number of peer slots, so the superblock is found by trying each number of slots; a device that changed its size since
//! has its metadata nowhere that could be computed, and is refused.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use twindisk_format::{
    layout::Layout,
    limits::{BLOCK_BYTES, MAX_DEVICE_BLOCKS, MAX_PEERS},
    lineage::Relation,
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
        Self::internal_of(backing, backing.blocks()?)
    }

    /// The metadata that was at the end of `backing` when that had so many blocks.
    fn internal_of(backing: &Arc<Backing>, blocks: u64) -> Result<Self, StoreError> {
        let mut why = Fault::Empty;
        for slots in 0..=MAX_PEERS {
            let Some(data_blocks) = internal_data_blocks(blocks, slots) else {
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
                    Ok((found, _)) if found.slots() == slots => return Ok(candidate),
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
        created.write_all(metadata::create(superblock))?;
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
        let data_blocks = Self::internal_data_blocks(backing, superblock.slots())?;
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
        created.write_all(metadata::create(superblock))?;
        Ok(created)
    }

    /// Moves internal metadata to the end of `backing`, which has grown since it had `was_blocks`. Wherever it is cut,
    /// it can be begun again: the new metadata is whole before anything of the old is lost.
    ///
    /// # Errors
    /// When there is none at the old end, `backing` has not grown by as much as metadata needs, or it fails.
    pub fn move_to_end(backing: &Arc<Backing>, was_blocks: u64) -> Result<Self, StoreError> {
        let found = Self::internal(backing);
        let old = match (Self::internal_of(backing, was_blocks), &found) {
            (Ok(old), Ok(found)) if old.first_block == found.first_block => return Ok(old),
            (Ok(old), _) => old,
            (Err(_), Ok(_)) => return found,
            (Err(error), Err(_)) => return Err(error),
        };
        let loaded = old.load()?;
        let new = match found {
            Ok(found) if found.goes_on_from(&loaded.superblock) => found,
            // What else lies there was on the medium before the device grew onto it.
            Ok(_) | Err(_) => old.copy_to_end(loaded)?,
        };
        old.wipe()
            .map_err(|source| backing.io_error("wiping the old metadata of", source))?;
        Ok(new)
    }

    /// Whether this was moved from where `old` was read.
    fn goes_on_from(&self, old: &Superblock) -> bool {
        self.load().is_ok_and(
            |Loaded {
                 superblock: new, ..
             }| {
                (new.cluster, new.resource, new.node) == (old.cluster, old.resource, old.node)
                    && new.term >= old.term
                    && matches!(
                        new.lineage.relation(&old.lineage),
                        Relation::Same | Relation::Ahead
                    )
            },
        )
    }

    fn copy_to_end(&self, loaded: Loaded) -> Result<Self, StoreError> {
        let first_block = Self::internal_data_blocks(&self.on, loaded.superblock.slots())?;
        let end = self.first_block + Layout::of(&loaded.superblock).total_blocks();
        if first_block < end {
            let has_blocks = self.on.blocks()?;
            return Err(StoreError::TooSmall {
                path: self.on.path().into(),
                has_blocks,
                needs_blocks: has_blocks + end - first_block,
            });
        }
        let new = Self {
            on: Arc::clone(&self.on),
            first_block,
            internal: true,
        };
        new.write_all(metadata::recreate(loaded, first_block))?;
        Ok(new)
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
    fn write_all(
        &self,
        contents: impl Iterator<Item = (u64, Box<MetaBlock>)>,
    ) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            let mut before = None;
            for (block, data) in contents {
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

    /// Nothing is found here any more.
    fn wipe(&self) -> io::Result<()> {
        for block in 0..2 {
            self.write(block, &[0; BLOCK_BYTES])?;
        }
        self.sync()
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
mod tests;
