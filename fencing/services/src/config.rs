//! The services of a resource, as an operator writes them.

mod postgresql;
mod time;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::limits;

pub use postgresql::PostgreSql;

/// The services of a resource, in the order in which they start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Service>")]
pub struct Services(Vec<Service>);

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// How long its start may take.
    pub start_timeout: Duration,
    /// How long it is asked to stop before it is forced.
    pub stop_timeout: Duration,
    /// `ready`: exit status 0 says that it can be used, not only that it is up. Of a unit or a command.
    pub ready: Option<Vec<String>>,
}

/// The kinds of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `attach`: the resource as a block device of the kernel.
    Attach(PathBuf),
    /// `mount`: a filesystem.
    Mount(Mount),
    /// `unit`: a systemd unit.
    Unit(String),
    /// `name`, `start`, `stop`, `status`: commands.
    Command(Command),
    /// `postgresql`: a PostgreSQL server.
    PostgreSql(PostgreSql),
    /// `address`, `interface`: a virtual IP.
    Address(Address),
}

/// A filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: PathBuf,
    /// What, as mount(8) takes it.
    pub device: String,
    /// The filesystem's type.
    pub fstype: String,
    /// Options, as mount(8) takes them.
    pub options: Option<String>,
}

/// Commands that start, stop and look after something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name in messages and in `status`.
    pub name: String,
    /// Brings it up; exit status 0 is success.
    pub start: Vec<String>,
    /// Takes it down; exit status 0 is success, also when it was down.
    pub stop: Vec<String>,
    /// Exit status 0 is up; 1, 3 and 7 are down; anything else is unknown.
    pub status: Option<Vec<String>>,
}

/// A virtual IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// The interface that carries it.
    pub interface: String,
}

/// A service that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    attach: Option<PathBuf>,
    mount: Option<PathBuf>,
    device: Option<String>,
    r#type: Option<String>,
    options: Option<String>,
    unit: Option<String>,
    name: Option<String>,
    start: Option<Vec<String>>,
    stop: Option<Vec<String>>,
    status: Option<Vec<String>>,
    ready: Option<Vec<String>>,
    postgresql: Option<PathBuf>,
    bin: Option<PathBuf>,
    user: Option<String>,
    config_file: Option<PathBuf>,
    log: Option<PathBuf>,
    answer_timeout: Option<String>,
    address: Option<String>,
    interface: Option<String>,
    start_timeout: Option<String>,
    stop_timeout: Option<String>,
}

impl Services {
    /// Checks that the services can live beside each other in this order.
    ///
    /// # Errors
    ///
    /// Two services with one name, a mount before the attach of its device, or too many services.
    pub fn new(services: Vec<Service>) -> Result<Self, ConfigError> {
        if services.len() > limits::SERVICES {
            return bad(format!(
                "{} services: at most {} belong to one resource",
                services.len(),
                limits::SERVICES
            ));
        }
        let mut names = BTreeSet::new();
        for (index, service) in services.iter().enumerate() {
            let name = service.name();
            if !names.insert(name.clone()) {
                return bad(format!("the service {name} is there twice: remove one"));
            }
            let Kind::Mount(mount) = &service.kind else {
                continue;
            };
            let later = services.iter().skip(index);
            if later.into_iter().any(|later| later.attaches(&mount.device)) {
                return bad(format!(
                    "{name} needs {}, which is attached after it: put the attach first",
                    mount.device
                ));
            }
        }
        Ok(Self(services))
    }

    /// In the order in which they start.
    pub fn iter(&self) -> impl Iterator<Item = &Service> {
        self.0.iter()
    }

    /// What this host lacks to run them, as far as that can be seen while they are down; in words.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let servers = self.0.iter().filter_map(|service| match &service.kind {
            Kind::PostgreSql(server) => Some(server.lacks()),
            Kind::Attach(_)
            | Kind::Mount(_)
            | Kind::Unit(_)
            | Kind::Command(_)
            | Kind::Address(_) => None,
        });
        servers.flatten().collect()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Service>> for Services {
    type Error = ConfigError;

    fn try_from(services: Vec<Service>) -> Result<Self, ConfigError> {
        Self::new(services)
    }
}

