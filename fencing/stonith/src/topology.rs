//! All fence devices of one node: levels in order, every device of a level, and the proof at the end.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    Action, Checkup, Confirmations, DeviceError, Failure, Fault, LevelFailure, Report, SearchPath,
    Told, Topology, Verdict,
    device::{FenceDevice, Known, NoShot, Shot},
    report::DeviceReport,
};

/// Powers one node off, by its topology.
pub struct Fencer {
    node: String,
    levels: Vec<Level>,
    confirmations: Confirmations,
}

/// Devices that count together.
struct Level {
    devices: Vec<FenceDevice>,
    /// It has read on at the last check.
    read_on: AtomicBool,
}

/// That a node is off: every device of a level took `off` and then read off twice. Only [`Fencer::power_off`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    node: String,
    level: usize,
    details: Vec<String>,
    took: Duration,
}

/// Whether a node has power, as its devices read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has not: by which devices.
    Off(String),
    /// That can't be read.
    Unknown,
}

impl Fencer {
    /// The fencer of a node. Nothing is run yet.
    #[must_use]
    pub fn new(
        node: &str,
        topology: &Topology,
        search: &SearchPath,
        confirmations: Confirmations,
    ) -> Self {
        let levels = topology.levels.iter().map(|level| {
            let devices = level.devices.iter();
            let devices = devices.map(|device| FenceDevice::new(node, device.clone(), search));
            Level {
                devices: devices.collect(),
                read_on: AtomicBool::new(false),
            }
        });
        Self {
            node: node.to_owned(),
            levels: levels.collect(),
            confirmations,
        }
    }

    /// The node that it powers off.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Powers the node off and proves it: the levels in order, until every device of one has taken `off` and then read
    /// off twice. Never `reboot`: a node that comes back while it is still to be off proves nothing.
    ///
    /// `still_wanted` is asked right before each `off`. Dropping the future kills a running agent with its children; the
    /// shot may have been fired by then.
    ///
    /// # Errors
    /// The node is not proved off; why, for each level. [`Failure::NoLongerWanted`] when `still_wanted` said no.
    pub async fn power_off(&self, still_wanted: impl Fn() -> bool) -> Result<Proof, Failure> {
        let started = Instant::now();
        let mut shots = 0;
        let mut failed = Vec::new();
        for (number, Level { devices, .. }) in (1..).zip(&self.levels) {
            match self.level_off(devices, &still_wanted, &mut shots).await {
                Ok(details) => {
                    let proof = Proof {
                        node: self.node.clone(),
                        level: number,
                        details,
                        took: started.elapsed(),
                    };
                    info!(node = self.node, %proof, "fencing: proved off");
                    return Ok(proof);
                }
                Err((_, NoShot::NoLongerWanted)) => {
                    info!(node = self.node, shots, "fencing: no longer wanted");
                    return Err(Failure::NoLongerWanted {
                        node: self.node.clone(),
                        shots,
                    });
                }
                Err((device, NoShot::Failed(error))) => {
                    warn!(node = self.node, level = number, device, %error, "fencing: level failed");
                    failed.push(LevelFailure {
                        level: number,
                        device,
                        error,
                    });
                }
            }
        }
        let node = self.node.clone();
        Err(if failed.is_empty() {
            Failure::NoDevice { node }
        } else {
            Failure::Unproven {
                node,
                levels: failed,
            }
        })
    }

    async fn level_off(
        &self,
        devices: &[FenceDevice],
        still_wanted: &impl Fn() -> bool,
        shots: &mut u32,
    ) -> Result<Vec<String>, (String, NoShot)> {
        let mut details = Vec::new();
        for device in devices {
            let shot = if device.is_manual() {
                self.manual_off(still_wanted).await
            } else {
                device.off(still_wanted, shots).await
            };
            let shot = shot.map_err(|why| (device.config.to_string(), why))?;
            details.push(shot.detail);
        }
        Ok(details)
    }

