//! The services of one resource on this node: up in order, down in reverse.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    config::Services,
    error::{Problem, StartError, StillUp, StopError},
    kinds::{Running, Step},
    limits,
    process::{self, Environment},
    state::{Ended, Io, Progress, ServiceState, ServiceStatus},
};

/// The services of one resource on this node.
///
/// Nothing here is remembered across a restart of the caller: a new stack asks each service how it is and finds what
/// is up. Starting what is up and stopping what is down does nothing.
#[derive(Debug)]
pub struct Stack {
    host: Host,
    services: Vec<Entry>,
    progress: Progress,
    /// This stack has brought all of them up, and has not stopped them since.
    started: bool,
}

/// Where the services run.
#[derive(Clone, Debug)]
pub struct Host {
    /// The cluster's name: another one may use the same host, and the same names in it.
    pub cluster: String,
    /// The resource that they belong to.
    pub resource: String,
    /// This node's name.
    pub node: String,
    /// Where this node's processes leave what others find them by.
    pub run_dir: PathBuf,
    /// The term of the role that they belong to; 0 before the first start.
    pub term: u64,
    /// What they are run with.
    pub programs: Programs,
}

/// The programs that are run. A plain name is looked up in `PATH`.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This very program with what it needs to find its configuration: `["/usr/bin/twindisk", "--config", "…"]`. The
    /// words `attach RESOURCE DEVICE` or `detach DEVICE` follow it.
    pub twindisk: Vec<String>,
    /// systemctl(1).
    pub systemctl: String,
    /// mount(8).
    pub mount: String,
    /// umount(8).
    pub umount: String,
}

/// This node's role while a command runs, as the command is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may write.
    Primary,
    /// It may not, or not any more.
    Standby,
}

#[derive(Debug)]
struct Entry {
    name: String,
    progress: Progress,
    start_timeout: Duration,
    stop_timeout: Duration,
    ready: Option<Vec<String>>,
    running: Running,
}

/// Whether a service was up before it was started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brought {
    FoundUp,
    Started,
}

