//! Every command and flag of the transmission phase, legal and illegal.

use twindisk_nbd::protocol::{command as cmd, command_flag as flag};
use twindisk_nbd::{
    BadMagic, BlockSizes, CloseReason, Command, ContextId, Cookie, Errno, Export, Header,
    Negotiated, Rejected, ReplyStyle, Request, Verdict, decode_header, validate,
};

const MIB: u32 = 1 << 20;
const SIZE: u64 = 128 * MIB as u64;
const COOKIE: Cookie = Cookie(0x0102_0304_0506_0708);

fn export() -> Export {
    Export::new("disk0", SIZE).unwrap()
}

fn simple() -> Negotiated {
    Negotiated {
        export: "disk0".to_owned(),
        replies: ReplyStyle::Simple,
        base_allocation: None,
    }
}

fn structured() -> Negotiated {
    Negotiated {
        replies: ReplyStyle::Structured,
        base_allocation: Some(ContextId::BASE_ALLOCATION),
        ..simple()
    }
}

fn header(command: u16, flags: u16, offset: u64, length: u32) -> Header {
    Header {
        flags,
        command,
        cookie: COOKIE,
        offset,
        length,
    }
}

fn accepted(verdict: Verdict) -> Request {
    match verdict {
        Verdict::Accept(request) => request,
        other => panic!("{other:?}"),
    }
}

fn rejected(verdict: Verdict) -> Rejected {
    match verdict {
        Verdict::Reject(rejected) => rejected,
        other => panic!("{other:?}"),
    }
}

/// The error for a request that has no payload.
fn errno(header: &Header, export: &Export, negotiated: &Negotiated) -> Errno {
    let rejected = rejected(validate(header, export, negotiated));
    assert_eq!(rejected.cookie, COOKIE);
    let payload = if header.command == cmd::WRITE {
        header.length
    } else {
        0
    };
    assert_eq!(rejected.payload_bytes_to_drain, payload);
    assert!(!rejected.message.is_empty() && rejected.message.len() <= 120);
    rejected.errno
}

/// Every command that has a range.
const RANGED: [u16; 6] = [
    cmd::READ,
    cmd::WRITE,
    cmd::TRIM,
    cmd::CACHE,
    cmd::WRITE_ZEROES,
    cmd::BLOCK_STATUS,
];

#[test]
fn header_has_the_layout_of_the_specification() {
    let bytes: [u8; 28] = [
        0x25, 0x60, 0x95, 0x13, // magic
        0x00, 0x01, // flags
        0x00, 0x06, // type
        1, 2, 3, 4, 5, 6, 7, 8, // cookie
        0, 0, 0, 0, 0, 0, 0x10, 0, // offset
        0, 0, 0x20, 0, // length
    ];
    let decoded = decode_header(&bytes).unwrap();
    assert_eq!(
        decoded,
        header(cmd::WRITE_ZEROES, flag::FUA, 0x1000, 0x2000)
    );
    assert_eq!(decoded.encode(), bytes);
}

#[test]
fn a_wrong_request_magic_is_fatal() {
    let mut bytes = header(cmd::READ, 0, 0, 1).encode();
    for at in 0..4 {
        bytes[at] ^= 1;
        assert!(decode_header(&bytes).is_err());
        bytes[at] ^= 1;
    }
    bytes[3] = 0;
    assert_eq!(decode_header(&bytes), Err(BadMagic(0x2560_9500)));
}

#[test]
fn every_command_is_accepted() {
    let all = [
        (
            cmd::READ,
            0,
            Command::Read {
                dont_fragment: false,
            },
        ),
        (
            cmd::READ,
            flag::DF,
            Command::Read {
                dont_fragment: true,
            },
        ),
        (cmd::WRITE, 0, Command::Write { fua: false }),
        (cmd::WRITE, flag::FUA, Command::Write { fua: true }),
        (cmd::TRIM, 0, Command::Trim { fua: false }),
        (cmd::TRIM, flag::FUA, Command::Trim { fua: true }),
        (cmd::CACHE, 0, Command::Cache),
        (
            cmd::WRITE_ZEROES,
            0,
            Command::WriteZeroes {
                fua: false,
                no_hole: false,
                fast: false,
            },
        ),
        (
            cmd::WRITE_ZEROES,
            flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
            Command::WriteZeroes {
                fua: true,
                no_hole: true,
                fast: true,
            },
        ),
        (
            cmd::BLOCK_STATUS,
            0,
            Command::BlockStatus { one_extent: false },
        ),
        (
            cmd::BLOCK_STATUS,
            flag::REQ_ONE,
            Command::BlockStatus { one_extent: true },
        ),
        (cmd::FLUSH, 0, Command::Flush),
        (cmd::DISC, 0, Command::Disconnect),
    ];
    for (number, flags, command) in all {
        let asked = header(number, flags, 4096, 8192);
        let request = accepted(validate(&asked, &export(), &structured()));
        let wanted = Request {
            cookie: COOKIE,
            command,
            offset: 4096,
            length: 8192,
        };
        assert_eq!(request, wanted);
        assert_eq!(request.to_header(), asked);
        let payload = if number == cmd::WRITE { 8192 } else { 0 };
        assert_eq!(request.payload_bytes(), payload);
    }
}

