//! TLS on a link: ciphertext on its way in and out. The control plane has made the handshake; here only records are
//! taken and made, and any that was not the peer's in its place ends the link.
//!
//! A link has at most so much of it in memory: one receive of ciphertext, what rustls has taken of that (a record of at
//! most 18 KiB), and one send. While there is no buffer for the next frame nothing is read, so that the socket fills up
//! as it does without TLS. rustls allocates for each record that it makes or takes: a few for a request of 4 KiB.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{MsgFlags, send};
use rustls::{AlertDescription, Connection, Error};

use crate::{
    buffers::Buffers,
    limits::{TLS_RECEIVE_BYTES, TLS_SEND_BYTES, TLS_SEND_PIECES},
    send::SendBatch,
    window::Window,
};

/// The TLS half of a link.
pub(super) struct Tls {
    connection: Box<Connection>,
    /// Ciphertext that was received and not yet given to `connection`.
    pub(super) incoming: Window,
    /// Ciphertext that is being sent: no buffers, small pieces only.
    pub(super) outgoing: SendBatch,
    /// Bytes of the link's batch that are in `outgoing`, or were.
    encrypted: usize,
    end_said: bool,
}

impl Tls {
    /// # Panics
    /// When the handshake is not over: whoever proves the shared secret proves it over a channel that is complete.
    pub(super) fn new(mut connection: Box<Connection>) -> Self {
        assert!(
            !connection.is_handshaking(),
            "the control plane makes the handshake"
        );
        // What it holds is bounded here: it is emptied after each `TLS_SEND_BYTES`.
        connection.set_buffer_limit(None);
        Self {
            connection,
            incoming: Window::new(TLS_RECEIVE_BYTES, &[]),
            outgoing: SendBatch::new(),
            encrypted: 0,
            end_said: false,
        }
    }

    /// Fills `into` with what the peer has sent, as far as it has come; 0: more must be received first.
    ///
    /// # Errors
    /// A sentence that says why the link is over.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        let mut done = 0;
        loop {
            match self.connection.reader().read(&mut into[done..]) {
                Ok(0) if done == into.len() => return Ok(done),
                Ok(0) if done > 0 => return Ok(done),
                Ok(0) => return Err("the peer closed it".to_owned()),
                Ok(read) => {
                    done += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("TLS failed: {error}")),
            }
            let mut received = self.incoming.filled();
            if received.is_empty() {
                return Ok(done);
            }
            let taken = match self.connection.read_tls(&mut received) {
                Ok(0) => return Err("TLS failed: there is no room for its record".to_owned()),
                Ok(taken) => taken,
                Err(error) => return Err(format!("TLS failed: {error}")),
            };
            self.incoming.consume(taken);
            self.connection
                .process_new_packets()
                .map_err(|error| explain(&error))?;
        }
    }

    /// Encrypts the next part of `batch`, and whatever TLS itself has to say, unless a part is still being sent.
    pub(super) fn encrypt(&mut self, batch: &SendBatch, buffers: &Buffers) -> Result<(), String> {
        if !self.outgoing.is_empty() {
            return Ok(());
        }
        if !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); TLS_SEND_PIECES];
            let part = (self.encrypted, TLS_SEND_BYTES);
            let count = batch.slices(buffers, part, &mut slices);
            // One record holds a header and what follows it, as far as they fit.
            let written = self.connection.writer().write_vectored(&slices[..count]);
            self.encrypted += written.map_err(|error| format!("TLS failed: {error}"))?;
        }
        if self.connection.wants_write() {
            let ciphertext = self.outgoing.begin_small();
            let written = write_all(&mut self.connection, ciphertext);
            self.outgoing.end_small();
            written.map_err(|error| format!("TLS failed: {error}"))?;
        }
        Ok(())
    }

    /// A part was sent whole; says whether it was the last one of `batch`.
    pub(super) const fn is_sent(&mut self, batch: &SendBatch) -> bool {
        let last = self.encrypted == batch.bytes();
        if last {
            self.encrypted = 0;
        }
        last
    }

    /// Something of the batch has left it already: nothing may be added.
    pub(super) const fn is_within_batch(&self) -> bool {
        self.encrypted > 0
    }

    /// Says that nothing more comes, so that the peer can tell the end from a cut; says whether that is sent.
    pub(super) fn say_end(&mut self) -> bool {
        if !self.end_said {
            self.end_said = true;
            self.connection.send_close_notify();
        }
        !self.connection.wants_write() && self.outgoing.is_empty()
    }

    /// The last words on a link that ends at once: why it does (an alert), or that it does; as far as they find room.
    pub(super) fn say_last_words(&mut self, socket: &OwnedFd) {
        if !self.outgoing.is_empty() {
            // Within a record nothing can be said.
            return;
        }
        self.connection.send_close_notify();
        let mut words = Vec::new();
        if write_all(&mut self.connection, &mut words).is_ok() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // The peer sees the end without them, too.
            let _ = send(socket.as_raw_fd(), &words, flags);
        }
    }
}

fn write_all(connection: &mut Connection, into: &mut dyn Write) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(into)?;
    }
    Ok(())
}

/// What an error of TLS means for an operator.
fn explain(error: &Error) -> String {
    match error {
        Error::DecryptError => "what came is not what the peer sent, or not in its place (TLS): it was altered, lost, \
             repeated or reordered on the way; look for who stands between the nodes"
            .to_owned(),
        Error::AlertReceived(AlertDescription::BadRecordMac) => {
            "the peer ended TLS: what it received was not what this node sent; look for who stands between the nodes"
                .to_owned()
        }
        Error::AlertReceived(alert) => format!("the peer ended TLS: {alert:?}: its log says why"),
        error => format!("what came is no TLS of the peer: {error}"),
    }
}
