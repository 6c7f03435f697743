//! What happens in the demo, step by step, with times.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use twindisk_control::{
    protocol::{Ask, ReceiptWord},
    units::Bytes,
};
use twindisk_core::{ConnectionState, DiskState, Role, Status};

use super::{
    book::{BLOCK_BYTES, Book, Verdict},
    failover,
    load::{self, Ended, Gauge},
    pair::{Pair, RESOURCE, Which},
};
use crate::{exit::Failure, out};

/// Who decides that beta takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decides {
    /// A person, with the word that alpha is dead.
    Person,
    /// The agents, with a power switch.
    Switch,
    /// The agents, by the word of a witness.
    Witness,
}

/// How the demo runs.
pub(super) struct Plan {
    pub(super) size_blocks: u64,
    pub(super) load: Duration,
    pub(super) keep: bool,
    pub(super) decides: Decides,
    pub(super) dir: Option<PathBuf>,
    pub(super) seed: u64,
}

/// Tells it, from two empty files to two equal ones.
pub(super) fn tell(plan: &Plan) -> Result<(), Failure> {
    let scratch = Scratch::new(plan)?;
    let say = Teller::begin();
    let size = plan.size_blocks * BLOCK_BYTES as u64;
    say.line(&format!(
        "two nodes on loopback, {} each, in {} (seed {})",
        Bytes(size),
        scratch.path.display(),
        plan.seed
    ));
    let mut pair = Pair::make(&scratch.path, size, plan.keep, plan.decides)?;
    let result = match plan.decides {
        Decides::Person => act(plan, &say, &mut pair),
        Decides::Switch | Decides::Witness => failover::act(plan, &say, &mut pair),
    };
    if result.is_err() {
        // What went wrong is to be looked at, not to be swept away.
        scratch.keep_for_inspection();
        return result;
    }
    if plan.keep {
        say.leave(&mut pair, &scratch)?;
        scratch.keep_for_use();
    }
    Ok(())
}

fn act(plan: &Plan, say: &Teller, pair: &mut Pair) -> Result<(), Failure> {
    let (alpha, beta) = (Which::Alpha, Which::Beta);
    let alpha_pid = pair.start(alpha)?;
    let beta_pid = pair.start(beta)?;
    say.line(&format!("alpha (pid {alpha_pid}) and beta (pid {beta_pid}) serve; beta is empty, a first resync fills it"));
    promote(say, pair, alpha)?;
    in_sync(pair, alpha)?;
    say.line(&format!("beta is in sync: {}", resynced(pair, alpha)?));

    let mut book = Book::default();
    say.line("a client writes on alpha: 32 requests in flight, a flush after every 100 writes, reads in between");
    let killed = killed_under_load(plan, say, pair, &mut book)?;
    let promoted = take_over(say, pair)?;
    say.line(&format!(
        "from the kill to the promotion: {:.0} ms",
        (promoted - killed).as_secs_f64() * 1000.0
    ));
    verify(say, pair, beta, &mut book)?;

    say.line("the client goes on, on beta");
    load_for(plan, say, pair, beta, &mut book, 1)?;
    pair.start(alpha)?;
    say.line("alpha is started again: it finds that it is behind");
    in_sync(pair, beta)?;
    say.line(&format!(
        "alpha is in sync again: {}",
        resynced(pair, beta)?
    ));
    verify(say, pair, beta, &mut book)?;

    if !plan.keep {
        end(say, pair)?;
    }
    say.proved(&book);
    Ok(())
}

/// Both stop in good order, and hold the same.
pub(super) fn end(say: &Teller, pair: &mut Pair) -> Result<(), Failure> {
    let message = pair.done(
        Which::Beta,
        Ask::Demote {
            resource: RESOURCE.to_owned(),
            abandon: false,
        },
    )?;
    say.line(&format!("beta is demoted: {message}"));
    pair.stop(Which::Alpha)?;
    pair.stop(Which::Beta)?;
    compare(&pair.image(Which::Alpha)?, &pair.image(Which::Beta)?)?;
    say.line("both have stopped in good order; their images are equal, byte by byte");
    Ok(())
}

fn promote(say: &Teller, pair: &Pair, which: Which) -> Result<Instant, Failure> {
    let message = pair.done(which, promote_ask())?;
    pair.until(which, "primary, and open for clients", |status| {
        status.role == Role::Primary && status.export_open
    })?;
    let now = Instant::now();
    say.line(&format!("{} is promoted: {message}", which.name()));
    Ok(now)
}

/// Waits until the only peer of `primary` has everything.
pub(super) fn in_sync(pair: &Pair, primary: Which) -> Result<Status, Failure> {
    pair.until(primary, "the peer connected and in sync", |status| {
        status.peers.iter().all(|peer| {
            peer.in_sync
                && peer.connection == ConnectionState::Established
                && peer.disk == Some(DiskState::UpToDate)
                && peer.progress.is_none()
        })
    })
}