#[test]
fn fua_is_accepted_on_every_command() {
    for number in RANGED.into_iter().chain([cmd::FLUSH, cmd::DISC]) {
        accepted(validate(
            &header(number, flag::FUA, 0, 512),
            &export(),
            &structured(),
        ));
    }
}

#[test]
fn flush_ignores_its_reserved_fields_and_empty_exports() {
    let empty = Export::new("disk0", 0).unwrap();
    for (offset, length) in [(0, 0), (u64::MAX, u32::MAX)] {
        let asked = header(cmd::FLUSH, 0, offset, length);
        assert_eq!(
            accepted(validate(&asked, &empty, &simple())).command,
            Command::Flush
        );
    }
}

#[test]
fn disconnect_is_never_refused() {
    let mut read_only = export();
    read_only.read_only = true;
    let asked = header(cmd::DISC, 0xffff, 7, 7);
    assert_eq!(
        accepted(validate(&asked, &read_only, &simple())).command,
        Command::Disconnect
    );
}

#[test]
fn unknown_commands_are_invalid_and_keep_the_link() {
    for number in [8, 9, 100, u16::MAX] {
        let asked = header(number, 0, 0, 512);
        assert_eq!(errno(&asked, &export(), &structured()), Errno::Invalid);
    }
}

#[test]
fn unknown_flags_are_invalid_and_keep_the_link() {
    let allowed = |number: u16| match number {
        cmd::READ => flag::FUA | flag::DF,
        cmd::WRITE_ZEROES => flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
        cmd::BLOCK_STATUS => flag::FUA | flag::REQ_ONE,
        _ => flag::FUA,
    };
    for number in RANGED.into_iter().chain([cmd::FLUSH]) {
        for bit in 0..16 {
            let asked = header(number, 1 << bit, 0, 4096);
            if allowed(number) & (1 << bit) != 0 {
                accepted(validate(&asked, &export(), &structured()));
            } else {
                assert_eq!(errno(&asked, &export(), &structured()), Errno::Invalid);
            }
        }
    }
}

#[test]
fn df_needs_structured_replies() {
    let asked = header(cmd::READ, flag::DF, 0, 4096);
    assert_eq!(errno(&asked, &export(), &simple()), Errno::Invalid);
}

#[test]
fn commands_not_offered_are_invalid() {
    let mut bare = export();
    bare.capabilities.trim = false;
    bare.capabilities.cache = false;
    bare.capabilities.fast_zero = false;
    for number in [cmd::TRIM, cmd::CACHE] {
        assert_eq!(
            errno(&header(number, 0, 0, 512), &bare, &simple()),
            Errno::Invalid
        );
    }
    let fast = header(cmd::WRITE_ZEROES, flag::FAST_ZERO, 0, 512);
    assert_eq!(errno(&fast, &bare, &simple()), Errno::Invalid);
    accepted(validate(
        &header(cmd::WRITE_ZEROES, 0, 0, 512),
        &bare,
        &simple(),
    ));
    bare.capabilities.write_zeroes = false;
    let zeroes = header(cmd::WRITE_ZEROES, 0, 0, 512);
    assert_eq!(errno(&zeroes, &bare, &simple()), Errno::Invalid);
}

#[test]
fn block_status_needs_a_selected_context() {
    let asked = header(cmd::BLOCK_STATUS, 0, 0, 512);
    let without = Negotiated {
        base_allocation: None,
        ..structured()
    };
    assert_eq!(errno(&asked, &export(), &without), Errno::Invalid);
}

