//! The witness at work: connections in, one question at a time answered, each answer after what it says is stored.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    io,
    rc::Rc,
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::LocalSet,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};
use twindisk_arbiter::{
    Answer, Ask, Listed, MAX_MESSAGE_BYTES, Question, Reply, Response, Version, cluster_of,
};

use crate::{
    Config, Shelf, ShelfError,
    file::machine_id,
    limits::{ACCEPT_RETRY, MAX_CONNECTIONS, MAX_IDLE},
};

/// Why a witness can't work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It can't listen.
    #[error("the witness can't listen at {address}: {source}")]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no more of something.
    #[error("the witness can't start: {0}")]
    Start(io::Error),
}

/// Answers until it is told to stop.
///
/// # Errors
/// When it can't begin.
pub fn run(config: Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Start)?;
    LocalSet::new().block_on(&runtime, serve(config))
}

async fn serve(config: Config) -> Result<(), ServeError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(ServeError::Start)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(ServeError::Start)?;
    let listen = |source| ServeError::Listen {
        address: config.listen.clone(),
        source,
    };
    let listener = TcpListener::bind(&config.listen).await.map_err(listen)?;
    let at = listener.local_addr().map_err(listen)?;
    let names: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
    info!(listen = %at, clusters = names.join(", "), "the witness is ready");
    let desk = Rc::new(RefCell::new(Desk::new(&config)));
    desk.borrow_mut().look_at_all();
    let open = Rc::new(Cell::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                warn!(%why, "no connection can be taken now");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if open.get() >= MAX_CONNECTIONS {
            continue; // One too many is hung up on: its agent asks again.
        }
        open.set(open.get() + 1);
        let (desk, open) = (Rc::clone(&desk), Rc::clone(&open));
        tokio::task::spawn_local(async move {
            converse(stream, &desk).await;
            open.set(open.get() - 1);
        });
    }
    info!("the witness stops");
    Ok(())
}

/// Answers what one connection asks, until it asks nothing for a while, or something that is not believed.
async fn converse(mut stream: TcpStream, desk: &RefCell<Desk>) {
    let _ = stream.set_nodelay(true);
    loop {
        let Ok(Some(message)) = timeout(MAX_IDLE, receive(&mut stream)).await else {
            return;
        };
        let Some(answer) = desk.borrow_mut().answer(&message) else {
            return;
        };
        let length = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        let mut framed = length.to_le_bytes().to_vec();
        framed.extend_from_slice(&answer);
        if !matches!(
            timeout(MAX_IDLE, stream.write_all(&framed)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return None;
    }
    // A stranger pays for memory as its bytes arrive.
    let mut message = Vec::new();
    let mut rest = stream.take(length as u64);
    rest.read_to_end(&mut message).await.ok()?;
    (message.len() == length).then_some(message)
}

/// Everything that is answered from.
struct Desk {
    config: BTreeMap<String, twindisk_arbiter::Seal>,
    shelves: BTreeMap<String, Shelf>,
    /// When a node has asked about a resource of a cluster.
    seen: HashMap<(String, String), BTreeMap<u8, Instant>>,
}

impl Desk {
    fn new(config: &Config) -> Self {
        let machine = machine_id();
        let shelf = |name: &String| Shelf::new(&config.state_dir, name, &machine);
        let seals = config.clusters.iter();
        Self {
            shelves: (config.clusters.keys())
                .map(|name| (name.clone(), shelf(name)))
                .collect(),
            config: seals
                .map(|(name, one)| (name.clone(), one.seal.clone()))
                .collect(),
            seen: HashMap::new(),
        }
    }

    /// What is in doubt is said at the start, and not only to who asks.
    fn look_at_all(&mut self) {
        for (cluster, shelf) in &mut self.shelves {
            let names = shelf.names().unwrap_or_else(|why| {
                error!(%cluster, %why, "its registers can't be read");
                Vec::new()
            });
            for resource in names {
                match shelf.get(&resource) {
                    Ok(register) => {
                        if let Some(why) = register.doubt {
                            error!(%cluster, %resource, %why, "no claim is answered");
                        }
                    }
                    Err(why) => error!(%cluster, %resource, %why, "the register can't be read"),
                }
            }
        }
    }

    /// The answer to a message; `None`: it is not believed.
    fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let cluster = cluster_of(message)?.to_owned();
        let Some(seal) = self.config.get(&cluster).cloned() else {
            warn!(
                cluster,
                "asked by a cluster that the configuration does not name"
            );
            return None;
        };
        let request = match seal.open_question(message) {
            Ok(request) => request,
            Err(why) => {
                warn!(%cluster, %why, "a question is not believed");
                return None;
            }
        };
        let reply = match request.question {
            Question::Register {
                resource,
                node,
                known,
                ask,
            } => {
                let answer = self.register(&cluster, &resource, known, &ask);
                let seen = self.see(&cluster, &resource, node);
                Reply::Register { answer, seen }
            }
            Question::List => Reply::List(self.list(&cluster)),
        };
        let id = request.id;
        Some(seal.answer(&Response { id, reply }))
    }

    fn register(
        &mut self,
        cluster: &str,
        resource: &str,
        known: Option<Version>,
        ask: &Ask,
    ) -> Answer {
        let result = self.ask(cluster, resource, known, ask);
        result.unwrap_or_else(|why| {
            error!(%cluster, %resource, %why, "the register can't be kept");
            Answer::Refused {
                why: format!("its register can't be read or stored: {why}"),
                record: None,
            }
        })
    }

    fn ask(
        &mut self,
        cluster: &str,
        resource: &str,
        known: Option<Version>,
        ask: &Ask,
    ) -> Result<Answer, ShelfError> {
        let Some(shelf) = self.shelves.get_mut(cluster) else {
            return Err(ShelfError::Name(cluster.to_owned()));
        };
        let before = shelf.get(resource)?;
        let (after, answer) = before.ask(known, ask);
        if after != before {
            if let (Some(why), None) = (&after.doubt, &before.doubt) {
                error!(%cluster, %resource, %why, "no claim is answered from now on");
            }
            if let Some(record) = &after.record {
                let in_sync = &record.in_sync;
                info!(%cluster, %resource, term = record.term, ?in_sync, seq = record.stamp.version.seq, "set");
            }
            shelf.put(resource, after)?;
        }
        Ok(answer)
    }

    /// Notes that a node has asked, and says who has.
    fn see(&mut self, cluster: &str, resource: &str, node: Option<u8>) -> Vec<(u8, u64)> {
        let now = Instant::now();
        let key = (cluster.to_owned(), resource.to_owned());
        if let Some(node) = node {
            self.seen.entry(key.clone()).or_default().insert(node, now);
        }
        let ago = |at: &Instant| u64::try_from(now.duration_since(*at).as_millis());
        let seen = self.seen.get(&key).into_iter().flatten();
        seen.map(|(node, at)| (*node, ago(at).unwrap_or(u64::MAX)))
            .collect()
    }

    fn list(&mut self, cluster: &str) -> Vec<Listed> {
        let names = self.shelves.get(cluster).map(Shelf::names);
        let names = names.and_then(Result::ok).unwrap_or_default();
        let mut list = Vec::new();
        for resource in names {
            let shelf = self.shelves.get_mut(cluster);
            let register = shelf.map(|shelf| shelf.get(&resource));
            let register = match register {
                Some(Ok(register)) => register,
                Some(Err(why)) => twindisk_arbiter::Register::doubtful(why.to_string()),
                None => continue,
            };
            let seen = self.see(cluster, &resource, None);
            list.push(Listed {
                resource,
                register,
                seen,
            });
        }
        list
    }
}
