//! A disk with a volatile cache, served by NBD from this process: what no flush has carried to the platter when the
//! power goes is lost, or not, sector by sector, as with a real one.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    os::unix::{
        fs::FileExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use twindisk_nbd::{
    Command, Export, Handshake, Negotiated, Outcome, Request, Verdict, decode_header,
    protocol::REQUEST_HEADER_BYTES, reply, validate,
};

use super::random::Random;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// The disk while it has power.
pub(crate) struct Powered {
    shared: Arc<Shared>,
    socket: std::path::PathBuf,
    listening: Option<thread::JoinHandle<()>>,
}

struct Shared {
    export: Export,
    on: AtomicBool,
    cache: Mutex<Cache>,
    /// Flushes and FUA writes wait as long as this is set.
    held: Mutex<bool>,
    released: Condvar,
    connections: Mutex<Vec<UnixStream>>,
}

struct Cache {
    platter: File,
    /// Written, and not yet on the platter.
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Powered {
    /// Spins up what is on `platter`, and listens at `socket`.
    pub(crate) fn new(platter: File, socket: &Path) -> Self {
        let size = platter.metadata().expect("a file").len();
        let listener = UnixListener::bind(socket).expect("a socket");
        let shared = Arc::new(Shared {
            export: Export::new("", size).expect("a plain export"),
            on: AtomicBool::new(true),
            cache: Mutex::new(Cache {
                platter,
                blocks: BTreeMap::new(),
            }),
            held: Mutex::new(false),
            released: Condvar::new(),
            connections: Mutex::default(),
        });
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    let stream = stream.expect("a client");
                    if !shared.on.load(Ordering::SeqCst) {
                        return;
                    }
                    let known = stream.try_clone().expect("a descriptor");
                    shared.connections().push(known);
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        // A client that goes away, in whatever way, is gone.
                        let _ = serve(stream, &shared);
                    });
                }
            }
        });
        Self {
            shared,
            socket: socket.to_owned(),
            listening: Some(listening),
        }
    }

    /// From now on nothing becomes stable: flushes wait until they are let go.
    pub(crate) fn hold_flushes(&self) {
        *self.shared.held() = true;
    }

    /// Lets waiting flushes go.
    pub(crate) fn let_flushes_go(&self) {
        *self.shared.held() = false;
        self.shared.released.notify_all();
    }

    /// Cuts the power: of what was not flushed each sector is on the platter, or not.
    pub(crate) fn cut(mut self, random: &mut Random) {
        self.shared.on.store(false, Ordering::SeqCst);
        let mut cache = self.shared.cache();
        for (block, data) in std::mem::take(&mut cache.blocks) {
            for (number, sector) in data.chunks_exact(SECTOR).enumerate() {
                if random.percent(50) {
                    let at = block * BLOCK as u64 + (number * SECTOR) as u64;
                    cache.platter.write_all_at(sector, at).expect("the platter");
                }
            }
        }
        drop(cache);
        self.end();
    }

    fn end(&mut self) {
        self.shared.on.store(false, Ordering::SeqCst);
        self.let_flushes_go();
        for connection in self.shared.connections().drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        if let Some(listening) = self.listening.take() {
            // Wakes it up, so that it sees that it is off.
            let _ = UnixStream::connect(&self.socket);
            listening.join().expect("the listener");
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().expect("no server thread panicked")
    }

    fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().expect("no server thread panicked")
    }

    fn connections(&self) -> MutexGuard<'_, Vec<UnixStream>> {
        self.connections.lock().expect("no server thread panicked")
    }
}