    async fn manual_off(&self, still_wanted: &impl Fn() -> bool) -> Result<Shot, NoShot> {
        if !still_wanted() {
            return Err(NoShot::NoLongerWanted);
        }
        warn!(
            node = self.node,
            "fencing: waiting for an operator to confirm that the node is off"
        );
        let confirmation = self.confirmations.wait(&self.node).await;
        // R6: the reason may have gone while the operator walked to the machine.
        if !still_wanted() {
            return Err(NoShot::NoLongerWanted);
        }
        Ok(Shot {
            detail: format!("manual: {} confirmed that it is off", confirmation.by),
        })
    }

    /// Finds every agent, reads its metadata, and checks the configuration against it. What worked is remembered; what
    /// did not is tried again when it is needed.
    pub async fn check(&self) -> Checkup {
        let mut checkup = Checkup {
            faults: Vec::new(),
            automatic_levels: Vec::new(),
        };
        for (level, Level { devices, .. }) in (1..).zip(&self.levels) {
            let mut automatic = !devices.is_empty();
            for device in devices {
                if device.is_manual() {
                    automatic = false;
                } else if let Err(error) = device.known().await {
                    automatic = false;
                    checkup.faults.push(Fault {
                        level,
                        device: device.config.to_string(),
                        error,
                    });
                }
            }
            if automatic {
                checkup.automatic_levels.push(level);
            }
        }
        checkup
    }

    /// Reads once whether the node has power, without touching it. It is off if a shot would find it so: by every device of the
    /// first level that can be read. A person is not asked, and a level with one can't be read.
    pub async fn reading(&self) -> Power {
        self.reading_by(|_| true).await
    }

    /// The same by those levels alone that have read on at the last [`Self::check_power`]: what a level says that was never
    /// seen to know this node says nothing of it.
    pub async fn checked_reading(&self) -> Power {
        self.reading_by(|level| level.read_on.load(Ordering::Relaxed))
            .await
    }

    async fn reading_by(&self, counts: impl Fn(&Level) -> bool) -> Power {
        let levels = (1..).zip(&self.levels);
        for (number, level) in levels.filter(|(_, level)| counts(level)) {
            match level.reads().await {
                Some(true) => return Power::On,
                Some(false) => return Power::Off(level.in_words(number)),
                None => {}
            }
        }
        Power::Unknown
    }

    /// Whether the devices of a node that runs say so: every level is read. Off is a level that says off, which one as well; on
    /// is one that says on, and none that says off.
    pub async fn check_power(&self) -> Power {
        let (mut on, mut off) = (false, Vec::new());
        for (number, level) in (1..).zip(&self.levels) {
            let reads = level.reads().await;
            level.read_on.store(reads == Some(true), Ordering::Relaxed);
            on |= reads == Some(true);
            off.extend((reads == Some(false)).then(|| level.in_words(number)));
        }
        match (off.is_empty(), on) {
            (false, _) => Power::Off(off.join("; ")),
            (true, true) => Power::On,
            (true, false) => Power::Unknown,
        }
    }

    /// Whether power can be read by any level at all, for all that is known of its agents: where none can nobody need ask.
    #[must_use]
    pub fn can_read(&self) -> bool {
        self.levels.iter().any(Level::can_read)
    }

    /// Switches the node on again, at every device. A person is not asked.
    pub async fn power_on(&self) -> Vec<Told<()>> {
        self.ask_all(async |device, known| {
            device.ask(known, Action::On).await?;
            Ok(())
        })
        .await
    }

    /// Whether every device answers, and how long that takes: `monitor`, or `status` where an agent has no `monitor`. A
    /// shot takes at least as long, so that the fence delay can be learned from it. A person is not asked.
    pub async fn monitor(&self) -> Vec<Told<()>> {
        self.ask_all(async |device, known| {
            let action = if known.metadata.offers(Action::Monitor) {
                Action::Monitor
            } else {
                Action::Status
            };
            device.ask(known, action).await?;
            Ok(())
        })
        .await
    }

