//! The operator: promotes somebody when nobody is primary, fences what is lost before vouching for it, and does
//! foolish things. Honest unless the seed says `lossy`: a fence receipt is given only about a node that was really
//! switched off after it was lost, and that stays off until the receipt is stored.

use std::collections::BTreeMap;

use twindisk_core::{Command, CommandId, ConnectionState, DiskState, Event, Refusal, Role, Status};
use twindisk_format::{ids::Slot, superblock::ReceiptKind};

use crate::{
    disk::Loss,
    node::{Power, name, node_in, peers, slot_of},
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// What the operator has in mind.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    next_command: u64,
    /// Commands without an answer, by node.
    waiting: BTreeMap<CommandId, usize>,
    /// Answers to commands.
    answers: BTreeMap<CommandId, Result<(), Refusal>>,
    plan: Option<Plan>,
    /// In scenarios: the node that the arbiter has given the next term, and to nobody else.
    pub(crate) arbiter: Option<usize>,
    /// Since when nobody serves.
    idle_since: Option<u64>,
    /// When each node was last restarted because its disk had failed.
    replaced: BTreeMap<usize, u64>,
}

/// A fencing under way.
#[derive(Debug)]
struct Plan {
    survivor: usize,
    run: u64,
    victims: Vec<usize>,
    receipts: Vec<CommandId>,
}

impl Operator {
    /// A node's process is gone: its commands are answered by nobody.
    pub(crate) fn forget_node(&mut self, number: usize) {
        self.waiting.retain(|_, node| *node != number);
    }

    /// Whether a receipt that a node is off is on its way.
    pub(crate) fn keeps_off(&self, number: usize) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| plan.victims.contains(&number) && !plan.receipts.is_empty())
    }
}

impl World {
    /// Gives a command to a node.
    pub(crate) fn command(&mut self, number: usize, command: Command) -> CommandId {
        let id = CommandId(self.operator.next_command);
        self.operator.next_command += 1;
        self.coverage.reach("operator", command_name(&command));
        tell!(self, ">> {}: {command:?}", name(number));
        if self.nodes[number].replica.is_some() {
            self.operator.waiting.insert(id, number);
            self.tell_core(number, 0, Event::Command { id, command });
        }
        id
    }

    /// A command is answered.
    pub(crate) fn replied(&mut self, number: usize, id: CommandId, answer: Result<(), Refusal>) {
        if self.operator.waiting.remove(&id).is_none() {
            self.violate(crate::checker::Violation::new(
                "S7",
                format!("{} answers {id:?} twice or unasked", name(number)),
            ));
        }
        self.replied_to_agent(id, &answer);
        self.operator.answers.insert(id, answer);
    }

    /// Whether a command was obeyed; `None` while unanswered.
    #[must_use]
    pub(crate) fn answer(&self, id: CommandId) -> Option<bool> {
        self.operator.answers.get(&id).map(Result::is_ok)
    }

    /// Why a command was refused.
    pub(crate) fn refusal(&self, id: CommandId) -> Option<&Refusal> {
        self.operator.answers.get(&id)?.as_ref().err()
    }

