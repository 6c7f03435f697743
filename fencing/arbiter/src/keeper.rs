//! Who keeps the registers of a cluster, as whoever asks sees it: a witness, etcd, and what may come.

use std::{error::Error, fmt, time::Duration};

use crate::{Question, Reply};

/// The port to whatever keeps the registers. A keeper stores durably what [`Register::ask`](crate::Register::ask) makes of a
/// register, compares what it replaces, and answers after that; it decides nothing itself.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// Asks, and waits for the answer at most so long. It blocks.
    ///
    /// # Errors
    /// When there is no answer that can be believed: whether what was asked for is done is not known then, and it may still
    /// be done later. It says who, where, what is so, and what to do.
    fn ask(&self, question: Question, patience: Duration) -> Result<Reply, Unanswered>;
}

/// Why there is no answer.
pub type Unanswered = Box<dyn Error + Send + Sync>;
