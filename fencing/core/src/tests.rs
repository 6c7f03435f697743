//! Every rule of the agent as a test that names it, every state with every event (`every`), any events in any order (`random`).

mod believe;
mod bench;
mod conflict;
mod every;
mod faults;
mod freed;
mod hang;
mod judge;
mod memory;
mod no_space;
mod operator;
mod pair;
mod race;
mod random;
mod release;
mod roles;
mod rules;
mod services;
mod shared;
mod shot;
mod tenure;
mod three;
mod timetable;
mod trio;
mod unserved;
mod witness;
