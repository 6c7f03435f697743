//! Fencers with fake agents, and with a real one where it is installed.

pub(crate) mod fake;
mod levels;
mod readings;
mod real;
mod reports;
