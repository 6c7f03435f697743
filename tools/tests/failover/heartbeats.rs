//! Somebody in the middle of the heartbeats from alpha to beta: passes them on, keeps what it saw, sends it again.

use std::{
    net::UdpSocket,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::harness::{arena::Arena, cluster::BETA, random::Random};

/// The largest datagram that is passed on.
const MOST: usize = 16 << 10;

/// One for each of the two paths.
pub(crate) struct Middle {
    paths: Vec<Path>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

struct Path {
    socket: UdpSocket,
    beta: String,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Middle {
    /// Before beta's heartbeat addresses. Returns the name of a configuration that leads there instead, for alpha's agent.
    pub(crate) fn before_beta(arena: &Arena) -> (Self, &'static str) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut middle = Self {
            paths: Vec::new(),
            threads: Vec::new(),
            stop,
        };
        let mut between = Vec::new();
        for beta in arena.heartbeats(BETA).to_vec() {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
            between.push(socket.local_addr().expect("it is bound").to_string());
            let wait = Some(Duration::from_millis(100));
            socket.set_read_timeout(wait).expect("a timeout");
            let seen = Arc::new(Mutex::new(Vec::new()));
            let (from, to) = (socket.try_clone().expect("a handle"), beta.clone());
            let (kept, stop) = (seen.clone(), middle.stop.clone());
            middle
                .threads
                .push(thread::spawn(move || pass_on(&from, &to, &kept, &stop)));
            middle.paths.push(Path { socket, beta, seen });
        }
        let name = "alpha-through-the-middle.toml";
        arena.redirected(name, BETA, &between);
        (middle, name)
    }

    /// Beats that were seen so far, over all paths.
    pub(crate) fn seen(&self) -> usize {
        let counts = self
            .paths
            .iter()
            .map(|path| path.seen.lock().expect("fine").len());
        counts.sum()
    }

    /// Sends beta, over every path, what nobody who knows the secret would send now: all that was seen, once more; the
    /// same with a byte that is wrong, cut short, too long; and noise.
    pub(crate) fn attack(&self, random: &mut Random, sent: &AtomicU64) {
        for path in &self.paths {
            let seen = path.seen.lock().expect("fine").clone();
            for beat in seen.iter().rev().take(200) {
                let mut bent = beat.clone();
                let at = random.below(bent.len() as u64) as usize;
                bent[at] ^= 1 << random.below(8);
                let cut = &beat[..random.below(beat.len() as u64) as usize];
                let long = [beat.as_slice(), &[b' '; 8]].concat();
                let noise: Vec<u8> = (0..random.below(1500))
                    .map(|_| random.next() as u8)
                    .collect();
                for datagram in [beat.as_slice(), &bent, cut, &long, &noise] {
                    // The agent's receive queue may be full: that, too, must not matter.
                    let _ = path.socket.send_to(datagram, &path.beta);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn pass_on(from: &UdpSocket, to: &str, seen: &Mutex<Vec<Vec<u8>>>, stop: &AtomicBool) {
    let mut buffer = vec![0; MOST];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(length) = from.recv(&mut buffer) {
            let beat = buffer[..length].to_vec();
            let _ = from.send_to(&beat, to);
            seen.lock().expect("fine").push(beat);
        }
    }
}
