//! Asking whoever keeps the record of a resource. Each question has a thread of its own: an address that answers nothing must
//! not keep the agent waiting.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use twindisk_arbiter::{Answer, Ask, Keeper, Question, Reply, Seal, Version};
use twindisk_control::config::{Arbiter, Config, Etcd};
use twindisk_etcd::Access;
use twindisk_witness::Witness;

/// Who keeps the records of resources with that arbiter, if there are any; `secret` is the cluster's. Another kind of keeper
/// has its place here, and in [`identity`].
#[must_use]
pub fn keeper(config: &Config, arbiter: Arbiter, secret: &[u8]) -> Option<Arc<dyn Keeper>> {
    match arbiter {
        Arbiter::Fence | Arbiter::External => None,
        Arbiter::Witness => {
            let address = config.witness.as_ref()?.to_string();
            let seal = Seal::new(secret, &config.cluster);
            Some(Arc::new(Witness::new(address, seal)))
        }
        Arbiter::Etcd => Some(Arc::new(etcd(config, config.etcd.as_ref()?, secret))),
    }
}

/// The etcd that the configuration names.
#[must_use]
pub fn etcd(config: &Config, etcd: &Etcd, secret: &[u8]) -> twindisk_etcd::Etcd {
    let certificate = etcd.certificate.as_ref();
    let user = etcd.user.as_ref();
    let access = Access {
        endpoints: etcd.endpoints.iter().map(ToString::to_string).collect(),
        prefix: etcd.prefix.clone(),
        ca_file: etcd.ca_file.clone(),
        certificate: certificate.map(|own| (own.cert_file.clone(), own.key_file.clone())),
        user: user.map(|user| (user.name.clone(), user.password_file.clone())),
    };
    let seal = Seal::new(secret, &config.cluster);
    twindisk_etcd::Etcd::new(access, &config.cluster, seal)
}

/// Which arbiter the configuration means, for the other nodes to compare: its kind, and a digest of what tells it from
/// another one of that kind.
pub(crate) fn identity(config: &Config, arbiter: Arbiter) -> String {
    let which = match arbiter {
        Arbiter::Fence | Arbiter::External => None,
        Arbiter::Witness => config.witness.as_ref().map(ToString::to_string),
        Arbiter::Etcd => config.etcd.as_ref().map(Etcd::identity),
    };
    let kind = arbiter.word();
    let Some(which) = which else {
        return kind.to_owned();
    };
    let digest = Sha256::digest(which);
    let short: String = digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{kind} {short}")
}

/// What a node asks of the register of a resource.
pub(crate) struct Errand {
    pub(crate) resource: String,
    pub(crate) node: u8,
    pub(crate) known: Option<Version>,
    pub(crate) ask: Ask,
}

/// The answer, and which nodes have asked how many milliseconds ago.
pub(crate) type Said = (Answer, Vec<(u8, u64)>);

/// Asks, and waits for the answer at most so long. Without one it is not known whether it is done.
pub(crate) async fn ask(
    keeper: Option<Arc<dyn Keeper>>,
    errand: Errand,
    patience: Duration,
) -> Result<Said, String> {
    let Some(keeper) = keeper else {
        return Err("nobody is configured who keeps the record".to_owned());
    };
    let asked = tokio::task::spawn_blocking(move || {
        let Errand {
            resource,
            node,
            known,
            ask,
        } = errand;
        let question = Question::Register {
            resource,
            node: Some(node),
            known,
            ask,
        };
        keeper.ask(question, patience)
    });
    match asked.await {
        Ok(Ok(Reply::Register { answer, seen })) => Ok((answer, seen)),
        Ok(Ok(Reply::List(_))) => Err("the arbiter answers something else".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Err(why) => Err(why.to_string()),
    }
}
