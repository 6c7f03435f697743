//! Events and actions in words, short enough to read a thousand of.

use twindisk_core::{Action, ClientOp, DiskDone, DiskIo, Event, ExportState};
use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::{Envelope, Frame},
    lineage::Lineage,
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
        "State {:?}{}{}{} {} in sync {:?}, {} dirty, base {:?}, {} of {} blocks",
        state.disk,
        if state.primary { " primary" } else { "" },
        if state.up_to_date { " up-to-date" } else { "" },
        if state.crashed { " crashed" } else { "" },
        lineage(&state.lineage),
        state.in_sync.iter().map(|node| node.0).collect::<Vec<_>>(),
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
