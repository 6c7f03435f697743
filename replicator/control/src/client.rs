//! The other end of the control socket, for the command line: blocking, one request at a time.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::{
    limits::{MAX_LINE_BYTES, STATUS_PATIENCE},
    protocol::{Answer, Ask, NodeStatus, Request, VERSION},
};

/// A connection to a node's control socket.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// How long an answer may take.
    patience: Option<Duration>,
    stream: BufReader<UnixStream>,
}

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no `twindisk serve` is running for node {node} (control socket {}): start it with: {start}",
        socket.display()
    )]
    NotRunning {
        /// Which node.
        node: String,
        /// Where it would listen.
        socket: PathBuf,
        /// How to start it.
        start: String,
    },
    /// Not allowed to connect.
    #[error("{}: permission denied: run this as the user that runs `twindisk serve`, or widen `control-mode`", socket.display())]
    Denied {
        /// Which socket.
        socket: PathBuf,
    },
    /// Nobody answers.
    #[error(
        "{}: `twindisk serve`{process} says nothing for {} ms: it was stopped (SIGSTOP), waits for a disk, or its host is busy \
         with something else. An agent beside it acts when that goes on",
        socket.display(), limit.as_millis()
    )]
    Silent {
        /// Which socket.
        socket: PathBuf,
        /// Its number, if it is known.
        process: String,
        /// For how long it was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("{}: the connection to `twindisk serve` broke ({source}): whether the request was carried out is not known; look at `twindisk status`", socket.display())]
    Broken {
        /// Which socket.
        socket: PathBuf,
        /// How.
        source: io::Error,
    },
    /// An answer that is none.
    #[error("{}: the answer is not understood ({what}): is `twindisk serve` of another version?", socket.display())]
    Nonsense {
        /// Which socket.
        socket: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl Client {
    /// Connects to the node's control socket; `node` and `start` are for the message when nobody is there.
    ///
    /// # Errors
    /// When nobody listens or it is not allowed.
    pub fn connect(socket: &Path, node: &str, start: &str) -> Result<Self, ClientError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Self {
                socket: socket.to_owned(),
                patience: None,
                stream: BufReader::new(stream),
            }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ClientError::Denied {
                    socket: socket.to_owned(),
                })
            }
            Err(_) => Err(ClientError::NotRunning {
                node: node.to_owned(),
                socket: socket.to_owned(),
                start: start.to_owned(),
            }),
        }
    }

    /// An answer may take so long from now on; a status never takes longer than it should. Whoever gives up hangs up, and
    /// what was asked is not carried out then, unless it had begun.
    ///
    /// # Errors
    /// When the socket does not take the limit.
    pub fn with_patience(mut self, patience: Option<Duration>) -> Result<Self, ClientError> {
        // A limit of zero would be none.
        self.patience = patience.map(|patience| patience.max(Duration::from_millis(1)));
        self.limit(self.patience)?;
        Ok(self)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not understood.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer, ClientError> {
        let request = Request {
            version: VERSION,
            ask,
        };
        let mut line = serde_json::to_vec(&request).map_err(|error| self.nonsense(&error))?;
        line.push(b'\n');
        self.stream
            .get_mut()
            .write_all(&line)
            .map_err(|source| self.broken(source))?;
        self.next_answer()
    }

    /// The next answer of a stream.
    ///
    /// # Errors
    /// When the connection ends or the answer is not understood.
    pub fn next_answer(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        let limit = MAX_LINE_BYTES as u64;
        let read = (&mut self.stream).take(limit).read_until(b'\n', &mut line);
        read.map_err(|source| self.broken_or_silent(source))?;
        if line.last() != Some(&b'\n') {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| self.nonsense(&error))
    }

    /// The node's status, or one resource's.
    ///
    /// # Errors
    /// When the connection breaks, nobody answers in time, or the answer is no status.
    pub fn status(&mut self, resource: Option<&str>) -> Result<NodeStatus, ClientError> {
        let resource = resource.map(str::to_owned);
        let before = self.patience;
        let patience = before.map_or(STATUS_PATIENCE, |patience| patience.min(STATUS_PATIENCE));
        self.patience = Some(patience);
        self.limit(self.patience)?;
        let answer = self.ask(Ask::Status { resource });
        self.patience = before;
        self.limit(before)?;
        match answer? {
            Answer::Status(status) => Ok(*status),
            other => Err(self.nonsense(&format!("{other:?}"))),
        }
    }

    /// `read` with a time limit ends so (socket(7), SO_RCVTIMEO).
    fn broken_or_silent(&self, source: io::Error) -> ClientError {
        match self.patience {
            Some(limit) if source.kind() == io::ErrorKind::WouldBlock => ClientError::Silent {
                socket: self.socket.clone(),
                process: self.process(),
                limit,
            },
            _ => self.broken(source),
        }
    }

    fn limit(&self, limit: Option<Duration>) -> Result<(), ClientError> {
        let set = self.stream.get_ref().set_read_timeout(limit);
        set.map_err(|source| self.broken(source))
    }

    /// Whoever listens, as a part of a sentence.
    fn process(&self) -> String {
        let listener = getsockopt(self.stream.get_ref(), PeerCredentials);
        listener.map_or_else(
            |_| String::new(),
            |listener| format!(" (process {})", listener.pid()),
        )
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            source,
        }
    }

    fn nonsense(&self, what: &impl ToString) -> ClientError {
        ClientError::Nonsense {
            socket: self.socket.clone(),
            what: what.to_string(),
        }
    }
}
