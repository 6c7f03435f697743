//! Events and actions in words, short enough to read a thousand of.

use twindisk_core::{Action, ClientOp, DiskDone, DiskIo, Event, ExportState, LinkIntent, Reading};
use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::{Envelope, Frame},
    lineage::Lineage,
    superblock::Lack,
};

/// What a node hears.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Client(request) => format!(
            "client r{} c{}: {}",
            request.request.0,
            request.connection.0,
            client_op(&request.op)
        ),
        Event::ConnectionClosed { connection } => format!("client c{} is gone", connection.0),
        Event::DiskDone { op, result } => match result {
            Ok(DiskDone::Done) => format!("disk op {} done", op.0),
            Ok(DiskDone::Hashes(hashes)) => {
                format!("disk op {} done: {} hashes", op.0, hashes.len())
            }
            Err(error) => format!("disk op {} FAILED: {error}", op.0),
        },
        Event::MetaDone { op, result } => match result {
            Ok(()) => format!("metadata op {} done", op.0),
            Err(error) => format!("metadata op {} FAILED: {error}", op.0),
        },
        Event::LinkUp { peer, link } => format!("link {} to slot {peer} is up", link.0),
        Event::LinkDown { peer, link, why } => {
            format!("link {} to slot {peer} is down: {why}", link.0)
        }
        Event::Reading {
            peer,
            link,
            reading,
        } => format!("reading from slot {peer} by link {}: {reading:?}", link.0),
        Event::Frame {
            peer,
            link,
            envelope,
            payload,
        } => format!(
            "from slot {peer} by link {}: {}{}",
            link.0,
            frame(envelope),
            payload.map_or_else(String::new, |buf| format!(" [buf {}]", buf.0))
        ),
        Event::Sent { .. }
        | Event::Command { .. }
        | Event::Capacity { .. }
        | Event::Saved { .. }
        | Event::Tick => format!("{event:?}"),
    }
}

/// What a node asks for.
pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::Disk { op, io } => format!("disk op {}: {}", op.0, disk_io(io)),
        Action::MetaWrite { op, block, .. } => format!("metadata op {}: write block {block}", op.0),
        Action::Send {
            peer,
            link,
            envelope,
            payload,
        } => format!(
            "to slot {peer} by link {}: {}{}",
            link.0,
            frame(envelope),
            payload.map_or_else(String::new, |(buf, at)| format!(" [buf {}+{at}]", buf.0))
        ),
        Action::Complete { request, result } => match result {
            Ok(()) => format!("completes r{}", request.0),
            Err(failure) => format!("FAILS r{}: {failure:?}", request.0),
        },
        Action::Forget { request } => format!("forgets r{}", request.0),
        Action::Release { buf } => format!("releases buf {}", buf.0),
        Action::Link { peer, intent } => format!("link to slot {peer}: {intent:?}"),
        Action::Export(ExportState::Open { size_blocks }) => {
            format!("opens the device ({size_blocks} blocks)")
        }
        Action::Export(ExportState::Closed { why }) => format!("closes the device: {why}"),
        Action::Bound(Some(binding)) => format!("serves who is bound to {binding}"),
        Action::Bound(None) => "serves nobody of a former time".into(),
        Action::Reply { id, result } => match result {
            Ok(reply) => format!("answers command {}: {}", id.0, reply.message),
            Err(refusal) => format!(
                "REFUSES command {}: {:?}: {}",
                id.0, refusal.code, refusal.why
            ),
        },
        Action::SaveBlocks { op, ranges } => format!("saves {} ranges (op {})", ranges.len(), op.0),
        Action::ProbeCapacity { .. } | Action::Halt { .. } => format!("{action:?}"),
        Action::Report(report) => format!("** {report:?}"),
    }
}

fn client_op(op: &ClientOp) -> String {
    match op {
        ClientOp::Read { range, buf } => format!("read {range} [buf {}]", buf.0),
        ClientOp::Write {
            range,
            buf,
            fill,
            fua,
        } => format!(
            "write {range}{}{} [buf {}]",
            fill.map_or_else(String::new, |fill| format!(
                " bytes {}..{}",
                fill.from, fill.to
            )),
            fua_word(*fua),
            buf.0
        ),
        ClientOp::Zero { range, unmap, fua } => {
            let word = if *unmap { "trim" } else { "zero" };
            format!("{word} {range}{}", fua_word(*fua))
        }
        ClientOp::Flush => "flush".to_owned(),
    }
}

