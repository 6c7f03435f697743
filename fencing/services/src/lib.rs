//! Services that go where the primary is: up in order, down in reverse.
//!
//! [`config::Services`] is what an operator writes; [`Stack`] brings it up, takes it down and says how it stands. The
//! crate decides nothing about roles: its caller starts a stack once its node is primary, and fences itself when
//! [`Stack::stop`] names something that is still up.
//!
//! Every future may be dropped at any time: the command that runs at that moment is killed with its whole process
//! group, and what was already up stays known to the stack.
#![forbid(unsafe_code)]

mod announce;
mod aside;
pub mod config;
mod error;
mod hook;
mod interface;
mod kinds;
pub mod limits;
mod mounts;
mod netlink;
mod process;
mod processes;
mod stack;
mod state;

pub use error::{Problem, StartError, StillUp, StopError};
pub use hook::Hook;
pub use stack::{Host, Programs, Role, Stack};
pub use state::{Ended, Io, Progress, ServiceState, ServiceStatus};