impl Service {
    /// What messages and `status` call it: `mount /srv/db`, `postgresql.service`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Attach(device) => format!("attach {}", device.display()),
            Kind::Mount(mount) => format!("mount {}", mount.path.display()),
            Kind::Unit(unit) => unit.clone(),
            Kind::Command(command) => command.name.clone(),
            Kind::PostgreSql(server) => format!("postgresql {}", server.data.display()),
            Kind::Address(address) => format!("address {}", address.ip),
        }
    }

    fn attaches(&self, device: &str) -> bool {
        matches!(&self.kind, Kind::Attach(attached) if attached == Path::new(device))
    }
}

impl TryFrom<Raw> for Service {
    type Error = ConfigError;

    fn try_from(mut raw: Raw) -> Result<Self, ConfigError> {
        let start = timeout("start-timeout", raw.start_timeout.take())?;
        let stop = timeout("stop-timeout", raw.stop_timeout.take())?;
        let kind = if let Some(device) = raw.attach.take() {
            attach(device)?
        } else if let Some(path) = raw.mount.take() {
            mount(path, &mut raw)?
        } else if let Some(unit) = raw.unit.take() {
            self::unit(unit)?
        } else if let Some(data) = raw.postgresql.take() {
            postgresql::read(data, &mut raw)?
        } else if let Some(address) = raw.address.take() {
            self::address(&address, &mut raw)?
        } else if raw.name.is_some() || raw.start.is_some() {
            command(&mut raw)?
        } else {
            return bad(
                "a service needs one of `attach`, `mount`, `unit`, `postgresql`, `address`, or `name` with `start` and `stop`",
            );
        };
        let ready = match kind {
            Kind::Unit(_) | Kind::Command(_) => raw.ready.take(),
            Kind::Attach(_) | Kind::Mount(_) | Kind::PostgreSql(_) | Kind::Address(_) => None,
        };
        let usual = match kind {
            Kind::PostgreSql(_) => (limits::DATABASE_START, limits::DATABASE_STOP),
            Kind::Attach(_)
            | Kind::Mount(_)
            | Kind::Unit(_)
            | Kind::Command(_)
            | Kind::Address(_) => (limits::DEFAULT_TIMEOUT, limits::DEFAULT_TIMEOUT),
        };
        let service = Self {
            kind,
            start_timeout: start.unwrap_or(usual.0),
            stop_timeout: stop.unwrap_or(usual.1),
            ready,
        };
        if let Some(words) = &service.ready {
            runnable(&service.name(), words)?;
        }
        match raw.left() {
            Some(key) => bad(format!("`{key}` does not belong to {}", service.name())),
            None => Ok(service),
        }
    }
}

impl Raw {
    /// A key that no kind has taken.
    fn left(&self) -> Option<&'static str> {
        [
            ("mount", self.mount.is_some()),
            ("device", self.device.is_some()),
            ("type", self.r#type.is_some()),
            ("options", self.options.is_some()),
            ("unit", self.unit.is_some()),
            ("name", self.name.is_some()),
            ("start", self.start.is_some()),
            ("stop", self.stop.is_some()),
            ("status", self.status.is_some()),
            ("ready", self.ready.is_some()),
            ("postgresql", self.postgresql.is_some()),
            ("bin", self.bin.is_some()),
            ("user", self.user.is_some()),
            ("config-file", self.config_file.is_some()),
            ("log", self.log.is_some()),
            ("answer-timeout", self.answer_timeout.is_some()),
            ("address", self.address.is_some()),
            ("interface", self.interface.is_some()),
        ]
        .into_iter()
        .find_map(|(key, given)| given.then_some(key))
    }
}

