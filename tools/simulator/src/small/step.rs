//! One thing that can happen in a small world.

/// One thing that can happen. Nodes are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The operation that is so many down the list of a node's disk ends.
    Disk(usize, usize),
    /// The nodes connect.
    Connect,
    /// A node hears that the connection stands.
    Hear(usize),
    /// A frame arrives at a node.
    Arrive(usize),
    /// A node hears that the connection is gone.
    Part(usize),
    /// The client asks for the next thing.
    Ask,
    /// A node's process starts, after it has got power if it had none.
    Start(usize),
    /// The operator has seen that the other node has no power, says so, and promotes this one.
    Vouch(usize),
    /// The operator tells a primary to hand over, or a standby to become primary.
    Order(usize),
    /// A deadline of a node comes.
    Tick(usize),
    /// A node's process dies.
    Kill(usize),
    /// A node loses its power.
    PowerOff(usize),
    /// The connection breaks.
    Cut,
}

impl Step {
    /// Whether it is more than a fault, or time that passes.
    pub(super) const fn goes_on(self) -> bool {
        !matches!(
            self,
            Self::Tick(_) | Self::Kill(_) | Self::PowerOff(_) | Self::Cut
        )
    }

    /// Whether it may change a node, and not only what is between and around them.
    pub(super) const fn changes(self, number: usize) -> bool {
        match self {
            Self::Connect | Self::Cut => false,
            Self::Ask => true,
            Self::Disk(node, _)
            | Self::Hear(node)
            | Self::Arrive(node)
            | Self::Part(node)
            | Self::Start(node)
            | Self::Vouch(node)
            | Self::Order(node)
            | Self::Tick(node)
            | Self::Kill(node)
            | Self::PowerOff(node) => node == number,
        }
    }
}
