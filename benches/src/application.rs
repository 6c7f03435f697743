//! An application of one thread that writes 4 KiB after 4 KiB and notices how long each takes. When its server is gone it
//! looks for another one, and sends again what had no answer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use twindisk_nbd::client::{Client, ClientError, ConnectOptions, Fua, Uri};

use crate::{
    failure::{Failure, Result, Trying},
    statistics::quantile,
};

const BLOCK: usize = 4096;

/// One that runs.
#[derive(Debug)]
pub struct Application {
    done: Arc<Mutex<Vec<Write>>>,
    errors: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// When it was asked for, the first time.
    pub asked: Instant,
    /// How long its acknowledgement took.
    pub took: Duration,
}

/// How long writes took, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Latencies {
    /// How many.
    pub writes: usize,
    /// The middle one.
    pub p50_ms: f64,
    /// All but one of a thousand are below.
    pub p999_ms: f64,
    /// The longest.
    pub longest_ms: f64,
}

impl Application {
    /// Starts it, over the first `mib` of the device that one of these serves.
    ///
    /// # Errors
    /// When one is no NBD URI.
    pub fn start(uris: &[String], mib: u64) -> Result<Self> {
        let uris = uris.iter().map(|uri| uri.parse());
        let uris: Vec<Uri> = uris
            .collect::<std::result::Result<_, _>>()
            .trying("a URI")?;
        let done = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let errors = Arc::new(AtomicU64::new(0));
        let (book, bad, over) = (done.clone(), errors.clone(), stop.clone());
        let thread = thread::spawn(move || {
            live(
                &uris,
                mib,
                &Told {
                    done: &book,
                    errors: &bad,
                    stop: &over,
                },
            )
        });
        Ok(Self {
            done,
            errors,
            stop,
            thread,
        })
    }

    /// How many writes were answered with an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// When the last write was acknowledged.
    #[must_use]
    pub fn last(&self) -> Option<Instant> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.last().map(|write| write.asked + write.took)
    }

    /// The writes that were acknowledged after `since`.
    #[must_use]
    pub fn since(&self, since: Instant) -> Vec<Write> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let after = done.iter().filter(|write| write.asked + write.took > since);
        after.copied().collect()
    }

    /// Ends it. If its write hangs it stays behind until its server is gone.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self
            .last()
            .is_some_and(|last| last.elapsed() < Duration::from_millis(500))
        {
            let _ = self.thread.join();
        }
    }
}

impl Latencies {
    /// # Errors
    /// When there are none.
    pub fn of(writes: &[Write]) -> Result<Self> {
        let mut sorted: Vec<f64> = writes
            .iter()
            .map(|write| write.took.as_secs_f64() * 1e3)
            .collect();
        sorted.sort_by(f64::total_cmp);
        if sorted.is_empty() {
            return Err(Failure("no write was acknowledged".to_owned()));
        }
        Ok(Self {
            writes: sorted.len(),
            p50_ms: quantile(&sorted, 0.5),
            p999_ms: quantile(&sorted, 0.999),
            longest_ms: quantile(&sorted, 1.0),
        })
    }
}

struct Told<'a> {
    done: &'a Mutex<Vec<Write>>,
    errors: &'a AtomicU64,
    stop: &'a AtomicBool,
}

fn live(uris: &[Uri], mib: u64, told: &Told<'_>) {
    let blocks = (mib << 20) / BLOCK as u64;
    let data = [0xA7; BLOCK];
    let mut at = 0;
    // What was asked for and not acknowledged yet.
    let mut asked = None;
    let options = ConnectOptions {
        timeout: Some(Duration::from_secs(2)),
        ..ConnectOptions::default()
    };
    while !told.stop.load(Ordering::Relaxed) {
        for uri in uris {
            let Ok(mut client) = Client::connect(uri, &options) else {
                continue;
            };
            // A server may take any time, as long as it is there.
            if client.set_timeout(None).is_err() {
                continue;
            }
            while !told.stop.load(Ordering::Relaxed) {
                let since = *asked.get_or_insert_with(Instant::now);
                if let Err(error) = client.write(at * BLOCK as u64, &data, Fua::No) {
                    let answered = matches!(error, ClientError::Request(_));
                    told.errors
                        .fetch_add(u64::from(answered), Ordering::Relaxed);
                    break;
                }
                asked = None;
                let write = Write {
                    asked: since,
                    took: since.elapsed(),
                };
                told.done
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(write);
                at = (at + STEP) % blocks;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Scatters writes over the device: odd, so coprime to a power of two.
const STEP: u64 = 1_003;
