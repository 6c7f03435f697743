//! What can go wrong between a node and a member of etcd, in words for people: each goes on from "etcd at HOST".

use std::{io, path::PathBuf};

use crate::limits::MAX_WORDS;

/// Why there is no answer. What was asked for may be done all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("does not answer in time: is it up, and slow?")]
    Silent,
    #[error("can't be reached: {0}")]
    Unreachable(String),
    #[error(
        "is not believed ({0}): `ca-file` must hold who signed its certificate, and that must name this host"
    )]
    Stranger(String),
    #[error(
        "does not take this node's certificate ({0}): it wants `cert-file` and `key-file` signed by its own authority"
    )]
    Unwelcome(String),
    #[error(
        "hung up ({0}): was it stopped, or is http in `endpoints` where https belongs, or the other way round? Over https it \
         does so, too, when it does not take this node's certificate: look at `cert-file` and `key-file`"
    )]
    HungUp(String),
    #[error("speaks no TLS at that port ({0}): is it an http endpoint?")]
    NoTls(String),
    #[error("is not asked: {}: {why}", file.display())]
    File { file: PathBuf, why: String },
    #[error(
        "has no leader now ({0}): until a majority of its members is up and connected it neither tells nor changes anything"
    )]
    NoLeader(String),
    #[error("asks who this is: add `user` and `password-file` to [etcd]")]
    NeedsUser,
    #[error(
        "does not know this user with this password: look at `user` and `password-file` in [etcd]"
    )]
    Login,
    /// A login that has grown old: a new one helps.
    #[error("does not take the login that it has just given ({0})")]
    Token(String),
    #[error("has authentication turned off")]
    NoAuthentication,
    #[error(
        "lets this user not read or write there ({0}): grant it, as `etcdctl role grant-permission ROLE --prefix readwrite PREFIX`"
    )]
    Forbidden(String),
    #[error(
        "has no space, and changes nothing (NOSPACE): compact and defragment it, then `etcdctl alarm disarm`"
    )]
    NoSpace,
    #[error("says more than is read ({0} bytes): what is at that key is nothing of Twindisk's")]
    TooLong(u64),
    #[error(
        "answers what etcd 3.4 or later does not ({0}): is that a client URL, and its gRPC gateway on?"
    )]
    NotUnderstood(String),
    #[error("answers: {0}")]
    Other(String),
    #[error("is asked by so many at once that no attempt came through")]
    Crowded,
}

impl Fault {
    /// Nothing can be written for now, and reading is no matter.
    pub(crate) const fn is_of_writing(&self) -> bool {
        matches!(self, Self::NoSpace | Self::Forbidden(_))
    }
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::Silent,
            ureq::Error::HostNotFound => Self::Unreachable("its name has no address".to_owned()),
            ureq::Error::BodyExceedsLimit(limit) => Self::TooLong(limit),
            ureq::Error::Rustls(error) => Self::from(&error),
            ureq::Error::Io(error) => Self::from(error),
            ureq::Error::Protocol(error) => Self::NotUnderstood(error.to_string()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        ) {
            return Self::Silent;
        }
        let inner = error.get_ref().and_then(|inner| {
            let source = inner.source().and_then(|source| source.downcast_ref());
            inner.downcast_ref::<rustls::Error>().or(source)
        });
        if let Some(inner) = inner {
            return Self::from(inner);
        }
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => Self::HungUp(error.to_string()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<&rustls::Error> for Fault {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Unwelcome(format!("{alert:?}")),
            rustls::Error::InvalidMessage(_) => Self::NoTls(error.to_string()),
            _ => Self::Stranger(error.to_string()),
        }
    }
}

/// What an answer means that bears another status than 200.
pub(crate) fn refusal(status: u16, body: &[u8]) -> Fault {
    let text = String::from_utf8_lossy(body);
    // `{"error": …, "message": …, "code": …}`: both texts are the same, and newer versions have one of them.
    let said = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = said.and_then(|said| {
        let message = said.get("message").or_else(|| said.get("error"))?;
        message.as_str().map(str::to_owned)
    });
    let Some(message) = said else {
        let words = text.trim().chars().take(MAX_WORDS);
        return Fault::NotUnderstood(format!("status {status}: {}", words.collect::<String>()));
    };
    let message: String = message.chars().take(MAX_WORDS).collect();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["space exceeded"]) {
        Fault::NoSpace
    } else if says(&["permission denied", "permission is not granted"]) {
        Fault::Forbidden(message)
    } else if says(&["invalid auth token", "revision of auth store is old"]) {
        Fault::Token(message)
    } else if says(&["authentication is not enabled"]) {
        Fault::NoAuthentication
    } else if says(&["authentication failed", "user name not found"]) {
        Fault::Login
    } else if says(&["user name is empty"]) {
        Fault::NeedsUser
    } else if says(&[
        "no leader",
        "leader changed",
        "timed out",
        "deadline exceeded",
        "not leader",
    ]) {
        Fault::NoLeader(message)
    } else {
        Fault::Other(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_says_is_told_apart() {
        let said = |message: &str| {
            let body = serde_json::json!({ "error": message, "message": message, "code": 3 });
            refusal(400, body.to_string().as_bytes())
        };
        assert_eq!(
            said("etcdserver: mvcc: database space exceeded"),
            Fault::NoSpace
        );
        assert!(said("etcdserver: permission denied").is_of_writing());
        assert_eq!(said("etcdserver: user name is empty"), Fault::NeedsUser);
        for (words, fault) in [
            ("etcdserver: invalid auth token", Fault::Token as fn(_) -> _),
            ("etcdserver: no leader", Fault::NoLeader),
            ("context deadline exceeded", Fault::NoLeader),
            ("etcdserver: corrupt cluster", Fault::Other),
        ] {
            assert_eq!(said(words), fault(words.to_owned()));
        }
        for body in ["", "{", "<html>", "[]", "{\"message\": 5}", "\u{fffd}"] {
            let fault = refusal(404, body.as_bytes());
            assert!(matches!(fault, Fault::NotUnderstood(_)), "{body}: {fault}");
        }
    }
}
