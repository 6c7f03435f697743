//! A PostgreSQL server: up means that a client can connect, down means that no process of it is left.

mod cluster;
mod folder;
mod lock;

use std::{
    cell::Cell,
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, geteuid},
};
use tokio::time::{Instant, sleep};

use self::{cluster::Cluster, folder::Folder, lock::Lock};
use super::Step;
use crate::{
    aside::Aside,
    config,
    error::Problem,
    limits,
    process::{self, Environment},
    processes::{self, Pick, User},
    stack::Host,
    state::{Io, Progress, ServiceState},
};

#[derive(Debug)]
pub(crate) struct PostgreSql {
    config: config::PostgreSql,
    log: PathBuf,
    progress: Progress,
    /// Since when it has answered nobody.
    silent: Cell<Option<Instant>>,
    /// The postmaster, as the last look has seen it.
    postmaster: Cell<Option<lock::Process>>,
    asides: Asides,
}

/// What may never be answered, each beside the others: an own disk that is dead must not keep its users from being ended.
#[derive(Debug, Default)]
struct Asides {
    disk: Aside,
    scans: Aside,
    /// A process that has the number of a dead postmaster, wherever it works.
    stranger: Aside,
}

/// What a server is told to do, and by which signal (pg_ctl(1), `-m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Clients are sent away, and what is dirty is written.
    Fast,
    /// Everything ends at once; the next start replays the log.
    Immediate,
}

impl PostgreSql {
    pub(super) fn new(config: &config::PostgreSql, host: &Host, progress: &Progress) -> Self {
        Self {
            log: config.log.clone().unwrap_or_else(|| {
                let usual = Path::new(LOGS);
                if usual.is_dir() {
                    usual.join(format!("twindisk-{}.log", host.resource))
                } else {
                    config.data.join("twindisk.log")
                }
            }),
            config: config.clone(),
            progress: progress.clone(),
            silent: Cell::new(None),
            postmaster: Cell::new(None),
            asides: Asides::default(),
        }
    }

    pub(super) async fn state(&self, step: Step<'_>) -> ServiceState {
        match self.look(step).await {
            Ok(state) => state,
            Err(problem) => ServiceState::Unknown(problem.to_string()),
        }
    }

    /// The postmaster that was there at the last look is not there any more.
    pub(super) fn has_died(&self) -> bool {
        self.postmaster.get().is_some_and(|one| !one.lives())
    }

    pub(super) async fn start(&self, step: Step<'_>) -> Result<(), Problem> {
        let cluster = self.cluster().await?;
        let found = self.processes(step).await?;
        let lock = self.lock().await?;
        let from = self.log_length().await;
        if found.is_empty() {
            self.spawn(step, &cluster, lock).await?;
        } else if !lock.is_some_and(|lock| has(&found, lock.pid)) {
            return Err(Problem::Refused(format!(
                "{} is in use by {}: two servers on one data directory would destroy it. End that first; while you work on it by \
                 hand, `twindisk agent maintenance on`",
                self.config.data.display(),
                processes::list(Some(&found))
            )));
        }
        self.until_ready(step, from, cluster.owner.uid).await
    }

    /// Fast, and immediate when little time is left.
    pub(super) async fn stop(&self, step: Step<'_>) -> Result<(), Problem> {
        let fast_until = step.until - step.left() / IMMEDIATE_SHARE;
        let mut asked = None;
        loop {
            let found = self.processes(step).await?;
            if found.is_empty() {
                return Ok(());
            }
            let mode = if Instant::now() < fast_until {
                Mode::Fast
            } else {
                Mode::Immediate
            };
            if asked != Some(mode) {
                match self.lock().await? {
                    Some(lock) if has(&found, lock.pid) => {
                        tell(Pid::from_raw(lock.pid), mode, asked.is_some());
                        asked = Some(mode);
                    }
                    // What is left without a postmaster takes no order.
                    Some(_) if asked.is_none() => return Err(self.busy(Some(&found))),
                    // It begins, or is about to be gone.
                    Some(_) | None => {}
                }
            }
            self.progress.waits_for(match mode {
                Mode::Fast => "asked to stop (fast)",
                Mode::Immediate => "told to stop at once (immediate)",
            });
            if step.left().is_zero() {
                return Ok(());
            }
            sleep(limits::POLL.min(step.left())).await;
        }
    }

