//! Strangers at the replication port.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    SOON,
    harness::cluster::{ALPHA, BETA, Cluster},
};

/// Idle connections at an address, each made anew when it ends.
struct Strangers {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Strangers {
    fn gather(count: usize, at: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let one = || {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Ok(mut socket) = TcpStream::connect(at) {
                        let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
                        while !over.load(Ordering::Relaxed)
                            && socket
                                .read(&mut [0])
                                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
                        {
                        }
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            })
        };
        let threads = (0..count).map(|_| one()).collect();
        Self { over, threads }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_node_that_comes_back_finds_its_peer_among_strangers() {
    let mut cluster = Cluster::pair("32MiB", "");
    let text = std::fs::read_to_string(cluster.path("twindisk.toml")).unwrap();
    let beta = text.split("[nodes.beta]").nth(1).unwrap();
    let address = beta.split("address = \"").nth(1).unwrap();
    let address = address.split('"').next().unwrap().parse().unwrap();
    let strangers = Strangers::gather(48, address);
    thread::sleep(Duration::from_millis(500));
    for _ in 0..2 {
        cluster.kill(ALPHA);
        let began = Instant::now();
        cluster.serve(ALPHA);
        cluster.until(ALPHA, "its peer", |replica| {
            replica["peers"][0]["connection"] == "established" && replica["disk"] == "UpToDate"
        });
        cluster.ok(ALPHA, &["promote"]);
        cluster.until_in_sync(ALPHA);
        let took = began.elapsed();
        assert!(took < 2 * SOON, "after {took:?}");
    }
    // Those that were sent away are told of, and fill no log.
    let events = cluster.ok(BETA, &["events"]);
    let told = events.lines().filter(|line| line.contains("peer-refused"));
    assert!((1..20).contains(&told.count()), "{events}");
    let log = std::fs::read_to_string(cluster.path("beta.log")).unwrap();
    assert!(log.lines().count() < 200, "{log}");
    drop(strangers);
}