/// A client writes on alpha until alpha is killed under it. Returns the moment of the kill.
fn killed_under_load(
    plan: &Plan,
    say: &Teller,
    pair: &mut Pair,
    book: &mut Book,
) -> Result<Instant, Failure> {
    let uri = pair.uri(Which::Alpha)?;
    let gauge = Arc::new(Gauge::default());
    let (size_blocks, seed) = (plan.size_blocks, plan.seed);
    let (ended, killed) = thread::scope(|scope| {
        let client = scope.spawn(|| load::run(&uri, book, size_blocks, seed, &gauge));
        // Somewhere in the second half of the time, derived from the seed.
        let part = 0.5 + (seed % 1000) as f64 / 2000.0;
        thread::sleep(plan.load.mul_f64(part));
        let killed = pair.kill(Which::Alpha).map(|()| Instant::now());
        (client.join(), killed)
    });
    let killed = killed?;
    match ended.map_err(|_| Failure::error("the client panicked"))?? {
        Ended::Cut(why) => say.line(&format!(
            "SIGKILL: alpha is gone in the middle of it ({why}); {} writes and {} flushes were acknowledged, {} writes have no answer",
            book.acknowledged,
            book.flushes,
            book.unanswered()
        )),
        Ended::Told => return Err(Failure::error("the client ended before alpha was killed")),
    }
    Ok(killed)
}

/// Beta is promoted, with the word that alpha is dead. Returns the moment when it was open for clients.
fn take_over(say: &Teller, pair: &Pair) -> Result<Instant, Failure> {
    let beta = Which::Beta;
    // The kernel closes the dead process's connections some time after its end.
    pair.until(beta, "it has lost alpha", |status| {
        status
            .peers
            .iter()
            .all(|peer| peer.connection == ConnectionState::Connecting)
    })?;
    match pair.try_ask(beta, promote_ask())? {
        Err(refusal) => {
            say.line(&format!(
                "promoting beta is refused, as it should be: {}",
                refusal.why
            ));
            say.line(&format!("  next: {}", refusal.next));
        }
        Ok(_) => {
            return Err(Failure::Differences(
                "beta let itself be promoted without proof that alpha was dead".to_owned(),
            ));
        }
    }
    say.line("the demo killed alpha itself and saw its process end: that is what `receipt --fenced` says");
    let message = pair.done(
        beta,
        Ask::Receipt {
            met: None,
            resource: RESOURCE.to_owned(),
            about: Some(Which::Alpha.name().to_owned()),
            kind: ReceiptWord::Fenced,
            detail: "the demo sent SIGKILL and waited for the end of the process".to_owned(),
        },
    )?;
    say.line(&format!("receipt: {message}"));
    promote(say, pair, beta)
}

/// A client writes for the planned time and ends well.
pub(super) fn load_for(
    plan: &Plan,
    say: &Teller,
    pair: &Pair,
    which: Which,
    book: &mut Book,
    round: u64,
) -> Result<(), Failure> {
    let uri = pair.uri(which)?;
    let gauge = Gauge::default();
    let (size_blocks, seed) = (plan.size_blocks, plan.seed.wrapping_add(round));
    let ended = thread::scope(|scope| {
        let client = scope.spawn(|| load::run(&uri, book, size_blocks, seed, &gauge));
        thread::sleep(plan.load / 2);
        gauge.stop.store(true, Ordering::Relaxed);
        client.join()
    });
    match ended.map_err(|_| Failure::error("the client panicked"))?? {
        Ended::Told => {
            say.line(&format!(
                "{} more writes and {} flushes were acknowledged",
                gauge.writes.load(Ordering::Relaxed),
                gauge.flushes.load(Ordering::Relaxed)
            ));
            Ok(())
        }
        Ended::Cut(why) => Err(Failure::Error(format!("the client was cut off: {why}"))),
    }
}

/// Every acknowledged write must be there.
pub(super) fn verify(
    say: &Teller,
    pair: &Pair,
    which: Which,
    book: &mut Book,
) -> Result<(), Failure> {
    let verdict = load::check(&pair.uri(which)?, book)?;
    let Verdict {
        blocks,
        unanswered_there,
        unanswered_missing,
        wrong,
    } = verdict;
    if !wrong.is_empty() {
        let shown: Vec<&str> = wrong.iter().take(20).map(String::as_str).collect();
        return Err(Failure::Differences(format!(
            "{} of {blocks} blocks on {} are not as acknowledged:\n  {}",
            wrong.len(),
            which.name(),
            shown.join("\n  ")
        )));
    }
    let open = match unanswered_there + unanswered_missing {
        0 => String::new(),
        _ => format!(
            " (of the blocks without an answer {unanswered_there} were written, {unanswered_missing} were not: both are right)"
        ),
    };
    say.line(&format!(
        "all {blocks} blocks that were written are read on {}: every acknowledged write is there{open}",
        which.name()
    ));
    Ok(())
}

