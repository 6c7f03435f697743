//! Many clients at the NBD port that are up to no good, each kind for as long as it lasts: who is sent away comes back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use twindisk_nbd::{
    Command,
    client::{Client, ConnectOptions},
};

/// What each of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Promises a write of 32 MiB and sends nothing of it.
    Promise,
    /// Sends most of the first MiB of it, and stops.
    Stop,
    /// Asks for much and reads nothing.
    Deaf,
    /// Asks for small pieces and reads nothing.
    DeafToSmall,
    /// Asks for extents without end.
    Extents,
}

/// All of them.
pub(crate) struct Crowd {
    over: Arc<AtomicBool>,
    came: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many at this address; all of them are there when it comes back.
    pub(crate) fn gather(kind: Kind, count: u64, at: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let came = Arc::new(AtomicU64::new(0));
        let one = || {
            let (over, came) = (Arc::clone(&over), Arc::clone(&came));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if attack(kind, at, &over, &came).is_none() {
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        };
        let threads = (0..count).map(|_| one()).collect();
        let crowd = Self {
            over,
            came,
            threads,
        };
        crate::harness::eventually("the crowd is there", String::new, || {
            (crowd.came.load(Ordering::Relaxed) >= count).then_some(())
        });
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One connection, as long as it lasts.
fn attack(kind: Kind, at: SocketAddr, over: &AtomicBool, came: &AtomicU64) -> Option<()> {
    let socket = TcpStream::connect(at).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    let options = ConnectOptions::default();
    let mut client = Client::negotiate(socket.try_clone().ok()?, "r0", &options).ok()?;
    let small = Some(Duration::from_millis(50));
    socket.set_write_timeout(small).ok()?;
    let read = Command::Read {
        dont_fragment: false,
    };
    match kind {
        Kind::Promise | Kind::Stop => {
            let mut header = twindisk_nbd::Header {
                flags: 0,
                command: twindisk_nbd::protocol::command::WRITE,
                cookie: twindisk_nbd::Cookie(1),
                offset: 1,
                length: 32 << 20,
            }
            .encode()
            .to_vec();
            if kind == Kind::Stop {
                header.resize(1_000_000, 1);
            }
            let _ = (&socket).write_all(&header);
        }
        Kind::Deaf => {
            for _ in 0..20 {
                let _ = client.submit(read, 0, 32 << 20, &[]);
            }
        }
        Kind::DeafToSmall => {
            for at in 0..250_u64 {
                let _ = client.submit(read, at * 4096, 65_536, &[]);
            }
        }
        Kind::Extents => {}
    }
    came.fetch_add(1, Ordering::Relaxed);
    socket.set_read_timeout(small).ok()?;
    while !over.load(Ordering::Relaxed) {
        let endless = match kind {
            Kind::Extents => Command::BlockStatus { one_extent: false },
            Kind::Promise | Kind::Stop | Kind::Deaf | Kind::DeafToSmall => {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        // As much as it takes, and nobody looks at the answers.
        while !over.load(Ordering::Relaxed) && client.submit(endless, 0, 32 << 20, &[]).is_ok() {
            if client.in_flight() >= 200 {
                break;
            }
        }
        while client.in_flight() > 100 {
            client.receive().ok()?;
        }
    }
    let _ = (&socket).read(&mut [0]);
    Some(())
}