    /// Kills every process of it, each by itself: the server's processes have sessions of their own.
    pub(super) async fn force(&self, step: Step<'_>) -> Result<(), Problem> {
        let left = processes::end(&self.asides.scans, &self.pick(step), false, step.until).await;
        match left {
            Some(left) if left.is_empty() => Ok(()),
            left => Err(self.busy(left.as_deref())),
        }
    }

    async fn look(&self, step: Step<'_>) -> Result<ServiceState, Problem> {
        let found = self.processes(step).await?;
        self.postmaster.set(None);
        if found.is_empty() {
            self.silent.set(None);
            return Ok(ServiceState::Down);
        }
        let Some(lock) = self.lock().await? else {
            let what = "its processes have no postmaster.pid: it begins, or ends";
            return Ok(ServiceState::Unknown(what.to_owned()));
        };
        if lock.pid < 0 {
            let what = "a single-user server has the data directory";
            return Ok(ServiceState::Unknown(what.to_owned()));
        }
        if !has(&found, lock.pid) {
            // Whether they ever end by themselves nobody knows, and no server starts beside them.
            let what = "its postmaster is gone, and other processes of it are left";
            return Ok(ServiceState::Failed(what.to_owned()));
        }
        self.postmaster.set(lock::Process::of(lock.pid));
        self.ask(&lock, step.io).await
    }

    /// Asks as a client would (pg_isready(1)), once it says of itself that it is ready: until then the question takes time from
    /// the recovery.
    async fn ask(&self, lock: &Lock, io: Io) -> Result<ServiceState, Problem> {
        let starts = || Ok(ServiceState::Unknown(STARTS.to_owned()));
        if lock.status == "starting" {
            self.silent.set(None);
            return starts();
        }
        let (Some(host), Some(port)) = (&lock.host, lock.port) else {
            // It listens nowhere, or has not come so far.
            return if lock.status.is_empty() {
                starts()
            } else {
                Ok(ServiceState::Up)
            };
        };
        let cluster = self.cluster().await?;
        let seconds = limits::ONE_ANSWER.as_secs().to_string();
        let words = [
            &*cluster.bin.join("pg_isready").to_string_lossy(),
            "--quiet",
            "--timeout",
            &seconds,
            "--host",
            host,
            "--port",
            &port.to_string(),
            // The server logs names that it does not know.
            "--username",
            &cluster.owner.name,
            "--dbname",
            "postgres",
        ]
        .map(str::to_owned);
        let words = as_owner(&cluster, words.to_vec())?;
        let begun = Instant::now();
        // Not with the marks of the service: it is no process of it.
        let environment = Environment(Vec::new());
        // Whole, also when less is left of a start: an answer that was not waited for is no silence.
        let answer = match process::run(&words, &environment, limits::STATUS).await {
            Ok(finished) => finished.status.code(),
            Err(Problem::TimedOut { .. }) => Some(NO_RESPONSE),
            Err(problem) => return Err(problem),
        };
        if answer != Some(NO_RESPONSE) {
            self.silent.set(None);
        }
        Ok(match answer {
            Some(0) => ServiceState::Up,
            Some(REJECTS) => ServiceState::Unknown(match &*lock.status {
                "stopping" => "it shuts down".to_owned(),
                _ => STARTS.to_owned(),
            }),
            // It may wait for its disk: whether it answers is seen when that does.
            Some(NO_RESPONSE) if io == Io::Waits => {
                self.silent.set(None);
                ServiceState::Unknown("it lives, and its disk does not answer".to_owned())
            }
            Some(NO_RESPONSE) => {
                let since = self.silent.get().unwrap_or(begun);
                self.silent.set(Some(since));
                let patience = self.config.answer_timeout;
                if since.elapsed() >= patience {
                    ServiceState::Failed(format!("it has answered nobody for {patience:?}"))
                } else {
                    ServiceState::Unknown("it lives, and does not answer".to_owned())
                }
            }
            other => ServiceState::Unknown(format!(
                "pg_isready could not ask it (exit status {other:?})"
            )),
        })
    }

