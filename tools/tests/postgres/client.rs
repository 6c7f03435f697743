//! Clients of the database: `psql`, which is libpq, through the virtual address. Each inserts one row after the other,
//! connects again by itself whatever ended its connection, and keeps the book.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    book::{Book, CLIENTS, transaction},
    harness::{LOOK, namespaces::VIRTUAL_IP},
};

/// Between two transactions of a client: the machine has other things to do, too.
const PAUSE: Duration = Duration::from_millis(5);

/// A client in the network of the clients.
pub(crate) fn psql(namespace: &str, bin: &Path) -> Command {
    // Who talks to a host that is gone hears nothing: these say how long to wait for that.
    let to = format!(
        "host={VIRTUAL_IP} connect_timeout=2 tcp_user_timeout=2000 keepalives_idle=1 keepalives_interval=1 keepalives_count=2"
    );
    psql_to(namespace, bin, &to)
}

/// The same, by another way.
pub(crate) fn psql_to(namespace: &str, bin: &Path, to: &str) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace])
        .arg(bin.join("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
        .arg(format!("user=postgres dbname=postgres {to}"));
    command
}

/// The clients, all with one book.
pub(crate) struct Clients {
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// None of them does anything yet.
    pub(crate) fn new() -> Self {
        Self {
            book: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, namespace: &str, bin: &Path) {
        for client in 0..CLIENTS {
            let one = Client {
                client,
                namespace: namespace.to_owned(),
                bin: bin.to_owned(),
                book: self.book.clone(),
                stop: self.stop.clone(),
            };
            self.threads.push(thread::spawn(move || one.live()));
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no client panicked")
    }

    /// They write no more.
    pub(crate) fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client panicked");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    client: u64,
    namespace: String,
    bin: PathBuf,
    book: Arc<Mutex<Book>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn live(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let mut psql = psql(&self.namespace, &self.bin)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("ip runs");
            self.write(&mut psql);
            let _ = psql.kill();
            let _ = psql.wait();
            thread::sleep(5 * LOOK);
        }
    }

    /// Until the connection ends, or the client.
    fn write(&self, psql: &mut Child) -> Option<()> {
        let mut to = psql.stdin.take().expect("it is a pipe");
        let mut answers = BufReader::new(psql.stdout.take().expect("it is a pipe")).lines();
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.book.lock().expect("fine").begin(self.client);
            let begun = Instant::now();
            to.write_all(transaction(self.client, n).as_bytes()).ok()?;
            // It comes after the whole transaction, or psql has ended.
            let answer = answers.next()?.ok()?;
            assert_eq!(answer, n.to_string(), "psql answers what it was not asked");
            let mut book = self.book.lock().expect("fine");
            book.acknowledge(self.client, n, begun);
            drop(book);
            thread::sleep(PAUSE);
        }
        Some(())
    }
}
