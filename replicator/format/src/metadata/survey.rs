//! Reads every metadata block and decides what each bad one is taken for. Load, check, repair and dump all start here.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::fmt;

use super::{Assumed, Finding, LoadError};
use crate::{
    activity_log::{AlPage, WORDS_PER_PAGE},
    bitmap::{BITS_PER_PAGE, decode_bitmap_page},
    ids::Slot,
    layout::Layout,
    limits::EXTENT_BLOCKS,
    meta_block::{Fault, MetaBlock, Place, salvage_counter},
    superblock::Superblock,
};

/// What the metadata says, with the worst assumed where it says nothing.
pub(super) struct Survey {
    pub(super) superblock: Superblock,
    pub(super) counter: u64,
    pub(super) layout: Layout,
    pub(super) al: Vec<AlPage>,
    pub(super) bitmaps: Vec<Vec<u64>>,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn survey<E: fmt::Display>(
    mut read: impl FnMut(u64) -> Result<Box<MetaBlock>, E>,
) -> Result<Survey, LoadError> {
    let mut read = |block| {
        read(block).map_err(|error| Fault::Unreadable {
            why: error.to_string(),
        })
    };
    let copies = [0, 1].map(|copy| read_superblock(&mut read, copy));
    let (superblock, counter, finding) = choose_superblock(copies)?;
    let mut survey = Survey {
        layout: Layout::of(&superblock),
        superblock,
        counter,
        al: Vec::new(),
        bitmaps: Vec::new(),
        findings: finding.into_iter().collect(),
    };
    for page in 0..survey.layout.al_pages() {
        survey.read_al_page(&mut read, page);
    }
    for slot in survey.layout.slots() {
        survey.read_bitmap(&mut read, slot);
    }
    Ok(survey)
}

impl Survey {
    fn read_al_page(
        &mut self,
        read: &mut impl FnMut(u64) -> Result<Box<MetaBlock>, Fault>,
        page: u32,
    ) {
        let resource = self.superblock.resource;
        let [first, second] = [0, 1].map(|copy| {
            let block = read(self.layout.al_block(page, copy)).map_err(BadCopy::unreadable)?;
            AlPage::decode(resource, page, copy, &block)
                .map_err(|fault| BadCopy::new(fault, &block))
        });
        let mut chosen = match (first, second) {
            (Ok(first), Ok(second)) if second.counter > first.counter => second,
            (Ok(first), Ok(_)) => first,
            (Ok(mut good), Err(bad)) | (Err(bad), Ok(mut good)) => {
                let assumed = if bad.is_surely_older_than(good.counter) {
                    Assumed::OtherCopy
                } else {
                    good.words.fill(u64::MAX);
                    Assumed::AllActive
                };
                self.find_al(page, 1 - good.copy(), bad.fault, assumed);
                good
            }
            (Err(first), Err(second)) => {
                let counter = first.counter.max(second.counter).unwrap_or(0);
                self.find_al(page, 0, first.fault, Assumed::AllActive);
                self.find_al(page, 1, second.fault, Assumed::AllActive);
                let mut page = AlPage::new(page, counter);
                page.words.fill(u64::MAX);
                page
            }
        };
        let extents = self.superblock.size_blocks.div_ceil(EXTENT_BLOCKS);
        let covered = extents.saturating_sub(u64::from(page) * 64 * WORDS_PER_PAGE as u64);
        keep_first_bits(chosen.words.as_mut_slice(), covered);
        self.al.push(chosen);
    }

    fn find_al(&mut self, page: u32, copy: u8, fault: Fault, assumed: Assumed) {
        self.findings.push(Finding {
            block: self.layout.al_block(page, copy),
            place: Place::ActivityLog { page, copy },
            fault,
            assumed,
        });
    }