    /// In the background, in a session of its own, as the owner of the data directory.
    async fn spawn(
        &self,
        step: Step<'_>,
        cluster: &Cluster,
        lock: Option<Lock>,
    ) -> Result<(), Problem> {
        let data = self.config.data.display().to_string();
        let mut words: Vec<String> = [
            "/bin/sh",
            "-c",
            BACKGROUND,
            "sh",
            &*self.log.to_string_lossy(),
            &data,
            &*cluster.bin.join("postgres").to_string_lossy(),
            "-D",
            &data,
            // A configuration file may name another one, and it must be this.
            "-c",
            &format!("data_directory={data}"),
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(file) = &self.config.config_file {
            words.extend(["-c".to_owned(), format!("config_file={}", file.display())]);
        }
        let words = as_owner(cluster, words)?;
        let mut environment = step.environment.clone();
        environment.0.extend([
            ("HOME", cluster.owner.home.display().to_string()),
            ("USER", cluster.owner.name.clone()),
            ("LOGNAME", cluster.owner.name.clone()),
        ]);
        if geteuid().is_root() {
            // The agent is spared when memory is short. So is the postmaster then, as its manual wants it, and not the rest.
            environment.0.extend([
                ("PG_OOM_ADJUST_FILE", "/proc/self/oom_score_adj".to_owned()),
                ("PG_OOM_ADJUST_VALUE", "0".to_owned()),
            ]);
        }
        if let Some(lock) = self.stale(lock).await {
            // Left by a server on another host, or before a crash. No server starts while the process that its lock file names
            // seems to live, unless that is its grandparent, which is how pg_ctl(1) tells it of a number that means nothing.
            // Whether shared memory of an earlier server is in use it looks all the same.
            environment
                .0
                .push(("PG_GRANDPARENT_PID", lock.pid.to_string()));
        }
        process::succeed(&words, &environment, step.left()).await?;
        Ok(())
    }

    /// Waits until a client can connect, which may be long after it has begun: it replays its log.
    async fn until_ready(&self, step: Step<'_>, from: u64, server: Uid) -> Result<(), Problem> {
        let begun = Instant::now();
        let within = Duration::from_secs_f64(step.left().as_secs_f64().ceil());
        let mut was_down = false;
        loop {
            let state = self.state(step).await;
            let is_down = state == ServiceState::Down;
            let last = match state {
                ServiceState::Up => {
                    let took = begun.elapsed();
                    tracing::info!(data = %self.config.data.display(), ?took, "a client can connect");
                    return Ok(());
                }
                // Two looks: a process that becomes another program may be missed by one.
                ServiceState::Down if was_down => return Err(self.ended(from, server).await),
                ServiceState::Down => "it has ended".to_owned(),
                ServiceState::Unknown(why) | ServiceState::Failed(why) => why,
            };
            was_down = is_down;
            self.progress.waits_for(&last);
            if step.left().is_zero() {
                return Err(Problem::NotReady { within, last });
            }
            sleep(limits::POLL.min(step.left())).await;
        }
    }

    async fn cluster(&self) -> Result<Cluster, Problem> {
        let config = self.config.clone();
        self.aside(move || Cluster::look(&config)).await?
    }

    async fn lock(&self) -> Result<Option<Lock>, Problem> {
        let data = self.config.data.clone();
        self.aside(move || Lock::read(&data)).await?
    }

    /// The lock, if its number certainly means nothing here. Where that can't be seen the server is told nothing.
    async fn stale(&self, lock: Option<Lock>) -> Option<Lock> {
        let (lock, data) = (lock?, self.config.data.clone());
        let asked = lock.clone();
        let is_stale = move || asked.is_stale(&data);
        let answer = self.asides.stranger.ask(limits::SCAN, is_stale).await;
        (answer == Some(true)).then_some(lock)
    }

    /// Every process of it that is left.
    async fn processes(&self, step: Step<'_>) -> Result<Vec<User>, Problem> {
        let found = processes::find(&self.asides.scans, &self.pick(step)).await;
        found.ok_or_else(|| self.busy(None))
    }

    fn pick(&self, step: Step<'_>) -> Pick {
        Pick::Working {
            program: "postgres",
            folder: self.config.data.clone(),
            marks: step.environment.marks(),
        }
    }

    fn busy(&self, users: Option<&[User]>) -> Problem {
        Problem::Busy {
            what: self.config.data.display().to_string(),
            users: processes::list(users),
        }
    }

    async fn ended(&self, from: u64, server: Uid) -> Problem {
        let log = self.log.clone();
        let said = self.aside(move || tail(&log, from, server)).await;
        Problem::Ended {
            log: self.log.display().to_string(),
            output: said.ok().flatten().unwrap_or_default(),
        }
    }

    async fn log_length(&self) -> u64 {
        let log = self.log.clone();
        let length = self.aside(move || fs::symlink_metadata(log)).await;
        length.map_or(0, |file| file.map_or(0, |file| file.len()))
    }

    /// A question that its disk may leave without an answer.
    async fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let answer = self.asides.disk.ask(limits::SCAN, ask).await;
        answer.ok_or_else(|| {
            Problem::Refused(format!(
                "{} does not answer: does its disk?",
                self.config.data.display()
            ))
        })
    }
}

