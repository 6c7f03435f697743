//! Powers nodes off through fence agents, and believes it only when their status says so.
//!
//! The agents are those of ClusterLabs' `fence-agents`, unchanged: programs that read `key=value` lines on their standard
//! input and answer with an exit code. Two types to understand first:
//!
//! - [`Topology`]: what the configuration says about one node: levels of devices.
//! - [`Fencer`]: shoots by it. [`Fencer::power_off`] returns a [`Proof`], which nothing else can make, or a [`Failure`].
//!
//! # What is kept
//!
//! - **Off means verified.** `off` must succeed *and* `status` must read off twice, on every device of a level. Silence, a
//!   timeout and an agent's error are never proof.
//! - **R6: a shot dies with its reason.** The caller is asked right before each `off`. An agent has a deadline; dropping
//!   the future kills its whole process group.
//! - **Secrets stay inside.** Values of secret options go to the agent's standard input and nowhere else: not to `Debug`,
//!   not to errors; where the agent prints them they are blanked.
//!
//! Nothing here decides who may shoot or when: that is the fencing core's.
//!
//! ```no_run
//! # use twindisk_stonith::{Confirmations, Failure, Fencer, SearchPath, Topology};
//! # async fn example(topology: Topology, lost: impl Fn() -> bool) -> Result<(), Failure> {
//! let fencer = Fencer::new("beta", &topology, &SearchPath::default(), Confirmations::new());
//! for fault in fencer.check().await.faults {
//!     eprintln!("{fault}");
//! }
//! let proof = fencer.power_off(lost).await?;
//! println!("{proof}");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod agent;
mod config;
mod device;
mod failure;
mod limits;
mod manual;
mod metadata;
mod options;
mod report;
mod topology;

#[cfg(test)]
mod tests;

pub use agent::{Action, Agent, AgentError, Answer, Call, Output, SearchPath};
pub use config::{AgentName, Device, Level, Topology};
pub use failure::{DeviceError, Failure, LevelFailure};
pub use limits::MAX_OUTPUT_BYTES;
pub use manual::{Confirmation, Confirmations, NobodyWaits};
pub use metadata::{Metadata, MetadataError, OptionFault, Parameter};
pub use options::Options;
pub use report::{Checkup, DeviceReport, Fault, Report, Told, Verdict};
pub use topology::{Fencer, Power, Proof};