    fn read_bitmap(
        &mut self,
        read: &mut impl FnMut(u64) -> Result<Box<MetaBlock>, Fault>,
        slot: Slot,
    ) {
        let words = self.superblock.max_size_blocks.div_ceil(64) as usize;
        let mut bitmap = vec![0; words];
        for (page, part) in (0u32..).zip(bitmap.chunks_mut(WORDS_PER_PAGE)) {
            let block = self.layout.bitmap_block(slot, page);
            let decoded = read(block).and_then(|contents| {
                decode_bitmap_page(self.superblock.resource, slot, page, &contents)
            });
            match decoded {
                Ok(words) => part
                    .iter_mut()
                    .zip(words.iter())
                    .for_each(|(to, from)| *to = *from),
                Err(fault) => {
                    part.fill(u64::MAX);
                    self.findings.push(Finding {
                        block,
                        place: Place::Bitmap { slot, page },
                        fault,
                        assumed: Assumed::AllDirty,
                    });
                }
            }
        }
        keep_first_bits(&mut bitmap, self.superblock.size_blocks);
        self.bitmaps.push(bitmap);
    }
}

/// A copy that can't be used, and the counter it had if that is still to be seen.
struct BadCopy {
    fault: Fault,
    counter: Option<u64>,
}

impl BadCopy {
    fn new(fault: Fault, block: &MetaBlock) -> Self {
        Self {
            fault,
            counter: salvage_counter(block),
        }
    }

    fn unreadable(fault: Fault) -> Self {
        Self {
            fault,
            counter: None,
        }
    }

    /// A torn copy is a write that nobody was told of. A damaged one that was older anyway takes nothing with it.
    fn is_surely_older_than(&self, counter: u64) -> bool {
        match self.fault {
            Fault::Torn => true,
            Fault::Damaged { .. } => self.counter.is_some_and(|own| own < counter),
            Fault::Empty
            | Fault::Foreign
            | Fault::Misplaced { .. }
            | Fault::OtherResource { .. }
            | Fault::OlderVersion { .. }
            | Fault::NewerVersion { .. }
            | Fault::Impossible { .. }
            | Fault::Disagrees { .. }
            | Fault::Unreadable { .. } => false,
        }
    }
}

fn read_superblock(
    read: &mut impl FnMut(u64) -> Result<Box<MetaBlock>, Fault>,
    copy: u8,
) -> Result<(Superblock, u64), BadCopy> {
    let block = read(u64::from(copy)).map_err(BadCopy::unreadable)?;
    Superblock::decode(copy, &block).map_err(|fault| BadCopy::new(fault, &block))
}

type CopyOfSuperblock = Result<(Superblock, u64), BadCopy>;

fn choose_superblock(
    copies: [CopyOfSuperblock; 2],
) -> Result<(Superblock, u64, Option<Finding>), LoadError> {
    for (block, copy) in (0..).zip(&copies) {
        // A whole copy of another version may be the newer one: going on with the other would turn time back.
        if let Err(bad) = copy
            && matches!(
                bad.fault,
                Fault::OlderVersion { .. } | Fault::NewerVersion { .. }
            )
        {
            return Err(LoadError::Version {
                block,
                fault: bad.fault.clone(),
            });
        }
    }
    match copies {
        [Ok(first), Ok(second)] => {
            agree(&first.0, &second.0)?;
            let newest = if second.1 > first.1 { second } else { first };
            Ok((newest.0, newest.1, None))
        }
        [Ok(good), Err(bad)] | [Err(bad), Ok(good)] => {
            let copy = 1 - (good.1 & 1) as u8;
            // A cut `init` leaves the second copy empty; nothing has been promised since.
            let wiped = bad.fault == Fault::Empty && good.1 == 0;
            let assumed = if wiped || bad.is_surely_older_than(good.1) {
                Assumed::OtherCopy
            } else {
                Assumed::OtherCopyInDoubt
            };
            let finding = Finding {
                block: u64::from(copy),
                place: Place::Superblock { copy },
                fault: bad.fault,
                assumed,
            };
            Ok((good.0, good.1, Some(finding)))
        }
        [Err(first), Err(second)] => Err(LoadError::NoSuperblock {
            first: first.fault,
            second: second.fault,
        }),
    }
}

fn agree(first: &Superblock, second: &Superblock) -> Result<(), LoadError> {
    let differs = |what| Err(LoadError::Disagree { what });
    if first.cluster != second.cluster {
        return differs("clusters");
    }
    if first.resource != second.resource {
        return differs("resources");
    }
    if first.node != second.node {
        return differs("nodes");
    }
    if first.max_size_blocks != second.max_size_blocks {
        return differs("largest sizes");
    }
    if first.slots() != second.slots() {
        return differs("numbers of peer slots");
    }
    Ok(())
}

fn keep_first_bits(words: &mut [u64], bits: u64) {
    for (word, first) in words.iter_mut().zip((0..).step_by(64)) {
        let keep = bits.saturating_sub(first);
        if keep < 64 {
            *word &= (1 << keep) - 1;
        }
    }
}

const _: () = assert!(BITS_PER_PAGE as usize == 64 * WORDS_PER_PAGE);
