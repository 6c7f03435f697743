//! What stands at a key: the register of a resource, with whose it is and which etcd it was written to, sealed with the secret
//! of the cluster. So a value that was cut, changed, copied or written by somebody else is no right to anything.

use serde::{Deserialize, Serialize};
use twindisk_arbiter::{OpenError, Register, Seal};

/// The form of a value (`TWARB1`, the name of the cluster, an HMAC, and this as JSON; see `arbiter/src/message.rs`).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kept {
    resource: String,
    /// The id of the etcd cluster.
    etcd: String,
    register: Register,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) key: &'p str,
    pub(crate) resource: &'p str,
    /// The id of the etcd cluster.
    pub(crate) etcd: &'p str,
}

/// The value for a register.
pub(crate) fn seal(seal: &Seal, place: Place<'_>, register: Register) -> Vec<u8> {
    seal.keep(&Kept {
        resource: place.resource.to_owned(),
        etcd: place.etcd.to_owned(),
        register,
    })
}

/// The register that a value holds; one that can't be believed is in doubt, and says why.
pub(crate) fn open(seal: &Seal, place: Place<'_>, value: Option<&[u8]>) -> Register {
    let Some(value) = value else {
        return Register::default();
    };
    let key = place.key;
    let why = match seal.open_kept::<Kept>(value) {
        Ok(kept) if kept.resource != place.resource => format!(
            "what stands at {key} in etcd is the record of {}: it was copied there; {ADOPT}",
            kept.resource
        ),
        Ok(Kept {
            etcd, mut register, ..
        }) => {
            if etcd != place.etcd && register.doubt.is_none() {
                register.doubt = Some(format!(
                    "it was written in another etcd (cluster id {etcd}, this one is {}), and may be older than what that one has \
                     answered since; {ADOPT}",
                    place.etcd
                ));
            }
            return register;
        }
        Err(OpenError::NoMessage) => {
            format!("what stands at {key} in etcd is damaged, or nothing of Twindisk's; {ADOPT}")
        }
        Err(OpenError::OtherCluster) => format!(
            "what stands at {key} in etcd is of another cluster: give each cluster a `prefix` of its own; if it was copied there, \
             {ADOPT}"
        ),
        Err(OpenError::BadProof) => format!(
            "what stands at {key} in etcd was written with another secret, or changed by hand. If another cluster of the same name \
             uses this etcd, give each a `prefix` of its own; if the secret of this one was changed, {ADOPT}"
        ),
        Err(OpenError::NotUnderstood) => format!(
            "what stands at {key} in etcd was written by a newer twindisk: install that one again"
        ),
    };
    Register::doubtful(why)
}

const ADOPT: &str = "with both replicas connected: twindisk arbiter adopt";

#[cfg(test)]
mod tests {
    use super::*;
    use twindisk_arbiter::{Nonce, Record};

    const SECRET: &[u8] = b"a secret that is long enough";
    const PLACE: Place<'_> = Place {
        key: "/twindisk/db/r0",
        resource: "r0",
        etcd: "7",
    };

    fn register() -> Register {
        Register {
            record: Some(Record::first(Nonce(3), 1, vec![0, 1], 0)),
            doubt: None,
        }
    }

    fn why(cluster: &Seal, place: Place<'_>, value: &[u8]) -> String {
        open(cluster, place, Some(value)).doubt.unwrap_or_default()
    }

    #[test]
    fn what_was_kept_is_read_and_nothing_else_is_believed() {
        let db = Seal::new(SECRET, "db");
        let value = seal(&db, PLACE, register());
        assert_eq!(open(&db, PLACE, Some(&value)), register());
        assert_eq!(open(&db, PLACE, None), Register::default());
        for at in 0..value.len() {
            let mut bent = value.clone();
            bent[at] ^= 1;
            assert_ne!(why(&db, PLACE, &bent), "", "byte {at}");
        }
        for length in 0..value.len() {
            assert_ne!(why(&db, PLACE, &value[..length]), "", "{length} bytes");
        }
    }

    #[test]
    fn what_is_of_another_one_says_so() {
        let db = Seal::new(SECRET, "db");
        let value = seal(&db, PLACE, register());
        let of = |place: Place<'_>| why(&db, place, &value);
        let other = Place {
            resource: "r1",
            ..PLACE
        };
        assert!(of(other).contains("record of r0"), "{}", of(other));
        let other = Place { etcd: "8", ..PLACE };
        assert!(of(other).contains("another etcd"), "{}", of(other));
        let mail = Seal::new(SECRET, "mail");
        assert!(why(&mail, PLACE, &value).contains("another cluster"));
        let namesake = Seal::new(b"another secret, of some length", "db");
        assert!(why(&namesake, PLACE, &value).contains("another secret"));
        let newer = db.keep(&serde_json::json!({ "register": 2 }));
        assert!(why(&db, PLACE, &newer).contains("newer"));
    }
}
