//! What happens to agents, and when it comes about.

use twindisk_fencing_core::{Beat, Memory, PathIndex, Power, ReplicaView};
use twindisk_format::ids::BootId;

use super::{
    device, meter,
    orders::Deed,
    register,
    replica::{Errand, Question},
    services::Work,
};

/// Something that happens to agents.
#[derive(Debug)]
pub(crate) enum AgentEv {
    /// It comes back.
    Start,
    /// It looks at the clock.
    Tick { run: u64 },
    /// It asks what its replica is.
    Look { run: u64 },
    /// The question reaches the process.
    Read { question: Question },
    /// The answer reaches the agent; `None`: the process is gone.
    Seen {
        question: Question,
        view: Option<Box<ReplicaView>>,
    },
    /// An order reaches the process.
    Obey { errand: Box<Errand> },
    /// The answer reaches the agent.
    Ordered {
        run: u64,
        serial: u64,
        result: Result<(), String>,
    },
    /// A beat arrives.
    Beat {
        from: usize,
        path: PathIndex,
        beat: Box<Beat>,
        host: BootId,
    },
    /// What it wanted stored is, or can't be.
    Stored { run: u64, memory: Box<Memory> },
    /// What is to fire is ready.
    Fire { run: u64, victim: usize },
    /// A shot reaches its victim.
    Shoot { command: device::Command },
    /// It hears what came of a shot.
    Shot {
        run: u64,
        victim: usize,
        result: Result<(), String>,
    },
    /// A question reaches the witness.
    Asked { question: Box<register::Question> },
    /// The witness's answer reaches the agent, or none has come in time.
    Answered {
        run: u64,
        serial: u64,
        result: Result<Box<register::Said>, String>,
    },
    /// The device reads the power of a node.
    ReadPower {
        run: u64,
        asked: meter::Asked,
        of: usize,
    },
    /// It hears whether the power of a node is off.
    Power {
        run: u64,
        asked: meter::Asked,
        of: usize,
        power: Power,
    },
    /// Somebody switches the node off and on again.
    Cycle,
    /// The watchdog of the node fires.
    Reset,
    /// A node is to be switched on.
    PowerOn { node: usize },
    /// The disk of a process that was killed answers: now it is gone.
    Dies { run: u64 },
    /// Services have come up or gone down, or have not.
    Services { work: Work },
    /// Ping targets have answered or not.
    Ping { run: u64 },
    /// A person does something, or cables are cut.
    Deed { deed: Deed },
    /// It is stopped.
    Stop,
}
