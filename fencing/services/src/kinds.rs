//! The kinds of services behind one face: how each is asked, started, stopped and forced.

mod address;
mod attach;
mod command;
mod mount;
mod postgresql;
mod unit;

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    config::{Kind, Service},
    error::Problem,
    process::Environment,
    stack::Host,
    state::{Io, Progress, ServiceState},
};

/// A service of this node, with what must be remembered of it.
#[derive(Debug)]
pub(crate) enum Running {
    Attach(attach::Attach),
    Mount(mount::Mount),
    Unit(unit::Unit),
    Command(command::Command),
    PostgreSql(postgresql::PostgreSql),
    Address(address::Address),
}

/// What a step may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) environment: &'a Environment,
    /// When it must be over.
    pub(crate) until: Instant,
    /// Of what is beneath it.
    pub(crate) io: Io,
}

impl Step<'_> {
    pub(crate) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Running {
    pub(crate) fn new(service: &Service, host: &Host, progress: &Progress) -> Self {
        match &service.kind {
            Kind::Attach(device) => Self::Attach(attach::Attach::new(device, host)),
            Kind::Mount(mount) => Self::Mount(mount::Mount::new(mount, host)),
            Kind::Unit(unit) => Self::Unit(unit::Unit::new(unit, host)),
            Kind::Command(command) => Self::Command(command::Command::new(command)),
            Kind::PostgreSql(server) => {
                Self::PostgreSql(postgresql::PostgreSql::new(server, host, progress))
            }
            Kind::Address(address) => Self::Address(address::Address::new(address)),
        }
    }

    /// The word of the kernel, of systemd or of the operator's command; of our own memory only where nobody else knows.
    pub(crate) async fn state(&self, step: Step<'_>) -> ServiceState {
        match self {
            Self::Attach(attach) => attach.state(),
            Self::Mount(mount) => mount.state(),
            Self::Unit(unit) => unit.state(step).await,
            Self::Command(command) => command.state(step).await,
            Self::PostgreSql(server) => server.state(step).await,
            Self::Address(address) => address.state(),
        }
    }

    /// It is up without our doing: whatever goes with that.
    pub(crate) fn found_up(&mut self) {
        match self {
            Self::Address(address) => address.found_up(),
            Self::Attach(_)
            | Self::Mount(_)
            | Self::Unit(_)
            | Self::Command(_)
            | Self::PostgreSql(_) => {}
        }
    }

    /// It is down without our doing.
    pub(crate) fn found_down(&mut self) {
        match self {
            Self::Address(address) => address.found_down(),
            Self::Attach(_)
            | Self::Mount(_)
            | Self::Unit(_)
            | Self::Command(_)
            | Self::PostgreSql(_) => {}
        }
    }

    /// It is up: what it needs besides.
    pub(crate) async fn tend(&self, step: Step<'_>) -> Result<(), Problem> {
        match self {
            Self::Attach(attach) => attach.tend(step).await,
            Self::Mount(_)
            | Self::Unit(_)
            | Self::Command(_)
            | Self::PostgreSql(_)
            | Self::Address(_) => Ok(()),
        }
    }

    /// Nobody but this program starts it: when it is down, it has ended.
    pub(crate) const fn is_ours_alone(&self) -> bool {
        match self {
            Self::PostgreSql(_) => true,
            Self::Attach(_)
            | Self::Mount(_)
            | Self::Unit(_)
            | Self::Command(_)
            | Self::Address(_) => false,
        }
    }

    /// The process that the last look has found is gone, of a service that has one.
    pub(crate) fn has_died(&self) -> bool {
        match self {
            Self::PostgreSql(server) => server.has_died(),
            Self::Attach(_)
            | Self::Mount(_)
            | Self::Unit(_)
            | Self::Command(_)
            | Self::Address(_) => false,
        }
    }

    pub(crate) async fn start(&mut self, step: Step<'_>) -> Result<(), Problem> {
        match self {
            Self::Attach(attach) => attach.start(step).await,
            Self::Mount(mount) => mount.start(step).await,
            Self::Unit(unit) => unit.start(step).await,
            Self::Command(command) => command.start(step).await,
            Self::PostgreSql(server) => server.start(step).await,
            Self::Address(address) => address.start(),
        }
    }

    /// Asks it to stop.
    pub(crate) async fn stop(&mut self, step: Step<'_>) -> Result<(), Problem> {
        match self {
            Self::Attach(attach) => attach.stop(step).await,
            Self::Mount(mount) => mount.stop(step).await,
            Self::Unit(unit) => unit.stop(step).await,
            Self::Command(command) => command.stop(step).await,
            Self::PostgreSql(server) => server.stop(step).await,
            Self::Address(address) => address.stop(),
        }
    }

    /// Stops it against its will.
    pub(crate) async fn force(&mut self, step: Step<'_>) -> Result<(), Problem> {
        match self {
            Self::Attach(attach) => attach.force(step).await,
            Self::Mount(mount) => mount.force(step).await,
            Self::Unit(unit) => unit.force(step).await,
            Self::Command(command) => command.force(step).await,
            Self::PostgreSql(server) => server.force(step).await,
            Self::Address(address) => address.stop(),
        }
    }

    /// What to look at when it does not come up although its start worked.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Attach(_) => "see the system's log for nbd",
            Self::Mount(_) => "see the system's log for mount",
            Self::Unit(_) => {
                "see `systemctl status`; a Type=oneshot unit needs RemainAfterExit=yes to stay active"
            }
            Self::Command(_) => "its status command must exit with 0 once the start has worked",
            Self::PostgreSql(_) => "see its log",
            Self::Address(_) => "something removes the address again",
        }
    }
}
