//! The bytes of who belongs to whom: runs, the device, conflicts.

use zerocopy::IntoBytes;

use super::{PeerLayout, SuperblockLayout, ensure};
use crate::{
    ids::{BootId, GenerationId, Moment},
    meta_block::Fault,
    superblock::{Conflict, ConflictKind, Run, Runs, Seen, Tie},
};

pub(super) fn decode_conflict(layout: &PeerLayout) -> Result<Option<Conflict>, Fault> {
    let newest = GenerationId(layout.conflict_newest.get());
    let kind = match layout.conflict {
        0 => {
            ensure(newest.0 == 0, "a conflict has contents but no kind")?;
            return Ok(None);
        }
        1 => ConflictKind::SplitBrain,
        2 => ConflictKind::Unrelated,
        3 => ConflictKind::Rewound,
        _ => {
            return Err(Fault::Impossible {
                what: "the kind of a conflict is unknown",
            });
        }
    };
    Ok(Some(Conflict { kind, newest }))
}

pub(super) const fn encode_conflict_kind(kind: ConflictKind) -> u8 {
    match kind {
        ConflictKind::SplitBrain => 1,
        ConflictKind::Unrelated => 2,
        ConflictKind::Rewound => 3,
    }
}

pub(super) const fn encode_tie(tie: Tie) -> (u8, u64) {
    match tie {
        Tie::Size => (0, 0),
        Tie::Inside => (1, 0),
        Tie::Mark(mark) => (2, mark),
        Tie::Identity(hash) => (3, hash),
    }
}

pub(super) fn decode_tie(kind: u8, value: u64) -> Result<Tie, Fault> {
    match kind {
        0 | 1 => {
            ensure(value == 0, "a device has a mark where none is used")?;
            Ok(if kind == 0 { Tie::Size } else { Tie::Inside })
        }
        2 => Ok(Tie::Mark(value)),
        3 => Ok(Tie::Identity(value)),
        _ => Err(Fault::Impossible {
            what: "what the device is known by is unknown",
        }),
    }
}

pub(super) fn decode_runs(layout: &SuperblockLayout) -> Result<Runs, Fault> {
    let used = layout.runs.iter().take_while(|run| run.boot.get() != 0);
    let newest: Vec<Run> = used
        .map(|run| Run {
            boot: BootId(run.boot.get()),
            began: Moment(run.began.get()),
        })
        .collect();
    let unused = layout.runs.iter().skip(newest.len());
    for run in unused {
        ensure(
            run.as_bytes().iter().all(|byte| *byte == 0),
            "an unused run is not zero",
        )?;
    }
    let used = layout
        .made_good
        .iter()
        .take_while(|seen| seen.run.get() != 0);
    let made_good: Vec<Seen> = used
        .map(|seen| Seen {
            run: BootId(seen.run.get()),
            moment: Moment(seen.moment.get()),
        })
        .collect();
    let mut unused = layout.made_good.iter().skip(made_good.len());
    let zero = unused.all(|seen| seen.as_bytes().iter().all(|byte| *byte == 0));
    ensure(zero, "an unused run made good is not zero")?;
    Ok(Runs { newest, made_good })
}
