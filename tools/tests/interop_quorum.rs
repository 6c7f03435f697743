//! The script of `contract::a_stale_leg_never_joins_silently` against a mirror without memory, QEMU's `quorum`: for
//! comparison, and so that the scenario is known to be one that happens.

mod harness;

use harness::{
    book::BLOCK,
    eventually,
    programs::{command, have},
};
use twindisk_nbd::client::{Client, ConnectOptions, Fua};

#[test]
fn the_same_script_leaves_a_plain_mirror_with_what_never_was() {
    if !have(&["qemu-storage-daemon", "nbdkit"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a scratch directory");
    let at = |name: &str| dir.path().join(name);
    for leg in ["a", "b"] {
        std::fs::write(at(leg), vec![b'o'; 1 << 20]).expect("a leg");
    }
    let start_second = || {
        let _ = std::fs::remove_file(at("b.sock"));
        let mut server = command("nbdkit");
        server.args(["--foreground", "--unix"]).arg(at("b.sock"));
        server.arg("file").arg(at("b"));
        let server = Process(server.spawn().expect("nbdkit runs"));
        eventually("it listens", String::new, || {
            at("b.sock").exists().then_some(())
        });
        server
    };
    let second = start_second();
    let path = |name: &str| at(name).display().to_string();
    let mut daemon = command("qemu-storage-daemon");
    daemon
        .args(["--blockdev", &format!("driver=file,node-name=a,filename={}", path("a"))])
        .args([
            "--blockdev",
            &format!("driver=nbd,node-name=b,server.type=unix,server.path={},reconnect-delay=0", path("b.sock")),
        ])
        .args(["--blockdev", "driver=quorum,node-name=q,vote-threshold=1,read-pattern=fifo,children.0=a,children.1=b"])
        .args(["--nbd-server", &format!("addr.type=unix,addr.path={}", path("q.sock"))])
        .args(["--export", "type=nbd,id=e,node-name=q,name=q,writable=on"]);
    let _daemon = Process(daemon.spawn().expect("it runs"));
    let uri = format!("nbd+unix:///q?socket={}", path("q.sock"));
    let mut client = eventually("it serves", String::new, || {
        Client::connect(&uri.parse().expect("a URI"), &ConnectOptions::default()).ok()
    });

    drop(second);
    client
        .write(0, &[b'C'; BLOCK], Fua::Yes)
        .expect("acknowledged on one leg, without a word");
    let _second = start_second();
    let holds = |leg: &str, block: usize| std::fs::read(at(leg)).expect("a leg")[block * BLOCK];
    // It finds its way back by itself, with some later write.
    eventually("the stale leg is written to again", String::new, || {
        client
            .write(BLOCK as u64, &[b'D'; BLOCK], Fua::Yes)
            .expect("a write");
        (holds("b", 1) == b'D').then_some(())
    });
    let legs = ["a", "b"].map(|leg| [0, 1].map(|block| char::from(holds(leg, block))));
    println!("QEMU's quorum: legs {legs:?}");
    if legs[1] == ['C', 'D'] {
        println!("this version of it has learnt to bring a leg up to date");
    } else {
        assert_eq!(
            legs,
            [['C', 'D'], ['o', 'D']],
            "the device never held the second"
        );
    }
}

/// A process that ends with its test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