    /// Commands without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.operator.waiting.len()
    }

    /// The operator looks at the cluster.
    pub(crate) fn operator_step(&mut self) {
        let pause = self.dice.operator.between(50 * MS, 600 * MS);
        self.after(pause, Ev::Operator);
        if self.agents.is_none() && self.go_on_fencing() {
            return;
        }
        let states: Vec<Option<Status>> = self
            .nodes
            .iter()
            .map(|node| node.status(self.now))
            .collect();
        for (number, node) in states.iter().enumerate() {
            match node {
                None if self.healed || self.dice.operator.chance(100) => {
                    self.restart_later(number, 300 * MS);
                }
                Some(status) => self.tend(number, status, &states),
                None => {}
            }
        }
        if self.agents.is_some() {
            self.tend_agents();
            return self.switch_on_again();
        }
        let primaries: Vec<usize> = (0..states.len())
            .filter(|number| {
                states[*number]
                    .as_ref()
                    .is_some_and(|status| status.role == Role::Primary)
            })
            .collect();
        match primaries.as_slice() {
            [] => self.want_primary(&states),
            [primary] => {
                self.operator.idle_since = None;
                self.help_suspended(*primary, states[*primary].as_ref());
            }
            [first, ..] => {
                if self.healed {
                    self.command(*first, Command::Demote { abandon: true });
                }
            }
        }
    }

    /// Puts right what an operator would not leave as it is, once faults have ended.
    fn tend(&mut self, number: usize, status: &Status, states: &[Option<Status>]) {
        if !self.healed {
            return;
        }
        for (peer, state) in peers(number, self.nodes.len()).zip(&status.peers) {
            match state.connection {
                ConnectionState::Standalone => {
                    let peer = slot_of(number, peer);
                    self.command(number, Command::Connect { peer });
                }
                ConnectionState::SplitBrain | ConnectionState::Unrelated
                    if self.swarm.lossy
                        && status.role == Role::Standby
                        && (number > peer || is_primary(states, peer)) =>
                {
                    let keep = Some(slot_of(number, peer));
                    self.command(number, Command::Discard { peer: None, keep });
                }
                ConnectionState::Connecting
                | ConnectionState::Negotiating
                | ConnectionState::Waiting
                | ConnectionState::SyncSource
                | ConnectionState::SyncTarget
                | ConnectionState::Established
                | ConnectionState::SplitBrain
                | ConnectionState::Unrelated => {}
            }
        }
        if is_to_take_over(status) {
            self.command(number, Command::Switchover { to: None });
        }
        let broken = matches!(status.disk, DiskState::Failed | DiskState::Diskless);
        // A primary without a disk that has somebody to hand over to does that first.
        let later = status.role == Role::Primary && states.iter().flatten().any(is_to_take_over);
        let last = self.operator.replaced.get(&number).copied().unwrap_or(0);
        if broken && !later && last + 3 * SEC < self.now {
            tell!(self, ">> {}: restarted with a repaired disk", name(number));
            self.operator.replaced.insert(number, self.now);
            self.crash(number);
            self.restart_later(number, 100 * MS);
        }
    }

    /// Nobody is primary: promotes a node that can be, or makes one that can.
    fn want_primary(&mut self, states: &[Option<Status>]) {
        let since = *self.operator.idle_since.get_or_insert(self.now);
        let waited = self.now - since;
        let ready: Vec<usize> = (0..states.len())
            .filter(|number| {
                states[*number]
                    .as_ref()
                    .is_some_and(|status| status.promote_needs.is_empty())
            })
            .collect();
        if !ready.is_empty() {
            let number = self.dice.operator.pick(&ready);
            self.command(number, Command::Promote { force: None });
            return;
        }
        let alive: Vec<usize> = (0..states.len())
            .filter(|number| states[*number].is_some())
            .collect();
        if alive.is_empty() || waited < 500 * MS || self.healed {
            return;
        }
        let number = self.dice.operator.pick(&alive);
        if self.swarm.lossy && waited > 2 * SEC {
            let force = Some("nobody else is left".to_owned());
            self.command(number, Command::Promote { force });
        } else if self.swarm.faults.fencing {
            self.fence_for(number, states[number].as_ref());
        }
    }

    /// A primary that is suspended gets proof about the peers it lost, sooner or later.
    fn help_suspended(&mut self, primary: usize, status: Option<&Status>) {
        let suspended = status
            .and_then(|status| status.suspended.as_ref())
            .is_some_and(|suspension| suspension.for_ms > 300);
        let patience = if self.swarm.lossy { 700 } else { 300 };
        if !suspended || self.healed || !self.dice.operator.chance(patience) {
            return;
        }
        if self.swarm.lossy {
            let (number, command) = self.foolish_help(primary, status);
            self.command(number, command);
        } else if self.swarm.faults.fencing {
            // Who is shot is decided by who asks first: the standby may win the race.
            let winner = if self.dice.operator.chance(700) {
                primary
            } else {
                self.dice.operator.index(self.nodes.len())
            };
            let status = self.nodes[winner].status(self.now);
            self.fence_for(winner, status.as_ref());
        }
    }

    /// Somebody who can't wait says that a lost node is gone, or makes another one primary as well.
    fn foolish_help(&mut self, primary: usize, status: Option<&Status>) -> (usize, Command) {
        let lost = status.into_iter().flat_map(|status| &status.peers);
        let lost = lost
            .filter(|peer| peer.in_sync && peer.connection == ConnectionState::Connecting)
            .map(|peer| usize::from(peer.node))
            .next()
            .unwrap_or((primary + 1) % self.nodes.len());
        if self.dice.operator.chance(700) {
            let force = Some("the other one does not answer".to_owned());
            return (lost, Command::Promote { force });
        }
        let command = Command::Receipt {
            met: None,
            about: slot_of(primary, lost),
            kind: ReceiptKind::Operator,
            detail: "it must be gone".to_owned(),
        };
        (primary, command)
    }

    /// Switches off every node that `survivor` has lost and says to need a right about.
    fn fence_for(&mut self, survivor: usize, status: Option<&Status>) {
        let Some(status) = status else {
            return;
        };
        let victims: Vec<usize> = peers(survivor, self.nodes.len())
            .zip(&status.peers)
            .filter(|(_, peer)| {
                let lost = matches!(
                    peer.connection,
                    ConnectionState::Connecting | ConnectionState::Standalone
                );
                lost && peer.in_sync && peer.receipt.is_none()
            })
            .map(|(peer, _)| peer)
            .collect();
        if victims.is_empty() {
            return;
        }
        for victim in &victims {
            let bad = self.dice.operator.chance(self.swarm.faults.bad_fences);
            if bad && self.dice.operator.coin() {
                tell!(self, ">> the fence device of {} is dead", name(*victim));
                self.coverage.reach("operator", "dead fence device");
                return;
            }
            tell!(self, ">> fences {} for {}", name(*victim), name(survivor));
            self.coverage.reach("operator", "fence");
            let loss = self.dice.operator.pick(&[Loss::All, Loss::Some]);
            if self.nodes[*victim].power == Power::On {
                self.lose_power(*victim, loss, Power::Fenced);
            } else {
                self.nodes[*victim].power = Power::Fenced;
            }
            if bad {
                tell!(self, ">> the status of {} can't be read", name(*victim));
                self.coverage.reach("operator", "fence without status");
                self.nodes[*victim].power = Power::Off;
                self.restart_later(*victim, 2 * SEC);
                return;
            }
        }
        self.operator.plan = Some(Plan {
            survivor,
            run: self.nodes[survivor].run,
            victims,
            receipts: Vec::new(),
        });
    }

    /// Goes on with a fencing under way; false when there is none.
    fn go_on_fencing(&mut self) -> bool {
        let Some(mut plan) = self.operator.plan.take() else {
            return false;
        };
        let survivor = plan.survivor;
        let runs = self.nodes[survivor].run == plan.run && self.nodes[survivor].replica.is_some();
        let alive = runs && !self.healed;
        if alive && plan.receipts.is_empty() {
            for victim in &plan.victims {
                let about = slot_of(survivor, *victim);
                let command = Command::Receipt {
                    met: None,
                    about,
                    kind: ReceiptKind::Fence,
                    detail: "power was switched off and read as off".to_owned(),
                };
                plan.receipts.push(self.command(survivor, command));
            }
            self.operator.plan = Some(plan);
            return true;
        }
        let open = plan
            .receipts
            .iter()
            .any(|receipt| self.answer(*receipt).is_none());
        // Nobody is switched on about whom a receipt may still be stored.
        if runs && open {
            self.operator.plan = Some(plan);
            return true;
        }
        if alive && self.nodes[survivor].export.is_none() {
            self.command(survivor, Command::Promote { force: None });
        }
        for victim in plan.victims {
            if self.nodes[victim].power == Power::Fenced {
                self.nodes[victim].power = Power::Off;
                self.restart_later(victim, 2 * SEC);
            }
        }
        true
    }

    /// Something that an operator might do at a bad moment.
    pub(crate) fn random_command(&mut self) {
        let nodes = self.nodes.len();
        let die = &mut self.dice.operator;
        let number = die.index(nodes);
        let peer = (number + 1 + die.index(nodes - 1)) % nodes;
        let slot = slot_of(number, peer);
        let size = self.swarm.size_blocks;
        // Where there is room, it is to be used.
        let roll = if self.swarm.spare_blocks > 0 && die.chance(300) {
            13
        } else {
            die.below(18)
        };
        let command = match roll {
            0..4 if self.swarm.lossy => Command::Promote {
                force: Some("somebody is in a hurry".to_owned()),
            },
            0 => Command::Promote { force: None },
            1 => Command::Demote { abandon: false },
            2 => Command::Demote { abandon: true },
            3 => Command::Switchover { to: None },
            4..7 => Command::Switchover { to: Some(slot) },
            7 => Command::Disconnect { peer: slot },
            8 => Command::Connect { peer: slot },
            9 => Command::Outdate,
            10 => Command::Verify {
                first: die.pick(&[0, 0, 0, size / 2, size]),
                blocks: die.coin().then(|| die.between(0, size)),
                repair: die.coin(),
            },
            11 => Command::VerifyStop,
            12 => Command::Resync {
                peer: slot,
                full: die.coin(),
            },
            13 => Command::Resize { size_blocks: None },
            14 => Command::Resize {
                size_blocks: Some(die.between(1, size * 2)),
            },
            15 => Command::Discard {
                peer: Some(slot),
                keep: None,
            },
            16 => Command::Discard {
                peer: None,
                keep: Some(slot),
            },
            _ => Command::Stop,
        };
        let stops = command == Command::Stop;
        let parts = matches!(command, Command::Disconnect { .. });
        self.command(number, command);
        if stops {
            let run = self.nodes[number].run + 1;
            let delay = self.dice.operator.between(100 * MS, 4 * SEC);
            self.after(delay, Ev::Restart { node: number, run });
        }
        if parts {
            let delay = self.dice.operator.between(100 * MS, 2 * SEC);
            let command = Command::Connect { peer: slot };
            self.after(
                delay,
                Ev::Order {
                    node: number,
                    command,
                },
            );
        }
    }

    /// The peer of `number` in slot `slot`, for scenarios.
    #[must_use]
    pub fn peer_of(&self, number: usize, slot: Slot) -> usize {
        node_in(number, slot)
    }
}

/// Whether `status` says that a switchover to this node is the way on.
fn is_to_take_over(status: &Status) -> bool {
    let mut peers = status.peers.iter();
    peers.any(|peer| {
        (peer.connection_why).contains("`twindisk switchover` here makes this node primary")
    })
}

fn is_primary(states: &[Option<Status>], number: usize) -> bool {
    states
        .get(number)
        .and_then(Option::as_ref)
        .is_some_and(|status| status.role == Role::Primary)
}

const fn command_name(command: &Command) -> &'static str {
    match command {
        Command::Promote { .. } => "promote",
        Command::Demote { .. } => "demote",
        Command::Switchover { .. } => "switchover",
        Command::Connect { .. } => "connect",
        Command::Disconnect { .. } => "disconnect",
        Command::Receipt { .. } => "receipt",
        Command::Outdate => "outdate",
        Command::Trust { .. } => "trust",
        Command::Verify { .. } => "verify",
        Command::VerifyStop => "verify stop",
        Command::Resync { .. } => "resync",
        Command::Resize { .. } => "resize",
        Command::Discard { .. } => "discard",
        Command::Stop => "stop",
    }
}
