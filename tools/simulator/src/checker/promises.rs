//! What a node says depends on what it has stored: it must be on the metadata device by then. And some of what is there
//! may never disappear (R11), or be said too early (S1).

use twindisk_format::{
    control::ControlMessage,
    superblock::{Lack, StoredDisk, Superblock},
};

use super::Violation;
use crate::disk::DataDisk;

/// R2: the term in which a promoted node opens its device is durable, and so is that it is primary.
pub(crate) fn check_opening(
    node: usize,
    term: u64,
    durable: Option<&Superblock>,
) -> Result<(), Violation> {
    let kept = durable.is_some_and(|superblock| {
        superblock.term.0 == term
            && superblock.primary
            && superblock
                .lineage
                .newest()
                .is_some_and(|newest| newest.term.0 == term && newest.node == superblock.node)
    });
    if kept {
        return Ok(());
    }
    let found = durable.map(|superblock| (superblock.term, superblock.lineage.newest()));
    Err(Violation::new(
        "R2",
        format!(
            "node {node} opens its device in term {term}, which is not stored: it has {found:?}"
        ),
    ))
}

/// What a message to a peer promises is durable when it leaves.
pub(crate) fn check_message(
    node: usize,
    message: &ControlMessage,
    durable: Option<&Superblock>,
) -> Result<(), Violation> {
    let Some(durable) = durable else {
        return Ok(()); // It is being torn apart, or about to be refused at the next start.
    };
    let (rule, kept) = match message {
        ControlMessage::Released | ControlMessage::Ready { released: true } => {
            ("R3", durable.disk != StoredDisk::UpToDate)
        }
        ControlMessage::TermGranted {
            term,
            released,
            member,
        } => (
            "R2",
            durable.term >= *term
                && (!released || durable.disk != StoredDisk::UpToDate)
                // R14: who says that it is no member can't be promoted.
                && (*member || durable.disk != StoredDisk::UpToDate),
        ),
        ControlMessage::DiskFailed { stored: true } => ("R1", durable.disk == StoredDisk::Failed),
        ControlMessage::ResyncBegun => ("S4", durable.disk == StoredDisk::Inconsistent),
        _ => return Ok(()),
    };
    if kept {
        return Ok(());
    }
    Err(Violation::new(
        rule,
        format!(
            "node {node} says {message:?}, but has stored term {} and {:?}",
            durable.term, durable.disk
        ),
    ))
}

/// S1: a node that is recorded as at rest, or as stopped cleanly, has everything durable. What a crash may have taken from
/// it is recorded with the first write after the start. (Later a comparison may make it good in the same write in which the
/// node comes to rest: whether it did is not known here, and shows in S1.)
pub(crate) fn check_rest(
    node: usize,
    crashed: bool,
    (before, after): (&Superblock, &Superblock),
    disk: &DataDisk,
) -> Result<(), Violation> {
    // What is no whole copy is resynced anyway.
    let whole = matches!(after.disk, StoredDisk::UpToDate | StoredDisk::Outdated);
    if whole && crashed && after.lack == Lack::Nothing {
        let story =
            format!("node {node} forgets that it crashed, and was compared with nobody since");
        return Err(Violation::new("S1", story));
    }
    if after.active || !before.active || !whole {
        return Ok(());
    }
    if let Some(block) = disk.unsettled().next() {
        let story =
            format!("node {node} is recorded as at rest, but block {block} is only in its cache");
        return Err(Violation::new("S1", story));
    }
    Ok(())
}

/// R4: terms grow. R11: a generation disappears from a lineage only when the changes made in it were saved; or when it is so old that
/// there is no room for it.
pub(crate) fn check_history(
    node: usize,
    saved: bool,
    before: &Superblock,
    after: &Superblock,
) -> Result<(), Violation> {
    // Who has no data has promised nobody anything: its term is of a former life. So is that of a fork which is given up.
    let bound = before.lineage.newest().is_some() && !saved;
    if after.term < before.term && bound {
        let story = format!(
            "node {node} goes back from term {} to {}",
            before.term, after.term
        );
        return Err(Violation::new("R4", story));
    }
    let oldest = after.lineage.generations().first().map(|first| first.term);
    let gone = before.lineage.generations().iter().find(|generation| {
        // One that not every member knew may be forgotten: nothing was completed in it.
        let unconfirmed = before.unconfirmed && before.lineage.newest() == Some(**generation);
        !after.lineage.contains(generation.id)
            && !unconfirmed
            && oldest.is_none_or(|oldest| generation.term >= oldest)
    });
    match gone {
        Some(generation) if !saved => Err(Violation::new(
            "R11",
            format!(
                "node {node} forgets the generation {generation:?}, and its changes are saved nowhere"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}
