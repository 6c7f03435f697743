//! Pages of the dirty bitmaps: one bit per 4 KiB block that may differ on a peer.
//!
//! A page has one copy, written in place. A page that is torn, damaged or missing means that every block it covers is
//! dirty, never that one is clean, so nothing is lost but time.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::{
    activity_log::{WORDS_PER_PAGE, body_to_words, words_to_body},
    ids::{ResourceId, Slot},
    meta_block::{Fault, MetaBlock, Place, open, seal},
};

/// Blocks that one page covers: 124 MiB of device. A multiple of 64.
pub const BITS_PER_PAGE: u32 = 64 * WORDS_PER_PAGE as u32;

/// The words of a slot's whole bitmap that page `page` holds; the last page may be shorter.
#[must_use]
pub fn page_words(bitmap: &[u64], page: u32) -> &[u64] {
    bitmap
        .chunks(WORDS_PER_PAGE)
        .nth(page as usize)
        .unwrap_or(&[])
}

/// The page that holds the bit of `block`.
#[must_use]
pub const fn page_of_block(block: u64) -> u32 {
    (block / BITS_PER_PAGE as u64) as u32
}

/// The block to write at `layout.bitmap_block(slot, page)`. Missing words are zero.
///
/// # Panics
/// When there are more words than a page holds.
#[must_use]
pub fn encode_bitmap_page(
    resource: ResourceId,
    slot: Slot,
    page: u32,
    words: &[u64],
) -> Box<MetaBlock> {
    assert!(
        words.len() <= WORDS_PER_PAGE,
        "{} words in a page",
        words.len()
    );
    seal(
        Place::Bitmap { slot, page },
        resource,
        0,
        &words_to_body(words),
    )
}

/// Reads a page. On any error every block of the page is dirty.
///
/// # Errors
/// When it is not exactly what [`encode_bitmap_page`] makes for this slot, page and resource.
pub fn decode_bitmap_page(
    resource: ResourceId,
    slot: Slot,
    page: u32,
    block: &MetaBlock,
) -> Result<Box<[u64; WORDS_PER_PAGE]>, Fault> {
    let opened = open(block, Place::Bitmap { slot, page }, Some(resource))?;
    if opened.counter != 0 {
        return Err(Fault::Impossible {
            what: "a bitmap page has no counter",
        });
    }
    Ok(Box::new(body_to_words(&opened.body)))
}

const _: () = assert!(BITS_PER_PAGE.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(words in proptest::collection::vec(any::<u64>(), 0..=WORDS_PER_PAGE), page: u32) {
            let slot = Slot::new(6).unwrap();
            let resource = ResourceId(u128::MAX / 3);
            let block = encode_bitmap_page(resource, slot, page, &words);
            let read = decode_bitmap_page(resource, slot, page, &block).unwrap();
            prop_assert_eq!(&read[..words.len()], &words[..]);
            prop_assert!(read[words.len()..].iter().all(|word| *word == 0));
        }
    }

    #[test]
    fn pages_cut_the_bitmap_in_order() {
        let bitmap: Vec<u64> = (0..1000).collect();
        assert_eq!(page_words(&bitmap, 0), &bitmap[..496]);
        assert_eq!(page_words(&bitmap, 2), &bitmap[992..]);
        assert_eq!(page_words(&bitmap, 3), &[] as &[u64]);
        assert_eq!(page_of_block(31_743), 0);
        assert_eq!(page_of_block(31_744), 1);
    }
}
