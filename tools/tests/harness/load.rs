//! A client that writes, zeroes, trims, flushes and reads with many requests in flight, and enters all in a book.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use twindisk_nbd::{
    Command, Cookie,
    client::{Answer, Client, ClientError, ConnectOptions, Uri},
};

use super::{
    book::{BLOCK, Book, Change, Loss, Range, Verdict, Which, payload},
    random::Random,
};

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its choices derive from this.
    pub(crate) seed: u64,
    /// Requests in flight.
    pub(crate) depth: usize,
    /// It stays within these blocks.
    pub(crate) blocks: Range,
    /// The most blocks of one request.
    pub(crate) most: u64,
    /// Flushes, in a hundred requests.
    pub(crate) flushes: u64,
}

impl Plan {
    /// Everything in the mixture that a filesystem would make, over so many bytes.
    pub(crate) const fn over(size: u64, seed: u64) -> Self {
        Self {
            seed,
            depth: 16,
            blocks: Range {
                first: 0,
                count: size / BLOCK as u64,
            },
            most: 16,
            flushes: 2,
        }
    }
}

/// What others see of running clients, and how they stop them.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Acknowledged changes.
    pub(crate) changes: AtomicU64,
    /// Acknowledged flushes.
    pub(crate) flushes: AtomicU64,
    /// Finish what is in flight and end.
    pub(crate) stop: AtomicBool,
}

/// How a client ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to, and everything was answered.
    Told,
    /// The connection broke.
    Cut(String),
}

/// Runs until told to stop or cut off. An answer that is an error, or a read that is wrong, panics.
pub(crate) fn run(uri: &Uri, plan: &Plan, book: &Mutex<Book>, gauge: &Gauge) -> Ended {
    let client = match Client::connect(uri, &options()) {
        Ok(client) => client,
        Err(error) => return Ended::Cut(error.to_string()),
    };
    let mut load = Load {
        client,
        plan,
        book,
        gauge,
        random: Random::new(plan.seed),
        in_flight: HashMap::new(),
    };
    loop {
        while !gauge.stop.load(Ordering::Relaxed) && load.in_flight.len() < plan.depth {
            match load.submit_one() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Ended::Cut(error.to_string()),
            }
        }
        if load.in_flight.is_empty() {
            return Ended::Told;
        }
        if let Err(error) = load.receive_one() {
            return Ended::Cut(error.to_string());
        }
    }
}

/// Reads every touched block and compares; panics when anything is lost.
pub(crate) fn check(uri: &Uri, book: &Mutex<Book>, loss: Loss) -> Verdict {
    check_blocks(uri, book, loss, Which::All)
}

/// The same for blocks that were touched since they were compared last.
pub(crate) fn check_recent(uri: &Uri, book: &Mutex<Book>, loss: Loss) -> Verdict {
    check_blocks(uri, book, loss, Which::Recent)
}

fn check_blocks(uri: &Uri, book: &Mutex<Book>, loss: Loss, which: Which) -> Verdict {
    let mut client = Client::connect(uri, &options()).expect("connecting to check");
    let mut book = book.lock().expect("no client panicked");
    let mut verdict = Verdict::default();
    let touched = book.touched(which);
    let size = client.info().size_bytes;
    for window in touched.chunk_by(|one, next| one / WINDOW == next / WINDOW) {
        let first = window[0] / WINDOW * WINDOW;
        let bytes = (size - first * BLOCK as u64).min(WINDOW * BLOCK as u64);
        let mut data = vec![0; usize::try_from(bytes).expect("64 bits")];
        client
            .read(first * BLOCK as u64, &mut data)
            .expect("reading to check");
        for &block in window {
            let at = usize::try_from(block - first).expect("64 bits") * BLOCK;
            book.check(block, &data[at..at + BLOCK], loss, &mut verdict);
        }
    }
    client.disconnect().expect("saying goodbye");
    let shown: Vec<&str> = verdict.wrong.iter().take(20).map(String::as_str).collect();
    assert!(
        verdict.wrong.is_empty(),
        "{} of {} blocks are not as promised ({loss:?} may be lost), after {} acknowledged changes and {} flushes:\n  {}",
        verdict.wrong.len(),
        verdict.blocks,
        book.acknowledged(),
        book.flushes(),
        shown.join("\n  ")
    );
    verdict
}

