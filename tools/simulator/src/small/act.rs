//! What a core asks for, done: the part of an engine.

use std::collections::VecDeque;

use twindisk_core::{Action, BufId, ConnectionId, Event, ExportState, LinkId, LinkIntent, Report};
use twindisk_format::frame::{Envelope, Frame};

use super::{
    machine::{Op, Page, name},
    wire::{EndState, Parcel},
    world::{What, World},
};

impl World {
    /// A core hears something, and what it asks for is done.
    pub(super) fn tell(&mut self, number: usize, event: Event) -> Result<(), String> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now;
            let Some(replica) = &mut self.nodes[number].replica else {
                return Ok(());
            };
            replica.handle(now, event);
            self.act_on_all(number, &mut events)?;
        }
        Ok(())
    }

    pub(super) fn poll(&mut self, number: usize) -> Result<(), String> {
        self.tell(number, Event::Tick)
    }

    fn act_on_all(&mut self, number: usize, events: &mut VecDeque<Event>) -> Result<(), String> {
        while let Some(replica) = &mut self.nodes[number].replica {
            let Some(action) = replica.poll_action() else {
                break;
            };
            self.act(number, action, events)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        number: usize,
        action: Action,
        events: &mut VecDeque<Event>,
    ) -> Result<(), String> {
        let node = &mut self.nodes[number];
        match action {
            Action::Disk { op, io } => node.begin(op, io),
            Action::MetaWrite { op, block, data } => {
                node.ops.push(Op::Meta(op, block, Page::new(data)));
            }
            Action::Send {
                link,
                envelope,
                payload,
                ..
            } => {
                if let (Frame::ReadReply { .. }, Some((buf, _))) = (&envelope.frame, payload) {
                    events.push_back(Event::Sent { buf });
                }
                self.send(number, link, envelope, payload);
            }
            Action::Complete { request, result } => {
                let Some(pending) = self.requests.remove(&request.0) else {
                    return Err(format!("{} answers a request twice", name(number)));
                };
                if result.is_ok() && !pending.closed {
                    let term = self.status(number).map_or(0, |status| status.term);
                    self.book.acted(number, term)?;
                    match pending.what {
                        What::Write(stamp, fua) => self.book.acknowledge(stamp, fua),
                        What::Flush(stamps) => self.book.flushed(&stamps),
                    }
                }
            }
            Action::Forget { request } => _ = self.requests.remove(&request.0),
            Action::Release { buf } => node.release(buf),
            Action::Link { intent, .. } => self.link_intent(number, &intent),
            Action::Export(ExportState::Open { .. }) => {
                let last = self.nodes[1 - number].openings;
                let node = &mut self.nodes[number];
                node.openings = node.openings.max(last) + 1;
                node.export_open = true;
            }
            Action::Export(ExportState::Closed { .. }) => {
                if node.export_open {
                    node.export_open = false;
                    let connection = ConnectionId(node.openings);
                    events.push_back(Event::ConnectionClosed { connection });
                }
                for pending in self.requests.values_mut() {
                    pending.closed |= pending.node == number;
                }
            }
            Action::ProbeCapacity { op } => events.push_back(Event::Capacity {
                op,
                blocks: self.settings.blocks,
            }),
            Action::SaveBlocks { op, .. } => events.push_back(Event::Saved {
                op,
                result: Ok("saved".into()),
            }),
            Action::Report(Report::SplitBrain { .. }) => {
                return Err(format!(
                    "R11: {} sees a split brain, though nobody has forced anything",
                    name(number)
                ));
            }
            Action::Reply { id, result } => self.replies.push((id, result.map(|_| ()))),
            Action::Bound(_) | Action::Report(_) => {}
            Action::Halt { .. } => self.die(number, false),
        }
        Ok(())
    }

    fn send(
        &mut self,
        number: usize,
        id: LinkId,
        envelope: Envelope,
        payload: Option<(BufId, u32)>,
    ) {
        let count = match &envelope.frame {
            Frame::Write { range, .. } | Frame::ReadReply { range, .. } => range.blocks,
            _ => 0,
        };
        let blocks = payload.map(|(buf, at)| self.nodes[number].blocks(buf, at, count));
        let Some(link) = self.wire.link.as_mut().filter(|link| link.id == id) else {
            return;
        };
        let end = &mut link.ends[number];
        if !link.broken && !end.closing && end.state == EndState::Up {
            end.sent.push_back(Parcel { envelope, blocks });
        }
    }

    fn link_intent(&mut self, number: usize, intent: &LinkIntent) {
        self.nodes[number].wants = !matches!(intent, LinkIntent::Disconnect { .. });
        match intent {
            LinkIntent::Connect => {}
            LinkIntent::Reconnect { .. } => self.wire.cut(),
            LinkIntent::Disconnect { .. } => {
                if let Some(link) = &mut self.wire.link {
                    link.ends[number].closing = true;
                }
                self.wire.close_drained();
            }
        }
    }
}
