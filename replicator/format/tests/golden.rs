//! The bytes of every format, frozen: what an older program wrote must stay readable, and peers of neighbouring
//! versions must understand each other. A difference here needs a new format or protocol version.
//!
//! `TWINDISK_BLESS=1 cargo test` writes the files anew; look at the diff before committing it.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{env, fmt::Write, fs, path::PathBuf};

use twindisk_format::{
    activity_log::AlPage,
    auth::{Channel, Dialer, Link, Listener, Local, Secret, Session},
    binding::Binding,
    bitmap::{decode_bitmap_page, encode_bitmap_page},
    checksum::{block_crc, payload_crc},
    codec,
    control::{ControlMessage, Membership, PeerState},
    frame::{BlockMask, Envelope, Frame, How},
    ids::{
        BlockRange, BootId, ClusterId, Epoch, GenerationId, Moment, NodeId, ResourceId, Seq, Slot,
        Term,
    },
    lineage::{Generation, Lineage},
    superblock::{
        Conflict, ConflictKind, Device, Lack, PeerRecord, Receipt, ReceiptKind, Run, Runs, Seen,
        Standing, StoredDisk, Superblock, Tie,
    },
    wire::{ChainDecoder, ChainEncoder},
};

const RESOURCE: ResourceId = ResourceId(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
const CLUSTER: ClusterId = ClusterId(0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110);

/// Compares `bytes` with the file, in lines of 32 bytes; lines of zeros are left out.
fn golden(name: &str, bytes: &[u8]) {
    let mut text = format!("{} bytes\n", bytes.len());
    for (at, line) in bytes.chunks(32).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            write!(text, "{:04x}:", at * 32).unwrap();
            line.iter()
                .for_each(|byte| write!(text, " {byte:02x}").unwrap());
            text.push('\n');
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.hex"));
    if env::var_os("TWINDISK_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, expected, "{name} has other bytes than before");
}

fn lineage() -> Lineage {
    Lineage::new(vec![
        Generation {
            term: Term(1),
            id: GenerationId(0x1111_1111_1111_1111),
            node: NodeId(1),
        },
        Generation {
            term: Term(3),
            id: GenerationId(0x3333_3333_3333_3333),
            node: NodeId(2),
        },
    ])
}

fn superblock() -> Superblock {
    Superblock {
        cluster: CLUSTER,
        resource: RESOURCE,
        node: NodeId(1),
        size_blocks: 0x0001_0000,
        max_size_blocks: 0x0002_0000,
        term: Term(4),
        epoch: Epoch(7),
        lineage: lineage(),
        unconfirmed: false,
        disk: StoredDisk::Outdated,
        suspect: true,
        rewound: true,
        device: Device {
            tie: Tie::Mark(0x0a0b_0c0d_0e0f_1011),
            blocks: 0x0001_8000,
        },
        runs: Runs {
            newest: vec![Run {
                boot: BootId(0x0b00_7000_0000_0003),
                began: Moment(5),
            }],
            made_good: vec![Seen {
                run: BootId(0x0b00_7000_0000_0002),
                moment: Moment(4),
            }],
        },
        primary: true,
        lack: Lack::Nothing,
        active: true,
        host: BootId(6),
        binding: Some(Binding {
            term: Term(1),
            id: GenerationId(0x1111_1111_1111_1111),
        }),
        peers: vec![
            PeerRecord {
                node: NodeId(2),
                base: Some(GenerationId(0x3333_3333_3333_3333)),
                standing: Standing::In,
                receipt: None,
                conflict: Some(Conflict {
                    kind: ConflictKind::Rewound,
                    newest: GenerationId(0x4444_4444_4444_4444),
                }),
                seen: Seen {
                    run: BootId(0x0b00_7000_0000_0002),
                    moment: Moment(0x0303),
                },
            },
            PeerRecord {
                node: NodeId(3),
                base: None,
                standing: Standing::Joining,
                receipt: Some(Receipt {
                    kind: ReceiptKind::Arbiter,
                    about: NodeId(3),
                    term: Term(4),
                    epoch: Epoch(7),
                    boot: BootId(0x0b00_7000_0000_0001),
                }),
                conflict: None,
                seen: Seen::NEVER,
            },
        ],
        spare_slots: 0,
    }
}

#[test]
fn superblock_bytes() {
    let block = superblock().encode(7);
    golden("superblock", block.as_slice());
    assert_eq!(Superblock::decode(1, &block), Ok((superblock(), 7)));
}

#[test]
fn activity_log_bytes() {
    let mut page = AlPage::new(2, 6);
    let first = 2 * twindisk_format::activity_log::EXTENTS_PER_PAGE;
    for extent in [0, 1, 63, 64, 3519, 3520, 31_743] {
        page.set(first + extent);
    }
    let block = page.encode(RESOURCE);
    golden("activity_log_page", block.as_slice());
    assert_eq!(AlPage::decode(RESOURCE, 2, 0, &block), Ok(page));
}

#[test]
fn bitmap_bytes() {
    let slot = Slot::new(3).unwrap();
    let block = encode_bitmap_page(RESOURCE, slot, 5, &[0x8000_0000_0000_0001, 0, 2]);
    golden("bitmap_page", block.as_slice());
    let words = decode_bitmap_page(RESOURCE, slot, 5, &block).unwrap();
    assert_eq!(words[..4], [0x8000_0000_0000_0001, 0, 2, 0]);
}

/// One of each variant that [`name_of`] knows.
fn control_messages() -> Vec<ControlMessage> {
    use ControlMessage as M;
    let why = || "disk is Outdated".to_owned();
    vec![
        M::State(PeerState {
            boot: BootId(5),
            primary: true,
            follows: None,
            disk: StoredDisk::UpToDate,
            suspect: false,
            rewound: false,
            moment: Moment(700),
            seen: Seen {
                run: BootId(8),
                moment: Moment(600),
            },
            runs: Box::new(Runs {
                newest: vec![Run {
                    boot: BootId(5),
                    began: Moment(650),
                }],
                made_good: vec![Seen {
                    run: BootId(4),
                    moment: Moment(640),
                }],
            }),
            up_to_date: true,
            lack: Lack::Unflushed,
            unwritten: true,
            lineage: lineage(),
            unconfirmed: true,
            in_sync: vec![NodeId(1), NodeId(2)],
            joining: vec![NodeId(2)],
            epoch: Epoch(8),
            copies: vec![NodeId(3)],
            dirty_blocks: 300,
            base: Some(GenerationId(9)),
            size_blocks: 70_000,
            capacity_blocks: 80_000,
        }),
        M::Ready { released: true },
        M::BeginResync { size_blocks: 1 },
        M::ResyncBegun,
        M::Membership(Membership {
            change: 2,
            term: Term(4),
            lineage: lineage(),
            epoch: Epoch(8),
            in_sync: vec![NodeId(1), NodeId(3)],
            joining: vec![NodeId(3)],
            equal: vec![NodeId(2)],
            newest: Seq(9),
            primary: true,
            up_to_date: false,
            unconfirmed: false,
            size_blocks: 70_000,
        }),
        M::MembershipStored { change: 2 },
        M::TermRequest {
            term: Term(5),
            lineage: lineage(),
            dirty: true,
        },
        M::TermGranted {
            term: Term(5),
            released: false,
            member: true,
        },
        M::TermRefused {
            term: Term(6),
            why: why(),
        },
        M::SwitchoverRequest,
        M::TakeOver,
        M::Refused { why: why() },
        M::Released,
        M::ReleaseStored,
        M::DiskFailed { stored: true },
        M::Resize {
            size_blocks: 2,
            store: true,
        },
        M::Resized { size_blocks: 2 },
        M::Discard,
        M::Goodbye { why: why() },
        M::Moment {
            moment: Moment(700),
        },
        M::Seen {
            node: NodeId(3),
            seen: Seen {
                run: BootId(8),
                moment: Moment(600),
            },
        },
    ]
}

/// Without a wildcard: who adds a message is sent here, and to [`control_messages`].
const fn name_of(message: &ControlMessage) -> &'static str {
    use ControlMessage as M;
    match message {
        M::State(_) => "state",
        M::Ready { .. } => "ready",
        M::BeginResync { .. } => "begin_resync",
        M::ResyncBegun => "resync_begun",
        M::Membership(_) => "membership",
        M::MembershipStored { .. } => "membership_stored",
        M::TermRequest { .. } => "term_request",
        M::TermGranted { .. } => "term_granted",
        M::TermRefused { .. } => "term_refused",
        M::SwitchoverRequest => "switchover_request",
        M::TakeOver => "take_over",
        M::Refused { .. } => "refused",
        M::Released => "released",
        M::ReleaseStored => "release_stored",
        M::DiskFailed { .. } => "disk_failed",
        M::Resize { .. } => "resize",
        M::Resized { .. } => "resized",
        M::Discard => "discard",
        M::Goodbye { .. } => "goodbye",
        M::Moment { .. } => "moment",
        M::Seen { .. } => "seen",
    }
}

#[test]
fn control_message_bytes() {
    for message in control_messages() {
        let name = name_of(&message);
        let mut bytes = Vec::new();
        codec::encode(&message, &mut bytes);
        assert_eq!(codec::decode(&bytes).as_ref(), Ok(&message), "{name}");
        golden(&format!("control_{name}"), &bytes);
    }
}

#[test]
fn the_table_of_control_messages_is_true() {
    let document = include_str!("../FORMAT.md");
    let (_, section) = document.split_once("### Control messages\n").unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    let table: Vec<_> = rows
        .map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | "))
        .collect();
    let messages = control_messages();
    let real = messages.iter().map(|message| {
        let mut bytes = Vec::new();
        codec::encode(message, &mut bytes);
        let said = format!("{message:?}");
        let name = said.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        format!("| {} | {name}", bytes[0])
    });
    assert_eq!(table, real.collect::<Vec<_>>());
}

fn frames() -> Vec<(&'static str, Frame)> {
    let (seq, depends_on) = (Seq(0x0101), Seq(0x0100));
    let range = BlockRange::new(0x2_0000, 2);
    let tag = 0x7a6;
    let how = How {
        fua: true,
        resync: false,
    };
    let mut mask = BlockMask::default();
    mask.set(1);
    vec![
        (
            "write",
            Frame::Write {
                seq,
                depends_on,
                range,
                how,
            },
        ),
        (
            "zero",
            Frame::Zero {
                seq,
                depends_on,
                range,
                how: How {
                    fua: false,
                    resync: true,
                },
                unmap: true,
            },
        ),
        ("flush", Frame::Flush { seq }),
        ("received", Frame::Received { seq }),
        ("written", Frame::Written { seq }),
        ("stable", Frame::Stable { seq }),
        ("read", Frame::Read { tag, range }),
        ("read_reply", Frame::ReadReply { tag, range }),
        ("read_failed", Frame::ReadFailed { tag }),
        (
            "hash",
            Frame::Hash {
                tag,
                range,
                hashes: vec![1, u128::MAX - 1],
            },
        ),
        ("differ", Frame::Differ { tag, mask }),
        (
            "bits",
            Frame::Bits {
                first: 640,
                words: vec![5, 1 << 63],
            },
        ),
        ("ping", Frame::Ping),
        ("pong", Frame::Pong),
        ("control", Frame::Control(ControlMessage::TakeOver)),
    ]
}

/// One stream with every kind of frame, so that the chain is frozen as well.
#[test]
fn frame_bytes() {
    let mut encoder = ChainEncoder::new(0x5eed_5eed);
    let mut decoder = ChainDecoder::new(0x5eed_5eed);
    let block = vec![0xab; 4096];
    let two_blocks = payload_crc(&[block_crc(&block), block_crc(&block)]);
    for (name, frame) in frames() {
        let crc = match frame {
            Frame::Write { .. } | Frame::ReadReply { .. } => two_blocks,
            _ => 0,
        };
        let envelope = Envelope {
            term: Term(4),
            stable: Seq(0x00ff),
            frame,
        };
        let mut inline = Vec::new();
        let header = encoder.encode(&envelope, crc, &mut inline);
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&inline);
        golden(&format!("frame_{name}"), &bytes);
        let decoded = decoder.header(&header).unwrap().finish(&inline);
        assert_eq!(decoded, Ok(envelope));
    }
}

