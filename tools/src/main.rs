//! The one binary: serve, status, promote, demo and the rest.
fn main() {}
