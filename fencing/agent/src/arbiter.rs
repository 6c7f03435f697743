//! Asking the witness of a resource. Each question has a thread of its own: an address that answers nothing must not keep the
//! agent waiting.

use std::time::Duration;

use twindisk_arbiter::{Answer, Ask, Question, Reply, Version};
use twindisk_witness::Witness;

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
    witness: Option<Witness>,
    errand: Errand,
    patience: Duration,
) -> Result<Said, String> {
    let Some(witness) = witness else {
        return Err("no witness is configured".to_owned());
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
        witness.ask(question, patience)
    });
    match asked.await {
        Ok(Ok(Reply::Register { answer, seen })) => Ok((answer, seen)),
        Ok(Ok(Reply::List(_))) => Err("the witness answers something else".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Err(why) => Err(why.to_string()),
    }
}
