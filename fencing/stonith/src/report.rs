//! What checks and tests of fence devices have found, for people and for `status`.

use std::{fmt, time::Duration};

use crate::DeviceError;

/// What a check of all devices against their agents' metadata found.
#[derive(Debug)]
pub struct Checkup {
    /// Devices that cannot be used as configured.
    pub faults: Vec<Fault>,
    /// Levels, from 1, that work without a person. None: automatic failover must be refused.
    pub automatic_levels: Vec<usize>,
}

/// A device that cannot be used.
#[derive(Debug)]
pub struct Fault {
    /// Its level, from 1.
    pub level: usize,
    /// The device.
    pub device: String,
    /// Why.
    pub error: DeviceError,
}

/// What one device answered to a question.
#[derive(Debug)]
pub struct Told<T> {
    /// Its level, from 1.
    pub level: usize,
    /// The device.
    pub device: String,
    /// What it said.
    pub answer: Result<T, DeviceError>,
    /// How long the answer took.
    pub took: Duration,
}

/// A test of all devices of a node, without a shot. `Display` is for an operator.
#[derive(Debug)]
pub struct Report {
    /// The node.
    pub node: String,
    /// Every device with its steps.
    pub devices: Vec<DeviceReport>,
}

/// A test of one device.
#[derive(Debug)]
pub struct DeviceReport {
    /// Its level, from 1.
    pub level: usize,
    /// The device.
    pub device: String,
    /// What was tried, in order.
    pub steps: Vec<(&'static str, Verdict)>,
}

/// How one step of a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Good(String),
    /// A person should look whether this is right.
    Look(String),
    /// The device would not work.
    Bad(String),
}

impl Report {
    /// Whether no step of any device failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.devices.iter().all(|device| {
            !device
                .steps
                .iter()
                .any(|(_, verdict)| matches!(verdict, Verdict::Bad(_)))
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}, {}: {}", self.level, self.device, self.error)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "passed" } else { "FAILED" };
        writeln!(
            f,
            "fence devices of {}: {verdict}; nothing was shot",
            self.node
        )?;
        for device in &self.devices {
            writeln!(f, "level {}: {}", device.level, device.device)?;
            for (step, verdict) in &device.steps {
                let (mark, text) = match verdict {
                    Verdict::Good(text) => ("ok  ", text),
                    Verdict::Look(text) => ("look", text),
                    Verdict::Bad(text) => ("BAD ", text),
                };
                writeln!(f, "  {mark} {step:<12} {text}")?;
            }
        }
        Ok(())
    }
}
