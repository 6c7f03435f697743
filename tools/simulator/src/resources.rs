//! Two resources on the same two hosts, under the same agents: the world holds one of them at a time, and the other one is
//! put aside.
//!
//! Each has its replicas, disks, metadata, connections, clients, operator and book. They share the clock, the dice, the
//! fence devices, and the hosts: power, processes, and the network between them. What is true of a host is written into the
//! nodes of both.

use std::{collections::BTreeMap, mem::swap};

use crate::{
    checker::{alone::Alone, book::Book, bound::Bindings, heard::Heard, terms::Terms},
    client::Clients,
    content::SECTORS,
    net::Pair,
    node::{Clock, Node, Power},
    operator::Operator,
    swarm::Swarm,
    world::{Ev, World},
};

/// A resource that the world does not look at.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) swarm: Swarm,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pairs: BTreeMap<(usize, usize), Pair>,
    pub(crate) clients: Clients,
    pub(crate) operator: Operator,
    pub(crate) book: Book,
    pub(crate) terms: Terms,
    pub(crate) bindings: Bindings,
    pub(crate) heard: Heard,
    pub(crate) alone: Alone,
    pub(crate) rots: bool,
    pub(crate) found_different: u64,
    pub(crate) told_sets: BTreeMap<u64, Vec<u8>>,
}

impl Aside {
    /// A resource that is switched off, on hosts with these clocks.
    pub(crate) fn new(swarm: Swarm, clocks: &[Clock]) -> Self {
        let clocks = clocks.iter().enumerate();
        Self {
            nodes: clocks
                .map(|(number, clock)| Node::new(number, &swarm, *clock))
                .collect(),
            pairs: (0..swarm.nodes)
                .flat_map(|high| (0..high).map(move |low| ((low, high), Pair::default())))
                .collect(),
            clients: Clients::new(&swarm),
            operator: Operator::default(),
            book: Book::new(
                swarm.garbage.then_some(swarm.first),
                swarm.size_blocks * SECTORS,
                swarm.lossy,
            ),
            terms: Terms::default(),
            bindings: Bindings::default(),
            heard: Heard::new(swarm.nodes),
            alone: Alone::new(swarm.nodes),
            rots: false,
            found_different: 0,
            told_sets: BTreeMap::new(),
            swarm,
        }
    }
}

impl World {
    /// How many resources there are.
    pub(crate) fn resources(&self) -> usize {
        1 + usize::from(self.aside.is_some())
    }

    /// Puts aside what it holds, and takes this resource.
    pub(crate) fn turn_to(&mut self, resource: usize) {
        if resource == self.resource {
            return;
        }
        let other = self.aside.as_mut().expect("there is another resource");
        swap(&mut self.swarm, &mut other.swarm);
        swap(&mut self.nodes, &mut other.nodes);
        swap(&mut self.pairs, &mut other.pairs);
        swap(&mut self.clients, &mut other.clients);
        swap(&mut self.operator, &mut other.operator);
        swap(&mut self.book, &mut other.book);
        swap(&mut self.terms, &mut other.terms);
        swap(&mut self.bindings, &mut other.bindings);
        swap(&mut self.heard, &mut other.heard);
        swap(&mut self.alone, &mut other.alone);
        swap(&mut self.rots, &mut other.rots);
        swap(&mut self.found_different, &mut other.found_different);
        swap(&mut self.told_sets, &mut other.told_sets);
        self.resource = resource;
        self.trace.about = Some(resource);
    }

    /// Does something with a resource in hand.
    pub(crate) fn of<T>(&mut self, resource: usize, does: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.resource;
        self.turn_to(resource);
        let result = does(self);
        self.turn_to(before);
        result
    }

    /// Does something with each resource in hand: what happens to a host happens to all.
    pub(crate) fn each_resource(&mut self, mut does: impl FnMut(&mut Self)) {
        for resource in 0..self.resources() {
            self.of(resource, &mut does);
        }
    }

    /// A resource by chance.
    pub(crate) fn any_resource(&mut self) -> usize {
        match self.resources() {
            1 => self.resource,
            some => self.dice.resource.index(some),
        }
    }

    /// Lets something happen to one of the resources.
    pub(crate) fn at_any(&mut self, at: u64, ev: Ev) {
        let resource = self.any_resource();
        self.of(resource, |world| world.at(at, ev));
    }

    /// The power of a host is switched.
    pub(crate) fn set_power(&mut self, number: usize, power: Power) {
        self.each_resource(|world| world.nodes[number].power = power);
    }

    /// A host stands still. Never shortened: what waits for the end must not be overtaken.
    pub(crate) fn pause_host(&mut self, number: usize, until: u64) {
        self.each_resource(|world| {
            let node = &mut world.nodes[number];
            node.paused_until = node.paused_until.max(until);
        });
    }

    /// The process of the replicas stands still, and the agent beside it goes on. Never shortened, either.
    pub(crate) fn hang_process(&mut self, number: usize, until: u64) {
        self.each_resource(|world| {
            let node = &mut world.nodes[number];
            node.stopped_until = node.stopped_until.max(until);
        });
    }

    /// Whether any replica runs on a host.
    pub(crate) fn has_process(&self, number: usize) -> bool {
        let there = self.aside.as_ref().map(|other| &other.nodes);
        let nodes = [Some(&self.nodes), there].into_iter().flatten();
        nodes
            .into_iter()
            .any(|nodes| nodes[number].replica.is_some())
    }

    /// What both resources know of their hosts is the same.
    pub(crate) fn check_hosts(&self) {
        let Some(other) = &self.aside else { return };
        let host = |node: &Node| (node.power, node.host, node.paused_until, node.stopped_until);
        for (here, there) in self.nodes.iter().zip(&other.nodes) {
            assert_eq!(host(here), host(there), "of host {}", here.number);
        }
    }
}
