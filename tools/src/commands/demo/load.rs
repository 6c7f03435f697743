//! A client that writes, flushes and reads with many requests in flight, and enters everything in its book.

use std::{
    collections::HashMap,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use twindisk_nbd::{
    Command, Cookie,
    client::{Answer, Client, ConnectOptions, Uri},
};

use super::book::{BLOCK_BYTES, Book, Verdict, encode, mix};
use crate::exit::Failure;

/// Requests in flight.
const DEPTH: usize = 32;

/// Largest write in blocks.
const MOST_BLOCKS: u64 = 16;

/// One flush after so many writes.
const WRITES_PER_FLUSH: u64 = 100;

/// What the teller of the story sees of a running client.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Acknowledged writes.
    pub(super) writes: AtomicU64,
    /// Acknowledged flushes.
    pub(super) flushes: AtomicU64,
    /// The client shall finish what is in flight and end.
    pub(super) stop: AtomicBool,
}

/// How a client ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was told to, and everything was answered.
    Told,
    /// The connection broke with requests in flight.
    Cut(String),
}

/// Writes until it is told to stop or the connection breaks.
pub(super) fn run(
    uri: &Uri,
    book: &mut Book,
    size_blocks: u64,
    seed: u64,
    gauge: &Gauge,
) -> Result<Ended, Failure> {
    let options = ConnectOptions {
        timeout: Some(Duration::from_secs(60)),
        ..ConnectOptions::default()
    };
    let client = Client::connect(uri, &options)
        .map_err(|error| Failure::Error(format!("the client cannot connect: {error}")))?;
    let mut load = Load {
        client,
        book,
        hot: hot_part(size_blocks),
        random: seed,
        in_flight: HashMap::new(),
        writes_since_flush: 0,
    };
    loop {
        let stopping = gauge.stop.load(Ordering::Relaxed);
        while !stopping && load.in_flight.len() < DEPTH {
            if let Err(error) = load.submit_one() {
                return Ok(Ended::Cut(error));
            }
        }
        if load.in_flight.is_empty() {
            return Ok(Ended::Told);
        }
        match load.receive_one(gauge) {
            Ok(()) => {}
            Err(Trouble::Cut(why)) => return Ok(Ended::Cut(why)),
            Err(Trouble::Wrong(failure)) => return Err(failure),
        }
    }
}

/// Reads every block of the book and compares.
pub(super) fn check(uri: &Uri, book: &mut Book) -> Result<Verdict, Failure> {
    let mut client = Client::connect(uri, &ConnectOptions::default())
        .map_err(|error| Failure::Error(format!("the client cannot connect: {error}")))?;
    let mut verdict = Verdict::default();
    let mut asked = book.touched().into_iter();
    let mut in_flight: HashMap<Cookie, u64> = HashMap::new();
    loop {
        for block in asked.by_ref().take(DEPTH - in_flight.len()) {
            let read = Command::Read {
                dont_fragment: false,
            };
            let cookie = client
                .submit(read, block * BLOCK_BYTES as u64, BLOCK_BYTES as u32, &[])
                .map_err(|error| Failure::Error(format!("reading block {block}: {error}")))?;
            in_flight.insert(cookie, block);
        }
        if in_flight.is_empty() {
            break;
        }
        let completion = client.receive().map_err(Failure::error)?;
        let block = in_flight.remove(&completion.cookie).unwrap_or_default();
        match completion.result {
            Ok(Answer::Data(data)) => book.check(block, &data, &mut verdict),
            other => {
                return Err(Failure::Error(format!("reading block {block}: {other:?}")));
            }
        }
    }
    client.disconnect().map_err(Failure::error)?;
    Ok(verdict)
}

/// An eighth of the device: like a database's, the client's writes are not spread evenly, so that a resync after a
/// crash is seen to move the busy part only.
const fn hot_part(size_blocks: u64) -> Range<u64> {
    let start = size_blocks / 2;
    start..start + size_blocks / 8
}

