//! Answers to block status: holes of the backing file, where there can be any.

use std::{fs::File, os::fd::AsFd};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use twindisk_nbd::{
    Request,
    protocol::{STATE_HOLE, STATE_ZERO},
    reply::Extent,
};

use super::Context;
use crate::{limits::MAX_STATUS_EXTENTS, store::BackingKind};

/// The extents of a request's range. Whatever is not surely a hole counts as data.
pub(super) fn extents(request: &Request, one: bool, context: &Context<'_>) -> Vec<Extent> {
    let most = if one { 1 } else { MAX_STATUS_EXTENTS };
    match context.backing.kind() {
        // A device whose writes failed is not what clients read.
        BackingKind::File if !context.disk.has_failed() => {
            of_file(context.backing.data(), request.offset, request.length, most)
        }
        BackingKind::File | BackingKind::BlockDevice => vec![data(request.length)],
    }
}

fn of_file(file: &File, offset: u64, length: u32, most: usize) -> Vec<Extent> {
    let end = offset + u64::from(length);
    let mut extents = Vec::new();
    let mut at = offset;
    while at < end && extents.len() < most {
        let rest = (end - at) as u32;
        let extent = match next(file, at, Whence::SeekData) {
            Ok(Some(start)) if start > at => hole((start.min(end) - at) as u32),
            Ok(Some(_)) => match next(file, at, Whence::SeekHole) {
                Ok(Some(stop)) if stop > at => data((stop.min(end) - at) as u32),
                _ => data(rest),
            },
            Ok(None) => hole(rest),
            Err(_) => data(rest),
        };
        at += u64::from(extent.length);
        extents.push(extent);
    }
    extents
}

fn next(file: &File, at: u64, whence: Whence) -> Result<Option<u64>, Errno> {
    match lseek(file.as_fd(), at as i64, whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        // Nothing but a hole up to the end.
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

const fn data(length: u32) -> Extent {
    Extent { length, flags: 0 }
}

const fn hole(length: u32) -> Extent {
    Extent {
        length,
        flags: STATE_HOLE | STATE_ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_and_data_alternate() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(1 << 20).expect("extend");
        file.write_all_at(&[1; 8192], 65_536).expect("write");
        file.sync_all().expect("sync");
        let all = of_file(&file, 0, 1 << 20, 10);
        let expected = [hole(65_536), data(8192), hole((1 << 20) - 65_536 - 8192)];
        assert_eq!(all, expected);
        assert_eq!(of_file(&file, 0, 1 << 20, 1), [hole(65_536)]);
        assert_eq!(of_file(&file, 66_000, 1000, 9), [data(1000)]);
    }
}