fn attach(device: PathBuf) -> Result<Kind, ConfigError> {
    let number = device
        .to_str()
        .and_then(|text| text.strip_prefix("/dev/nbd"));
    match number.map(str::parse::<u32>) {
        Some(Ok(_)) => Ok(Kind::Attach(device)),
        _ => bad(format!(
            "attach: {} is no nbd device: write \"/dev/nbd0\"",
            device.display()
        )),
    }
}

fn mount(path: PathBuf, raw: &mut Raw) -> Result<Kind, ConfigError> {
    // What /proc/self/mountinfo shows is compared with it.
    let normal: PathBuf = path.components().collect();
    if !path.is_absolute() || path == Path::new("/") || normal.as_os_str() != path.as_os_str() {
        return bad(format!(
            "mount: {path:?} must be an absolute path below /, without `.`, `//` or a `/` at its end"
        ));
    }
    let about = format!("mount {}", path.display());
    let device = needed(&about, "device", raw.device.take())?;
    let fstype = needed(&about, "type", raw.r#type.take())?;
    if let Some(word) = [&device, &fstype]
        .into_iter()
        .find(|word| word.starts_with('-'))
    {
        return bad(format!("{about}: {word:?} begins like an option"));
    }
    Ok(Kind::Mount(Mount {
        path,
        device,
        fstype,
        options: raw.options.take(),
    }))
}

fn unit(unit: String) -> Result<Kind, ConfigError> {
    if unit.starts_with('-') || !unit.contains('.') || unit.contains(char::is_whitespace) {
        return bad(format!(
            "unit: {unit:?} is no unit: write its whole name, \"postgresql.service\""
        ));
    }
    Ok(Kind::Unit(unit))
}

fn command(raw: &mut Raw) -> Result<Kind, ConfigError> {
    let name = needed("a service with `start`", "name", raw.name.take())?;
    let about = format!("service {name}");
    let start = needed(&about, "start", raw.start.take())?;
    let stop = needed(&about, "stop", raw.stop.take())?;
    let status = raw.status.take();
    let commands = [Some(&start), Some(&stop), status.as_ref()];
    for words in commands.into_iter().flatten() {
        runnable(&about, words)?;
    }
    if name.trim().is_empty() || name.contains(char::is_control) {
        return bad(format!("{name:?} is no name for a service"));
    }
    Ok(Kind::Command(Command {
        name,
        start,
        stop,
        status,
    }))
}

pub(crate) fn runnable(about: &str, words: &[String]) -> Result<(), ConfigError> {
    if words.first().is_none_or(String::is_empty) {
        return bad(format!("{about}: a command without a program"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return bad(format!("{about}: a command with a NUL in it"));
    }
    Ok(())
}

fn address(text: &str, raw: &mut Raw) -> Result<Kind, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "address: {text:?} is none: write \"10.0.0.100/24\" or \"fd00::100/64\""
        ))
    };
    let (ip, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    if !(1..=longest).contains(&prefix) {
        return bad(format!(
            "address: the prefix of {text} must be 1 to {longest}"
        ));
    }
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        return bad(format!("address: {ip} is none that a client can reach"));
    }
    let interface = needed(&format!("address {ip}"), "interface", raw.interface.take())?;
    // The kernel's rule (dev_valid_name).
    if !(1..=15).contains(&interface.len())
        || interface.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace())
    {
        return bad(format!(
            "address {ip}: {interface:?} is no interface's name"
        ));
    }
    Ok(Kind::Address(Address {
        ip,
        prefix,
        interface,
    }))
}

fn needed<T>(about: &str, key: &str, given: Option<T>) -> Result<T, ConfigError> {
    given.ok_or_else(|| ConfigError(format!("{about} needs `{key}`")))
}

fn timeout(key: &str, given: Option<String>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = given else {
        return Ok(None);
    };
    let time = time::parse(&text).filter(|time| limits::TIMEOUTS.contains(time));
    if time.is_none() {
        return bad(format!(
            "{key}: {text:?} is no time from 1ms to 24h: write \"30s\" or \"2min\""
        ));
    }
    Ok(time)
}

fn bad<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(text.into()))
}

#[cfg(test)]
mod tests;