fn has(found: &[User], pid: i32) -> bool {
    found.iter().any(|user| user.pid.as_raw() == pid)
}

fn tell(postmaster: Pid, mode: Mode, is_late: bool) {
    let signal = match mode {
        Mode::Fast => Signal::SIGINT,
        Mode::Immediate => Signal::SIGQUIT,
    };
    if is_late {
        tracing::warn!(%postmaster, "PostgreSQL does not stop in its time: told to stop at once");
    }
    // It may have ended by itself.
    let _ = kill(postmaster, signal);
}

/// The command as the owner of the data directory runs it, with all groups of that user: keys may be readable by a group.
fn as_owner(cluster: &Cluster, words: Vec<String>) -> Result<Vec<String>, Problem> {
    let owner = &cluster.owner;
    if geteuid() == owner.uid {
        return Ok(words);
    }
    if !geteuid().is_root() {
        return Err(Problem::Refused(format!(
            "only root or {} itself can run a server as {}: run the agent as one of them",
            owner.name, owner.name
        )));
    }
    let mut whole = vec![
        "setpriv".to_owned(),
        format!("--reuid={}", owner.uid),
        format!("--regid={}", owner.gid),
        "--init-groups".to_owned(),
        "--".to_owned(),
    ];
    whole.extend(words);
    Ok(whole)
}

/// What the server, this user, has written to its log since that had this length. The log's folder may belong to others, and
/// what they put in its place is not read.
fn tail(log: &Path, from: u64, server: Uid) -> Option<String> {
    let folder = Folder::open(log.parent()?).ok()?;
    let (mut file, about) = folder.file(Path::new(log.file_name()?), server).ok()??;
    let last = about.len().saturating_sub(limits::OUTPUT_BYTES as u64);
    file.seek(SeekFrom::Start(from.max(last))).ok()?;
    let mut bytes = Vec::new();
    file.take(limits::OUTPUT_BYTES as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The log is opened by the server's own user, whom its folder may belong to. The words are: log, data directory, command.
const BACKGROUND: &str = "cd \"$2\" && exec </dev/null >>\"$1\" 2>&1 && shift 2 && umask 077 && exec setsid --fork \"$@\"";

/// Where Debian keeps logs of servers, rotates them, and lets every server write.
const LOGS: &str = "/var/log/postgresql";

/// The last quarter of the time to stop is for the immediate mode, in which a postmaster kills what does not end within 5 s.
const IMMEDIATE_SHARE: u32 = 4;

/// Exit statuses of pg_isready(1).
const REJECTS: i32 = 1;
const NO_RESPONSE: i32 = 2;

const STARTS: &str = "in recovery: it replays its log, and rejects clients until that is done";
