//! The client against the server parts, and against servers that break the rules.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use twindisk_nbd::client::{
    Answer, Client, ClientError, ConnectOptions, Fua, ListedExport, Zeroing, list_exports,
};
use twindisk_nbd::protocol::{STATE_HOLE, STATE_ZERO, option_reply, transmission_flag as flag};
use twindisk_nbd::reply::{self, Extent, More};
use twindisk_nbd::{BlockSizes, Command, Cookie, Errno, ReplyStyle};

use crate::common::{disk, three_exports};
use crate::server::{Manner, serve};

fn all_options() -> [ConnectOptions; 3] {
    [
        ConnectOptions::default(),
        ConnectOptions {
            block_status: false,
            ..ConnectOptions::default()
        },
        ConnectOptions::for_the_kernel(),
    ]
}

fn errno(result: Result<(), ClientError>) -> Errno {
    match result {
        Err(ClientError::Request(error)) => error.errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_makes_the_round_trip() {
    for options in all_options() {
        for manner in [Manner::Plain, Manner::InPieces] {
            let (stream, server) = serve(disk(), manner);
            let mut client = Client::negotiate(stream, "disk0", &options).unwrap();
            let mut buffer = vec![1; 10_000];
            client.read(100, &mut buffer).unwrap();
            assert_eq!(buffer, vec![0; 10_000]);
            client.write(4096, &[7; 4096], Fua::No).unwrap();
            client.write(16384, &[8; 512], Fua::Yes).unwrap();
            client.trim(16384, 256, Fua::Yes).unwrap();
            client
                .write_zeroes(
                    4096,
                    100,
                    Zeroing {
                        no_hole: true,
                        ..Zeroing::default()
                    },
                )
                .unwrap();
            client.flush().unwrap();
            client.cache(0, 4096).unwrap();
            client.read(4000, &mut buffer).unwrap();
            let mut wanted = vec![0; 10_000];
            wanted[196..4192].fill(7);
            assert_eq!(buffer, wanted);
            client.read(0, &mut []).unwrap();
            client.disconnect().unwrap();
            let disk = server.join().unwrap();
            assert_eq!(disk[16384..16640], [0; 256]);
            assert_eq!(disk[16640..16896], [8; 256]);
        }
    }
}

#[test]
fn the_handshake_tells_what_the_server_said() {
    let (stream, _server) = serve(disk(), Manner::Plain);
    let client = Client::negotiate(stream, "", &ConnectOptions::default()).unwrap();
    let info = client.info();
    assert_eq!(
        (info.name.as_str(), info.description.as_str()),
        ("disk0", "the test disk")
    );
    assert_eq!((info.size_bytes, info.minimum_block_bytes), (1 << 20, 1));
    assert_eq!(
        (info.preferred_block_bytes, info.maximum_payload_bytes),
        (4096, 32 << 20)
    );
    assert!(info.has(flag::SEND_FLUSH | flag::SEND_FUA | flag::SEND_DF | flag::CAN_MULTI_CONN));
    assert!(!info.has(flag::READ_ONLY));
    assert_eq!(info.replies, ReplyStyle::Structured);
    assert!(info.base_allocation.is_some());
}

#[test]
fn errors_of_requests_keep_the_connection() {
    for options in all_options() {
        let (stream, _server) = serve(disk(), Manner::Plain);
        let mut client = Client::negotiate(stream, "disk0", &options).unwrap();
        assert_eq!(
            errno(client.write(1 << 20, &[0; 512], Fua::No)),
            Errno::NoSpace
        );
        assert_eq!(errno(client.read(1 << 20, &mut [0; 512])), Errno::Invalid);
        let fast = Zeroing {
            fast: true,
            ..Zeroing::default()
        };
        assert_eq!(
            errno(client.write_zeroes(0, 512, fast)),
            Errno::NotSupported
        );
        client.flush().unwrap();
    }
}

#[test]
fn messages_of_errors_arrive_with_structured_replies() {
    let (stream, _server) = serve(disk(), Manner::Plain);
    let mut client = Client::negotiate(stream, "disk0", &ConnectOptions::default()).unwrap();
    let error = client.trim(u64::MAX, 1, Fua::No).unwrap_err();
    let text = "the server answered invalid argument (EINVAL): past the end of the export";
    assert_eq!(error.to_string(), text);
    assert!(error.keeps_the_connection());
}

#[test]
fn block_status_tells_extents() {
    let (stream, _server) = serve(disk(), Manner::Plain);
    let mut client = Client::negotiate(stream, "disk0", &ConnectOptions::default()).unwrap();
    client.write(4096, &[1; 512], Fua::No).unwrap();
    let hole = Extent {
        length: 4096,
        flags: STATE_HOLE | STATE_ZERO,
    };
    assert_eq!(client.block_status(0, 4096).unwrap(), [hole]);
    assert_eq!(
        client.block_status(4096, 4096).unwrap(),
        [Extent {
            length: 4096,
            flags: 0
        }]
    );
    assert_eq!(client.block_status(4096, 0).unwrap(), []);
    let (stream, _server) = serve(disk(), Manner::Plain);
    let mut plain = Client::negotiate(stream, "disk0", &ConnectOptions::for_the_kernel()).unwrap();
    assert!(matches!(
        plain.block_status(0, 512),
        Err(ClientError::Misuse(_))
    ));
}

#[test]
fn many_requests_in_flight_complete_in_any_order() {
    for options in all_options() {
        let (stream, _server) = serve(disk(), Manner::Reversed);
        let mut client = Client::negotiate(stream, "disk0", &options).unwrap();
        let write = Command::Write { fua: false };
        let cookies: Vec<Cookie> = (0..4_u8)
            .map(|i| {
                client
                    .submit(write, u64::from(i) * 512, 512, &[i + 1; 512])
                    .unwrap()
            })
            .collect();
        assert_eq!(client.in_flight(), 4);
        let completed: Vec<Cookie> = (0..4).map(|_| client.receive().unwrap().cookie).collect();
        assert_eq!(completed, cookies.iter().rev().copied().collect::<Vec<_>>());
        // DF exists with structured replies only.
        let dont_fragment = options.replies == ReplyStyle::Structured;
        let read = Command::Read { dont_fragment };
        let cookies: Vec<Cookie> = (0..4_u64)
            .map(|i| client.submit(read, i * 512, 512, &[]).unwrap())
            .collect();
        for (cookie, byte) in cookies.iter().zip(1..) {
            let answer = client.wait(*cookie).unwrap().result.unwrap();
            assert_eq!(answer, Answer::Data(vec![byte; 512]));
        }
        assert!(matches!(client.receive(), Err(ClientError::Misuse(_))));
        assert!(matches!(
            client.wait(cookies[0]),
            Err(ClientError::Misuse(_))
        ));
    }
}

#[test]
fn lists_exports() {
    let (mut stream, server) = serve(three_exports(), Manner::Plain);
    let listed = list_exports(&mut stream).unwrap();
    let entry = |name: &str, description: &str| ListedExport {
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let wanted = [
        entry("disk0", "the test disk"),
        entry("standby", ""),
        entry("leaving", ""),
    ];
    assert_eq!(listed, wanted);
    server.join().unwrap();
}

#[test]
fn refusals_carry_the_servers_reason() {
    for (name, reply, words) in [
        ("nope", option_reply::ERR_UNKNOWN, "it has no such export"),
        (
            "standby",
            option_reply::ERR_POLICY,
            "this node is standby; ask node b",
        ),
        (
            "leaving",
            option_reply::ERR_SHUTDOWN,
            "this node is being demoted",
        ),
    ] {
        let (stream, _server) = serve(three_exports(), Manner::Plain);
        let error = Client::negotiate(stream, name, &ConnectOptions::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error, ClientError::Refused { reply: r, .. } if r == reply));
    }
}

#[test]
fn misuse_is_told_before_anything_is_sent() {
    let mut exports = disk();
    exports[0].block_sizes = BlockSizes::new(1, 512, 1024).unwrap();
    let (stream, _server) = serve(exports, Manner::Plain);
    let mut client = Client::negotiate(stream, "disk0", &ConnectOptions::default()).unwrap();
    let write = Command::Write { fua: false };
    assert!(matches!(
        client.submit(write, 0, 512, &[0; 511]),
        Err(ClientError::Misuse(_))
    ));
    let flush = client.submit(Command::Flush, 0, 0, &[1]);
    assert!(matches!(flush, Err(ClientError::Misuse(_))));
    assert!(matches!(
        client.read(0, &mut [0; 1025]),
        Err(ClientError::Misuse(_))
    ));
    client.write(0, &[1; 1024], Fua::No).unwrap();
}

/// A server that sends `bytes` and nothing else.
fn mute_server(bytes: &[u8]) -> UnixStream {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(bytes).unwrap();
    // Take what the client says, so that it does not fail on sending.
    std::thread::spawn(move || {
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        ours.read_to_end(&mut Vec::new())
    });
    theirs
}

#[test]
fn what_is_no_server_is_told_apart() {
    let negotiate = |bytes: &[u8]| {
        Client::negotiate(mute_server(bytes), "x", &ConnectOptions::default()).unwrap_err()
    };
    assert!(matches!(
        negotiate(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        ClientError::NotNbd(_)
    ));
    assert!(matches!(
        negotiate(&[b"NBDMAGIC", &[0; 10][..]].concat()),
        ClientError::NotNbd(_)
    ));
    assert!(matches!(
        negotiate(b"NBDMAGICIHAVEOPT\0\0"),
        ClientError::NotNbd(_)
    ));
    assert!(matches!(negotiate(b"NBDMAGIC"), ClientError::Closed(_)));
    assert!(matches!(
        negotiate(b"NBDMAGICIHAVEOPT\0\x03"),
        ClientError::Closed(_)
    ));
    let junk = [&b"NBDMAGICIHAVEOPT\0\x03"[..], &[0x55; 20]].concat();
    assert!(matches!(negotiate(&junk), ClientError::Protocol(_)));
}

#[test]
fn a_silent_server_is_a_timeout() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    theirs
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let error = Client::negotiate(theirs, "x", &ConnectOptions::default()).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
}

/// A client in the middle of `command` on bytes 0..1024, and a server that answers `bytes`.
fn answered(style: ReplyStyle, command: Command, bytes: &[u8]) -> Result<Answer, ClientError> {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let exports = disk();
    let options = ConnectOptions {
        replies: style,
        block_status: style == ReplyStyle::Structured,
        timeout: None,
    };
    let bytes = bytes.to_vec();
    let server = std::thread::spawn(move || {
        let mut ours = ours;
        let mut handshake = twindisk_nbd::Handshake::new();
        let mut buffer = [0; 1];
        loop {
            if let Some(output) = handshake.poll_output() {
                ours.write_all(&output).unwrap();
            }
            if handshake.outcome().is_some() {
                break;
            }
            ours.read_exact(&mut buffer).unwrap();
            handshake.handle_bytes(&buffer, &exports);
        }
        ours.write_all(&bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        ours.read_to_end(&mut Vec::new()).unwrap();
    });
    let mut client = Client::negotiate(theirs, "disk0", &options).unwrap();
    let payload = if matches!(command, Command::Write { .. }) {
        &[0; 1024][..]
    } else {
        &[]
    };
    let cookie = client.submit(command, 0, 1024, payload).unwrap();
    assert_eq!(cookie, Cookie(1));
    let result = client.wait(cookie);
    if result.is_err() {
        assert!(matches!(client.flush(), Err(ClientError::Broken)));
    }
    drop(client);
    server.join().unwrap();
    Ok(result?.result?)
}

#[test]
fn replies_that_break_the_rules_end_the_connection() {
    const C: Cookie = Cookie(1);
    let read = Command::Read {
        dont_fragment: false,
    };
    let flush = Command::Flush;
    let status = Command::BlockStatus { one_extent: false };
    let (simple, structured) = (ReplyStyle::Simple, ReplyStyle::Structured);
    let data = |offset, length: u32, more| {
        let mut bytes = reply::chunk_data(C, offset, length, more)
            .as_bytes()
            .to_vec();
        bytes.resize(bytes.len() + length as usize, 7);
        bytes
    };
    let done = reply::done(structured, C).as_bytes().to_vec();
    let block_status = |context: u32, lengths: &[u32]| {
        let extents: Vec<_> = lengths
            .iter()
            .map(|&length| Extent { length, flags: 0 })
            .collect();
        let mut out = Vec::new();
        let context = twindisk_nbd::ContextId(context);
        reply::block_status(&mut out, C, context, &extents);
        out
    };
    let mut unknown_type = done.clone();
    unknown_type[7] = 77;
    let mut too_long = done.clone();
    too_long[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    let other = reply::done(simple, Cookie(9)).as_bytes().to_vec();
    let hole = reply::chunk_hole(C, 0, 0, More::Done).as_bytes().to_vec();
    let cases: Vec<(&str, ReplyStyle, Command, Vec<u8>)> = vec![
        ("closed", simple, flush, vec![]),
        ("no magic", simple, flush, vec![0; 16]),
        ("unknown cookie", simple, flush, other),
        ("chunk unasked", simple, flush, done.clone()),
        (
            "simple read",
            structured,
            read,
            reply::done(simple, C).as_bytes().to_vec(),
        ),
        (
            "data short",
            simple,
            read,
            reply::done(simple, C).as_bytes().to_vec(),
        ),
        ("nothing", structured, read, done.clone()),
        ("gap", structured, read, data(0, 512, More::Done)),
        (
            "twice",
            structured,
            read,
            [data(0, 1024, More::Follows), data(0, 1024, More::Done)].concat(),
        ),
        (
            "overlap",
            structured,
            read,
            [data(0, 600, More::Follows), data(512, 512, More::Done)].concat(),
        ),
        ("beyond", structured, read, data(512, 1024, More::Done)),
        (
            "far beyond",
            structured,
            read,
            data(u64::MAX, 1, More::Done),
        ),
        (
            "data for flush",
            structured,
            flush,
            data(0, 1024, More::Done),
        ),
        ("empty hole", structured, read, hole),
        ("unknown type", structured, flush, unknown_type),
        ("too long", structured, flush, too_long),
        (
            "status for flush",
            structured,
            flush,
            block_status(1, &[512]),
        ),
        ("other context", structured, status, block_status(2, &[512])),
        ("no extent", structured, status, block_status(1, &[])),
        (
            "empty extent",
            structured,
            status,
            block_status(1, &[512, 0]),
        ),
        ("no status", structured, status, done),
        (
            "simple status",
            structured,
            status,
            reply::done(simple, C).as_bytes().to_vec(),
        ),
    ];
    for (name, style, command, bytes) in cases {
        let error = answered(style, command, &bytes).unwrap_err();
        assert!(!error.keeps_the_connection(), "{name}: {error}");
    }
}

#[test]
fn error_chunks_after_data_fail_the_read() {
    let read = Command::Read {
        dont_fragment: false,
    };
    let cookie = Cookie(1);
    let mut bytes = reply::chunk_data(cookie, 0, 512, More::Follows)
        .as_bytes()
        .to_vec();
    bytes.resize(bytes.len() + 512, 7);
    let error = reply::error_at(cookie, Errno::Io, "bad sector", 512, More::Follows);
    bytes.extend_from_slice(error.as_bytes());
    bytes.extend_from_slice(reply::done(ReplyStyle::Structured, cookie).as_bytes());
    let Err(ClientError::Request(error)) = answered(ReplyStyle::Structured, read, &bytes) else {
        panic!("no request error");
    };
    assert_eq!((error.errno, error.offset), (Errno::Io, Some(512)));
    assert_eq!(error.message.as_deref(), Some("bad sector"));
}
