//! Limits of what is read, from etcd and from files.

/// The answer to a question about one key: a record is a few hundred bytes, base64 makes a third more of it.
pub(crate) const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// The answer that lists all keys of a cluster.
pub(crate) const MAX_LIST_BYTES: u64 = 4 << 20;

/// Resources that are listed: more than a cluster has.
pub(crate) const MAX_LISTED: usize = 1024;

/// A file with certificates or a key: a bundle of a hundred fits.
pub(crate) const MAX_PEM_BYTES: u64 = 1 << 20;

/// A file with a password.
pub(crate) const MAX_PASSWORD_BYTES: u64 = 4096;

/// Of what etcd says in words that is not understood, so much is passed on.
pub(crate) const MAX_WORDS: usize = 200;

/// Attempts to replace what others replace at the same time. Each failure is a success of somebody else.
pub(crate) const MAX_ROUNDS: u32 = 16;
