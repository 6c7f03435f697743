//! Questions and answers on the wire: `TWARB1`, the name of the cluster (one byte of length before it), 32 bytes of
//! HMAC-SHA256 over direction and body, and the body as JSON. The key is HMAC-SHA256(secret, `"twindisk arbiter\0"` ‖ name
//! of the cluster). An answer bears the number of its question, so that a recorded one answers nothing else; a recorded
//! question is harmless: what it compares is gone. What is kept in etcd has the same form.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::Sha256;

use crate::{Answer, Ask, Register, Version};

const MAGIC: &[u8; 6] = b"TWARB1";
const MAC_BYTES: usize = 32;

/// The longest message: a list of all resources of a large cluster fits.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// A question with what is needed to answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// Random: the answer bears it.
    pub id: u64,
    /// What is asked.
    pub question: Question,
}

/// What can be asked of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Something of the register of a resource.
    Register {
        /// Its name.
        resource: String,
        /// Who asks; `None`: a person.
        node: Option<u8>,
        /// The newest record that the asker knows of.
        known: Option<Version>,
        /// What.
        ask: Ask,
    },
    /// All registers of the cluster: for people.
    List,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Response {
    /// The question's.
    pub id: u64,
    /// What is answered.
    pub reply: Reply,
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Of one register.
    Register {
        /// The register's answer.
        answer: Answer,
        /// Nodes that have asked it since it started, with how long ago, in milliseconds. A hint, never a right.
        seen: Vec<(u8, u64)>,
    },
    /// All of the cluster.
    List(Vec<Listed>),
}

/// A register in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Of which resource.
    pub resource: String,
    /// What it holds.
    pub register: Register,
    /// See [`Reply::Register`].
    pub seen: Vec<(u8, u64)>,
}

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It is none.
    NoMessage,
    /// It is of another cluster.
    OtherCluster,
    /// Whoever sent it does not know the secret.
    BadProof,
    /// It is of another version.
    NotUnderstood,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMessage => "it is no message of an arbiter: is that address a witness's?",
            Self::OtherCluster => "it is of another cluster",
            Self::BadProof => "its proof is wrong: the two have different secrets",
            Self::NotUnderstood => "it is not understood: the two are of different versions",
        })
    }
}

impl std::error::Error for OpenError {}

/// Seals and opens messages of one cluster.
#[derive(Clone)]
pub struct Seal {
    cluster: String,
    key: Vec<u8>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.cluster) // The key is nobody's business.
    }
}

const KEPT: &[u8] = b"kept\0";
const QUESTION: &[u8] = b"question\0";
const ANSWER: &[u8] = b"answer\0";

impl Seal {
    /// With the secret that all nodes of the cluster know. Of a longer name than 255 bytes only so much is used.
    #[must_use]
    pub fn new(secret: &[u8], cluster: &str) -> Self {
        let mut mac = keyed(secret);
        mac.update(b"twindisk arbiter\0");
        mac.update(cluster.as_bytes());
        Self {
            cluster: cluster.to_owned(),
            key: mac.finalize().into_bytes().to_vec(),
        }
    }

    /// A question, to be sent.
    #[must_use]
    pub fn question(&self, request: &Request) -> Vec<u8> {
        self.seal(QUESTION, request)
    }

    /// An answer, to be sent.
    #[must_use]
    pub fn answer(&self, response: &Response) -> Vec<u8> {
        self.seal(ANSWER, response)
    }

    /// A question that arrived.
    ///
    /// # Errors
    /// When nobody of this cluster has asked it.
    pub fn open_question(&self, message: &[u8]) -> Result<Request, OpenError> {
        self.open(QUESTION, message)
    }

    /// An answer that arrived. Whether it bears the number of the question is for the caller to see.
    ///
    /// # Errors
    /// When nobody of this cluster has given it.
    pub fn open_answer(&self, message: &[u8]) -> Result<Response, OpenError> {
        self.open(ANSWER, message)
    }

    /// Something to be kept where others may write, too.
    #[must_use]
    pub fn keep(&self, kept: &impl Serialize) -> Vec<u8> {
        self.seal(KEPT, kept)
    }

    /// What was kept there.
    ///
    /// # Errors
    /// When nobody of this cluster has written it.
    pub fn open_kept<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, OpenError> {
        self.open(KEPT, bytes)
    }

    fn seal(&self, direction: &[u8], body: &impl Serialize) -> Vec<u8> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        let name = self.cluster.as_bytes();
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let mut message = MAGIC.to_vec();
        message.push(length);
        message.extend_from_slice(&name[..usize::from(length)]);
        message.extend_from_slice(&self.proof(direction, &body).finalize().into_bytes());
        message.extend_from_slice(&body);
        message
    }

    fn open<T: DeserializeOwned>(&self, direction: &[u8], message: &[u8]) -> Result<T, OpenError> {
        let (cluster, rest) = split(message).ok_or(OpenError::NoMessage)?;
        if cluster != self.cluster.as_bytes() {
            return Err(OpenError::OtherCluster);
        }
        let (proof, body) = rest
            .split_at_checked(MAC_BYTES)
            .ok_or(OpenError::NoMessage)?;
        let mac = self.proof(direction, body);
        mac.verify_slice(proof).map_err(|_| OpenError::BadProof)?;
        serde_json::from_slice(body).map_err(|_| OpenError::NotUnderstood)
    }

    fn proof(&self, direction: &[u8], body: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.key);
        mac.update(direction);
        mac.update(body);
        mac
    }
}

/// The cluster that a message names; nothing is proven by that.
#[must_use]
pub fn cluster_of(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(split(message)?.0).ok()
}

fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = message.strip_prefix(MAGIC.as_slice())?;
    let (length, rest) = rest.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret that is long enough";

    fn request() -> Request {
        Request {
            id: 5,
            question: Question::Register {
                resource: "r0".into(),
                node: Some(1),
                known: Some(Version { epoch: 1, seq: 2 }),
                ask: Ask::Read,
            },
        }
    }

    #[test]
    fn a_question_survives_and_nothing_else_does() {
        let seal = Seal::new(SECRET, "cluster");
        let message = seal.question(&request());
        assert_eq!(seal.open_question(&message), Ok(request()));
        assert_eq!(cluster_of(&message), Some("cluster"));
        for at in 0..message.len() {
            let mut bent = message.clone();
            bent[at] ^= 1;
            assert!(seal.open_question(&bent).is_err(), "byte {at}");
        }
        for length in 0..message.len() {
            let cut = &message[..length];
            assert!(seal.open_question(cut).is_err(), "{length} bytes");
        }
        let other = Seal::new(SECRET, "another");
        assert_eq!(other.open_question(&message), Err(OpenError::OtherCluster));
        let other = Seal::new(b"another secret, long as well", "cluster");
        assert_eq!(other.open_question(&message), Err(OpenError::BadProof));
    }

    #[test]
    fn a_question_is_no_answer() {
        let seal = Seal::new(SECRET, "cluster");
        let reply = Reply::Register {
            answer: Answer::Held(None),
            seen: vec![(1, 20)],
        };
        let response = Response { id: 5, reply };
        let message = seal.answer(&response);
        assert_eq!(seal.open_answer(&message), Ok(response));
        assert_eq!(seal.open_question(&message), Err(OpenError::BadProof));
    }
}
