//! From bytes to frames: nothing reaches the core before its chain and its checksum were verified.

use std::ptr::NonNull;

use io_uring::opcode;
use twindisk_core::{Event, LinkId, Reading};
use twindisk_format::{
    checksum::verify_payload,
    frame::{Frame, How},
    ids::Slot,
    limits::BLOCK_BYTES,
    wire::{HEADER_BYTES, Header, PayloadKind},
};

use super::{
    Context, Links, Why,
    link::{Link, Receiving, State, Target},
    tls::Tls,
};
use crate::{
    buffers::Class,
    limits::{LARGE_RECEIVE_BYTES, LINK_RECEIVE_BYTES, TLS_RECEIVE_BYTES},
    ring::{Completion, Ring, Turn},
    tokens::{Kind, Token},
    window::Window,
};

/// Whether a link can go on at once.
enum Flow {
    On,
    Starved,
    Paused,
}

impl Links {
    /// Bytes came from a peer.
    pub(crate) fn received(&mut self, completion: Completion, context: &mut Context<'_>) {
        let slot = self.slot_of(completion);
        let link = self.link(slot).expect("just found");
        let target = link.receive.take().expect("a receive was under way");
        match completion.bytes() {
            Ok(0) => {
                let why = match link.tls {
                    None => "the peer closed it",
                    // Whoever can cut the connection may do so; but it does not pass for the peer's end.
                    Some(_) => "the connection was cut off: the peer did not say that it ends it",
                };
                self.end(slot, Why::Broken(why.into()), context);
            }
            Err(libc::EINTR | libc::EAGAIN) => {}
            Err(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                self.end(
                    slot,
                    Why::Broken(format!("receiving failed: {error}")),
                    context,
                );
            }
            Ok(bytes) => match (target, &mut link.receiving, &mut link.tls) {
                (Target::Window, ..) => link.window.received(bytes),
                (Target::Payload, Receiving::Payload { done, .. }, _) => *done += bytes,
                (Target::Tls, _, Some(tls)) => tls.incoming.received(bytes),
                (target, other, _) => panic!("{target:?} while {other:?}"),
            },
        }
        let link = self.link(slot).expect("it is still there");
        if link.state != State::Open {
            self.stop_receiving(slot, context);
        }
        self.pump(slot, context);
    }

    /// Takes what is in the window, then receives on.
    pub(super) fn pump(&mut self, slot: Slot, context: &mut Context<'_>) {
        loop {
            let Some(link) = self.link(slot) else {
                return;
            };
            if link.receive.is_some() {
                return;
            }
            let flow = match (link.state, link.receiving) {
                (State::Dead, _) => return,
                // Thrown away up to the peer's end.
                (State::Draining { .. }, _) => Flow::Starved,
                (State::Open, Receiving::Header) => self.take_header(slot, context),
                (State::Open, Receiving::Inline { header, len }) => {
                    self.take_inline(slot, header, len, context)
                }
                (State::Open, Receiving::NoRoom { .. }) => Flow::Paused,
                (State::Open, Receiving::Payload { .. }) => self.take_payload(slot, context),
            };
            match flow {
                Flow::On => {}
                Flow::Starved => match self.decrypt(slot, context) {
                    Flow::On => {}
                    Flow::Starved => return self.receive(slot, context),
                    Flow::Paused => return,
                },
                Flow::Paused => return,
            }
        }
    }

    fn take_header(&mut self, slot: Slot, context: &mut Context<'_>) -> Flow {
        let link = self.link(slot).expect("in use");
        let Some(bytes) = link.window.filled().first_chunk::<HEADER_BYTES>() else {
            return Flow::Starved;
        };
        let header = match link.decoder.header(bytes) {
            Ok(header) => header,
            Err(error) => {
                self.end(slot, Why::Broken(error.to_string()), context);
                return Flow::Paused;
            }
        };
        link.window.consume(HEADER_BYTES);
        match header.payload() {
            PayloadKind::None => self.take_inline(slot, header, 0, context),
            PayloadKind::Inline(len) => {
                link.receiving = Receiving::Inline { header, len };
                Flow::On
            }
            PayloadKind::Blocks(len) => {
                link.receiving = Receiving::NoRoom { header, len };
                if !self.waiting.is_empty() || !self.begin_payload(slot, context) {
                    // Reading stops here: the peer's stream fills up and slows it down. Its silence counts no more.
                    self.waiting.push_back(slot);
                    self.tell_reading(slot, Reading::Paused, context);
                    return Flow::Paused;
                }
                Flow::On
            }
        }
    }

