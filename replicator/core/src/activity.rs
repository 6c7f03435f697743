//! The activity log: which extents may hold writes that are not everywhere yet. After a crash these, and only these,
//! are compared with the peers.
//!
//! An extent is stored as active before a write to it is begun. It leaves only when every write to it is stable here
//! and on every peer it was sent to, and the dirty bits it has are stored.

use std::collections::{BTreeMap, BTreeSet};

use twindisk_format::{
    activity_log::AlPage,
    ids::{BlockRange, ResourceId, Seq},
    layout::Layout,
    meta_block::MetaBlock,
};

/// The extents that are active, and the pages that say so on the disk.
#[derive(Clone, Debug)]
pub(crate) struct ActivityLog {
    layout: Layout,
    resource: ResourceId,
    pages: Vec<Page>,
    extents: BTreeMap<u32, Extent>,
    /// Extents that somebody waits for.
    heating: BTreeSet<u32>,
    /// Mutations that wait for extents to become hot, with the number of extents still cold.
    waiting: BTreeMap<usize, u32>,
    /// All that could go up to this write is gone: nothing more can before a newer one is stable.
    cooled: Option<Seq>,
    writes: u64,
}

#[derive(Clone, Debug)]
struct Page {
    page: AlPage,
    /// Counts changes of `page`; which of them is on the disk, and which on its way there.
    version: u64,
    stored: u64,
    writing: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Extent {
    /// The version of its page that first says it is active.
    needs: u64,
    /// Mutations that use it now.
    users: u32,
    /// Newest mutation that used it.
    newest: Seq,
    /// Mutations that wait for it to be stored.
    waiting: Vec<usize>,
}

impl ActivityLog {
    /// `pages` as loaded; their extents are active already.
    pub(crate) fn new(layout: Layout, resource: ResourceId, pages: Vec<AlPage>) -> Self {
        let extents = pages
            .iter()
            .flat_map(AlPage::extents)
            .map(|extent| (extent, Extent::default()))
            .collect();
        let pages = pages
            .into_iter()
            .map(|page| Page {
                page,
                version: 0,
                stored: 0,
                writing: None,
            })
            .collect();
        Self {
            layout,
            resource,
            pages,
            extents,
            heating: BTreeSet::new(),
            cooled: None,
            waiting: BTreeMap::new(),
            writes: 0,
        }
    }

    /// The active extents.
    pub(crate) fn extents(&self) -> impl Iterator<Item = u32> + '_ {
        self.extents.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.extents.len()
    }

    /// Pages written so far.
    pub(crate) const fn writes(&self) -> u64 {
        self.writes
    }

    /// Makes the extents of `range` active for `mutation`. True: they are, go on. False: `page_written` will say when.
    pub(crate) fn enter(&mut self, range: BlockRange, mutation: usize) -> bool {
        let mut cold = 0;
        for number in range.extents() {
            let page = &mut self.pages[AlPage::of_extent(number) as usize];
            let extent = self.extents.entry(number).or_insert_with(|| {
                page.page.set(number);
                page.version += 1;
                Extent {
                    needs: page.version,
                    ..Extent::default()
                }
            });
            extent.users += 1;
            if extent.needs > page.stored {
                cold += 1;
                extent.waiting.push(mutation);
                self.heating.insert(number);
            }
        }
        if cold > 0 {
            self.waiting.insert(mutation, cold);
        }
        cold == 0
    }

    /// The mutation `seq` no longer uses its extents: it is done, or was given up.
    pub(crate) fn leave(&mut self, range: BlockRange, mutation: usize, seq: Seq) {
        let waits = self.waiting.remove(&mutation).is_some();
        for number in range.extents() {
            let extent = self.extents.get_mut(&number).expect("entered before");
            extent.users -= 1;
            extent.newest = extent.newest.max(seq);
            if waits {
                extent.waiting.retain(|&other| other != mutation);
            }
        }
    }

