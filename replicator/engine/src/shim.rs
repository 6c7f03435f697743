//! Stand-ins until the format crate has its own.

use twindisk_format::ids::{BootId, NodeId};

/// What the authentication agreed on.
#[derive(Clone, Debug)]
pub struct Session {
    /// The peer.
    pub peer: NodeId,
    /// The peer's run.
    pub peer_boot: BootId,
    /// Seed of the chain of frames to the peer.
    pub send_seed: u32,
    /// Seed of the chain of frames from the peer.
    pub receive_seed: u32,
}

use std::collections::{HashMap, VecDeque};

use twindisk_core::*;
use twindisk_format::{
    frame::{Envelope, Frame, How},
    ids::{Seq, Slot, Term},
    metadata::Loaded,
};

/// Passes everything through.
#[derive(Debug)]
pub(crate) struct Replica {
    actions: VecDeque<Action>,
    ops: HashMap<u64, Op>,
    acks: HashMap<u64, (u32, RequestId, Option<BufId>)>,
    next: u64,
    link: Option<(Slot, LinkId)>,
    size: u64,
}
#[derive(Debug)]
enum Op {
    Plain(RequestId),
    Part(u64),
    Edges(RequestId, DiskIo, BufId),
    Standby(Slot, LinkId, Seq, BufId),
}
impl Replica {
    pub(crate) fn new(_now: Time, _start: Start, loaded: Loaded) -> Self {
        let size = loaded.superblock.size_blocks;
        let mut actions = VecDeque::new();
        actions.push_back(Action::Export(ExportState::Open { size_blocks: size }));
        Self {
            actions,
            ops: HashMap::new(),
            acks: HashMap::new(),
            next: 0,
            link: None,
            size,
        }
    }
    fn disk(&mut self, io: DiskIo, op: Op) {
        self.next += 1;
        self.ops.insert(self.next, op);
        self.actions.push_back(Action::Disk {
            op: OpId(self.next),
            io,
        });
    }
    fn mutate(&mut self, request: RequestId, io: DiskIo) {
        self.next += 1;
        let seq = self.next;
        let mut parts = 1;
        let buf = match io {
            DiskIo::Write { buf, .. } => Some(buf),
            _ => None,
        };
        if let (
            Some((peer, link)),
            DiskIo::Write {
                range, buf, fua, ..
            },
        ) = (self.link, io)
        {
            parts = 2;
            self.actions.push_back(Action::Send {
                peer,
                link,
                envelope: envelope(Frame::Write {
                    seq: Seq(seq),
                    depends_on: Seq(0),
                    range,
                    how: How { fua, resync: false },
                }),
                payload: Some((buf, 0)),
            });
        }
        self.acks.insert(seq, (parts, request, buf));
        self.disk(io, Op::Part(seq));
    }
    fn part(&mut self, seq: u64) {
        let Some(ack) = self.acks.get_mut(&seq) else {
            return;
        };
        ack.0 -= 1;
        if ack.0 == 0 {
            let (_, request, buf) = self.acks.remove(&seq).expect("there");
            if let Some(buf) = buf {
                self.actions.push_back(Action::Release { buf });
            }
            self.actions.push_back(Action::Complete {
                request,
                result: Ok(()),
            });
        }
    }
    pub(crate) fn handle(&mut self, _now: Time, event: Event) {
        match event {
            Event::Client(ClientRequest { request, op, .. }) => match op {
                ClientOp::Read { range, buf } => {
                    self.disk(DiskIo::Read { range, buf, at: 0 }, Op::Plain(request))
                }
                ClientOp::Write {
                    range,
                    buf,
                    fill,
                    fua,
                } => {
                    let write = DiskIo::Write {
                        range,
                        buf,
                        at: 0,
                        fua,
                    };
                    match fill {
                        None => self.mutate(request, write),
                        Some(fill) => self.disk(
                            DiskIo::FillEdges { range, buf, fill },
                            Op::Edges(request, write, buf),
                        ),
                    }
                }
                ClientOp::Zero { range, unmap, fua } => {
                    self.mutate(request, DiskIo::Zero { range, unmap, fua })
                }
                ClientOp::Flush => self.disk(DiskIo::Flush, Op::Plain(request)),
            },
            Event::DiskDone { op, result } => match self.ops.remove(&op.0).expect("asked for") {
                Op::Plain(request) => {
                    let result = result.map(drop).map_err(|_| Failure::Io);
                    self.actions.push_back(Action::Complete { request, result });
                }
                Op::Part(seq) => self.part(seq),
                Op::Edges(request, write, _) => self.mutate(request, write),
                Op::Standby(peer, link, seq, buf) => {
                    self.actions.push_back(Action::Release { buf });
                    self.actions.push_back(Action::Send {
                        peer,
                        link,
                        envelope: envelope(Frame::Written { seq }),
                        payload: None,
                    });
                }
            },
            Event::LinkUp { peer, link, .. } => self.link = Some((peer, link)),
            Event::LinkDown { .. } => {
                self.link = None;
                let open: Vec<u64> = self
                    .acks
                    .iter()
                    .filter(|(_, ack)| ack.2.is_some())
                    .map(|(seq, _)| *seq)
                    .collect();
                let _ = open;
            }
            Event::Frame {
                peer,
                link,
                envelope,
                payload,
            } => match envelope.frame {
                Frame::Write {
                    seq, range, how, ..
                } => {
                    let buf = payload.expect("payload");
                    self.disk(
                        DiskIo::Write {
                            range,
                            buf,
                            at: 0,
                            fua: how.fua,
                        },
                        Op::Standby(peer, link, seq, buf),
                    );
                }
                Frame::Written { seq } => self.part(seq.0),
                _ => {}
            },
            Event::Command { id, command } => {
                self.actions.push_back(Action::Reply {
                    id,
                    result: Ok(CommandReply {
                        message: String::new(),
                    }),
                });
                if command == Command::Stop {
                    self.actions.push_back(Action::Export(ExportState::Closed {
                        why: "stopped".into(),
                    }));
                    self.actions.push_back(Action::Halt {
                        why: "stopped".into(),
                    });
                }
            }
            _ => {}
        }
    }
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        None
    }
    pub(crate) fn status(&self, _now: Time) -> Status {
        unreachable!("{}", self.size)
    }
}
const fn envelope(frame: Frame) -> Envelope {
    Envelope {
        term: Term(1),
        stable: Seq(0),
        frame,
    }
}
