//! What the tests of the whole program share: nodes as processes of their own, clients that keep a book of what they
//! were promised, and other projects' programs. It knows the program only from outside: its command
//! line, its configuration file, its JSON, its sockets.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod alone;
pub(crate) mod arena;
mod arena_agents;
pub(crate) mod book;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod etcd;
pub(crate) mod fence_agent;
pub(crate) mod fio;
pub(crate) mod host;
pub(crate) mod load;
pub(crate) mod namespaces;
pub(crate) mod observer;
pub(crate) mod platter;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod random;
pub(crate) mod register;
pub(crate) mod switch;
pub(crate) mod unpowered;
pub(crate) mod vm;
pub(crate) mod write_log;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Whatever is waited for comes within this time, on a busy machine too, or never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a state is looked at while it is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(15);

/// Looks until there is something, or panics with what was hoped for and `otherwise`.
pub(crate) fn eventually<T>(
    what: &str,
    otherwise: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "it did not come to this within {PATIENCE:?}: {what}\n{}",
            otherwise()
        );
        thread::sleep(LOOK);
    }
}