#[test]
fn read_only_exports_refuse_what_changes_data() {
    let mut read_only = export();
    read_only.read_only = true;
    for number in [cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
        let asked = header(number, flag::FUA, 0, 512);
        assert_eq!(errno(&asked, &read_only, &simple()), Errno::NotPermitted);
        let beyond = header(number, 0, SIZE, 512);
        assert_eq!(errno(&beyond, &read_only, &simple()), Errno::NotPermitted);
    }
    let fast = header(cmd::WRITE_ZEROES, flag::FAST_ZERO, 0, 512);
    assert_eq!(errno(&fast, &read_only, &simple()), Errno::NotPermitted);
    for number in [cmd::READ, cmd::CACHE, cmd::FLUSH, cmd::BLOCK_STATUS] {
        accepted(validate(
            &header(number, 0, 0, 512),
            &read_only,
            &structured(),
        ));
    }
}

#[test]
fn past_the_end_is_no_space_for_writes_and_invalid_for_the_rest() {
    for number in RANGED {
        let wanted = match number {
            cmd::WRITE | cmd::WRITE_ZEROES => Errno::NoSpace,
            _ => Errno::Invalid,
        };
        for (offset, length) in [
            (SIZE, 1),
            (SIZE - 1, 2),
            (SIZE - 512, 1024),
            (u64::MAX, 1),
            (u64::MAX - 511, 512),
            (u64::MAX, MIB),
        ] {
            let asked = header(number, 0, offset, length);
            assert_eq!(
                errno(&asked, &export(), &structured()),
                wanted,
                "{number} {offset}"
            );
        }
        accepted(validate(
            &header(number, 0, SIZE - 512, 512),
            &export(),
            &structured(),
        ));
    }
}

#[test]
fn payloads_beyond_the_maximum_keep_the_link_up_to_a_point() {
    let write = |length| validate(&header(cmd::WRITE, 0, 0, length), &export(), &simple());
    accepted(write(32 * MIB));
    let long = rejected(write(32 * MIB + 1));
    assert_eq!(
        (long.errno, long.payload_bytes_to_drain),
        (Errno::Invalid, 32 * MIB + 1)
    );
    assert_eq!(rejected(write(64 * MIB)).payload_bytes_to_drain, 64 * MIB);
    let reason = CloseReason::AbsurdPayload {
        length: 64 * MIB + 1,
        maximum: 32 * MIB,
    };
    assert_eq!(write(64 * MIB + 1), Verdict::Close(reason));

    let read = |flags, length| header(cmd::READ, flags, 0, length);
    accepted(validate(
        &read(flag::DF, 32 * MIB),
        &export(),
        &structured(),
    ));
    for negotiated in [simple(), structured()] {
        assert_eq!(
            errno(&read(0, 32 * MIB + 1), &export(), &negotiated),
            Errno::Invalid
        );
        assert_eq!(
            errno(&read(0, u32::MAX), &export(), &negotiated),
            Errno::Invalid
        );
    }
    let fragment = read(flag::DF, 32 * MIB + 1);
    assert_eq!(errno(&fragment, &export(), &structured()), Errno::Overflow);
}

#[test]
fn commands_without_payload_may_be_longer_than_the_maximum() {
    for number in [cmd::TRIM, cmd::WRITE_ZEROES, cmd::CACHE, cmd::BLOCK_STATUS] {
        accepted(validate(
            &header(number, 0, 0, 128 * MIB),
            &export(),
            &structured(),
        ));
    }
}

#[test]
fn zero_length_is_success_without_work() {
    for number in RANGED {
        for offset in [0, 512, SIZE] {
            let verdict = validate(&header(number, 0, offset, 0), &export(), &structured());
            assert_eq!(verdict, Verdict::Empty(COOKIE));
        }
        let beyond = validate(&header(number, 0, SIZE + 1, 0), &export(), &structured());
        assert!(matches!(beyond, Verdict::Reject(_)));
    }
}

#[test]
fn misaligned_is_invalid() {
    let mut blocks = export();
    blocks.block_sizes = BlockSizes::new(4096, 4096, MIB).unwrap();
    for number in RANGED {
        for (offset, length) in [(512, 4096), (4096, 512), (4095, 1)] {
            let asked = header(number, 0, offset, length);
            assert_eq!(errno(&asked, &blocks, &structured()), Errno::Invalid);
        }
        accepted(validate(
            &header(number, 0, 4096, 8192),
            &blocks,
            &structured(),
        ));
    }
}

#[test]
fn the_size_may_change_between_requests() {
    let mut growing = export();
    let asked = header(cmd::WRITE, 0, SIZE, 512);
    assert_eq!(errno(&asked, &growing, &simple()), Errno::NoSpace);
    growing.size_bytes += 512;
    accepted(validate(&asked, &growing, &simple()));
}
