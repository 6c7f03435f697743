//! `[etcd]`: the etcd that keeps the records of resources with `arbiter = "etcd"`, and how it is reached.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    Config, ConfigError, Endpoint,
    check::Findings,
    raw::{OneOrMany, Text},
    values::Source,
};
use crate::limits::{MAX_ETCD_ENDPOINTS, MAX_ETCD_PREFIX_BYTES};

/// Where etcd is, and who asks it.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// Its members, or some of them: at least one, in the order in which they are tried.
    pub endpoints: Vec<Url>,
    /// What the keys begin with: `PREFIX/CLUSTER/RESOURCE`, with a slash at both ends.
    pub prefix: String,
    /// Who signs the certificates of its members. There if an endpoint is `https`.
    pub ca_file: Option<PathBuf>,
    /// What this node proves itself with, if it does.
    pub certificate: Option<Certificate>,
    /// As whom it asks, if etcd has users.
    pub user: Option<User>,
}

/// A certificate of a client, both as PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, and those between it and the one who signs.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// A user of etcd.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// A file with its password.
    pub password_file: PathBuf,
}

/// Where a member of etcd answers clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// `https`, not `http`.
    pub tls: bool,
    /// Host and port.
    pub at: Endpoint,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.at)
    }
}

impl Etcd {
    /// The same for two nodes that ask the same etcd below the same prefix, in whatever order they name its members.
    #[must_use]
    pub fn identity(&self) -> String {
        let members: BTreeSet<String> = (self.endpoints.iter())
            .map(|url| url.to_string().to_ascii_lowercase())
            .collect();
        let members: Vec<String> = members.into_iter().collect();
        format!("{} {}", self.prefix, members.join(" "))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEtcd {
    endpoints: Spanned<OneOrMany>,
    prefix: Option<Text>,
    ca_file: Option<Text>,
    cert_file: Option<Text>,
    key_file: Option<Text>,
    user: Option<Text>,
    password_file: Option<Text>,
}

pub(super) const ETCD_KEYS: &[&str] = &[
    "endpoints",
    "prefix",
    "ca-file",
    "cert-file",
    "key-file",
    "user",
    "password-file",
];

const DEFAULT_PREFIX: &str = "/twindisk/";

impl Source<'_> {
    pub(super) fn etcd(&self, raw: &RawEtcd) -> Result<Etcd, ConfigError> {
        let endpoints = self.etcd_endpoints(&raw.endpoints)?;
        if raw.ca_file.is_none() && endpoints.iter().any(|url| url.tls) {
            return Err(self.bad(
                raw.endpoints.span(),
                "https is proven by nobody: there is no `ca-file`",
                "add `ca-file = \"/etc/twindisk/etcd-ca.pem\"`, who signs the certificates of etcd's members",
            ));
        }
        let file = |text: &Text| self.absolute(text.get_ref());
        let pair = |one: (&'static str, &Option<Text>), other: (&'static str, &Option<Text>)| {
            let given = one.1.as_ref().or(other.1.as_ref());
            match (one.1, other.1) {
                (Some(one), Some(other)) => Ok(Some((one.clone(), other.clone()))),
                (None, None) => Ok(None),
                _ => Err(self.bad(
                    given.map_or(0..0, Spanned::span),
                    format!("`{}` and `{}` belong together", one.0, other.0),
                    "write both or none",
                )),
            }
        };
        let certificate = pair(("cert-file", &raw.cert_file), ("key-file", &raw.key_file))?;
        let user = pair(("user", &raw.user), ("password-file", &raw.password_file))?;
        Ok(Etcd {
            endpoints,
            prefix: self.etcd_prefix(raw.prefix.as_ref())?,
            ca_file: raw.ca_file.as_ref().map(file),
            certificate: certificate.map(|(cert, key)| Certificate {
                cert_file: file(&cert),
                key_file: file(&key),
            }),
            user: user.map(|(name, password)| User {
                name: name.into_inner(),
                password_file: file(&password),
            }),
        })
    }

    fn etcd_endpoints(&self, raw: &Spanned<OneOrMany>) -> Result<Vec<Url>, ConfigError> {
        let mut endpoints = Vec::new();
        for text in raw.get_ref().iter() {
            let bad = |why: &str| {
                let hint = "write \"https://HOST:2379\", as in its --advertise-client-urls";
                self.bad(raw.span(), format!("{text:?} {why}"), hint)
            };
            let (tls, rest) = match text.split_once("://") {
                Some(("https", rest)) => (true, rest),
                Some(("http", rest)) => (false, rest),
                _ => return Err(bad("is no endpoint of etcd")),
            };
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            if rest.contains(['/', '?', '#', '@', '%']) || !rest.is_ascii() {
                return Err(bad("has more in it than a host and a port"));
            }
            let at = self.endpoint(raw.span(), rest)?;
            if at.host.contains(|c: char| !c.is_ascii_graphic()) {
                return Err(bad("is no endpoint of etcd"));
            }
            let url = Url { tls, at };
            if endpoints.contains(&url) {
                return Err(bad("is there twice"));
            }
            endpoints.push(url);
        }
        if !(1..=MAX_ETCD_ENDPOINTS).contains(&endpoints.len()) {
            return Err(self.bad(
                raw.span(),
                format!("{} endpoints of etcd", endpoints.len()),
                format!("name one to {MAX_ETCD_ENDPOINTS}, best all of its members"),
            ));
        }
        Ok(endpoints)
    }

    fn etcd_prefix(&self, raw: Option<&Text>) -> Result<String, ConfigError> {
        let Some(raw) = raw else {
            return Ok(DEFAULT_PREFIX.to_owned());
        };
        let text = raw.get_ref();
        let plain = text.chars().all(|c| c.is_ascii_graphic());
        if text.starts_with('/')
            && text.ends_with('/')
            && plain
            && text.len() <= MAX_ETCD_PREFIX_BYTES
        {
            return Ok(text.clone());
        }
        Err(self.bad(
            raw.span(),
            format!("{text:?} can't be what keys begin with"),
            format!(
                "write something like \"/twindisk/\": a slash at both ends, at most {MAX_ETCD_PREFIX_BYTES} bytes"
            ),
        ))
    }
}

impl Findings {
    pub(super) fn etcd(&mut self, config: &Config) {
        let Some(etcd) = &config.etcd else {
            return;
        };
        self.majority(config, etcd);
        let open = (etcd.endpoints.iter()).filter(|url| !url.tls && !is_loopback(&url.at.host));
        for url in open {
            self.risk(
                "etcd.endpoints",
                format!(
                    "{url} is not encrypted: whoever is in that network reads the password, and can undo what the record says; \
                     use https with `ca-file`"
                ),
            );
        }
        if let Some(ca_file) = &etcd.ca_file {
            self.readable("etcd.ca-file", ca_file);
        }
        if let Some(Certificate {
            cert_file,
            key_file,
        }) = &etcd.certificate
        {
            self.readable("etcd.cert-file", cert_file);
            self.readable("etcd.key-file", key_file);
            self.private(
                "etcd.key-file",
                key_file,
                "whoever reads it can change the record",
            );
        }
        if let Some(user) = &etcd.user {
            let file = &user.password_file;
            self.readable("etcd.password-file", file);
            self.private(
                "etcd.password-file",
                file,
                "whoever reads it can change the record",
            );
        }
    }

