//! Single values of the file: each checked, each error with its place.

use std::{
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Spanned;
use twindisk_engine::{BusyPoll, store::IoMode};

use super::{
    ConfigError, Endpoint, NbdAddress, Section,
    place::locate,
    raw::{OneOrMany, Text},
};
use crate::{
    limits,
    units::{Bytes, Span},
};

/// The file that errors name.
pub(super) struct Source<'t> {
    pub(super) path: &'t Path,
    pub(super) text: &'t str,
}

impl Source<'_> {
    pub(super) fn bad(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> ConfigError {
        let (line, key) = locate(self.text, Some(span));
        ConfigError::Bad {
            path: self.path.to_owned(),
            line,
            key,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(super) fn section(&self, raw: Option<&Spanned<toml::Value>>) -> Option<Section> {
        let raw = raw?;
        let (line, key) = locate(self.text, Some(raw.span()));
        Some(Section {
            value: raw.get_ref().clone(),
            path: self.path.to_owned(),
            line,
            key,
        })
    }

    pub(super) fn span(
        &self,
        given: Option<&Spanned<Span>>,
        default: Duration,
    ) -> Result<Duration, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        let value = given.get_ref().0;
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
        if !(min..=max).contains(&value) {
            return Err(self.bad(
                given.span(),
                format!("{} is out of range", Span(value)),
                "use 1ms to 24h",
            ));
        }
        Ok(value)
    }

    pub(super) fn busy_poll(&self, given: Option<&Text>) -> Result<BusyPoll, ConfigError> {
        let Some(given) = given else {
            return Ok(BusyPoll::Auto);
        };
        match given.get_ref().as_str() {
            "auto" => Ok(BusyPoll::Auto),
            "off" => Ok(BusyPoll::Off),
            text => {
                let bad = |why: String| {
                    self.bad(
                        given.span(),
                        why,
                        "use \"auto\", \"off\" or a time up to 10ms like \"50us\"",
                    )
                };
                let span: Span = text.parse().map_err(|error| bad(format!("{error}")))?;
                if span.0 > Duration::from_millis(10) {
                    return Err(bad(format!("{span} of spinning is too long")));
                }
                Ok(BusyPoll::For(span.0))
            }
        }
    }

    pub(super) fn io_mode(&self, given: Option<&Text>) -> Result<IoMode, ConfigError> {
        let Some(given) = given else {
            return Ok(IoMode::default());
        };
        match given.get_ref().as_str() {
            "direct" => Ok(IoMode::Direct),
            "cached" => Ok(IoMode::Cached),
            other => Err(self.bad(
                given.span(),
                format!("{other:?} is no way of reading and writing a backing device"),
                "use \"direct\" or \"cached\"",
            )),
        }
    }

    pub(super) fn bytes(
        &self,
        given: Option<&Spanned<Bytes>>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        let value = given.get_ref().0;
        if !range.contains(&value) {
            return Err(self.bad(
                given.span(),
                format!("{} is out of range", Bytes(value)),
                format!("use {} to {}", Bytes(*range.start()), Bytes(*range.end())),
            ));
        }
        Ok(value)
    }

    pub(super) fn count(
        &self,
        given: Option<&Spanned<i64>>,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        usize::try_from(*given.get_ref())
            .ok()
            .filter(|value| range.contains(value))
            .ok_or_else(|| {
                self.bad(
                    given.span(),
                    format!("{} is out of range", given.get_ref()),
                    format!("use {} to {}", range.start(), range.end()),
                )
            })
    }

    pub(super) fn mode(&self, given: Option<&Text>, default: u32) -> Result<u32, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        u32::from_str_radix(given.get_ref(), 8)
            .ok()
            .filter(|mode| mode & !0o777 == 0)
            .ok_or_else(|| {
                self.bad(
                    given.span(),
                    format!("{:?} are no permission bits", given.get_ref()),
                    "write them like \"0660\"",
                )
            })
    }

    pub(super) fn listeners(
        &self,
        given: Option<&Spanned<OneOrMany>>,
    ) -> Result<Vec<NbdAddress>, ConfigError> {
        let Some(given) = given else {
            return Ok(Vec::new());
        };
        let mut listeners = Vec::new();
        for text in given.get_ref().iter() {
            let listener = self.listener(given.span(), text)?;
            if listeners.contains(&listener) {
                return Err(self.bad(
                    given.span(),
                    format!("{text:?} is there twice"),
                    "remove one",
                ));
            }
            listeners.push(listener);
        }
        Ok(listeners)
    }

    pub(super) fn listener(
        &self,
        span: Range<usize>,
        given: &str,
    ) -> Result<NbdAddress, ConfigError> {
        if let Some(path) = given.strip_prefix("unix:") {
            return Ok(NbdAddress::Unix(self.absolute(path)));
        }
        if let Some(endpoint) = given.strip_prefix("tcp:") {
            return self.endpoint(span, endpoint).map(NbdAddress::Tcp);
        }
        Err(self.bad(
            span,
            format!("{given:?} is no place to listen at"),
            "write \"unix:/run/twindisk/NAME.sock\" or \"tcp:HOST:10809\"",
        ))
    }

    pub(super) fn endpoint(
        &self,
        span: Range<usize>,
        given: &str,
    ) -> Result<Endpoint, ConfigError> {
        let bad = || {
            self.bad(
                span.clone(),
                format!("{given:?} is no address with a port"),
                "write \"10.0.0.1:7800\" or \"[fd00::1]:7800\"",
            )
        };
        let (host, port) = given.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || (bracketed.is_none() && host.contains(':')) {
            return Err(bad());
        }
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(bad)?;
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }

    /// An address and no host name: where it listens is not to hang on a resolver.
    pub(super) fn http(&self, given: Option<&Text>) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(given) = given else {
            return Ok(None);
        };
        let address: Option<SocketAddr> = given.get_ref().parse().ok();
        match address.filter(|address| address.port() != 0) {
            Some(address) => Ok(Some(address)),
            None => Err(self.bad(
                given.span(),
                format!("{:?} is no address to listen at", given.get_ref()),
                "write an IP address and a port, as \"127.0.0.1:7791\" or \"[::1]:7791\"",
            )),
        }
    }

    /// Names stand in paths, URIs and on the wire: letters, digits, `-`, `_` and `.`, not at the front.
    pub(super) fn name(&self, name: &Text, what: &str) -> Result<(), ConfigError> {
        let text = name.get_ref();
        let fits = (1..=limits::MAX_NAME_BYTES).contains(&text.len())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits {
            return Ok(());
        }
        Err(self.bad(
            name.span(),
            format!("{text:?} cannot be {what}"),
            format!(
                "use letters, digits, `-`, `_` and `.`, at most {} of them",
                limits::MAX_NAME_BYTES
            ),
        ))
    }

    pub(super) fn path_or(&self, given: Option<&Text>, default: &str) -> PathBuf {
        given.map_or_else(
            || PathBuf::from(default),
            |given| self.absolute(given.get_ref()),
        )
    }

    /// Relative paths start from the folder of the file, so that they mean the same wherever a command is run.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let joined = folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}