    fn take_inline(
        &mut self,
        slot: Slot,
        header: Header,
        len: usize,
        context: &mut Context<'_>,
    ) -> Flow {
        let link = self.link(slot).expect("in use");
        let Some(contents) = link.window.filled().get(..len) else {
            return Flow::Starved;
        };
        match header.finish(contents) {
            Ok(envelope) => {
                link.window.consume(len);
                link.receiving = Receiving::Header;
                context.events.push_back(Event::Frame {
                    peer: slot,
                    link: link.id,
                    envelope,
                    payload: None,
                });
                Flow::On
            }
            Err(error) => {
                self.end(slot, Why::Broken(error.to_string()), context);
                Flow::Paused
            }
        }
    }

    /// Finds a buffer for the block data that comes next; says whether there was one.
    pub(super) fn begin_payload(&mut self, slot: Slot, context: &mut Context<'_>) -> bool {
        let link = self.link(slot).expect("in use");
        let Receiving::NoRoom { header, len } = link.receiving else {
            panic!("{:?} waits for no room", link.receiving);
        };
        let blocks = u32::try_from(len / BLOCK_BYTES).expect("checked by the decoder");
        let Some(buf) = context.buffers.take(Class::Peer, blocks) else {
            return false;
        };
        link.receiving = Receiving::Payload {
            header,
            buf,
            len,
            done: 0,
        };
        true
    }

    fn take_payload(&mut self, slot: Slot, context: &mut Context<'_>) -> Flow {
        let link = self.link(slot).expect("in use");
        let Receiving::Payload {
            header,
            buf,
            len,
            mut done,
        } = link.receiving
        else {
            panic!("{:?} is no payload", link.receiving);
        };
        link.large = len > SMALL_PAYLOAD_BYTES;
        let filled = link.window.filled();
        let ready = filled.len().min(len - done);
        if ready > 0 {
            context.buffers.write(buf, done, &filled[..ready]);
            link.window.consume(ready);
            done += ready;
        }
        link.receiving = Receiving::Payload {
            header,
            buf,
            len,
            done,
        };
        if done < len {
            return Flow::Starved;
        }
        if let Err(error) = verify_payload(context.buffers.bytes(buf, 0, len), header.payload_crc())
        {
            self.end(slot, Why::Broken(error.to_string()), context);
            return Flow::Paused;
        }
        match header.finish(&[]) {
            Ok(envelope) => {
                link.receiving = Receiving::Header;
                let blocks = u32::try_from(len / BLOCK_BYTES).expect("checked by the decoder");
                context.buffers.set_crc(buf, blocks, header.payload_crc());
                if is_resync(&envelope.frame) {
                    context.buffers.set_thin(buf);
                }
                context.events.push_back(Event::Frame {
                    peer: slot,
                    link: link.id,
                    envelope,
                    payload: Some(buf),
                });
                Flow::On
            }
            Err(error) => {
                self.end(slot, Why::Broken(error.to_string()), context);
                Flow::Paused
            }
        }
    }

    /// Takes what the next frame lacks out of the ciphertext that has come, if the link has TLS.
    fn decrypt(&mut self, slot: Slot, context: &mut Context<'_>) -> Flow {
        let link = self.link(slot).expect("in use");
        let Some(tls) = &mut link.tls else {
            return Flow::Starved;
        };
        if link.state != State::Open {
            tls.incoming.clear();
            return Flow::Starved;
        }
        let filled = link.window.filled().len();
        let read = match &mut link.receiving {
            Receiving::Payload { buf, len, done, .. } => {
                assert!(filled == 0, "it comes first");
                let into = context.buffers.bytes_mut(*buf, *done, *len - *done);
                let read = tls.read(into);
                *done += read.as_ref().unwrap_or(&0);
                read
            }
            // No more than that: what follows goes to its own place at once.
            Receiving::Header => into_window(tls, &mut link.window, HEADER_BYTES - filled),
            Receiving::Inline { len, .. } => {
                into_window(tls, &mut link.window, len.saturating_sub(filled))
            }
            Receiving::NoRoom { .. } => return Flow::Paused,
        };
        match read {
            Ok(0) => Flow::Starved,
            Ok(_) => Flow::On,
            Err(why) => {
                self.end(slot, Why::Broken(why), context);
                Flow::Paused
            }
        }
    }