    /// A third vote that is lost with one of the other two is none.
    fn majority(&mut self, config: &Config, etcd: &Etcd) {
        let all = etcd.endpoints.len();
        for node in &config.nodes {
            let there = (etcd.endpoints.iter()).filter(|url| url.at.host == node.address.host);
            let there = there.count();
            if there > 0 && 2 * there >= all {
                self.risk(
                    "etcd.endpoints",
                    format!(
                        "{there} of {all} are on the host of {0}: when that one is lost etcd has no majority, the other node no third \
                         vote, and its I/O waits; run etcd's members on hosts of their own",
                        node.name
                    ),
                );
            }
        }
        if all == 1 {
            self.note(
                "etcd.endpoints",
                "there is one: while its host is away nobody could take over, whatever other members there are; name all of them",
            );
        }
    }

    fn readable(&mut self, about: &str, file: &Path) {
        if let Err(error) = std::fs::File::open(file) {
            self.missing(about, format!("{}: {error}", file.display()));
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::{Arbiter, Severity, check};

    fn text(etcd: &str) -> String {
        format!(
            "cluster = \"db\"\nsecret = \"a secret of enough length\"\n[agent]\n{etcd}\n\
             [nodes.a]\nid = 1\naddress = \"10.0.0.1:7800\"\n[nodes.b]\nid = 2\naddress = \"10.0.0.2:7800\"\n\
             [resource.r0]\narbiter = \"etcd\"\non.a = {{ backing = \"a\" }}\non.b = {{ backing = \"b\" }}\n"
        )
    }

    fn read(etcd: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("t.toml"), &text(etcd))
    }

    #[test]
    fn what_is_written_is_read_and_what_is_wrong_is_named() {
        let config = read("[etcd]\nendpoints = \"http://[::1]:2379/\"").expect("it is right");
        assert_eq!(config.resources[0].arbiter, Arbiter::Etcd);
        let etcd = config.etcd.expect("it is there");
        assert_eq!(etcd.endpoints[0].to_string(), "http://[::1]:2379");
        assert_eq!(etcd.prefix, "/twindisk/");
        let http = "endpoints = \"http://127.0.0.1:2379\"";
        for (lines, says) in [
            ("", "nothing says where etcd is"),
            ("[etcd]", "`endpoints` is missing"),
            ("[etcd]\nendpoints = []", "0 endpoints"),
            (
                "[etcd]\nendpoints = \"10.0.0.5:2379\"",
                "no endpoint of etcd",
            ),
            (
                "[etcd]\nendpoints = \"ftp://10.0.0.5:2379\"",
                "no endpoint of etcd",
            ),
            (
                "[etcd]\nendpoints = \"http://10.0.0.5\"",
                "no address with a port",
            ),
            (
                "[etcd]\nendpoints = \"http://u:p@h:2379\"",
                "a host and a port",
            ),
            (
                "[etcd]\nendpoints = \"http://h:2379/v3\"",
                "a host and a port",
            ),
            (
                "[etcd]\nendpoints = \"http://h h:2379\"",
                "no endpoint of etcd",
            ),
            (
                "[etcd]\nendpoints = [\"http://h:1\", \"http://h:1\"]",
                "there twice",
            ),
            (
                "[etcd]\nendpoints = \"https://10.0.0.5:2379\"",
                "no `ca-file`",
            ),
            (
                &format!("[etcd]\n{http}\ncert-file = \"c\""),
                "belong together",
            ),
            (
                &format!("[etcd]\n{http}\npassword-file = \"p\""),
                "belong together",
            ),
            (
                &format!("[etcd]\n{http}\nprefix = \"twindisk\""),
                "a slash at both ends",
            ),
            (&format!("[etcd]\n{http}\ncolour = 1"), "no key `colour`"),
        ] {
            let error = read(lines).expect_err(says).to_string();
            assert!(error.contains(says), "{lines}: {error}");
        }
        let one = text(&format!("[etcd]\n{http}")).replace("on.b = { backing = \"b\" }\n", "");
        let error = Config::parse(Path::new("t.toml"), &one).expect_err("one node");
        assert!(
            error.to_string().contains("arbiter = \"etcd\", and only"),
            "{error}"
        );
    }

    #[test]
    fn the_order_of_members_makes_no_other_etcd() {
        let identity = |endpoints: &str| {
            let config = read(&format!("[etcd]\nendpoints = {endpoints}")).expect("it is right");
            config.etcd.expect("it is there").identity()
        };
        let one = identity("[\"http://a:1\", \"http://b:1\"]");
        assert_eq!(one, identity("[\"http://B:1\", \"http://a:1/\"]"));
        assert_ne!(one, identity("[\"http://a:1\"]"));
        assert_ne!(one, identity("[\"http://a:1\", \"http://b:2\"]"));
        assert_ne!(
            one,
            identity("[\"http://a:1\", \"http://b:1\"]\nprefix = \"/p/\"")
        );
    }

    #[test]
    fn what_is_risky_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        fs::write(&password, "word").expect("written");
        let found = |endpoints: &str| {
            let lines = format!(
                "[etcd]\nendpoints = {endpoints}\nuser = \"u\"\npassword-file = {password:?}\nca-file = \"/no/such\""
            );
            let config = read(&lines).expect("it is right");
            let found = check(&config, config.node("a").expect("it is there"));
            let of_etcd = found
                .into_iter()
                .filter(|one| one.about.starts_with("etcd"));
            let words = of_etcd.map(|one| one.to_string());
            words.collect::<Vec<_>>().join("\n")
        };
        let mode = |mode| fs::set_permissions(&password, fs::Permissions::from_mode(mode));
        mode(0o644).expect("it is ours");
        let said = found(
            "[\"https://10.0.0.5:2379\", \"https://10.0.0.6:2379\", \"https://10.0.0.1:2379\"]",
        );
        assert!(
            said.contains("risk: etcd.password-file") && said.contains("0644"),
            "{said}"
        );
        assert!(said.contains("missing: etcd.ca-file"), "{said}");
        assert!(!said.contains("etcd.endpoints"), "{said}");
        mode(0o600).expect("it is ours");
        let said = found("\"http://10.0.0.2:2379\"");
        assert!(said.contains("1 of 1 are on the host of b"), "{said}");
        assert!(said.contains("not encrypted"), "{said}");
        assert!(!said.contains("password-file"), "{said}");
        assert!(found("[\"http://127.0.0.1:1\", \"http://localhost:2\"]").contains("ca-file"));
        assert!(!found("[\"http://127.0.0.1:1\", \"http://[::1]:2\"]").contains("encrypted"));
        assert!(said.contains(&Severity::Note.to_string()), "{said}");
    }
}
