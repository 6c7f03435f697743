//! `twindisk top`: a cluster as one of its nodes sees it, live.
//!
//! ```text
//! snapshot  asks the sockets of `serve` and of the agent            (the only file that does)
//! history   what changed from one snapshot to the next: rates, means
//! model     snapshot and history as what is shown: words, and how loud each is    (pure)
//! keys      what is chosen, and what keys change of that                          (pure)
//! draw      lines of the screen, and the frame around them                        (pure, tested byte by byte)
//! screen    the terminal: keys in, frames out
//! ```

mod draw;
mod history;
mod keys;
mod model;
pub(crate) mod screen;
pub(crate) mod snapshot;
mod view;

#[cfg(test)]
mod tests;