/// What the last resync moved, from the event log.
pub(super) fn resynced(pair: &Pair, source: Which) -> Result<String, Failure> {
    let events = pair.events(source)?;
    let ended = events
        .iter()
        .rev()
        .find(|line| line.event.get("event").and_then(Value::as_str) == Some("resync-ended"));
    let Some(ended) = ended else {
        return Ok("nothing had to be moved".to_owned());
    };
    let bytes = |field: &str| {
        let blocks = ended.event.get(field).and_then(Value::as_u64).unwrap_or(0);
        Bytes(blocks * BLOCK_BYTES as u64)
    };
    Ok(format!(
        "{} moved, {} compared and found equal, of {}",
        bytes("sent-blocks"),
        bytes("equal-blocks"),
        Bytes(pair.status(source)?.size_bytes),
    ))
}

fn compare(one: &Path, other: &Path) -> Result<(), Failure> {
    let mut files = (
        fs::File::open(one).map_err(Failure::at(one))?,
        fs::File::open(other).map_err(Failure::at(other))?,
    );
    let mut buffers = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0_u64;
    loop {
        let read = fill(&mut files.0, &mut buffers.0).map_err(Failure::at(one))?;
        let also = fill(&mut files.1, &mut buffers.1).map_err(Failure::at(other))?;
        let (left, right) = (buffers.0.get(..read), buffers.1.get(..also));
        if left != right {
            let pairs = buffers.0.iter().zip(&buffers.1);
            let differs = pairs.take_while(|(left, right)| left == right).count();
            return Err(Failure::Differences(format!(
                "{} and {} differ at byte {}",
                one.display(),
                other.display(),
                at + differs as u64
            )));
        }
        if read == 0 {
            return Ok(());
        }
        at += read as u64;
    }
}

fn fill(file: &mut fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn promote_ask() -> Ask {
    Ask::Promote {
        resource: RESOURCE.to_owned(),
        force: None,
    }
}

/// Prints what happens, with the time since the beginning.
pub(super) struct Teller {
    since: Instant,
}

impl Teller {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
        }
    }

    pub(super) fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "[{:7.3} s] {text}", self.since.elapsed().as_secs_f64());
        let _ = out.flush();
    }

    pub(super) fn proved(&self, book: &Book) {
        self.line(&format!(
            "PROVED: {} acknowledged writes and {} flushes outlived the death of their primary; none was lost",
            book.acknowledged, book.flushes
        ));
    }

    fn leave(&self, pair: &mut Pair, scratch: &Scratch) -> Result<(), Failure> {
        let uri = pair.uri_text(Which::Beta)?;
        let config = pair.config.path.display().to_string();
        let pids: Vec<String> = pair.leave_running().iter().map(u32::to_string).collect();
        out::say!(
            "\nThe pair stays: beta is primary. Try:\n\
             \n  export TWINDISK_CONFIG={config}\
             \n  twindisk status --node beta\
             \n  twindisk top --node beta\
             \n  nbdinfo '{uri}'\
             \n  qemu-io -f raw -c 'write 0 1M' '{uri}'\
             \n  twindisk switchover --node beta\
             \n  twindisk events --node beta --follow\
             \n\nTo end it:\n\n  kill {} && rm -r {}",
            pids.join(" "),
            scratch.path.display()
        );
        Ok(())
    }
}

/// The folder of the demo; removed at the end unless it is to stay.
struct Scratch {
    path: PathBuf,
    temporary: std::cell::RefCell<Option<tempfile::TempDir>>,
}

impl Scratch {
    fn new(plan: &Plan) -> Result<Self, Failure> {
        if let Some(dir) = &plan.dir {
            fs::create_dir_all(dir).map_err(Failure::at(dir))?;
            let path = fs::canonicalize(dir).map_err(Failure::at(dir))?;
            return Ok(Self {
                path,
                temporary: None.into(),
            });
        }
        let temporary = tempfile::Builder::new()
            .prefix("twindisk-demo-")
            .tempdir()
            .map_err(Failure::error)?;
        Ok(Self {
            path: temporary.path().to_owned(),
            temporary: Some(temporary).into(),
        })
    }

    fn keep_for_inspection(&self) {
        self.keep_for_use();
        out::err!(
            "disks and logs are kept for inspection in {}",
            self.path.display()
        );
    }

    fn keep_for_use(&self) {
        if let Some(temporary) = self.temporary.borrow_mut().take() {
            let _ = temporary.keep();
        }
    }
}
