//! Names of clusters and resources as the numbers that stand in metadata and on the wire.

use twindisk_format::ids::{ClusterId, ResourceId};
use xxhash_rust::xxh3::Xxh3;

/// The number of the cluster of that name.
#[must_use]
pub fn cluster_id(cluster: &str) -> ClusterId {
    ClusterId(hash(&["twindisk cluster", cluster]))
}

/// The number of a resource of that name in that cluster.
#[must_use]
pub fn resource_id(cluster: &str, resource: &str) -> ResourceId {
    ResourceId(hash(&["twindisk resource", cluster, resource]))
}

/// Each part ends with a zero, which no name contains: no two lists of parts look alike.
fn hash(parts: &[&str]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They stand on disks: they must never change.
    #[test]
    fn the_numbers_of_names_are_fixed() {
        assert_eq!(
            format!("{:032x}", cluster_id("db").0),
            "6a7f875cd0f36cc78616cfc1eba1f3e0"
        );
        assert_eq!(
            format!("{:032x}", resource_id("db", "r0").0),
            "d9ebb5cb75260b342b8670251b4b39ae"
        );
        assert_ne!(resource_id("d", "br0"), resource_id("db", "r0"));
    }
}