/// Sends again what a lost connection left without an answer, as a client does that lives on.
pub(crate) fn send_again(uri: &Uri, book: &Mutex<Book>) -> u64 {
    let mut client = Client::connect(uri, &options()).expect("connecting to send again");
    let mut book = book.lock().expect("no client panicked");
    let unanswered = book.take_unanswered();
    for (range, change) in &unanswered {
        book.begin(*range, *change);
        let length = range.length();
        let sent = match change {
            Change::Write(version) => client.write(
                range.offset(),
                &payload(*range, *version),
                twindisk_nbd::client::Fua::No,
            ),
            Change::Zero => client.write_zeroes(
                range.offset(),
                length,
                twindisk_nbd::client::Zeroing::default(),
            ),
            Change::Trim => client.trim(range.offset(), length, twindisk_nbd::client::Fua::No),
            Change::None => Ok(()),
        };
        sent.expect("sending again");
        book.acknowledge(*range, false);
    }
    unanswered.len() as u64
}

fn options() -> ConnectOptions {
    ConnectOptions {
        timeout: Some(Duration::from_secs(120)),
        ..ConnectOptions::default()
    }
}

/// Blocks that are read at once to check: a megabyte.
const WINDOW: u64 = 256;

struct Load<'a> {
    client: Client,
    plan: &'a Plan,
    book: &'a Mutex<Book>,
    gauge: &'a Gauge,
    random: Random,
    in_flight: HashMap<Cookie, Sent>,
}

#[derive(Clone, Copy)]
enum Sent {
    Change { range: Range, fua: bool },
    Read { range: Range },
    Flush { covers: u64 },
}

impl Load<'_> {
    /// `false`: everything is busy, nothing was sent.
    fn submit_one(&mut self) -> Result<bool, ClientError> {
        let mut book = self.book.lock().expect("no client panicked");
        if self.random.percent(self.plan.flushes) {
            let covers = book.flush_covers();
            drop(book);
            let cookie = self.client.submit(Command::Flush, 0, 0, &[])?;
            self.in_flight.insert(cookie, Sent::Flush { covers });
            return Ok(true);
        }
        let Some(range) = free_range(&mut self.random, self.plan, &book) else {
            return Ok(false);
        };
        let fua = self.random.percent(3);
        let (command, change) = match self.random.below(100) {
            0..70 => (Command::Write { fua }, Change::Write(book.new_version())),
            70..78 => {
                let no_hole = self.random.percent(50);
                let fast = false;
                (Command::WriteZeroes { fua, no_hole, fast }, Change::Zero)
            }
            78..86 => (Command::Trim { fua }, Change::Trim),
            _ => {
                let dont_fragment = self.random.percent(50);
                (Command::Read { dont_fragment }, Change::None)
            }
        };
        book.begin(range, change);
        drop(book);
        let data = match change {
            Change::Write(version) => payload(range, version),
            Change::Zero | Change::Trim | Change::None => Vec::new(),
        };
        let sent = match change {
            Change::None => Sent::Read { range },
            Change::Write(_) | Change::Zero | Change::Trim => Sent::Change { range, fua },
        };
        let cookie = self
            .client
            .submit(command, range.offset(), range.length(), &data)?;
        self.in_flight.insert(cookie, sent);
        Ok(true)
    }

    fn receive_one(&mut self) -> Result<(), ClientError> {
        let completion = self.client.receive()?;
        let sent = self
            .in_flight
            .remove(&completion.cookie)
            .expect("an answer to a request of ours");
        let answer = match completion.result {
            Ok(answer) => answer,
            // A server that is being stopped says so; nothing is promised by it.
            Err(error) if error.errno == twindisk_nbd::Errno::Shutdown => {
                return Err(ClientError::Request(error));
            }
            Err(error) => panic!("{:?}: {error}", completion.request),
        };
        let mut book = self.book.lock().expect("no client panicked");
        match (sent, answer) {
            (Sent::Change { range, fua }, _) => {
                book.acknowledge(range, fua);
                self.gauge.changes.fetch_add(1, Ordering::Relaxed);
            }
            (Sent::Flush { covers }, _) => {
                book.flushed(covers);
                self.gauge.flushes.fetch_add(1, Ordering::Relaxed);
            }
            (Sent::Read { range }, Answer::Data(data)) => {
                for (block, data) in range.blocks().zip(data.chunks_exact(BLOCK)) {
                    assert!(
                        book.may_read(block, data),
                        "a read of block {block} returned what was not there"
                    );
                }
                book.acknowledge(range, false);
            }
            (Sent::Read { range }, answer) => panic!("a read of {range:?} returned {answer:?}"),
        }
        Ok(())
    }
}

fn free_range(random: &mut Random, plan: &Plan, book: &Book) -> Option<Range> {
    (0..100).find_map(|_| {
        // Half of the requests are small, as a database's are.
        let most = if random.percent(50) { 1 } else { plan.most };
        let count = 1 + random.below(most);
        let first = plan.blocks.first + random.below(plan.blocks.count - count + 1);
        let range = Range { first, count };
        book.is_free(range).then_some(range)
    })
}
