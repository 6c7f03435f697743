//! The fencing topology of one node as the configuration file writes it.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::{limits, options, options::Options};

/// How one node is powered off: levels, tried in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The first one that works is enough.
    pub levels: Vec<Level>,
}

/// Devices that power the node off together, as the two power switches of a node with two power supplies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Level {
    /// All must succeed.
    #[serde(deserialize_with = "devices")]
    pub devices: Vec<Device>,
}

/// One fence device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// Who speaks to it.
    pub agent: AgentName,
    /// What the device calls the node: outlet, virtual machine, slot.
    #[serde(default, deserialize_with = "plug")]
    pub plug: Option<String>,
    /// The agent's own options, by the agent's own names.
    #[serde(default)]
    pub options: Options,
    /// Deadline of one run of the agent, and of the verification after a shot.
    #[serde(default = "default_timeout", deserialize_with = "timeout")]
    pub timeout: Duration,
    /// Shots after the first failed one.
    #[serde(default = "default_retries", deserialize_with = "retries")]
    pub retries: u32,
}

/// Who speaks to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentName {
    /// A program of this name, from the search path.
    Named(String),
    /// This program.
    Path(PathBuf),
    /// A person, who confirms that the node is off.
    Manual,
}

impl Device {
    /// A device with this agent and nothing else said.
    #[must_use]
    pub fn new(agent: AgentName) -> Self {
        Self {
            agent,
            plug: None,
            options: Options::default(),
            timeout: limits::DEFAULT_TIMEOUT,
            retries: limits::DEFAULT_RETRIES,
        }
    }
}

/// As reports call the device: its agent and plug.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plug {
            Some(plug) => write!(f, "{} (plug {plug})", self.agent),
            None => write!(f, "{}", self.agent),
        }
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Manual => f.write_str(MANUAL),
        }
    }
}

impl<'de> Deserialize<'de> for Topology {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let levels = Vec::<Level>::deserialize(deserializer)?;
        if levels.is_empty() || levels.len() > limits::MAX_LEVELS {
            return Err(de::Error::custom(format!(
                "{} fencing levels: write 1 to {}",
                levels.len(),
                limits::MAX_LEVELS
            )));
        }
        Ok(Self { levels })
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == MANUAL {
            return Ok(Self::Manual);
        }
        if text.starts_with('/') {
            return Ok(Self::Path(text.into()));
        }
        let well_formed = !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !well_formed {
            return Err(de::Error::custom(format!(
                "{text:?} is no fence agent: write its name (\"fence_ipmilan\"), its absolute path, or \"manual\""
            )));
        }
        Ok(Self::Named(text))
    }
}

fn devices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Device>, D::Error> {
    let devices = Vec::<Device>::deserialize(deserializer)?;
    if devices.is_empty() || devices.len() > limits::MAX_DEVICES {
        return Err(de::Error::custom(format!(
            "a fencing level with {} devices: write 1 to {}",
            devices.len(),
            limits::MAX_DEVICES
        )));
    }
    for device in &devices {
        if device.agent == AgentName::Manual
            && (device.plug.is_some() || device.options != Options::default())
        {
            return Err(de::Error::custom(
                "agent = \"manual\" is a person: it has neither `plug` nor `options`",
            ));
        }
    }
    Ok(devices)
}

fn plug<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // An outlet is often a number.
    let options::Value(plug) = options::Value::deserialize(deserializer)?;
    if plug.trim().is_empty() {
        return Err(de::Error::custom(
            "`plug` is empty: write the node's outlet, or leave the key out",
        ));
    }
    options::line_safe(&plug).map_err(|why| de::Error::custom(format!("`plug` {why}")))?;
    Ok(Some(plug))
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    span(&text)
        .filter(|span| !span.is_zero() && *span <= limits::MAX_TIMEOUT)
        .ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no timeout: write one like \"20s\", \"500ms\" or \"2min\", at most 10min"
            ))
        })
}

fn retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let retries = u32::deserialize(deserializer)?;
    if retries > limits::MAX_RETRIES {
        return Err(de::Error::custom(format!(
            "retries = {retries}: write at most {}",
            limits::MAX_RETRIES
        )));
    }
    Ok(retries)
}

/// `250ms`, `20s`, `2min`: the units of the whole configuration file that a timeout can need.
fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "sec" => Some(Duration::from_secs(number)),
        "min" | "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

fn default_timeout() -> Duration {
    limits::DEFAULT_TIMEOUT
}

fn default_retries() -> u32 {
    limits::DEFAULT_RETRIES
}

const MANUAL: &str = "manual";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        fence: Topology,
    }

    fn read(text: &str) -> Result<Topology, String> {
        toml::from_str::<File>(text)
            .map(|file| file.fence)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_topology_is_read_with_its_defaults() {
        let topology = read(
            r#"
            [[fence]]
            [[fence.devices]]
            agent = "fence_ipmilan"
            options = { ip = "10.0.0.1", username = "admin", password = "hush", lanplus = true, ipport = 623 }
            [[fence]]
            devices = [
                { agent = "fence_apc", plug = 3, timeout = "5s", retries = 0 },
                { agent = "/opt/fence_own", plug = "4", timeout = "500ms" },
            ]
            [[fence]]
            devices = [{ agent = "manual" }]
            "#,
        )
        .unwrap();
        let [first, second, third] = &topology.levels[..] else {
            panic!("{topology:?}")
        };
        assert_eq!(
            first.devices[0].agent,
            AgentName::Named("fence_ipmilan".into())
        );
        assert_eq!(first.devices[0].timeout, Duration::from_secs(20));
        assert_eq!(first.devices[0].retries, 2);
        let options: Vec<_> = first.devices[0].options.iter().collect();
        assert!(options.contains(&("lanplus", "1")) && options.contains(&("ipport", "623")));
        assert_eq!(second.devices[0].timeout, Duration::from_secs(5));
        assert_eq!(
            second.devices[1].agent,
            AgentName::Path("/opt/fence_own".into())
        );
        assert_eq!(second.devices[1].to_string(), "/opt/fence_own (plug 4)");
        assert_eq!(second.devices[0].plug.as_deref(), Some("3"));
        assert_eq!(third.devices[0].agent, AgentName::Manual);
        assert!(!format!("{topology:?}").contains("hush"));
    }

    #[test]
    fn nonsense_is_refused_with_a_word_of_what_to_write() {
        for (text, says) in [
            ("fence = []", "1 to 9"),
            ("fence = [{ devices = [] }]", "1 to 16"),
            ("fence = [{ devices = [{}] }]", "agent"),
            ("fence = [{ device = [] }]", "device"),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", plugs = "1" }] }]"#,
                "plugs",
            ),
            (
                r#"fence = [{ devices = [{ agent = "../fence_x" }] }]"#,
                "absolute path",
            ),
            (
                r#"fence = [{ devices = [{ agent = "" }] }]"#,
                "absolute path",
            ),
            (
                r#"fence = [{ devices = [{ agent = "manual", plug = "1" }] }]"#,
                "person",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", plug = " " }] }]"#,
                "empty",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", plug = "1\naction=on" }] }]"#,
                "line break",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", timeout = "0s" }] }]"#,
                "20s",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", timeout = "20" }] }]"#,
                "20s",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", timeout = "1h" }] }]"#,
                "10min",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", retries = 99 }] }]"#,
                "at most 20",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", options = { port = "1" } }] }]"#,
                "plug",
            ),
            (
                r#"fence = [{ devices = [{ agent = "fence_x", options = { password = 31.5 } }] }]"#,
                "in quotes",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("31.5"), "a password: {error}");
        }
    }
}
