//! The end of a connection that accepted it: it speaks second and proves itself last.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{
    Agreed, AuthError, Channel, Inbox, Link, Local, Nonce, Progress, Secret, Session,
    check_cluster, common_version,
    messages::{HELLO_BYTES, Hello, IDENTITY_BYTES, Identity, Role, Transcript},
    session,
};

/// The end that accepted the connection. `D` finds the secret for a link, or `None` when there is no such link.
#[derive(Debug)]
pub struct Listener<D> {
    local: Local,
    directory: D,
    inbox: Inbox,
    nonce: Nonce,
    channel: Channel,
    other_channel: bool,
    state: Listening,
}

impl<D: FnMut(Link) -> Option<Secret>> Listener<D> {
    /// Waits for a dialer's first [`HELLO_BYTES`]. `nonce` must be random and new.
    #[must_use]
    pub fn new(local: Local, directory: D, nonce: Nonce, channel: Channel) -> Self {
        Self {
            local,
            directory,
            inbox: Inbox::default(),
            nonce,
            channel,
            other_channel: false,
            state: Listening::Hello,
        }
    }

    /// The dialer's hello came from another TLS channel than it arrived on. The listener answers it all the same, so
    /// that the dialer sees it too and ends there: this is then the reason why nothing more came.
    #[must_use]
    pub const fn sees_other_channel(&self) -> bool {
        self.other_channel
    }

    /// Takes bytes of the dialer in any portions.
    ///
    /// # Errors
    /// When the dialer is not let in. Close the connection without a word; no more bytes are taken.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Progress, AuthError> {
        let mut progress = Progress::default();
        let mut rest = bytes;
        loop {
            match core::mem::replace(&mut self.state, Listening::Over) {
                Listening::Hello => {
                    let Some(message) = self.inbox.take::<HELLO_BYTES>(&mut rest) else {
                        self.state = Listening::Hello;
                        progress.need = HELLO_BYTES - self.inbox.len();
                        break;
                    };
                    let theirs = Hello::from_bytes(&message)?;
                    let version = common_version(&self.local.versions, &theirs.versions())?;
                    self.other_channel = !theirs.hints_at(self.channel);
                    let ours = Hello::new(&self.local.versions, self.nonce, self.channel);
                    progress.send.extend(ours.to_bytes());
                    self.state = Listening::Proof {
                        transcript: Transcript::new(&theirs, &ours, self.channel),
                        version,
                    };
                }
                Listening::Proof {
                    transcript,
                    version,
                } => {
                    let Some(message) = self.inbox.take::<IDENTITY_BYTES>(&mut rest) else {
                        self.state = Listening::Proof {
                            transcript,
                            version,
                        };
                        progress.need = IDENTITY_BYTES - self.inbox.len();
                        break;
                    };
                    let (answer, session) = self.conclude(transcript, version, &message)?;
                    progress.send.extend(answer);
                    progress.done = Some(session);
                    break;
                }
                Listening::Over => return Err(AuthError::Over),
            }
        }
        progress.used = bytes.len() - rest.len();
        Ok(progress)
    }

    fn conclude(
        &mut self,
        mut transcript: Transcript,
        version: u16,
        message: &[u8; IDENTITY_BYTES],
    ) -> Result<(Vec<u8>, Session), AuthError> {
        let (theirs, proof) = Identity::from_bytes(message)?;
        let (node, me) = (theirs.node, self.local.node);
        let link = Link {
            resource: theirs.resource,
            peer: node,
        };
        let secret = (self.directory)(link);
        // A proof is computed also when there is no such link: the time it takes tells nothing.
        let proven = transcript.verify(
            secret.as_ref().unwrap_or(&Secret([0; 16].into())),
            Role::Dialer,
            &theirs,
            &proof,
        );
        if self.other_channel {
            return Err(AuthError::OtherChannel);
        }
        check_cluster(&self.local, &theirs)?;
        if theirs.peer != me {
            let wanted = theirs.peer;
            return Err(AuthError::NotMe { node, wanted, me });
        }
        let Some(secret) = secret else {
            let resource = link.resource;
            return Err(AuthError::NotShared { node, resource });
        };
        if !proven {
            return Err(AuthError::WrongSecret { node });
        }
        let identity = Identity::new(&self.local, link);
        let answer = transcript.prove(&secret, Role::Listener, &identity);
        let session = session(
            &transcript,
            &secret,
            Role::Listener,
            &Agreed {
                version,
                features: self.local.features & theirs.features,
                theirs,
            },
        );
        Ok((answer, session))
    }
}

#[derive(Debug)]
enum Listening {
    Hello,
    Proof {
        transcript: Transcript,
        version: u16,
    },
    Over,
}
