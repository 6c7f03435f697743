//! Asking a witness: one connection a question, within a deadline. No answer means that nothing is known.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use twindisk_arbiter::{
    Keeper, MAX_MESSAGE_BYTES, OpenError, Question, Reply, Request, Seal, Unanswered,
};

/// A witness, as it is asked.
#[derive(Clone, Debug)]
pub struct Witness {
    address: String,
    seal: Seal,
}

/// Why there is no answer: whether what was asked for is done is not known.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It can't be reached, or did not answer in time.
    #[error("the witness at {address} does not answer: {source}")]
    Io {
        /// Where.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// What it says is not believed.
    #[error("what answers at {address} is not believed: {why}")]
    Open {
        /// Where.
        address: String,
        /// Why.
        why: OpenError,
    },
    /// It says nothing: it does not serve this cluster, or has another secret.
    #[error(
        "the witness at {address} hung up: does its configuration name this cluster, with this secret?"
    )]
    HungUp {
        /// Where.
        address: String,
    },
}

impl Witness {
    /// The one at `HOST:PORT`, for the cluster of this seal.
    #[must_use]
    pub const fn new(address: String, seal: Seal) -> Self {
        Self { address, seal }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks it, and waits for the answer at most so long.
    ///
    /// # Errors
    /// When there is none that can be believed.
    pub fn ask(&self, question: Question, patience: Duration) -> Result<Reply, AskError> {
        let deadline = Instant::now() + patience;
        let fault = |source| AskError::Io {
            address: self.address.clone(),
            source,
        };
        let id = getrandom::u64().map_err(|error| fault(io::Error::other(error)))?;
        let mut stream = self.connect(deadline).map_err(fault)?;
        let message = self.seal.question(&Request { id, question });
        let length =
            u32::try_from(message.len()).map_err(|error| fault(io::Error::other(error)))?;
        let mut framed = length.to_le_bytes().to_vec();
        framed.extend_from_slice(&message);
        stream
            .set_write_timeout(Some(left(deadline).map_err(fault)?))
            .and_then(|()| stream.write_all(&framed))
            .map_err(fault)?;
        let mut length = [0; 4];
        if let Err(error) = fill(&mut stream, &mut length, deadline) {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                let address = self.address.clone();
                return Err(AskError::HungUp { address });
            }
            return Err(fault(error));
        }
        let open = |why| AskError::Open {
            address: self.address.clone(),
            why,
        };
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(open(OpenError::NoMessage));
        }
        let mut message = vec![0; length];
        fill(&mut stream, &mut message, deadline).map_err(fault)?;
        let response = self.seal.open_answer(&message).map_err(open)?;
        if response.id != id {
            return Err(open(OpenError::BadProof));
        }
        Ok(response.reply)
    }

    fn connect(&self, deadline: Instant) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Keeper for Witness {
    fn ask(&self, question: Question, patience: Duration) -> Result<Reply, Unanswered> {
        Ok(Self::ask(self, question, patience)?)
    }
}

/// Reads until the buffer is full.
fn fill(stream: &mut TcpStream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}
