//! A question about a register, asked of etcd: read, decide, and replace what was read if it still stands there.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tracing::{debug, error, info};
use twindisk_arbiter::{Answer, Ask, Keeper, Listed, Question, Reply, Seal, Unanswered, Version};

use crate::{
    Access, Member,
    fault::Fault,
    gateway::{Gateway, Line, Pair, Range},
    kept::{self, Place},
    limits::MAX_ROUNDS,
};

/// etcd, as it is asked for the records of one cluster.
#[derive(Debug)]
pub struct Etcd {
    gateway: Gateway,
    seal: Seal,
    /// What the cluster's keys begin with.
    prefix: String,
    /// The member that is asked first: the one that has answered last.
    first: AtomicUsize,
    /// Nothing could be written when that was tried last.
    stuck: AtomicBool,
}

/// Why there is no answer: whether what was asked for is done is not known.
#[derive(Debug)]
pub struct AskError(Vec<(String, Fault)>);

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What all of them say is said once.
        let mut rest = self.0.as_slice();
        while let Some((_, fault)) = rest.first() {
            let same = rest.iter().take_while(|(_, other)| other == fault).count();
            let (these, others) = rest.split_at(same);
            let names: Vec<&str> = these.iter().map(|(name, _)| name.as_str()).collect();
            let end = if others.is_empty() { "" } else { "; " };
            write!(f, "etcd at {} {fault}{end}", names.join(", "))?;
            rest = others;
        }
        Ok(())
    }
}

impl std::error::Error for AskError {}

/// A question about one register.
struct Errand<'q> {
    resource: &'q str,
    known: Option<Version>,
    ask: &'q Ask,
}

impl Etcd {
    /// For the cluster of that name and this seal.
    #[must_use]
    pub fn new(access: Access, cluster: &str, seal: Seal) -> Self {
        Self {
            prefix: format!("{}{cluster}/", access.prefix),
            gateway: Gateway::new(access),
            seal,
            first: AtomicUsize::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    /// The key of a resource.
    #[must_use]
    pub fn key(&self, resource: &str) -> String {
        format!("{}{resource}", self.prefix)
    }

    /// What each member says of itself, or why it does not: for people.
    #[must_use]
    pub fn members(&self, patience: Duration) -> Vec<(String, Result<Member, String>)> {
        let endpoints = self.gateway.access.endpoints.iter().enumerate();
        let asked = endpoints.filter_map(|(number, endpoint)| {
            let line = self.gateway.line(number, Instant::now() + patience)?;
            let said = line.status().map_err(|fault| fault.to_string());
            Some((endpoint.clone(), said))
        });
        asked.collect()
    }

    /// Asks one member after the other. The first one gets half of the time, so that one that hangs does not eat all of it,
    /// and one that is far away is given what it needs.
    fn ask_members<T>(
        &self,
        patience: Duration,
        ask: impl Fn(Line<'_>) -> Result<T, Fault>,
    ) -> Result<T, AskError> {
        let end = Instant::now() + patience;
        let all = self.gateway.access.endpoints.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut faults = Vec::new();
        for turn in 0..all {
            let now = Instant::now();
            let left = end.saturating_duration_since(now);
            let last = turn + 1 == all;
            let deadline = if last { end } else { now + left / 2 };
            let number = (first + turn) % all;
            let Some(line) = self.gateway.line(number, deadline) else {
                continue;
            };
            match ask(line) {
                Ok(answer) => {
                    self.first.store(number, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(fault) => {
                    debug!(endpoint = line.endpoint, %fault, "no answer");
                    faults.push((line.endpoint.to_owned(), fault));
                }
            }
        }
        // Another one has the longest time next.
        self.first
            .store((first + 1) % all.max(1), Ordering::Relaxed);
        Err(AskError(faults))
    }

    fn register(&self, line: Line<'_>, errand: &Errand<'_>) -> Result<Answer, Fault> {
        let key = self.key(errand.resource);
        let mut failed: Option<Fault> = None;
        for _ in 0..MAX_ROUNDS {
            let range = line.get(&key)?;
            let place = place(&key, errand.resource, &range);
            let pair = range.kvs.first();
            let before = kept::open(&self.seal, place, pair.map(|pair| pair.value.as_slice()));
            let (after, answer) = before.ask(errand.known, errand.ask);
            let done = matches!(answer, Answer::Done(_)) || before.doubt.is_some();
            // Whether etcd can write again is seen by writing, if only what is there.
            let tries = pair.is_some() && self.stuck.load(Ordering::Relaxed);
            if after == before && (done || !tries) {
                return Ok(answer);
            }
            if let Some(fault) = failed {
                // It is read again before that is said: etcd complains of space when it has written what took the last of it.
                return Ok(Answer::Refused {
                    why: format!("etcd at {} {fault}", line.endpoint),
                    record: before.record,
                });
            }
            let value = kept::seal(&self.seal, place, after.clone());
            match line.swap(&key, pair, &value) {
                Ok(true) => {
                    self.stuck.store(false, Ordering::Relaxed);
                    if after != before {
                        tell(errand.resource, &after);
                    }
                    return Ok(answer);
                }
                // Somebody else was quicker.
                Ok(false) => {}
                Err(fault) if fault.is_of_writing() => {
                    self.stuck.store(true, Ordering::Relaxed);
                    failed = Some(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::Crowded)
    }

    fn list(&self, line: Line<'_>) -> Result<Vec<Listed>, Fault> {
        let range = line.list(&self.prefix)?;
        let listed = range.kvs.iter().map(|Pair { key, value, .. }| {
            let key = String::from_utf8_lossy(key);
            let resource = key.strip_prefix(&self.prefix).unwrap_or(&key);
            Listed {
                resource: resource.to_owned(),
                register: kept::open(&self.seal, place(&key, resource, &range), Some(value)),
                seen: Vec::new(),
            }
        });
        Ok(listed.collect())
    }
}

impl Keeper for Etcd {
    fn ask(&self, question: Question, patience: Duration) -> Result<Reply, Unanswered> {
        match question {
            Question::Register {
                resource,
                known,
                ask,
                ..
            } => {
                let errand = Errand {
                    resource: &resource,
                    known,
                    ask: &ask,
                };
                let answer = self.ask_members(patience, |line| self.register(line, &errand))?;
                // Who else asks is not kept there: each look would be a write.
                let seen = Vec::new();
                Ok(Reply::Register { answer, seen })
            }
            Question::List => Ok(Reply::List(
                self.ask_members(patience, |line| self.list(line))?,
            )),
        }
    }
}

fn place<'p>(key: &'p str, resource: &'p str, range: &'p Range) -> Place<'p> {
    Place {
        key,
        resource,
        etcd: range.cluster_id(),
    }
}

fn tell(resource: &str, register: &twindisk_arbiter::Register) {
    if let Some(why) = &register.doubt {
        error!(%resource, %why, "the record in etcd answers no claim from now on");
    } else if let Some(record) = &register.record {
        let in_sync = &record.in_sync;
        info!(%resource, term = record.term, ?in_sync, seq = record.stamp.version.seq, "the record in etcd is set");
    }
}