#[test]
fn handshake_bytes() {
    let local = |node, boot| Local {
        cluster: CLUSTER,
        node: NodeId(node),
        boot: BootId(boot),
        versions: 1..=2,
        features: 0b101,
    };
    let secret = || Secret::new(b"0123456789abcdef").unwrap();
    let link = |peer| Link {
        resource: RESOURCE,
        peer: NodeId(peer),
    };
    let (mut dialer, begin) =
        Dialer::new(local(1, 11), link(2), secret(), [0xd1; 32], Channel::Clear);
    let directory = |asked| (asked == link(1)).then(secret);
    let mut listener = Listener::new(local(2, 22), directory, [0x11; 32], Channel::Clear);
    golden("auth_1_dialer_hello", &begin.send);
    let hello = listener.handle_bytes(&begin.send).unwrap();
    golden("auth_2_listener_hello", &hello.send);
    let proof = dialer.handle_bytes(&hello.send).unwrap();
    golden("auth_3_dialer_identity", &proof.send);
    let answer = listener.handle_bytes(&proof.send).unwrap();
    golden("auth_4_listener_identity", &answer.send);
    let end = dialer.handle_bytes(&answer.send).unwrap();
    let session = Session {
        peer: NodeId(2),
        peer_boot: BootId(22),
        resource: RESOURCE,
        version: 2,
        features: 0b101,
        send_seed: 0,
        receive_seed: 0,
    };
    let ends = end.done.unwrap();
    let seeds = [
        ends.send_seed.to_le_bytes(),
        ends.receive_seed.to_le_bytes(),
    ];
    golden("auth_5_chain_seeds_dialer_listener", seeds.as_flattened());
    assert_eq!(
        ends,
        Session {
            send_seed: ends.send_seed,
            receive_seed: ends.receive_seed,
            ..session
        }
    );
}