    /// The next page write that is due: page, block number, contents. One write of a page is under way at a time, so
    /// that all that heats up meanwhile shares the next one.
    pub(crate) fn next_write(&mut self) -> Option<(u32, u64, Box<MetaBlock>)> {
        let state = self
            .pages
            .iter_mut()
            .find(|state| state.writing.is_none() && state.version > state.stored)?;
        state.writing = Some(state.version);
        state.page.counter += 1;
        self.writes += 1;
        let page = &state.page;
        let block = self.layout.al_block(page.index, page.copy());
        Some((page.index, block, page.encode(self.resource)))
    }

    /// A page is durable. Returns the mutations whose extents are all active now.
    pub(crate) fn page_written(&mut self, page: u32) -> Vec<usize> {
        let state = &mut self.pages[page as usize];
        state.stored = state.writing.take().expect("its write was under way");
        let mut ready = Vec::new();
        for &number in &self.heating {
            let extent = self
                .extents
                .get_mut(&number)
                .expect("a heating extent is active");
            if AlPage::of_extent(number) != page || extent.needs > state.stored {
                continue;
            }
            for mutation in extent.waiting.drain(..) {
                let cold = self.waiting.get_mut(&mutation).expect("it waits");
                *cold -= 1;
                if *cold == 0 {
                    self.waiting.remove(&mutation);
                    ready.push(mutation);
                }
            }
        }
        self.heating
            .retain(|number| !self.extents[number].waiting.is_empty());
        ready
    }

    /// A page could not be written: the metadata is gone, and with it this replica's disk.
    pub(crate) fn page_failed(&mut self, page: u32) {
        self.pages[page as usize].writing = None;
    }

    /// Whether a search has shown that nothing more can go before something newer than this is stable.
    pub(crate) fn is_cooled(&self, stable: Seq) -> bool {
        self.cooled == Some(stable)
    }

    /// Nothing more can go before something newer than this is stable.
    pub(crate) fn note_cooled(&mut self, stable: Seq) {
        self.cooled = Some(stable);
    }

    /// At most `most` extents that nobody uses and whose newest write is not newer than `stable`, coldest first.
    pub(crate) fn coldest(&self, most: usize, stable: Seq) -> Vec<u32> {
        let mut cold: Vec<(Seq, u32)> = self
            .extents
            .iter()
            .filter(|(_, extent)| extent.users == 0 && extent.newest <= stable)
            .map(|(&number, extent)| (extent.newest, number))
            .collect();
        cold.sort_unstable();
        cold.truncate(most);
        cold.into_iter().map(|(_, number)| number).collect()
    }

    /// Takes an extent out: nothing depends on it, and its dirty bits are stored.
    pub(crate) fn drop_extent(&mut self, number: u32) {
        let extent = self.extents.remove(&number).expect("an active extent");
        assert_eq!(extent.users, 0, "an extent in use left the activity log");
        self.heating.remove(&number);
        let page = &mut self.pages[AlPage::of_extent(number) as usize];
        page.page.clear(number);
        page.version += 1;
    }

