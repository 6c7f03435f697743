//! Measuring: the comparison with neighbours, interruptions, scale, and the hot paths one by one. The programs are in `bin/`;
//! figures of one machine compare with figures of the same machine only.

pub mod application;
pub mod build;
pub mod chart;
pub mod contestants;
pub mod control;
pub mod cpu;
pub mod failure;
pub mod fill;
pub mod fio;
pub mod hot;
pub mod house;
pub mod loads;
pub mod machine;
pub mod network;
pub mod pair;
pub mod power;
pub mod report;
pub mod results;
pub mod scale;
pub mod statistics;
pub mod table;
