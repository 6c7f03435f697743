//! How a service is, and what is being done about it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::time::Instant;

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "why", rename_all = "kebab-case")]
pub enum ServiceState {
    /// Up.
    Up,
    /// Down, for certain.
    Down,
    /// Neither for certain, and why.
    Unknown(String),
    /// There, and of no use before it is stopped and started again; why, in words that stay the same.
    Failed(String),
}

/// A line of `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub service: String,
    /// How it is.
    #[serde(flatten)]
    pub state: ServiceState,
}

/// A service that should be up and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name, and why where that is not plain.
    pub what: String,
    /// Nobody but this program starts it again. (A unit or a command may be in the middle of a restart of its own.)
    pub for_good: bool,
}

/// Whether requests to the device are answered, as whoever serves it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// They are.
    Flows,
    /// They wait, and so do its users.
    Waits,
}

/// What a stack is at work on, for whoever asks while it is.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<Work>>>);

#[derive(Debug)]
struct Work {
    what: String,
    waits_for: Option<String>,
    since: Instant,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down => f.write_str("down"),
            Self::Unknown(why) => write!(f, "in an unknown state: {why}"),
            Self::Failed(why) => write!(f, "of no use: {why}"),
        }
    }
}

impl Progress {
    /// Which service starts or stops at this moment, for how long, and what it waits for where that is known. `None`: none.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let work = work.as_ref()?;
        let waits_for = work.waits_for.as_ref();
        let waits_for = waits_for.map_or(String::new(), |what| format!(": {what}"));
        let seconds = work.since.elapsed().as_secs();
        Some(format!("{}, for {seconds} s{waits_for}", work.what))
    }

    /// Work on a service begins; it ends when what is returned is dropped.
    pub(crate) fn begin(&self, what: String) -> AtWork {
        self.set(Some(Work {
            what,
            waits_for: None,
            since: Instant::now(),
        }));
        AtWork(self.clone())
    }

    /// What that work waits for.
    pub(crate) fn waits_for(&self, what: &str) {
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = work.as_mut() {
            work.waits_for = Some(what.to_owned());
        }
    }

    fn set(&self, work: Option<Work>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = work;
    }
}

/// A service is worked on as long as this lives.
#[derive(Debug)]
pub(crate) struct AtWork(Progress);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
