//! Pages of the activity log: which 4 MiB extents may differ from what the bitmaps say after a crash.
//!
//! A page is one bit per extent. It has two copies on the disk which are written in turn, the lowest bit of the
//! counter saying which; after a crash the newest whole copy is the truth. It is no ring of
//! records: a ring must be replayed, and its window must be kept from overtaking itself, while a pair of pages needs
//! neither, and a batch of newly hot extents costs one durable block either way. Why the older copy is right when the
//! newer one is torn: no write to a newly hot extent is issued before its page is durable, and an extent goes cold
//! only when nothing depends on it any more.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use zerocopy::{FromBytes, IntoBytes, LE, U64};

use crate::{
    ids::ResourceId,
    meta_block::{Body, Fault, MetaBlock, Place, open, seal},
};

/// Extents of one page: it covers 124 GiB of device.
pub const EXTENTS_PER_PAGE: u32 = 64 * WORDS_PER_PAGE as u32;

/// 64-bit words of bits in a page of the activity log or of a bitmap.
pub const WORDS_PER_PAGE: usize = size_of::<Body>() / 8;

/// One page of the activity log, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlPage {
    /// Which page: its first extent is `index * EXTENTS_PER_PAGE`.
    pub index: u32,
    /// Of the state in `words`; add one before writing a change.
    pub counter: u64,
    /// One bit per extent, 1 = active.
    pub words: Box<[u64; WORDS_PER_PAGE]>,
}

impl AlPage {
    /// A page without active extents, as `init` writes it.
    #[must_use]
    pub fn new(index: u32, counter: u64) -> Self {
        Self {
            index,
            counter,
            words: Box::new([0; WORDS_PER_PAGE]),
        }
    }

    /// The page that `extent` is on.
    #[must_use]
    pub const fn of_extent(extent: u32) -> u32 {
        extent / EXTENTS_PER_PAGE
    }

    /// Which copy this state is written to; `Layout::al_block` says where that is.
    #[must_use]
    pub const fn copy(&self) -> u8 {
        (self.counter & 1) as u8
    }

    /// Makes `extent` active.
    ///
    /// # Panics
    /// When the extent is on another page.
    pub fn set(&mut self, extent: u32) {
        let (word, bit) = self.locate(extent);
        *word |= bit;
    }

    /// Makes `extent` inactive.
    ///
    /// # Panics
    /// When the extent is on another page.
    pub fn clear(&mut self, extent: u32) {
        let (word, bit) = self.locate(extent);
        *word &= !bit;
    }

    /// Whether `extent` is active. False for an extent of another page.
    #[must_use]
    pub fn contains(&self, extent: u32) -> bool {
        let inside = extent % EXTENTS_PER_PAGE;
        Self::of_extent(extent) == self.index
            && self
                .words
                .get((inside / 64) as usize)
                .is_some_and(|word| word >> (inside % 64) & 1 == 1)
    }

    /// The active extents in order.
    pub fn extents(&self) -> impl Iterator<Item = u32> + '_ {
        let first = self.index * EXTENTS_PER_PAGE;
        let bases = (first..).step_by(64);
        self.words.iter().zip(bases).flat_map(|(&word, base)| {
            core::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(move |rest| base + rest.trailing_zeros())
        })
    }

    /// The block to write at `layout.al_block(self.index, self.copy())`. Durable before any write to an extent that
    /// it makes active.
    #[must_use]
    pub fn encode(&self, resource: ResourceId) -> Box<MetaBlock> {
        let place = Place::ActivityLog {
            page: self.index,
            copy: self.copy(),
        };
        seal(
            place,
            resource,
            self.counter,
            &words_to_body(self.words.as_slice()),
        )
    }

    /// Reads one copy of a page.
    ///
    /// # Errors
    /// When it is not exactly what [`AlPage::encode`] makes for this page, copy and resource.
    pub fn decode(
        resource: ResourceId,
        index: u32,
        copy: u8,
        block: &MetaBlock,
    ) -> Result<Self, Fault> {
        let opened = open(
            block,
            Place::ActivityLog { page: index, copy },
            Some(resource),
        )?;
        Ok(Self {
            index,
            counter: opened.counter,
            words: Box::new(body_to_words(&opened.body)),
        })
    }

    fn locate(&mut self, extent: u32) -> (&mut u64, u64) {
        assert_eq!(
            Self::of_extent(extent),
            self.index,
            "extent {extent} is on another page"
        );
        let inside = extent % EXTENTS_PER_PAGE;
        let word = self
            .words
            .get_mut((inside / 64) as usize)
            .expect("the remainder is inside the page");
        (word, 1 << (inside % 64))
    }
}

pub(crate) fn words_to_body(words: &[u64]) -> Body {
    let mut body = [0; size_of::<Body>()];
    for (bytes, word) in body.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    body
}

pub(crate) fn body_to_words(body: &Body) -> [u64; WORDS_PER_PAGE] {
    let words: &[U64<LE>; WORDS_PER_PAGE] =
        FromBytes::ref_from_bytes(body.as_bytes()).expect("a body is whole words");
    words.map(U64::get)
}

const _: () = assert!(WORDS_PER_PAGE == 496);
const _: () = assert!(WORDS_PER_PAGE * 8 == size_of::<Body>());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_are_the_ones_set(extents in proptest::collection::btree_set(0..EXTENTS_PER_PAGE, 0..200)) {
            let mut page = AlPage::new(3, 9);
            let first = 3 * EXTENTS_PER_PAGE;
            for extent in &extents {
                page.set(first + extent);
            }
            let all: Vec<u32> = extents.iter().map(|extent| first + extent).collect();
            prop_assert_eq!(page.extents().collect::<Vec<_>>(), all.clone());
            let resource = ResourceId(5);
            let read = AlPage::decode(resource, 3, 1, &page.encode(resource)).unwrap();
            prop_assert_eq!(&read, &page);
            for extent in all {
                prop_assert!(page.contains(extent));
                page.clear(extent);
            }
            prop_assert_eq!(page, AlPage::new(3, 9));
        }
    }
}
