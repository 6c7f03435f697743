//! NBD addresses as text: `nbd://host:port/name` and `nbd+unix:///name?socket=path`
//! (the NBD project's uri.md, without TLS).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::protocol::DEFAULT_PORT;

/// Where an export is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uri {
    /// The server.
    pub address: Address,
    /// The export; empty for the server's default.
    pub export: String,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no NBD address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidUri {
    /// Another scheme.
    #[error("{0:?} does not begin with nbd:// or nbd+unix://")]
    Scheme(String),
    /// A scheme with TLS.
    #[error("{0:?} asks for TLS, which this client does not speak: use nbd:// or nbd+unix://")]
    Tls(String),
    /// No host.
    #[error("{0:?} has no host: write nbd://HOST[:PORT]/NAME")]
    NoHost(String),
    /// A user name, which has a meaning only with TLS.
    #[error("{0:?} has a user name, which means something only with TLS: leave it out")]
    User(String),
    /// A port that is none.
    #[error("{0:?} is no port number")]
    Port(String),
    /// A Unix address without a path.
    #[error("{0:?} has no socket: write nbd+unix:///NAME?socket=PATH")]
    NoSocket(String),
    /// A parameter nobody knows.
    #[error("unknown parameter {0:?}: only socket=PATH, and only for nbd+unix://")]
    Parameter(String),
    /// A wrong escape.
    #[error("{0:?} has a % that is not followed by two hexadecimal digits, or is not UTF-8")]
    Escape(String),
}

impl FromStr for Uri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        let whole = || text.to_owned();
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| InvalidUri::Scheme(whole()))?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let export = unescape(path)?;
        if authority.contains('@') {
            return Err(InvalidUri::User(whole()));
        }
        let address = match scheme {
            "nbd" => {
                if let Some(query) = query {
                    return Err(InvalidUri::Parameter(query.to_owned()));
                }
                tcp_address(authority, text)?
            }
            "nbd+unix" => {
                if !authority.is_empty() {
                    return Err(InvalidUri::NoSocket(whole()));
                }
                unix_address(query.unwrap_or_default(), text)?
            }
            "nbds" | "nbds+unix" => return Err(InvalidUri::Tls(whole())),
            _ => return Err(InvalidUri::Scheme(whole())),
        };
        Ok(Self { address, export })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = escape(self.export.as_bytes(), b"/");
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                write!(
                    f,
                    "nbd://[{}]:{port}/{export}",
                    escape(host.as_bytes(), b":")
                )
            }
            Address::Tcp { host, port } => {
                write!(f, "nbd://{}:{port}/{export}", escape(host.as_bytes(), b""))
            }
            Address::Unix(path) => {
                let path = escape(path.as_os_str().as_encoded_bytes(), b"/");
                write!(f, "nbd+unix:///{export}?socket={path}")
            }
        }
    }
}

fn tcp_address(authority: &str, whole: &str) -> Result<Address, InvalidUri> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| InvalidUri::NoHost(whole.to_owned()))?;
            let port = match after {
                "" => None,
                _ => Some(
                    after
                        .strip_prefix(':')
                        .ok_or_else(|| InvalidUri::Port(after.to_owned()))?,
                ),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(InvalidUri::NoHost(whole.to_owned()));
    }
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(port) => port
            .parse()
            .map_err(|_| InvalidUri::Port(port.to_owned()))?,
    };
    Ok(Address::Tcp {
        host: unescape(host)?,
        port,
    })
}

fn unix_address(query: &str, whole: &str) -> Result<Address, InvalidUri> {
    let mut socket = None;
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        match parameter.split_once('=') {
            Some(("socket", path)) if socket.is_none() => socket = Some(unescape(path)?),
            _ => return Err(InvalidUri::Parameter(parameter.to_owned())),
        }
    }
    match socket {
        Some(path) if !path.is_empty() => Ok(Address::Unix(PathBuf::from(path))),
        _ => Err(InvalidUri::NoSocket(whole.to_owned())),
    }
}

fn unescape(text: &str) -> Result<String, InvalidUri> {
    let wrong = || InvalidUri::Escape(text.to_owned());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        out.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

/// Letters, digits, `-._~` and the bytes in `plain` stay, all others are escaped.
fn escape(bytes: &[u8], plain: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Uri {
        let address = Address::Tcp {
            host: host.to_owned(),
            port,
        };
        Uri {
            address,
            export: export.to_owned(),
        }
    }

    #[test]
    fn addresses_are_parsed_and_printed() {
        for (text, uri, printed) in [
            ("nbd://host", tcp("host", 10809, ""), "nbd://host:10809/"),
            ("nbd://host/", tcp("host", 10809, ""), "nbd://host:10809/"),
            (
                "nbd://host:1/a/b",
                tcp("host", 1, "a/b"),
                "nbd://host:1/a/b",
            ),
            (
                "nbd://[::1]:7/d%20k",
                tcp("::1", 7, "d k"),
                "nbd://[::1]:7/d%20k",
            ),
            (
                "nbd://[fe80::2]/d",
                tcp("fe80::2", 10809, "d"),
                "nbd://[fe80::2]:10809/d",
            ),
        ] {
            assert_eq!(text.parse::<Uri>().unwrap(), uri);
            assert_eq!(uri.to_string(), printed);
        }
        let unix: Uri = "nbd+unix:///disk0?socket=/run/twin%20disk.sock"
            .parse()
            .unwrap();
        assert_eq!(unix.address, Address::Unix("/run/twin disk.sock".into()));
        assert_eq!(unix.export, "disk0");
        assert_eq!(
            unix.to_string(),
            "nbd+unix:///disk0?socket=/run/twin%20disk.sock"
        );
        let bare: Uri = "nbd+unix://?socket=nbd.sock".parse().unwrap();
        assert_eq!(bare.address, Address::Unix("nbd.sock".into()));
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        let wrong = |text: &str| text.parse::<Uri>().unwrap_err();
        assert!(matches!(wrong("host:10809"), InvalidUri::Scheme(_)));
        assert!(matches!(wrong("http://host/"), InvalidUri::Scheme(_)));
        assert!(matches!(wrong("nbds://host/"), InvalidUri::Tls(_)));
        assert!(matches!(wrong("nbd:///disk"), InvalidUri::NoHost(_)));
        assert!(matches!(wrong("nbd://[::1/disk"), InvalidUri::NoHost(_)));
        assert!(matches!(wrong("nbd://host:99999/"), InvalidUri::Port(_)));
        assert!(matches!(wrong("nbd://[::1]7/"), InvalidUri::Port(_)));
        assert!(matches!(wrong("nbd://me@host/"), InvalidUri::User(_)));
        assert!(matches!(
            wrong("nbd://host/?socket=/x"),
            InvalidUri::Parameter(_)
        ));
        assert!(matches!(wrong("nbd+unix:///disk"), InvalidUri::NoSocket(_)));
        assert!(matches!(
            wrong("nbd+unix:///disk?socket="),
            InvalidUri::NoSocket(_)
        ));
        assert!(matches!(
            wrong("nbd+unix://host/disk?socket=/x"),
            InvalidUri::NoSocket(_)
        ));
        assert!(matches!(
            wrong("nbd+unix:///disk?socket=/x&y=1"),
            InvalidUri::Parameter(_)
        ));
        assert!(matches!(wrong("nbd://host/%2"), InvalidUri::Escape(_)));
        assert!(matches!(wrong("nbd://host/%ff"), InvalidUri::Escape(_)));
        assert!(matches!(wrong("nbd://host/%+1"), InvalidUri::Escape(_)));
    }
}
