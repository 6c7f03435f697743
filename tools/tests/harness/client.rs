//! A client that lives through everything: it connects to whoever lets it in, sends again what had no answer, and keeps
//! the book of what it was promised.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use twindisk_nbd::{
    Errno,
    client::{Client as Nbd, ClientError, ConnectOptions, Fua, Uri, Zeroing},
};

use super::{
    LOOK, PATIENCE,
    arena::SIZE,
    book::{BLOCK, Book, Change, Loss, Range, payload},
    cluster::Cluster,
    eventually,
    load::{self, Ended, Gauge, Plan},
    observer,
    random::seed,
};

/// The client.
pub(crate) struct Client {
    book: Arc<Mutex<Book>>,
    gauge: Arc<Gauge>,
    thread: Option<JoinHandle<u64>>,
}

impl Client {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        Self::of(cluster.names().map(|node| cluster.uri(node)).collect())
    }

    /// Of whichever of these serves, a device of the usual size.
    pub(crate) fn of(uris: Vec<Uri>) -> Self {
        let plan = Plan {
            // Enough to be in the middle of something, and little enough for two processors that others need, too.
            depth: 4,
            blocks: Range {
                first: observer::BLOCKS,
                count: SIZE / BLOCK as u64 - observer::BLOCKS,
            },
            ..Plan::over(SIZE, seed("TWINDISK_FAILOVER_SEED"))
        };
        let book = Arc::new(Mutex::default());
        let gauge = Arc::new(Gauge::default());
        let thread = {
            let (book, gauge) = (book.clone(), gauge.clone());
            thread::spawn(move || live(&uris, plan, &book, &gauge))
        };
        let client = Self {
            book,
            gauge,
            thread: Some(thread),
        };
        client.until_busy();
        client
    }

    /// Acknowledged changes so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.gauge.changes.load(Ordering::Relaxed)
    }

    /// Waits until it has got on from where it is now.
    pub(crate) fn until_busy(&self) {
        let now = self.acknowledged();
        let panicked = || self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        eventually("the client is busy", String::new, || {
            assert!(!panicked(), "the client has ended");
            (self.acknowledged() > now + 50).then_some(())
        });
    }

    /// Ends, and fails unless everything that was acknowledged is there. How often it had to connect.
    pub(crate) fn end(mut self, uri: &Uri) -> u64 {
        self.gauge.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        let connections = thread.join().expect("the client panicked");
        let verdict = load::check(uri, &self.book, Loss::Nothing);
        assert!(verdict.blocks > 50, "{verdict:?}");
        let book = self.book.lock().expect("the client has ended");
        println!(
            "client: {} changes and {} flushes acknowledged over {connections} connections, {} blocks compared, none lost",
            book.acknowledged(),
            book.flushes(),
            verdict.blocks
        );
        connections
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.gauge.stop.store(true, Ordering::Relaxed);
    }
}

/// Until it is told to stop; how often it connected. Any answer that is an error, or a read that is wrong, panics.
fn live(uris: &[Uri], mut plan: Plan, book: &Mutex<Book>, gauge: &Gauge) -> u64 {
    let mut connections = 0;
    loop {
        for uri in uris {
            if let Err(why) = send_again(uri, book) {
                assert!(may_come_back(&why), "an error for a client: {why}");
                thread::sleep(LOOK);
                continue;
            }
            plan.seed += 1;
            let before = gauge.changes.load(Ordering::Relaxed);
            let ended = load::run(uri, &plan, book, gauge);
            connections += u64::from(gauge.changes.load(Ordering::Relaxed) > before);
            if ended == Ended::Told {
                return connections;
            }
        }
        if gauge.stop.load(Ordering::Relaxed) {
            return connections;
        }
    }
}

/// Whether a client that lives on tries again: everything but a request that was answered with an error.
fn may_come_back(why: &ClientError) -> bool {
    match why {
        // A server that is being stopped says so; nothing is promised by it.
        ClientError::Request(error) => error.errno == Errno::Shutdown,
        _ => true,
    }
}

/// What has no answer goes out again, on a connection of its own; what gets none this time either stays in the book.
fn send_again(uri: &Uri, book: &Mutex<Book>) -> Result<(), ClientError> {
    let options = ConnectOptions {
        timeout: Some(Duration::from_secs(2)),
        ..ConnectOptions::default()
    };
    let mut client = Nbd::connect(uri, &options)?;
    client.set_timeout(Some(2 * PATIENCE))?;
    let mut book = book.lock().expect("the client did not panic");
    let unanswered = book.take_unanswered();
    let mut sent = Ok(());
    for (range, change) in unanswered {
        book.begin(range, change);
        if sent.is_err() {
            continue;
        }
        let (offset, length) = (range.offset(), range.length());
        sent = match change {
            Change::Write(version) => client.write(offset, &payload(range, version), Fua::No),
            Change::Zero => client.write_zeroes(offset, length, Zeroing::default()),
            Change::Trim => client.trim(offset, length, Fua::No),
            Change::None => Ok(()),
        };
        if sent.is_ok() {
            book.acknowledge(range, false);
        }
    }
    sent
}
