//! A person as fence device: waits until an operator confirms that a node is off.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Where those who wait for an operator meet the operator. Clones share the same list.
#[derive(Clone, Debug, Default)]
pub struct Confirmations {
    waiting: Arc<Mutex<BTreeMap<String, Vec<oneshot::Sender<Confirmation>>>>>,
}

/// An operator's word that a node is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Who said it, for the receipt.
    pub by: String,
}

/// Nobody asked about that node. A word given in advance would be believed at the next failure, when it is no longer true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for a confirmation that {node} is off: nothing was confirmed")]
pub struct NobodyWaits {
    /// The node.
    pub node: String,
}

impl Confirmations {
    /// Nobody waits yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The operator `by` says that the node is off, to everybody who waits for that now.
    ///
    /// # Errors
    /// Nobody waits: the word is not kept.
    pub fn confirm(&self, node: &str, by: &str) -> Result<(), NobodyWaits> {
        let waiting = self.lock().remove(node).unwrap_or_default();
        let mut heard = false;
        for one in waiting {
            heard |= one.send(Confirmation { by: by.to_owned() }).is_ok();
        }
        if heard {
            Ok(())
        } else {
            Err(NobodyWaits {
                node: node.to_owned(),
            })
        }
    }

    /// The nodes about which a confirmation is waited for.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let mut waiting = self.lock();
        forget_those_gone(&mut waiting);
        waiting.keys().cloned().collect()
    }

    /// Waits for the operator's word. Dropping the future ends the wait.
    pub(crate) async fn wait(&self, node: &str) -> Confirmation {
        loop {
            let (sender, receiver) = oneshot::channel();
            {
                let mut waiting = self.lock();
                forget_those_gone(&mut waiting);
                waiting.entry(node.to_owned()).or_default().push(sender);
            }
            // The sender is dropped only with a word; were it otherwise, to wait again is the safe answer.
            if let Ok(confirmation) = receiver.await {
                return confirmation;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<oneshot::Sender<Confirmation>>>> {
        // Nothing that holds the lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_those_gone(waiting: &mut BTreeMap<String, Vec<oneshot::Sender<Confirmation>>>) {
    waiting.retain(|_, senders| {
        senders.retain(|sender| !sender.is_closed());
        !senders.is_empty()
    });
}