fn disk_io(io: &DiskIo) -> String {
    match io {
        DiskIo::Read { range, buf, at } => format!("read {range} [buf {}+{at}]", buf.0),
        DiskIo::Write {
            range,
            buf,
            at,
            fua,
        } => format!("write {range}{} [buf {}+{at}]", fua_word(*fua), buf.0),
        DiskIo::Zero { range, fua, .. } => format!("zero {range}{}", fua_word(*fua)),
        DiskIo::Flush => "flush".to_owned(),
        DiskIo::Hash { range } => format!("hash {range}"),
        DiskIo::FillEdges { .. } | DiskIo::FillFrom { .. } | DiskIo::Copy { .. } => {
            format!("{io:?}")
        }
    }
}

fn frame(envelope: &Envelope) -> String {
    let what = match &envelope.frame {
        Frame::Write {
            seq,
            depends_on,
            range,
            how,
        } => format!(
            "Write #{seq} {range}{}{} after #{depends_on}",
            fua_word(how.fua),
            if how.resync { " resync" } else { "" }
        ),
        Frame::Zero {
            seq,
            depends_on,
            range,
            how,
            ..
        } => format!(
            "Zero #{seq} {range}{}{} after #{depends_on}",
            fua_word(how.fua),
            if how.resync { " resync" } else { "" }
        ),
        Frame::Flush { seq } => format!("Flush #{seq}"),
        Frame::Received { seq } => format!("Received #{seq}"),
        Frame::Written { seq } => format!("Written #{seq}"),
        Frame::Stable { seq } => format!("Stable #{seq}"),
        Frame::Read { tag, range } => format!("Read {range} tag {tag}"),
        Frame::ReadReply { tag, range } => format!("ReadReply {range} tag {tag}"),
        Frame::Hash { tag, range, .. } => format!("Hash {range} tag {tag}"),
        Frame::Bits { first, words } => format!(
            "Bits from {first}: {} set",
            words.iter().map(|word| word.count_ones()).sum::<u32>()
        ),
        Frame::Differ { tag, mask } => format!("Differ tag {tag}: {} blocks", mask.count()),
        Frame::ReadFailed { .. } | Frame::Ping | Frame::Pong => format!("{:?}", envelope.frame),
        Frame::Control(message) => control(message),
    };
    format!(
        "{what} (term {}, stable {})",
        envelope.term, envelope.stable
    )
}

fn control(message: &ControlMessage) -> String {
    match message {
        ControlMessage::State(state) => peer_state(state),
        ControlMessage::Membership(membership) => format!(
            "Membership {} term {} {} in sync {:?}{}{}",
            membership.change,
            membership.term,
            lineage(&membership.lineage),
            membership
                .in_sync
                .iter()
                .map(|node| node.0)
                .collect::<Vec<_>>(),
            if membership.primary { " primary" } else { "" },
            if membership.up_to_date {
                " up-to-date"
            } else {
                ""
            },
        ),
        ControlMessage::TermRequest {
            term,
            lineage: of,
            dirty,
        } => format!(
            "TermRequest {term} {}{}",
            lineage(of),
            if *dirty { " dirty" } else { "" }
        ),
        other => format!("{other:?}"),
    }
}

fn peer_state(state: &PeerState) -> String {
    format!(
        "State {:?}{}{}{}{} {} in sync {:?} of epoch {}, {} dirty, base {:?}, {} of {} blocks",
        state.disk,
        if state.primary { " primary" } else { "" },
        if state.up_to_date { " up-to-date" } else { "" },
        match state.lack {
            Lack::Nothing => "",
            Lack::UnderWay => " crashed",
            Lack::Unflushed => " unpowered",
            Lack::Anything => " uncounted",
        },
        if state.unwritten { " writing" } else { "" },
        lineage(&state.lineage),
        state.in_sync.iter().map(|node| node.0).collect::<Vec<_>>(),
        state.epoch,
        state.dirty_blocks,
        state.base.map(|base| base.0 % 1000),
        state.size_blocks,
        state.capacity_blocks,
    )
}

/// Newest first: term, the last digits of the name, node.
fn lineage(lineage: &Lineage) -> String {
    let newest: Vec<String> = lineage
        .generations()
        .iter()
        .rev()
        .take(3)
        .map(|generation| {
            format!(
                "{}/{}/n{}",
                generation.term,
                generation.id.0 % 1000,
                generation.node
            )
        })
        .collect();
    format!("<{}>", newest.join(" "))
}

const fn fua_word(fua: bool) -> &'static str {
    if fua { " FUA" } else { "" }
}

