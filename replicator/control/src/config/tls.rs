//! Whether the nodes speak TLS with each other: one answer for the whole cluster, which every node reads from the same file.
//!
//! A listener must know it before it knows who knocks, so it is a property of the cluster, not of a resource; and both ends of
//! a link must come to the same answer, so it follows from the addresses of all nodes where it is not written.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Config, Endpoint, Node};

/// What protects replication links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// TLS 1.3; that the ends of the channel are the nodes is what their proofs of the shared secret say.
    Secret,
    /// Nothing: checksums, which find accidents and stop nobody.
    #[default]
    Off,
}

/// As it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawTls {
    /// TLS, unless every node is on loopback.
    #[default]
    Auto,
    Secret,
    Off,
}

impl TlsMode {
    /// As the file has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Off => "off",
        }
    }

    pub(super) fn resolve(written: RawTls, nodes: &[Node]) -> Self {
        match written {
            RawTls::Secret => Self::Secret,
            RawTls::Off => Self::Off,
            RawTls::Auto if nodes.iter().all(|node| is_loopback(&node.address)) => Self::Off,
            RawTls::Auto => Self::Secret,
        }
    }
}

impl Config {
    /// Bytes between nodes leave this host, and nothing protects them.
    #[must_use]
    pub fn sends_in_the_clear(&self) -> bool {
        let beyond = self.nodes.iter().any(|node| !is_loopback(&node.address));
        beyond && self.tls == TlsMode::Off
    }
}

/// Whether an address certainly does not leave its host. Of a name only one is known not to.
fn is_loopback(address: &Endpoint) -> bool {
    let literal = address.host.parse::<IpAddr>();
    literal.map_or(address.host == "localhost", |address| {
        address.to_canonical().is_loopback()
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::check;

    fn config(written: &str, addresses: [&str; 2]) -> Result<Config, String> {
        let [a, b] = addresses;
        let text = format!(
            "cluster = \"db\"\nsecret = \"a secret of enough length\"\n{written}\n\
             [nodes.a]\nid = 1\naddress = \"{a}:7800\"\n[nodes.b]\nid = 2\naddress = \"{b}:7801\"\n\
             [resource.r0]\non.a = {{ backing = \"x\" }}\non.b = {{ backing = \"x\" }}\n"
        );
        Config::parse(Path::new("t.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_leaves_a_host_in_the_clear_unless_it_is_written() {
        let mode = |written, addresses| config(written, addresses).unwrap().tls;
        let (here, mixed, names) = (
            ["127.0.0.1", "localhost"],
            ["127.0.0.1", "10.0.0.2"],
            ["alpha", "beta"],
        );
        for written in ["", "tls = \"auto\""] {
            assert_eq!(mode(written, here), TlsMode::Off);
            assert_eq!(mode(written, ["[::1]", "[::ffff:127.0.0.1]"]), TlsMode::Off);
            for beyond in [mixed, names] {
                assert_eq!(mode(written, beyond), TlsMode::Secret);
            }
        }
        assert_eq!(mode("tls = \"secret\"", here), TlsMode::Secret);
        assert_eq!(mode("tls = \"off\"", mixed), TlsMode::Off);
        let error = config("tls = \"on\"", here).unwrap_err();
        assert!(error.contains("use one of auto, secret, off"), "{error}");
    }

    #[test]
    fn the_check_names_what_goes_in_the_clear() {
        let risky = |written, addresses| {
            let config = config(written, addresses).unwrap();
            let found = check(&config, config.node("a").unwrap());
            let risk = found.iter().find(|finding| finding.about == "tls");
            risk.map(|finding| finding.to_string())
        };
        let (here, beyond) = (["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "10.0.0.2"]);
        assert_eq!(risky("", here), None);
        assert_eq!(risky("", beyond), None);
        assert_eq!(risky("tls = \"off\"", here), None);
        let said = risky("tls = \"off\"", beyond).unwrap();
        assert!(said.starts_with("risk: tls: `off`"), "{said}");
    }
}
