//! Stories: a cluster goes through its states, and at many moments a copy of it meets a hostile peer.

use twindisk_core::{Command, Protocol, Role, Status};

use crate::{
    dice::Dice,
    frames::{Hostile, over_the_wire},
    node::{BLOCKS, DRIVER_BUFS, slot_of},
    world::World,
};

/// Runs one story with all its attacks.
pub(crate) fn tell(seed: u64, dice: &mut Dice) {
    let nodes = if seed.is_multiple_of(3) { 3 } else { 2 };
    let protocol = dice.pick(&[Protocol::C, Protocol::C, Protocol::B]);
    let mut world = World::new(nodes, protocol);
    world.run(300, dice);
    world.command(0, Command::Promote { force: None });
    for _ in 0..12 {
        something_is_asked_for(&mut world, dice);
        for _ in 0..10 {
            let steps = dice.below(8);
            world.run(steps, dice);
            (0..nodes).for_each(|node| world.ask(node, dice));
            if dice.chance(2) {
                attack(&world, dice);
            }
        }
        let steps = dice.below(300);
        world.run(steps, dice);
        if dice.chance(2) {
            (0..nodes).for_each(|node| world.connect_all(node));
        }
    }
}

/// An operator or a fault puts the cluster into another state.
fn something_is_asked_for(world: &mut World, dice: &mut Dice) {
    let node = dice.below(world.nodes.len());
    let other = (node + 1 + dice.below(world.nodes.len() - 1)) % world.nodes.len();
    let peer = slot_of(node, other);
    match dice.below(15) {
        14 => world.nodes[node].unreadable ^= true,
        12 => {
            for block in 0..BLOCKS / 8 {
                world.nodes[node].disk[block as usize * 8] = 3; // It rots: a verify has something to find.
            }
        }
        13 => {
            world.cut(node, other, "a cable was pulled");
            (0..6).for_each(|_| world.ask(node, dice));
        }
        0 => world.command(node, Command::Promote { force: None }),
        1 => world.command(node, Command::Switchover { to: None }),
        2 => {
            let (first, blocks, repair) = (0, None, dice.chance(2));
            let verify = Command::Verify {
                first,
                blocks,
                repair,
            };
            world.command(node, verify);
        }
        3 => {
            let full = dice.chance(2);
            world.command(node, Command::Resync { peer, full });
        }
        4 => world.command(node, Command::Resize { size_blocks: None }),
        5 => world.command(node, Command::Disconnect { peer }),
        6 | 7 => world.command(node, Command::Connect { peer }),
        8 => world.restart(node),
        9 => world.cut(node, other, "a cable was pulled"),
        10 => {
            let force = dice.chance(3).then(|| "it must be".to_owned());
            world.command(node, Command::Promote { force });
        }
        _ => world.command(node, Command::Demote { abandon: false }),
    }
}

/// A copy of the cluster meets a peer that says anything.
fn attack(world: &World, dice: &mut Dice) {
    let mut world = world.clone();
    let from = dice.below(world.nodes.len());
    let to = (from + 1 + dice.below(world.nodes.len() - 1)) % world.nodes.len();
    let (before, kept) = (world.status(to), world.keeps_book(to));
    let trace = std::env::var("TWINDISK_HOSTILE_TRACE").is_ok();
    if trace {
        println!("attack");
    }
    for _ in 0..1 + dice.below(30) {
        let said = Hostile {
            world: &world,
            from,
            to,
            dice,
        }
        .says();
        let Some(envelope) = over_the_wire(&said.envelope) else {
            continue;
        };
        let said = crate::world::Sent { envelope, ..said };
        if trace {
            println!("{from} says to {to}: {:?}", said.envelope);
        }
        world.receive(from, to, said);
        let steps = dice.below(4);
        world.run(steps, dice);
        is_bounded(&world, to);
    }
    let after = world.status(to);
    let served = |status: &Status| (status.role, status.generation.clone());
    // What can't be read here is taken from the peer.
    let unreadable = world.nodes.iter().any(|node| node.unreadable);
    if before.role == Role::Primary && served(&before) == served(&after) && kept && !unreadable {
        assert!(world.keeps_book(to), "what was acknowledged is there");
    }
    // It goes, and comes back as what it was before.
    world.restart(from);
    world.run(400, dice);
    is_bounded(&world, to);
}

/// Nothing has grown beyond what a driver has given.
fn is_bounded(world: &World, number: usize) {
    let node = &world.nodes[number];
    assert!(node.bufs.len() <= DRIVER_BUFS + 8, "buffers");
    assert!(node.pending.len() <= 4096, "operations");
}
