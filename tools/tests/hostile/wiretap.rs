//! Somebody in the path between two nodes, who has no secret: it relays every byte, and does one thing to a TLS record
//! when it is told to, or to a frame in the clear.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// What is done to the next record of data, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// A bit in its middle is another one.
    Flip,
    /// It does not arrive; what follows does.
    Swallow,
    /// It arrives twice.
    Replay,
    /// It arrives behind the next one.
    Reorder,
    /// In the clear: a bit of a write is another one, with every checksum as it should be.
    Forge,
    /// Nothing arrives any more, and the connection ends as if its sender had closed it.
    Cut,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who dialled.
    There,
    /// To who dialled.
    Back,
}

/// The relay; it ends with the process.
pub(crate) struct Wiretap {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    armed: Option<(Way, Attack)>,
    /// Every byte that was relayed, for as long as they are few.
    seen: Vec<u8>,
}

impl Wiretap {
    /// Relays connections to `target`.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // While the target is away its port refuses, and so does this one.
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                for (way, from, to) in [(Way::There, &near, &far), (Way::Back, &far, &near)] {
                    let _ = (from.set_nodelay(true), to.set_nodelay(true));
                    let from = from.try_clone().expect("clone");
                    let to = to.try_clone().expect("clone");
                    let state = Arc::clone(&shared);
                    thread::spawn(move || {
                        let _ = relay(way, &from, &to, &state);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, state }
    }

    /// Does it to the next record of data that comes this way.
    pub(crate) fn arm(&self, way: Way, attack: Attack) {
        lock(&self.state).armed = Some((way, attack));
    }

    /// Whether it was done.
    pub(crate) fn is_done(&self) -> bool {
        lock(&self.state).armed.is_none()
    }

    /// Whether these bytes were seen in the first mebibytes.
    pub(crate) fn saw(&self, bytes: &[u8]) -> bool {
        let state = lock(&self.state);
        state.seen.windows(bytes.len()).any(|seen| seen == bytes)
    }
}

fn relay(
    way: Way,
    mut from: &TcpStream,
    mut to: &TcpStream,
    state: &Mutex<State>,
) -> io::Result<()> {
    let mut held: Option<Vec<u8>> = None;
    loop {
        let mut first = [0; 1];
        from.read_exact(&mut first)?;
        if !(20..=23).contains(&first[0]) {
            // No TLS.
            lock(state).see(&first);
            to.write_all(&first)?;
            if way == Way::There {
                return relay_frames(from, to, state);
            }
            let mut bytes = [0; 65536];
            loop {
                let count = from.read(&mut bytes)?;
                if count == 0 {
                    return Ok(());
                }
                lock(state).see(&bytes[..count]);
                to.write_all(&bytes[..count])?;
            }
        }
        let mut rest = [0; 4];
        from.read_exact(&mut rest)?;
        let [_, _, high, low] = rest;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut record = [&first[..], &rest].concat();
        record.resize(5 + length, 0);
        from.read_exact(&mut record[5..])?;
        let attack = {
            let mut state = lock(state);
            state.see(&record);
            match state.armed {
                Some((armed, attack)) if armed == way && first == [23] => {
                    state.armed = None;
                    Some(attack)
                }
                _ => None,
            }
        };
        match attack {
            None => {}
            Some(Attack::Flip) => record[5 + length / 2] ^= 1,
            Some(Attack::Swallow) => continue,
            Some(Attack::Replay) => to.write_all(&record)?,
            Some(Attack::Reorder) => {
                held = Some(record);
                continue;
            }
            Some(Attack::Cut) => return Ok(()),
            Some(Attack::Forge) => panic!("no one can"),
        }
        to.write_all(&record)?;
        if let Some(held) = held.take() {
            to.write_all(&held)?;
        }
    }
}

/// Relays what the dialler says in the clear, behind its first byte: a handshake, then frames, whose checksums anybody can
/// compute (`FORMAT.md`).
fn relay_frames(mut from: &TcpStream, mut to: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    for length in [48 - 1, 88] {
        let mut message = vec![0; length];
        from.read_exact(&mut message)?;
        to.write_all(&message)?;
    }
    // The chain's last value, and whether the receiver has seen another one than was sent.
    let (mut previous, mut forged) = (0, false);
    loop {
        let mut header = [0; 64];
        from.read_exact(&mut header)?;
        let word = |at: usize, header: &[u8; 64]| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let mut payload = vec![0; word(8, &header) as usize];
        from.read_exact(&mut payload)?;
        {
            let mut state = lock(state);
            state.see(&header);
            state.see(&payload);
            let is_write = header[4] == 1;
            if is_write && state.armed == Some((Way::There, Attack::Forge)) {
                state.armed = None;
                payload[0] ^= 1;
                header[12..16].copy_from_slice(&crc32fast::hash(&payload).to_le_bytes());
                forged = true;
            }
        }
        if forged {
            let mut chain = crc32fast::Hasher::new_with_initial(previous);
            chain.update(&header[..60]);
            header[60..].copy_from_slice(&chain.finalize().to_le_bytes());
        }
        previous = word(60, &header);
        to.write_all(&header)?;
        to.write_all(&payload)?;
    }
}

impl State {
    fn see(&mut self, bytes: &[u8]) {
        if self.seen.len() < 4 << 20 {
            self.seen.extend_from_slice(bytes);
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
