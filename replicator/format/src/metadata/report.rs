//! What `twindisk metadata check`, `repair` and `dump` work with.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::fmt;

use serde::Serialize;

use super::{
    Assumed, Finding, LoadError,
    survey::{Survey, survey},
};
use crate::{
    activity_log::AlPage,
    bitmap::{encode_bitmap_page, page_words},
    meta_block::{Fault, MetaBlock, Place},
    superblock::{Device, Lack, Standing, StoredDisk, Superblock, Tie},
};

/// Reads everything and lists every block that is not as it should be.
pub fn check<E: fmt::Display>(read: impl FnMut(u64) -> Result<Box<MetaBlock>, E>) -> Vec<Finding> {
    match survey(read) {
        Ok(survey) => survey.findings,
        Err(LoadError::NoSuperblock { first, second }) => {
            vec![lost_superblock(0, first), lost_superblock(1, second)]
        }
        Err(LoadError::Version { block, fault }) => vec![lost_superblock(block as u8, fault)],
        Err(LoadError::Disagree { what }) => {
            let fault = Fault::Disagrees { what };
            vec![lost_superblock(0, fault.clone()), lost_superblock(1, fault)]
        }
    }
}

/// The blocks to write, in order and each durable before the next, so that [`super::load`] has nothing to complain
/// of: what a bad block is taken for is made true.
///
/// # Errors
/// When no superblock can be trusted: there is nothing to repair from.
pub fn repair<E: fmt::Display>(
    read: impl FnMut(u64) -> Result<Box<MetaBlock>, E>,
) -> Result<Vec<(u64, Box<MetaBlock>)>, LoadError> {
    let mut survey = survey(read)?;
    let findings = core::mem::take(&mut survey.findings);
    Ok(findings
        .iter()
        .map(|finding| (finding.block, survey.replacement(finding.place)))
        .collect())
}

/// Everything the metadata says, for people and as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dump {
    /// The superblock in force.
    pub superblock: Superblock,
    /// How often it was written.
    pub counter: u64,
    /// Size of all metadata in blocks.
    pub total_blocks: u64,
    /// The activity log, page by page.
    pub activity_log: Vec<AlPageSummary>,
    /// Dirty blocks per peer slot.
    pub dirty_blocks: Vec<u64>,
    /// One sentence per bad block.
    pub findings: Vec<String>,
}

/// A page of the activity log in a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlPageSummary {
    /// Which page.
    pub page: u32,
    /// How often it was written.
    pub counter: u64,
    /// Active extents as first and last one of each run.
    pub active: Vec<(u32, u32)>,
}

