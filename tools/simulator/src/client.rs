//! Clients: they read, write, zero, trim and flush whatever node has its device open, lose their connections with
//! requests under way, come back, and remember everything.

use std::collections::BTreeMap;

use twindisk_core::{BufId, ClientOp, ClientRequest, ConnectionId, Event, Fill, RequestId};
use twindisk_format::ids::BlockRange;

use crate::{
    bufs::Purpose,
    content::{POISON, SECTOR_BYTES, SECTORS, stamp},
    node::name,
    swarm::{MS, Swarm},
    trace::tell,
    world::{Ev, World},
};

/// All clients and what they wait for.
#[derive(Debug)]
pub(crate) struct Clients {
    list: Vec<Client>,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    next_connection: u32,
    /// Operations begun.
    pub(crate) issued: u64,
    /// Operations that may be begun.
    pub(crate) budget: u64,
}

#[derive(Debug, Default)]
struct Client {
    at: Option<Place>,
    under_way: usize,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: usize,
    run: u64,
    connection: ConnectionId,
}

/// A request that a core has not answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) client: usize,
    node: usize,
    connection: ConnectionId,
    pub(crate) kind: Kind,
    pub(crate) invoke: u64,
    /// Its connection is gone: nobody sees the answer.
    pub(crate) closed: bool,
    /// Sectors at the buffer's start that the client did not ask for.
    pub(crate) skip: u64,
}

/// What a request is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Read { buf: BufId, first: u64, count: u64 },
    Write { write: u64 },
    Flush,
}

impl Clients {
    pub(crate) fn new(swarm: &Swarm) -> Self {
        Self {
            list: (0..swarm.load.clients).map(|_| Client::default()).collect(),
            requests: BTreeMap::new(),
            next_request: 1,
            next_connection: 1,
            issued: 0,
            budget: swarm.load.operations,
        }
    }

    /// Takes a request that node `node` answers or forgets.
    pub(crate) fn take(&mut self, node: usize, id: RequestId) -> Option<Request> {
        if self.requests.get(&id)?.node != node {
            return None;
        }
        self.requests.remove(&id)
    }

    /// One of a client's requests is answered.
    pub(crate) fn answered(&mut self, client: usize) {
        if let Some(client) = self.list.get_mut(client) {
            client.under_way = client.under_way.saturating_sub(1);
        }
    }

    /// Requests without an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Number of clients.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// One of them, for stories.
    pub(crate) fn oldest(&self) -> String {
        self.requests
            .iter()
            .next()
            .map_or_else(String::new, |(id, request)| format!("{id:?}: {request:?}"))
    }
}

impl World {
    /// A client's turn.
    pub(crate) fn client_step(&mut self, client: usize) {
        let load = self.swarm.load.clone();
        let pause = self.dice.client.latency(load.think);
        self.after(pause.min(2000 * MS), Ev::Client { client });
        if self.clients.issued >= self.clients.budget {
            return;
        }
        let Some(place) = self.place_of(client) else {
            return;
        };
        if self.dice.client.chance(load.drops) {
            self.drop_connection(place.connection);
            return;
        }
        let burst = self.dice.client.between(1, load.burst);
        for _ in 0..burst {
            if self.clients.list[client].under_way >= load.depth {
                break;
            }
            self.issue(client, place);
        }
    }

