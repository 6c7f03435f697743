//! From options to a running thread: files, memory, ring, metadata, core.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::AsRawFd,
    sync::Arc,
};

use tracing::{info, warn};
use twindisk_core::{Replica, Start};

use super::Engine;
use crate::{
    Host, ReplicaOptions, StartError,
    buffers::Buffers,
    clients::Clients,
    clock::Clock,
    disk::Disk,
    limits::{MAX_CLIENTS, RING_FILES},
    links::Links,
    mailbox::{Mailbox, Sender},
    meta::{Grouping, Meta},
    probe,
    ring::Ring,
    spin::Spinner,
    store::{Access, Backing, IoMode, Metadata, StoreError, device},
};

/// Makes everything ready on the calling thread, which must be the one that runs it: the ring belongs to it.
pub(crate) fn start(
    mut options: ReplicaOptions,
    mailbox: Mailbox,
    sender: Sender,
    host: Box<dyn Host>,
) -> Result<Engine, StartError> {
    let mut backing = Backing::open(&options.backing, Access::Exclusive)?;
    if options.io == IoMode::Cached {
        backing = backing.through_page_cache()?;
    }
    let backing = Arc::new(backing);
    let metadata = open_metadata(&options, &backing)?;
    let mut loaded = metadata.load()?;
    device::check(&backing, loaded.superblock.device)?;
    for warning in &loaded.warnings {
        warn!(warning, "metadata");
    }
    let max_size_blocks = loaded.superblock.max_size_blocks;
    let data_blocks = if metadata.is_internal() {
        metadata.first_block()
    } else {
        backing.blocks()?
    };
    let needs_blocks = loaded.superblock.size_blocks;
    if data_blocks < needs_blocks {
        return Err(StoreError::TooSmall {
            path: options.backing,
            has_blocks: data_blocks,
            needs_blocks,
        }
        .into());
    }
    device::renew(&backing, &metadata, &mut loaded, options.seed)?;
    let warnings = warnings(&backing)?;

    let mut ring = Ring::new(RING_FILES).map_err(StartError::Ring)?;
    let mut buffers = Buffers::new(options.buffers, &mut ring).map_err(StartError::Memory)?;
    be_io_flusher();
    options.config.resync_bufs = buffers.resync_bufs();
    options.config.first_resync_buf = 0;
    let direct = ring.add_file(backing.as_raw_fd());
    let data = ring.add_file(backing.data().as_raw_fd());
    let meta_file = if metadata.is_internal() {
        direct
    } else {
        ring.add_file(metadata.on().as_raw_fd())
    };
    let disk = Disk::new((data, direct), &backing, data_blocks, &mut buffers);
    let grouping = if metadata.is_internal() && backing.is_cached() {
        Grouping::Never
    } else {
        Grouping::Many
    };
    let place = (meta_file, metadata.first_block());
    let meta = Meta::new(place, grouping, &mut buffers);
    let mailbox_file = ring.add_file(mailbox.wake_fd());
    let timings = &options.config.timings;
    let patience = timings.request_timeout.max(timings.peer_timeout);
    let clock = Clock::start();
    let now = clock.now();
    let core = Replica::new(
        now,
        Start {
            config: options.config,
            boot: options.boot,
            host: probe::host_boot().unwrap_or(options.boot),
            seed: options.seed,
            capacity_blocks: data_blocks.min(max_size_blocks),
        },
        loaded,
    );
    info!(
        backing = %backing.path().display(),
        io = %options.io,
        blocks = data_blocks,
        deferred = ring.is_deferred(),
        "the replica starts"
    );
    Ok(Engine {
        ring,
        buffers,
        core,
        disk,
        meta,
        clients: Clients::new(sender.clone()),
        links: Links::new(patience),
        backing,
        metadata,
        max_size_blocks,
        mailbox,
        mailbox_file,
        wakes: Box::new([0; 8]),
        listening: false,
        sender,
        host,
        commands: HashMap::new(),
        command_ids: 0,
        clock,
        now,
        spinner: Spinner::new(options.busy_poll),
        events: VecDeque::new(),
        completions: Vec::new(),
        stored: Vec::new(),
        broken: Vec::new(),
        warnings,
        discard_dir: options.discard_dir,
        halted: None,
    })
}

fn open_metadata(options: &ReplicaOptions, backing: &Arc<Backing>) -> Result<Metadata, StartError> {
    let Some(path) = &options.metadata else {
        return Ok(Metadata::internal(backing)?);
    };
    // Locking the same file twice would say "in use", which helps nobody.
    let same = Backing::open(path, Access::ReadOnly)?.is_same_as(backing)?;
    if same {
        return Err(StoreError::Same { path: path.clone() }.into());
    }
    Ok(Metadata::external(path, Access::Exclusive)?)
}

fn warnings(backing: &Backing) -> Result<Vec<String>, StartError> {
    let mut warnings = probe::kernel_warnings();
    warnings.extend(probe::storage_warnings(backing)?);
    for warning in &warnings {
        warn!(warning, "at the start");
    }
    Ok(warnings)
}

/// A node whose device backs its own swap or page cache must not wait for memory that only it can free.
fn be_io_flusher() {
    // SAFETY: sets a flag of the calling thread, touches no memory.
    if unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) } < 0 {
        let error = std::io::Error::last_os_error();
        info!(%error, "the thread is no I/O flusher: memory pressure may slow it down");
    }
}

const _: () = assert!(RING_FILES as usize > MAX_CLIENTS);

/// From the kernel's `prctl.h`; the libc crate does not carry it.
const PR_SET_IO_FLUSHER: libc::c_int = 57;
