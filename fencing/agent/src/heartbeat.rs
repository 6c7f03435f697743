//! Beats on the wire: one UDP datagram each, `TWHB2`, 32 bytes of HMAC-SHA256 over the number of the path (a byte) and the
//! rest, and the beat as JSON. So what was sent over one path shows no other one as heard.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use twindisk_fencing_core::{Beat, PathIndex};

const MAGIC: &[u8; 5] = b"TWHB2";
/// What a datagram of any version begins with.
const FAMILY: &[u8; 4] = b"TWHB";
const MAC_BYTES: usize = 32;

/// The largest datagram that is read.
pub(crate) const MAX_BYTES: usize = 16 << 10;

/// Seals and opens beats.
#[derive(Clone)]
pub(crate) struct Sealer {
    key: Vec<u8>,
}

impl Sealer {
    /// With the secret that all nodes of the cluster know, for this cluster alone.
    pub(crate) fn new(secret: &[u8], cluster: &str) -> Self {
        let mut mac = keyed(secret);
        mac.update(b"twindisk heartbeat\0");
        mac.update(cluster.as_bytes());
        Self {
            key: mac.finalize().into_bytes().to_vec(),
        }
    }

    pub(crate) fn seal(&self, path: PathIndex, beat: &Beat) -> Vec<u8> {
        let body = serde_json::to_vec(beat).unwrap_or_default();
        let mac = self.mac(path, &body);
        let mut datagram = MAGIC.to_vec();
        datagram.extend_from_slice(&mac.finalize().into_bytes());
        datagram.extend_from_slice(&body);
        datagram
    }

    /// The beat, if somebody who knows the secret has sealed it for this path.
    pub(crate) fn open(&self, path: PathIndex, datagram: &[u8]) -> Option<Beat> {
        let rest = datagram.strip_prefix(MAGIC.as_slice())?;
        let (proof, body) = rest.split_at_checked(MAC_BYTES)?;
        self.mac(path, body).verify_slice(proof).ok()?;
        serde_json::from_slice(body).ok()
    }

    fn mac(&self, path: PathIndex, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.key);
        // There are eight paths at most.
        mac.update(&[path.index() as u8]);
        mac.update(body);
        mac
    }
}

/// Whether a datagram is a beat of an agent of another version, as far as its first bytes say.
pub(crate) fn is_of_another_version(datagram: &[u8]) -> bool {
    datagram.starts_with(FAMILY) && !datagram.starts_with(MAGIC)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use twindisk_fencing_core::{BeatResource, Question, Role, Services, Serving};

    use super::*;

    const FIRST: PathIndex = PathIndex::new(0);

    fn beat() -> Beat {
        Beat {
            from: 1,
            to: 2,
            boot: 3,
            started: 4,
            seq: 5,
            echo: 6,
            echo_seq: 4,
            hears: 3,
            leaving: false,
            fence_latency: 7,
            resources: vec![BeatResource {
                name: "r0".into(),
                serving: Serving::Yes,
                role: Role::Primary,
                term: 8,
                can_promote: false,
                progress: 9,
                oldest_ms: 10,
                ready: true,
                services: Services::Up,
                services_term: 8,
                witness: true,
                arbiter: "etcd 0123456789ab".into(),
                follows: Some(2),
                gave_up: true,
                hung: true,
                ask: Question::None,
                released: Question::None,
            }],
        }
    }

    #[test]
    fn a_beat_survives_and_nothing_else_does() {
        let sealer = Sealer::new(b"a secret that is long enough", "cluster");
        let datagram = sealer.seal(FIRST, &beat());
        assert_eq!(sealer.open(FIRST, &datagram), Some(beat()));
        assert_eq!(sealer.open(PathIndex::new(1), &datagram), None, "a path");
        for at in 0..datagram.len() {
            let mut bent = datagram.clone();
            bent[at] ^= 1;
            assert_eq!(sealer.open(FIRST, &bent), None, "byte {at}");
        }
        for length in 0..datagram.len() {
            assert_eq!(sealer.open(FIRST, &datagram[..length]), None, "{length}");
        }
        let other = Sealer::new(b"a secret that is long enough", "another cluster");
        assert_eq!(other.open(FIRST, &datagram), None);
        let other = Sealer::new(b"another secret, long as well", "cluster");
        assert_eq!(other.open(FIRST, &datagram), None);
    }

    #[test]
    fn a_beat_of_another_version_is_told_from_noise() {
        let sealer = Sealer::new(b"a secret that is long enough", "cluster");
        let datagram = sealer.seal(FIRST, &beat());
        let older = [b"TWHB1", &datagram[5..]].concat();
        assert_eq!(sealer.open(FIRST, &older), None);
        assert!(is_of_another_version(&older) && !is_of_another_version(&datagram));
        assert!(!is_of_another_version(b"TWH") && !is_of_another_version(b"noise"));
    }

    #[test]
    fn a_beat_of_an_agent_that_knows_nothing_of_hangs_is_understood() {
        let mut text = serde_json::to_value(beat()).expect("JSON");
        let said = text["resources"][0].as_object_mut().expect("a resource");
        assert!(said.remove("ready").is_some() && said.remove("hung").is_some());
        let old: Beat = serde_json::from_value(text).expect("a beat");
        assert!(!old.resources[0].ready && !old.resources[0].hung);
    }

    #[test]
    fn no_question_is_a_0_and_a_question_its_number() {
        let mut beat = beat();
        beat.resources[0].ask = Question::from(17);
        let text = serde_json::to_value(&beat).expect("JSON");
        let said = &text["resources"][0];
        assert_eq!((&said["ask"], &said["released"]), (&17.into(), &0.into()));
    }
}