impl Cache {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.platter
            .read_exact_at(data, offset)
            .expect("the platter");
        for (block, at, inside) in pieces(offset, data.len()) {
            if let Some(cached) = self.blocks.get(&block) {
                let length = inside.len();
                data[at..at + length].copy_from_slice(&cached[inside]);
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (block, at, inside) in pieces(offset, data.len()) {
            let platter = &self.platter;
            let cached = self.blocks.entry(block).or_insert_with(|| {
                let mut whole = Box::new([0; BLOCK]);
                let at = block * BLOCK as u64;
                platter
                    .read_exact_at(&mut whole[..], at)
                    .expect("the platter");
                whole
            });
            let length = inside.len();
            cached[inside].copy_from_slice(&data[at..at + length]);
        }
    }

    fn flush(&mut self, first: u64, last: u64) {
        let mut rest = self.blocks.split_off(&first);
        let mut after = rest.split_off(&last);
        for (block, data) in rest {
            let at = block * BLOCK as u64;
            self.platter
                .write_all_at(&data[..], at)
                .expect("the platter");
        }
        self.blocks.append(&mut after);
    }
}

/// A range block by block: which, where in the range, and which of its bytes.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = usize::try_from(at % BLOCK as u64).expect("small");
        let here = (BLOCK - inside).min(length - done);
        let piece = (at / BLOCK as u64, done, inside..inside + here);
        done += here;
        (here > 0).then_some(piece)
    })
}

/// One client, from the greeting to the end.
fn serve(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut handshake = Handshake::new();
    let exports = std::slice::from_ref(&shared.export);
    let negotiated = loop {
        if let Some(output) = handshake.poll_output() {
            stream.write_all(&output)?;
        }
        match handshake.outcome() {
            Some(Outcome::Transmission(negotiated)) => break negotiated.clone(),
            Some(Outcome::Aborted | Outcome::HardClose(_)) => return Ok(()),
            None => {}
        }
        // Byte by byte, so that nothing of the requests is taken along.
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        handshake.handle_bytes(&byte, exports);
    };
    let mut header = [0; REQUEST_HEADER_BYTES];
    loop {
        stream.read_exact(&mut header)?;
        let Ok(header) = decode_header(&header) else {
            return Ok(());
        };
        let style = negotiated.replies;
        let answer = match validate(&header, &shared.export, &negotiated) {
            Verdict::Accept(request) => {
                let length = usize::try_from(request.payload_bytes()).expect("64 bits");
                let mut payload = vec![0; length];
                stream.read_exact(&mut payload)?;
                match carry_out(shared, &negotiated, &request, &payload) {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
            Verdict::Empty(cookie) => reply::done(style, cookie).as_bytes().to_vec(),
            Verdict::Reject(no) => {
                let length = usize::try_from(no.payload_bytes_to_drain).expect("64 bits");
                stream.read_exact(&mut vec![0; length])?;
                let error = reply::error(style, no.cookie, no.errno, no.message);
                error.as_bytes().to_vec()
            }
            Verdict::Close(_) => return Ok(()),
        };
        stream.write_all(&answer)?;
    }
}

/// The answer; none when there is no power or the client says goodbye.
fn carry_out(
    shared: &Shared,
    negotiated: &Negotiated,
    request: &Request,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let style = negotiated.replies;
    let length = usize::try_from(request.length).expect("64 bits");
    let fua = matches!(
        request.command,
        Command::Write { fua: true }
            | Command::WriteZeroes { fua: true, .. }
            | Command::Trim { fua: true }
    );
    if fua || request.command == Command::Flush {
        let held = shared.released.wait_while(shared.held(), |held| *held);
        drop(held.expect("no server thread panicked"));
    }
    let mut cache = shared.cache();
    if !shared.on.load(Ordering::SeqCst) {
        return None;
    }
    match request.command {
        Command::Read { .. } => {
            let head = reply::read_data(style, request.cookie, request.offset, request.length);
            let mut answer = head.as_bytes().to_vec();
            let start = answer.len();
            answer.resize(start + length, 0);
            cache.read(request.offset, &mut answer[start..]);
            return Some(answer);
        }
        Command::Write { .. } => cache.write(request.offset, payload),
        Command::WriteZeroes { .. } | Command::Trim { .. } => {
            cache.write(request.offset, &vec![0; length]);
        }
        Command::Flush => cache.flush(0, u64::MAX),
        Command::Cache => {}
        Command::Disconnect => return None,
        Command::BlockStatus { .. } => unreachable!("nobody selected a context"),
    }
    if fua {
        let end = request.offset + u64::from(request.length);
        cache.flush(request.offset / BLOCK as u64, end.div_ceil(BLOCK as u64));
    }
    drop(cache);
    Some(reply::done(style, request.cookie).as_bytes().to_vec())
}