struct Load<'b> {
    client: Client,
    book: &'b mut Book,
    /// Where it writes: the busy part of the device.
    hot: Range<u64>,
    random: u64,
    in_flight: HashMap<Cookie, Sent>,
    writes_since_flush: u64,
}

#[derive(Clone, Copy)]
enum Sent {
    Write { first: u64, count: u64 },
    Flush { covers: u64 },
    Read { block: u64, oldest: u64 },
}

enum Trouble {
    Cut(String),
    Wrong(Failure),
}

impl Load<'_> {
    fn submit_one(&mut self) -> Result<(), String> {
        if self.writes_since_flush >= WRITES_PER_FLUSH {
            self.writes_since_flush = 0;
            let covers = self.book.flush_issued();
            return self.submit(Command::Flush, (0, 0), &[], Sent::Flush { covers });
        }
        let Some((first, count)) = self.free_range() else {
            return Ok(());
        };
        if self.next_random().is_multiple_of(8) {
            let oldest = self.book.read_issued(first);
            let read = Command::Read {
                dont_fragment: false,
            };
            return self.submit(
                read,
                (first, 1),
                &[],
                Sent::Read {
                    block: first,
                    oldest,
                },
            );
        }
        let version = self.book.issue(first, count);
        let mut data = vec![0; BLOCK_BYTES * usize::try_from(count).unwrap_or(0)];
        for (block, out) in (first..).zip(data.chunks_exact_mut(BLOCK_BYTES)) {
            encode(block, version, out);
        }
        self.writes_since_flush += 1;
        let write = Command::Write { fua: false };
        self.submit(write, (first, count), &data, Sent::Write { first, count })
    }

    fn submit(
        &mut self,
        command: Command,
        (first, count): (u64, u64),
        data: &[u8],
        sent: Sent,
    ) -> Result<(), String> {
        let block = BLOCK_BYTES as u64;
        let length = u32::try_from(count * block).unwrap_or(u32::MAX);
        let cookie = self
            .client
            .submit(command, first * block, length, data)
            .map_err(|error| error.to_string())?;
        self.in_flight.insert(cookie, sent);
        Ok(())
    }

    fn receive_one(&mut self, gauge: &Gauge) -> Result<(), Trouble> {
        let completion = self
            .client
            .receive()
            .map_err(|error| Trouble::Cut(error.to_string()))?;
        let Some(sent) = self.in_flight.remove(&completion.cookie) else {
            return Err(Trouble::Wrong(Failure::error("an answer to nothing came")));
        };
        let answer = match completion.result {
            Ok(answer) => answer,
            // An error is no acknowledgement: the server is on its way out.
            Err(error) => return Err(Trouble::Cut(error.to_string())),
        };
        match (sent, answer) {
            (Sent::Write { first, count }, _) => {
                self.book.acknowledge(first, count);
                gauge.writes.fetch_add(1, Ordering::Relaxed);
            }
            (Sent::Flush { covers }, _) => {
                self.book.flush_acknowledged(covers);
                gauge.flushes.fetch_add(1, Ordering::Relaxed);
            }
            (Sent::Read { block, oldest }, Answer::Data(data)) => {
                if !self.book.may_read(block, oldest, &data) {
                    return Err(Trouble::Wrong(Failure::Differences(format!(
                        "a read of block {block} returned neither the acknowledged write nor one in flight"
                    ))));
                }
            }
            (Sent::Read { .. }, _) => {
                return Err(Trouble::Wrong(Failure::error("a read came without data")));
            }
        }
        Ok(())
    }

    /// A random run of blocks that no write is in flight to.
    fn free_range(&mut self) -> Option<(u64, u64)> {
        (0..16).find_map(|_| {
            let random = self.next_random();
            // Half of the writes are one block, as a database's are.
            let count = if random.is_multiple_of(2) {
                1
            } else {
                1 + (random >> 8) % MOST_BLOCKS
            };
            let first = self.hot.start + (random >> 16) % (self.hot.end - self.hot.start - count);
            self.book.is_free(first, count).then_some((first, count))
        })
    }

    fn next_random(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }
}
