//! Replays the seeds of the fuzzers (`nbd/fuzz/seeds`): whole, cut at each byte, and with each
//! byte bent. A crash that a fuzzer finds is fixed and then kept there as one more seed.

use std::path::Path;

use twindisk_nbd::fuzzing;

fn replay(target: &str, fuzz: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        fuzz(&seed);
        // Seeds longer than a screen are there for their length.
        let end = seed.len().min(1024);
        for at in 0..end {
            fuzz(&seed[..at]);
            let mut bent = seed[..end].to_vec();
            for bits in [0x01, 0x80, 0xff] {
                bent[at] = seed[at] ^ bits;
                fuzz(&bent);
            }
        }
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

#[test]
fn server_seeds() {
    replay("server", fuzzing::fuzz_server);
}

#[test]
fn request_seeds() {
    replay("request", fuzzing::fuzz_request);
}

#[test]
fn reply_seeds() {
    replay("reply", fuzzing::fuzz_reply);
}

#[test]
fn netlink_seeds() {
    replay("netlink", fuzzing::fuzz_netlink);
}

#[test]
fn uri_seeds() {
    replay("uri", fuzzing::fuzz_uri);
}