    /// Where a client is connected, or connects to.
    fn place_of(&mut self, client: usize) -> Option<Place> {
        let open = |node: usize, run: u64| {
            self.nodes[node].run == run && self.nodes[node].export.is_some()
        };
        if let Some(place) = self.clients.list[client].at
            && open(place.node, place.run)
        {
            return Some(place);
        }
        let nodes: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].export.is_some())
            .collect();
        if nodes.is_empty() {
            return None;
        }
        let node = self.dice.client.pick(&nodes);
        Some(self.connect(client, node))
    }

    fn connect(&mut self, client: usize, node: usize) -> Place {
        let connection = ConnectionId(self.clients.next_connection);
        self.clients.next_connection += 1;
        let place = Place {
            node,
            run: self.nodes[node].run,
            connection,
        };
        self.clients.list[client] = Client {
            at: Some(place),
            under_way: 0,
        };
        tell!(
            self,
            "client {client} connects to {} ({connection:?})",
            name(node)
        );
        place
    }

    /// A client gives up where it is, and goes to another node.
    pub(crate) fn move_client(&mut self, client: usize, node: usize) {
        if let Some(place) = self.clients.list[client].at {
            self.drop_connection(place.connection);
        }
        self.connect(client, node);
    }

    fn issue(&mut self, client: usize, place: Place) {
        let load = self.swarm.load.clone();
        let Some(size) = self.nodes[place.node].export else {
            return;
        };
        let die = &mut self.dice.client;
        let roll = die.below(1000) as u32;
        let blocks = die.between(1, u64::from(load.max_blocks).min(size)) as u32;
        let hot = die.chance(800);
        let room = size - u64::from(blocks);
        let start = if hot {
            (die.below(load.hot_blocks.min(room + 1)) * load.stride).min(room)
        } else {
            die.below(room + 1)
        };
        let range = BlockRange::new(start, blocks);
        let fua = die.chance(load.fua);
        let now = self.now;
        let first = start * SECTORS;
        let count = u64::from(blocks) * SECTORS;
        let (op, kind, skip) = if roll < load.reads {
            let bufs = &mut self.nodes[place.node].bufs;
            let buf = bufs.allocate(Purpose::ClientRead, poison(blocks));
            (
                ClientOp::Read { range, buf },
                Kind::Read { buf, first, count },
                0,
            )
        } else if roll < load.reads + load.zeros {
            let unmap = die.coin();
            let write = self.book.invoke(now, (first, count), true, fua);
            (
                ClientOp::Zero { range, unmap, fua },
                Kind::Write { write },
                0,
            )
        } else if roll < load.reads + load.zeros + load.flushes {
            (ClientOp::Flush, Kind::Flush, 0)
        } else {
            let (from, to) = if die.chance(load.unaligned) {
                let from = die.below(SECTORS.min(count - 1));
                let lowest = (count - SECTORS).max(from) + 1;
                (from, die.between(lowest, count))
            } else {
                (0, count)
            };
            let write = self.book.invoke(now, (first + from, to - from), false, fua);
            let mut data = poison(blocks);
            for sector in from..to {
                data[(sector / SECTORS) as usize][(sector % SECTORS) as usize] =
                    stamp(write, first + sector);
            }
            let buf = self.nodes[place.node]
                .bufs
                .allocate(Purpose::ClientWrite, data);
            let fill = (to - from < count).then(|| Fill {
                from: from as u32 * SECTOR_BYTES,
                to: to as u32 * SECTOR_BYTES,
            });
            let op = ClientOp::Write {
                range,
                buf,
                fill,
                fua,
            };
            (op, Kind::Write { write }, from)
        };
        let skip = if matches!(kind, Kind::Read { .. }) {
            0
        } else {
            skip
        };
        self.request(client, place, op, kind, skip);
    }

    fn request(&mut self, client: usize, place: Place, op: ClientOp, kind: Kind, skip: u64) {
        let id = RequestId(self.clients.next_request);
        self.clients.next_request += 1;
        self.clients.issued += 1;
        if let Kind::Write { write } = kind {
            tell!(self, "r{} is write {write}", id.0);
            self.bindings.wrote(write, self.nodes[place.node].binding);
        }
        self.clients.list[client].under_way += 1;
        self.clients.requests.insert(
            id,
            Request {
                client,
                node: place.node,
                connection: place.connection,
                kind,
                invoke: self.now,
                closed: false,
                skip,
            },
        );
        let event = Event::Client(ClientRequest {
            request: id,
            connection: place.connection,
            op,
        });
        self.tell_core(place.node, 0, event);
    }

    /// A connection breaks on the client's side; the node hears of it a little later.
    fn drop_connection(&mut self, connection: ConnectionId) {
        let Some(client) = self.clients.list.iter_mut().find(|client| {
            client
                .at
                .is_some_and(|place| place.connection == connection)
        }) else {
            return;
        };
        let Some(place) = client.at.take() else {
            return;
        };
        client.under_way = 0;
        tell!(self, "{connection:?} to {} breaks", name(place.node));
        self.close_requests(place.node, Some(connection));
        if self.nodes[place.node].run == place.run {
            let delay = self.dice.client.below(5 * MS);
            self.tell_core(place.node, delay, Event::ConnectionClosed { connection });
        }
    }

    /// A node shuts all its clients' connections down.
    pub(crate) fn close_connections(&mut self, number: usize) {
        let connections: Vec<ConnectionId> = self
            .clients
            .list
            .iter()
            .filter_map(|client| client.at)
            .filter(|place| place.node == number && place.run == self.nodes[number].run)
            .map(|place| place.connection)
            .collect();
        for connection in connections {
            self.drop_connection(connection);
        }
    }

    /// A node's process is gone with all that it had.
    pub(crate) fn lose_clients(&mut self, number: usize) {
        self.close_requests(number, None);
        self.clients
            .requests
            .retain(|_, request| request.node != number);
        for client in &mut self.clients.list {
            if client.at.is_some_and(|place| place.node == number) {
                *client = Client::default();
            }
        }
    }

    fn close_requests(&mut self, number: usize, connection: Option<ConnectionId>) {
        let now = self.now;
        for request in self.clients.requests.values_mut() {
            let here = request.node == number
                && connection.is_none_or(|connection| request.connection == connection);
            if here && !request.closed {
                request.closed = true;
                if let Kind::Write { write } = request.kind {
                    self.book.close(now, write);
                }
            }
        }
    }
}

fn poison(blocks: u32) -> Vec<[u64; SECTORS as usize]> {
    vec![[POISON; SECTORS as usize]; blocks as usize]
}
