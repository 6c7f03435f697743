//! The end of a connection that opened it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{
    Agreed, AuthError, Channel, Inbox, Link, Local, Nonce, Progress, Secret, Session,
    check_cluster, common_version,
    messages::{HELLO_BYTES, Hello, IDENTITY_BYTES, Identity, Role, Transcript},
    session,
};

/// The end that opened the connection.
#[derive(Debug)]
pub struct Dialer {
    local: Local,
    link: Link,
    secret: Secret,
    inbox: Inbox,
    hello: Hello,
    channel: Channel,
    state: Dialing,
}

impl Dialer {
    /// Begins; the progress holds the first bytes to send. `nonce` must be random and new.
    #[must_use]
    pub fn new(
        local: Local,
        link: Link,
        secret: Secret,
        nonce: Nonce,
        channel: Channel,
    ) -> (Self, Progress) {
        let hello = Hello::new(&local.versions, nonce, channel);
        let progress = Progress {
            send: hello.to_bytes(),
            need: HELLO_BYTES,
            ..Progress::default()
        };
        let dialer = Self {
            local,
            link,
            secret,
            inbox: Inbox::default(),
            hello,
            channel,
            state: Dialing::Hello,
        };
        (dialer, progress)
    }

    /// Takes bytes of the listener in any portions.
    ///
    /// # Errors
    /// When the listener is not who it should be. Close the connection; no more bytes are taken.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Progress, AuthError> {
        let mut progress = Progress::default();
        let mut rest = bytes;
        loop {
            match core::mem::replace(&mut self.state, Dialing::Over) {
                Dialing::Hello => {
                    let Some(message) = self.inbox.take::<HELLO_BYTES>(&mut rest) else {
                        self.state = Dialing::Hello;
                        progress.need = HELLO_BYTES - self.inbox.len();
                        break;
                    };
                    let (mut transcript, version) = self.greet(&message)?;
                    let identity = Identity::new(&self.local, self.link);
                    progress
                        .send
                        .extend(transcript.prove(&self.secret, Role::Dialer, &identity));
                    self.state = Dialing::Proof {
                        transcript,
                        version,
                    };
                }
                Dialing::Proof {
                    transcript,
                    version,
                } => {
                    let Some(message) = self.inbox.take::<IDENTITY_BYTES>(&mut rest) else {
                        self.state = Dialing::Proof {
                            transcript,
                            version,
                        };
                        progress.need = IDENTITY_BYTES - self.inbox.len();
                        break;
                    };
                    progress.done = Some(self.conclude(transcript, version, &message)?);
                    break;
                }
                Dialing::Over => return Err(AuthError::Over),
            }
        }
        progress.used = bytes.len() - rest.len();
        Ok(progress)
    }

    fn greet(&self, message: &[u8; HELLO_BYTES]) -> Result<(Transcript, u16), AuthError> {
        let theirs = Hello::from_bytes(message)?;
        let version = common_version(&self.local.versions, &theirs.versions())?;
        if !theirs.hints_at(self.channel) {
            return Err(AuthError::OtherChannel);
        }
        let transcript = Transcript::new(&self.hello, &theirs, self.channel);
        Ok((transcript, version))
    }

    fn conclude(
        &self,
        mut transcript: Transcript,
        version: u16,
        message: &[u8; IDENTITY_BYTES],
    ) -> Result<Session, AuthError> {
        let (theirs, proof) = Identity::from_bytes(message)?;
        check_cluster(&self.local, &theirs)?;
        let node = theirs.node;
        if theirs.resource != self.link.resource {
            return Err(AuthError::OtherResource { node });
        }
        if node != self.link.peer {
            let wanted = self.link.peer;
            return Err(AuthError::OtherNode { node, wanted });
        }
        if theirs.peer != self.local.node {
            let (wanted, me) = (theirs.peer, self.local.node);
            return Err(AuthError::NotMe { node, wanted, me });
        }
        if !transcript.verify(&self.secret, Role::Listener, &theirs, &proof) {
            return Err(AuthError::WrongSecret { node });
        }
        Ok(session(
            &transcript,
            &self.secret,
            Role::Dialer,
            &Agreed {
                version,
                features: self.local.features & theirs.features,
                theirs,
            },
        ))
    }
}

#[derive(Debug)]
enum Dialing {
    Hello,
    Proof {
        transcript: Transcript,
        version: u16,
    },
    Over,
}
