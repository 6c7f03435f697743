//! Entry point for the fuzzer of `fuzz/`, and for the replay of its seeds by `cargo test`. It takes any bytes and must
//! not panic. No part of the interface.

use std::path::Path;

use crate::config::{Config, SecretSource};

/// The text of a configuration, without looking at the host.
///
/// # Panics
/// If an accepted configuration is one that its types should not hold, or an error shows the secret.
pub fn fuzz_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = Path::new("/etc/twindisk/twindisk.toml");
    match Config::parse(path, &text) {
        Ok(config) => check(&config),
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.is_empty(), "an error says something");
        }
    }
}

fn check(config: &Config) {
    if let SecretSource::Inline(secret) = &config.secret {
        let shown = format!("{config:?}");
        let hidden = secret.len() < 16 || !shown.contains(secret.as_str());
        assert!(hidden, "the secret is shown");
    }
    for pair in config.nodes.windows(2) {
        assert!(
            pair[0].id < pair[1].id,
            "nodes are in order of their numbers"
        );
    }
    for pair in config.resources.windows(2) {
        assert!(
            pair[0].name < pair[1].name,
            "resources are in order of their names"
        );
    }
    for resource in &config.resources {
        assert!(!resource.members.is_empty(), "a resource has a replica");
        for member in &resource.members {
            let node = config.node(&member.node).expect("a member is a node");
            assert_eq!(node.id, member.id);
            assert_eq!(
                resource.peers_of(member.id).count() + 1,
                resource.members.len()
            );
        }
    }
}

#[cfg(test)]
mod tests;
