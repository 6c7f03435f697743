//! Keeps the blocks of a fork that is given up: copied into a file of their own, beside the ring, by a thread that
//! ends with it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use twindisk_core::OpId;
use twindisk_format::ids::BlockRange;

use crate::{
    mailbox::{Message, Sender},
    store::Backing,
};

/// What to copy, and whom to tell.
pub(crate) struct Job {
    pub(crate) op: OpId,
    pub(crate) ranges: Vec<BlockRange>,
    pub(crate) backing: Arc<Backing>,
    pub(crate) directory: PathBuf,
    pub(crate) done: Sender,
}

/// Begins the copy; the answer comes through the mailbox.
pub(crate) fn spawn(job: Job) -> Result<(), String> {
    std::thread::Builder::new()
        .name("twindisk-save".into())
        .spawn(move || {
            let result = save(&job);
            job.done
                .send_patiently(Message::Saved { op: job.op, result });
        })
        .map(drop)
        .map_err(|error| format!("a thread for it can't be started: {error}"))
}

/// The file is text lines and blocks in turn: `blocks START+COUNT`, then their bytes. It has its name only when it is
/// complete and stable.
fn save(job: &Job) -> Result<String, String> {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let backing = job.backing.path().file_name().unwrap_or_default();
    let name = format!("discarded-{}-{seconds}-{}", backing.display(), job.op.0);
    let path = job.directory.join(&name);
    let partial = job.directory.join(format!("{name}.partial"));
    write(job, &partial)
        .and_then(|()| fs::rename(&partial, &path))
        .and_then(|()| File::open(&job.directory)?.sync_all())
        .map_err(|error| {
            let _ = fs::remove_file(&partial);
            format!("{} can't be written: {error}", path.display())
        })?;
    Ok(path.display().to_string())
}

fn write(job: &Job, path: &Path) -> io::Result<()> {
    fs::create_dir_all(&job.directory)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for range in &job.ranges {
        writeln!(out, "blocks {range}")?;
        for block in range.start..range.end() {
            out.write_all(&job.backing.read_block(block)?.0)?;
        }
    }
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}