impl Programs {
    /// `twindisk` as in [`Self::twindisk`], everything else by its plain name.
    #[must_use]
    pub fn new(twindisk: Vec<String>) -> Self {
        Self {
            twindisk,
            systemctl: "systemctl".to_owned(),
            mount: "mount".to_owned(),
            umount: "umount".to_owned(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

impl Stack {
    /// Looks at nothing and starts nothing.
    #[must_use]
    pub fn new(services: &Services, host: Host) -> Self {
        let progress = Progress::default();
        let services = services.iter().map(|service| Entry {
            name: service.name(),
            progress: progress.clone(),
            start_timeout: service.start_timeout,
            stop_timeout: service.stop_timeout,
            ready: service.ready.clone(),
            running: Running::new(service, &host, &progress),
        });
        Self {
            services: services.collect(),
            host,
            progress,
            started: false,
        }
    }

    /// Where they run, and for which term of the role they were started last.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// What a start or stop of this stack is at, also while it is under way.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Brings everything up, in order, for a term of the role (R17). What is up already stays as it is. But once
    /// this stack has brought all up, what stands on something that has ended since is stopped first, and started again.
    ///
    /// When the future is dropped, the command that ran is killed with its process group; what was up before stays up,
    /// for [`Self::stop`].
    ///
    /// # Errors
    ///
    /// The first service that does not come up. What this call had started, the failed service among it, is stopped
    /// again in reverse; what it had found up stays up.
    pub async fn start(&mut self, term: u64) -> Result<(), StartError> {
        self.host.term = term;
        if std::mem::take(&mut self.started) {
            self.stop_above_what_ended().await;
        }
        let mut started = Vec::new();
        for index in 0..self.services.len() {
            let Some(entry) = self.services.get_mut(index) else {
                break;
            };
            let environment = environment(&self.host, &entry.name, Role::Primary);
            match entry.bring_up(&environment).await {
                Ok(Brought::FoundUp) => {}
                Ok(Brought::Started) => started.push(index),
                Err(problem) => return Err(self.give_up(index, problem, started).await),
            }
        }
        self.started = true;
        Ok(())
    }

    /// Takes everything down, in reverse, whether this stack had started it or not. Each service is asked, and forced
    /// when it does not stop in its time. One that will not stop keeps no other from being stopped.
    ///
    /// # Errors
    ///
    /// What is not known to be down in the end. No other node may start these services before this node is fenced.
    pub async fn stop(&mut self, role: Role) -> Result<(), StopError> {
        self.started = false;
        let all = (0..self.services.len()).collect();
        let (_, still_up) = self.take_down(all, role).await;
        if still_up.is_empty() {
            Ok(())
        } else {
            Err(StopError { still_up })
        }
    }

    /// How each service is, in order. Each may take [`limits::STATUS`].
    pub async fn status(&self, role: Role) -> Vec<ServiceStatus> {
        let mut lines = Vec::with_capacity(self.services.len());
        for entry in &self.services {
            let environment = environment(&self.host, &entry.name, role);
            lines.push(ServiceStatus {
                service: entry.name.clone(),
                state: entry.state(&environment).await,
            });
        }
        lines
    }

    /// Of services that should all be up: those that are not, for certain, or are of no use. Each may take
    /// [`limits::STATUS`]. A service that has to be silent for a time before it is of no use is asked by the same stack again;
    /// its silence counts from when `io` flows.
    pub async fn ended(&self, io: Io) -> Vec<Ended> {
        let mut ended = Vec::new();
        for entry in &self.services {
            let environment = environment(&self.host, &entry.name, Role::Primary);
            let mut step = step(&environment, limits::STATUS);
            step.io = io;
            let what = match entry.running.state(step).await {
                ServiceState::Up | ServiceState::Unknown(_) => continue,
                ServiceState::Down => entry.name.clone(),
                ServiceState::Failed(why) => format!("{} ({why})", entry.name),
            };
            let for_good = entry.running.is_ours_alone();
            ended.push(Ended { what, for_good });
        }
        ended
    }

    /// Waits until a process that a service cannot do without, and which the last look has found, is gone. There may be none:
    /// then it waits for ever.
    pub async fn until_a_process_ends(&self) {
        while !self.services.iter().any(|entry| entry.running.has_died()) {
            sleep(limits::DEATH).await;
        }
    }

    /// Looks after what is up and needs somebody to: an attached device whose supervisor has died. Each service may take
    /// [`limits::STATUS`].
    pub async fn tend(&self) {
        for entry in &self.services {
            let environment = environment(&self.host, &entry.name, Role::Primary);
            let step = step(&environment, limits::STATUS);
            if let Err(problem) = entry.running.tend(step).await {
                tracing::warn!(
                    resource = self.host.resource, service = entry.name, %problem,
                    "a service can't be looked after"
                );
            }
        }
    }

    /// What stands on a service that has ended goes down, last first, if it can; what does not stop stays as it is.
    async fn stop_above_what_ended(&mut self) {
        for index in 0..self.services.len() {
            let Some(entry) = self.services.get(index) else {
                break;
            };
            let environment = environment(&self.host, &entry.name, Role::Primary);
            let ended = match entry.state(&environment).await {
                ServiceState::Down | ServiceState::Failed(_) => true,
                ServiceState::Up | ServiceState::Unknown(_) => false,
            };
            if ended {
                let above = (index + 1..self.services.len()).collect();
                self.take_down(above, Role::Primary).await;
                break;
            }
        }
    }

    /// Undoes a start whose service `failed`.
    async fn give_up(
        &mut self,
        failed: usize,
        problem: Problem,
        started: Vec<usize>,
    ) -> StartError {
        let mut service = String::new();
        let mut failed_to_stop = None;
        if let Some(entry) = self.services.get_mut(failed) {
            service.clone_from(&entry.name);
            tracing::error!(
                resource = self.host.resource, service, %problem,
                "a service did not start: what was started before it stops again"
            );
            let environment = environment(&self.host, &entry.name, Role::Primary);
            // Without looking first: it may be half up, and look down.
            failed_to_stop = entry.ask_and_force(&environment).await.err();
        }
        let (stopped, mut still_up) = self.take_down(started, Role::Primary).await;
        if let Some(problem) = failed_to_stop
            && let Some(entry) = self.services.get(failed)
            && entry
                .state(&environment(&self.host, &service, Role::Primary))
                .await
                != ServiceState::Down
        {
            still_up.insert(
                0,
                StillUp {
                    service: service.clone(),
                    problem,
                },
            );
        }
        StartError {
            service,
            problem,
            stopped,
            still_up,
        }
    }

    /// Those of `indices`, last first. Gives the names of those that were stopped, and what is still up.
    async fn take_down(&mut self, indices: Vec<usize>, role: Role) -> (Vec<String>, Vec<StillUp>) {
        let mut stopped = Vec::new();
        let mut failed = Vec::new();
        for index in indices.into_iter().rev() {
            let Some(entry) = self.services.get_mut(index) else {
                continue;
            };
            let environment = environment(&self.host, &entry.name, role);
            match entry.take_down(&environment).await {
                Ok(()) => stopped.push(entry.name.clone()),
                Err(problem) => {
                    tracing::error!(
                        resource = self.host.resource, service = entry.name, %problem,
                        "a service could not be stopped"
                    );
                    failed.push((index, problem));
                }
            }
        }
        // Forcing a mount ends its users, those among them which would not stop.
        let mut still_up = Vec::new();
        for (index, problem) in failed {
            let Some(entry) = self.services.get(index) else {
                continue;
            };
            let environment = environment(&self.host, &entry.name, role);
            let service = entry.name.clone();
            if entry.state(&environment).await == ServiceState::Down {
                stopped.push(service);
            } else {
                still_up.push(StillUp { service, problem });
            }
        }
        (stopped, still_up)
    }
}

impl Entry {
    async fn state(&self, environment: &Environment) -> ServiceState {
        self.running.state(step(environment, limits::STATUS)).await
    }

    async fn bring_up(&mut self, environment: &Environment) -> Result<Brought, Problem> {
        match self.state(environment).await {
            ServiceState::Up => {
                self.running.found_up();
                return Ok(Brought::FoundUp);
            }
            ServiceState::Failed(why) => {
                tracing::warn!(service = self.name, why, "is stopped before it is started");
                self.ask_and_force(environment).await?;
            }
            ServiceState::Down | ServiceState::Unknown(_) => {}
        }
        tracing::info!(service = self.name, "starts");
        let _at_work = self.progress.begin(format!("{} starts", self.name));
        let step = step(environment, self.start_timeout);
        self.running.start(step).await?;
        if let Some(other) = self.reaches(&ServiceState::Up, step).await {
            return Err(self.not_up(&other));
        }
        self.until_ready(step).await?;
        Ok(Brought::Started)
    }

    /// Asks its command for readiness, if it has one, until that succeeds or the time of the start is over.
    async fn until_ready(&self, step: Step<'_>) -> Result<(), Problem> {
        let Some(words) = &self.ready else {
            return Ok(());
        };
        loop {
            let within = step.left().min(limits::STATUS);
            let Err(problem) = process::succeed(words, step.environment, within).await else {
                return Ok(());
            };
            // What has ended by itself will not become ready. Unknown it may be in the middle of a restart.
            if self.state(step.environment).await == ServiceState::Down {
                return Err(self.not_up(&ServiceState::Down));
            }
            self.progress.waits_for("it is up, and not ready");
            sleep(limits::POLL.min(step.left())).await;
            if step.left().is_zero() {
                return Err(Problem::NotReady {
                    within: self.start_timeout,
                    last: problem.to_string(),
                });
            }
        }
    }

    fn not_up(&self, state: &ServiceState) -> Problem {
        Problem::NotUp {
            state: state.to_string(),
            within: self.start_timeout,
            hint: self.running.hint(),
        }
    }

    async fn take_down(&mut self, environment: &Environment) -> Result<(), Problem> {
        if self.state(environment).await == ServiceState::Down {
            self.running.found_down();
            return Ok(());
        }
        tracing::info!(service = self.name, "stops");
        self.ask_and_force(environment).await
    }

    async fn ask_and_force(&mut self, environment: &Environment) -> Result<(), Problem> {
        let _at_work = self.progress.begin(format!("{} stops", self.name));
        let asking = step(environment, self.stop_timeout);
        let asked = self.running.stop(asking).await;
        let Err(problem) = self.ends(asked, asking, self.stop_timeout).await else {
            return Ok(());
        };
        tracing::warn!(service = self.name, %problem, "does not stop when asked: forced");
        let forcing = step(environment, limits::FORCE);
        let forced = self.running.force(forcing).await;
        self.ends(forced, forcing, limits::FORCE).await
    }

    /// Whether a stop ends in the service being down. What the service says of its state counts, not what the stop did.
    async fn ends(
        &self,
        stop: Result<(), Problem>,
        step: Step<'_>,
        within: Duration,
    ) -> Result<(), Problem> {
        if let Err(problem) = stop {
            let state = self.state(step.environment).await;
            return if state == ServiceState::Down {
                Ok(())
            } else {
                Err(problem)
            };
        }
        match self.reaches(&ServiceState::Down, step).await {
            None => Ok(()),
            Some(other) => Err(Problem::NotDown {
                state: other.to_string(),
                within,
            }),
        }
    }

    /// Waits for a state; asks at least once. Gives the state that it has instead when the time is over.
    async fn reaches(&self, wanted: &ServiceState, step: Step<'_>) -> Option<ServiceState> {
        loop {
            let state = self.state(step.environment).await;
            if state == *wanted {
                return None;
            }
            if step.left().is_zero() {
                return Some(state);
            }
            sleep(limits::POLL.min(step.left())).await;
        }
    }
}

fn step(environment: &Environment, within: Duration) -> Step<'_> {
    Step {
        environment,
        until: Instant::now() + within,
        io: Io::Flows,
    }
}

/// What every command of a service finds. Some of it also marks its processes, for a forced stop.
pub(crate) fn environment(host: &Host, service: &str, role: Role) -> Environment {
    Environment(vec![
        ("TWINDISK_CLUSTER", host.cluster.clone()),
        ("TWINDISK_RESOURCE", host.resource.clone()),
        ("TWINDISK_NODE", host.node.clone()),
        ("TWINDISK_ROLE", role.to_string()),
        ("TWINDISK_SERVICE", service.to_owned()),
        ("TWINDISK_TERM", host.term.to_string()),
    ])
}
