//! Every reply against bytes written out by hand.

use twindisk_nbd::reply::{self, Extent, More};
use twindisk_nbd::{ContextId, Cookie, Errno, ReplyStyle};

const COOKIE: Cookie = Cookie(0x0102_0304_0506_0708);

/// Cookie bytes.
const C: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn simple_replies_have_the_layout_of_the_specification() {
    let magic = &[0x67, 0x44, 0x66, 0x98][..];
    let ok = join(&[magic, &[0, 0, 0, 0], &C]);
    assert_eq!(reply::done(ReplyStyle::Simple, COOKIE).as_bytes(), ok);
    assert_eq!(
        reply::read_data(ReplyStyle::Simple, COOKIE, 0x1000, 512).as_bytes(),
        ok
    );
    for errno in Errno::ALL {
        let wanted = join(&[magic, &errno.to_wire().to_be_bytes(), &C]);
        let found = reply::error(ReplyStyle::Simple, COOKIE, errno, "not sent");
        assert_eq!(found.as_bytes(), wanted);
    }
}

#[test]
fn structured_replies_have_the_layout_of_the_specification() {
    let magic = &[0x66, 0x8e, 0x33, 0xef][..];
    let done = reply::done(ReplyStyle::Structured, COOKIE);
    assert_eq!(
        done.as_bytes(),
        join(&[magic, &[0, 1, 0, 0], &C, &[0, 0, 0, 0]])
    );

    let offset = [0, 0, 0, 1, 0, 0, 0x10, 0];
    let data = reply::read_data(ReplyStyle::Structured, COOKIE, 0x1_0000_1000, 512);
    assert_eq!(
        data.as_bytes(),
        join(&[magic, &[0, 1, 0, 1], &C, &[0, 0, 2, 8], &offset])
    );
    let part = reply::chunk_data(COOKIE, 0x1_0000_1000, 512, More::Follows);
    assert_eq!(
        part.as_bytes(),
        join(&[magic, &[0, 0, 0, 1], &C, &[0, 0, 2, 8], &offset])
    );

    let hole = reply::chunk_hole(COOKIE, 0x1_0000_1000, 512, More::Done);
    let wanted = join(&[
        magic,
        &[0, 1, 0, 2],
        &C,
        &[0, 0, 0, 12],
        &offset,
        &[0, 0, 2, 0],
    ]);
    assert_eq!(hole.as_bytes(), wanted);

    let error = reply::error(ReplyStyle::Structured, COOKIE, Errno::Io, "bad");
    let body = join(&[&[0, 0, 0, 5, 0, 3], b"bad"]);
    assert_eq!(
        error.as_bytes(),
        join(&[magic, &[0, 1, 0x80, 1], &C, &[0, 0, 0, 9], &body])
    );

    let error = reply::error_at(COOKIE, Errno::Io, "bad", 0x1_0000_1000, More::Follows);
    let wanted = join(&[magic, &[0, 0, 0x80, 2], &C, &[0, 0, 0, 17], &body, &offset]);
    assert_eq!(error.as_bytes(), wanted);
}

#[test]
fn block_status_has_the_layout_of_the_specification() {
    let extents = [
        Extent {
            length: 4096,
            flags: 3,
        },
        Extent {
            length: 512,
            flags: 0,
        },
    ];
    let mut out = Vec::new();
    reply::block_status(&mut out, COOKIE, ContextId::BASE_ALLOCATION, &extents);
    let wanted = join(&[
        &[0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 5],
        &C,
        &[0, 0, 0, 20],
        &[0, 0, 0, 1],
        &[0, 0, 16, 0, 0, 0, 0, 3],
        &[0, 0, 2, 0, 0, 0, 0, 0],
    ]);
    assert_eq!(out, wanted);
    out.clear();
    let many = vec![
        Extent {
            length: 512,
            flags: 0
        };
        5000
    ];
    reply::block_status(&mut out, COOKIE, ContextId::BASE_ALLOCATION, &many);
    assert_eq!(out.len(), 20 + 4 + 8 * 4096);
}

#[test]
fn long_error_texts_are_cut_between_characters() {
    let text = "é".repeat(200);
    let found = reply::error(ReplyStyle::Structured, COOKIE, Errno::Io, &text);
    assert_eq!(found.as_bytes().len(), 20 + 6 + 120);
    let odd = format!("x{text}");
    let found = reply::error_at(COOKIE, Errno::Io, &odd, 0, More::Done);
    assert_eq!(found.as_bytes().len(), 20 + 6 + 119 + 8);
}
