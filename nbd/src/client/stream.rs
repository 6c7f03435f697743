//! A connection over TCP or a Unix socket, behind one type.

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::client::{Address, ClientError};

/// A connected socket. On TCP small messages are not held back (`TCP_NODELAY`).
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects; on TCP each address of the host is tried for `timeout`.
    ///
    /// # Errors
    /// If nobody answers there.
    pub fn connect(address: &Address, timeout: Option<Duration>) -> Result<Self, ClientError> {
        let stream = match address {
            Address::Tcp { host, port } => Self::Tcp(connect_tcp(host, *port, timeout)?),
            Address::Unix(path) => Self::Unix(
                UnixStream::connect(path)
                    .map_err(|e| ClientError::from_io("connecting to the Unix socket", e))?,
            ),
        };
        stream.set_timeout(timeout)?;
        Ok(stream)
    }

    /// How long one read or write may take; `None` is for ever.
    ///
    /// # Errors
    /// If the system refuses, for instance a timeout of zero.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        let set = match self {
            Self::Tcp(s) => s
                .set_read_timeout(timeout)
                .and(s.set_write_timeout(timeout)),
            Self::Unix(s) => s
                .set_read_timeout(timeout)
                .and(s.set_write_timeout(timeout)),
        };
        set.map_err(|e| ClientError::from_io("setting the timeout of the connection", e))
    }
}

fn connect_tcp(host: &str, port: u16, timeout: Option<Duration>) -> Result<TcpStream, ClientError> {
    let failed = |e| ClientError::from_io("connecting to the NBD server", e);
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| ClientError::from_io("finding the host", e))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        let connected = match timeout {
            Some(timeout) => TcpStream::connect_timeout(&address, timeout),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(bufs),
            Self::Unix(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}