/// The kind of an event.
pub(crate) const fn event_kind(event: &Event) -> &'static str {
    match event {
        Event::Client(_) => "client request",
        Event::ConnectionClosed { .. } => "client's connection closed",
        Event::DiskDone { result: Ok(_), .. } => "disk operation done",
        Event::DiskDone { result: Err(_), .. } => "disk operation failed",
        Event::MetaDone { result: Ok(()), .. } => "metadata written",
        Event::MetaDone { result: Err(_), .. } => "metadata not written",
        Event::LinkUp { .. } => "link up",
        Event::LinkDown { .. } => "link down",
        Event::Reading {
            reading: Reading::Paused,
            ..
        } => "reading paused",
        Event::Reading {
            reading: Reading::Resumed,
            ..
        } => "reading resumed",
        Event::Frame { .. } => "frame",
        Event::Sent { .. } => "sent",
        Event::Command { .. } => "command",
        Event::Capacity { .. } => "capacity",
        Event::Saved { result: Ok(_), .. } => "blocks saved",
        Event::Saved { result: Err(_), .. } => "blocks not saved",
        Event::Tick => "tick",
    }
}

/// The kind of an action.
pub(crate) const fn action_kind(action: &Action) -> &'static str {
    match action {
        Action::Disk { io, .. } => match io {
            DiskIo::Read { .. } => "disk: read",
            DiskIo::Write { .. } => "disk: write",
            DiskIo::Zero { .. } => "disk: zero",
            DiskIo::Flush => "disk: flush",
            DiskIo::FillEdges { .. } => "disk: fill edges",
            DiskIo::FillFrom { .. } => "disk: fill edges from a buffer",
            DiskIo::Copy { .. } => "disk: copy",
            DiskIo::Hash { .. } => "disk: hash",
        },
        Action::MetaWrite { .. } => "write metadata",
        Action::Send { envelope, .. } => frame_kind(&envelope.frame),
        Action::Complete { result: Ok(()), .. } => "complete a request",
        Action::Complete { result: Err(_), .. } => "fail a request",
        Action::Forget { .. } => "forget a request",
        Action::Release { .. } => "release a buffer",
        Action::Link { intent, .. } => match intent {
            LinkIntent::Connect => "link: connect",
            LinkIntent::Reconnect { .. } => "link: reconnect",
            LinkIntent::Disconnect { .. } => "link: disconnect",
        },
        Action::Export(ExportState::Open { .. }) => "open the device",
        Action::Export(ExportState::Closed { .. }) => "close the device",
        Action::Bound(Some(_)) => "bind clients",
        Action::Bound(None) => "end what clients are bound to",
        Action::Reply { result: Ok(_), .. } => "obey a command",
        Action::Reply { result: Err(_), .. } => "refuse a command",
        Action::ProbeCapacity { .. } => "probe the capacity",
        Action::SaveBlocks { .. } => "save blocks",
        Action::Report(_) => "report",
        Action::Halt { .. } => "halt",
    }
}

const fn frame_kind(frame: &Frame) -> &'static str {
    match frame {
        Frame::Write { .. } => "send: Write",
        Frame::Zero { .. } => "send: Zero",
        Frame::Flush { .. } => "send: Flush",
        Frame::Received { .. } => "send: Received",
        Frame::Written { .. } => "send: Written",
        Frame::Stable { .. } => "send: Stable",
        Frame::Read { .. } => "send: Read",
        Frame::ReadReply { .. } => "send: ReadReply",
        Frame::ReadFailed { .. } => "send: ReadFailed",
        Frame::Hash { .. } => "send: Hash",
        Frame::Differ { .. } => "send: Differ",
        Frame::Bits { .. } => "send: Bits",
        Frame::Ping => "send: Ping",
        Frame::Pong => "send: Pong",
        Frame::Control(message) => match message {
            ControlMessage::State(_) => "send: State",
            ControlMessage::Ready { .. } => "send: Ready",
            ControlMessage::BeginResync { .. } => "send: BeginResync",
            ControlMessage::ResyncBegun => "send: ResyncBegun",
            ControlMessage::Membership(_) => "send: Membership",
            ControlMessage::MembershipStored { .. } => "send: MembershipStored",
            ControlMessage::TermRequest { .. } => "send: TermRequest",
            ControlMessage::TermGranted { .. } => "send: TermGranted",
            ControlMessage::TermRefused { .. } => "send: TermRefused",
            ControlMessage::SwitchoverRequest => "send: SwitchoverRequest",
            ControlMessage::TakeOver => "send: TakeOver",
            ControlMessage::Refused { .. } => "send: Refused",
            ControlMessage::Released => "send: Released",
            ControlMessage::ReleaseStored => "send: ReleaseStored",
            ControlMessage::DiskFailed { stored: true } => "send: DiskFailed, stored",
            ControlMessage::DiskFailed { stored: false } => "send: DiskFailed, not stored",
            ControlMessage::Resize { .. } => "send: Resize",
            ControlMessage::Resized { .. } => "send: Resized",
            ControlMessage::Discard => "send: Discard",
            ControlMessage::Goodbye { .. } => "send: Goodbye",
            ControlMessage::Moment { .. } => "send: Moment",
            ControlMessage::Seen { .. } => "send: Seen",
        },
    }
}
