//! The arbiter's record of a resource (R8), without I/O: what it holds, the register that keeps it, and how both sides
//! talk about it.
//!
//! [`Register::ask`] is the whole of a witness: it takes the register as it is and a question, and gives the register as it
//! is to be stored and the answer, which leaves only when that is stored. The process `twindisk witness`, the client of etcd
//! and the simulator run it unchanged. [`Keeper`] is what all of them are to an agent.
#![forbid(unsafe_code)]

mod keeper;
mod message;
mod record;
mod register;

pub use keeper::{Keeper, Unanswered};
pub use message::{
    Listed, MAX_MESSAGE_BYTES, OpenError, Question, Reply, Request, Response, Seal, cluster_of,
};
pub use record::{Nonce, Record, Stamp, Version};
pub use register::{Answer, Ask, Register};
