//! Why a measurement could not be taken, in a sentence.

use std::fmt::Display;

/// Said once, at the end; nothing here goes on after one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What a step gives.
pub type Result<T> = std::result::Result<T, Failure>;

/// Says what was tried when an error came.
pub trait Trying<T> {
    /// `what` could not be done.
    ///
    /// # Errors
    /// The same error, in a sentence.
    fn trying(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Trying<T> for std::result::Result<T, E> {
    fn trying(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