/// Reads everything and describes it.
///
/// # Errors
/// When no superblock can be trusted.
pub fn dump<E: fmt::Display>(
    read: impl FnMut(u64) -> Result<Box<MetaBlock>, E>,
) -> Result<Dump, LoadError> {
    let survey = survey(read)?;
    let dirty = |bitmap: &Vec<u64>| bitmap.iter().map(|word| u64::from(word.count_ones())).sum();
    Ok(Dump {
        counter: survey.counter,
        total_blocks: survey.layout.total_blocks(),
        activity_log: survey
            .al
            .iter()
            .map(|page| AlPageSummary {
                page: page.index,
                counter: page.counter,
                active: runs(page),
            })
            .collect(),
        dirty_blocks: survey.bitmaps.iter().map(dirty).collect(),
        findings: survey.findings.iter().map(ToString::to_string).collect(),
        superblock: survey.superblock,
    })
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let superblock = &self.superblock;
        writeln!(f, "cluster         {:032x}", superblock.cluster.0)?;
        writeln!(f, "resource        {:032x}", superblock.resource.0)?;
        writeln!(f, "node            {}", superblock.node)?;
        writeln!(
            f,
            "size            {} blocks of 4 KiB, room for {}",
            superblock.size_blocks, superblock.max_size_blocks
        )?;
        writeln!(f, "term            {}", superblock.term)?;
        write!(f, "disk            {}", disk_name(superblock.disk))?;
        if superblock.suspect {
            write!(f, ", has failed since every block was last written")?;
        }
        if superblock.rewound {
            write!(f, ", was rolled back and not compared since")?;
        }
        writeln!(f)?;
        writeln!(f, "device          {}", device_name(superblock.device))?;
        writeln!(f, "was primary     {}", yes_no(superblock.primary))?;
        writeln!(f, "at rest         {}", yes_no(!superblock.active))?;
        writeln!(f, "may lack        {}", lack_name(superblock.lack))?;
        writeln!(f, "host's boot     {:016x}", superblock.host.0)?;
        writeln!(
            f,
            "written         {} times, {} blocks",
            self.counter, self.total_blocks
        )?;
        for (slot, (peer, dirty)) in superblock.peers.iter().zip(&self.dirty_blocks).enumerate() {
            write!(
                f,
                "peer slot {slot}     node {}, {dirty} dirty blocks",
                peer.node
            )?;
            match peer.base {
                Some(base) => write!(f, " since generation {:016x}", base.0)?,
                None => write!(f, ", never in sync")?,
            }
            match peer.standing {
                Standing::Out => {}
                Standing::Copy => write!(f, ", an equal copy")?,
                Standing::Joining => write!(f, ", joining the in-sync set")?,
                Standing::In => write!(f, ", in sync")?,
            }
            if let Some(receipt) = peer.receipt {
                write!(
                    f,
                    ", {:?} receipt about node {} in term {}, epoch {} (boot {:016x})",
                    receipt.kind, receipt.about, receipt.term, receipt.epoch, receipt.boot.0
                )?;
            }
            if let Some(conflict) = peer.conflict {
                write!(
                    f,
                    ", CONFLICT ({:?}) with its generation {:016x}",
                    conflict.kind, conflict.newest.0
                )?;
            }
            if peer.seen.moment.0 > 0 {
                write!(f, ", seen written {} times", peer.seen.moment)?;
            }
            writeln!(f)?;
        }
        if superblock.unconfirmed {
            writeln!(
                f,
                "the newest generation is not confirmed: nothing was completed in it"
            )?;
        }
        for spare in 0..usize::from(superblock.spare_slots) {
            let slot = superblock.peers.len() + spare;
            writeln!(f, "peer slot {slot}     spare")?;
        }
        let (ancestors, generations) = superblock.lineage.ancestors_and_generations();
        for generation in generations.iter().rev() {
            writeln!(
                f,
                "generation      {:016x} of node {}, term {}",
                generation.id.0, generation.node, generation.term
            )?;
        }
        for ancestor in ancestors.iter().rev() {
            writeln!(f, "generation      {:016x}", ancestor.id.0)?;
        }
        for page in &self.activity_log {
            write!(
                f,
                "activity log    page {}, written {} times:",
                page.page, page.counter
            )?;
            if page.active.is_empty() {
                write!(f, " no active extent")?;
            }
            for (first, last) in &page.active {
                write!(f, " {first}-{last}")?;
            }
            writeln!(f)?;
        }
        for finding in &self.findings {
            writeln!(f, "problem         {finding}")?;
        }
        Ok(())
    }
}

impl Survey {
    /// Contents for a bad block. The counter is chosen such that this copy is the newest from now on.
    fn replacement(&mut self, place: Place) -> Box<MetaBlock> {
        let resource = self.superblock.resource;
        match place {
            Place::Superblock { copy } => {
                self.counter = next_counter(self.counter, copy);
                self.superblock.encode(self.counter)
            }
            Place::ActivityLog { page, copy } => {
                let page = self
                    .al
                    .get_mut(page as usize)
                    .expect("findings are about pages that were read");
                page.counter = next_counter(page.counter, copy);
                page.encode(resource)
            }
            Place::Bitmap { slot, page } => {
                let bitmap = self
                    .bitmaps
                    .get(slot.index())
                    .expect("findings are about slots that were read");
                encode_bitmap_page(resource, slot, page, page_words(bitmap, page))
            }
        }
    }
}

fn next_counter(counter: u64, copy: u8) -> u64 {
    let next = counter + 1;
    if next & 1 == u64::from(copy) {
        next
    } else {
        next + 1
    }
}

fn lost_superblock(copy: u8, fault: Fault) -> Finding {
    Finding {
        block: u64::from(copy),
        place: Place::Superblock { copy },
        fault,
        assumed: Assumed::Nothing,
    }
}

fn runs(page: &AlPage) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for extent in page.extents() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == extent => *last = extent,
            _ => runs.push((extent, extent)),
        }
    }
    runs
}

const fn disk_name(disk: StoredDisk) -> &'static str {
    match disk {
        StoredDisk::Failed => "Failed",
        StoredDisk::Inconsistent => "Inconsistent",
        StoredDisk::Outdated => "Outdated",
        StoredDisk::UpToDate => "UpToDate",
    }
}

fn device_name(device: Device) -> String {
    let blocks = device.blocks;
    match device.tie {
        Tie::Size => format!("{blocks} blocks, known by nothing else"),
        Tie::Inside => format!("{blocks} blocks, this metadata on it"),
        Tie::Mark(mark) => format!("{blocks} blocks, marked {mark:016x}"),
        Tie::Identity(hash) => format!("{blocks} blocks, identity {hash:016x}"),
    }
}

const fn lack_name(lack: Lack) -> &'static str {
    match lack {
        Lack::Nothing => "nothing",
        Lack::UnderWay => "what was under way when its process died",
        Lack::Unflushed => "what was not flushed when its host went down",
        Lack::Anything => "anything: nobody counted on it",
    }
}

const fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
