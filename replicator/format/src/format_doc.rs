//! Compares the byte tables of `FORMAT.md` with the layouts of this crate.

use core::mem::offset_of;

use crate::{
    activity_log::{EXTENTS_PER_PAGE, WORDS_PER_PAGE},
    auth::{
        PROTOCOL_VERSIONS,
        messages::{HelloLayout, IdentityLayout, IdentityMessage},
    },
    meta_block::{FORMAT_VERSION, Header, Sector},
    superblock::bytes::{GenerationLayout, PeerLayout, RunLayout, SeenLayout, SuperblockLayout},
    wire::{Kind, RawHeader, decode::Rules},
};

const DOC: &str = include_str!("../FORMAT.md");

/// The rows of the table under the heading `name`, cell by cell.
fn table(name: &str) -> Vec<Vec<&'static str>> {
    let heading = format!("### {name}\n");
    let (_, section) = DOC
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no section {name}"));
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn check(name: &str, bytes: usize, fields: &[(&str, usize)]) {
    let rows = table(name);
    let documented: Vec<_> = rows
        .iter()
        .map(|row| {
            let size: usize = row[1].parse().unwrap();
            (row[2], row[0].parse::<usize>().unwrap(), size)
        })
        .collect();
    let ends = fields.iter().skip(1).map(|field| field.1).chain([bytes]);
    let real: Vec<_> = fields
        .iter()
        .zip(ends)
        .map(|((field, offset), end)| (*field, *offset, end - offset))
        .collect();
    assert_eq!(documented, real, "table of {name}");
}

macro_rules! check_layout {
    ($name:literal, $layout:ty: $($field:ident)+) => {
        check(
            $name,
            size_of::<$layout>(),
            &[$((stringify!($field), offset_of!($layout, $field))),+],
        )
    };
}

#[test]
fn byte_tables_are_true() {
    check_layout!("Sector", Sector: data block_crc crc);
    check_layout!("Header", Header: magic version kind lane index counter resource reserved);
    check_layout!("Superblock", SuperblockLayout:
        cluster size_blocks max_size_blocks term host epoch tie device_blocks tie_kind tie_reserved node disk flags peer_count generation_count
        spare_slots ancestor_count peers generations ancestors binding_term binding_id runs made_good reserved);
    check_layout!("Run", RunLayout: boot began);
    check_layout!("Time made good", SeenLayout: run moment);
    check_layout!("Peer record", PeerLayout:
        node flags receipt_kind receipt_about conflict standing reserved base receipt_term receipt_epoch receipt_boot
        conflict_newest seen seen_run);
    check_layout!("Generation", GenerationLayout: term id node reserved);
    check_layout!("Hello", HelloLayout: magic oldest newest channel nonce);
    check_layout!("Frame header", RawHeader:
        magic kind flags reserved payload_len payload_crc seq depends_on term stable start count
        chain);
    let identity = [
        ("cluster", offset_of!(IdentityLayout, cluster)),
        ("resource", offset_of!(IdentityLayout, resource)),
        ("features", offset_of!(IdentityLayout, features)),
        ("boot", offset_of!(IdentityLayout, boot)),
        ("node", offset_of!(IdentityLayout, node)),
        ("peer", offset_of!(IdentityLayout, peer)),
        ("reserved", offset_of!(IdentityLayout, reserved)),
        ("proof", offset_of!(IdentityMessage, proof)),
    ];
    check("Identity", size_of::<IdentityMessage>(), &identity);
}

#[test]
fn kinds_of_frames_are_true() {
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    let real: Vec<Vec<String>> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let rules = Rules::of(kind);
            vec![
                (kind as u8).to_string(),
                format!("{kind:?}"),
                rules.flags.to_string(),
                yes(rules.seq),
                yes(rules.depends_on),
                rules.place.to_string(),
                rules.payload.to_string(),
            ]
        })
        .collect();
    assert_eq!(table("Kinds of frames"), real);
}

#[test]
fn versions_and_sizes_are_true() {
    for text in [
        format!("| metadata | {FORMAT_VERSION} |"),
        format!(
            "| replication protocol | {} to {} |",
            PROTOCOL_VERSIONS.start(),
            PROTOCOL_VERSIONS.end()
        ),
        format!("{WORDS_PER_PAGE} words of 64 bits"),
        format!("`{EXTENTS_PER_PAGE}·p"),
    ] {
        assert!(DOC.contains(&text), "{text:?} is not in FORMAT.md");
    }
}