    /// Whether `next_write` has a write.
    pub(crate) fn is_due(&self) -> bool {
        self.pages
            .iter()
            .any(|page| page.writing.is_none() && page.version > page.stored)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twindisk_format::activity_log::EXTENTS_PER_PAGE;

    use super::*;

    /// The copies of the pages as they are on the disk.
    type Disk = BTreeMap<u64, Box<MetaBlock>>;

    /// Whether a start that finds `disk` takes the extent for active: by the newest whole copy of its page.
    fn is_active(disk: &Disk, layout: Layout, extent: u32) -> bool {
        let index = AlPage::of_extent(extent);
        (0..2)
            .filter_map(|copy| {
                let data = disk.get(&layout.al_block(index, copy))?;
                AlPage::decode(ResourceId(7), index, copy, data).ok()
            })
            .max_by_key(|page| page.counter)
            .is_some_and(|page| page.contains(extent))
    }

    proptest! {
        /// Whatever the moment of a crash, and whether the page write under way was done, not begun or torn: every
        /// extent that a write in flight uses is active on the disk.
        #[test]
        fn no_cut_forgets_an_extent_in_use(
            steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>(), any::<bool>()), 1..120),
        ) {
            let mut log = log();
            let layout = log.layout;
            let mut disk: Disk = log
                .pages
                .iter()
                .map(|state| &state.page)
                .map(|page| (layout.al_block(page.index, page.copy()), page.encode(ResourceId(7))))
                .collect();
            let extents = [0, 1, 2, EXTENTS_PER_PAGE - 1, EXTENTS_PER_PAGE, EXTENTS_PER_PAGE + 7];
            let mut entered: BTreeMap<usize, (BlockRange, bool)> = BTreeMap::new();
            let mut under_way: Option<(u32, u64, Box<MetaBlock>)> = None;
            for (number, (kind, pick, two)) in steps.into_iter().enumerate() {
                match kind {
                    0 | 1 => {
                        let first = u64::from(extents[pick.index(extents.len())]) * 1024;
                        let range = BlockRange::new(first + 1023, 1 + u32::from(two));
                        let issued = log.enter(range, number);
                        entered.insert(number, (range, issued));
                    }
                    2 if !entered.is_empty() => {
                        let mutation = *entered.keys().nth(pick.index(entered.len())).expect("within");
                        let (range, _) = entered.remove(&mutation).expect("just seen");
                        log.leave(range, mutation, Seq(number as u64));
                    }
                    3 => match under_way.take() {
                        Some((page, block, data)) => {
                            disk.insert(block, data);
                            for ready in log.page_written(page) {
                                entered.get_mut(&ready).expect("it waits").1 = true;
                            }
                        }
                        None => under_way = log.next_write(),
                    },
                    _ => {
                        for extent in log.coldest(2, Seq(number as u64)) {
                            log.drop_extent(extent);
                        }
                    }
                }
                let (mut done, mut torn) = (disk.clone(), disk.clone());
                if let Some((_, block, data)) = &under_way {
                    done.insert(*block, data.clone());
                    torn.remove(block);
                }
                for (range, _) in entered.values().filter(|(_, issued)| *issued) {
                    for extent in range.extents() {
                        for found in [&disk, &done, &torn] {
                            prop_assert!(is_active(found, layout, extent), "extent {} is forgotten", extent);
                        }
                    }
                }
            }
        }
    }

    fn log() -> ActivityLog {
        let layout = Layout::new(1 << 26, 1);
        let pages = (0..layout.al_pages())
            .map(|index| AlPage::new(index, 0))
            .collect();
        ActivityLog::new(layout, ResourceId(7), pages)
    }

    #[test]
    fn a_cold_extent_is_stored_before_it_is_used_and_a_hot_one_costs_nothing() {
        let mut log = log();
        assert!(!log.enter(BlockRange::new(1023, 2), 1));
        let (page, _, data) = log.next_write().expect("a write is due");
        assert!(log.next_write().is_none());
        assert!(
            !log.enter(BlockRange::new(5000, 1), 2),
            "it missed the write that is under way"
        );
        assert_eq!(log.page_written(page), [1]);
        let stored = AlPage::decode(ResourceId(7), page, 1, &data).expect("a whole page");
        assert_eq!(stored.extents().collect::<Vec<_>>(), [0, 1]);
        let (page, ..) = log.next_write().expect("the second one is due now");
        assert_eq!(log.page_written(page), [2]);
        assert!(log.enter(BlockRange::new(0, 1), 3));
        assert!(!log.is_due());
    }

    #[test]
    fn only_stable_and_unused_extents_go_cold_and_heat_again() {
        let mut log = log();
        log.enter(BlockRange::new(0, 1), 1);
        log.enter(BlockRange::new(1024, 1), 2);
        let (page, ..) = log.next_write().expect("due");
        log.page_written(page);
        log.leave(BlockRange::new(0, 1), 1, Seq(10));
        assert!(log.coldest(9, Seq(9)).is_empty());
        assert_eq!(log.coldest(9, Seq(10)), [0]);
        log.drop_extent(0);
        assert!(
            !log.enter(BlockRange::new(0, 1), 3),
            "it must be stored again"
        );
        assert_eq!(log.extents().collect::<Vec<_>>(), [0, 1]);
    }
}