    async fn ask_all<T>(
        &self,
        question: impl AsyncFn(&FenceDevice, &Known) -> Result<T, DeviceError>,
    ) -> Vec<Told<T>> {
        let mut told = Vec::new();
        for (level, Level { devices, .. }) in (1..).zip(&self.levels) {
            for device in devices.iter().filter(|device| !device.is_manual()) {
                // The metadata is read once in the life of a device; its time says nothing about the device.
                let known = device.known().await;
                let started = Instant::now();
                let answer = match known {
                    Ok(known) => question(device, known).await,
                    Err(error) => Err(error),
                };
                told.push(Told {
                    level,
                    device: device.config.to_string(),
                    answer,
                    took: started.elapsed(),
                });
            }
        }
        told
    }

    /// Tries everything but a shot on every device: metadata, `validate-all`, `monitor`, `status`.
    pub async fn test(&self) -> Report {
        let mut report = Report {
            node: self.node.clone(),
            devices: Vec::new(),
        };
        for (level, Level { devices, .. }) in (1..).zip(&self.levels) {
            for device in devices {
                report.devices.push(DeviceReport {
                    level,
                    device: device.config.to_string(),
                    steps: self.test_device(device).await,
                });
            }
        }
        report
    }

    async fn test_device(&self, device: &FenceDevice) -> Vec<(&'static str, Verdict)> {
        if device.is_manual() {
            let look = "a person has to confirm: no automatic failover at this level";
            return vec![("manual", Verdict::Look(look.to_owned()))];
        }
        let known = match device.known().await {
            Ok(known) => known,
            Err(error) => return vec![("metadata", Verdict::Bad(error.to_string()))],
        };
        let found = format!("{}: options fit", known.agent.path().display());
        let mut steps = vec![("metadata", Verdict::Good(found))];
        for action in [Action::ValidateAll, Action::Monitor, Action::Status] {
            let verdict = if known.metadata.offers(action) {
                match device.ask(known, action).await {
                    Ok(answer) if action == Action::Status && answer.off => Verdict::Look(format!(
                        "reads off after {:.1?}: right only if {} is off now; else `plug` is wrong",
                        answer.took, self.node
                    )),
                    Ok(answer) if action == Action::Status => {
                        Verdict::Good(format!("reads on after {:.1?}", answer.took))
                    }
                    Ok(answer) => Verdict::Good(format!("in {:.1?}", answer.took)),
                    Err(error) => Verdict::Bad(error.to_string()),
                }
            } else {
                Verdict::Look("the agent does not offer it".to_owned())
            };
            steps.push((action.name(), verdict));
        }
        steps
    }
}

impl Level {
    /// Whether its devices read as on; `None`: one of them can't say, and a shot at this level would fail.
    async fn reads(&self) -> Option<bool> {
        for device in &self.devices {
            if device.reads_on().await? {
                return Some(true);
            }
        }
        (!self.devices.is_empty()).then_some(false)
    }

    fn can_read(&self) -> bool {
        !self.devices.is_empty() && self.devices.iter().all(FenceDevice::can_read)
    }

    fn in_words(&self, number: usize) -> String {
        let devices = self.devices.iter();
        let names: Vec<_> = devices.map(|one| one.config.to_string()).collect();
        format!("level {number}, {}", names.join(" and "))
    }
}

impl Proof {
    /// The node that is off.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The level that did it, from 1.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Every device of the level with what it did, in a sentence each.
    #[must_use]
    pub fn details(&self) -> &[String] {
        &self.details
    }

    /// From the request to the proof, failed levels included.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }
}

/// The detail of a receipt.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is off, proved at level {} within {:.1?}: {}",
            self.node,
            self.level,
            self.took,
            self.details.join("; ")
        )
    }
}