    /// Arms the next receive: large block data goes to its place, everything else to the window.
    fn receive(&mut self, slot: Slot, context: &mut Context<'_>) {
        let link = self.link(slot).expect("in use");
        if let Some(tls) = &mut link.tls {
            let (address, len) = tls.incoming.room(TLS_RECEIVE_BYTES);
            link.receive = Some(Target::Tls);
            return stage(slot, link, (address, len, 0), context.ring);
        }
        let direct = match link.receiving {
            Receiving::Payload { buf, len, done, .. } if len - done > SMALL_PAYLOAD_BYTES => {
                Some((buf, done, len - done))
            }
            _ => None,
        };
        let (address, len, flags) = if let Some((buf, at, len)) = direct {
            assert!(link.window.filled().is_empty(), "it comes first");
            context.buffers.changed(buf);
            link.receive = Some(Target::Payload);
            (
                context.buffers.address(buf, at, len),
                len,
                libc::MSG_WAITALL,
            )
        } else {
            link.receive = Some(Target::Window);
            let most = match link.receiving {
                Receiving::Inline { len, .. } => len.max(LINK_RECEIVE_BYTES),
                _ if link.large => LARGE_RECEIVE_BYTES,
                _ => LINK_RECEIVE_BYTES,
            };
            let (address, len) = link.window.room(most);
            assert!(len > 0, "a header and the largest contents fit");
            (address, len, 0)
        };
        stage(slot, link, (address, len, flags), context.ring);
    }

    /// Gives up what is being received, unless the ring still writes to its buffer.
    pub(super) fn stop_receiving(&mut self, slot: Slot, context: &mut Context<'_>) {
        let Some(link) = self.link(slot) else {
            return;
        };
        if link.receive.is_some() {
            return;
        }
        link.window.clear();
        if let Some(tls) = &mut link.tls {
            tls.incoming.clear();
        }
        if let Receiving::Payload { buf, .. } =
            std::mem::replace(&mut link.receiving, Receiving::Header)
        {
            context.buffers.give_back(buf);
        }
    }
}

/// Receives into what is the link's own as long as its `receive` is set.
fn stage(slot: Slot, link: &Link, into: (NonNull<u8>, usize, i32), ring: &mut Ring) {
    let (address, len, flags) = into;
    let len = u32::try_from(len).expect("at most 1 MiB");
    let entry = opcode::Recv::new(link.file.fd(), address.as_ptr(), len)
        .flags(flags)
        .build();
    let token = token(Kind::LinkReceive, link.id, slot);
    // SAFETY: neither window is touched and the buffer not given up while `receive` is set.
    unsafe { ring.stage(Turn::Receive, link.file, entry, token) };
}

/// Decrypts so many bytes into the window, as far as they have come.
fn into_window(tls: &mut Tls, window: &mut Window, bytes: usize) -> Result<usize, String> {
    let read = tls.read(window.room_mut(bytes))?;
    window.received(read);
    Ok(read)
}

/// Whether a frame is no client's write.
const fn is_resync(frame: &Frame) -> bool {
    matches!(
        frame,
        Frame::Write {
            how: How { resync: true, .. },
            ..
        }
    )
}

pub(super) const fn token(kind: Kind, link: LinkId, slot: Slot) -> Token {
    Token::new(kind, link.0, slot.index() as u32)
}

/// As for clients: payloads up to this length go through the window, several in one receive.
const SMALL_PAYLOAD_BYTES: usize = 8 * 1024;
