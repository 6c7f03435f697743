//! Stand-ins until the format crate has its own.

/// What the authentication agreed on.
#[derive(Clone, Debug)]
pub struct Session {
    /// The peer's run.
    pub peer_boot: twindisk_format::ids::BootId,
}
