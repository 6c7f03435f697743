//! Every rule of the agent as a test that names it.

mod believe;
mod bench;
mod judge;
mod operator;
mod race;
mod release;
mod roles;
mod services;
mod shared;
mod shot;
